"""A row of the table: what is wanted, and what measures it. Groups of rows run in processes of their own."""

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

# A row that takes longer than this is given up.
SECONDS = 120


class Missed(AssertionError):
    """What was measured is not what is wanted."""

    def __init__(self, measured: str, figures: Mapping[str, Any] | None = None) -> None:
        super().__init__(measured)
        self.figures = dict(figures or {})


@dataclass(frozen=True)
class Measured:
    """What a row found, as text, and the figures behind it for the tables of the documentation."""

    text: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """`measure` gives what was measured, and raises `Missed` or any other error where it is not what is wanted."""

    name: str
    wanted: str
    measure: Callable[[], Measured | str]


def judged(row: Row) -> dict[str, Any]:
    """The row as the table and the JSON have it, whatever goes wrong in it."""
    started = time.perf_counter()
    figures: Mapping[str, Any] = {}
    try:
        with _at_most(SECONDS):
            found = row.measure()
        measured, held = (found, True) if isinstance(found, str) else (found.text, True)
        figures = {} if isinstance(found, str) else found.figures
    except AssertionError as error:
        measured, held = str(error) or _place(error), False
        figures = getattr(error, "figures", {})
    except Exception as error:  # the other rows go on
        measured, held = f"{type(error).__name__}: {' '.join(str(error).split())[:300]} ({_place(error)})", False
    seconds = round(time.perf_counter() - started, 1)
    return {
        "row": row.name,
        "measured": measured,
        "wanted": row.wanted,
        "ok": held,
        "seconds": seconds,
        "figures": dict(figures),
    }


def held(ok: bool, text: str, figures: Mapping[str, Any] | None = None) -> Measured:
    """What was measured, where it is what is wanted.

    Raises:
        Missed: it is not.
    """
    if not ok:
        raise Missed(text, figures)
    return Measured(text, figures or {})


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename.rsplit('/', 1)[-1]}:{last.lineno}"


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
