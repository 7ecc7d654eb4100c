"""Which labels training may know."""

import torch
from torch import Tensor

from aae_zoo.runtime.errors import TrainingError
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.recipe import Recipe


def known_labels(dataset: Dataset, recipe: Recipe) -> Tensor:
    """The indices of the training images whose labels a recipe's training may know, in increasing order.

    With data.labels = n they are n / classes of each class, drawn with the recipe's seed from the images that are
    not kept for validation; with -1 all of them.

    Raises:
        TrainingError: n is not a multiple of the number of classes, a class has too few images, or there are none.
    """
    labels = dataset.train_labels[: -recipe.data.validation_count(len(dataset.train_labels))]
    wanted, classes = recipe.data.labels, len(dataset.label_names)
    if wanted and not classes:
        raise TrainingError(
            f"data.labels is {wanted}, but the images of {dataset.name} have no labels; give pictures in a subfolder "
            "for each class, or train a recipe that needs no labels, such as folder-gauss"
        )
    if not wanted:
        return torch.arange(0)
    counts = labels.bincount(minlength=classes)
    if wanted < 0:
        _check_each(counts, dataset)
        return torch.arange(len(labels))
    fewest = int(counts.min())
    if wanted % classes or wanted > classes * fewest:
        raise TrainingError(
            f"data.labels is {wanted}, expected a multiple of the {classes} classes of {dataset.name} and at most "
            f"{fewest} of each, or -1 for all labels"
        )
    generator = torch.Generator().manual_seed(recipe.training.seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    chosen = [shuffled[labels[shuffled] == k][: wanted // classes] for k in range(classes)]
    return torch.cat(chosen).sort().values


def _check_each(counts: Tensor, dataset: Dataset) -> None:
    """Each class has to have an image to learn from: what is drawn of one that has none would be of no class."""
    if missing := [name for name, count in zip(dataset.label_names, counts.tolist(), strict=True) if not count]:
        raise TrainingError(
            f"{dataset.name} has no training image of the class {missing[0]!r} beside those for validation; give "
            "more of it, or leave it out"
        )
