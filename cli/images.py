"""A model at work: from aae-zoo sample to drift, in the order of `_GROUPS`."""

import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from aae_zoo.cli.options import ImagesIn, ImagesOut, Json, Label, Reader, With, with_model
from aae_zoo.cli.printing import FEW, print_json, print_records, print_table, say
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import note
from aae_zoo.runtime.words import agreeing, counted

if TYPE_CHECKING:
    from aae_zoo.runtime import Drift, Model, Neighbours, Scores
    from aae_zoo.runtime.formats.images import Images

_HIGHEST: Final = 10


@with_model(default="mnist-gauss")
def sample(
    model: "Model",
    count: Annotated[int, typer.Option("--number", "-n", help="How many images.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images again.", min=0)] = 0,
    label: Label = None,
    with_: With = None,
    temperature: Annotated[
        float, typer.Option(help="Scales how far codes are from the middle of the prior.", min=0, max=10)
    ] = 1.0,
    truncation: Annotated[
        float, typer.Option(help="Draws from this central share of the prior, above 0.", max=1)
    ] = 1.0,
    quasi: Annotated[bool, typer.Option("--quasi", help="Quasi-random noise: more even than chance.")] = False,
    output: ImagesOut = "samples.png",
) -> None:
    """Draw new images from a model."""
    from aae_zoo.runtime.drawing.grid import save_images
    from aae_zoo.runtime.latent.attributes import parse_attributes

    images = model.stream(
        "sample",
        count,
        seed=seed,
        label=label,
        attributes=parse_attributes(with_ or ()),
        temperature=temperature,
        truncation=truncation,
        quasi=quasi,
    )
    save_images(images, output)
    _say(f"{counted(count, 'image')} of {model.manifest.name}", output)


@with_model()
def encode(
    model: "Model",
    read: Reader,
    input_: ImagesIn,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help=".npy the codes z, .npz every output by name and the images' names, - stdout."
        ),
    ],
    json: Json = False,
) -> None:
    """Encode images into codes, and tell their classes.

    Where the model has classes or attributes, it tells them.
    """
    if json and output == "-":
        raise InvalidInput("both --json and -o - write to stdout; give -o a file")
    import numpy as np

    from aae_zoo.runtime.drawing.saving import check_arrays, save_arrays
    from aae_zoo.runtime.formats.tables import rows
    from aae_zoo.runtime.latent.attributes import columns_of, told

    check_arrays(output)
    given = read(input_)
    codes = model.codes(given)
    save_arrays(codes | {"image": np.array(given.names)}, output)
    found = told(codes["y"], model.manifest) if "y" in codes else {}
    records = rows({"image": given.names, **columns_of(found)})
    if json:
        print_json({"name": model.manifest.name, "codes": str(Path(output).resolve()), "images": records})
        return
    if found and output != "-":
        if len(records) <= FEW:
            print_records(records)
        else:
            for name, classes in found.items():
                print_records(rows(classes.counts(name)))
    _say(f"codes {list(codes['z'].shape)}", output)


@with_model()
def decode(
    model: "Model",
    input_: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Codes [n, latent]: .npy, or .npz with z, and y for classes.")
    ],
    output: ImagesOut,
) -> None:
    """Decode codes into images."""
    from aae_zoo.runtime.drawing.grid import save_images
    from aae_zoo.runtime.formats.pictures import read_codes

    codes = read_codes(input_)
    images = model.stream("decode", codes["z"], codes.get("y") if model.conditional else None)
    save_images(images, output)
    _say(counted(images.shape[0], "image"), output)


@with_model()
def reconstruct(
    model: "Model",
    read: Reader,
    input_: ImagesIn,
    output: ImagesOut,
    with_: With = None,
) -> None:
    """Encode images and decode their codes again.

    In a .png, the images are above their reconstructions. With --with they are redrawn with what is asked for.
    """
    from aae_zoo.runtime.drawing import comparisons
    from aae_zoo.runtime.drawing.captions import check_rows, draw_rows
    from aae_zoo.runtime.drawing.grid import is_picture, save_images, save_picture
    from aae_zoo.runtime.latent.attributes import parse_attributes

    def check(count: int) -> None:
        if is_picture(output):
            check_rows(2 * count, model.shape, 1)

    attributes, given = parse_attributes(with_ or ()), read(input_, check=check)
    if is_picture(output):
        images = given.rows(slice(0, len(given)))
        again = model.reconstruct(images, attributes=attributes)
        save_picture(draw_rows(comparisons.reconstructions(images, again, given.names)), output)
    else:
        save_images(model.stream("reconstruct", given, attributes=attributes), output)
    _say(counted(len(given), "reconstruction"), output)


@with_model()
def interpolate(
    model: "Model",
    read: Reader,
    input_: ImagesIn,
    output: ImagesOut,
    steps: Annotated[int, typer.Option(help="Images from one to the next, both among them.", min=2, max=10_000)] = 9,
    spherical: Annotated[bool, typer.Option("--spherical", help="Along great arcs instead of straight lines.")] = False,
    with_: With = None,
) -> None:
    """Walk in code space from each image to the next.

    In a .png, each walk is one row.
    """
    from aae_zoo.runtime.drawing.grid import check_pixels, is_picture, save_images
    from aae_zoo.runtime.latent.attributes import parse_attributes

    def check(count: int) -> None:
        drawn = (count - 1) * steps
        if is_picture(output):
            check_pixels(drawn * math.prod(model.shape), drawn)

    attributes, given = parse_attributes(with_ or ()), read(input_, check=check)
    images = model.stream("interpolate", given, steps, spherical=spherical, attributes=attributes)
    save_images(images, output, columns=steps)
    _say(f"{counted(images.shape[0] // steps, 'walk')} of {steps} images", output)


@with_model()
def traverse(
    model: "Model",
    read: Reader,
    input_: ImagesIn,
    output: ImagesOut,
    steps: Annotated[int, typer.Option(help="Images for each coordinate.", min=2, max=10_000)] = 9,
    with_: With = None,
) -> None:
    """Show what each coordinate of the code does.

    Each image is drawn with one coordinate at a time moved through the prior.
    """
    from aae_zoo.runtime.drawing import comparisons
    from aae_zoo.runtime.drawing.captions import check_rows, draw_rows
    from aae_zoo.runtime.drawing.grid import is_picture, save_images, save_picture
    from aae_zoo.runtime.latent.attributes import parse_attributes

    def check(count: int) -> None:
        if is_picture(output):
            check_rows(count * (1 + model.manifest.latent * steps), model.shape, 1)

    attributes, given = parse_attributes(with_ or ()), read(input_, check=check)
    if is_picture(output):
        images = given.rows(slice(0, len(given)))
        moved, values = model.traverse(images, steps, attributes=attributes), model.traversed(steps)
        save_picture(draw_rows(comparisons.traversals(images, moved, values, given.names)), output)
    else:
        save_images(model.stream("traverse", given, steps, attributes=attributes), output)
    _say(f"{counted(len(given) * model.manifest.latent, 'traversal')} of {steps} images", output)


@with_model()
def manifold(
    model: "Model",
    output: ImagesOut = "manifold.png",
    side: Annotated[int, typer.Option(help="The grid has SIDE x SIDE images.", min=1, max=1_000)] = 20,
) -> None:
    """Draw the images over the percentiles of a 2-D prior."""
    from aae_zoo.runtime.drawing.grid import save_images

    save_images(model.manifold(side), output, gap=0)
    _say(f"{side} x {side} images of {model.manifest.name}", output)


@with_model()
def nearest(
    model: "Model",
    read: Reader,
    input_: ImagesIn,
    among: Annotated[Path, typer.Argument(metavar="AMONG", help="The images to choose from, as INPUT.")],
    k: Annotated[int, typer.Option("-k", help="How many for each image.", min=1)] = 1,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Every row: .csv, .json, .npz arrays by column, or name.png to look at."),
    ] = None,
    json: Json = False,
) -> None:
    """Find the images of a set that are most like others.

    The nearest are those whose codes are closest.
    """
    from aae_zoo.runtime.formats.tables import check_table, rows, save_table

    drawn = Path(output or "").suffix.lower() == ".png"
    if output is not None and not drawn:
        check_table(output)

    def check(count: int) -> None:
        if drawn:
            from aae_zoo.runtime.drawing.captions import check_rows

            check_rows(count * (1 + k), model.shape, 2, "a .csv file")

    given, choice = read(input_, check=check), read(among)
    found = model.nearest(given, choice, k)
    columns = found.columns(given.names, choice.names)
    if output is not None and drawn:
        _draw_neighbours(given, choice, found, output)
    elif output is not None:
        save_table(columns, output)
    if json:
        print_json({"name": model.manifest.name, "nearest": rows(columns)})
    elif output is not None:
        _say(counted(found.numbers.size, "neighbour"), output)
    else:
        print_records(rows(columns))


def _draw_neighbours(given: "Images", choice: "Images", found: "Neighbours", output: str) -> None:
    import numpy as np

    from aae_zoo.runtime.drawing import comparisons
    from aae_zoo.runtime.drawing.captions import draw_rows
    from aae_zoo.runtime.drawing.grid import save_picture

    images = given.rows(slice(0, len(given)))
    among = np.concatenate([choice.rows(slice(number, number + 1)) for number in found.numbers.ravel().tolist()])
    save_picture(draw_rows(comparisons.neighbours(images, among, found, given.names, choice.names)), output)


@with_model()
def score(
    model: "Model",
    read: Reader,
    input_: ImagesIn,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Every image's row: .csv, .json, or .npz arrays by column.")
    ] = None,
    maps: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="A new folder for the pictures with the places where they are odd as heat."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Score how odd images are, and tell which are anomalous.

    The score tells how unlike the model's training images an image is.
    """
    from aae_zoo.runtime.files import check_free, check_writable
    from aae_zoo.runtime.formats.tables import check_table, rows, save_table

    if output is not None:
        check_table(output)
    if maps is not None:
        check_free(Path(maps), None)
        check_writable(Path(maps))
    given = read(input_)
    scores = model.score(given) if maps is None else _map(model, given, Path(maps))
    columns: dict[str, Any] = {"image": given.names, **scores.columns()}
    if output is not None:
        save_table(columns, output)
    if json:
        facts = {"name": model.manifest.name, "limits": _limits(model), "anomalous": int(scores.anomalous.sum())}
        print_json({**facts, "images": rows(columns)})
        return
    _print_highest(rows(columns))
    _say_verdict(model, scores)
    if output is not None:
        _say(counted(len(scores.score), "score"), output)
    if maps is not None:
        _say(counted(len(scores.score), "map"), maps)


def _say_verdict(model: "Model", scores: "Scores") -> None:
    """How many images are anomalous, by which limit, and how many are flat."""
    limits = model.manifest.detector or model.score_limits
    say(
        f"{scores.verdict}: above {model.threshold:.4g}, "
        f"as {100 * limits.false_alarms:.3g} % of {limits.images:,} validation images are"
    )
    if flat := int(scores.flat.sum()):
        which = agreeing(flat, "is flat: it has", "are flat: they have")
        say(f"{flat} of them {which} less contrast than any of the validation images")


def _map(model: "Model", given: "Images", folder: Path) -> "Scores":
    from aae_zoo.runtime.drawing.maps import save_overlays

    return save_overlays(model.score_batches(given, maps=True), given.names, folder)


def _limits(model: "Model") -> dict[str, Any]:
    """What the scores are measured against, as JSON has it."""
    detector = model.manifest.detector
    return {"threshold": model.threshold, **detector._asdict()} if detector else model.score_limits._asdict()


@with_model()
def drift(
    model: "Model",
    read: Reader,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The new pictures: a folder, or an array's file.")],
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="OLD",
            help="What they should look like: pictures that no training has seen [default: what the model keeps].",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Chooses the pictures, where there are many, and the splits.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Tell whether new pictures still look like old ones.

    The exit status is 0 if they do, else 1: a two-sample test of what the model makes of them has p <= 0.05.
    """
    from aae_zoo.runtime.latent.drift import chosen, digests_of

    def pick(paths: list[Path]) -> list[Path]:
        some = chosen(digests_of((os.fsencode(path.name) for path in paths), seed))
        return [paths[number] for number in sorted(some)]

    if reference is None:
        _ = model.kept_codes  # is refused before anything is read where there are none
    found = model.drift(read(new, pick), reference and read(reference, pick), seed=seed)
    for warning in found.warnings:
        note(f"warning: {warning}")
    if json:
        facts = {fact.name: {"reference": fact.reference, "new": fact.new, "moved": fact.moved} for fact in found.facts}
        print_json({"name": model.name, **asdict(found), "facts": facts, "verdict": found.verdict})
    else:
        _print_drift(found)
    if found.drifted:
        read.end()
        raise typer.Exit(1)


def _print_drift(found: "Drift") -> None:
    print_table(*found.table)
    say(
        f"{found.new:,} of {found.new_given:,} new pictures beside {found.reference:,} of {found.reference_given:,}, "
        f"seed {found.seed}: MMD² {found.mmd2:.2g}, of random splits 95 % are below {found.chance:.2g}"
    )
    say(found.verdict)


def _print_highest(records: list[dict[str, Any]]) -> None:
    if len(records) > FEW:
        say(f"the {_HIGHEST} highest of {len(records)}:")
        records = sorted(records, key=lambda record: -record["score"])[:_HIGHEST]
    print_records(records)


def _say(what: str, output: str) -> None:
    """Say where the result is; the result itself may be on stdout."""
    if output == "-":
        note(what)
    else:
        say(f"{what} in {Path(output).resolve()}")
