"""How what users give becomes images of a model: what the model's manifest says of pictures, and what users ask for."""

import operator
import re
import warnings
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION, ImageShape, Manifest, Preparation
from aae_zoo.runtime.errors import InvalidInput

Invert = Literal["auto", "yes", "no"]

# Of whole numbers of 64 bits at most, as arrays hold: Python refuses to read those of thousands of digits.
_RANGE: Final = re.compile(r"(\d{1,19})\.\.(\d{1,19})")
# A ground is a border of which three quarters are on one side of mid-gray, and from which something stands out by so
# much. Of MNIST's and Fashion-MNIST's 140,000 images none has a light ground by this, and 99.9 % have a dark one.
_MOST_OF_BORDER: Final = 0.75
_APART: Final = 0.2
_STANDS_OUT: Final = 0.01  # the share of the pixels inside that does


class How(TypedDict, total=False):
    """What users ask for.

    resize  take images of any size
    invert  "yes" turns dark into light, "auto" where an image's ground is not that of the model's images, "no" never;
            None does not either, but warns where "auto" would turn
    range   the pair of raw values that become 0 and 1, for whole numbers or files that use a part of what they can hold
    """

    resize: bool
    invert: Invert | None
    range: tuple[int, int] | None


@dataclass(frozen=True)
class Plan:
    """How pictures and arrays become images of a shape; see `How` for what users ask for.

    Raises:
        InvalidInput: `invert` or `range` is not valid.
    """

    shape: ImageShape
    preparation: Preparation = USUAL_PREPARATION
    resize: bool = False
    invert: Invert | None = None
    range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.invert is not None and self.invert not in get_args(Invert):
            raise InvalidInput(f"invert is {self.invert!r}, expected auto, yes or no")
        if self.range is not None:
            object.__setattr__(self, "range", _pair(self.range))

    @classmethod
    def of(cls, manifest: Manifest, how: How) -> Self:
        """The plan for a model."""
        return cls(manifest.image, manifest.preparation, **how)

    @property
    def looks_at_grounds(self) -> bool:
        """Whether it matters on which ground an image is."""
        return self.preparation.polarity != "any" and self.invert in ("auto", None)


class Notices:
    """What is to be said of what is given: of each kind the first alone, for it stands for all of them.

    It is said as a warning; where nobody would read one, `quiet`, it is only in `sentences`. `filled` says that a
    picture has about as many values as its file can hold.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.sentences: dict[str, str] = {}
        self.filled = False
        self._quiet = quiet

    def say(self, kind: str, sentence: str) -> None:
        """Say something, unless something of this kind was said before."""
        if kind in self.sentences:
            return
        self.sentences[kind] = sentence
        if not self._quiet:
            warnings.warn(sentence, RuntimeWarning, stacklevel=2)

    def tell(self) -> None:
        """Say once, as warnings, what was quietly noticed of many; dim pictures among others are only dark or flat."""
        quiet, self._quiet = self._quiet, False
        for kind, sentence in self.sentences.items() if quiet else ():
            if kind != "range" or not self.filled:
                warnings.warn(sentence, RuntimeWarning, stacklevel=2)


def parse_range(text: str | None) -> tuple[int, int] | None:
    """A range as the command line and the service take it: 0..4095.

    Raises:
        InvalidInput: it is not a range.
    """
    if text is None:
        return None
    found = _RANGE.fullmatch(text)
    low, high = map(int, found.groups()) if found else (0, 0)
    if low >= high:
        raise InvalidInput(f"the range is {text[:80]!r}, expected the values of black and white such as 0..4095")
    return low, high


def on_light(gray: NDArray[Any]) -> NDArray[np.bool_]:
    """Which images are on a light ground, [n]; `gray` is [n, height, width] in [0, 1]."""
    edges = np.concatenate([gray[:, 0], gray[:, -1], gray[:, 1:-1, 0], gray[:, 1:-1, -1]], axis=1)
    light = (edges > 0.5).mean(axis=1) > _MOST_OF_BORDER
    if light.any():
        darkest = np.quantile(gray[light].reshape(int(light.sum()), -1), _STANDS_OUT, axis=1)
        light[light] = np.median(edges[light], axis=1) - darkest > _APART
    return np.asarray(light)


def turned(gray: NDArray[Any], plan: Plan, notices: Notices, names: "Names") -> NDArray[np.bool_]:
    """Which images, as `on_light` takes them, are to be inverted; what is done, or could be, is said once."""
    if plan.invert == "yes" or not plan.looks_at_grounds:
        return np.full(len(gray), plan.invert == "yes")
    known, other = plan.preparation.polarity, "light" if plan.preparation.polarity == "dark" else "dark"
    wrong = on_light(gray if known == "dark" else 1 - gray)
    if wrong.any():
        what = f"{names[int(wrong.argmax())]} is on a {other} ground, and the model's images are on a {known} one"
        if plan.invert == "auto":
            notices.say("ground", f"{what}: such images are inverted (--invert no, over HTTP invert=no, leaves them)")
        else:
            notices.say("ground", f"{what}; invert='auto' inverts such images, invert='no' takes them as they are")
    return wrong if plan.invert == "auto" else np.zeros(len(gray), bool)


class Names:
    """What images are called in sentences: by their numbers, or the one name that is given."""

    def __init__(self, first: int = 0, name: str | None = None) -> None:
        self._first, self._name = first, name

    def __getitem__(self, number: int) -> str:
        return self._name or f"image {self._first + number}"


def _pair(value: Any) -> tuple[int, int]:
    """A range as a pair of Python's integers, whatever pair of whole numbers it is given as."""
    try:
        low, high = map(operator.index, value)
    except (TypeError, ValueError):  # no pair, or not of whole numbers
        low = high = 0
    if isinstance(value, str | bytes | set | dict) or not 0 <= low < high < 1 << 64:
        raise InvalidInput(
            f"range is {value!r}, expected two whole numbers below 2^64, the smaller one first: (0, 4095)"
        )
    return low, high
