"""Where training shows its numbers and pictures while it runs: TensorBoard, or another tracker through accelerate.

A run's own log and pictures are kept beside it, whatever the tracker.
"""

import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from PIL import Image

from aae_zoo.runtime.errors import InvalidInput, MissingBackend, TrainingError
from aae_zoo.runtime.files import output_errors
from aae_zoo.zoo.training.run import Run

TRACKERS: Final = ("tensorboard", "wandb", "mlflow", "none")


class Tracker(Protocol):
    """What is told of a run; `step` is that of the last batch that it is about."""

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        """Show numbers, by name."""

    def picture(self, name: str, path: Path, step: int) -> None:
        """Show the picture in a PNG file."""

    def flush(self) -> None:
        """Have everything on the disk."""

    def close(self, *, failed: bool) -> None:
        """End it, as a run that failed or as one that is whole."""


def check_tracker(name: str) -> None:
    """Refuse a tracker that is not known, or not installed, before anything is trained.

    Raises:
        InvalidInput: there is no such tracker.
        MissingBackend: its package is not installed.
    """
    if name not in TRACKERS:
        raise InvalidInput(f"the tracker is {name!r}, expected one of {', '.join(TRACKERS)}")
    if name != "none" and find_spec(name) is None:
        raise MissingBackend(f"{name} is not installed; pip install {name}, or give --tracker none")


def open_tracker(name: str, run: Run, step: int) -> Tracker:
    """The tracker of a run that begins at a step.

    Raises:
        OutputError: TensorBoard's files cannot be written.
        TrainingError: another tracker cannot be started.
    """
    if name == "tensorboard":
        return TensorBoard(run.tensorboard, step)
    return Nothing() if name == "none" else Accelerated(name, run)


class Nothing:
    """No tracker."""

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        """Show no number."""

    def picture(self, name: str, path: Path, step: int) -> None:
        """Show no picture."""

    def flush(self) -> None:
        """Have nothing on the disk."""

    def close(self, *, failed: bool) -> None:
        """End nothing."""


class TensorBoard:
    """TensorBoard's files in a run's folder, of which what is before `step` is kept; PyTorch's own writer makes them.

    They are a part of the run: unlike another tracker's server, a disk that is full ends the training.

    Raises, as each method does:
        OutputError: a file cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder = folder
        _quiet_threads()
        with output_errors(folder):
            self._writer = SummaryWriter(str(folder), purge_step=step)

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers."""
        with output_errors(self.folder):
            for name, number in values.items():
                self._writer.add_scalar(name, number, step)

    def picture(self, name: str, path: Path, step: int) -> None:
        """Write a picture."""
        with Image.open(path) as picture, output_errors(self.folder):
            self._writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def flush(self) -> None:
        """Have everything on the disk."""
        with output_errors(self.folder):
            self._writer.flush()

    def close(self, *, failed: bool) -> None:  # noqa: ARG002
        """End the files, which say nothing of how training ended."""
        with output_errors(self.folder):
            self._writer.close()


@cache
def _quiet_threads() -> None:
    """Have no traceback of what ends a thread of TensorBoard's: its writer raises that again when it is called next.

    For as long as the process lives: trainings in several threads end in any order.
    """
    usual = threading.excepthook

    def report(ended: threading.ExceptHookArgs) -> None:
        if not type(ended.thread).__module__.startswith("tensorboard."):
            usual(ended)

    threading.excepthook = report


class Accelerated:
    """A tracker of accelerate's, in the project or experiment "aae-zoo"; a resumed run is another run there.

    What goes wrong there after the start is warned of once: training goes on without the tracker.

    Raises:
        TrainingError: it cannot be started.
    """

    def __init__(self, name: str, run: Run) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        self.name = name
        settings: dict[str, Any] = {"wandb": {"name": run.recipe.name}, "mlflow": {"run_name": run.recipe.name}}[name]
        self._tracker: Any = None
        try:
            tracker = LOGGER_TYPE_TO_CLASS[name]("aae-zoo", **settings)
            tracker.start()
            self._tracker = tracker
            tracker.store_init_configuration(_flat(run.recipe.model_dump(mode="json")))
        except Exception as error:  # of any kind: each tracker has its own
            self._leave()
            raise TrainingError(
                f"{name} cannot be started ({_line(error)}); see its own documentation, or give another --tracker"
            ) from None

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers."""
        self._try(lambda tracker: tracker.log(dict(values), step=step))

    def picture(self, name: str, path: Path, step: int) -> None:
        """Log a picture: as an image where the tracker shows them, else as a file of the run's."""

        def log(tracker: Any) -> None:
            if hasattr(tracker, "log_images"):
                with Image.open(path) as picture:
                    tracker.log_images({name: [np.asarray(picture.convert("RGB"))]}, step=step)
            else:
                tracker.log_artifact(str(path), artifact_path="pictures")

        self._try(log)

    def flush(self) -> None:
        """Leave it to the tracker."""

    def close(self, *, failed: bool) -> None:
        """End the run there."""
        self._try(lambda tracker: self._end(tracker, failed=failed))

    def _try(self, work: Callable[[Any], None]) -> None:
        if self._tracker is None:
            return
        try:
            work(self._tracker)
        except Exception as error:  # of any kind: a server that is gone must not end days of training
            self._leave()
            said = f"{self.name} failed ({_line(error)}); training goes on without it"
            warnings.warn(said, RuntimeWarning, stacklevel=2)

    def _leave(self) -> None:
        """End what began there, for MLflow begins no run beside another; one that was there before is the user's."""
        tracker, self._tracker = self._tracker, None
        with suppress(Exception):
            if tracker is not None:
                self._end(tracker, failed=True)

    def _end(self, tracker: Any, *, failed: bool) -> None:
        """End the run; accelerate itself ends every one as whole."""
        if not failed:
            tracker.finish()
        elif self.name == "wandb":
            tracker.tracker.finish(exit_code=1)
        else:
            import mlflow

            mlflow.end_run("FAILED")


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The settings of tables in tables, as table.name; lists as text."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + name] = value if isinstance(value, str | int | float | None) else str(value)
    return flat


def _line(error: Exception) -> str:
    """The first line of what went wrong."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
