"""An open graph on a card: inputs and outputs lie there, or go through pinned memory while the card computes."""

import re
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aae_zoo.runtime.bundles.graph_check import CheckedGraph
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.engine.cuda.arrays import DeviceArray
from aae_zoo.runtime.engine.cuda.card import Card
from aae_zoo.runtime.engine.cuda.driver import CudaError, too_little
from aae_zoo.runtime.engine.cuda.slot import Refused, Slot
from aae_zoo.runtime.engine.cuda.workers import Copy
from aae_zoo.runtime.engine.graph import Graph, Values
from aae_zoo.runtime.engine.session import FATAL, import_onnxruntime
from aae_zoo.runtime.errors import AaeZooError
from aae_zoo.runtime.formats.arrays import Arrays, is_finite
from aae_zoo.runtime.formats.stream import Finish

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Slots that a graph keeps, and their bytes on the card; the work of a slot is recorded at its third use.
_MOST_SLOTS: Final = 8
_MOST_BYTES: Final = 1 << 28
_PLAIN_USES: Final = 2
# Another library that waits for the whole card makes a record fail too.
_MOST_REFUSALS: Final = 3
# Bytes of other libraries' arrays that may be kept from them while the card works.
_MOST_HELD: Final = 1 << 22
# Batches that the card works at, or has ready, while one goes to its array.
_AHEAD: Final = 2
_FULL: Final = re.compile(r"[Ff]ailed to allocate memory for requested buffer of size (\d+)")


class CardGraph(Graph):
    """A graph on a card. Every call has buffers of its own, so that many threads may call at once."""

    ahead = _AHEAD

    card: Card

    def __init__(self, session: "InferenceSession", manifest: Manifest, checked: CheckedGraph, card: Card) -> None:
        super().__init__(session, manifest, checked)
        self.card = card
        self._inputs = {name: manifest.row_shapes[name] for name in checked.inputs}
        self._slots: deque[Slot] = deque()
        self._refusals = 0
        options = import_onnxruntime().RunOptions
        self._waiting, self._recording = options(), options()
        for each in (self._waiting, self._recording):
            each.log_severity_level = FATAL
        # A run waits for the card, as operators that need the CPU may not be done with its memory; what is recorded has
        # none of them.
        self._recording.add_run_config_entry("disable_synchronize_execution_providers", "1")

    @property
    def captures(self) -> list[int]:
        """The numbers of rows whose work is started as a CUDA graph."""
        return sorted({slot.rows for slot in list(self._slots) if slot.is_captured})

    def run(self, inputs: Values, out: Arrays | None = None, *, finite: bool = True) -> Arrays:
        """The outputs by name, as `Graph.run`; those on the card are not looked at for NaN and infinity."""
        return self._begin(inputs, out, finite=finite, aside=False)()

    def run_there(self, inputs: Values) -> Arrays:
        """The outputs by name, left on the card."""
        return self._begin(inputs, None, finite=False, aside=False, there=True)()

    def room(self, rows: int) -> Any:
        """`DeviceArray`s on the card for `rows` rows of the outputs, by name, with nothing in them yet."""
        with self.card.lock, self.card.driver:
            return self._arrays(rows, self.names)

    def begin(self, inputs: Values, out: Arrays | None = None, *, finite: bool = True, padded: bool = False) -> Finish:
        """Start a run, and return at once: the results are there when what is returned has been called.

        `padded` computes as many rows as `batch`, for the last rows of many: cuDNN takes 0.1 s for a new number.
        """
        return self._begin(inputs, out, finite=finite, aside=True, padded=padded)

    def keep(self, inputs: Values, names: Sequence[str], *, padded: bool = False) -> Values:
        """The outputs `names` on the card, for what this model computes next; `padded` is that of `begin`.

        Raises:
            InvalidBundle: as for `run`; only the next graph's outputs tell whether all is finite.
        """
        rows = _rows(inputs)
        try:
            with self.card.lock, self.card.driver:
                kept = self._arrays(rows, names)
                slot = self._computed(inputs, max(rows, self.batch) if padded else rows)
                slot.give(kept, rows=rows, aside=False)
                if self._must_wait(slot):
                    slot.wait()
                self._release(slot)
        except CudaError as error:
            raise self._failed(error) from None
        return kept

    def _begin(
        self,
        inputs: Values,
        out: Arrays | None,
        *,
        finite: bool,
        aside: bool,
        padded: bool = False,
        there: bool = False,
    ) -> Finish:
        rows = _rows(inputs)
        try:
            with self.card.lock, self.card.driver:
                slot = self._computed(inputs, max(rows, self.batch) if padded else rows)
                placed: Any = self._arrays(rows, self.names) if there else out
                on_host = slot.give(placed or dict.fromkeys(self.names), rows=rows, aside=aside)
                if not on_host and not self._must_wait(slot):
                    self._release(slot)
                    return lambda: placed
        except CudaError as error:
            raise self._failed(error) from None
        # While the card computes, arrays are made, and the threads that copy wait with this one.
        found: Arrays = placed or self._empty(rows)
        copies = [copy for name in on_host if (copy := slot.fetch(name, found[name]))]
        return lambda: self._finish(slot, found, copies, looked_at=on_host if finite else ())

    def _finish(self, slot: Slot, found: Arrays, copies: Sequence[Copy], *, looked_at: Sequence[str]) -> Arrays:
        """What was begun, once it is on the host; of these outputs all numbers have to be finite."""
        try:
            slot.wait()
        except CudaError as error:
            raise self._failed(error) from None
        for copy in copies:
            copy.finish()
        for name in looked_at:
            good = slot.is_finite(name)
            if not (is_finite(found[name]) if good is None else good):
                raise self._not_finite(name)
        with self.card.lock:
            self._release(slot)
        return found

    def _computed(self, inputs: Values, rows: int) -> Slot:
        """A slot in which the card is computing; with the lock."""
        try:
            slot = self._slot(rows)
            for name in self._inputs:
                slot.upload(name, inputs[name])
            slot.holds = [values for values in inputs.values() if isinstance(values, DeviceArray) and values.borrowed]
            if slot.uses >= _PLAIN_USES and not slot.is_captured and not self.uncaptured:
                self._capture(slot, inputs)
            slot.compute(self._waiting)
        except AaeZooError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
            raise self._failed(error) from None
        return slot

    def _capture(self, slot: Slot, inputs: Values) -> None:
        """Record a slot's work; where that fails time and again, it is not tried any more with this graph."""
        try:
            slot.capture(self._waiting, self._recording)
        except Refused as refused:
            self._refusals += 1
            if self._refusals >= _MOST_REFUSALS:
                self.uncaptured = str(refused)
        for name in self._inputs:
            slot.upload(name, inputs[name])

    def _arrays(self, rows: int, names: Sequence[str]) -> dict[str, DeviceArray]:
        return {name: self.card.array((rows, *self.outputs[name])) for name in names}

    def _must_wait(self, slot: Slot) -> bool:
        """Whether a call has to wait for the card, as it would keep much of another library's memory from it."""
        return sum(array.borrowed for array in slot.holds) > _MOST_HELD

    def _slot(self, rows: int) -> Slot:
        """Buffers for `rows` rows that nobody uses: those that have waited longest, or new ones."""
        waiting = []
        for slot in self._slots:
            if slot.holds and slot.is_done:
                slot.holds = []
            if slot.rows == rows:
                waiting.append(slot)
        if waiting and ((done := waiting[0].is_done) or len(waiting) > _AHEAD):
            slot = waiting[0]
            self._slots.remove(slot)
            if not done:
                slot.wait()  # its pinned memory may still be read
            return slot
        return Slot(self.card, self.session, self.memory, rows, self._inputs, self.outputs)

    def _release(self, slot: Slot) -> None:
        """Keep a slot for the next call with as many rows, in place of one of other rows if need be."""
        if slot.size > _MOST_BYTES:
            return
        self._slots.append(slot)
        while len(self._slots) > _MOST_SLOTS or sum(each.size for each in self._slots) > _MOST_BYTES:
            self._slots.remove(next((each for each in self._slots if each.rows != slot.rows), slot))

    def _failed(self, error: Exception) -> AaeZooError:
        if found := _FULL.search(str(error)):
            return too_little(f"{int(found[1]):,}", f"on the GPU cuda:{self.card.number}", "the card")
        return super()._failed(error)


def _rows(inputs: Values) -> int:
    value: Any = next(iter(inputs.values()))
    return int(value.shape[0])
