"""A model's own test metrics once more, through ONNX Runtime: they must be those that PyTorch gave."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Generator, Tensor, nn

from aae_zoo.export.proof.gate import GATE
from aae_zoo.export.proof.layers import first_difference
from aae_zoo.runtime.checks.parity import relative_error
from aae_zoo.runtime.engine.session import open_session
from aae_zoo.runtime.errors import ParityError
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.measure.class_error import class_error
from aae_zoo.zoo.measure.classifier import load_classifier
from aae_zoo.zoo.measure.metrics import evaluate
from aae_zoo.zoo.measure.samples import batch_size, frechet_distance
from aae_zoo.zoo.priors import BasePrior, open_uniform
from aae_zoo.zoo.recipe import Recipe

METRICS: Final = ("mse", "mmd2", "code_mean", "code_covariance", "prior_covariance", "error", "frechet")
_RELATIVE: Final = 1e-3
_ABSOLUTE: Final = 1e-4
_SAMPLES: Final = 10_000
_LOOKED_AT: Final = 500


class _Graph(nn.Module):
    """A graph as a module: inputs by name to outputs by name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.session = open_session(path.read_bytes(), path.name, device="cpu")
        self.outputs = [output.name for output in self.session.get_outputs()]

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        found = self.session.run(self.outputs, {name: values.numpy() for name, values in inputs.items()})
        return {n: torch.from_numpy(np.asarray(values)) for n, values in zip(self.outputs, found, strict=True)}


class _Prior(BasePrior):
    """The prior's graph, with what else is known of the prior."""

    def __init__(self, prior: BasePrior, path: Path) -> None:
        super().__init__()
        self.noise, self.latent, self.conditional = prior.noise, prior.latent, prior.conditional
        self.graph = _Graph(path)

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        codes: dict[str, Tensor] = self.graph(u=u)
        return codes


class Exported(Autoencoder):
    """The graphs <role>.onnx of a folder in the place of the model's networks, for whatever measures a model."""

    def __init__(self, model: Autoencoder, folder: Path) -> None:
        nn.Module.__init__(self)
        self.prior = _Prior(model.prior, folder / "prior.onnx")
        self.encoder_graph, self.decoder_graph = _Graph(folder / "encoder.onnx"), _Graph(folder / "decoder.onnx")

    def encode(self, image: Tensor) -> dict[str, Tensor]:
        """The codes of images by name."""
        codes: dict[str, Tensor] = self.encoder_graph(image=image)
        return codes

    def logits(self, codes: Mapping[str, Tensor]) -> Tensor:
        """The images of codes, back from the sigmoid."""
        image: Tensor = self.decoder_graph(**self.decoder_inputs(codes))["image"]
        return image.logit()

    def decoder_inputs(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the codes, what the decoder takes."""
        return {name: codes[name] for name in (("z", "y") if self.prior.conditional else ("z",))}


def compare_metrics(
    model: Autoencoder,
    networks: Mapping[str, nn.Module],
    folder: Path,
    dataset: Dataset,
    recipe: Recipe,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Measure the graphs of a folder as the model was, `metrics`: for each of `METRICS` there is, both figures.

    `networks` are what the graphs are made from, by role.

    They are alike within a thousandth and 1e-4, and an error within one image.

    Raises:
        ParityError: a figure is not that of PyTorch. It names the layer at which the first graph begins to differ.
    """
    exported = Exported(model, folder)
    found = evaluate(exported, dataset.test_images)
    if "error" in metrics:
        found |= class_error(exported, dataset, recipe)
    if "frechet" in metrics:
        found["frechet"] = _frechet(exported, dataset)
    report: dict[str, Any] = {}
    for name in (name for name in METRICS if name in metrics):
        a, b = np.asarray(metrics[name]), np.asarray(found[name])
        slack = 100 / len(dataset.test_images) if name == "error" else _ABSOLUTE
        if not (np.abs(a - b) <= slack + _RELATIVE * np.abs(a)).all():
            raise ParityError(
                f"through ONNX Runtime {name} is {found[name]}, with PyTorch {metrics[name]}, no bundle was written; "
                f"{_where(networks, exported, folder, dataset)}"
            )
        report[name] = {"pytorch": metrics[name], "onnxruntime": found[name]}
    return report


@torch.no_grad()
def _where(networks: Mapping[str, nn.Module], exported: Exported, folder: Path, dataset: Dataset) -> str:
    """The first graph that differs on test images, their codes or noise, and its layer."""
    image = to_float(dataset.test_images[:_LOOKED_AT])
    codes = networks["encoder"](image=image)
    u = open_uniform(_LOOKED_AT, exported.prior.noise, Generator().manual_seed(0))
    given = {"encoder": {"image": image}, "decoder": exported.decoder_inputs(codes), "prior": {"u": u}}
    for role, inputs in given.items():
        found = _Graph(folder / f"{role}.onnx")(**inputs)
        wanted = networks[role](**inputs)
        if max(relative_error(found[name].numpy(), wanted[name].numpy()) for name in wanted) > GATE:
            return f"{role}: {first_difference(networks[role], inputs, (folder / f'{role}.onnx').read_bytes())}"
    return f"no graph differs on the first {_LOOKED_AT} test images"


@torch.no_grad()
def _frechet(exported: Exported, dataset: Dataset) -> float:
    """The Fréchet distance of the same 10,000 draws that the metric has."""
    loaded = load_classifier(dataset.name)
    assert loaded is not None  # noqa: S101 - the metric was measured with it
    size = batch_size(dataset.test_images)
    codes = exported.prior.draw(_SAMPLES, Generator().manual_seed(0))
    parts = [{n: v[start : start + size] for n, v in codes.items()} for start in range(0, _SAMPLES, size)]
    samples = torch.cat([loaded[0].features(exported.logits(part).sigmoid()) for part in parts])
    real = torch.cat([loaded[0].features(to_float(images)) for images in dataset.test_images.split(size)])
    return frechet_distance(samples, real)
