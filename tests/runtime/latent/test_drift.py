"""Drift: its p-values, what it makes of images and codes, and its command."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import AaeZoo, replace_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.export.bundling.pictures import write_codes
from aae_zoo.export.proof.golden import save_npz
from aae_zoo.runtime import InvalidBundle, InvalidInput, Model, load
from aae_zoo.runtime.latent.drift import PERMUTATIONS, permutation_test
from aae_zoo.runtime.store.catalogue import SHIPPED
from aae_zoo.zoo.data.dataset import Dataset

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def model() -> Model:
    return load("mnist-gauss8")


@pytest.fixture(scope="module")
def halves(digits: NDArray[np.float32]) -> Pixels:
    """Two random halves of 300 test images of MNIST, which neighbours in the file are not: they are of one writer."""
    shuffled = np.random.default_rng(0).permutation(digits)
    return np.asarray(np.rint(shuffled * 255), np.uint8).reshape(2, 150, 1, 28, 28)


@pytest.fixture(scope="module")
def old(halves: Pixels) -> Pixels:
    return np.asarray(halves[0])


@pytest.fixture(scope="module")
def new(halves: Pixels) -> Pixels:
    return np.asarray(halves[1])


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[str, Pixels], Path]:
    """Writes images as a folder of PNG files."""

    def write(name: str, images: Pixels) -> Path:
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image[0]).save(tmp_path / name / f"{number:04}.png")
        return tmp_path / name

    return write


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a shipped bundle."""
    return lambda name: Path(shutil.copytree(SHIPPED / name, tmp_path / name))


def keeping(count: int, bundle: Path, model: Model, mnist: Dataset) -> Model:
    """A copy of the model's bundle, with as many codes kept in it."""
    write_codes(bundle, model, mnist, most=count)
    replace_graph(bundle, "codes.npz", (bundle / "codes.npz").read_bytes())
    return load(bundle)


class TestPermutationTest:
    def test_its_p_values_are_uniform_where_nothing_changed(self) -> None:
        """By the statistic of Kolmogorov and Smirnov, whose limit for 300 is 0.094 at one in a hundred."""
        random = np.random.default_rng(0)
        results = [
            permutation_test(random.exponential(size=(30, 3)), random.exponential(size=(50, 3)), seed, 99)
            for seed in range(300)
        ]
        found, mmd2, chance = np.array(results).T
        assert 0.92 < (mmd2 < chance).mean() < 0.98
        expected = np.arange(1, 101) / 100  # the values that p can have
        share = (found[:, None] <= expected + 1e-9).mean(axis=0)
        assert np.abs(share - expected).max() < 0.094

    @pytest.mark.parametrize("change", [lambda x: x + 0.8, lambda x: x * 1.8])
    def test_a_shift_and_a_spread_are_found(self, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> None:
        random = np.random.default_rng(0)
        points, others = random.normal(size=(2, 100, 3))
        p_value, mmd2, chance = permutation_test(change(points), others, 0)
        assert p_value == 1 / (1 + PERMUTATIONS)
        assert mmd2 > 2 * chance

    @settings(max_examples=30)
    @given(n=st.integers(2, 12), m=st.integers(2, 12), seed=st.integers(0, 99))
    def test_it_is_the_unbiased_discrepancy(self, n: int, m: int, seed: int) -> None:
        """Gretton et al., equation 3, term by term."""
        random = np.random.default_rng(seed)
        both = random.normal(size=(n + m, 2))
        distances = np.linalg.norm(both[:, None] - both, axis=2)
        median = np.sqrt(np.median(np.square(distances[np.triu_indices(n + m, 1)])))
        kernel = np.mean([np.exp(-np.square(distances / (h * median)) / 2) for h in (0.5, 1, 2)], axis=0)
        pairs = [
            [kernel[i, j] for i in first for j in second if i != j]
            for first, second in (
                (range(n), range(n)),
                (range(n, n + m), range(n, n + m)),
                (range(n), range(n, n + m)),
            )
        ]
        expected = np.mean(pairs[0]) + np.mean(pairs[1]) - 2 * np.mean(pairs[2])
        assert permutation_test(both[:n], both[n:], 0, 1)[1] == pytest.approx(expected, abs=1e-9)

    def test_points_that_are_all_the_same_are_no_further_apart_than_any_split(self) -> None:
        assert permutation_test(np.full((30, 2), 0.1), np.full((41, 2), 0.1), 0)[0] == 1

    def test_a_seed_gives_the_same_again_and_another_does_not(self) -> None:
        points, others = np.random.default_rng(0).normal(size=(2, 40, 2))
        first, again, another = (permutation_test(points, others, seed) for seed in (0, 0, 1))
        assert first == again != another


class TestModel:
    def test_other_images_of_the_same_kind_look_the_same(self, model: Model, new: Pixels, old: Pixels) -> None:
        found = model.drift(new, old)
        assert not found.drifted
        assert found.p_value > 0.05
        assert (found.new, found.reference, found.new_given, found.reference_given) == (150, 150, 150, 150)
        assert found.warnings == []
        assert found.verdict.startswith("the new pictures look like the reference: ")

    def test_darker_ones_do_not_and_it_says_so(self, model: Model, new: Pixels, old: Pixels) -> None:
        found = model.drift(np.rint(new * 0.7).astype(np.uint8), old)
        assert found.drifted
        assert found.p_value == 1 / (1 + PERMUTATIONS)
        assert "do not look like the reference" in found.verdict
        assert "they are darker, of less contrast" in found.verdict

    def test_the_facts_are_means_of_the_images(self, model: Model, new: Pixels, old: Pixels) -> None:
        facts = {fact.name: fact for fact in model.drift(new, old).facts}
        assert list(facts) == ["brightness", "contrast", "reconstruction", "anomalous"]
        scores = model.score(new)
        assert facts["brightness"].new == pytest.approx(new.mean() / 255, rel=1e-5)
        assert facts["contrast"].reference == pytest.approx((old / 255).std(axis=(1, 2, 3)).mean(), rel=1e-5)
        assert facts["reconstruction"].new == pytest.approx(scores.reconstruction.mean(), rel=1e-5)
        assert facts["anomalous"].new == scores.anomalous.mean()

    def test_images_are_compared_by_codes_and_the_logarithms_of_errors_in_standard_deviations(
        self, model: Model, new: Pixels, old: Pixels
    ) -> None:
        both = np.concatenate([new, old])
        points = np.column_stack([model.encode(both), np.log(model.score(both).reconstruction)])
        points /= points.std(axis=0)
        _, expected, _ = permutation_test(points[:150], points[150:], 0)
        assert model.drift(new, old).mmd2 == pytest.approx(expected, abs=1e-6)

    def test_the_order_of_images_does_not_matter(self, model: Model, new: Pixels, old: Pixels) -> None:
        order = np.random.default_rng(0).permutation(150)
        assert model.drift(new[order], old[::-1]) == model.drift(new, old)

    def test_of_many_a_seed_chooses_a_thousand_whatever_their_order(self) -> None:
        digits_gauss = load("digits-gauss")
        images = np.rint(digits_gauss.sample(1200, seed=1) * 255).astype(np.uint8)
        found = [digits_gauss.drift(given, images[:300], seed=seed) for given, seed in ((images, 0), (images[::-1], 0))]
        assert found[0] == found[1]
        assert (found[0].new, found[0].new_given, found[0].reference) == (1000, 1200, 300)
        assert found[0].mmd2 != digits_gauss.drift(images, images[:300], seed=1).mmd2

    def test_images_in_both_are_counted_and_warned_of(self, model: Model, new: Pixels, old: Pixels) -> None:
        found = model.drift(np.concatenate([new[:100], old[:30]]), old)
        assert found.shared == 30
        assert found.warnings == ["30 of the 130 new pictures are in the reference too, which hides drift"]
        assert model.drift(np.concatenate([new[:100], old[:30]]), np.concatenate([old, old[:1]])).shared == 30

    def test_images_that_are_all_the_same(self, model: Model, new: Pixels, old: Pixels) -> None:
        same = np.repeat(new[:1], 40, axis=0)
        found = model.drift(same, old)
        assert found.drifted
        assert found.warnings == [
            "39 of the 40 new pictures are copies of others, and count as if each were another: p is too small"
        ]
        assert model.drift(same, same).p_value == 1

    def test_one_that_is_a_copy_and_one_in_both(self, model: Model, new: Pixels, old: Pixels) -> None:
        found = model.drift(np.concatenate([new[:30], new[:1], old[:1]]), old)
        assert found.warnings == [
            "1 of the 32 new pictures is in the reference too, which hides drift",
            "1 of the 32 new pictures is a copy of another, and counts as if each were another: p is too small",
        ]

    def test_colour_where_gray_was_trained_is_as_everywhere(self, model: Model, new: Pixels, old: Pixels) -> None:
        assert model.drift(np.repeat(new, 3, axis=1), old) == model.drift(new, old)

    def test_too_few_or_broken_images_are_refused(self, model: Model, new: Pixels, old: Pixels) -> None:
        with pytest.raises(InvalidInput, match="drift has 1 new image, expected 20 or more"):
            model.drift(new[:1], old)
        with pytest.raises(InvalidInput, match="drift has 19 reference images, expected 20 or more"):
            model.drift(new, old[:19])
        with pytest.raises(InvalidInput, match="have NaN"):
            model.drift(np.full((30, 28, 28), np.nan), old)
        with pytest.raises(InvalidInput, match="z holds nan"):
            model.drift(np.full((30, 8), np.nan), old)
        with pytest.raises(InvalidInput, match="the seed is -1, expected a whole number from 0"):
            model.drift(new, old, seed=-1)

    def test_codes_are_compared_by_themselves(self, model: Model, new: Pixels, old: Pixels) -> None:
        found = model.drift(new, model.encode(old))
        assert not found.drifted
        assert {fact.reference for fact in found.facts} == {None}
        assert not any(fact.moved for fact in found.facts)
        assert {(row[1], row[3]) for row in found.table[1]} == {("-", "")}
        assert model.drift(new[:40], model.encode(new)).shared == 40
        assert model.drift(model.encode(new), model.encode(old)).facts == ()

    def test_without_a_reference_it_is_the_codes_that_the_bundle_keeps(self, shipped: Model, new: Pixels) -> None:
        found = shipped.drift(new)
        with np.load(SHIPPED / "mnist-plane" / "codes.npz") as saved:
            assert np.array_equal(shipped.kept_codes, saved["z"])
        assert (found.reference, found.shared) == (1000, 14)  # any 1,000 test images, with 14 of these
        assert all(fact.reference is not None for fact in found.facts)
        assert all(fact.reference is None for fact in shipped.drift(new, shipped.kept_codes).facts)  # codes alone
        assert shipped.drift(1 - new / 255, invert="no").drifted

    def test_equal_codes_of_a_discrete_prior_are_of_no_image_in_both(self, new: Pixels) -> None:
        assert load("mnist-bits").drift(new).shared == 0

    def test_a_bundle_that_keeps_none_says_what_to_do(self, model: Model, new: Pixels) -> None:
        with pytest.raises(InvalidInput, match="keeps no codes .*: aae-zoo drift mnist-gauss8 NEW --reference OLD"):
            model.drift(new)

    def test_a_bundle_keeps_what_it_makes_of_test_images_chosen_at_random(
        self, copy_of: Callable[[str], Path], mnist: Dataset, model: Model, new: Pixels
    ) -> None:
        again = keeping(200, copy_of("mnist-gauss8"), model, mnist)
        rows = (again.kept_codes[:, None] == model.encode(mnist.test_images.numpy())).all(axis=2).argmax(axis=1)
        assert (np.diff(rows) > 0).all()
        assert rows[-1] > 5000
        found, expected = again.drift(new), model.drift(new, mnist.test_images[rows].numpy())
        assert (found.reference, found.reference_given, found.shared) == (200, 200, expected.shared)
        assert found.mmd2 == pytest.approx(expected.mmd2, abs=1e-6)
        for fact, other in zip(found.facts, expected.facts, strict=True):
            assert fact.reference == pytest.approx(other.reference, rel=1e-5)

    def test_a_bundle_that_keeps_too_few_says_what_to_do(
        self, copy_of: Callable[[str], Path], mnist: Dataset, model: Model, new: Pixels
    ) -> None:
        few = keeping(9, copy_of("mnist-gauss8"), model, mnist)
        with pytest.raises(InvalidInput, match="keeps 9 codes .* 20 or more; .*: aae-zoo drift mnist-gauss8 NEW --ref"):
            few.drift(new)

    @pytest.mark.parametrize("error", [np.zeros(29), np.full(30, np.nan), np.zeros(30, int), np.zeros((30, 2))])
    def test_damaged_figures_are_refused(
        self, copy_of: Callable[[str], Path], tmp_path: Path, new: Pixels, error: NDArray[np.generic]
    ) -> None:
        arrays: dict[str, NDArray[Any]] = {name: np.zeros(30) for name in ("distance", "contrast", "brightness")}
        arrays |= {"z": np.zeros((30, 8)), "error": error, "label": np.zeros(0, int), "names": np.array([], np.str_)}
        bundle = copy_of("mnist-gauss8")
        save_npz(tmp_path / "codes.npz", arrays)
        replace_graph(bundle, "codes.npz", (tmp_path / "codes.npz").read_bytes())
        with pytest.raises(InvalidBundle, match=r"codes.npz of mnist-gauss8 is damaged .*; export the model again"):
            load(bundle).drift(new)

    def test_damaged_codes_are_refused(self, copy_of: Callable[[str], Path], new: Pixels) -> None:
        bundle = copy_of("mnist-plane")
        replace_graph(bundle, "codes.npz", b"PK")
        with pytest.raises(InvalidBundle, match=r"codes.npz of mnist-plane is damaged .*; export the model again"):
            load(bundle).drift(new)

    def test_a_notebook_shows_the_verdict_and_the_facts(self, model: Model, new: Pixels, old: Pixels) -> None:
        shown = model.drift(new, old)._repr_html_()
        assert "<caption>the new pictures look like the reference" in shown
        assert "brightness" in shown


class TestCommand:
    def test_the_same_ends_with_0(
        self, model: Model, new: Pixels, old: Pixels, folder: Callable[[str, Pixels], Path], aae_zoo: AaeZoo
    ) -> None:
        result = aae_zoo("drift", "mnist-gauss8", folder("new", new), "--reference", folder("old", old))
        found = model.drift(new, old)
        header, *facts, compared, verdict = result.out.splitlines()
        assert (result.status, result.err) == (0, "")
        assert header.split() == ["mean", "reference", "new"]
        assert [row.split() for row in facts] == [
            [fact.name, f"{fact.reference:.4g}", f"{fact.new:.4g}"] for fact in found.facts
        ]
        assert compared.startswith("150 of 150 new pictures beside 150 of 150, seed 0: MMD² ")
        assert verdict == found.verdict

    def test_another_look_ends_with_1_and_json_has_everything(
        self, new: Pixels, old: Pixels, folder: Callable[[str, Pixels], Path], aae_zoo: AaeZoo
    ) -> None:
        dark = folder("dark", np.rint(new * 0.7).astype(np.uint8))
        result = aae_zoo("drift", "mnist-gauss8", dark, "--reference", folder("old", old), "--seed", 3, "--json")
        document = json.loads(result.out)
        assert result.status == 1
        assert (document["name"], document["seed"], document["drifted"]) == ("mnist-gauss8", 3, True)
        assert document["p_value"] == 0.001
        assert document["facts"]["brightness"]["moved"] is True
        assert document["facts"]["brightness"]["new"] < document["facts"]["brightness"]["reference"]
        assert document["verdict"].endswith("they are darker, of less contrast")

    def test_broken_pictures_are_listed_after_the_verdict(
        self, new: Pixels, old: Pixels, folder: Callable[[str, Pixels], Path], aae_zoo: AaeZoo
    ) -> None:
        pictures = folder("new", new)
        (pictures / "broken.png").write_bytes(b"no picture")
        result = aae_zoo("drift", "mnist-gauss8", pictures, "--reference", folder("old", old))
        assert result.status == 1
        assert "150 of 150 new pictures" in result.out
        assert "broken.png cannot be read as a picture" in result.err

    def test_broken_pictures_are_listed_where_too_few_are_left(
        self, new: Pixels, old: Pixels, folder: Callable[[str, Pixels], Path], aae_zoo: AaeZoo
    ) -> None:
        pictures = folder("new", new[:19])
        (pictures / "broken.png").write_bytes(b"no picture")
        result = aae_zoo("drift", "mnist-gauss8", pictures, "--reference", folder("old", old))
        broken, few = result.err.splitlines()
        assert "broken.png cannot be read as a picture" in broken
        assert few == "error: drift has 19 new images, expected 20 or more, and better some hundreds"

    def test_an_empty_folder_and_a_bundle_without_codes(
        self, new: Pixels, tmp_path: Path, folder: Callable[[str, Pixels], Path], refused: Callable[..., str]
    ) -> None:
        pictures = folder("new", new[:20])
        (tmp_path / "empty").mkdir()
        assert "holds no picture" in refused("drift", "mnist-gauss8", tmp_path / "empty", "--reference", pictures)
        assert "mnist-gauss8 keeps no codes to compare with" in refused("drift", "mnist-gauss8", tmp_path / "nowhere")

    def test_of_a_large_folder_a_thousand_pictures_are_read(
        self, new: Pixels, old: Pixels, folder: Callable[[str, Pixels], Path], aae_zoo: AaeZoo
    ) -> None:
        pictures = folder("old", old)
        for number in range(900):
            os.link(pictures / f"{number % 150:04}.png", pictures / f"more{number}.png")
        result = aae_zoo("drift", "mnist-gauss8", pictures, "--reference", folder("few", new[:20]))
        assert f"note: in {pictures}, 1,000 of 1,050 pictures are read" in result.err
        assert "1,000 of 1,000 new pictures beside 20 of 20" in result.out
