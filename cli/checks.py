"""aae-zoo verify, check and bench: whether a model is right, and how fast it is on this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aae_zoo.cli import completion
from aae_zoo.cli.options import Device, Isolate, Json, Name, Threads
from aae_zoo.cli.printing import print_json, print_table, say, with_progress
from aae_zoo.runtime.escapes import note
from aae_zoo.runtime.words import agreeing, counted

if TYPE_CHECKING:
    from aae_zoo.runtime.checks.card_bench import CardTiming
    from aae_zoo.runtime.checks.check import Verdict
    from aae_zoo.runtime.checks.verify import Comparison


def verify(
    name: Name,
    device: Device = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16, int8 or lite [default: all that the model has].", autocompletion=completion.precisions
        ),
    ] = None,
    test_data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write the golden file as ONNX test data, for other runners."),
    ] = None,
    isolate: Isolate = False,
    json: Json = False,
) -> None:
    """Compare a model's graphs, as they run here, with PyTorch."""
    from aae_zoo.runtime.checks.verify import verify as compare

    found = compare(name, device=device, precision=precision, isolate=isolate)
    if json:
        print_json([asdict(comparison) for comparison in found])
    else:
        print_table(["graph", "precision", "device", "batch", "measure", "value", "gate", ""], list(map(_row, found)))
        if all(comparison.passed for comparison in found):
            count = len(_graphs(found))
            agree = agreeing(count, "agrees with PyTorch within its gates", "agree with PyTorch within their gates")
            say(f"verified: {count} of {counted(count, 'graph')} of {name} {agree}")
    if test_data is not None:
        from aae_zoo.runtime.checks.testdata import write_test_data

        graphs = write_test_data(name, test_data, precision=precision)
        note(f"test data of {', '.join(graphs)} in {test_data}")
    if failed := [comparison for comparison in found if not comparison.passed]:
        which = f"{len(failed)} of {len(found)} comparisons with PyTorch failed, of {', '.join(_graphs(failed))}"
        note(f"error: {which}; aae-zoo doctor shows what is used")
        raise typer.Exit(1)


def check(name: Name, json: Json = False) -> None:
    """Check a bundle against the specification of its format.

    It says of each clause of docs/bundle.md whether it holds.
    """
    from aae_zoo.runtime.checks.check import check as look

    verdicts = look(name)
    if json:
        print_json([asdict(verdict) for verdict in verdicts])
    else:
        for verdict in verdicts:
            for row in _verdict_rows(verdict):
                say(row)
    failures = [verdict.id for verdict in verdicts if verdict.state == "fails"]
    if failures:
        note(f"error: {name} is not a bundle as docs/bundle.md describes it: {', '.join(failures)}")
        raise typer.Exit(1)


def bench(name: Name, json: Json = False, device: Device = "auto", threads: Threads = None) -> None:
    """Measure how fast a model starts and runs here.

    Import, session and run are timed apart, and each call beside a bare ONNX Runtime session. On an NVIDIA GPU, also
    beside runs with bound inputs and outputs, on the host and on the card, and a replayed CUDA graph.
    """
    from aae_zoo.runtime.checks.bench import Timing
    from aae_zoo.runtime.checks.bench import bench as measure

    total, timings = measure(name, device=device, threads=threads)
    found = list(with_progress(timings, total, lambda timing: timing.what))
    if json:
        print_json([asdict(timing) for timing in found])
        return
    rows = [
        [t.what, _ms(t.seconds), _ms(t.bare), _text(t.ratio, ".3f"), _text(t.images_per_second, ",.0f")]
        for t in found
        if isinstance(t, Timing)
    ]
    print_table(["what", "ms", "bare, ms", "ours / bare", "images/s"], rows)
    if on_card := [timing for timing in found if not isinstance(timing, Timing)]:
        _print_on_card(on_card)


def _print_on_card(timings: "list[CardTiming]") -> None:
    say("")
    header = ["on the GPU, ms", "host to host", "bare run", "bound run", "on the card", "bound there", "graph replay"]
    print_table(
        header,
        [
            [t.what, *map(_ms, (t.seconds, t.bare, t.bound, t.on_card, t.bound_on_card)), _ms(t.replay) or "-"]
            for t in timings
        ],
    )
    for problem in dict.fromkeys(timing.problem for timing in timings if timing.problem):
        note(problem)


def _verdict_rows(verdict: "Verdict") -> list[str]:
    """A line for a clause, with what it says if it fails, and then one for each fault."""
    begin = f"{verdict.state:<13}{verdict.id:<18}"
    if verdict.state == "fails":
        return [begin + verdict.text.replace("`", ""), *(f"{'':<31}found: {found}" for found in verdict.found)]
    return [f"{begin}needs {', '.join(verdict.found)}" if verdict.found else begin.rstrip()]


def _graphs(found: "list[Comparison]") -> list[str]:
    return list(dict.fromkeys(f"{comparison.graph} {comparison.precision}" for comparison in found))


def _row(c: "Comparison") -> list[str]:
    value = "-" if c.value is None else f"{c.value:.1f} dB" if c.measure == "psnr" else f"{c.value:.2g}"
    gate = f">= {c.gate:g} dB" if c.measure == "psnr" else f"<= {c.gate:.3g}"
    word = "ok" if c.passed else f"FAILED{': ' + c.problem if c.problem else ''}"
    return [c.graph, c.precision, c.device, str(c.batch), c.measure, value, gate, word]


def _ms(seconds: float | None) -> str:
    return _text(seconds and seconds * 1e3, ".3f")


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
