"""Processes that run cases, and outlive each other: one that dies or hangs is a failure of its case, and no more."""

import contextlib
import importlib
import math
import multiprocessing
import os
import resource
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from aae_zoo.runtime.escapes import is_line
from fuzzing import memory

ACCEPTED: Final = "accepted"
# Seconds that one case may take; the first of a process opens the models, or trains one.
SECONDS: Final = 30.0
# Bytes of address space of a process beyond what it has when it begins.
_ADDRESSES: Final = 16 << 30
# The most characters of a refusal.
_MOST_SAID: Final = 2000
_BATCH: Final = 400
_SPAWN: Final = multiprocessing.get_context("spawn")


class Batch(NamedTuple):
    """Cases of one kind and seed, from `first` up to `end`."""

    kind: str
    seed: int
    first: int
    end: int


@dataclass
class Tally:
    """How cases of one kind ended: how many in which way, which failed and why; and what the dearest of them took."""

    endings: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    memory: int = 0

    def add(self, other: "Tally") -> None:
        """Count another's cases too."""
        self.endings += other.endings
        self.failures |= other.failures
        self.slowest, self.memory = max(self.slowest, other.slowest), max(self.memory, other.memory)


def ending(kind: str, seed: int, number: int) -> str:
    """How one case ended: ACCEPTED, or the words of its refusal without names and numbers.

    Raises:
        Exception: it ended in anything else.
    """
    module = importlib.import_module(f"fuzzing.{kind}")
    try:
        with warnings.catch_warnings(action="ignore"):
            module.case(Random(f"{seed}:{kind}:{number}"))  # noqa: S311 - no secrets
    except module.REFUSAL as error:
        said = str(error)
        assert is_line(said), said
        assert len(said) <= _MOST_SAID, said
        return " ".join(word for word in said.split() if word.isalpha())[:60]
    return ACCEPTED


def run(batch: Batch, began: Any = None, at: Any = None) -> Tally:
    """Run cases here, one by one; of each `at` has the number and `began` the time, for who watches."""
    tally = Tally()
    memory.grown = 0
    for number in range(batch.first, batch.end):
        started = time.monotonic()
        if at is not None:
            at.value, began.value = number, started
        try:
            tally.endings[ending(*batch[:2], number)] += 1
        except Exception:  # whatever it is, it is a failure of the case
            tally.failures[number] = traceback.format_exc()
        tally.slowest = max(tally.slowest, time.monotonic() - started)
    tally.memory = memory.grown
    return tally


def _work(pipe: Connection, at: Any, began: Any) -> None:
    """Run the batches that come, until there are no more; what C libraries say goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESSES, used + _ADDRESSES))
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(run(pipe.recv(), began, at))


class Worker:
    """A process that runs batches of one kind, one at a time."""

    def __init__(self, batch: Batch) -> None:
        self._at, self._began = _SPAWN.Value("q", -1, lock=False), _SPAWN.Value("d", math.inf, lock=False)
        self.pipe, other = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(other, self._at, self._began), daemon=True)
        self._process.start()
        other.close()
        self.begin(batch)

    def begin(self, batch: Batch) -> None:
        """Run a batch."""
        self.batch = batch
        self._began.value = math.inf
        self.pipe.send(batch)

    def result(self) -> Tally | None:
        """What the batch came to, or None where the process died of it."""
        try:
            tally: Tally = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return tally

    @property
    def at(self) -> int:
        """The number of its case."""
        return max(self.batch.first, int(self._at.value))

    def takes_more_than(self, seconds: float) -> bool:
        """Whether its case does."""
        return time.monotonic() - float(self._began.value) > seconds

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def run_all(batches: Iterable[Batch], processes: int, seconds: float = SECONDS) -> Iterator[tuple[Batch, Tally]]:
    """Run batches in so many processes; each, or the one case that a process died of or hung in, with its tally."""
    waiting = deque(batches)
    workers: list[Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < processes:
                workers.append(Worker(waiting.popleft()))
            ready = wait([worker.pipe for worker in workers], timeout=1)
            for worker in list(workers):
                hangs = worker.takes_more_than(seconds)
                if worker.pipe not in ready and not hangs:
                    continue
                batch = worker.batch
                if tally := worker.result() if worker.pipe in ready else None:
                    yield batch, tally
                    if waiting and waiting[0].kind == batch.kind:
                        worker.begin(waiting.popleft())
                        continue
                else:  # what it did is not known, and done again
                    number, why = worker.at, f"it took more than {seconds} s" if hangs else "the process died of it"
                    left = (batch._replace(end=number), batch._replace(first=number + 1))
                    waiting.extendleft(part for part in left if part.first < part.end)
                    yield batch._replace(first=number, end=number + 1), Tally(failures={number: why})
                worker.end()
                workers.remove(worker)
    finally:
        for worker in workers:
            worker.end()


def batches_of(kind: str, seed: int, first: int, cases: int) -> Iterator[Batch]:
    """So many cases of a kind from the number `first` on, in batches."""
    for start in range(first, first + cases, _BATCH):
        yield Batch(kind, seed, start, min(start + _BATCH, first + cases))
