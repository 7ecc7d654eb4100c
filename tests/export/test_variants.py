"""Graphs beside float32's: int8 and float16 where they win something, lite decoders, and what `precision` runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import AaeZoo
from onnx import TensorProto

from aae_zoo.export.bundling import bundle as bundle_module
from aae_zoo.export.bundling.bundle import export_bundle
from aae_zoo.export.bundling.variants import FASTER, LITE_LOSS, LOSS, quality, verdict
from aae_zoo.export.release.zoo import LITE, VARIANTS
from aae_zoo.runtime import Model, list_models, load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.store.catalogue import find_model
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.training import lite
from aae_zoo.zoo.training.run import Run

STEPS = 300


@pytest.fixture(scope="module")
def distilled(small_run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small run with a lite decoder."""
    folder = Path(shutil.copytree(small_run, tmp_path_factory.mktemp("distilled") / "run"))
    lite.distil(folder, data=small_data, steps=STEPS)
    return folder


@pytest.fixture(scope="module")
def rich(distilled: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with everything: whatever int8 and float16 cost, they are taken for twice as fast and as good."""
    folder = tmp_path_factory.mktemp("rich") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_module, "speedups", lambda *_: {1: 2.0, 64: 2.0})
        patch.setattr(bundle_module, "verdict", lambda *_: "published: it is a test")
        export_bundle(distilled, folder, data=small_data, variants=["int8", "fp16"], anyway=True)
    return folder


class TestPrecision:
    def test_auto_is_float32_to_the_bit(self, rich: Path) -> None:
        auto, plain = load(rich), load(rich, precision="fp32")
        assert np.array_equal(auto.sample(9, seed=1), plain.sample(9, seed=1))

    @pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 5e-3), ("int8", 0.2), ("lite", 0.8)])
    def test_each_precision_draws_nearly_the_same(self, rich: Path, precision: str, tolerance: float) -> None:
        ours, plain = load(rich, precision=precision).sample(64, seed=1), load(rich).sample(64, seed=1)
        assert np.abs(ours - plain).max() <= tolerance
        # On CPUs ONNX Runtime computes most of a float16 graph in float32.
        assert precision == "fp16" or not np.array_equal(ours, plain)

    def test_what_a_precision_lacks_runs_in_float32(self, rich: Path, small_data: Path) -> None:
        images = load_dataset("small", small_data).test_images.numpy()
        assert np.array_equal(load(rich, precision="lite").encode(images), load(rich).encode(images))
        assert not np.array_equal(load(rich, precision="int8").encode(images), load(rich).encode(images))

    def test_one_that_no_graph_has_is_refused(self, small_bundle: Path, refused: Callable[..., str]) -> None:
        assert "has no lite graphs" in refused("sample", small_bundle, "--precision", "lite")

    def test_the_command_line_takes_it(self, rich: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        assert aae_zoo("sample", rich, "-n", 4, "--precision", "int8", "-o", tmp_path / "x.npy").status == 0
        assert np.array_equal(np.load(tmp_path / "x.npy"), load(rich, precision="int8").sample(4, seed=0))


class TestVariants:
    def test_their_boundary_and_metadata_are_those_of_float32(self, rich: Path) -> None:
        for role in ("encoder", "decoder"):
            plain = onnx.load(rich / f"{role}.onnx")
            for precision in ("int8", "fp16"):
                variant = onnx.load(rich / f"{role}.{precision}.onnx")
                for values in (variant.graph.input, variant.graph.output):
                    assert {v.type.tensor_type.elem_type for v in values} == {TensorProto.FLOAT}
                assert {p.key: p.value for p in variant.metadata_props} == {
                    p.key: p.value for p in plain.metadata_props
                }
                assert [(o.domain, o.version) for o in variant.opset_import] == [("", 18)]
                assert variant.ir_version == plain.ir_version

    def test_they_hold_what_their_names_say(self, rich: Path) -> None:
        def types(name: str) -> set[int]:
            return {t.data_type for t in onnx.load(rich / name).graph.initializer if len(t.dims) == 2}

        assert types("encoder.int8.onnx") == {TensorProto.INT8}
        assert types("encoder.fp16.onnx") == {TensorProto.FLOAT16}

    def test_the_card_and_the_manifest_have_their_figures(self, rich: Path) -> None:
        variants = open_bundle(rich).manifest.metrics["variants"]
        assert set(variants) == {f"{r}.{p}" for r in ("encoder", "decoder") for p in ("int8", "fp16")} | {
            "decoder.lite"
        }
        card = (rich / "README.md").read_text("utf-8")
        for name, found in variants.items():
            plain = f" ({found['float32']['mse']:.4g})" if "float32" in found else ""
            assert f"| `{name}.onnx` | {(rich / f'{name}.onnx').stat().st_size:,} | {found['mse']:.4g}{plain} |" in card

    def test_one_that_wins_nothing_is_left_out(
        self, small_run: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bundle_module, "speedups", lambda *_: {1: 1.0, 64: 1.19})
        bundle = export_bundle(small_run, tmp_path / "bundle", data=small_data, variants=["int8"], anyway=True)
        assert all(set(files) == {"fp32"} for files in bundle.graphs.values())
        assert not list((tmp_path / "bundle").glob("*.int8.onnx"))
        open_bundle(tmp_path / "bundle").check_files()

    def test_float16_is_not_timed_on_a_cpu(self) -> None:
        assert verdict(1.0, {}, {"mse": 1.02}, {"mse": 1.0}) == "published: for GPUs, not timed on one"
        assert verdict(1.0, {}, {"mse": 1.03}, {"mse": 1.0}).startswith("not published: mse")

    def test_an_unknown_one_is_refused_at_once(
        self, run_folder: Path, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        message = refused("export", run_folder, "--anyway", "-o", tmp_path / "bundle", "--variant", "int4")
        assert "the variant is 'int4', expected one of fp16, int8" in message
        assert not (tmp_path / "bundle").exists()

    @pytest.mark.parametrize(
        ("ratio", "faster", "found", "expected"),
        [
            (0.6, 1.3, {"mse": 1.02}, "published: 1.3 times as fast"),
            (0.5, 0.9, {"mse": 1.0}, "published: 50% of the bytes"),
            (0.6, 1.1, {"mse": 1.0}, "not published: at most 1.10 times as fast, 60% of the bytes"),
            (0.5, 9.0, {"mse": 1.03}, "not published: mse 1.03 instead of 1"),
            (0.5, 9.0, {"mse": 1.0, "error": 2.13}, "published: 9.0 times as fast"),
            (0.5, 9.0, {"mse": 1.0, "error": 2.15}, "not published: error 2.15 instead of 2"),
        ],
    )
    def test_the_rule(self, ratio: float, faster: float, found: dict[str, float], expected: str) -> None:
        assert (
            verdict(
                ratio,
                {1: 0.1, 64: faster},
                found,
                dict.fromkeys(found, 1.0) | {"error": 2.0} if "error" in found else {"mse": 1.0},
            )
            == expected
        )


class TestLite:
    def test_the_same_run_gives_the_same_decoder(
        self, distilled: Path, small_run: Path, small_data: Path, tmp_path: Path
    ) -> None:
        again = Path(shutil.copytree(small_run, tmp_path / "run"))
        lite.distil(again, data=small_data, steps=STEPS)
        assert (again / lite.FILE).read_bytes() == (distilled / lite.FILE).read_bytes()

    def test_it_draws_what_the_decoder_draws(self, rich: Path) -> None:
        taught, teacher = load(rich, precision="lite"), load(rich)
        z = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32)
        images = teacher.decode(z)
        assert np.square(taught.decode(z) - images).mean() < 0.1 * images.var(0).mean()

    def test_its_golden_outputs_and_its_parity(self, rich: Path) -> None:
        with np.load(rich / "golden.npz", allow_pickle=False) as golden:
            found = load(rich, precision="lite").decode(golden["decoder.lite.z"])
            assert np.abs(found - golden["decoder.lite.image"]).max() <= 1e-5
        rows = json.loads((rich / "parity.json").read_text())["rows"]
        assert {row["graph"] for row in rows} == {"encoder", "decoder", "prior", "decoder.lite"}
        assert all(row["passed"] for row in rows)

    def test_the_command_tells_its_metrics(
        self, run_folder: Path, small_data: Path, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lite, "STEPS", 20)
        result = aae_zoo("distil", run_folder, "--data", small_data, "--json")
        assert result.status == 0, result
        assert {"mse", "bce", "parzen"} <= json.loads(result.out).keys()

    def test_one_of_other_weights_or_a_damaged_one_is_refused(
        self, distilled: Path, run_folder: Path, small_data: Path, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        run = Run.open(run_folder)
        shutil.copy(distilled / lite.FILE, run_folder)
        weights = {
            name: value + 0.1 if value.is_floating_point() else value for name, value in run.load_weights().items()
        }
        run.save_weights(weights)
        command = ["export", run_folder, "--anyway", "-o", tmp_path / "bundle", "--data", small_data]
        message = refused(*command)
        assert "was taught by other weights than" in message
        assert "make it again with aae-zoo distil" in message
        (run_folder / lite.FILE).write_bytes(b"not safetensors")
        assert "lite.safetensors is damaged" in refused(*command)
        assert not (tmp_path / "bundle").exists()

    def test_a_conditional_decoder_can_be_taught_too(self) -> None:
        decoder = lite.LiteDecoder(5, (1, 8, 8))
        image = decoder(torch.zeros(3, 2), torch.zeros(3, 3))["image"]
        assert image.shape == (3, 1, 8, 8)


@pytest.mark.parametrize("name", [e.name for e in list_models() if "variants" in load(e.name).manifest.metrics])
def test_shipped_variants_are_nearly_as_good_as_float32(name: str) -> None:
    """Measured again through ONNX Runtime; how fast they are is a benchmark's affair."""
    bundle = find_model(name)
    dataset = load_dataset(bundle.manifest.dataset)
    was = quality(bundle, dataset)
    for precision in {p for files in bundle.manifest.graphs.values() for p in files} - {"fp32"}:
        loss = LITE_LOSS if precision == "lite" else LOSS
        said = verdict(1.0, {1: FASTER}, quality(bundle, dataset, precision), was, loss)
        assert said.startswith("published"), said


def test_models_that_have_more_than_float32() -> None:
    precisions = {e.name: {p for f in load(e.name).manifest.graphs.values() for p in f} for e in list_models()}
    more = {name: found - {"fp32"} for name, found in precisions.items() if len(found) > 1}
    assert more == {**{name: {"lite"} for name in LITE}, **{name: set(found) for name, found in VARIANTS.items()}}


def test_every_precision_is_safe_to_pull(rich: Path, aae_zoo: AaeZoo) -> None:
    assert aae_zoo("pull", rich).status == 0
    assert isinstance(load(rich), Model)
