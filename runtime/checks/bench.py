"""How fast a model is here: import, session and run apart, and each call beside a bare `InferenceSession.run`.

Two sides are timed in turn, A B, B A, ..., and compared pair by pair, since machines are noisy.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np

from aae_zoo.runtime.checks.card_bench import CardTiming, card_bench, card_timings, inputs_of, seconds
from aae_zoo.runtime.engine.devices import CUDA, Device
from aae_zoo.runtime.engine.graph import Graph
from aae_zoo.runtime.errors import path_text, python_for
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.model import Model, load
from aae_zoo.runtime.store.catalogue import find_model

TIMED_BATCHES: Final = (1, 64, 256, 1024)
_TIMED_PAIRS: Final = 31
_STARTS: Final = 5
# One side of a pair takes about this long, so that the clock and the other side's leftovers do not count.
_SECONDS: Final = 0.02

_PARTS: Final = (
    "import of numpy, ONNX Runtime and aae_zoo",
    "opening prior and decoder",
    "first sample(64)",
    "a process that does these three",
)
_START: Final = """
import json, os, sys, time
name, device, threads = json.loads(sys.argv[1])
times = [time.perf_counter()]
import numpy, onnxruntime
from aae_zoo.runtime.model import load
times.append(time.perf_counter())
model = load(name, device=device, threads=threads)
model.batch, model.graph("prior")
times.append(time.perf_counter())
model.sample(64)
times.append(time.perf_counter())
print(json.dumps([b - a for a, b in zip(times, times[1:])]))
"""


@dataclass(frozen=True)
class Timing:
    """What was measured, in seconds a call; `bare` is the bare session's, where one runs too, `ratio` ours by it."""

    what: str
    seconds: float
    bare: float | None = None
    ratio: float | None = None
    images_per_second: float | None = None


class Bench(NamedTuple):
    """How many timings there will be, and the timings, which come as they are measured."""

    total: int
    timings: Iterator[Timing | CardTiming]


def bench(name: str | os.PathLike[str], *, device: Device = "auto", threads: int | None = None) -> Bench:
    """Measure a model: the parts of a fresh process that draws 64 images, then decode and encode at several batches.

    On an NVIDIA GPU those are measured as `card_bench` does, and a large call, cut into batches, is not.

    Raises:
        AaeZooError: as for `load` and the calls.
    """
    model = load(name, device=device, threads=threads)
    model.sample(2)  # an error of the model or the device comes before anything is measured
    start = _start(path_text(name, "the name"), device, threads)
    if model.graph("decoder").session.get_providers()[0] == CUDA:
        return Bench(len(_PARTS) + card_timings(), chain(start, card_bench(find_model(name), device=device)))
    count = len(_PARTS) + 2 * len(TIMED_BATCHES) + 2
    return Bench(count, chain(start, _calls(model), _batches(model)))


def compare(
    ours: Callable[[], object], other: Callable[[], object], rounds: int | None = None
) -> tuple[float, float, float]:
    """Medians in seconds of ours, of the other, and of ours / other pair by pair, in changing order."""
    slower = max(seconds(work) for work in (ours, other, ours, other))
    repeat = max(1, round(_SECONDS / slower))
    measured = []
    for number in range(rounds or _TIMED_PAIRS):
        if number % 2:
            b, a = seconds(other, repeat), seconds(ours, repeat)
        else:
            a, b = seconds(ours, repeat), seconds(other, repeat)
        measured.append((a, b))
    return medians(measured)


def medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The median of the first of each pair, of the second, and of their ratio pair by pair."""
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    return a, b, statistics.median(x / y for x, y in pairs)


def _start(name: str, device: Device, threads: int | None) -> Iterator[Timing]:
    """A fresh process, part by part: medians over several."""
    command = [*python_for("measure how it starts"), "-c", _START, json.dumps([name, device, threads])]
    runs = []
    for _ in range(_STARTS):
        started = time.perf_counter()
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this Python
        runs.append([*json.loads(output.splitlines()[-1]), time.perf_counter() - started])
    for what, column in zip(_PARTS, zip(*runs, strict=True), strict=True):
        yield Timing(what, statistics.median(column))


def _calls(model: Model) -> Iterator[Timing]:
    """Each call against the very session that it runs: two sessions' thread pools would get in each other's way."""
    for batch in TIMED_BATCHES:
        for name, graph, call, inputs in _works(model, batch):
            bare = partial(graph.session.run, graph.names, inputs)
            ours, other, ratio = compare(partial(call, *inputs.values()), bare)
            yield Timing(f"{name}, batch {batch}", ours, other, ratio, batch / ours)


def _batches(model: Model) -> Iterator[Timing]:
    """A large call, cut as the runtime chooses, against the same session at the best of fixed batches."""
    rows = 8 * max(TIMED_BATCHES)
    for name, graph, call, inputs in _works(model, rows):
        fixed = {batch: partial(_in_batches, graph, inputs, batch) for batch in (32, 64, 128, 256, 512, 1024)}
        best = min(fixed, key=lambda batch: min(seconds(fixed[batch]) for _ in range(2)))
        ours, other, ratio = compare(partial(call, *inputs.values()), fixed[best])
        what = f"{name}, {rows:,} images, {model.batch} at a time, against the best batch, {best}"
        yield Timing(what, ours, other, ratio, rows / ours)


def _works(model: Model, rows: int) -> Iterator[tuple[str, Graph, Callable[..., object], Arrays]]:
    """What is timed: its name, the graph that it runs, the call, and what that is given."""
    yield "decode", model.graph("decoder"), model.decode, inputs_of(model, "decoder", rows)
    yield "encode", model.graph("encoder"), model.encode, inputs_of(model, "encoder", rows)


def _in_batches(graph: Graph, inputs: Arrays, batch: int) -> dict[str, Any]:
    rows = len(next(iter(inputs.values())))
    parts = [
        graph.session.run(graph.names, {name: values[start : start + batch] for name, values in inputs.items()})
        for start in range(0, rows, batch)
    ]
    return dict(zip(graph.names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
