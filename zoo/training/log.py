"""What training tells while it runs: log.jsonl and pictures/, and the same numbers and pictures for a tracker."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Self

from PIL.Image import Image

from aae_zoo.runtime.errors import CheckpointError, OutputError
from aae_zoo.runtime.files import append_plain, atomic_file, output_errors
from aae_zoo.zoo.training.run import Run
from aae_zoo.zoo.training.stored import parse_row, read_file
from aae_zoo.zoo.training.trackers import open_tracker


class Log:
    """A run's log, continued at a step. As a context, it ends the tracker's run as failed where an error ends it.

    Of log.jsonl `size` bytes are kept, and for TensorBoard what is before `step`: the rest belongs to an epoch
    that will be trained again. `tracker` is one of `TRACKERS`.

    Raises:
        CheckpointError: what is to be kept of log.jsonl is damaged.
        TrainingError: the tracker cannot be started.

    Raises, as each method does:
        OutputError: a file cannot be written.
    """

    def __init__(self, run: Run, *, step: int, size: int, tracker: str = "tensorboard") -> None:
        self.run = run
        for path in (run.log, run.tensorboard, run.pictures):
            if path.is_symlink():
                raise OutputError(f"{path} is a link, expected what the run itself has written; remove the link")
        with output_errors(run.log), append_plain(run.log) as stream:
            if stream.tell() < size:
                raise self._damaged(f"it has {stream.tell()} bytes, expected {size} or more")
            stream.truncate(size)
        for _ in self.rows():  # damage is said now, and not when an epoch has been trained
            pass
        self._tracker = open_tracker(tracker, run, step)

    @property
    def size(self) -> int:
        """The size of log.jsonl in bytes, at which a resumed run continues."""
        return self.run.log.stat().st_size

    def batch(self, row: Mapping[str, Any]) -> None:
        """Log one batch: a row with its `step`."""
        self._write("batch", row, row["step"])

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Log one epoch: a row whose `step` is that of the next batch. The tracker has it at the epoch's last."""
        self._write("epoch", row, row["step"] - 1)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Everything that is in log.jsonl.

        Raises:
            CheckpointError: it is damaged.
        """
        with output_errors(self.run.log):
            lines = read_file(self.run.log).splitlines()
        for number, line in enumerate(lines, 1):
            try:
                yield parse_row(line)
            except ValueError as error:
                raise self._damaged(f"line {number}: {error}") from None

    def _damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self.run.log} is damaged ({reason}); train again into another folder")

    def picture(self, name: str, picture: Image, *, epoch: int, step: int) -> None:
        """Write pictures/<name>-<epoch>.png; `step` is as for `epoch`."""
        path = self.run.pictures / f"{name}-{epoch:04}.png"
        with atomic_file(path) as temporary:
            picture.save(temporary)
        self._tracker.picture(name, path, step - 1)

    def flush(self) -> None:
        """Have everything on the disk."""
        self._tracker.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.close(failed=error is not None)

    def close(self, *, failed: bool = False) -> None:
        """End the log."""
        self._tracker.close(failed=failed)

    def _write(self, group: str, row: Mapping[str, Any], step: int) -> None:
        with output_errors(self.run.log), self.run.log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        self._tracker.numbers({f"{group}/{name}": number for name, number in _numbers(row)}, step)


class NoLog:
    """The log of a process that is not the main one, which alone writes: it keeps nothing."""

    size = 0

    def batch(self, row: Mapping[str, Any]) -> None:
        """Log no batch."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Log no epoch."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Nothing."""
        return iter(())

    def picture(self, name: str, picture: Image, *, epoch: int, step: int) -> None:
        """Write no picture."""

    def flush(self) -> None:
        """Have nothing on the disk."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End nothing."""


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a row by name, those of a table in it as table/name; lists are left to log.jsonl."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", number) for inner, number in _numbers(value))
        elif isinstance(value, int | float) and name != "step":
            yield name, value
