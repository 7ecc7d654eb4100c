"""Requests that wait at the same time run together: one run of 64 images takes far less than 64 runs of one."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np

from aae_zoo.runtime.formats.arrays import Arrays

# The most rows of one run, and of one request.
ROWS: Final = 256
# The most rows of a small request.
FEW: Final = 32


@dataclass(frozen=True, eq=False)
class _Request:
    work: str
    inputs: Arrays
    result: "Future[Arrays]" = field(default_factory=Future)

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))


class Batcher:
    """Runs requests on one thread, first come first served: all that wait for the same work as the first run with it.

    Every second run is for the first of those with FEW rows: a queue of large ones does not keep small ones waiting.
    Nobody waits for others to come: a request alone runs at once, and while it runs the next ones gather. `works` maps
    a name to what it does to arrays by name, row by row.
    """

    def __init__(self, works: Mapping[str, Callable[[Arrays], Arrays]]) -> None:
        self._works = works
        self._waiting: list[_Request] = []
        self._closed, self._runs = False, 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="aae-zoo batches", daemon=True)
        self._thread.start()

    def submit(self, work: str, inputs: Arrays) -> "Future[Arrays]":
        """Ask for `work` on inputs of 1 to ROWS rows each; the result has as many rows.

        Raises:
            RuntimeError: the batcher is closed.
        """
        request = _Request(work, inputs)
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting.append(request)
            self._changed.notify()
        return request.result

    def close(self) -> None:
        """Take nothing more, and return when all that waits is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        while batch := self._next():
            running = [request for request in batch if request.result.set_running_or_notify_cancel()]
            if running:
                self._run(running)

    def _next(self) -> list[_Request]:
        """The next requests that run together; none when the batcher is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            self._runs += 1
            few = [request for request in self._waiting if request.rows <= FEW]
            first = few[0] if few and self._runs % 2 else self._waiting[0]
            taken = [first]
            left: list[_Request] = []
            rows = first.rows
            for request in self._waiting:
                if request is first:
                    continue
                fits = request.work == first.work and rows + request.rows <= ROWS
                rows += request.rows if fits else 0
                (taken if fits else left).append(request)
            self._waiting = left
            return taken

    def _run(self, batch: list[_Request]) -> None:
        try:
            joined = {name: np.concatenate([request.inputs[name] for request in batch]) for name in batch[0].inputs}
            outputs: Mapping[str, Any] = self._works[batch[0].work](joined)
        except Exception as error:  # any error belongs to those who wait for the result
            for request in batch:
                request.result.set_exception(error)
            return
        borders = np.cumsum([0, *(request.rows for request in batch)])
        for request, (start, end) in zip(batch, pairwise(borders), strict=True):
            request.result.set_result({name: values[start:end] for name, values in outputs.items()})
