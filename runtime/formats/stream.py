"""Work on any number of rows in batches: collected into one result, or streamed without ever holding it all."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.files import atomic_file, check_space
from aae_zoo.runtime.formats.arrays import Arrays

# Gives the results of work that was begun, once they are there.
Finish = Callable[[], Arrays]
# Passes on the slices of all batches, and is told how many rows these are together.
Watcher = Callable[[Iterator[slice], int], Iterator[slice]]

_WATCHER: Final[ContextVar[Watcher | None]] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Have the batches of all work that has more than one go through `watcher`, which may tell how far it is."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


class Job(NamedTuple):
    """`rows` rows of work, `batch` at a time: `begin` starts the rows of a slice, into arrays where they are given.

    `outputs` are the results' names and the shapes of one row. A GPU has `ahead` batches begun before one is finished.
    `room` makes the arrays for results of some rows, where they are not to be numpy's.
    """

    rows: int
    batch: int
    outputs: Mapping[str, tuple[int, ...]]
    begin: Callable[[slice, Arrays | None], Finish]
    ahead: int = 0
    room: Callable[[int], Arrays] | None = None

    def step(self, part: slice, out: Arrays | None) -> Arrays:
        """The results of some rows."""
        return self.begin(part, out)()

    def collect(self, out: Arrays | None = None) -> Arrays:
        """All results by name; beyond them, memory for one batch is enough."""
        out = out or self._made(self.rows)
        if self.rows <= self.batch:
            return self.step(slice(0, self.rows), out)
        whole = out or {n: np.empty((self.rows, *shape), np.float32) for n, shape in self.outputs.items()}
        for _ in self._finished(lambda part: {name: values[part] for name, values in whole.items()}):
            pass
        return whole

    def batches(self) -> Iterator[Arrays]:
        """The results, batch by batch."""
        return self._finished(lambda part: self._made(part.stop - part.start))

    def _made(self, rows: int) -> Arrays | None:
        return self.room(rows) if self.room else None

    def _finished(self, out: Callable[[slice], Arrays | None]) -> Iterator[Arrays]:
        """Begin each batch, into the arrays `out` of its rows, and finish it when `ahead` more have begun."""
        begun: deque[Finish] = deque()
        for part in self.parts():
            begun.append(self.begin(part, out(part)))
            if len(begun) > self.ahead:
                yield begun.popleft()()
        while begun:
            yield begun.popleft()()

    def stream(self, name: str) -> "Stream":
        """The results called `name`, batch by batch."""
        return Stream(self, name)

    def parts(self) -> Iterator[slice]:
        """The rows of each batch."""
        starts = range(0, self.rows, self.batch)
        parts = (slice(start, min(start + self.batch, self.rows)) for start in starts)
        watcher = _WATCHER.get()
        return watcher(parts, self.rows) if watcher and len(starts) > 1 else parts


class Stream:
    """Results that are worked out while they are asked for: memory for one batch is enough.

    Iterating gives float32 arrays of some rows each, in order, every time from the beginning. `shape` is the shape of
    all together.
    """

    def __init__(self, job: Job, name: str) -> None:
        self._job, self._name = job, name
        self.shape: tuple[int, ...] = (job.rows, *job.outputs[name])

    def __repr__(self) -> str:
        return f"<Stream of {self._name}, float32 {list(self.shape)}>"

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for results in self._job.batches():
            yield results[self._name]

    def save(self, path: str | Path) -> None:
        """Write everything into one .npy file, or as the only array of an .npz file; it appears when it is complete.

        Raises:
            InvalidInput: the file's name ends in neither .npy nor .npz, or as for the work itself.
            OutputError: it cannot be written, or the disk has no space for it.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in (".npy", ".npz"):
            raise InvalidInput(f"the output {path} ends in {path.suffix or 'nothing'}, expected .npy or .npz")
        check_space(path, 4 * math.prod(self.shape))
        with atomic_file(path, links=True) as temporary, temporary.open("wb") as file:
            if suffix == ".npy":
                self._write(file)
            else:
                self._write_npz(file)

    def _write_npz(self, file: IO[bytes]) -> None:
        import zipfile  # slow to import, and nothing else needs it

        with (
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(f"{self._name}.npy", "w", force_zip64=True) as entry,
        ):
            self._write(entry)

    def _write(self, file: IO[bytes]) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for rows in self:
            file.write(np.ascontiguousarray(rows, "<f4").data)
