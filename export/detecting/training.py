"""What is made from a folder: begun, or gone on with where it was interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aae_zoo.export.detecting.given import Places
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.errors import CheckpointError, Interrupted, InvalidBundle
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.recipe import Recipe
from aae_zoo.zoo.training.run import Run
from aae_zoo.zoo.training.trainer import train


def train_or_go_on(recipe: Recipe, dataset: Dataset, run: Path, threads: int | None) -> None:
    """Train, or go on with what is there; what stops it says what goes on with it.

    Raises:
        CheckpointError: the run is of other pictures or settings, or damaged.
        Interrupted, OutputError, TrainingError: as for `train`.
    """
    try:
        resume = Run(run, recipe).state.exists()
        train(recipe, run, data=dataset, resume=resume, threads=threads, tracker="none")
    except Interrupted as error:
        what = str(error).partition(";")[0]
        raise Interrupted(f"{what}; give the same command to go on from the last whole epoch, in {run}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{error}; or remove {run} to begin again") from None


@contextmanager
def going_on(run: Path) -> Iterator[None]:
    """Have Ctrl-C after the training say what goes on.

    Raises:
        Interrupted: there was a Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; give the same command to go on after the training, in {run}") from None


def is_exported(places: Places) -> bool:
    """Whether the run's bundle stands already, and only the page is missing: then the process was killed between."""
    try:
        bundle, run = open_bundle(places.out), Run.open(places.run)
    except (InvalidBundle, CheckpointError, OSError):  # what the system says of the name, `Places.check` does
        return False
    return bundle.manifest.provenance.get("recipe") == run.recipe.to_toml() and not places.page.exists()
