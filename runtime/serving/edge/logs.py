"""What the service says on stderr: errors, and no more of them than a person reads."""

import logging
import time
from typing import Final

# The most records in so many seconds.
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
