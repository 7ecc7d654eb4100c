"""CUDA records the work of a stream only while nobody waits for the whole card; who records, and who runs, takes turns.

ONNX Runtime waits for the card where it opens and frees sessions and where some runs end. While any stream of the
process is being recorded CUDA refuses that, spoils the record, and leaves an error behind that ONNX Runtime finds after
the next operator that the thread runs, whatever that is. Other libraries record too, PyTorch for one: what they
disturb is done again.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

# CUDA's own library beside the driver, which keeps the last error of each thread.
_RUNTIMES: Final = ("libcudart.so.13", "libcudart.so.12")
# Seconds until something is done again that a record of another library's disturbed: one takes some milliseconds.
_PAUSES: Final = (0.0, 0.02, 0.2)


class Turns:
    """`with turns:` nothing is recorded; any number of threads may be in there. `recording()` has it to itself."""

    def __init__(self) -> None:
        # What is freed anywhere in Python may want to enter, in here too: so one thread may take it twice.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._recorder: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            while self._recorder not in (None, threading.get_ident()):
                self._changed.wait()
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1

    @property
    def are_taken(self) -> bool:
        """Whether somebody is in there, or records, so that nothing can be recorded now."""
        return self._inside > 0 or self._recorder is not None

    @contextmanager
    def recording(self) -> Iterator[bool]:
        """Record alone, where that is possible at once: whether it is. Nobody waits for a record to be possible."""
        with self._lock:
            mine = not self.are_taken
            if mine:
                self._recorder = threading.get_ident()
        try:
            yield mine
        finally:
            if mine:
                with self._lock:
                    self._recorder = None
                    self._changed.notify_all()


TURNS: Final = Turns()


def undisturbed(work: Callable[..., T], *given: Any) -> T:
    """What ONNX Runtime's work on a card gives, done while nothing is recorded here.

    Work that a record disturbed, or the error that one has left behind, is done again.

    Raises:
        Exception: the work's.
    """
    for pause in _PAUSES:
        with TURNS:
            try:
                return work(*given)
            except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
                if "captur" not in str(error).lower():  # as in all of CUDA's texts and names of such errors
                    raise
                forget_error()
        time.sleep(pause)
    with TURNS:
        return work(*given)


def forget_error() -> None:
    """Forget this thread's last error, in whichever of CUDA's libraries are loaded."""
    for name in _RUNTIMES:
        with suppress(OSError, AttributeError):  # not loaded, or a system that cannot say so
            ctypes.CDLL(name, os.RTLD_NOLOAD).cudaGetLastError()
