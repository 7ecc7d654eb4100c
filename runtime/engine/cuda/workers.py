"""Threads that make noise and copy results while the card computes."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.engine.cpus import available_cpus

_MOST: Final = 8
# This many bytes are worth a thread of their own to be copied; page by page, new memory costs more than the copy.
_WORTH: Final = 1 << 20
# Batches whose noise is made ahead.
_AHEAD: Final = 4

Array = NDArray[np.float32]


class Copy:
    """The copy of an array into another of the same shape, in several threads where that is worth it.

    The other threads wait at once until it is `ready`, as to wake them takes as long as to copy a megabyte.
    """

    def __init__(self, target: Array, source: Array, ready: Callable[[], object]) -> None:
        self._own = target, source
        self._others: list[Future[None]] = []
        if source.nbytes >= 2 * _WORTH and len(source) > 1:
            count, pool = _workers("copies")
            parts = min(source.nbytes // _WORTH, len(source), count)
            edges = np.linspace(0, len(source), parts + 1, dtype=int).tolist()
            self._own = target[: edges[1]], source[: edges[1]]
            self._others = [pool.submit(_copy, target[a:b], source[a:b], ready) for a, b in pairwise(edges[1:])]

    def finish(self) -> None:
        """Do this thread's part, now that it is ready, and wait for the others."""
        np.copyto(*self._own)
        for each in self._others:
            each.result()


def _copy(target: Array, source: Array, ready: Callable[[], object]) -> None:
    ready()
    np.copyto(target, source)


class Ahead:
    """What a function makes of the parts of a job, each made before it is asked for.

    It may be asked for any part, at any time and by many threads; parts that follow each other are ready soonest.
    """

    def __init__(self, make: Callable[[slice], Array], rows: int, batch: int) -> None:
        self._make, self._rows, self._batch = make, rows, batch
        self._made: dict[int, Future[Array]] = {}

    def __call__(self, part: slice) -> Array:
        """What is made of some rows."""
        found = self._made.pop(part.start, None)
        pool = _workers("noise")[1]
        for start in range(part.stop, min(part.stop + _AHEAD * self._batch, self._rows), self._batch):
            if start not in self._made:
                self._made[start] = pool.submit(self._make, slice(start, min(start + self._batch, self._rows)))
        return found.result() if found else self._make(part)


def _workers(what: str) -> tuple[int, ThreadPoolExecutor]:
    """How many threads there are for something, and the threads: those that make noise do not wait for copies."""
    return _workers_of(what, os.getpid())


@cache
def _workers_of(what: str, process: int) -> tuple[int, ThreadPoolExecutor]:
    """Those of a process: a fork does not inherit its parent's."""
    count = min(_MOST, available_cpus())
    return count, ThreadPoolExecutor(count, thread_name_prefix=f"aae-zoo-{what}-{process}")
