"""TF32, as far as it can be had without a GPU: graphs on the CPU whose products' inputs are rounded to ten bits."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT, rewrite
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor, nn

from aae_zoo.export.bundling.detector import Scaled
from aae_zoo.export.proof.tf32 import cut_off, rounded_products, tf32_errors, to_nearest
from aae_zoo.runtime import list_models
from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.names import DETECTOR, ROLES
from aae_zoo.runtime.checks import verify as verifying
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.checks.parity import golden_of, relative_error
from aae_zoo.runtime.checks.verify import NO_TF32, Comparison, gates_of, verify
from aae_zoo.runtime.engine.devices import CPU, CUDA
from aae_zoo.zoo import load_networks
from aae_zoo.zoo.build import build
from aae_zoo.zoo.detector import Detector
from aae_zoo.zoo.training.lite import LiteDecoder

MODELS = ROOT / "runtime" / "models"
NAMES = [entry.name for entry in list_models() if entry.shipped]
PRODUCTS = ("Gemm", "MatMul", "Conv", "ConvTranspose")
# x * SPLITTER - (x * SPLITTER - x) is x rounded to eleven digits, the first of which TF32 does not store (G. W.
# Veltkamp; T. J. Dekker, "A floating-point technique for extending the available precision", 1971).
SPLITTER = np.float32(2**13 + 1)


def rounded(value: str, place: int) -> tuple[str, list[NodeProto]]:
    """A value of a graph, rounded: its name, and the nodes that make it."""
    names = [f"{value}_{place}_{step}" for step in ("large", "rest", "tf32")]
    return names[-1], [
        helper.make_node("Mul", [value, "splitter"], [names[0]]),
        helper.make_node("Sub", [names[0], value], [names[1]]),
        helper.make_node("Sub", [names[0], names[1]], [names[2]]),
    ]


def weighted(model: onnx.ModelProto) -> list[NodeProto]:
    """The products of a graph with weights that were learned, and not those of edges and windows of gradients."""
    products = [node for node in model.graph.node if node.op_type in PRODUCTS]
    return [node for node in products if not re.search(r"hog\.(edges|window)", node.input[1])]


def changed(content: bytes, *, tf32: bool, nudged: int | None) -> bytes:
    """A graph whose products' inputs are rounded, and the weights of one of its products are 2 % too large."""
    model = onnx.load_model_from_string(content)
    constants = {"splitter": SPLITTER, "nudge": np.float32(1.02)}
    model.graph.initializer.extend([numpy_helper.from_array(np.array(v), name) for name, v in constants.items()])
    wrong = weighted(model)[nudged:][:1] if nudged is not None else []
    nodes: list[NodeProto] = []
    for number, node in enumerate(model.graph.node):
        if node in wrong:
            nodes.append(helper.make_node("Mul", [node.input[1], "nudge"], [f"nudged_{number}"]))
            node.input[1] = f"nudged_{number}"
        for position in (0, 1) if tf32 and node.op_type in PRODUCTS else ():
            node.input[position], made = rounded(node.input[position], number)
            nodes += made
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


@pytest.fixture
def on_a_card(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Comparison]]:
    """Verify a model where sessions say that they are on CUDA, and with TF32 round as it does."""
    wrong: list[int | None] = [None]

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, graph: bytes, options: Any, providers: list[Any], **fallback: int) -> None:
            tf32 = dict(providers).get(CUDA, {}).get("use_tf32") == "1"
            super().__init__(changed(graph, tf32=tf32, nudged=wrong[0]), options, providers=[CPU])

        def get_providers(self) -> list[str]:
            return [CUDA, CPU]

        def get_provider_options(self) -> dict[str, dict[str, str]]:
            return {CUDA: {}, CPU: {}}

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(verifying, "COMPARED_BATCHES", (65,))

    def run(bundle: Path, nudged: int | None = None) -> list[Comparison]:
        wrong[0] = nudged
        return [c for c in verify(str(bundle), device="cuda") if c.precision in ("fp32", "lite")]

    return run


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_model_passes_with_tf32_and_fails_with_a_weight_that_is_2_percent_off(
    name: str, on_a_card: Callable[..., list[Comparison]]
) -> None:
    bundle = open_bundle(MODELS / name)
    sound = on_a_card(bundle.folder)
    assert [c for c in sound if not c.passed] == []
    assert {(c.device, c.measure) for c in sound} == {(NO_TF32, "difference"), ("cuda", "difference"), ("cuda", "rms")}
    graphs = {(c.graph, c.precision) for c in sound}
    trained = {g for g in graphs if weighted(onnx.load(bundle.folder / bundle.manifest.graph_file(*g)))}
    assert trained >= {("encoder", "fp32"), ("decoder", "fp32")}
    # Bits of a code turn over or do not: TF32 itself turns some, and a wrong weight few more.
    coarse = {("encoder", "fp32")} if name == "mnist-bits" else set()
    # The last weights change the least. Those of mnist-cluster's encoder are zeros and ones, which choose a sub-head.
    first, end = (-9, 0) if name in ("fashion-vae", "mnist-plane") else (-2, -1) if name == "mnist-cluster" else (-1, 0)
    for nudged in range(first, end):
        found = on_a_card(bundle.folder, nudged)
        for device, least in ((NO_TF32, trained), ("cuda", trained - coarse)):
            failed = {(c.graph, c.precision) for c in found if c.device == device and not c.passed}
            assert failed >= least, (nudged, device)


def test_a_bundle_that_does_not_say_what_tf32_does_is_held_to_the_usual_gate(
    tmp_path: Path, on_a_card: Callable[..., list[Comparison]]
) -> None:
    bundle = Path(shutil.copytree(MODELS / "digits-gauss", tmp_path / "digits"))
    rewrite(bundle, lambda document: document.pop("tf32"))
    found = {(c.measure, c.gate, c.passed) for c in on_a_card(bundle) if c.device == "cuda"}
    assert found == {("difference", 5e-3, True)}


def test_gates_are_multiples_of_what_the_manifest_says_for_cuda_alone() -> None:
    manifest = open_bundle(MODELS / "mnist-plane").manifest
    said = {(error.graph, error.precision): error for error in manifest.tf32}
    assert said.keys() == {("encoder", "fp32"), ("decoder", "fp32"), ("prior", "fp32"), ("decoder", "lite")}
    lite = said["decoder", "lite"]
    assert [(g.measure, g.limit) for g in gates_of(manifest, "decoder", "lite", "cuda")] == [
        ("difference", 3 * lite.difference),
        ("rms", 2 * lite.rms),
    ]
    # A graph without products rounds nothing more than without TF32.
    assert {g.limit for g in gates_of(manifest, "prior", "fp32", "cuda")} == {1e-4}
    for device, limit in (("cpu", 1e-5), (NO_TF32, 1e-4), ("tensorrt", 5e-3), ("dml", 5e-3)):
        assert [g.limit for g in gates_of(manifest, "decoder", "lite", device)] == [limit]


def networks_of(folder: Path) -> tuple[Bundle, dict[tuple[str, str], nn.Module]]:
    """A bundle, and what its graphs in float32 were made from, by role and precision, in evaluation mode."""
    loaded = load_networks(folder)
    bundle, networks = loaded.bundle, {(role, "fp32"): getattr(loaded, role) for role in ROLES}
    image = bundle.manifest.image.axes
    if "lite" in bundle.manifest.graphs["decoder"]:
        weights = weights_of(bundle, "decoder", "lite")
        lite = LiteDecoder(weights["coefficients.0.weight"].shape[1], image)
        networks["decoder", "lite"] = filled(lite, weights)
    if DETECTOR in bundle.manifest.graphs:
        detector = Detector(build(loaded.recipe, image)[0], image)
        scaled = Scaled(detector, usual=0, width=1, heat=1, contrast=1)
        networks[DETECTOR, "fp32"] = filled(scaled, weights_of(bundle, DETECTOR, "fp32"))
    return bundle, networks


def weights_of(bundle: Bundle, role: str, precision: str) -> dict[str, Tensor]:
    """The numbers that a graph keeps, by their names in the network, whatever type it stores them in."""
    graph = onnx.load_model_from_string(read_graph(bundle, role, precision).content).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    return {name.removesuffix(".float16").removesuffix(".int8"): torch.from_numpy(a) for name, a in arrays.items()}


def filled(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The network with those of the weights that are its own; what the graph does not use stays as it is."""
    network.load_state_dict({name: weights[name] for name in network.state_dict() if name in weights}, strict=False)
    return network.eval()


@pytest.mark.parametrize("name", ["mnist-plane", "mnist-oneclass"])
def test_the_shipped_figures_are_those_of_the_networks(name: str) -> None:
    """With a lite decoder and with a detector, which are made anew of their graphs' weights."""
    bundle, networks = networks_of(MODELS / name)
    golden = read_golden(bundle)
    for (role, precision), network in networks.items():
        given, expected = golden_of(role, golden, precision)
        with torch.no_grad():
            found = network(**{key: torch.from_numpy(values) for key, values in given.items()})
        assert all(relative_error(found[key].numpy(), values) <= 1e-5 for key, values in expected.items())
    found_errors = tf32_errors(networks, golden)
    assert [(e.graph, e.precision) for e in found_errors] == [(e.graph, e.precision) for e in bundle.manifest.tf32]
    for found_error, said in zip(found_errors, bundle.manifest.tf32, strict=True):
        # Another CPU may sum up in another order, after which other numbers are rounded.
        assert (found_error.difference, found_error.rms) == pytest.approx(
            (said.difference, said.rms), rel=0.2, abs=1e-6
        )


def test_an_export_says_what_tf32_does_to_its_graphs(small_bundle: Path) -> None:
    found = {(e.graph, e.precision): e for e in open_bundle(small_bundle).manifest.tf32}
    assert found.keys() == {("encoder", "fp32"), ("decoder", "fp32"), ("prior", "fp32")}
    assert all(
        1e-5 < found[role, "fp32"].rms < found[role, "fp32"].difference < 2e-2 for role in ("encoder", "decoder")
    )


def test_numbers_are_rounded_to_ten_bits() -> None:
    step = 2.0**-10
    values = torch.tensor([1 + step, 1 + 0.5 * step, 1 + 1.5 * step, 1 + 0.49 * step, -1 - 0.5 * step, 0.0])
    assert to_nearest(values).tolist() == [1 + step, 1 + step, 1 + 2 * step, 1, -1 - step, 0]
    assert cut_off(values).tolist() == [1 + step, 1, 1 + step, 1, -1, 0]


class Recurrent(nn.Module):
    """The outputs of a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 4, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:
        outputs: Tensor = self.layer(values)[0]
        return outputs


class Attention(nn.Module):
    """Of values to themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, values: Tensor) -> Tensor:
        outputs: Tensor = self.attention(values, values, values)[0]
        return outputs


class Einsum(nn.Module):
    """A product as a sum over indices."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.einsum("nij,nkj->nik", values, values)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (nn.Linear(8, 3), (4, 8)),
        (nn.Linear(8, 3, bias=False), (4, 5, 8)),
        (nn.Conv2d(3, 4, 3, groups=1), (2, 3, 6, 6)),
        (nn.Conv1d(3, 3, 3, groups=3, bias=False), (2, 3, 6)),
        (nn.ConvTranspose2d(3, 4, 4, stride=2), (2, 3, 6, 6)),
        (Recurrent(), (2, 5, 8)),
        (Attention(), (2, 5, 8)),
        (Einsum(), (2, 5, 8)),
    ],
)
def test_every_kind_of_product_is_rounded(network: nn.Module, shape: tuple[int, ...]) -> None:
    """Where all that is multiplied is rounded to nothing, an output does not depend on its input."""
    network.eval()
    one, other = torch.rand(shape), torch.rand(shape)
    with torch.no_grad():
        assert not torch.allclose(network(one), network(other))
        with rounded_products(torch.zeros_like):
            assert torch.equal(network(one), network(other))
        assert not torch.allclose(network(one), network(other))


def test_a_network_whose_numbers_are_not_finite_with_tf32_has_no_error() -> None:
    class Root(nn.Module):
        """Of a number that is above 0 in float32, and below 0 when its factors are rounded."""

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return {"z": (image.flatten(1) @ torch.tensor([[1.0], [1.0]]) - 2).sqrt()}

    golden = {
        "encoder.image": np.full((1, 1, 1, 2), 1 + 2.0**-12, np.float32),
        "encoder.z": np.ones((1, 1), np.float32),
    }
    assert tf32_errors({("encoder", "fp32"): Root()}, golden) != ()
    golden["encoder.image"] -= np.float32(2.0**-11)
    assert tf32_errors({("encoder", "fp32"): Root()}, golden) == ()
