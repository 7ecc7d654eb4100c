"""Figures over seeds: how much of a result is the recipe's doing, and how much is luck."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aae_zoo.export.card.figures import FIGURES
from aae_zoo.runtime.errors import CheckpointError
from aae_zoo.zoo.recipe import Recipe
from aae_zoo.zoo.training.run import Run


def over_seeds(run: Run, others: Sequence[Path]) -> dict[str, Any]:
    """The figures of a run and of other runs of its recipe: the seeds, and each figure's values in their order.

    Raises:
        CheckpointError: a run is missing or unfinished, is of another recipe, or has a seed that another one has.
    """
    runs = [run, *map(Run.open, others)]
    seeds = [r.recipe.training.seed for r in runs]
    for other in runs[1:]:
        if _without_seed(other.recipe) != _without_seed(run.recipe):
            raise CheckpointError(
                f"{other.folder} is of another recipe than {run.folder}, expected one that differs in its seed alone: "
                f"train it with --set training.seed=N --out {other.folder}"
            )
        if _beginning(other) != _beginning(run):
            raise CheckpointError(
                f"{other.folder} began with other weights than {run.folder}, expected the same: train both with the "
                "same --from, or without"
            )
    if len(set(seeds)) < len(seeds):
        raise CheckpointError(f"the runs have the seeds {seeds}, expected each once: leave out a run")
    metrics = [r.read_json("metrics.json") for r in runs]
    return {"seeds": seeds, **{name: [m[name] for m in metrics] for name in FIGURES if all(name in m for m in metrics)}}


def _beginning(run: Run) -> str | None:
    """The SHA-256 of the manifest of the model that a run began with, if it began with any."""
    began = run.read_json("run.json").get("began_with")
    return began and str(began["manifest_sha256"])


def _without_seed(recipe: Recipe) -> str:
    training = recipe.training.model_copy(update={"seed": 0})
    return recipe.model_copy(update={"training": training}).sha256
