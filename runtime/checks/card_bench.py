"""How fast a model is on an NVIDIA GPU, host to host and on the card, beside what ONNX Runtime does by itself."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import CheckedGraph, read_graph
from aae_zoo.runtime.engine.devices import CUDA, Device, memory_of
from aae_zoo.runtime.engine.session import import_onnxruntime, open_session, reason_of
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.model import Model, load

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding

    from aae_zoo.runtime.engine.cuda.arrays import DeviceArray

CARD_BATCHES: Final = (1, 64, 1024, 16384)
_ROUNDS: Final = 21
# A contender's turn takes about this long, so that the clock does not count.
_SECONDS: Final = 0.01
# ONNX Runtime captures a graph in its first runs, and chooses the kernels of convolutions before.
_FIRST_RUNS: Final = 4

Works = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class CardTiming:
    """A call of a batch, in seconds, each the median of several turns.

    `seconds` is ours from host arrays to host arrays, `bare` ONNX Runtime's `run`, and `bound` its run with inputs and
    outputs bound to host arrays. On the card are `on_card`, ours with arrays="device"; `bound_on_card`, the run with
    both bound there; and `replay`, that run as a captured CUDA graph. What is not available is None, and `problem`
    says why.
    """

    what: str
    batch: int
    seconds: float
    bare: float
    bound: float
    on_card: float
    bound_on_card: float
    replay: float | None
    problem: str | None = None


def card_bench(bundle: Bundle, *, device: Device) -> Iterator[CardTiming]:
    """Measure decode and encode of a model, `card_timings()` of them, on a device of CUDA's.

    Raises:
        AaeZooError: as for `load` and the calls.
    """
    with (
        load(bundle.folder, device=device) as model,
        load(bundle.folder, device=device, arrays="device") as on_card,
    ):
        for what, role in (("decode", "decoder"), ("encode", "encoder")):
            for batch in CARD_BATCHES:
                yield time_card(what, Contenders(bundle, role, inputs_of(model, role, batch), device), model, on_card)


def card_timings() -> int:
    """How many timings `card_bench` gives."""
    return 2 * len(CARD_BATCHES)


def inputs_of(model: Model, role: str, rows: int) -> Arrays:
    """What an encoder or decoder is given, where the model's arrays are: codes of the prior, or their images."""
    codes = model.codes_of(uniform_noise(rows, model.manifest.noise, 0))
    if role == "encoder":
        return {"image": model.decode(**codes)}
    return {name: codes[name] for name in ("z", "y") if name in model.graph("decoder").inputs}


def time_card(what: str, contenders: "Contenders", model: Model, on_card: Model) -> CardTiming:
    """One line of the table: ours, and what ONNX Runtime does by itself, in turn."""
    batch, given = contenders.batch, inputs_of(on_card, contenders.role, contenders.batch).values()
    works: dict[str, Callable[[], object]] = {
        "seconds": partial(getattr(model, what), *contenders.inputs.values()),
        "on_card": partial(_to_its_end, partial(getattr(on_card, what), *given)),
        **contenders.works(),
    }
    found = in_turn(works)
    captured = on_card.graph(contenders.role).uncaptured
    problem = contenders.problem or captured or None
    return CardTiming(
        f"{what}, batch {batch:,}",
        batch,
        found["seconds"],
        bare=found["bare"],
        bound=found["bound"],
        on_card=found["on_card"],
        bound_on_card=found["bound_on_card"],
        replay=found.get("replay"),
        problem=problem,
    )


def _to_its_end(call: "Callable[[], DeviceArray]") -> None:
    """Make a call whose result comes back while the card still computes it, and wait: its last row is looked at."""
    np.asarray(call()[-1:])


class Contenders:
    """What ONNX Runtime does by itself with a graph and a batch, in sessions of their own.

    `works()` are its bare run, its run bound to host arrays and to the card, and the replay of the last, by the names
    of `CardTiming`. Where there is no replay, `problem` says why.
    """

    def __init__(self, bundle: Bundle, role: str, inputs: Arrays, device: Device) -> None:
        self.role, self.inputs = role, inputs
        self.batch = len(next(iter(inputs.values())))
        self.graph = read_graph(bundle, role)
        self.session = open_session(self.graph, device=device)
        self.place = memory_of(self.session)
        shapes = bundle.manifest.row_shapes
        self.shapes = {name: (self.batch, *shapes[name]) for name in self.graph.outputs}
        self.problem: str | None = None

    def works(self) -> dict[str, Callable[[], object]]:
        """Each by its name, made ready to run."""
        works: dict[str, Callable[[], object]] = {
            "bare": partial(self.session.run, list(self.shapes), self.inputs),
            "bound": partial(self.session.run_with_iobinding, self._bound(self.session, on_card=False)),
            "bound_on_card": partial(self.session.run_with_iobinding, self._bound(self.session, on_card=True)),
        }
        try:
            replaying = captured_session(self.graph, self.place[1])
            replay = partial(replaying.run_with_iobinding, self._bound(replaying, on_card=True))
            for _ in range(_FIRST_RUNS):
                replay()
            works["replay"] = replay
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
            self.problem = f"ONNX Runtime captures no CUDA graph of the {self.role}: {reason_of(error)}"
        return works

    def _bound(self, session: "InferenceSession", *, on_card: bool) -> "IOBinding":
        binding = session.io_binding()
        if on_card:
            ort = import_onnxruntime()
            for name, values in self.inputs.items():
                binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(values, *self.place))
            for name, shape in self.shapes.items():
                value = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, *self.place)
                binding.bind_ortvalue_output(name, value)
            return binding
        self._outputs = {name: np.empty(shape, np.float32) for name, shape in self.shapes.items()}
        for name, values in self.inputs.items():
            binding.bind_cpu_input(name, values)
        for name, values in self._outputs.items():
            binding.bind_output(name, "cpu", 0, np.float32, values.shape, values.ctypes.data)
        return binding


def captured_session(graph: CheckedGraph, number: int) -> "InferenceSession":
    """A session that captures its first run as a CUDA graph and replays it ever after.

    Raises:
        DeviceUnavailable: ONNX Runtime does not do so with this graph.
    """
    return open_session(graph, device=[(CUDA, {"device_id": str(number), "enable_cuda_graph": "1"})])


def in_turn(works: Works, rounds: int | None = None) -> dict[str, float]:
    """The median seconds of a call of each, measured in turn, in another order each time."""
    names = list(works)
    for _ in range(_FIRST_RUNS):
        slowest = max(seconds(works[name]) for name in names)
    repeat = max(1, round(_SECONDS / slowest))
    measured: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds or _ROUNDS):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            measured[name].append(seconds(works[name], repeat))
    return {name: statistics.median(values) for name, values in measured.items()}


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """The seconds of one call, the mean of `repeat`."""
    started = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - started) / repeat
