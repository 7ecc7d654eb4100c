"""What is measured: anything that encodes, decodes and draws, whatever it is made of."""

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


def test_the_error_is_that_of_the_most_probable_class(dataset: Dataset, recipe: Recipe) -> None:
    labelled = recipe.model_copy(update={"data": recipe.data.model_copy(update={"labels": -1})})
    found = measure(Stubborn(dataset), dataset, labelled.data, (class_error,))
    assert found == {"error": pytest.approx(100 * float((dataset.test_labels != 7).double().mean()))}


def test_figures_that_cannot_be_had_are_left_out(dataset: Dataset, recipe: Recipe) -> None:
    """The model tells no classes, and there is no classifier of the data set."""
    assert measure(Perfect(dataset), dataset, recipe.data, (class_error, in_features)) == {}
