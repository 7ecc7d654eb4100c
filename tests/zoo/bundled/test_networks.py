"""A bundle's networks back in PyTorch: the same as the graphs, from either file, and whatever is amiss refused."""

import copy
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT, Change, replace_graph, rewrite
from onnx import numpy_helper
from safetensors.torch import load_file, save
from torch import Tensor, nn

from aae_zoo.export.bundling.graphs import round_weights, to_onnx
from aae_zoo.runtime import InvalidBundle, find_model, list_models
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.names import MANIFEST, ROLES, WEIGHTS
from aae_zoo.runtime.bundles.protobuf import field
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.checks.parity import golden_of, relative_error
from aae_zoo.runtime.engine.session import open_session
from aae_zoo.zoo import load_networks
from aae_zoo.zoo.priors.fitted import Prior, Settings

SHIPPED = [entry.name for entry in list_models() if (ROOT / "runtime" / "models" / entry.name).is_dir()]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of a small shipped bundle that a test may damage."""
    return Path(shutil.copytree(find_model("digits-gauss").folder, tmp_path / "digits"))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_networks_of_every_shipped_model_give_what_its_graphs_give(name: str, tmp_path: Path) -> None:
    whole = load_networks(name)
    wheel = Path(shutil.copytree(whole.bundle.folder, tmp_path / name, ignore=shutil.ignore_patterns(WEIGHTS)))
    from_graphs = load_networks(wheel)
    golden = read_golden(whole.bundle)
    for role in ROLES:
        graph = read_graph(whole.bundle, role)
        given, _ = golden_of(role, golden)
        expected = dict(
            zip(graph.outputs, open_session(graph, device="cpu").run(list(graph.outputs), given), strict=True)
        )
        for networks in (whole, from_graphs):
            network = getattr(networks, role)
            with torch.no_grad():
                found = network(**{key: torch.from_numpy(values) for key, values in given.items()})
            assert found.keys() == expected.keys()
            for output, values in found.items():
                assert relative_error(values.numpy(), expected[output]) <= 1e-5, (role, output)
    stored, same = whole.state_dict(), from_graphs.state_dict()
    # What graphs have folded is the same function with other weights.
    folded = any(isinstance(module, nn.BatchNorm2d) for role in ROLES for module in getattr(whole, role).modules())
    for key, values in same.items():
        assert folded or torch.equal(values, stored[key]) or key.endswith(".num_batches_tracked"), key
    assert stored.keys() == same.keys() == load_file(whole.bundle.folder / WEIGHTS).keys()
    assert {key.split(".")[0] for key in stored} <= set(ROLES)  # what judged them in training stays with the run


def test_they_are_ordinary_modules_to_train_further() -> None:
    torch.manual_seed(0)
    networks = load_networks("digits-gauss")
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))  # left as it was
    assert networks.state_dict().keys() == load_file(networks.bundle.folder / WEIGHTS).keys()
    encoder, decoder = copy.deepcopy(networks.encoder).train(), copy.deepcopy(networks.decoder).train()
    image = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
    errors = []
    for _ in range(20):
        loss = (decoder(encoder(image)["z"])["image"] - image).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item())
    assert errors[-1] < 0.8 * errors[0]
    assert not torch.equal(encoder(image)["z"], networks.encoder(image)["z"])  # the copy alone has learnt


# A terabyte of covariances.
FITTED = (
    '[prior]\nkind = "fitted"\nsize = 2000\ncomponents = 60000\n\n[objective]\nkind = "ae"\nreconstruction = "mse"\n'
)


def without_recipe(document: dict[str, dict[str, str]]) -> None:
    del document["provenance"]["recipe"]


def recipe_with(old: str, new: str) -> Change:
    def change(document: dict[str, dict[str, str]]) -> None:
        assert old in document["provenance"]["recipe"]
        document["provenance"]["recipe"] = document["provenance"]["recipe"].replace(old, new)

    return change


def with_a_fitted_prior(document: dict[str, dict[str, str]]) -> None:
    recipe = document["provenance"]["recipe"]
    document["provenance"]["recipe"] = re.sub(r"\[prior\].*(?=\[training\])", FITTED, recipe, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_recipe, r"digits-gauss does not say by which recipe .* aae-zoo export"),
        (lambda d: d["provenance"].update(recipe=7), "does not say by which recipe"),
        (
            recipe_with("[prior]", "[prior]\nstretch = 2"),
            r"prior.stretch: there is no such setting; .* another version",
        ),
        (recipe_with("[prior]", "[[prior"), r"is not TOML: .* another version"),
        (recipe_with("hidden = [256, 256]", "hidden = [256, 65536, 65536]"), "makes no networks: .* parameters"),
        (with_a_fitted_prior, "makes no networks: .* parameters"),
        (recipe_with("hidden = [256, 256]", "hidden = [256, 128]"), r"weights \S+ of the shape .* by its recipe"),
        (recipe_with("hidden = [256, 256]", "hidden = [256, 256, 9]"), "has no weights decoder.layers.6.bias"),
    ],
)
def test_a_recipe_that_is_not_the_networks(change: Change, message: str, bundle: Path) -> None:
    rewrite(bundle, change)
    with pytest.raises(InvalidBundle, match=message):
        load_networks(bundle)


Weights = dict[str, Tensor]


def store(bundle: Path, change: Callable[[Weights], object]) -> None:
    """Change model.safetensors, with a manifest that agrees to it."""
    weights = load_file(bundle / WEIGHTS)
    change(weights)
    replace_graph(bundle, WEIGHTS, save(weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w["encoder.layers.2.weight"][3].fill_(torch.nan), r"encoder.layers.2.weight that are not finite"),
        (lambda w: w["decoder.layers.0.bias"][:1].fill_(torch.inf), "decoder.layers.0.bias that are not"),
        (lambda w: w.pop("decoder.layers.0.bias"), "has no weights decoder.layers.0.bias"),
        (lambda w: w.update({"more\n": torch.zeros(1)}), r"the shape \[1\], expected none"),
        (
            lambda w: w["decoder.layers.2.bias"].add_(0.01),
            "PyTorch's decoder of digits-gauss is not that of the bundle",
        ),
    ],
)
def test_weights_that_are_not_the_networks(change: Callable[[Weights], object], message: str, bundle: Path) -> None:
    store(bundle, change)
    with pytest.raises(InvalidBundle, match=message) as caught:
        load_networks(bundle)
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(bundle: Path, tmp_path: Path) -> None:
    torch.save({"encoder.layers.0.bias": torch.zeros(256)}, tmp_path / "pickle")
    replace_graph(bundle, WEIGHTS, (tmp_path / "pickle").read_bytes())
    with pytest.raises(InvalidBundle, match="is not a safetensors file"):
        load_networks(bundle)


def regraph(bundle: Path, role: str, change: Callable[[onnx.ModelProto], object]) -> None:
    """Change a graph of a bundle that has no model.safetensors, with a manifest that agrees to it."""
    (bundle / WEIGHTS).unlink()
    model = onnx.load(bundle / f"{role}.onnx")
    change(model)
    replace_graph(bundle, f"{role}.onnx", model.SerializeToString())


def test_weights_of_a_graph_that_are_not_finite(bundle: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "layers.4.bias")
        tensor.CopyFrom(numpy_helper.from_array(np.full(64, np.nan, np.float32), tensor.name))

    regraph(bundle, "decoder", spoil)
    with pytest.raises(InvalidBundle, match=r"weights decoder.layers.4.bias that are not finite"):
        load_networks(bundle)


def test_a_hostile_graph_is_refused_before_its_weights_are_read(bundle: Path) -> None:
    def reach_out(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")

    regraph(bundle, "encoder", reach_out)
    with pytest.raises(InvalidBundle, match="has its data in another file; do not trust this bundle"):
        load_networks(bundle)


def test_a_graph_that_is_damaged_where_onnx_alone_looks(bundle: Path) -> None:
    (bundle / WEIGHTS).unlink()
    metadata = field(14, b"\xff")
    replace_graph(bundle, "prior.onnx", (bundle / "prior.onnx").read_bytes() + metadata)
    with pytest.raises(InvalidBundle, match="prior.onnx of digits-gauss is damaged"):
        load_networks(bundle)


def rename(model: onnx.ModelProto) -> None:
    """Give every value another name, as tools that rewrite graphs do."""
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    names = {name: name for name in kept}
    for tensor in model.graph.initializer:
        tensor.name = names.setdefault(tensor.name, f"t{len(names)}")
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [names.setdefault(name, f"t{len(names)}") for name in values]


def test_weights_without_their_names_are_found_by_order_and_shape(bundle: Path) -> None:
    stored = load_networks(bundle).state_dict()
    regraph(bundle, "decoder", rename)
    found: Mapping[str, Tensor] = load_networks(bundle).state_dict()
    assert all(torch.equal(values, stored[name]) for name, values in found.items())
    assert "layers.0.bias" not in json.dumps([t.name for t in onnx.load(bundle / "decoder.onnx").graph.initializer])


def test_a_fitted_prior_of_one_component_whose_weight_is_not_in_its_graph(tmp_path: Path) -> None:
    """There is nothing to choose, so that the graph does not need it."""
    bundle = Path(shutil.copytree(find_model("mnist-ae").folder, tmp_path / "ae"))
    recipe_with("components = 50", "components = 1")(document := json.loads((bundle / MANIFEST).read_text()))
    prior = Prior(Settings(kind="fitted", size=8, components=1))
    prior.fit(torch.randn(200, 8, generator=torch.Generator().manual_seed(0)), 0)
    round_weights(prior)
    golden = dict(np.load(bundle / "golden.npz"))
    u = torch.from_numpy(golden["prior.u"])
    content = to_onnx(copy.deepcopy(prior), {"u": u}, ["z"], {})
    (bundle / MANIFEST).write_text(json.dumps(document))
    replace_graph(bundle, "prior.onnx", content)
    np.savez(bundle / "golden.npz", **(golden | {"prior.z": prior(u)["z"].numpy()}))
    replace_graph(bundle, "golden.npz", (bundle / "golden.npz").read_bytes())
    (bundle / WEIGHTS).unlink()
    found = load_networks(bundle).prior
    assert torch.equal(found(u)["z"], prior(u)["z"])
