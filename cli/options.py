"""Arguments and options that several commands have, and the model that they choose."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, Literal

import typer

from aae_zoo.cli import completion
from aae_zoo.cli.printing import rows_with_progress, with_progress
from aae_zoo.runtime.errors import AaeZooError
from aae_zoo.runtime.escapes import note

if TYPE_CHECKING:
    from aae_zoo.runtime import Model
    from aae_zoo.runtime.formats.images import Images, Pick

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A model of the catalogue, a bundle's folder, or org/repo[@revision], and [#sha256=PIN].",
        autocompletion=completion.models,
    ),
]
Device = Annotated[
    str,
    typer.Option(help="auto, cpu, cuda[:n], tensorrt, coreml, dml or openvino.", autocompletion=completion.devices),
]
Threads = Annotated[
    int | None, typer.Option(help="CPUs for one computation [default: all that this process may use].", min=1)
]
Precision = Annotated[
    str,
    typer.Option(
        help="auto, fp32, fp16, int8 or lite: what the model has of it, fp32 for the rest; auto is fp32.",
        autocompletion=completion.precisions,
    ),
]
Isolate = Annotated[
    bool, typer.Option("--isolate", help="Run the graphs in a process with bounds on memory and time; slow.")
]
NodeModules = Annotated[
    Path | None,
    typer.Option(help="A node_modules folder with onnxruntime-web [default: fetched once with npm, then cached]."),
]
ImagesIn = Annotated[
    Path, typer.Argument(metavar="INPUT", help="A picture, a folder of pictures, or an .npy, .npz, idx or .csv file.")
]
Label = Annotated[
    str | None, typer.Option(help="The class to draw, where the model has labels.", autocompletion=completion.labels)
]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="NAME=VALUE",
        help="What to draw, where the model has attributes or labels, such as glasses=yes; may be repeated.",
        autocompletion=completion.attributes,
    ),
]
ImagesOut = Annotated[
    str, typer.Option("--output", "-o", help="name.png one grid, folder/ one file each, .npy or .npz arrays, - stdout.")
]
Resize = Annotated[bool, typer.Option("--resize", help="Make images of any size fit, as the model's own were.")]
Invert = Annotated[
    Literal["auto", "yes", "no"],
    typer.Option(help="Invert images: auto those that are on another ground than the model's own."),
]
Range = Annotated[
    str | None, typer.Option(metavar="LOW..HIGH", help="The raw values of black and white, such as 0..4095.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first picture that cannot be read.")]
Show = Annotated[bool, typer.Option("--show", help="Draw the picture in the terminal too.")]
Open = Annotated[bool, typer.Option("--open", help="Open the picture in this desktop's viewer.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that aae-zoo may not have written.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _flag(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation, default=False)


_FORCE: Final = _flag("force", Force)
_VIEWS: Final = (_flag("show", Show), _flag("open_", Open))

Command = Callable[Concatenate["Model", ...], None]


def _load(
    name: Name,
    device: Device = "auto",
    threads: Threads = None,
    precision: Precision = "auto",
    isolate: Isolate = False,
) -> "Model":
    from aae_zoo.runtime import load

    return load(name, device=device, threads=threads, precision=precision, isolate=isolate)


class _Watched(list[Path]):
    """Paths that tell, while they are gone through, how far that is."""

    def __iter__(self) -> Iterator[Path]:
        return with_progress(super().__iter__(), len(self), lambda path: path.name)


class Reader:
    """Reads the images that a command is given; what cannot be read is `failed`, by name, with why."""

    def __init__(
        self,
        model: "Model",
        resize: Resize = False,
        invert: Invert = "auto",
        range: Range = None,  # noqa: A002 - the option's name
        strict: Strict = False,
    ) -> None:
        from aae_zoo.runtime.formats.plan import parse_range

        self.failed: dict[str, str] = {}
        self._read = functools.partial(
            model.read_images, resize=resize, invert=invert, range=parse_range(range), strict=strict
        )

    def __call__(
        self, path: Path, pick: "Pick | None" = None, *, check: Callable[[int], None] = lambda _: None
    ) -> "Images":
        """The images of a file or folder; how far it is, and what is left out of a folder, is said on stderr.

        `check` is told how many they are, before a folder's are read, and refuses too many.
        """

        def picked(paths: list[Path]) -> list[Path]:
            some = _Watched(pick(paths) if pick else paths)
            check(len(some))
            if len(some) < len(paths):
                note(f"note: in {path}, {len(some):,} of {len(paths):,} pictures are read")
            return some

        images = self._read(path, pick=picked)
        check(len(images))
        self.failed |= images.failed
        if images.left_out:
            note(f"note: in {path}, {images.left_out}")
        return images

    def say_failed(self) -> None:
        """Say what could not be read, and why."""
        for reason in self.failed.values():
            note(f"error: {reason}")

    def end(self) -> None:
        """End the command with status 1, and say why, where there was something that could not be read."""
        self.say_failed()
        if self.failed:
            raise typer.Exit(1)


def _check_output(output: str | None, given: Mapping[str, object], *, force: bool) -> None:
    """Refuse, before anything is computed, an output that would write over what is not ours, or cannot be written."""
    from aae_zoo.runtime.files import check_writable, output_errors
    from aae_zoo.runtime.ownership import check_file

    if output not in (None, "-"):
        with output_errors(Path(output)):
            check_file(Path(output), [path for path in given.values() if isinstance(path, Path)], force=force)
            check_writable(Path(output))


def _watch(command: Command, model: "Model", given: Mapping[str, Any]) -> None:
    """Run a command, and tell how far its work is."""
    from aae_zoo.runtime.formats.stream import watched

    with watched(rows_with_progress):
        command(model, **given)


def _view(output: str, *, show: bool, open_: bool) -> Callable[[], None]:
    """What shows the images when they are written to an output, which is refused here if it is not one of images."""
    from aae_zoo.cli.viewing import View
    from aae_zoo.runtime.drawing.grid import check_images

    check_images(output)
    return View(output, show=show, open_=open_)


def with_model(*, default: str | None = None) -> Callable[[Command], Callable[..., None]]:
    """Let the command line choose the model that a command takes as its first parameter.

    In that parameter's place there are NAME, required unless it has a `default`, and after the command's own options
    --device, --threads, --precision and --isolate. A command that takes a `Reader`, called `read`, has the options of
    one. A command with an `output` has --force too: without it, no file is written over that aae-zoo did not write; one
    whose output is of images has --show and --open. All of its parameters that are paths are inputs, which are never
    written over.
    """
    name, *options = inspect.signature(_load).parameters.values()
    _, *of_reader = inspect.signature(Reader).parameters.values()
    if default is not None:
        name = name.replace(default=default)

    def decorate(command: Command) -> Callable[..., None]:
        _, *own = inspect.signature(command).parameters.values()
        reads = any(parameter.name == "read" for parameter in own)
        writes = any(parameter.name == "output" for parameter in own)
        draws = any(parameter.annotation == ImagesOut for parameter in own)
        own = [parameter for parameter in own if parameter.name != "read"] + of_reader * reads
        parameters = [name, *own, *[_FORCE] * writes, *_VIEWS * draws, *options]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            if writes:
                _check_output(given["output"], given, force=given.pop("force"))
            view = _view(given["output"], show=given.pop("show"), open_=given.pop("open_")) if draws else None
            model = _load(**{parameter.name: given.pop(parameter.name) for parameter in (name, *options)})
            if reads:
                given["read"] = Reader(model, **{parameter.name: given.pop(parameter.name) for parameter in of_reader})
            try:
                _watch(command, model, given)
            except AaeZooError:
                if reads:  # which may be why
                    given["read"].say_failed()
                raise
            if view:
                view()
            if reads:
                given["read"].end()

        # What typer reads.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
