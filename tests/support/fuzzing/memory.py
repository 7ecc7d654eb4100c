"""How much memory a piece of work takes at most."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_RESET: Final = Path("/proc/self/clear_refs")

# The most bytes by which a piece of work has made this process grow, since somebody set it to 0.
grown = 0


@contextmanager
def at_most(bound: int) -> Iterator[None]:
    """Hold what is done inside to so many bytes of resident memory beyond those from before; on Linux alone.

    Raises:
        AssertionError: it took more.
    """
    global grown
    if not _RESET.exists():
        yield
        return
    _RESET.write_text("5")  # the peak is what is there now (proc(5))
    before = _kilobytes("VmRSS")
    try:
        yield
    finally:
        taken = 1024 * (_kilobytes("VmHWM") - before)
        grown = max(grown, taken)
        assert taken <= bound, f"it took {taken} bytes of memory, expected at most {bound}"


def _kilobytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", _STATUS.read_text(), re.M)
    assert found
    return int(found[1])
