"""Arguments and options that several commands have, and the model that they choose."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate

import typer

if TYPE_CHECKING:
    from aae_zoo.runtime import Model

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A model of the catalogue, a bundle's folder, or org/repo[@revision].")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda[:n], tensorrt, coreml, dml or openvino.")]
Threads = Annotated[
    int | None, typer.Option(help="Threads of one operator [default: the CPUs this process may use].", min=1)
]
Precision = Annotated[
    str, typer.Option(help="auto, fp32, fp16, int8 or lite: what the model has of it, fp32 for the rest; auto is fp32.")
]
Isolate = Annotated[
    bool, typer.Option("--isolate", help="Run the graphs in a process with bounds on memory and time; slow.")
]
ImagesIn = Annotated[
    Path, typer.Argument(metavar="INPUT", help="A picture, a folder of pictures, or an .npy, .npz or idx file.")
]
ImagesOut = Annotated[
    str, typer.Option("--output", "-o", help="name.png one grid, folder/ one file each, .npy or .npz arrays, - stdout.")
]
Resize = Annotated[bool, typer.Option("--resize", help="Resize pictures to the model's size.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

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


def with_model(*, default: str | None = None) -> Callable[[Command], Callable[..., None]]:
    """Let the command line choose the model that a command takes as its first parameter.

    In that parameter's place there are NAME, required unless it has a `default`, and after the command's own options
    --device, --threads, --precision and --isolate.
    """
    name, *options = inspect.signature(_load).parameters.values()
    if default is not None:
        name = name.replace(default=default)

    def decorate(command: Command) -> Callable[..., None]:
        _, *own = inspect.signature(command).parameters.values()
        parameters = [name, *own, *options]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            model = _load(**{parameter.name: given.pop(parameter.name) for parameter in (name, *options)})
            command(model, **given)

        # What typer reads.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
