"""Cases that end as none should, for the test of what finds such cases."""

import ctypes
import time
from random import Random
from typing import Final

from aae_zoo.runtime.errors import InvalidInput
from fuzzing.memory import at_most

REFUSAL: Final = InvalidInput
# How a case may end.
ENDS: Final = ("well", "refused", "refused at length", "error", "memory", "crash", "hang")


def case(random: Random) -> None:
    """One case, which ends as chance has it."""
    match random.choice(ENDS):
        case "refused":
            raise InvalidInput("this is refused")
        case "refused at length":
            raise InvalidInput("x" * 3000)
        case "error":
            raise KeyError("nobody caught this")
        case "memory":
            with at_most(1 << 24):
                bytearray(b"x" * (1 << 26))
        case "crash":
            ctypes.string_at(0)
        case "hang":
            time.sleep(3600)
