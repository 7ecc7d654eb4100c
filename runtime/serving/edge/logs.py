"""What the service says on stderr: errors, and no more of them than a person reads."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# The most records that are said in some seconds.
MOST: Final = 10
SECONDS: Final = 60.0


class Few(logging.Filter):
    """Lets MOST records through in SECONDS; the first of the next ones says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._since, self._said, self._left_out = -SECONDS, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is said."""
        now = time.monotonic()
        if now - self._since > SECONDS:
            if self._left_out:
                record.msg, record.args = f"({self._left_out} more were left out) {record.getMessage()}", ()
            self._since, self._said, self._left_out = now, 0, 0
        self._said += 1
        self._left_out += self._said > MOST
        return self._said <= MOST


def say_few_errors() -> None:
    """Have errors of every kind, asyncio's and uvicorn's too, said on stderr, and few of them."""
    handler = logging.StreamHandler()
    handler.addFilter(Few())
    logging.basicConfig(handlers=[handler], level=logging.ERROR, format="%(levelname)s: %(message)s")


@contextmanager
def only_python_says_errors() -> Iterator[None]:
    """Meanwhile leave stderr to Python alone: what libraries in C write goes nowhere.

    libtiff says of every row of a damaged picture that it is damaged, past all logging, and nothing turns that off.
    """
    before, own = sys.stderr, os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = own
    try:
        yield
    finally:  # `own` stays open: handlers of logging have it
        sys.stderr = before
        os.dup2(own.fileno(), 2)
