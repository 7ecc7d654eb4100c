"""A bundle with a detector: its graph gives the score and the map, and everything else knows of it."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import AaeZoo, replace_graph, rewrite
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from aae_zoo.export.bundling.detector import scaled
from aae_zoo.export.bundling.graphs import to_onnx
from aae_zoo.runtime import InvalidBundle, InvalidInput, Model, load
from aae_zoo.runtime.bundles.graph_check import only, read_graph
from aae_zoo.runtime.checks.check import check
from aae_zoo.runtime.checks.verify import verify
from aae_zoo.runtime.drawing.grid import to_uint8
from aae_zoo.runtime.store.catalogue import find_model
from aae_zoo.zoo.data.loading import load_dataset

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def model(detector_bundle: Path) -> Model:
    return load(detector_bundle)


@pytest.fixture(scope="module")
def images(small_data: Path) -> Pixels:
    return np.asarray(load_dataset("small", small_data).test_images.numpy())


@pytest.fixture
def bundle(detector_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(detector_bundle, tmp_path / "bundle"))


class TestModel:
    def test_the_graph_alone_gives_score_and_map(self, detector_bundle: Path, model: Model, images: Pixels) -> None:
        """A program that has ONNX Runtime and this one file needs nothing else."""
        session = ort.InferenceSession(detector_bundle / "detector.onnx")
        score, heat = session.run(["score", "map"], {"image": images[:20] / np.float32(255)})
        scores = model.score(images[:20], maps=True)
        assert np.allclose(scores.score, score, atol=1e-5)
        assert scores.anomalous.tolist() == (score > 1).tolist()
        assert scores.maps is not None
        assert np.allclose(np.stack(list(scores.maps)), heat[:, 0], atol=1e-5)

    def test_its_false_alarms_are_as_many_as_promised(self, model: Model, small_data: Path) -> None:
        validation = load_dataset("small", small_data).train_images[-200:].numpy()
        assert model.manifest.detector is not None
        assert (model.manifest.detector.false_alarms, model.manifest.detector.images) == (0.01, 200)
        assert model.score(validation).anomalous.sum() <= 2
        assert np.median(model.score(validation).score) == pytest.approx(0, abs=1e-2)

    def test_a_flat_image_is_anomalous_and_the_flatter_the_more(self, model: Model) -> None:
        levels = np.repeat(np.array([0, 0.3, 1]), 14 * 14).reshape(3, 1, 14, 14)
        scores = model.score(levels)
        assert scores.flat.all()
        assert scores.anomalous.all()

    def test_its_score_has_no_parts(self, model: Model, images: Pixels) -> None:
        scores = model.score(images[:3])
        assert np.isnan(scores.reconstruction).all()
        assert np.isnan(scores.distance).all()
        assert list(scores.columns()) == ["score", "anomalous", "flat"]
        assert "reconstruction" not in scores._repr_html_()

    def test_batches_give_what_all_give_at_once(self, model: Model, images: Pixels) -> None:
        many = np.concatenate([images] * 4)
        parts = list(model.score_batches(many, maps=True))
        whole = model.score(many, maps=True)
        assert len(parts) > 1
        assert np.allclose(np.concatenate([part.score for part in parts]), whole.score, atol=1e-4)
        assert whole.maps is not None
        assert sum(len(part.maps or ()) for part in parts) == len(whole.maps) == 1200

    def test_a_model_without_one_says_so(self, small: Model, model: Model) -> None:
        assert set(model.graph("detector").outputs) == {"score", "map"}
        with pytest.raises(InvalidInput, match="small has no detector; it has encoder, decoder, prior"):
            small.graph("detector")

    def test_it_runs_isolated_too(self, detector_bundle: Path, model: Model, images: Pixels) -> None:
        with load(detector_bundle, isolate=True) as isolated:
            assert np.allclose(isolated.score(images[:3]).score, model.score(images[:3]).score, atol=1e-5)


class TestScoreAlone:
    """Without maps only what the score needs is run."""

    def test_it_is_the_score_that_comes_with_maps(self, model: Model, images: Pixels) -> None:
        alone, mapped = model.score(images[:50]), model.score(images[:50], maps=True)
        for name, values in alone.columns().items():
            assert np.allclose(values, mapped.columns()[name], atol=1e-6), name
        assert alone.maps is None

    def test_one_image_is_scored_as_among_others(self, model: Model, images: Pixels) -> None:
        floats = images[:9].astype(np.float32) / 255
        floats[1, 0, 0, 0] = 1  # on what might be a light ground
        floats[2:5] *= np.array([0, 0.1, 0.7], np.float32)[:, None, None, None]  # flat, and near the limit of that
        together = model.score(floats)
        for number, image in enumerate(floats):
            one = model.score(image[None])
            assert one.score[0] == pytest.approx(together.score[number], abs=1e-5)
            assert (one.anomalous[0], one.flat[0]) == (together.anomalous[number], together.flat[number])
            assert np.isnan(one.reconstruction).all() and np.isnan(one.distance).all()
            assert [values.dtype for values in one] == [values.dtype for values in together]
        assert together.flat.any() and not together.flat.all()

    def test_the_scores_of_one_image_are_ones_own_to_change(self, model: Model, images: Pixels) -> None:
        image = images[:1].astype(np.float32) / 255
        before = [values.copy() for values in model.score(image)]
        for values in model.score(image):
            values[0] = 1
        assert all(np.array_equal(*pair, equal_nan=True) for pair in zip(model.score(image), before, strict=True))

    def test_one_image_is_checked_as_others_are(self, model: Model, images: Pixels) -> None:
        with pytest.raises(InvalidInput, match=r"values from 0 to 2, expected \[0, 1\]"):
            model.score(np.linspace(0, 2, 14 * 14, dtype=np.float32).reshape(1, 1, 14, 14))

    def test_the_nodes_of_the_map_are_gone(self) -> None:
        whole = read_graph(find_model("mnist-oneclass"), "detector")
        part = onnx.load_from_string(only(whole, "score").content)
        onnx.checker.check_model(part, full_check=True)
        assert [value.name for value in part.graph.output] == ["score"]
        assert not self.restored(part, 28 * 28)
        assert self.restored(onnx.load_from_string(whole.content), 28 * 28)

    @staticmethod
    def restored(model: onnx.ModelProto, pixels: int) -> list[str]:
        """The layers of a model that give as many numbers as an image has pixels."""
        sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 1}
        return [node.name for node in model.graph.node if node.op_type == "Gemm" and sizes[node.input[2]] == pixels]

    def test_an_output_that_is_not_there(self) -> None:
        graph = read_graph(find_model("mnist-oneclass"), "detector")
        with pytest.raises(InvalidBundle, match=r"detector.onnx has no output heat; it has score, map"):
            only(graph, "heat")


class TestFiles:
    def test_a_picture_of_16_bits_scores_as_that_of_8_it_was_made_of(self, tmp_path: Path) -> None:
        digits = to_uint8(load("mnist-gauss").sample(20, seed=0))
        for number, digit in enumerate(digits):
            Image.fromarray(digit).save(tmp_path / f"{number:02}-8.png")
            Image.fromarray(digit.astype(np.uint16) * 257).save(tmp_path / f"{number:02}-16.png")
        score = load("mnist-oneclass").score(tmp_path).score
        assert np.array_equal(score[::2], score[1::2])

    @pytest.mark.parametrize(("name", "label"), [("mnist-oneclass", 8), ("fashion-oneclass", 4)])
    def test_a_picture_as_jpeg_scores_about_as_it_did(self, name: str, label: int, tmp_path: Path) -> None:
        """Within 2 % of the limit, for nearly all; docs/detector.md says for how many."""
        model = load(name)
        dataset = load_dataset(model.manifest.dataset)
        for number, picture in enumerate(dataset.test_images[dataset.test_labels == label][:200, 0].numpy()):
            for suffix in ("png", "jpg"):
                Image.fromarray(picture).save(tmp_path / f"{number:03}.{suffix}", quality=90)
        score = model.score(tmp_path).score
        assert len(score) == 400
        assert np.quantile(np.abs(score[::2] - score[1::2]), 0.95) < 0.02


class TestProof:
    def test_the_gate_compared_it_and_verify_does_again(self, detector_bundle: Path) -> None:
        report = json.loads((detector_bundle / "parity.json").read_text())
        assert report["worst"]["detector"] <= 1e-5
        assert report["search"]["detector"]["error"] <= 1e-5
        found = [comparison for comparison in verify(str(detector_bundle)) if comparison.graph == "detector"]
        assert len(found) == 6
        assert all(comparison.passed for comparison in found)

    def test_every_clause_holds(self, detector_bundle: Path) -> None:
        assert [result for result in check(str(detector_bundle)) if result.state != "holds"] == []

    def test_another_threshold_in_the_graph_is_found(self, bundle: Path) -> None:
        """The scale is a part of the graph: who changes it changes what it gives for the golden images."""
        graph = onnx.load(bundle / "detector.onnx")
        [slope] = [tensor for tensor in graph.graph.initializer if tensor.name == "slope"]
        slope.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(slope) * np.float32(1.5), "slope"))
        replace_graph(bundle, "detector.onnx", graph.SerializeToString())
        assert not all(comparison.passed for comparison in verify(str(bundle)) if comparison.graph == "detector")

    def test_the_card_says_that_it_is_a_detector(self, detector_bundle: Path, small_bundle: Path) -> None:
        said = "`detector.onnx` is all that it takes"
        assert said in (detector_bundle / "README.md").read_text("utf-8")
        assert said not in (small_bundle / "README.md").read_text("utf-8")


class TestRefused:
    def test_limits_without_a_graph_and_a_graph_without_limits(self, bundle: Path) -> None:
        rewrite(bundle, lambda d: d.pop("detector"))
        with pytest.raises(InvalidBundle, match="detector is missing, expected an object where graphs has a detector"):
            load(bundle)
        rewrite(bundle, lambda d: d.update(detector={"false_alarms": 0.01, "images": 9}, graphs={**d["graphs"]}))
        rewrite(bundle, lambda d: d["graphs"].pop("detector"))
        with pytest.raises(InvalidBundle, match="expected an object where graphs has a detector, and nowhere else"):
            load(bundle)

    def test_a_graph_of_another_role(self, bundle: Path, images: Pixels) -> None:
        replace_graph(bundle, "detector.onnx", (bundle / "encoder.onnx").read_bytes())
        with pytest.raises(InvalidBundle, match="the detector of small has 'z' as .*, expected score once"):
            load(bundle).score(images[:1])


class TestScale:
    class Brightness(nn.Module):
        """The brighter the odder."""

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return image.mean((1, 2, 3)), image.mean(1, keepdim=True)

    class Nothing(nn.Module):
        """No image is odder than another, but for how flat it is."""

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return 0 * image.sum((1, 2, 3)), 0 * image.sum(1, keepdim=True)

    @staticmethod
    def dots(count: int, seed: int) -> Tensor:
        """Images of a dot on black, of any brightness."""
        images = torch.zeros(count, 1, 4, 4, dtype=torch.uint8)
        images[:, 0, 0, 0] = torch.randint(100, 250, (count,), generator=torch.Generator().manual_seed(seed))
        return images

    @pytest.mark.parametrize("share", [0.005, 0.02, 0.1])
    def test_a_share_of_new_images_is_above_1_as_was_asked_for(self, share: float) -> None:
        detector, limits = scaled(self.Brightness(), self.dots(2000, 0), false_alarms=share)
        assert limits.false_alarms == share
        found = detector(self.dots(20_000, 1).float() / 255)
        assert float((found["score"] > 1).float().mean()) == pytest.approx(share, abs=0.6 * share + 0.003)
        assert float((found["map"].flatten(1).amax(1) > 1).float().mean()) <= 1.6 * share + 0.003

    def test_too_few_images_promise_what_they_can(self) -> None:
        """The next image is as likely as any of the others to be the oddest of all."""
        found, limits = scaled(self.Brightness(), self.dots(19, 0), false_alarms=0.005)
        assert limits.false_alarms == 1 / 20
        assert float(found(self.dots(19, 0).float() / 255)["score"].max()) == pytest.approx(1)

    def test_only_what_is_clearly_flatter_than_all_images_is_anomalous_for_that(self) -> None:
        images = self.dots(19, 0)
        flattest = images[[int(images.amax((1, 2, 3)).argmin())]].float() / 255
        detector, _ = scaled(self.Nothing(), images)
        assert (detector(0.6 * flattest)["score"] < 1) and (detector(0.4 * flattest)["score"] > 1)

    def test_how_flat_a_bright_image_is_does_not_depend_on_the_order_of_its_pixels(self) -> None:
        """The flatness is a difference of numbers that are nearly the same: sums must be nearer than it looks."""
        dark = torch.rand(16, 1, 64, 64, generator=torch.Generator().manual_seed(0)) < 0.3
        detector, _ = scaled(self.Nothing(), (255 * (0.95 - 0.8 * dark)).byte())
        images = 0.95 - 0.4 * dark
        exact = copy.deepcopy(detector).double()(images.double())["score"].numpy()
        graph = to_onnx(detector, {"image": images}, ["score", "map"], {})
        [score] = ort.InferenceSession(graph).run(["score"], {"image": images.numpy()})
        assert exact.min() > 0.5
        assert np.abs(score - exact).max() < 2e-6


class TestCommand:
    def test_it_scores_by_the_detector(
        self, detector_bundle: Path, model: Model, images: Pixels, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        np.save(tmp_path / "x.npy", images[:3])
        header, *_, summary = aae_zoo("score", detector_bundle, tmp_path / "x.npy").out.splitlines()
        assert header.split() == ["image", "score", "anomalous", "flat"]
        assert summary.endswith(" anomalous: above 1, as 1 % of 200 validation images are")
        document = json.loads(aae_zoo("score", detector_bundle, tmp_path / "x.npy", "--json").out)
        assert document["limits"] == {"threshold": 1.0, "false_alarms": 0.01, "images": 200}
        expected = model.score(images[:3]).score
        assert np.allclose([row["score"] for row in document["images"]], expected, rtol=1e-4, atol=1e-5)
