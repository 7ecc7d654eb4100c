"""A model's test metrics measured again through ONNX Runtime: they must be those that PyTorch gave."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Generator, Tensor, nn

from aae_zoo.export.proof.gate import GATE
from aae_zoo.export.proof.layers import first_difference
from aae_zoo.runtime.bundles.graph_check import CheckedGraph, check_graph
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.checks.parity import relative_error
from aae_zoo.runtime.engine.session import open_session
from aae_zoo.runtime.errors import ParityError
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.measure.class_error import class_error
from aae_zoo.zoo.measure.measured import Codes, Draws
from aae_zoo.zoo.measure.metrics import match, measure
from aae_zoo.zoo.measure.samples import in_features
from aae_zoo.zoo.priors import open_uniform
from aae_zoo.zoo.recipe import DataSettings

METRICS: Final = ("mse", "mmd2", "code_mean", "code_covariance", "prior_covariance", "error", "frechet")
_RELATIVE: Final = 1e-3
_ABSOLUTE: Final = 1e-4
_LOOKED_AT: Final = 500


class Graphs:
    """The three graphs of a model, as something that can be measured."""

    def __init__(self, graphs: Mapping[str, CheckedGraph]) -> None:
        self.sessions = {role: open_session(graph, device="cpu") for role, graph in graphs.items()}

    @property
    def noise(self) -> int:
        """How many numbers the prior takes for one code."""
        return int(self.sessions["prior"].get_inputs()[0].shape[1])

    def run(self, role: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of a graph by name, given at least its inputs."""
        session = self.sessions[role]
        names = [output.name for output in session.get_outputs()]
        found = session.run(names, {i.name: inputs[i.name].numpy() for i in session.get_inputs()})
        return {name: torch.from_numpy(np.asarray(values)) for name, values in zip(names, found, strict=True)}

    def encode(self, image: Tensor) -> Codes:
        """The codes of images."""
        return self.run("encoder", {"image": image})

    def decode(self, codes: Codes) -> Tensor:
        """The images of codes, back from the sigmoid, of which ONNX Runtime's may be a rounding beyond 0 and 1."""
        return self.run("decoder", codes)["image"].clamp(0, 1).logit()

    def draw(self, count: int, generator: Generator) -> Draws:
        """`count` draws of the prior, without the classes that they were drawn for."""
        return Draws(self.run("prior", {"u": open_uniform(count, self.noise, generator)}), None)


def compare_metrics(
    networks: Mapping[str, nn.Module],
    folder: Path,
    dataset: Dataset,
    settings: DataSettings,
    manifest: Manifest,
) -> dict[str, Any]:
    """Measure the graphs of a folder as the model was measured: both figures for each of `METRICS` in the manifest.

    `networks` are what the graphs are made from, by role. Two figures may differ by 1e-4 and a thousandth of the
    figure, two errors by one image and a thousandth.

    Raises:
        ParityError: a figure differs from PyTorch's. It names the layer at which the first graph begins to differ.
    """
    graphs = {role: _read(folder / f"{role}.onnx", role, manifest) for role in networks}
    metrics = manifest.metrics
    found = measure(Graphs(graphs), dataset, settings, (match, class_error, in_features))
    report: dict[str, Any] = {}
    for name in (name for name in METRICS if name in metrics):
        a, b = np.asarray(metrics[name]), np.asarray(found[name])
        slack = 100 / len(dataset.test_images) if name == "error" else _ABSOLUTE
        if not (np.abs(a - b) <= slack + _RELATIVE * np.abs(a)).all():
            raise ParityError(
                f"through ONNX Runtime {name} is {found[name]}, with PyTorch {metrics[name]}, no bundle was written; "
                f"{_where(networks, graphs, dataset)}"
            )
        report[name] = {"pytorch": metrics[name], "onnxruntime": found[name]}
    return report


def _read(path: Path, role: str, manifest: Manifest) -> CheckedGraph:
    return check_graph(path.read_bytes(), path.name, role, manifest)


@torch.no_grad()
def _where(networks: Mapping[str, nn.Module], checked: Mapping[str, CheckedGraph], dataset: Dataset) -> str:
    """The first graph that differs on test images, their codes or noise, and its layer."""
    graphs, image = Graphs(checked), to_float(dataset.test_images[:_LOOKED_AT])
    u = open_uniform(_LOOKED_AT, graphs.noise, Generator().manual_seed(0))
    given = {"image": image, **networks["encoder"](image=image), "u": u}
    for role, session in graphs.sessions.items():
        inputs = {i.name: given[i.name] for i in session.get_inputs()}
        found, wanted = graphs.run(role, inputs), networks[role](**inputs)
        if max(relative_error(found[name].numpy(), wanted[name].numpy()) for name in wanted) > GATE:
            return f"{role}: {first_difference(networks[role], inputs, checked[role].content)}"
    return f"no graph differs on the first {_LOOKED_AT} test images"
