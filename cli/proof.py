"""aae-zoo verify: a model's golden file, replayed on this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aae_zoo.cli.options import Device, Json, Name
from aae_zoo.cli.printing import note, print_json, print_table

if TYPE_CHECKING:
    from aae_zoo.runtime.checks.verify import Comparison


def verify(
    name: Name,
    device: Device = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32, fp16 or int8 [default: all that the model has].")] = None,
    test_data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write the golden file as ONNX test data, for other runners."),
    ] = None,
    json: Json = False,
) -> None:
    """Compare a model's graphs, as they run here, with PyTorch."""
    from aae_zoo.runtime.checks.verify import verify as compare

    found = compare(name, device=device, precision=precision)
    if json:
        print_json([asdict(comparison) for comparison in found])
    else:
        print_table(["graph", "precision", "device", "batch", "measure", "value", "gate", ""], list(map(_row, found)))
    if test_data is not None:
        from aae_zoo.runtime.checks.testdata import write_test_data

        graphs = write_test_data(name, test_data, precision=precision)
        note(f"test data of {', '.join(graphs)} in {test_data}")
    if failed := [comparison for comparison in found if not comparison.passed]:
        note(f"error: {len(failed)} of {len(found)} comparisons with PyTorch failed; aae-zoo doctor shows what is used")
        raise typer.Exit(1)


def _row(c: "Comparison") -> list[str]:
    value = "-" if c.value is None else f"{c.value:.2g}" if c.measure == "difference" else f"{c.value:.1f} dB"
    gate = f"<= {c.gate:g}" if c.measure == "difference" else f">= {c.gate:g} dB"
    word = "ok" if c.passed else f"FAILED{': ' + c.problem if c.problem else ''}"
    return [c.graph, c.precision, c.device, str(c.batch), c.measure, value, gate, word]
