"""Recipes of every kind, and pictures made up for each."""

from collections.abc import Sequence
from typing import Final

import torch

from aae_zoo.zoo.data.dataset import Attribute, Dataset
from aae_zoo.zoo.data.loading import declarations
from aae_zoo.zoo.recipe import Recipe, load_recipe

# Every objective, every prior that draws in another way, dropout, batch normalisation, and each kind of posterior.
RECIPES: Final[dict[str, Sequence[str]]] = {
    "mnist-gauss": (),
    "mnist-gauss6": (),
    "mnist-gauss6, universal": ("objective.posterior=universal", "objective.entropy_weight=0.0"),
    "mnist-mixture": ("data.labels=1000",),
    "mnist-swissroll": ("data.labels=1000",),
    "mnist-bits": (),
    "mnist-plane": (),
    "mnist-vae": (),
    "mnist-wae": (),
    "mnist-ae": (),
    "mnist-dae": (),
    "mnist-style": (),
    "mnist-semi100": (),
    "mnist-embed": (),
    "mnist-cluster": (),
    "mnist-oneclass": (),
    "avatars-style": (),
    "folder-small": (),
}


def recipe(name: str, *overrides: str) -> Recipe:
    """A recipe by its name in `RECIPES`, for the pictures of `made_up`."""
    usual = ["data.validation=0.2", "training.pictures_every=1000"]
    return load_recipe(name.partition(",")[0], [*usual, *RECIPES[name], *overrides])


def made_up(recipe: Recipe, training: int = 6000, test: int = 1000) -> Dataset:
    """Pictures of the shape that a recipe's have, each a blot, with classes and attributes that are where it is."""
    declared = declarations().get(recipe.data.dataset)
    size = recipe.data.size
    channels, height, width = (declared and declared.IMAGE_SHAPE) or (recipe.data.channels or 1, size or 1, size or 1)
    generator = torch.Generator().manual_seed(0)
    count = training + test
    at = torch.rand(count, 2, generator=generator)
    down, across = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None]
    blots = torch.exp(-20 * ((down - at[:, 0, None, None]) ** 2 + (across - at[:, 1, None, None]) ** 2))
    images = (blots[:, None] * torch.rand(count, channels, 1, 1, generator=generator) * 255).byte()
    widths: Sequence[int] = getattr(recipe.prior, "classes", ()) if recipe.data.attributes else ()
    told = torch.stack([(at[:, 0] * n).long() for n in widths], 1) if widths else None
    names = recipe.data.attributes
    attributes = [Attribute(n, tuple(map(str, range(w)))) for n, w in zip(names, widths, strict=True)]
    labels = (at[:, 1] * 10).long()
    cut = slice(0, training), slice(training, None)
    images_of, labels_of = ([values[part] for part in cut] for values in (images, labels))
    told_of = [None if told is None else told[part] for part in cut]
    return Dataset(
        *("made-up", images_of[0], labels_of[0], images_of[1], labels_of[1], tuple("0123456789"), {}),
        attributes=tuple(attributes),
        train_attributes=told_of[0],
        test_attributes=told_of[1],
    )
