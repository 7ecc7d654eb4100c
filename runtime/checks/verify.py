"""Replaying a bundle's golden file: are its graphs right on this machine, this device and this ONNX Runtime?"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.names import PRECISIONS
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.checks.parity import (
    COMPARED_BATCHES,
    Array,
    Run,
    golden_of,
    problem_with,
    psnr,
    relative_error,
    relative_rms,
    replay,
)
from aae_zoo.runtime.engine.devices import PROVIDERS
from aae_zoo.runtime.engine.isolated import Worker
from aae_zoo.runtime.engine.session import open_session
from aae_zoo.runtime.errors import InvalidBundle, InvalidInput
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.store.catalogue import find_model

NO_TF32: Final = "cuda without TF32"
_FLOAT32: Final = ("fp32", "lite")
# What a card may differ by with TF32, as multiples of what rounding does to the graph in PyTorch, in whichever of the
# kernels' two ways does more. The largest of thousands of differences is a matter of luck, in which the order of sums
# and the algorithm of a convolution have their part; a root mean square is not, and twice leaves room for those. A
# weight that is 2 % off makes it four times as large or more.
TF32_FACTORS: Final[Mapping[str, float]] = {"difference": 3.0, "rms": 2.0}


class Tolerance(NamedTuple):
    """How close outputs must be: a "difference" or "rms" of `limit` at most, or a "psnr" of `limit` dB at least.

    `slack` is how far rounding may carry images and probabilities out of [0, 1].
    """

    measure: str
    limit: float
    slack: float = 0.0


# By the device that computes, and the precision of the graph.
GATES: Final[dict[tuple[str, str], Tolerance]] = {
    # Devices may multiply in fewer digits than float32 has, as CUDA does with TF32, where a bundle that says how far
    # that carries a graph has gates of its own; these two do not.
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

    `measure` says what `value` is: "difference", the largest, or "rms", the root mean square of all, both relative to
    max(1, largest output), which must be at most `gate`; or "psnr" in dB, which must be at least that. `value` is None,
    and `problem` tells why, where nothing can be compared.
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

    @property
    def found(self) -> str:
        """What was found, and what was expected."""
        return self.problem or f"a {self.measure} of {self.value:.3g}, expected {self.gate:g}"


def verify(name: str, *, device: str = "auto", precision: str | None = None, isolate: bool = False) -> list[Comparison]:
    """Run the golden inputs of a model through its graphs and compare with PyTorch's outputs, in several batch sizes.

    `precision` is one that the bundle has; by default all are replayed. On CUDA, float32 graphs run without
    TF32 and with it, each with its own gate. `isolate` runs them in a process with bounds on memory and time, as
    `load` does.

    Raises:
        ModelNotFound: there is no such model on this machine.
        InvalidBundle: a file is damaged, or no graph has that precision.
        InvalidInput: the precision or the device is unknown.
        DeviceUnavailable: the device is not available.
    """
    bundle = find_model(name)
    golden = read_golden(bundle)
    return [
        comparison
        for role, which in graphs_of(bundle, precision)
        for run, where in _runs(bundle, role, which, device, isolate=isolate)
        for comparison in _verify(run, golden_of(role, golden, which), (role, which, where), bundle.manifest)
    ]


def gates_of(manifest: Manifest, role: str, precision: str, where: str) -> tuple[Tolerance, ...]:
    """What the outputs of a graph must keep to, all of it: with TF32, by what the manifest says of that very graph.

    The largest difference alone would not do: where a network magnifies it, a wrong weight makes no larger one.
    """
    least = GATES[NO_TF32, "fp32"].limit
    for error in manifest.tf32:
        if (error.graph, error.precision, "cuda") == (role, precision, where):
            figures = {"difference": error.difference, "rms": error.rms}
            return tuple(Tolerance(name, max(TF32_FACTORS[name] * value, least)) for name, value in figures.items())
    return (GATES[where, precision],)


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
        yield _on_card(graph.outputs, open_session(graph, device=device).run), NO_TF32
    yield (_on_card if where == "cuda" else _named)(graph.outputs, session.run), where


def _named(names: Sequence[str], run: Callable[[Any, Any], Sequence[Any]]) -> Run:
    names = list(names)
    return lambda inputs: dict(zip(names, run(names, inputs), strict=True))


def _on_card(names: Sequence[str], run: Callable[[Any, Any], Sequence[Any]]) -> Run:
    from aae_zoo.runtime.engine.cuda.recording import undisturbed  # the CPU does not need it

    return _named(names, partial(undisturbed, run))


def _verify(
    run: Run, golden: tuple[Arrays, Arrays], place: tuple[str, str, str], manifest: Manifest
) -> Iterator[Comparison]:
    given, expected = golden
    gates = gates_of(manifest, *place)
    for batch in COMPARED_BATCHES:
        found = _outputs(run, given, batch)
        for gate in gates:
            yield _compare(found, expected, (*place, batch), gate, manifest.widths)


def _outputs(run: Run, given: Arrays, batch: int) -> Arrays | str:
    try:
        return replay(run, given, batch)
    except Exception as error:  # any error of ONNX Runtime's means that the graph does not run here
        return words_of(error)


def _compare(
    found: Arrays | str, expected: Arrays, place: tuple[str, str, str, int], tolerance: Tolerance, widths: Sequence[int]
) -> Comparison:
    measure, gate, slack = tolerance
    problem = found if isinstance(found, str) else problem_with(found, expected, slack, widths)
    if problem or isinstance(found, str):
        return Comparison(*place, measure, None, gate, passed=False, problem=problem)
    value = worst(measure, found, expected)
    passed = value >= gate if measure == "psnr" else value <= gate
    return Comparison(*place, measure, value, gate, passed, problem=None)


def worst(measure: str, found: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """The worst "difference", "rms" or "psnr" of a graph's outputs from the expected ones."""
    pick, figure = _MEASURES[measure]
    return float(pick(figure(found[name], reference) for name, reference in expected.items()))


_MEASURES: Final[Mapping[str, tuple[Callable[[Iterable[float]], float], Callable[[Array, Array], float]]]] = {
    "difference": (max, relative_error),
    "rms": (max, relative_rms),
    "psnr": (min, psnr),
}
