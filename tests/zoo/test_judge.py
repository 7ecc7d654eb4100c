"""Judging anybody's samples: the figures are their definitions, and tell good samples from bad ones and from copies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import AaeZoo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aae_zoo.runtime import InvalidInput, load
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.measure.judge import judge
from aae_zoo.zoo.measure.likeness import Likeness, likeness, nearest_distances


def points(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) + shift


class TestLikeness:
    @settings(max_examples=30)
    @given(st.integers(7, 20), st.integers(7, 20), st.integers(1, 5), st.integers(0, 999), st.sampled_from([0.0, 1.0]))
    def test_it_is_the_definition(self, real_count: int, fake_count: int, k: int, seed: int, shift: float) -> None:
        real, fake = points(real_count, seed), points(fake_count, seed + 1, shift)

        def radius(of: Tensor, among: Tensor) -> float:
            return sorted(float((of - other).norm()) for other in among)[k]  # the first is the point itself

        def inside(point: Tensor, centre: Tensor, among: Tensor) -> bool:
            return float((point - centre).norm()) <= radius(centre, among) + 1e-6

        expected = Likeness(
            precision=sum(any(inside(f, r, real) for r in real) for f in fake) / fake_count,
            recall=sum(any(inside(r, f, fake) for f in fake) for r in real) / real_count,
            density=sum(inside(f, r, real) for f in fake for r in real) / (k * fake_count),
            coverage=sum(any(inside(f, r, real) for f in fake) for r in real) / real_count,
        )
        assert likeness(real, fake, k) == pytest.approx(expected)

    def test_what_is_alike_is_and_what_is_elsewhere_is_not(self) -> None:
        real = points(2500, 0)  # more than are worked on at a time
        assert min(likeness(real, points(2500, 1))) > 0.9
        assert max(likeness(real, points(2500, 1, shift=50.0))) == 0.0

    def test_few_good_kinds_are_precise_and_not_all_there_is(self) -> None:
        found = likeness(points(1000, 0), 0.05 * points(1000, 1))
        assert found.precision > 0.95
        assert found.recall < 0.1 > found.coverage

    def test_the_nearest_is_found(self) -> None:
        a, b = points(30, 0), points(2500, 1)
        assert torch.allclose(nearest_distances(a, b), torch.cdist(a, b).amin(1), atol=1e-4)


def report(images: np.ndarray[Any, Any], folder: Path) -> dict[str, Any]:
    np.save(folder / "samples.npy", images)
    return judge(folder / "samples.npy", "mnist")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return report(load("mnist-gauss8").sample(1000), tmp_path_factory.mktemp("drawn"))


class TestJudge:
    def test_real_pictures_are_as_good_as_real_ones(self, mnist: Dataset, tmp_path: Path) -> None:
        found = report(mnist.test_images[:1000].numpy(), tmp_path)
        samples, real = found["samples"], found["real"]
        assert samples["count"] == real["count"] == 1000
        assert samples["precision"] == 1.0  # each lies where a real one does: on itself
        for name in ("class_entropy", "classifier_score", "nearest"):
            assert samples[name] == pytest.approx(real[name], rel=0.05)
        assert 0 < samples["copies"] < 0.03

    def test_copies_are_found(self, mnist: Dataset, tmp_path: Path) -> None:
        found = report(mnist.train_images[5000:5200].numpy(), tmp_path)
        assert found["samples"]["copies"] == 1.0
        assert found["samples"]["nearest"] < 1e-3

    def test_samples_may_stand_in_any_order(self, mnist: Dataset, tmp_path: Path) -> None:
        copies, noise = mnist.train_images[:1000].numpy(), np.random.default_rng(0).random((1000, 1, 28, 28))
        found = report(np.concatenate([copies / 255, noise]).astype(np.float32), tmp_path)["samples"]
        assert found["copies"] == pytest.approx(0.5, abs=0.05)

    def test_real_pictures_are_of_all_the_data_set(self, mnist: Dataset, tmp_path: Path) -> None:
        of_few_writers = mnist.train_images[:1000].numpy()
        found = report(of_few_writers, tmp_path)
        assert found["real"]["frechet"] < found["samples"]["frechet"] / 2

    def test_a_model_draws_worse_than_the_world_and_better_than_noise(
        self, drawn: dict[str, Any], tmp_path: Path
    ) -> None:
        noise = report(np.random.default_rng(0).random((1000, 1, 28, 28), np.float32), tmp_path)["samples"]
        assert drawn["real"]["frechet"] < drawn["samples"]["frechet"] < noise["frechet"]
        assert drawn["real"]["recall"] > drawn["samples"]["recall"] > noise["recall"]
        assert drawn["samples"]["precision"] > 0.8 > noise["precision"]

    def test_the_command_prints_the_same(self, drawn: dict[str, Any], aae_zoo: AaeZoo, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", load("mnist-gauss8").sample(1000))
        found = json.loads(aae_zoo("judge", tmp_path / "x.npy", "--dataset", "mnist", "--json").out)
        assert found["samples"] == pytest.approx(drawn["samples"], rel=1e-4)
        assert found["classifier"] == drawn["classifier"]

    def test_what_cannot_be_judged_is_one_sentence(self, tmp_path: Path) -> None:
        np.save(tmp_path / "few.npy", np.zeros((99, 28, 28)))
        with pytest.raises(InvalidInput, match=r"has 99 images, expected at least 100"):
            judge(tmp_path / "few.npy", "mnist")
        with pytest.raises(InvalidInput, match=r"no classifier of digits .* fashion-mnist, mnist"):
            judge(tmp_path / "few.npy", "digits")
        np.save(tmp_path / "large.npy", np.zeros((100, 32, 32)))
        with pytest.raises(InvalidInput, match="expected .n, 1, 28, 28."):
            judge(tmp_path / "large.npy", "mnist")
