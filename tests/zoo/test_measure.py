"""What is measured: anything that encodes, decodes and draws, whatever it is made of."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.measure.class_error import class_error
from aae_zoo.zoo.measure.measured import Codes, Draws
from aae_zoo.zoo.measure.metrics import match, measure
from aae_zoo.zoo.measure.samples import in_features
from aae_zoo.zoo.recipe import Recipe, load_recipe


@pytest.fixture
def dataset(small_data: Path) -> Dataset:
    return load_dataset("small", small_data)


@pytest.fixture
def recipe(small_recipe: Path) -> Recipe:
    return load_recipe(str(small_recipe))


class Perfect:
    """Beside two figures of an image its code is the image itself, and the prior draws codes of test images."""

    def __init__(self, dataset: Dataset) -> None:
        self.codes = self.encode(to_float(dataset.test_images))

    def encode(self, image: Tensor) -> Codes:
        return {"z": torch.stack([image.mean((1, 2, 3)), image.std((1, 2, 3))], 1), "image": image}

    def decode(self, codes: Codes) -> Tensor:
        return codes["image"].logit()

    def draw(self, count: int, generator: Generator) -> Draws:
        some = torch.randint(len(self.codes["z"]), (count,), generator=generator)
        return Draws({"z": self.codes["z"][some]}, None)


class Stubborn(Perfect):
    """It calls every image a seven."""

    def encode(self, image: Tensor) -> Codes:
        seven = torch.nn.functional.one_hot(torch.full((len(image),), 7), 10).float()
        return {**super().encode(image), "y": seven}


def test_a_perfect_model_loses_nothing_and_its_codes_are_the_priors(dataset: Dataset, recipe: Recipe) -> None:
    found = measure(Perfect(dataset), dataset, recipe.data, (match,))
    assert found["mse"] == pytest.approx(0, abs=1e-12)
    assert found["mmd2"] == pytest.approx(found["mmd2_prior"], abs=0.01)


class Gray(Perfect):
    """Every image that it decodes is gray, and its prior has a standard deviation of 2."""

    def decode(self, codes: Codes) -> Tensor:
        return torch.zeros_like(codes["image"])

    def draw(self, count: int, generator: Generator) -> Draws:
        return Draws({"z": 2 * torch.randn(count, 2, generator=generator)}, None)


class Sevens(Perfect):
    """It draws test images of a seven, and says of every other one that it is a three."""

    def __init__(self, dataset: Dataset) -> None:
        self.images = to_float(dataset.test_images[dataset.test_labels == 7])

    def draw(self, count: int, generator: Generator) -> Draws:
        some = torch.randint(len(self.images), (count,), generator=generator)
        return Draws({"image": self.images[some]}, 3 + 4 * (torch.arange(count) % 2))


def test_errors_are_a_pixels_and_an_images_and_codes_in_units_of_the_prior(dataset: Dataset, recipe: Recipe) -> None:
    model, images = Gray(dataset), to_float(dataset.test_images)
    z = model.codes["z"]
    found = measure(model, dataset, recipe.data, (match,))
    assert found["mse"] == pytest.approx(float((images - 0.5).square().mean()), rel=1e-5)
    assert found["bce"] == pytest.approx(images[0].numel() * math.log(2), rel=1e-5)
    for name, expected in (
        ("code_mean", z.mean(0) / 2),
        ("code_covariance", torch.cov(z.T) / 4),
        ("prior_covariance", torch.eye(2)),
    ):
        assert torch.allclose(torch.tensor(found[name]), expected, atol=0.02), name


def test_samples_that_are_all_of_one_class_are_precise_and_not_all_there_is(mnist: Dataset, recipe: Recipe) -> None:
    few = replace(mnist, test_images=mnist.test_images[:1000], test_labels=mnist.test_labels[:1000])
    labelled = recipe.data.model_copy(update={"labels": -1})
    found = measure(Sevens(few), few, labelled, (in_features,))
    assert found["precision"] == 1
    assert found["recall"] < 0.5
    assert found["class_entropy"] < 0.5
    assert found["label_agreement"] == pytest.approx(0.5, abs=0.02)


def test_the_error_is_that_of_the_most_probable_class(dataset: Dataset, recipe: Recipe) -> None:
    labelled = recipe.model_copy(update={"data": recipe.data.model_copy(update={"labels": -1})})
    found = measure(Stubborn(dataset), dataset, labelled.data, (class_error,))
    assert found == {"error": pytest.approx(100 * float((dataset.test_labels != 7).double().mean()))}


def test_figures_that_cannot_be_had_are_left_out(dataset: Dataset, recipe: Recipe) -> None:
    """The model tells no classes, and there is no classifier of the data set."""
    assert measure(Perfect(dataset), dataset, recipe.data, (class_error, in_features)) == {}
