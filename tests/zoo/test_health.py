"""A training that failed says so, in each of three ways; what comes with aae-zoo did not fail."""

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import AaeZoo, write_idx
from torch import Generator, Tensor

from aae_zoo.runtime import Model, list_models, load
from aae_zoo.zoo.build import build
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.maths.mmd import mmd2
from aae_zoo.zoo.measure.health import FAR, opinion, problems, references
from aae_zoo.zoo.measure.measured import Codes, Draws
from aae_zoo.zoo.measure.metrics import match
from aae_zoo.zoo.recipe import load_recipe


class Linear:
    """A model of pictures of four pixels that encodes them as their first two pixels, all as a test wants them.

    The prior is uniform in [0, 1], as those pixels are; `move` moves the codes, and `ignore` has the decoder draw one
    picture, whatever the code.
    """

    def __init__(self, move: float = 0.0, *, ignore: bool = False) -> None:
        self.move, self.ignore = move, ignore

    def encode(self, image: Tensor) -> Codes:
        return {"z": image.flatten(1)[:, :2] + self.move}

    def decode(self, codes: Codes) -> Tensor:
        z = torch.full_like(codes["z"], 0.5) if self.ignore else codes["z"] - self.move
        logits: Tensor = torch.cat([z, z], 1).clamp(1e-4, 1 - 1e-4).logit().unflatten(1, (1, 2, 2))
        return logits

    def draw(self, count: int, generator: Generator) -> Draws:
        return Draws({"z": torch.rand(count, 2, generator=generator)}, None)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Pictures of two uniform pixels and two like them."""
    pixels = torch.randint(256, (1400, 1, 1, 2), generator=Generator().manual_seed(0), dtype=torch.uint8)
    images = torch.cat([pixels, pixels], 2)
    labels = torch.full((700,), -1)
    return Dataset("two", images[:700], labels, images[700:], labels, (), {})


Figures = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def figures(dataset: Dataset) -> Figures:
    """The metrics of a `Linear`, each measured once."""

    @functools.cache
    def measured(move: float = 0.0, *, ignore: bool = False) -> dict[str, Any]:
        model, settings = Linear(move, ignore=ignore), load_recipe("mnist-plane").data
        return {**match(model, dataset, settings), **references(model, dataset, settings)}

    return measured


def test_a_perfect_model_has_no_problem(figures: Figures) -> None:
    assert problems(figures()) == []


def test_codes_far_from_the_prior(figures: Figures) -> None:
    assert problems(figures(move=0.1)) == []
    (problem,) = problems(figures(move=0.3))
    assert problem.startswith("the codes are far from the prior: their MMD² is ")
    assert "train for more epochs, or give the prior more weight in [objective]" in problem


def test_a_decoder_that_ignores_its_code(figures: Figures) -> None:
    alike, mean = problems(figures(ignore=True))
    assert alike.startswith("the samples are all alike: they vary by ")
    assert "expected 0.01 or more" in alike
    assert mean.startswith("the reconstructions are no better than the mean picture: their squared error per pixel is ")
    assert "larger prior.size" in mean


def test_what_a_perfect_model_thinks_of_itself(figures: Figures) -> None:
    restored, drawn, better = opinion(figures())
    assert restored.startswith("reconstructions: close to the pictures: 100% of what tells test images apart is kept")
    assert drawn.startswith("samples: not blurred, as varied as the pictures: edges are 0.97 times as strong")
    assert better.startswith("to do better: look at the samples: by these figures nothing is amiss")


def test_what_a_model_that_draws_one_picture_thinks_of_itself(figures: Figures) -> None:
    restored, drawn, better = opinion(figures(ignore=True))
    assert restored.startswith("reconstructions: hardly anything: ")
    assert drawn.startswith("samples: blurred, less varied than the pictures: ")
    assert better.startswith("to do better: train for more epochs, or with a larger prior.size")


def test_what_a_model_of_strange_codes_thinks_of_itself(figures: Figures) -> None:
    assert opinion(figures(move=0.1))[2].startswith("to do better: draws are of codes that few pictures have")


def test_codes_are_as_far_as_they_are_farther_than_the_priors_own_draws(figures: Figures) -> None:
    far = {**figures(), "mmd2": 0.5}
    assert opinion({**far, "mmd2_prior": 0.46})[2].startswith("to do better: look at the samples")
    assert problems({**far, "mmd2_prior": 0.26}) == []
    assert problems({**far, "mmd2_prior": 0.24}) != []


def test_how_much_samples_vary_is_said_in_standard_deviations(figures: Figures) -> None:
    drawn = opinion({**figures(), "sample_spread": 0.7, "sample_sharpness": 1.3})[1]
    assert drawn.startswith("samples: noisy, as varied as the pictures: edges are 1.3 times as strong as in test ")
    assert "they vary 0.84 times as much" in drawn


@pytest.mark.parametrize("name", ["mnist-plane", "mnist-gauss"])
def test_the_bound_is_half_a_standard_deviation_in_every_coordinate(name: str) -> None:
    prior = build(load_recipe(name), (1, 28, 28))[0].prior
    generator = Generator().manual_seed(0)
    a, b = (prior.draw(1000, generator)["z"].double() for _ in range(2))
    variance = float(a.var())
    assert float(mmd2(a + 0.45 * variance**0.5, b, variance)) < FAR < float(mmd2(a + 0.55 * variance**0.5, b, variance))


@pytest.mark.parametrize("name", [entry.name for entry in list_models()])
def test_no_model_that_comes_with_aae_zoo_failed(name: str) -> None:
    """The metrics are those of its manifest; what older ones do not have is measured on its samples."""
    model = load(name)
    assert problems({**measured_anew(model), **model.manifest.metrics}) == []


def measured_anew(model: Model) -> dict[str, float]:
    """What metrics are compared with."""
    if "sample_spread" in model.manifest.metrics:
        return {}
    dataset = load_dataset(model.manifest.dataset)
    test = dataset.test_images.numpy() / np.float32(255)
    mean = dataset.train_images.numpy().mean(0) / 255
    return {
        "mean_image_mse": float(((test - mean) ** 2).mean()),
        "sample_spread": float(model.sample(300, seed=0).var(0).mean() / test.var(0).mean()),
    }


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """Pictures in which nothing tells one from another but noise, which no code can hold."""
    folder = tmp_path / "my noise"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, count in (("train", 400), ("t10k", 100)):
        write_idx(folder / f"{name}-images-idx3-ubyte", random.integers(0, 256, (count, 14, 14), dtype=np.uint8))
        write_idx(folder / f"{name}-labels-idx1-ubyte", np.zeros(count, np.uint8))
    return folder


def test_a_run_that_failed_is_exported_only_with_anyway(
    small_recipe: Path, blank: Path, tmp_path: Path, aae_zoo: AaeZoo, refused: Callable[..., str]
) -> None:
    trained = aae_zoo("train", small_recipe, "--data", blank, "--out", tmp_path / "r", "--set", "training.epochs=1")
    assert trained.status == 0
    assert "warning: the reconstructions are no better than the mean picture" in trained.err
    *_, following = trained.out.splitlines()
    assert following.endswith(" --anyway")
    message = refused("export", tmp_path / "r", "-o", tmp_path / "bundle")
    assert f"the training of {tmp_path / 'r'} failed, export it with --anyway only: the codes are far" in message
    assert not (tmp_path / "bundle").exists()
    assert aae_zoo("export", tmp_path / "r", "-o", tmp_path / "bundle", "--anyway").status == 0
    assert shlex.split(following)[:4] == ["next:", "aae-zoo", "export", str(tmp_path / "r")]
