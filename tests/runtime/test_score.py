"""The anomaly score: its formula, its limits in the manifest, its command, and what the export measures of it."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import AaeZoo, AddPart, write_idx
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.export.bundling.anomaly import anomaly_metrics
from aae_zoo.runtime import InvalidBundle, InvalidInput, Model, Scores, load
from aae_zoo.runtime.bundles.manifest import ScoreLimits
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.latent.score import (
    DRAWS,
    contrast_of,
    distance_from_prior,
    judge,
    judge_detected,
    judge_detected_one,
    limit,
    may_be_flat,
    score_limits,
)
from aae_zoo.zoo.data.idx import FILES
from aae_zoo.zoo.data.loading import load_dataset

BATCH = 256  # what a model of small images works on at a time

Pixels = NDArray[np.uint8]

SMALL = """
from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION
from aae_zoo.zoo.data.idx import find_idx, read_dataset

NAME, HUB_NAME, COUNTERPART, IMAGE_SHAPE = "small", None, "{counterpart}", (1, 14, 14)
LICENCE, PREPARATION = "", USUAL_PREPARATION


def load(settings, place):
    return read_dataset(NAME, find_idx(NAME, place))
"""


@pytest.fixture(scope="module")
def test_images(small_data: Path) -> Pixels:
    return np.asarray(load_dataset("small", small_data).test_images.numpy())


@pytest.fixture(scope="module")
def digit(small: Model, test_images: Pixels) -> Pixels:
    """The test image [1, 1, 14, 14] that the model finds the most ordinary."""
    return test_images[[small.score(test_images).score.argmin()]]


@pytest.fixture(scope="module")
def static() -> Pixels:
    """150 images of uniform noise."""
    return np.random.default_rng(0).integers(0, 256, (150, 1, 14, 14), np.uint8)


class TestDistance:
    @given(
        rows=st.integers(1, 40), latent=st.integers(1, 9), seed=st.integers(0, 99), unit=st.sampled_from([0.01, 5.0])
    )
    def test_it_is_that_to_the_nearest_draw_in_standard_deviations(
        self, rows: int, latent: int, seed: int, unit: float
    ) -> None:
        generator = np.random.default_rng(seed)
        z, draws = (unit * generator.normal(size=(n, latent)).astype(np.float32) for n in (rows, 50))
        deviation = np.sqrt(np.square(draws - draws.mean(0)).mean())
        expected = np.linalg.norm(z[:, None] - draws[None], axis=2).min(1) / deviation
        assert np.allclose(distance_from_prior(z, draws), expected, rtol=1e-4, atol=1e-6)

    def test_a_draw_itself_is_at_no_distance(self) -> None:
        draws = np.eye(10, dtype=np.float32)
        assert distance_from_prior(draws[:4], draws).tolist() == [0, 0, 0, 0]

    @pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
    def test_a_prior_without_spread_is_refused(self, value: float) -> None:
        with (
            np.errstate(invalid="ignore"),
            pytest.raises(InvalidBundle, match="draws have a standard deviation of .*, expected a finite one above 0"),
        ):
            distance_from_prior(np.zeros((1, 2), np.float32), np.full((9, 2), value, np.float32))


class TestFormula:
    limits = ScoreLimits(reconstruction=0.1, distance=2.0, threshold=1.0, images=50, contrast=0.1)
    plain = np.full(300, 0.3, np.float32)  # the contrast of ordinary images

    @pytest.mark.parametrize(
        ("reconstruction", "distance", "expected"),
        [(0.05, 1.0, 0.5), (0.05, 2.0, 0.5), (0.05, 4.0, 1.5), (0.2, 0.0, 2.0), (0.0, 0.0, 0.0)],
    )
    def test_a_code_counts_where_it_is_further_out_than_is_usual(
        self, reconstruction: float, distance: float, expected: float
    ) -> None:
        scores = judge(
            np.array([reconstruction], np.float32), np.array([distance], np.float32), self.plain[:1], self.limits
        )
        assert scores.score.tolist() == pytest.approx([expected])
        assert scores.anomalous.tolist() == [expected > 1]

    @given(st.lists(st.tuples(st.floats(0, 10, width=32), st.floats(0, 10, width=32)), min_size=1, max_size=300))
    def test_at_most_one_in_a_hundred_of_the_images_that_set_the_limits_is_anomalous(
        self, parts: list[tuple[float, float]]
    ) -> None:
        reconstruction, distance = np.array(parts, np.float32).T
        contrast = self.plain[: len(parts)]
        limits = score_limits(reconstruction, distance, contrast)
        assert limits.images == len(parts)
        assert judge(reconstruction, distance, contrast, limits).anomalous.sum() <= math.ceil(len(parts) / 100)

    @given(images=st.integers(1, 400), share=st.floats(0.005, 0.5))
    def test_a_new_image_is_above_the_limit_as_seldom_as_was_asked_for(self, images: int, share: float) -> None:
        """It is as likely as any other to be at each place among all; a lower limit would be exceeded too often."""
        above = images - limit(np.arange(images, dtype=np.float32), share)
        if images >= 1 / share:
            assert above / (images + 1) <= share * (1 + 1e-9) < (above + 1) / (images + 1) + 2e-9
        else:
            assert above == 1

    def test_with_a_share_of_false_alarms_only_what_is_clearly_flatter_than_all_images_is_flat(self) -> None:
        few = np.linspace(0.1, 0.2, 9, dtype=np.float32)
        limits = score_limits(few, few, self.plain[:9], 0.1)
        found = judge(few[:2], few[:2], self.plain[:2] * np.array([0.6, 0.4], np.float32), limits)
        assert found.flat.tolist() == [False, True]

    def test_a_detectors_score_of_1_is_the_last_that_is_not_anomalous(self) -> None:
        score, image = (
            np.array([1, np.nextafter(np.float32(1), np.float32(2))], np.float32),
            np.eye(4, dtype=np.float32),
        )
        assert judge_detected(score, self.plain[:2], None).anomalous.tolist() == [False, True]
        one = [judge_detected_one(score[k : k + 1], image[None, None], None).anomalous.tolist() for k in (0, 1)]
        assert one == [[False], [True]]

    def test_perfect_images_have_limits_too(self) -> None:
        zero = np.zeros(9, np.float32)
        limits = score_limits(zero, zero, self.plain[:9])
        assert not judge(zero, zero, self.plain[:9], limits).anomalous.any()
        assert judge(zero + np.float32(0.1), zero, self.plain[:9], limits).anomalous.all()

    @given(st.lists(st.floats(0, 0.0625, width=32), min_size=1, max_size=20))
    def test_what_is_flatter_than_any_validation_image_is_anomalous_the_flatter_the_more(
        self, contrasts: list[float]
    ) -> None:
        contrast = np.sort(np.array(contrasts, np.float32))
        scores = judge(np.zeros_like(contrast), np.zeros_like(contrast), contrast, self.limits)
        assert scores.flat.all()
        assert scores.anomalous.all()
        assert (np.diff(scores.score) <= 0).all()

    def test_a_bundle_that_knows_no_contrast_still_finds_a_flat_image(self) -> None:
        limits = ScoreLimits(reconstruction=0.1, distance=2.0, threshold=1.0, images=50, contrast=0.0)
        zero = np.zeros(2, np.float32)
        assert judge(zero, zero, np.array([0, 0.01], np.float32), limits).flat.tolist() == [True, False]

    @given(
        side=st.integers(2, 40),
        level=st.floats(0, 1),
        contrast=st.floats(0, 0.3),
        near=st.floats(0, 1e-5),
        seed=st.integers(0, 99),
    )
    def test_no_image_with_less_contrast_is_taken_for_one_with_enough(
        self, side: int, level: float, contrast: float, near: float, seed: int
    ) -> None:
        noise = np.random.default_rng(seed).standard_normal((1, 1, side, side))
        image = (level + contrast * noise).clip(0, 1).astype(np.float32)
        found = float(contrast_of(image)[0])
        assert may_be_flat(image, found * (1 + near))
        assert may_be_flat(image, 1.1 * found)
        if found > 0.1:
            assert not may_be_flat(image, 0.9 * found)


class TestModel:
    def test_the_limits_are_the_runtimes_own_figures_of_the_validation_images(
        self, small: Model, small_data: Path
    ) -> None:
        validation = load_dataset("small", small_data).train_images[-200:].numpy()
        assert small.manifest.score == score_limits(*small.score_parts(validation))
        assert small.score_limits.images == 200
        assert small.score(validation).anomalous.sum() == 2

    def test_its_parts_are_what_they_say(self, small: Model, test_images: Pixels) -> None:
        scores = small.score(test_images)
        images = test_images / np.float32(255)
        error = np.square(small.reconstruct(images) - images).mean((1, 2, 3))
        draws = small.codes_of(uniform_noise(DRAWS, 2, 0))["z"]
        assert np.allclose(scores.reconstruction, error, rtol=1e-5)
        assert np.allclose(scores.distance, distance_from_prior(small.encode(images), draws), atol=1e-4)
        assert [len(column) for column in scores] == [300] * 5
        assert (scores.anomalous == (scores.score > small.score_limits.threshold)).all()

    def test_any_number_of_images_gives_the_same_as_one_at_a_time(self, small: Model, test_images: Pixels) -> None:
        many = small.score(np.concatenate([test_images, test_images])[: BATCH + 3])
        one = small.score(test_images[BATCH - 1 :][:1])
        assert np.allclose([column[BATCH - 1] for column in many], [column[0] for column in one], atol=1e-4)

    def test_noise_is_anomalous_and_the_data_sets_own_images_are_not(
        self, small: Model, test_images: Pixels, static: Pixels
    ) -> None:
        assert small.score(static).anomalous.all()
        assert small.score(test_images).anomalous.mean() < 0.05

    def test_bad_images_are_refused_as_everywhere(self, small: Model) -> None:
        with pytest.raises(InvalidInput, match=r"shape \[300, 9, 9\], expected \[n, 1, 14, 14\]"):
            small.score(np.zeros((300, 9, 9)))

    def test_a_bundle_from_before_there_was_a_score(self, bundle: Path, refused: Callable[..., str]) -> None:
        path = bundle / "manifest.json"
        document = json.loads(path.read_text())
        del document["score"]
        path.write_text(json.dumps(document))
        image = np.zeros((1, 14, 14), np.uint8)
        model = load(bundle)
        assert model.reconstruct(image).shape == (1, 1, 14, 14)
        with pytest.raises(InvalidInput, match="small has no anomaly score: its manifest has no table score; export"):
            model.score(image)
        np.save(bundle / "x.npy", image)
        assert "small has no anomaly score" in refused("score", bundle, bundle / "x.npy")


class TestCommand:
    @pytest.fixture
    def pictures(self, digit: Pixels, static: Pixels, tmp_path: Path) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for name, image in (("digit.png", digit[0, 0]), ("static.png", static[0, 0])):
            Image.fromarray(image).save(folder / name)
        return folder

    @pytest.fixture
    def scores(self, small: Model, digit: Pixels, static: Pixels) -> Scores:
        return small.score(np.concatenate([digit, static[:1]]))

    def test_a_few_pictures_are_a_table(
        self, small_bundle: Path, small: Model, pictures: Path, scores: Scores, aae_zoo: AaeZoo
    ) -> None:
        header, digit, static, summary = aae_zoo("score", small_bundle, pictures).out.splitlines()
        assert header.split() == ["image", "score", "reconstruction", "distance", "anomalous", "flat"]
        assert digit.split() == ["digit.png", *(f"{float(column[0]):.4g}" for column in scores[:3])]
        assert static.split() == ["static.png", *(f"{float(column[1]):.4g}" for column in scores[:3]), "yes"]
        limit = f"{small.score_limits.threshold:.4g}"
        assert summary == f"1 of 2 images is anomalous: above {limit}, as 1 % of 200 validation images are"

    def test_every_row_is_written(
        self, small_bundle: Path, pictures: Path, scores: Scores, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        for suffix in ("csv", "json", "npz"):
            output = tmp_path / f"scores.{suffix}"
            assert f"2 scores in {output}" in aae_zoo("score", small_bundle, pictures, "-o", output).out
        with (tmp_path / "scores.csv").open() as stream:
            digit, static = csv.DictReader(stream)
        assert (digit["image"], digit["anomalous"], static["anomalous"]) == ("digit.png", "false", "true")
        rows = json.loads((tmp_path / "scores.json").read_text())
        assert rows[1]["anomalous"] is True
        with np.load(tmp_path / "scores.npz", allow_pickle=False) as arrays:
            assert arrays["image"].tolist() == ["digit.png", "static.png"]
            for name, column in scores._asdict().items():
                assert np.allclose(arrays[name], column, rtol=1e-4)
                assert np.allclose([row[name] for row in rows], column, rtol=1e-4)

    def test_json(self, small_bundle: Path, small: Model, pictures: Path, aae_zoo: AaeZoo) -> None:
        document = json.loads(aae_zoo("score", small_bundle, pictures, "--json").out)
        assert document["limits"]["threshold"] == small.score_limits.threshold
        assert document["anomalous"] == 1
        assert [row["anomalous"] for row in document["images"]] == [False, True]

    def test_of_many_images_the_highest_ten_are_shown_and_all_are_written(
        self, small_bundle: Path, small: Model, test_images: Pixels, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        write_idx(tmp_path / "t10k-images-idx3-ubyte", test_images[:, 0])
        output = tmp_path / "scores.csv"
        first, _, *lines = aae_zoo(
            "score", small_bundle, tmp_path / "t10k-images-idx3-ubyte", "-o", output
        ).out.splitlines()
        assert first == "the 10 highest of 300:"
        assert lines[-1] == f"300 scores in {output}"
        assert [int(row.split()[0]) for row in lines[:10]] == np.argsort(-small.score(test_images).score)[:10].tolist()
        assert len(output.read_text().splitlines()) == 301

    @pytest.mark.parametrize("output", ["scores.txt", "scores", "-"])
    def test_an_output_of_no_known_kind(
        self, small_bundle: Path, pictures: Path, output: str, refused: Callable[..., str], no_leftovers: Path
    ) -> None:
        name = output if output == "-" else no_leftovers / output
        assert "expected .csv, .json or .npz" in refused("score", small_bundle, pictures, "-o", name)


class TestMeasured:
    """What the export measures on test images, with a counterpart made for the small data set."""

    @pytest.fixture
    def small_has_counterpart(self, new_part: AddPart) -> Callable[[str], None]:
        """Declares the small data set, with the counterpart that is given."""
        return lambda name: new_part("datasets", "small", SMALL.format(counterpart=name))

    @pytest.fixture
    def other(
        self,
        static: Pixels,
        small_data: Path,
        small_has_counterpart: Callable[[str], None],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Path:
        """A data set of the same shape whose test images are half digits, half noise."""
        digits = load_dataset("small", small_data)
        folder = tmp_path / "other"
        folder.mkdir()
        mixed = np.concatenate([digits.train_images[:150, 0].numpy(), static[:, 0]])
        arrays = (mixed, digits.test_labels.numpy(), mixed, digits.test_labels.numpy())
        for name, array in zip(FILES, arrays, strict=True):
            write_idx(folder / name, array.astype(np.uint8))
        monkeypatch.setenv("AAE_ZOO_DATA", str(tmp_path))
        small_has_counterpart("other")
        return folder

    def test_auroc_is_how_often_an_anomaly_scores_higher(
        self, small: Model, small_data: Path, other: Path, static: Pixels
    ) -> None:
        dataset = load_dataset("small", small_data)
        metrics = anomaly_metrics(small, dataset)
        own = small.score(dataset.test_images.numpy())
        others = small.score(load_dataset("other").test_images.numpy())
        pairs = others.score[:, None] - own.score[None]
        assert metrics == {
            "false_alarms": own.anomalous.mean(),
            "anomaly_dataset": "other",
            "anomalies_found": others.anomalous.mean(),
            "anomaly_auroc": pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean()),
        }
        assert metrics["anomaly_auroc"] > 0.6

    def test_a_data_set_without_a_counterpart_has_false_alarms_alone(self, small: Model, small_data: Path) -> None:
        assert list(anomaly_metrics(small, load_dataset("small", small_data))) == ["false_alarms"]

    def test_the_export_writes_them_and_evaluate_repeats_them(
        self, small_run: Path, small_data: Path, other: Path, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        assert aae_zoo("export", small_run, "--anyway", "--data", small_data, "-o", tmp_path / "bundle").status == 0
        manifest = load(tmp_path / "bundle").manifest
        found = json.loads(aae_zoo("evaluate", tmp_path / "bundle", "--data", small_data, "--json").out)
        assert list(found) == ["false_alarms", "anomaly_dataset", "anomalies_found", "anomaly_auroc"]
        assert found == {name: manifest.metrics[name] for name in found}
        card = (tmp_path / "bundle" / "README.md").read_text("utf-8")
        assert f"AUROC of the score, the test images against theirs | {found['anomaly_auroc']:.4g} |" in card

    def test_without_the_counterparts_data_there_is_no_bundle(
        self,
        small_run: Path,
        small_data: Path,
        refused: Callable[..., str],
        no_leftovers: Path,
        small_has_counterpart: Callable[[str], None],
    ) -> None:
        small_has_counterpart("nowhere-set")
        message = refused("export", small_run, "--anyway", "--data", small_data, "-o", no_leftovers / "bundle")
        assert "there is no data set nowhere-set" in message

    def test_evaluate_of_neither_a_run_nor_a_model(self, refused: Callable[..., str], tmp_path: Path) -> None:
        assert "holds no run (no recipe.toml)" in refused("evaluate", tmp_path)


def test_the_best_class_counts_where_the_encoder_leaves_it_open(labelled_bundle: Callable[..., Path]) -> None:
    """A supervised model: the decoder takes the class, the encoder gives the style alone."""
    bundle = labelled_bundle(encoder_tells=False)
    model = load(bundle)
    images = np.zeros((3, 1, 14, 14))
    images[:, 0, 0, :3] = np.eye(3)
    errors, _, _ = model.score_parts(images)
    assert errors.tolist() == [0, 0, 0]
    errors, _, _ = model.score_parts(np.zeros((1, 1, 14, 14)))
    assert errors.tolist() == pytest.approx([1 / 196])
    with pytest.raises(InvalidInput, match="the decoder of small takes y, which its encoder does not give"):
        model.reconstruct(images)
