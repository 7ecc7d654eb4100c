"""An open graph on a card: inputs and outputs lie there, or go through pinned memory while the card computes."""

import math
import os
import re
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.graph_check import CheckedGraph
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.engine.cpus import available_cpus
from aae_zoo.runtime.engine.cuda.arrays import DeviceArray
from aae_zoo.runtime.engine.cuda.card import Card
from aae_zoo.runtime.engine.cuda.driver import CudaError, too_little
from aae_zoo.runtime.engine.cuda.slot import Refused, Slot, shapes
from aae_zoo.runtime.engine.graph import Graph, Values
from aae_zoo.runtime.engine.session import import_onnxruntime
from aae_zoo.runtime.errors import AaeZooError
from aae_zoo.runtime.formats.arrays import Arrays, is_finite
from aae_zoo.runtime.formats.stream import Finish

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Slots that a graph keeps, and their bytes on the card; the work of a slot is recorded at its third use.
_MOST_SLOTS: Final = 8
_MOST_BYTES: Final = 1 << 28
_PLAIN_USES: Final = 2
# Bytes of other libraries' arrays that may be kept from them while the card works.
_MOST_HELD: Final = 1 << 22
# Batches that the card works at, or has ready, while one goes to its array.
_AHEAD: Final = 2
# So many bytes are worth a thread of their own to be copied; page by page, new memory costs more than the copy.
_WORTH: Final = 1 << 20
_MOST_COPIERS: Final = 8
_FULL: Final = re.compile(r"[Ff]ailed to allocate memory for requested buffer of size (\d+)")


class CardGraph(Graph):
    """A graph on a card. Every call has buffers of its own, so that many threads may call at once."""

    ahead = _AHEAD

    card: Card

    def __init__(self, session: "InferenceSession", manifest: Manifest, checked: CheckedGraph, card: Card) -> None:
        super().__init__(session, manifest, checked)
        self.card = card
        self._of_row = manifest.row_shapes
        self._takes = list(checked.inputs)
        self._slots: deque[Slot] = deque()
        self._seen: Counter[int] = Counter()
        self._options: Any = import_onnxruntime().RunOptions()
        # The stream is ours: who waits for it, and when, is for us to say.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._options.log_severity_level = 4

    @property
    def captures(self) -> list[int]:
        """The numbers of rows whose work is started as a CUDA graph."""
        return sorted({_rows_of(slot) for slot in list(self._slots) if slot.is_captured})

    def run(self, inputs: Values, out: Arrays | None = None, *, finite: bool = True) -> Arrays:
        """The outputs by name, as `Graph.run`; those on the card are not looked at for NaN and infinity."""
        return self._begin(inputs, out, finite=finite, aside=False)()

    def begin(self, inputs: Values, out: Arrays | None = None, *, finite: bool = True) -> Finish:
        """Start a run, and return at once: the results are there when what is returned has been called."""
        return self._begin(inputs, out, finite=finite, aside=True)

    def keep(self, inputs: Values, names: Sequence[str]) -> Values:
        """The outputs `names` on the card, for what this model computes next.

        Raises:
            InvalidBundle: as for `run`; only the next graph's outputs tell whether all is finite.
        """
        rows = _rows(inputs)
        with self.card.lock, self.card.driver.current():
            kept = {name: self.card.array((rows, *self.outputs[name])) for name in names}
            slot = self._computed(inputs, rows)
            slot.give(kept, aside=False)
            if self._must_wait(slot):
                slot.wait()
            self._release(slot)
        return kept

    def _begin(self, inputs: Values, out: Arrays | None, *, finite: bool, aside: bool) -> Finish:
        rows = _rows(inputs)
        with self.card.lock, self.card.driver.current():
            slot = self._computed(inputs, rows)
            wanted: Any = out if out is not None else dict.fromkeys(self.names)
            on_host = slot.give(wanted, aside=aside)
            if not on_host and not self._must_wait(slot):
                self._release(slot)
                return lambda: wanted

        def finish() -> Arrays:
            with self.card.driver.current():
                try:
                    slot.wait()
                    slot.holds = []
                except CudaError as error:
                    raise self._failed(error) from None
            found = out if out is not None else self._empty(rows)
            self._fetch(slot, on_host, found, finite)
            with self.card.lock:
                self._release(slot)
            return found

        return finish

    def _computed(self, inputs: Values, rows: int) -> Slot:
        """A slot in which the card is computing; with the lock."""
        try:
            slot = self._slot(rows)
            for name in self._takes:
                slot.upload(name, inputs[name])
            slot.holds = [values for values in inputs.values() if isinstance(values, DeviceArray) and values.borrowed]
            if slot.uses >= _PLAIN_USES and not slot.is_captured and not self.uncaptured:
                self._capture(slot, inputs)
            slot.compute(self._options)
        except AaeZooError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
            raise self._failed(error) from None
        return slot

    def _capture(self, slot: Slot, inputs: Values) -> None:
        """Record a slot's work, or never try again with this graph."""
        try:
            slot.capture(self._options)
        except Refused as refused:
            self.uncaptured = str(refused)
            for other in self._slots:
                other.forget()
        for name in self._takes:
            slot.upload(name, inputs[name])

    def _must_wait(self, slot: Slot) -> bool:
        """Whether a call has to wait for the card, as it would keep much of another library's memory from it."""
        return sum(array.borrowed for array in slot.holds) > _MOST_HELD

    def _slot(self, rows: int) -> Slot:
        """Buffers for so many rows that nobody uses: those that have waited longest, or new ones."""
        self._seen[rows] += 1
        for slot in self._slots:
            if slot.holds and slot.is_done:
                slot.holds = []
        waiting = [slot for slot in self._slots if _rows_of(slot) == rows]
        if waiting and (waiting[0].is_done or len(waiting) > _AHEAD):
            slot = waiting[0]
            self._slots.remove(slot)
            slot.wait()  # its pinned memory may still be read
            return slot
        takes, gives = shapes(rows, self._takes, self._of_row), shapes(rows, self.names, self.outputs)
        return Slot(self.card, self.session, self.memory, takes, gives)

    def _release(self, slot: Slot) -> None:
        """Keep a slot for the next call with as many rows, in place of one of other rows if need be."""
        rows = _rows_of(slot)
        if len(self._seen) > 1 << 10:
            self._seen.clear()
        if slot.size > _MOST_BYTES or (self._seen[rows] < _PLAIN_USES and len(self._slots) >= _MOST_SLOTS):
            return
        self._slots.append(slot)
        while len(self._slots) > _MOST_SLOTS or sum(each.size for each in self._slots) > _MOST_BYTES:
            others = [each for each in self._slots if _rows_of(each) != rows] or [slot]
            self._slots.remove(others[0])

    def _fetch(self, slot: Slot, names: Sequence[str], out: Arrays, finite: bool) -> None:
        """Copy outputs from pinned memory into their arrays, in several threads where that is worth it."""
        for name in names:
            source, target = slot.pinned(name), out[name]
            if target.shape != source.shape:
                raise self._misshapen(name, target.shape, len(source))
            parts = min(math.ceil(source.nbytes / _WORTH), len(source))
            parts = min(parts, _copiers(os.getpid())[0]) if parts > 1 else 1
            if parts <= 1:
                good = _copied((target, source, finite))
            else:
                edges = np.linspace(0, len(source), parts + 1, dtype=int).tolist()
                pieces = [(target[a:b], source[a:b], finite) for a, b in pairwise(edges)]
                good = all(_copiers(os.getpid())[1].map(_copied, pieces))
            if not good:
                raise self._not_finite(name)

    def _failed(self, error: Exception) -> AaeZooError:
        if found := _FULL.search(str(error)):
            return too_little(f"{int(found[1]):,}", f"on the GPU cuda:{self.card.number}", "the card")
        return super()._failed(error)


def _copied(piece: tuple[NDArray[np.float32], NDArray[np.float32], bool]) -> bool:
    """Copy one array into another: whether its numbers are finite, if that is asked."""
    target, source, finite = piece
    np.copyto(target, source)
    return not finite or is_finite(source)


@cache
def _copiers(process: int) -> tuple[int, ThreadPoolExecutor]:
    """How many threads copy in a process, and the threads: a fork does not inherit its parent's."""
    count = min(_MOST_COPIERS, available_cpus())
    return count, ThreadPoolExecutor(count, thread_name_prefix=f"copy-{process}")


def _rows(inputs: Values) -> int:
    value: Any = next(iter(inputs.values()))
    return int(value.shape[0])


def _rows_of(slot: Slot) -> int:
    return next(iter(slot.outputs.values()))[0]
