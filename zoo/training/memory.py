"""The memory of training: what a step frees, the next one asks for again."""

import ctypes
import sys
from typing import Final

# glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_GIBIBYTE: Final = 1 << 30


def keep_memory() -> None:
    """Let this process keep freed memory instead of giving it back to the system, where its malloc is glibc's.

    Activations are large enough for malloc to map each of them anew, and the system then clears every page: a fifth
    of the time of a convolutional network's step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _GIBIBYTE)
        mallopt(_M_TRIM_THRESHOLD, _GIBIBYTE)
