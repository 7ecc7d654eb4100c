"""A folder of pictures to a model of them, in one go: read, train, prove, judge, and show on a page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

from aae_zoo.export.bundling.bundle import export_bundle
from aae_zoo.export.detecting.given import Places, left_out, warn
from aae_zoo.export.detecting.pictures import Need, Pictures, as_dataset, check_enough, find, look, read
from aae_zoo.export.detecting.training import going_on, is_exported, train_or_go_on
from aae_zoo.export.pages.explore import explore
from aae_zoo.export.pages.web_runtime import copy_web_runtime
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.manifest import ImageShape, Manifest
from aae_zoo.runtime.errors import MissingBackend
from aae_zoo.runtime.escapes import note
from aae_zoo.runtime.files import scratch_folder
from aae_zoo.runtime.ownership import SITE
from aae_zoo.runtime.store.catalogue import as_name
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.measure.health import opinion, problems
from aae_zoo.zoo.recipe import Recipe, load_recipe, plain
from aae_zoo.zoo.training.run import Run

# By the size that suits the pictures.
_RECIPES: Final = {32: "folder-small", 64: "folder-gauss"}
# A tenth of the pictures is held out, on which the model is measured; more than so many say no more.
_SHARE: Final = 10
_MOST: Final = 10_000
_NEED: Final = Need(
    50, "picture", "a model", "better a thousand: of fewer it learns what is common to all, and little else"
)


@dataclass(frozen=True)
class Made:
    """What `make_model` has made: its folders, its manifest, and how many pictures went into it.

    `bundle`, `page` and `run` are folders: the model, the page that shows it (None where there is none, for which
    `warnings` has the reason), and what training keeps, which took `seconds`. `pictures` counts what was
    `learned` from, kept for `validation`, `held_out` to measure the model, and left out as `copies` or `unreadable`.
    `metrics` are those of the run, on the held-out pictures. `warnings` are sentences.
    """

    bundle: Path
    page: Path | None
    run: Path
    manifest: Manifest
    seconds: float
    pictures: dict[str, int]
    metrics: dict[str, Any]
    warnings: list[str]

    def to_document(self) -> dict[str, Any]:
        """All of it as JSON has it, and of the manifest the name."""
        document = {name: value for name, value in vars(self).items() if name != "manifest"}
        folders = {name: document[name] and str(document[name]) for name in ("bundle", "page", "run")}
        return {"name": self.manifest.name, **document, **folders}


def make_model(
    pictures: str | PathLike[str],
    out: str | PathLike[str],
    *,
    settings: Sequence[str] = (),
    threads: int | None = None,
    node_modules: Path | None = None,
    replace: bool = False,
) -> Made:
    """Make a model of the pictures of a folder, and of all folders in it.

    The bundle is `out`, with `out`-page beside it, a page that draws with it in the browser, and `out`-run, which
    training keeps: the same call goes on after an interruption. `settings` override those of the recipe, folder-small
    where the pictures are small, else folder-gauss. A model that failed is made all the same, so that people can look
    at it; `warnings` say how it failed. What goes on is said on stderr.

    Raises:
        DatasetError: the folder is missing or empty, or there are too few pictures that differ.
        InvalidRecipe: a setting is not valid.
        OutputError: an output exists and `replace` is false, or is not as aae-zoo wrote it, or cannot be written.
        CheckpointError: the run beside `out` is of other pictures or settings, or damaged.
        InvalidInput: `node_modules` has no onnxruntime-web.
        TrainingError, ParityError: as for training and export.
    """
    places = Places(Path(pictures), None, Path(out), SITE)
    exported = not replace and is_exported(places)
    places.check(replace=replace, bundle=not exported)
    no_page = _why_no_page(node_modules)
    recipe, found = _read(places, settings)
    warnings = [*left_out(found), *no_page]
    warn(warnings)
    dataset = as_dataset(found, recipe.data, min(len(found.files) // _SHARE, _MOST))
    counts = _count(found, dataset, recipe)
    _say_beforehand(counts, dataset, places.run)
    train_or_go_on(recipe, dataset, places.run, threads)
    with going_on(places.run):
        if not exported:
            export_bundle(places.run, places.out, data=dataset, replace=replace, anyway=True)
        if not no_page:
            explore(str(places.out.resolve()), places.page, node_modules=node_modules, replace=replace)
        return _judged(places, counts, warnings, page=not no_page)


def _read(places: Places, settings: Sequence[str]) -> tuple[Recipe, Pictures]:
    """The recipe that suits the pictures, and the pictures as it wants them."""
    size, channels = look(find(places.pictures)[0])
    recipe = load_recipe(_RECIPES[size], [f"data.channels={channels}", *settings])
    recipe = recipe.for_data(places.pictures, name=plain(places.out.resolve().name) or "pictures")
    found = read(places.pictures, recipe.data)
    check_enough(found, _NEED)
    return recipe, found


def _judged(places: Places, counts: dict[str, int], warnings: list[str], *, page: bool) -> Made:
    """What was made; how it failed, if it did, is said on stderr too."""
    run = Run.open(places.run)
    metrics = run.read_json("metrics.json")
    failed = problems(metrics)
    warn(failed)
    return Made(
        bundle=places.out,
        page=places.page if page else None,
        run=places.run,
        manifest=open_bundle(places.out).manifest,
        seconds=run.read_json("run.json")["training_seconds"],
        pictures=counts,
        metrics=metrics,
        warnings=warnings + failed,
    )


def _why_no_page(node_modules: Path | None) -> list[str]:
    """Why there will be no page, found out before minutes of training: nothing where there will be one."""
    with scratch_folder() as scratch:
        try:
            copy_web_runtime(scratch / "ort", node_modules)
        except MissingBackend as error:
            return [f"there will be no page: {error}"]
    return []


def _count(found: Pictures, dataset: Dataset, recipe: Recipe) -> dict[str, int]:
    known, held_out = len(dataset.train_images), len(dataset.test_images)
    validation = recipe.data.validation_count(known)
    return {
        "learned": known - validation,
        "validation": validation,
        "held_out": held_out,
        "copies": len(found.copies),
        "unreadable": len(found.failed),
    }


def _say_beforehand(counts: dict[str, int], dataset: Dataset, run: Path) -> None:
    """What will be done; training says how long that takes."""
    learned, validation, held_out = counts["learned"], counts["validation"], counts["held_out"]
    note(
        f"{learned + validation + held_out:,} pictures as {ImageShape(*dataset.image_shape)}: {learned:,} to learn "
        f"from, {validation:,} to watch it with, {held_out:,} held out to measure it"
    )
    if (run / "run.json").exists():
        note(f"the training in {run} has ended already")
    else:
        note("after the training, the proof of its graphs and the page take a minute or two")


def lines(made: Made) -> list[str]:
    """What to say at the end: what there is, what it thinks of itself, and how to use and to publish it."""
    bundle, name = shlex.quote(as_name(made.bundle)), f"YOU/{made.manifest.name}"
    page = shlex.quote(str(made.page))
    shown = [
        f"page: python -m http.server -d {page} shows it at http://localhost:8000",
        f"to publish the page: aae-zoo publish {page} --space --repo {name}",
    ]
    return [
        f"{made.manifest.name}: draws pictures like those of {made.pictures['learned']:,} that it learned from, "
        f"{made.manifest.size / 1e6:.1f} MB, in {made.bundle}",
        *opinion(made.metrics),
        f"to draw: aae-zoo sample {bundle} -n 64",
        f"to publish the model: aae-zoo publish {bundle} --repo {name} --private",
        *(shown if made.page else []),
    ]
