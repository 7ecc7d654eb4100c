"""A folder of normal pictures to a detector: read, train, prove, measure, and tell what it thinks on a page."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Final

from aae_zoo.export.bundling.anomaly import Odd
from aae_zoo.export.bundling.bundle import export_bundle
from aae_zoo.export.detecting.findings import Detector, Scored, doubts, learned_nothing
from aae_zoo.export.detecting.given import Places, read_both, warn
from aae_zoo.export.detecting.page import write_page
from aae_zoo.export.detecting.pictures import Pictures, as_dataset, find, kept, look
from aae_zoo.export.detecting.promise import check_share
from aae_zoo.export.detecting.training import going_on, is_exported, train_or_go_on
from aae_zoo.runtime.bundles.manifest import FALSE_ALARMS, ImageShape, Manifest
from aae_zoo.runtime.escapes import note
from aae_zoo.runtime.model import load
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.recipe import Recipe, load_recipe, plain
from aae_zoo.zoo.training.run import Run

_RECIPE: Final = "detector"
# How many steps an epoch has at least, after which there is a checkpoint, and about how many a training has at most.
_STEPS_OF_EPOCH: Final = 100
_STEPS: Final = 4000
# Pictures that are all squares of one of these sizes stay as they are: to make them larger or smaller blurs defects.
_KEPT: Final = range(24, 65)


def make_detector(
    pictures: str | PathLike[str],
    out: str | PathLike[str],
    *,
    odd: str | PathLike[str] | None = None,
    false_alarms: float = FALSE_ALARMS,
    settings: Sequence[str] = (),
    threads: int | None = None,
    replace: bool = False,
) -> Detector:
    """Make a detector of what is odd among pictures such as those of a folder, and of all folders in it.

    The bundle is `out`, with `out`-page beside it, which shows what it thinks, and `out`-run, which training keeps: the
    same call goes on after an interruption, and one for another share of `false_alarms` does not train again. That is
    the share of normal pictures that may be odd to it. It is measured with the pictures of the folder `odd`, which it
    does not learn from. `settings` override those of its recipe. What goes on is said on stderr.

    Raises:
        DatasetError: a folder is missing or empty, or there are too few normal pictures that differ.
        InvalidInput: `false_alarms` is not above 0 and at most a half.
        InvalidRecipe: a setting is not valid.
        OutputError: an output exists and `replace` is false, or is not as aae-zoo wrote it, or cannot be written.
        CheckpointError: the run beside `out` is of other pictures or settings, or damaged.
        TrainingError, ParityError: as for training and export.
    """
    check_share(false_alarms)
    places = Places(Path(pictures), None if odd is None else Path(odd), Path(out))
    killed = not replace and is_exported(places)
    places.check(replace=replace, bundle=not killed)
    size, channels = look(find(places.pictures, places.odd)[0], _KEPT)
    asked = [f"data.size={size}", f"data.channels={channels}", *settings]
    normal, strange, warnings = read_both(places, load_recipe(_RECIPE, asked).data)
    warn(warnings)
    recipe = _recipe(places, len(normal.files), asked)
    dataset = as_dataset(normal, recipe.data, kept(len(normal.files)))
    _say_beforehand(recipe, dataset, places.run)
    train_or_go_on(recipe, dataset, places.run, threads)
    with going_on(places.run):
        manifest = export_bundle(
            places.run,
            places.out,
            data=dataset,
            replace=replace or killed,  # anew: it may be asked for another share, or with other odd pictures
            anyway=True,  # what fails as a source of samples may still find what is odd
            false_alarms=false_alarms,
            odd=Odd(strange.called, strange.pixels) if strange else None,
        )
        with load(places.out) as model:
            scored = Scored.by(model, dataset, recipe.data.validation_count(len(dataset.train_images)), strange)
            made = _findings(places, manifest, normal, scored, false_alarms, warnings)
            write_page(made, model, normal, strange, scored, replace=replace)
    return made


def _recipe(places: Places, count: int, asked: Sequence[str]) -> Recipe:
    """The recipe for `count` pictures: about as many steps whether they are some hundreds or some thousands."""
    usual, validation = load_recipe(_RECIPE, asked).training, kept(count)
    learned = count - 2 * validation
    passes = -(-_STEPS_OF_EPOCH * usual.batch // learned)
    epochs = max(2, min(usual.epochs, _STEPS * usual.batch // (passes * learned)))
    sized = [f"data.validation={validation}", f"training.passes={passes}", f"training.epochs={epochs}"]
    name = plain(places.out.resolve().name) or _RECIPE
    return load_recipe(_RECIPE, [*sized, *asked]).for_data(places.pictures, name=name)


def _say_beforehand(recipe: Recipe, dataset: Dataset, run: Path) -> None:
    """What will be done; training says how long that takes."""
    known, held_out = len(dataset.train_images), len(dataset.test_images)
    validation = recipe.data.validation_count(known)
    note(
        f"{known + held_out:,} pictures as {ImageShape(*dataset.image_shape)}: {known - validation:,} to learn from, "
        f"{validation:,} to set the limit, {held_out:,} held out to measure it"
    )
    if (run / "run.json").exists():
        note(f"the training in {run} has ended already")
        return
    note("after the training, the proof of its graphs takes half a minute")


def _findings(
    places: Places, manifest: Manifest, normal: Pictures, scored: Scored, promised: float, warnings: list[str]
) -> Detector:
    held_out, validation = scored.alarms(scored.held_out), len(scored.validation)
    found = [*doubts(held_out, validation, promised), *learned_nothing(manifest)]
    warn(found)
    return Detector(
        bundle=places.out,
        page=places.page,
        run=places.run,
        manifest=manifest,
        seconds=Run.open(places.run).read_json("run.json")["training_seconds"],
        pictures={
            "learned": len(scored.learned),
            "validation": validation,
            "held_out": held_out.of,
            "odd": 0 if scored.odd is None else len(scored.odd),
            "copies": len(normal.copies),
            "unreadable": len(normal.failed),
        },
        threshold=scored.threshold,
        promised=promised,
        false_alarms=held_out,
        found=None if scored.odd is None else scored.alarms(scored.odd),
        auroc=manifest.metrics.get("anomaly_auroc"),
        warnings=warnings + found,
    )
