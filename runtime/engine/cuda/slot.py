"""What one call of a graph on a card needs: buffers for its rows, and a CUDA graph where the same is done again.

ONNX Runtime starts each operator by itself, which for a small batch takes longer than computing. From the third time on
that a slot is used its work is recorded, and started as one. The memory that operators use meanwhile lies in the
session's arena: the record may be used as long as all work of the session follows in one stream, and no result is left
in the arena. So graphs always write into the slot's own buffers.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.engine.cuda.arrays import DeviceArray
from aae_zoo.runtime.engine.cuda.card import Card, pinned_view
from aae_zoo.runtime.engine.cuda.driver import CudaError
from aae_zoo.runtime.engine.cuda.recording import TURNS, forget_error, undisturbed
from aae_zoo.runtime.engine.cuda.workers import Copy
from aae_zoo.runtime.engine.session import reason_of

if TYPE_CHECKING:
    from onnxruntime import RunOptions

_FLOAT32: Final = np.float32
# Outputs of this many bytes are looked at for NaN and infinity on the card, smaller ones on the host.
_LARGE: Final = 1 << 18
Shapes = Mapping[str, tuple[int, ...]]
# Of each byte of the numbers that a record is tried with: 0.186 as float32, fit for noise, codes and pixels.
_TRIED: Final = 0x3E
# Of results that nobody has written: NaN.
_UNWRITTEN: Final = 0xFF
# How far a replay may be from a run: sums of atomic operations differ by less from run to run.
_NEAR: Final = {"rtol": 1e-4, "atol": 1e-5}


class Refused(Exception):
    """A graph's work cannot be recorded; its text says why."""


class Slot:
    """Buffers of one graph for `rows` rows, on the card and in pinned memory; used by one call at a time.

    `holds` are arrays of other libraries that the card may still be reading.
    """

    def __init__(
        self, card: Card, session: Any, memory: tuple[str, int], rows: int, inputs: Shapes, outputs: Shapes
    ) -> None:
        self._card, self._session = card, session
        self.rows = rows
        self.inputs, self.outputs = (
            {name: (rows, *shape) for name, shape in each.items()} for each in (inputs, outputs)
        )
        self.uses = 0
        self.holds: list[DeviceArray] = []
        self._direct: dict[str, int] = {}
        self._pieces: list[tuple[int, int]] = []
        self._pinned: dict[str, tuple[int, NDArray[np.float32]]] = {}
        self._executable: int | None = None
        self._addresses = {name: self._piece(shape) for name, shape in {**self.inputs, **self.outputs}.items()}
        self.size = sum(size for _, size in self._pieces)
        large = [name for name, shape in self.outputs.items() if 4 * math.prod(shape) >= _LARGE]
        self._looked_at = large if card.driver.looks else []
        self._flags = self._flag_for_each()
        self._done = card.driver.event()
        self._binding = session.io_binding()
        for name, shape in self.inputs.items():
            self._binding.bind_input(name, *memory, _FLOAT32, shape, self._addresses[name])
        for name, shape in self.outputs.items():
            self._binding.bind_output(name, *memory, _FLOAT32, shape, self._addresses[name])

    def __del__(self) -> None:
        driver = self._card.driver
        if not driver.is_alive:
            return
        with suppress(CudaError), driver:
            if hasattr(self, "_done"):
                driver.synchronize_event(self._done)
                driver.forget_event(self._done)
            self.forget()
        for address, view in self._pinned.values():
            self._card.give_pinned(address, view.nbytes)
        for address, size in self._pieces:
            self._card.give(address, size)

    @property
    def is_captured(self) -> bool:
        """Whether its work is started as one."""
        return self._executable is not None

    def _flag_for_each(self) -> NDArray[np.float32]:
        """Pinned numbers that the card sets where an output is not finite."""
        if not self._looked_at:
            return np.empty(0, _FLOAT32)
        address, shape = self._card.take_pinned(4 * len(self._looked_at)), (len(self._looked_at),)
        self._pinned[""] = address, pinned_view(address, shape)
        return self._pinned[""][1]

    def _piece(self, shape: tuple[int, ...]) -> int:
        size = 4 * math.prod(shape)
        address = self._card.take(size)
        self._pieces.append((address, size))
        return address

    def pinned(self, name: str) -> NDArray[np.float32]:
        """The pinned memory of an input or output."""
        if name not in self._pinned:
            shape = {**self.inputs, **self.outputs}[name]
            address = self._card.take_pinned(4 * math.prod(shape))
            self._pinned[name] = address, pinned_view(address, shape)
        return self._pinned[name][1]

    def upload(self, name: str, values: "NDArray[np.float32] | DeviceArray") -> None:
        """Give the stream the copy of an input, of as many rows as there are buffers for, or fewer."""
        card, to = self._card, self._addresses[name]
        if isinstance(values, DeviceArray):
            card.driver.copy(to, values.address, values.nbytes, card.stream)
        else:
            pinned = self.pinned(name)
            np.copyto(pinned[: len(values)], values)
            card.driver.upload(to, self._pinned[name][0], values.nbytes, card.stream)
        if missing := self.rows - len(values):
            size = missing * (values.nbytes // len(values))
            card.driver.fill(to + values.nbytes, _TRIED, size, card.stream)

    def compute(self, options: "RunOptions") -> None:
        """Give the stream the graph's work.

        Raises:
            Exception: ONNX Runtime's, where it cannot run the graph.
        """
        self.uses += 1
        self._flags[:] = 0
        if self._executable is not None:
            self._card.driver.launch(self._executable, self._card.stream)
        else:
            undisturbed(self._run, options)

    def _run(self, options: "RunOptions") -> None:
        """Give the stream each operator's work, and the look at what comes out."""
        self._session.run_with_iobinding(self._binding, options)
        for number, name in enumerate(self._looked_at):
            at, count = self._flags.ctypes.data + 4 * number, math.prod(self.outputs[name])
            self._card.driver.look_for_not_finite(self._addresses[name], count, at, self._card.stream)

    def is_finite(self, name: str) -> bool | None:
        """Whether all numbers of an output are finite, once the card is done; None where it has not looked at them."""
        return not self._flags[self._looked_at.index(name)] if name in self._looked_at else None

    def capture(self, options: "RunOptions", recording: "RunOptions") -> None:
        """Record the graph's work, after it has run with these buffers, and prove that the record gives the same.

        `recording` are the options of a run that does not wait for the card. Where another thread is using ONNX
        Runtime on a card, this is left to a later call.

        Raises:
            Exception: ONNX Runtime's, where it cannot run the graph.
            Refused: it cannot be recorded, or gives something else.
        """
        if TURNS.are_taken:
            return
        driver, stream = self._card.driver, self._card.stream
        undisturbed(self._run, options)  # what this thread needs once is not recorded
        driver.synchronize(stream)
        with TURNS.recording() as alone:
            if not alone:
                return
            recorded = self._recorded(recording)
        if isinstance(recorded, Exception):
            forget_error()  # which ONNX Runtime would find after the next operator
            raise Refused(reason_of(recorded))
        self._use(recorded, options)

    def _recorded(self, recording: "RunOptions") -> int | Exception:
        """A graph of the work, or what has gone wrong."""
        driver, stream = self._card.driver, self._card.stream
        failed: Exception | None = None
        try:
            driver.begin_capture(stream)
            try:
                self._run(recording)
            except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
                failed = error
            graph = driver.end_capture(stream)
            if failed is None:
                return graph
            driver.forget_graph(graph)
        except CudaError as error:
            failed = failed or error
        return failed

    def _use(self, graph: int, options: "RunOptions") -> None:
        """Start a recorded graph from now on, if it gives what a run gives.

        Raises:
            Refused: it does not, or takes something from the host.
        """
        driver = self._card.driver
        try:
            if strange := driver.strange_nodes(graph):
                driver.forget_graph(graph)
                raise Refused(f"the graph goes through the host ({', '.join(sorted(set(strange)))})")
            self._executable = driver.instantiate(graph)
            self._prove(options)
        except Refused:
            raise
        except Exception as error:  # what fails here has just run without a record
            self.forget()
            raise Refused(reason_of(error)) from None

    def _prove(self, options: "RunOptions") -> None:
        """Compare a replay with a run, for other inputs than those that were there when it was recorded."""
        driver, stream = self._card.driver, self._card.stream
        for name, shape in self.inputs.items():
            driver.fill(self._addresses[name], _TRIED, 4 * math.prod(shape), stream)
        executable, self._executable = self._executable, None
        self.compute(options)
        expected = [self._read(name) for name in self.outputs]
        for name, shape in self.outputs.items():
            driver.fill(self._addresses[name], _UNWRITTEN, 4 * math.prod(shape), stream)
        self._executable = executable
        self.compute(options)
        found = [self._read(name) for name in self.outputs]
        if not all(np.allclose(a, b, equal_nan=True, **_NEAR) for a, b in zip(found, expected, strict=True)):
            self.forget()
            raise Refused("a replay of the graph gives something else than a run")

    def forget(self) -> None:
        """Start the operators one by one from now on."""
        if self._executable is not None:
            self._card.driver.forget(self._executable)
            self._executable = None

    def _read(self, name: str) -> NDArray[np.float32]:
        values = np.empty(self.outputs[name], _FLOAT32)
        self._card.driver.download(values.ctypes.data, self._addresses[name], values.nbytes, self._card.stream)
        self._card.driver.synchronize(self._card.stream)
        return values

    def give(
        self, out: Mapping[str, "NDArray[np.float32] | DeviceArray | None"], *, rows: int, aside: bool
    ) -> list[str]:
        """Give a stream the copies of outputs' first rows: to arrays on the card, or to pinned memory of the host.

        `aside` copies to the host beside what is computed next. Returns the outputs that go to the host.
        """
        card = self._card
        on_host = []
        for name, values in out.items():
            if isinstance(values, DeviceArray):
                card.driver.copy(values.address, self._addresses[name], values.nbytes, card.stream)
            else:
                on_host.append(name)
        self._direct = {name: at for name in on_host if (at := self._pinned_already(out[name]))}
        aside &= bool(on_host)
        if aside:
            card.driver.record(self._done, card.stream)
            card.driver.wait(self._done, card.back)
        stream = card.back if aside else card.stream
        for name in on_host:
            size = 4 * rows * math.prod(self.outputs[name][1:])
            to = self._direct.get(name) or self.pinned(name).ctypes.data
            card.driver.download(to, self._addresses[name], size, stream)
        card.driver.record(self._done, stream)
        return on_host

    def _pinned_already(self, values: Any) -> int:
        """Where a large array of the caller's begins, if the card can write it by itself."""
        if not isinstance(values, np.ndarray) or values.nbytes < _LARGE:
            return 0
        address = values.ctypes.data
        return address if self._card.driver.is_pinned(address) else 0

    def fetch(self, name: str, target: NDArray[np.float32]) -> Copy | None:
        """The copy of an output that goes to the host into its array, unless the card writes there by itself."""
        return None if name in self._direct else Copy(target, self.pinned(name)[: len(target)], self.wait)

    @property
    def is_done(self) -> bool:
        """Whether the card has nothing more to do with it."""
        return self._card.driver.is_done(self._done)

    def wait(self) -> None:
        """Wait until the card has done all that was asked of it."""
        with self._card.driver:
            self._card.driver.synchronize_event(self._done)
        self.holds = []
