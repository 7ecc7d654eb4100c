"""The whole zoo: every recipe that has weights to ship, trained, measured and exported; what is done is left alone.

    python -m aae_zoo.export.release.zoo [NAMES...]

run from the root of a checkout, trains into runs/ and exports into runtime/models/. NAMES are those of recipes, or
.toml files; by default all recipes that are shipped. A run whose recipe has changed is reported and not overwritten.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from aae_zoo.export.bundling.bundle import export_bundle
from aae_zoo.export.bundling.source import lasting
from aae_zoo.export.card.figures import FIGURES
from aae_zoo.export.release.timing import note_time
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.names import metric_text
from aae_zoo.runtime.errors import AaeZooError, Interrupted
from aae_zoo.zoo.recipe import RECIPES, Recipe, load_recipe, parse_toml
from aae_zoo.zoo.training.lite import FILE as LITE_FILE
from aae_zoo.zoo.training.lite import distil
from aae_zoo.zoo.training.run import Run
from aae_zoo.zoo.training.trainer import train

# Models with more than the graphs of float32: those with a lite decoder, and those with graphs of other precisions.
LITE: Final = ("mnist-plane",)
VARIANTS: Final[Mapping[str, Sequence[str]]] = {"mnist-gauss": ("int8",), "mnist-gauss8": ("int8",)}


def make(recipes: Sequence[Recipe], runs: Path, models: Path) -> bool:
    """Train each recipe into runs/<name>, export it to models/<name> and print a line for it: whether all succeeded.

    A failure does not stop the others.

    Raises:
        Interrupted: by Ctrl-C; the same call goes on.
    """
    failed = 0
    for recipe in recipes:
        try:
            done = _make(recipe, runs / recipe.name, models / recipe.name)
        except Interrupted:
            raise
        except Exception as error:  # whatever it is, the other models go on
            failed += 1
            done = f"failed: {error if isinstance(error, AaeZooError) else repr(error)}"
        sys.stdout.write(f"{recipe.name}: {done}\n")
        sys.stdout.flush()
    return failed == 0


def shipped() -> list[Recipe]:
    """The package's recipes that have weights to ship, by name."""
    recipes = [load_recipe(path.stem) for path in sorted(RECIPES.glob("*.toml"))]
    return [recipe for recipe in recipes if recipe.shipped]


def _make(recipe: Recipe, folder: Path, bundle: Path) -> str:
    """Do what is left to do for one recipe, and say what that was."""
    run, done = Run(folder, recipe), []
    done += _train(run)
    run.describe()  # its description of the model may have changed; what decides the weights has not
    others = [Run(folder.with_name(f"{folder.name}-{r.training.seed}"), r) for r in _other_seeds(recipe)]
    for other in others:
        done += [f"{what} with seed {other.recipe.training.seed}" for what in _train(other)]
    if recipe.name in LITE and not (folder / LITE_FILE).exists():
        distil(folder)
        done.append("distilled")
    if not _is_exported(run, bundle, len(others)):
        variants = VARIANTS.get(recipe.name, ())
        export_bundle(folder, bundle, replace=True, seeds=[other.folder for other in others], variants=variants)
        note_time(bundle.parent, run)
        done.append("exported")
    metrics = open_bundle(bundle).manifest.metrics
    figures = [f"{name} {metric_text(metrics[name])}" for name in FIGURES if name in metrics]
    minutes = f"{run.read_json('run.json')['training_seconds'] / 60:.1f} min of training"
    return ", ".join([" and ".join(done) or "done already", minutes, *figures])


def _train(run: Run) -> list[str]:
    """Train what is left of a run, and say what that was, if anything."""
    if _is_trained(run):
        return []
    resume = run.state.exists()
    train(run.recipe, run.folder, resume=resume)
    return ["resumed" if resume else "trained"]


def _other_seeds(recipe: Recipe) -> list[Recipe]:
    """The recipe with the seeds that follow its own, as many as it asks for."""
    training = recipe.training
    copies = [training.model_copy(update={"seed": training.seed + k}) for k in range(1, recipe.seeds)]
    return [recipe.model_copy(update={"training": copy}) for copy in copies]


def _is_trained(run: Run) -> bool:
    """Whether the run is finished, and of this recipe."""
    return (run.folder / "run.json").exists() and Run.open(run.folder).recipe.sha256 == run.recipe.sha256


def _is_exported(run: Run, folder: Path, seeds: int) -> bool:
    """Whether the bundle is whole and was made from this run, with as many other seeds."""
    try:
        bundle = open_bundle(folder)
        bundle.check_files()
        recipe = parse_toml(str(bundle.manifest.provenance.get("recipe", "")), "its recipe")
    except AaeZooError:
        return False
    facts = lasting(run.read_json("run.json"))
    counted = len(bundle.manifest.metrics.get("over_seeds", {}).get("seeds", [0])) - 1
    if (run.folder / LITE_FILE).exists() != ("lite" in bundle.manifest.graphs["decoder"]):
        return False
    # Recipes are compared as read: an option may be newer than the bundle, with a default that changes nothing.
    same = recipe.to_toml() == run.recipe.to_toml()
    return same and counted == seeds and facts.items() <= dict(bundle.manifest.provenance).items()


def main() -> int:
    """The command: status 1 unless every model was made."""
    try:
        recipes = [load_recipe(name) for name in sys.argv[1:]] or shipped()
        return 0 if make(recipes, Path("runs"), Path("runtime/models")) else 1
    except AaeZooError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
