"""A recipe's networks and objective, freshly initialised: what training begins with and weights are loaded into."""

from typing import Final

import torch

from aae_zoo.runtime.bundles.names import MAX_FILE_BYTES
from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.objectives import BaseObjective
from aae_zoo.zoo.parts import load_part
from aae_zoo.zoo.recipe import Recipe

# The most that one file of a bundle holds, in float32.
_MAX_PARAMETERS: Final = MAX_FILE_BYTES // 4


def build(recipe: Recipe, image: tuple[int, int, int]) -> tuple[Autoencoder, BaseObjective]:
    """The model and the objective that a recipe describes, freshly initialised, for images (C, H, W).

    Raises:
        InvalidRecipe: the recipe's parts do not fit each other, or have too many parameters.
    """
    with torch.device("meta"):  # networks without memory: how large they would be
        model, objective = _build(recipe, image)
        count = sum(values.numel() for values in {**model.state_dict(), **objective.state_dict()}.values())
    if count > _MAX_PARAMETERS:
        raise InvalidRecipe(
            f"the networks of {recipe.name} would have {count:,} parameters, expected at most {_MAX_PARAMETERS:,}; "
            "make the layers of [encoder] and [decoder] smaller"
        )
    return _build(recipe, image)


def _build(recipe: Recipe, image: tuple[int, int, int]) -> tuple[Autoencoder, BaseObjective]:
    part = load_part("objectives", recipe.objective.kind)
    model = Autoencoder(
        recipe,
        image,
        lambda prior: part.Objective.heads(recipe.objective, prior),
        noisy=part.Objective.noisy(recipe.objective),
    )
    objective: BaseObjective = part.Objective(recipe.objective, model, recipe.training.learning_rate)
    return model, objective
