"""Export: graphs by the contract, the gate that refuses what is not equal, and bundles that are whole or not there."""

import copy
import json
import math
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import AaeZoo
from conftest import rewrite as rewrite_manifest
from huggingface_hub import ModelCard
from onnx import numpy_helper
from PIL import Image
from safetensors.numpy import load_file
from torch import Tensor, nn

from aae_zoo.export.bundling import prove
from aae_zoo.export.bundling.bundle import export_bundle
from aae_zoo.export.bundling.graphs import fold_normalisations, round_weights, to_onnx
from aae_zoo.export.bundling.pictures import write_pictures
from aae_zoo.export.bundling.prove import gate
from aae_zoo.export.card.card import model_card
from aae_zoo.export.card.config import config
from aae_zoo.export.proof import gate as comparing
from aae_zoo.export.proof.gate import GATE, check_graphs, failures, float64_gate
from aae_zoo.export.proof.golden import golden_file, golden_inputs, references
from aae_zoo.export.proof.layers import first_difference
from aae_zoo.export.proof.metrics import Graphs, compare_metrics
from aae_zoo.export.proof.own import open_own
from aae_zoo.export.proof.search import worst_input
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.names import ROLES
from aae_zoo.runtime.checks.parity import COMPARED_BATCHES, golden_of
from aae_zoo.runtime.drawing import comparisons
from aae_zoo.runtime.drawing.captions import draw_rows
from aae_zoo.runtime.errors import DatasetError, ParityError
from aae_zoo.runtime.model import Model, load
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.build import build
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.networks import conv
from aae_zoo.zoo.recipe import load_recipe, parse_toml
from aae_zoo.zoo.training.run import Run, load_model


@pytest.fixture(params=ROLES)
def graph(request: pytest.FixtureRequest, small_bundle: Path) -> onnx.ModelProto:
    return onnx.load(small_bundle / f"{request.param}.onnx", load_external_data=False)


class TestGraphContract:
    def test_opset_and_ir(self, graph: onnx.ModelProto) -> None:
        assert [(o.domain, o.version) for o in graph.opset_import] == [("", 18)]
        assert graph.ir_version == 8

    def test_a_single_file(self, graph: onnx.ModelProto) -> None:
        assert all(t.data_location == onnx.TensorProto.DEFAULT for t in graph.graph.initializer)

    def test_nothing_of_this_machine(self, small_bundle: Path, small_run: Path) -> None:
        words = (b"/work", b"/home", b"/root", b"site-packages", b".py", b"/tmp", str(small_run).encode())
        for role in ROLES:
            content = (small_bundle / f"{role}.onnx").read_bytes()
            assert [word for word in words if word in content] == []

    def test_a_dynamic_first_axis_called_batch_and_float32(self, graph: onnx.ModelProto) -> None:
        for value in (*graph.graph.input, *graph.graph.output):
            assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
            first, *rest = value.type.tensor_type.shape.dim
            assert first.dim_param == "batch"
            assert all(d.dim_value > 0 for d in rest)

    def test_metadata_tells_what_embedding_needs(self, graph: onnx.ModelProto) -> None:
        found = {p.key: p.value for p in graph.metadata_props}
        role = found.pop("aae_zoo.role")
        assert role in ROLES
        assert found == {
            "aae_zoo.name": "small",
            "aae_zoo.version": "0.1.0",
            "aae_zoo.image_shape": "[1, 14, 14]",
            "aae_zoo.latent": "2",
            "aae_zoo.noise": "2",
            "aae_zoo.classes": "0",
            "aae_zoo.labels": "[]",
            "aae_zoo.label_coordinate": "",
            "aae_zoo.dataset": "small",
            "aae_zoo.licence": "MIT",
        }

    def test_inputs_and_outputs(self, small_bundle: Path) -> None:
        names = {}
        for role in ROLES:
            session = ort.InferenceSession(small_bundle / f"{role}.onnx", providers=["CPUExecutionProvider"])
            names[role] = ([i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()])
        assert names == {"encoder": (["image"], ["z"]), "decoder": (["z"], ["image"]), "prior": (["u"], ["z"])}

    def test_large_weights_are_stored_as_float16_without_loss(self, small_bundle: Path) -> None:
        weights = load_file(small_bundle / "model.safetensors")
        stored = [
            numpy_helper.to_array(t).astype(np.float32)
            for t in onnx.load(small_bundle / "decoder.onnx").graph.initializer
            if t.data_type == onnx.TensorProto.FLOAT16
        ]
        assert stored
        wanted = [w.astype(np.float32) for name, w in weights.items() if name.startswith("decoder") and w.size >= 1024]
        for weight in wanted:
            assert any(np.array_equal(weight, s) or np.array_equal(weight.T, s) for s in stored)


def rewrite(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


class TwoHeads(nn.Module):
    """An encoder with two outputs of one shape."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"z": image.flatten(1)[:, :2], "log_var": image.flatten(1)[:, 2:4]}


class TestGate:
    """The gate lets the small model's own graphs through, and refuses each thing that has gone wrong in the field."""

    @pytest.fixture
    def model(self, small_run: Path, small_data: Path) -> Autoencoder:
        run = Run.open(small_run)
        model, objective = load_model(run, (1, 14, 14))
        round_weights(objective)
        return model

    @pytest.fixture
    def networks(self, model: Autoencoder) -> Mapping[str, nn.Module]:
        return {"encoder": model.encoder, "decoder": model.decoder, "prior": model.prior}

    @pytest.fixture
    def expected(self, model: Autoencoder, networks: Mapping[str, nn.Module], small_data: Path) -> dict[str, Any]:
        return references(networks, golden_inputs(model.prior, load_dataset("small", small_data).test_images))

    @pytest.fixture
    def refusal(self, bundle: Path, expected: dict[str, Any], networks: Mapping[str, nn.Module]) -> Callable[[], str]:
        def call() -> str:
            with pytest.raises(ParityError, match="comparisons with PyTorch failed, no bundle was written") as error:
                gate(bundle, expected, networks)
            return str(error.value)

        return call

    def test_equal_graphs_pass_in_every_engine_and_batch(
        self, bundle: Path, expected: dict[str, Any], networks: Mapping[str, nn.Module]
    ) -> None:
        report = gate(bundle, expected, networks)
        assert report["passed"]
        assert report["without_torch"]
        assert len(report["rows"]) == len(ROLES) * (2 * len(COMPARED_BATCHES) + 1)
        assert report["gates"] == {"float32": 1e-5, "float64": "10 x |torch - float64| + 1e-07"}
        for role, worst in report["worst"].items():
            assert 0 <= worst == max(row["error"] for row in report["rows"] if row["graph"] == role) < GATE

    def test_a_small_difference_from_a_network_that_is_nearly_exact(
        self, expected: dict[str, Any], refusal: Callable[[], str]
    ) -> None:
        """As far off as float32 may be, but ten times as far as this network itself is."""
        expected["prior.z"] = expected["prior.z"] + np.float32(5e-6)
        expected["prior.z.float64"] = expected["prior.z"].astype(np.float64)
        assert "prior (ONNX Runtime, not optimised, batch 1): z differs from float64 by " in refusal()

    def test_a_difference_from_a_network_that_is_as_far_from_float64_itself(
        self, expected: dict[str, Any], refusal: Callable[[], str]
    ) -> None:
        expected["prior.z"] = expected["prior.z"] + np.float32(2e-4)
        assert "prior (ONNX Runtime, not optimised, batch 1): z differs from PyTorch by " in refusal()

    @pytest.mark.parametrize("role", ["encoder", "decoder"])
    @pytest.mark.parametrize("layer", [0, -1])
    def test_a_nudged_weight(
        self,
        bundle: Path,
        expected: dict[str, Any],
        networks: Mapping[str, nn.Module],
        refusal: Callable[[], str],
        role: str,
        layer: int,
    ) -> None:
        """One float16 weight, moved by as few units in the last place as the gate must see."""
        place, value = least_visible_nudge(networks[role], role, layer, expected)

        def nudge(model: onnx.ModelProto) -> None:
            tensor = [t for t in model.graph.initializer if len(t.dims) == 2][layer]
            values = numpy_helper.to_array(tensor).copy()
            values[place] = value
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

        rewrite(bundle / f"{role}.onnx", nudge)
        message = refusal()
        assert f"{role} (ONNX Runtime" in message
        first, last = {"encoder": (0, 3), "decoder": (0, 2)}[role]
        assert f"the difference first appears in layers.{first if layer == 0 else last} (addmm)" in message
        assert "the graph goes on with Gemm node_linear" in message

    def test_a_baked_batch(self, bundle: Path, refusal: Callable[[], str]) -> None:
        def bake(graph: onnx.ModelProto) -> None:
            for value in (*graph.graph.input, *graph.graph.output):
                value.type.tensor_type.shape.dim[0].dim_value = 65

        rewrite(bundle / "decoder.onnx", bake)
        message = refusal()
        assert "decoder (ONNX Runtime, not optimised, batch 1): it declares {'z': [65, 2], 'image': [65, 1," in message
        assert "Expected: 65" in message

    def test_a_batch_baked_into_a_reshape(self, bundle: Path, refusal: Callable[[], str]) -> None:
        """The silent form: the graph takes any batch, and answers with another number of rows."""

        def bake(graph: onnx.ModelProto) -> None:
            node = graph.graph.output[0].name
            last = next(n for n in graph.graph.node if node in n.output)
            last.output[0] = "whole"
            graph.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.int64), "rows"))
            graph.graph.node.append(onnx.helper.make_node("Gather", ["whole", "rows"], [node], axis=0))

        rewrite(bundle / "prior.onnx", bake)
        message = refusal()
        assert "it declares {'u': ['batch', 2], 'z': [2, 2]}" in message
        assert "every layer has its equal in the graph, which after " in message
        assert "goes on with Gather" in message

    def test_a_model_in_training_mode(self, bundle: Path, model: Autoencoder, refusal: Callable[[], str]) -> None:
        example = {"image": torch.rand(2, 1, 14, 14)}
        try:
            content = to_onnx(model.encoder.train(), example, ["z"], {})
        finally:
            model.encoder.eval()
        (bundle / "encoder.onnx").write_bytes(content)
        message = refusal()
        assert "encoder (ONNX Runtime" in message
        assert "first appears in layers.3 (addmm): after layers.1 (relu) the graph goes on with Dropout" in message

    def test_swapped_outputs(self, tmp_path: Path) -> None:
        inputs = {"encoder": {"image": torch.rand(65, 1, 2, 2, generator=torch.Generator().manual_seed(0))}}
        expected = references({"encoder": TwoHeads()}, inputs)
        path = tmp_path / "encoder.onnx"
        path.write_bytes(to_onnx(TwoHeads(), inputs["encoder"], ["z", "log_var"], {}))
        rows = [r for r in check_graphs(tmp_path, expected)["rows"] if r["graph"] == "encoder"]
        assert all(r["passed"] for r in rows)
        path.write_bytes(to_onnx(TwoHeads(), inputs["encoder"], ["log_var", "z"], {}))
        rows = [r for r in check_graphs(tmp_path, expected)["rows"] if r["graph"] == "encoder"]
        assert not any(r["passed"] for r in rows)
        where = first_difference(TwoHeads(), inputs["encoder"], path.read_bytes())
        assert "every layer has its equal in the graph: it is the names of its outputs" in where

    def test_both_extremes_of_optimisation_run_every_batch_and_the_reference_the_largest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inputs = {"encoder": {"image": torch.rand(65, 1, 2, 2, generator=torch.Generator().manual_seed(0))}}
        (tmp_path / "encoder.onnx").write_bytes(to_onnx(TwoHeads(), inputs["encoder"], ["z", "log_var"], {}))
        levels = []

        def opened(graph: bytes, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
            levels.append(level)
            return open_own(graph, level)

        monkeypatch.setattr(comparing, "open_own", opened)
        report = check_graphs(tmp_path, references({"encoder": TwoHeads()}, inputs))
        rows = [(r["engine"], r["batch"]) for r in report["rows"] if r["graph"] == "encoder"]
        engines = [f"ONNX Runtime, {how}" for how in ("not optimised", "optimised")]
        assert rows == [*product(engines, COMPARED_BATCHES), ("onnx.reference", 65)]
        extremes = [ort.GraphOptimizationLevel.ORT_DISABLE_ALL, ort.GraphOptimizationLevel.ORT_ENABLE_ALL]
        assert levels == [level for level in extremes for _ in COMPARED_BATCHES]

    def test_of_two_outputs_the_report_has_the_worse(self, tmp_path: Path) -> None:
        inputs = {"encoder": {"image": torch.rand(65, 1, 2, 2, generator=torch.Generator().manual_seed(0))}}
        expected = dict[str, Any](references({"encoder": TwoHeads()}, inputs))
        (tmp_path / "encoder.onnx").write_bytes(to_onnx(TwoHeads(), inputs["encoder"], ["z", "log_var"], {}))
        expected["encoder.z"] = expected["encoder.z"] + np.float32(5e-6)
        expected["encoder.z.float64"] = expected["encoder.z.float64"] + 3e-6
        rows = [r for r in check_graphs(tmp_path, expected)["rows"] if r["graph"] == "encoder"]
        for row in rows:
            assert row["passed"]
            found = [row[name] for name in ("error", "float64", "float64_allowed")]
            assert found == pytest.approx([5e-6, 3e-6, 2e-5 + 1e-7], rel=0.05)

    def test_a_missing_output_a_missing_graph_and_bytes_that_are_none(
        self, bundle: Path, expected: dict[str, Any]
    ) -> None:
        (bundle / "encoder.onnx").unlink()
        (bundle / "decoder.onnx").write_bytes(b"not a graph")
        rewrite(bundle / "prior.onnx", lambda m: rename_output(m, "code"))
        problems = failures(check_graphs(bundle, expected))
        assert len(problems) == len(ROLES) * (2 * len(COMPARED_BATCHES) + 1)
        assert "it declares {'u': ['batch', 2], 'code': ['batch', 2]}, expected {'u'" in problems[-1]

    def test_values_outside_their_range(self, bundle: Path, refusal: Callable[[], str]) -> None:
        def add_one(graph: onnx.ModelProto) -> None:
            rename_output(graph, "inner")
            graph.graph.output[0].name = "image"
            graph.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
            graph.graph.node.append(onnx.helper.make_node("Add", ["inner", "one"], ["image"]))

        rewrite(bundle / "decoder.onnx", add_one)
        message = refusal()
        assert "expected [0, 1]" in message
        assert "which after sigmoid goes on with Add" in message

    def test_probabilities_that_are_none(self, tmp_path: Path) -> None:
        class Unnormalised(nn.Module):
            def forward(self, image: Tensor) -> dict[str, Tensor]:
                return {"z": image.flatten(1)[:, :2], "y": image.flatten(1)[:, 2:4]}

        inputs = {"encoder": {"image": torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))}}
        expected = references({"encoder": Unnormalised()}, inputs)
        content = to_onnx(Unnormalised(), inputs["encoder"], ["z", "y"], {})
        (tmp_path / "encoder.onnx").write_bytes(content)
        assert "expected probabilities that sum to 1" in failures(check_graphs(tmp_path, expected))[0]

    def test_what_only_some_inputs_show(self, bundle: Path, model: Autoencoder, small_data: Path) -> None:
        """A graph that differs only for images of many bright pixels in its first row: the search climbs there."""
        inputs = golden_inputs(model.prior, load_dataset("small", small_data).test_images)["encoder"]
        largest = float(model.encoder(**inputs)["z"].detach().abs().max())  # errors are relative to it

        class Lopsided(nn.Module):
            def forward(self, image: Tensor) -> dict[str, Tensor]:
                z = model.encoder(image)["z"]
                return {"z": z + 1e-4 * largest * (image[:, 0, 0].sum(1, keepdim=True) - 9).clamp(min=0)}

        inputs = {"image": inputs["image"][:42]}
        graph = to_onnx(Lopsided(), inputs, ["z"], {})
        worst = worst_input(model.encoder, graph, inputs)
        assert worst.error > 3e-4
        assert worst.inputs["image"].shape == (1, 1, 14, 14)
        again = worst_input(model.encoder, graph, inputs)
        assert torch.equal(again.inputs["image"], worst.inputs["image"])
        assert torch.equal((worst.inputs["image"] * 255).round() / 255, worst.inputs["image"])

    def test_the_search_leaves_graphs_that_do_not_run_to_the_gate(self, bundle: Path, model: Autoencoder) -> None:
        graph = onnx.load(bundle / "encoder.onnx")
        graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 65
        worst = worst_input(model.encoder, graph.SerializeToString(), {"image": torch.rand(3, 1, 14, 14)})
        assert worst.error == np.inf

    def test_other_metrics(
        self,
        bundle: Path,
        small_run: Path,
        small_data: Path,
        model: Autoencoder,
        networks: Mapping[str, nn.Module],
    ) -> None:
        dataset, manifest = load_dataset("small", small_data), open_bundle(bundle).manifest
        metrics = manifest.metrics
        other = manifest._replace(metrics={**metrics, "mse": 1.01 * metrics["mse"]})
        rest = (dataset, Run.open(small_run).recipe.data)
        report = compare_metrics(networks, bundle, *rest, manifest)
        assert report["mse"]["onnxruntime"] == pytest.approx(metrics["mse"], rel=1e-5)
        message = "through ONNX Runtime mse is 0.* with PyTorch 0.*no bundle was written; "
        with pytest.raises(ParityError, match=message + "no graph differs on the first 500 test images"):
            compare_metrics(networks, bundle, *rest, other)

        def brighten(graph: onnx.ModelProto) -> None:
            bias = next(t for t in graph.graph.initializer if len(t.dims) == 1 and t.data_type == 1)
            bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.5), bias.name))

        rewrite(bundle / "decoder.onnx", brighten)
        with pytest.raises(ParityError, match=message + r"decoder: the difference first appears in layers.0 \(addmm\)"):
            compare_metrics(networks, bundle, *rest, manifest)


@torch.no_grad()
def least_visible_nudge(
    network: nn.Module, role: str, layer: int, expected: Mapping[str, Any]
) -> tuple[tuple[int, ...], np.float16]:
    """The place of the weight whose last place moves the references most, and the nearest value that the gate must see.

    How large weights and codes become differs from processor to processor, and with them what one last place does.
    An equal graph may be off by all that the gate allows, so what moves an output by twice as much is always seen.
    """
    given, outputs = golden_of(role, expected)
    (name,) = outputs
    exact = copy.deepcopy(network).double()
    weight = [p for p in exact.parameters() if p.dim() == 2][layer]
    inputs = {key: torch.from_numpy(values).double() for key, values in given.items()}
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(exact(**inputs)[name].sum(), weight)
    influence = gradient.abs().numpy() * np.spacing(np.abs(weight.numpy()).astype(np.float16))
    place = tuple(map(int, np.unravel_index(influence.argmax(), influence.shape)))
    wanted, value = expected[f"{role}.{name}.float64"], np.float16(weight[place])
    while np.abs(exact(**inputs)[name].numpy() - wanted).max() <= 2 * float64_gate(outputs[name], wanted):
        weight[place] = float(value := np.nextafter(value, np.float16(np.inf)))
    return place, value


def rename_output(model: onnx.ModelProto, name: str) -> None:
    old = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = [name if o == old else o for o in node.output]
    model.graph.output[0].name = name


def test_the_picture_of_labels_names_them(tmp_path: Path) -> None:
    model, fashion = load("fashion-style"), load_dataset("fashion-mnist")
    autoencoder, _ = build(load_recipe("fashion-style"), fashion.image_shape)
    write_pictures(tmp_path, model, fashion, autoencoder.prior)
    blank = np.zeros((10, *model.manifest.image.axes), np.float32)
    named = np.asarray(draw_rows(comparisons.classes(blank, fashion.label_names)))
    with Image.open(tmp_path / "labels.png") as picture:
        rows = np.asarray(picture.convert("L")).astype(int)
    below = 10 + 112  # the captions, below a row of blank images
    assert rows.shape == (named.shape[0] + 7 * (112 + 10), named.shape[1])
    assert np.abs(rows[below - named.shape[0] :] - named[below:]).max() <= 8  # in 16 shades
    assert (named[below:] < 128).any()


class TestBundle:
    def test_its_files(self, small_bundle: Path, small: Model) -> None:
        names = {p.name for p in small_bundle.iterdir()}
        graphs = {"encoder.onnx", "decoder.onnx", "prior.onnx", "model.safetensors", "golden.npz", "codes.npz"}
        pictures = {"samples.png", "manifold.png", "codes.png", "reconstructions.png"}
        assert names == {*graphs, *pictures, "parity.json", "README.md", "config.json", "manifest.json"}
        bundle = open_bundle(small_bundle)
        bundle.check_files()
        assert set(bundle.manifest.files) == names - {"manifest.json"}
        drawn = {"samples.png": small.sample(64, seed=0), "manifold.png": small.manifold(20)}
        for name in pictures:
            # As much contrast as what the model draws, in 12 shades at worst; test images and plots have more.
            wanted = 255 * np.ptp(drawn[name]) - 24 if name in drawn else 128
            with Image.open(small_bundle / name) as picture:
                assert np.ptp(np.asarray(picture.convert("L"))) > wanted

    def test_of_large_images_fewer_rows_are_kept_and_the_worst_of_all_is_the_last(self) -> None:
        drawn = {"decoder.image": np.zeros((33, 3, 64, 64), np.float32), "decoder.z": np.arange(33, dtype=np.float32)}
        kept = golden_file({**drawn, "encoder.image": np.zeros((65, 3, 64, 64), np.float32)})
        assert kept["decoder.z"].tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32]
        assert len(kept["decoder.image"]) == 9
        assert len(kept["encoder.image"]) == 65

    def test_golden_outputs_are_pytorchs_and_the_runtime_repeats_them(self, small_bundle: Path, small: Model) -> None:
        with np.load(small_bundle / "golden.npz", allow_pickle=False) as saved:
            golden = dict(saved)
        assert set(golden) == {"encoder.image", "encoder.z", "decoder.z", "decoder.image", "prior.u", "prior.z"}
        rows = {"encoder": 65, "decoder": 33, "prior": 65}
        assert all(len(values) == rows[key.split(".")[0]] for key, values in golden.items())
        assert golden["encoder.image"].dtype == np.uint8
        assert np.abs(small.encode(golden["encoder.image"]) - golden["encoder.z"]).max() < 1e-5
        assert np.abs(small.decode(golden["decoder.z"]) - golden["decoder.image"]).max() < 1e-5
        assert np.abs(golden["decoder.z"]).max() > 5

    def test_metrics_are_those_of_the_published_weights(
        self, small_bundle: Path, small_data: Path, small: Model
    ) -> None:
        images = load_dataset("small", small_data).test_images.numpy()
        mse = float(np.square(small.reconstruct(images) - images / np.float32(255)).mean())
        assert small.manifest.metrics["mse"] == pytest.approx(mse, rel=1e-4)

    def test_provenance_is_enough_to_train_it_again(
        self, small_bundle: Path, small_recipe: Path, tmp_path: Path
    ) -> None:
        provenance = open_bundle(small_bundle).manifest.provenance
        path = tmp_path / "recipe.toml"
        path.write_text(provenance["recipe"])
        assert load_recipe(str(path)).sha256 == load_recipe(str(small_recipe)).sha256
        assert {"command", "seed", "dataset_md5", "commit", "versions", "threads"} < set(provenance)
        assert "training_seconds" not in provenance  # no two runs take as long

    def test_the_card_is_made_from_the_manifest(self, small_bundle: Path) -> None:
        parity = json.loads((small_bundle / "parity.json").read_text())
        assert (small_bundle / "README.md").read_text("utf-8") == model_card(open_bundle(small_bundle).manifest, parity)

    @pytest.mark.parametrize(
        ("facts", "said"),
        [
            ({}, "4 threads ("),
            ({"processes": 2}, "4 threads in each of 2 processes ("),
            ({"device": "NVIDIA H200"}, "one NVIDIA H200 and 4 threads ("),
        ],
    )
    def test_the_card_says_what_it_was_trained_on(self, small_bundle: Path, facts: dict[str, Any], said: str) -> None:
        manifest, parity = open_bundle(small_bundle).manifest, json.loads((small_bundle / "parity.json").read_text())
        provenance = {**manifest.provenance, "threads": 4, **facts}
        assert f"Trained with aae-zoo on {said}" in model_card(manifest._replace(provenance=provenance), parity)

    @pytest.mark.parametrize(("commit", "said"), [("0123abc", ", at commit 0123abc, by"), (None, ", by")])
    def test_a_commit_is_named_where_there_was_one(
        self, bundle: Path, aae_zoo: AaeZoo, commit: str | None, said: str
    ) -> None:
        rewrite_manifest(bundle, lambda d: d["provenance"].update(commit=commit))
        manifest, parity = open_bundle(bundle).manifest, json.loads((bundle / "parity.json").read_text())
        assert f"seed {manifest.provenance['seed']}{said} this\n" in model_card(manifest, parity)
        lines = aae_zoo("info", bundle).out.splitlines()
        assert [line.split()[-1] for line in lines if line.startswith("at commit")] == ([commit] if commit else [])

    def test_config_says_what_the_model_is(self, small_bundle: Path) -> None:
        bundle = open_bundle(small_bundle)
        found = json.loads(bundle.read("config.json"))
        assert (small_bundle / "config.json").read_text() == config(bundle.manifest)
        card = ModelCard((small_bundle / "README.md").read_text("utf-8")).data.to_dict()
        assert found["library_name"] == card["library_name"] == "aae-zoo"
        assert (found["image"], found["latent"]) == ({"channels": 1, "height": 14, "width": 14}, 2)
        recipe = parse_toml(bundle.manifest.provenance["recipe"], "recipe")
        assert found["architecture"]["encoder"] == recipe.encoder.model_dump(mode="json")

    def test_the_same_run_gives_the_same_bytes_and_says_what_it_does(
        self,
        small_bundle: Path,
        small_run: Path,
        small_data: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        export_bundle(small_run, tmp_path / "again", data=small_data, anyway=True)
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.splitlines() == [
            "export: measuring small on 300 test images",
            "export: writing graphs",
            "export: comparing them with PyTorch",
            "export: measuring the graphs",
            "export: drawing pictures",
            "export: scoring anomalies",
        ]
        for path in small_bundle.iterdir():
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name

    def test_codes_are_those_of_test_images_with_their_classes(
        self, small_bundle: Path, small: Model, small_data: Path
    ) -> None:
        dataset = load_dataset("small", small_data)
        with np.load(small_bundle / "codes.npz", allow_pickle=False) as saved:
            assert np.allclose(saved["z"], small.encode(dataset.test_images.numpy()), atol=1e-6)
            assert saved["label"].tolist() == dataset.test_labels.tolist()
            assert saved["names"].tolist() == list(dataset.label_names)

    def test_a_failed_gate_leaves_no_bundle(
        self,
        small_run: Path,
        small_data: Path,
        refused: Callable[..., str],
        no_leftovers: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A fault of the exporter: every graph comes from other weights than those it is compared with."""

        def faulty(module: nn.Module, *rest: Any) -> bytes:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.mul_(1.01)
            return to_onnx(module, *rest)

        monkeypatch.setattr(prove, "to_onnx", faulty)
        message = refused("export", small_run, "--anyway", "--data", small_data, "-o", no_leftovers / "bundle")
        assert "comparisons with PyTorch failed, no bundle was written" in message

    def test_data_that_the_run_was_not_trained_on(self, run_folder: Path, small_data: Path, tmp_path: Path) -> None:
        path = run_folder / "run.json"
        facts = json.loads(path.read_text("utf-8"))
        facts["dataset_md5"] = dict.fromkeys(facts["dataset_md5"], "0" * 32)
        path.write_text(json.dumps(facts), "utf-8")
        with pytest.raises(DatasetError, match="not the data that .* was trained on"):
            export_bundle(run_folder, tmp_path / "bundle", data=small_data, anyway=True)
        assert not (tmp_path / "bundle").exists()

    def test_a_bundle_is_not_overwritten_unless_asked(
        self, bundle: Path, small_run: Path, small_data: Path, refused: Callable[..., str], aae_zoo: AaeZoo
    ) -> None:
        (bundle / "mine.txt").write_text("keep")
        assert "exists already" in refused("export", small_run, "--anyway", "--data", small_data, "-o", bundle)
        said = refused("export", small_run, "--anyway", "--data", small_data, "-o", bundle, "--replace")
        assert f"in {bundle}, mine.txt was not written by aae-zoo; give another output" in said
        (bundle / "mine.txt").unlink()
        assert aae_zoo("export", small_run, "--anyway", "--data", small_data, "-o", bundle, "--replace").status == 0
        assert [p.name for p in bundle.parent.iterdir() if "bundle" in p.name] == ["bundle"]

    def test_weights_that_float16_cannot_hold(
        self, run_folder: Path, small_data: Path, refused: Callable[..., str], no_leftovers: Path
    ) -> None:
        run = Run.open(run_folder)
        weights = run.load_weights()
        weights["decoder.layers.0.weight"][0, 0] = 1e6
        run.save_weights(weights)
        message = refused("export", run_folder, "--anyway", "--data", small_data, "-o", no_leftovers / "bundle")
        assert "decoder.layers.0.weight holds 1e+06, expected finite weights of at most 65504" in message

    def test_an_output_that_cannot_be_written(
        self, small_run: Path, small_data: Path, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        message = refused("export", small_run, "--anyway", "--data", small_data, "-o", tmp_path / "file" / "bundle")
        assert "cannot write" in message


def test_folded_normalisations_change_nothing_but_their_place() -> None:
    generator = torch.Generator().manual_seed(0)
    settings = conv.Settings(kind="conv", channels=[8, 16], hidden=16, normalised=True)
    networks = nn.ModuleList([conv.Encoder(settings, (3, 16, 16), {"z": 5}), conv.Decoder(settings, 5, (3, 16, 16))])
    norms = [each for each in networks.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(norms) == 3
    for norm in norms:
        for values in norm.state_dict().values():
            if values.is_floating_point():
                values.copy_(torch.rand(values.shape, generator=generator) + 0.01)
    given = [torch.rand(6, 3, 16, 16, generator=generator), torch.randn(6, 5, generator=generator)]
    networks.eval()
    with torch.no_grad():
        before = [network.outputs(x) for network, x in zip(networks, given, strict=True)]  # type: ignore[operator]
        fold_normalisations(networks)
        after = [network.outputs(x) for network, x in zip(networks, given, strict=True)]  # type: ignore[operator]
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    round_weights(networks)
    graph = onnx.load_from_string(to_onnx(networks[0], {"image": given[0]}, ["z"], {})).graph
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    # What is left of a normalisation does nothing, to the last bit, so that rounded weights are stored as such.
    large = {tensor.data_type for tensor in graph.initializer if math.prod(tensor.dims) >= 1024}
    assert large == {onnx.TensorProto.FLOAT16}


def test_what_a_sigmoid_rounds_beyond_its_range_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.tensor([[[[1.0000001, -1e-9, 0.25]]]])
    monkeypatch.setattr(Graphs, "run", lambda *_: {"image": image})
    found = Graphs({}).decode({}).sigmoid()
    assert torch.allclose(found, torch.tensor([1.0, 0.0, 0.25]))
