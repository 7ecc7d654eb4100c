"""Replaying a bundle's golden file: are its graphs right on this machine, this device and this ONNX Runtime?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.names import PRECISIONS
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.checks.parity import COMPARED_BATCHES, Run, golden_of, problem_with, psnr, relative_error, replay
from aae_zoo.runtime.engine.devices import PROVIDERS
from aae_zoo.runtime.engine.isolated import Worker
from aae_zoo.runtime.engine.session import open_session
from aae_zoo.runtime.errors import InvalidBundle, InvalidInput
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.store.catalogue import find_model

NO_TF32: Final = "cuda without TF32"
_FLOAT32: Final = ("fp32", "lite")


class Tolerance(NamedTuple):
    """How close outputs must be: a "difference" of `limit` at most, or a "psnr" of `limit` dB at least.

    `slack` is how far rounding may carry images and probabilities out of [0, 1].
    """

    measure: str
    limit: float
    slack: float = 0.0


# By the device that computes, and the precision of the graph.
GATES: Final[dict[tuple[str, str], Tolerance]] = {
    # Devices may multiply in fewer digits than float32 has, as CUDA does with TF32; these two do not.
    **{(device, precision): Tolerance("difference", 5e-3) for device in PROVIDERS for precision in _FLOAT32},
    **{("cpu", precision): Tolerance("difference", 1e-5) for precision in _FLOAT32},
    **{(NO_TF32, precision): Tolerance("difference", 1e-4) for precision in _FLOAT32},
    **{(device, "fp16"): Tolerance("difference", 5e-3, slack=1e-3) for device in PROVIDERS},
    # 8 bits are not close; below this, an image is no longer the same.
    **{(device, "int8"): Tolerance("psnr", 15.0, slack=1e-2) for device in PROVIDERS},
}


@dataclass(frozen=True)
class Comparison:
    """A graph at a precision and a batch size, on a device, against PyTorch.

    `measure` says what `value` is: "difference", relative to max(1, largest output), which must be at most `gate`; or
    "psnr" in dB, which must be at least that. `value` is None, and `problem` tells why, where nothing can be compared.
    """

    graph: str
    precision: str
    device: str
    batch: int
    measure: str
    value: float | None
    gate: float
    passed: bool
    problem: str | None


def verify(name: str, *, device: str = "auto", precision: str | None = None, isolate: bool = False) -> list[Comparison]:
    """Run the golden inputs of a model through its graphs and compare with PyTorch's outputs, in several batch sizes.

    `precision` is one that the bundle has; by default all are replayed. On CUDA, float32 graphs run without
    TF32 and with it, each with its own gate. `isolate` runs them in a process with bounds on memory and time, as
    `load` does.

    Raises:
        ModelNotFound: there is no such model on this machine.
        InvalidBundle: a file is damaged, or no graph has that precision.
        InvalidInput: the precision or the device is unknown.
        DeviceUnavailable: the device cannot be had.
    """
    bundle = find_model(name)
    golden = read_golden(bundle)
    return [
        comparison
        for role, which in graphs_of(bundle, precision)
        for run, where in _runs(bundle, role, which, device, isolate=isolate)
        for comparison in _verify(run, golden_of(role, golden, which), (role, which, where), bundle.manifest.widths)
    ]


def graphs_of(bundle: Bundle, precision: str | None = None) -> list[tuple[str, str]]:
    """The graphs of a bundle, (role, precision), or those of one precision.

    Raises:
        InvalidInput: the precision is unknown.
        InvalidBundle: no graph has it.
    """
    if precision not in (None, *PRECISIONS):
        raise InvalidInput(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    all_ = [(role, which) for role, graphs in bundle.manifest.graphs.items() for which in graphs]
    chosen = [(role, which) for role, which in all_ if precision in (None, which)]
    if not chosen:
        raise InvalidBundle(
            f"{bundle.manifest.name} has no {precision} graph; it has {', '.join(' '.join(graph) for graph in all_)}"
        )
    return chosen


def _runs(bundle: Bundle, role: str, precision: str, device: str, *, isolate: bool) -> Iterator[tuple[Run, str]]:
    """What runs a graph, and where; on CUDA, in float32, once without TF32 and once with it."""
    graph = read_graph(bundle, role, precision)
    if isolate:
        worker = Worker(bundle, device=device, threads=None, precision=precision)
        yield _named(graph.outputs, partial(worker.run, role)), "cpu"
        worker.close()
        return
    session = open_session(graph, device=device, tf32=True)
    where = session.get_providers()[0].removesuffix("ExecutionProvider").lower()
    if where == "cuda" and (NO_TF32, precision) in GATES:
        yield _named(graph.outputs, open_session(graph, device=device).run), NO_TF32
    yield _named(graph.outputs, session.run), where


def _named(names: Sequence[str], run: Callable[[Any, Any], Sequence[Any]]) -> Run:
    names = list(names)
    return lambda inputs: dict(zip(names, run(names, inputs), strict=True))


def _verify(
    run: Run, golden: tuple[Arrays, Arrays], place: tuple[str, str, str], widths: Sequence[int]
) -> Iterator[Comparison]:
    for batch in COMPARED_BATCHES:
        yield _compare(run, *golden, (*place, batch), widths)


def _compare(
    run: Run, given: Arrays, expected: Arrays, place: tuple[str, str, str, int], widths: Sequence[int]
) -> Comparison:
    role, precision, device, batch = place
    measure, gate, slack = GATES[device, precision]
    try:
        found = replay(run, given, batch)
        problem = found if isinstance(found, str) else problem_with(found, expected, slack, widths)
    except Exception as error:  # any error of ONNX Runtime's means that the graph does not run here
        found = problem = " ".join(str(error).split())[:300]
    if problem or isinstance(found, str):
        return Comparison(role, precision, device, batch, measure, None, gate, passed=False, problem=problem)
    worst, figure = (min, psnr) if measure == "psnr" else (max, relative_error)
    value = float(worst(figure(found[name], reference) for name, reference in expected.items()))
    passed = value >= gate if measure == "psnr" else value <= gate
    return Comparison(role, precision, device, batch, measure, value, gate, passed, problem=None)
