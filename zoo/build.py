"""A recipe's networks and objective, freshly initialised: what training begins with and weights are loaded into."""

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.objectives import BaseObjective
from aae_zoo.zoo.parts import load_part
from aae_zoo.zoo.recipe import Recipe


def build(recipe: Recipe, image: tuple[int, int, int]) -> tuple[Autoencoder, BaseObjective]:
    """The model and the objective that a recipe describes, freshly initialised, for images (C, H, W).

    Raises:
        InvalidRecipe: the recipe's parts do not fit each other.
    """
    part = load_part("objectives", recipe.objective.kind)
    model = Autoencoder(
        recipe,
        image,
        lambda prior: part.Objective.heads(recipe.objective, prior),
        noisy=part.Objective.noisy(recipe.objective),
    )
    objective: BaseObjective = part.Objective(recipe.objective, model, recipe.training.learning_rate)
    return model, objective
