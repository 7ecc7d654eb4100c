"""What can be promised of false alarms: how many there were, between which bounds their share lies, and of how many."""

import math
from dataclasses import dataclass
from typing import Final

from scipy.stats import binomtest

from aae_zoo.runtime.errors import InvalidInput

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Alarms:
    """How many of some pictures were anomalous, and between which shares that says new ones will be (`CONFIDENCE`)."""

    found: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share that was found."""
        return self.found / self.of


def alarms(found: int, of: int) -> Alarms:
    """The exact binomial interval (Clopper and Pearson, "The use of confidence or fiducial limits", 1934)."""
    bounds = binomtest(found, of).proportion_ci(CONFIDENCE, method="exact")
    return Alarms(found, of, float(bounds.low), float(bounds.high))


def enough_for(share: float) -> int:
    """How many pictures it takes, none of which is a false alarm, to say that no more than this share will be.

    As many as make their all being ordinary unlikely: (1 - share)^n is at most 1 - `CONFIDENCE`.
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-share))


def parse_share(text: str) -> float:
    """A share as the command line takes it: 0.5% or 0.005.

    Raises:
        InvalidInput: it is not a share, or not above 0 and at most a half.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = math.nan
    return check_share(share, text) if not rest else check_share(math.nan, text)


def check_share(share: float, said: object = None) -> float:
    """The share itself.

    Raises:
        InvalidInput: it is NaN, or not above 0 and at most a half.
    """
    if not 0 < share <= 0.5:
        found = repr(share if said is None else said)[:80]
        raise InvalidInput(f"the share of false alarms is {found}, expected more than 0 and at most 50% such as 0.5%")
    return share


def percent(share: float) -> str:
    """A share as people read it: 0.5 %."""
    return f"{100 * share:.3g} %"
