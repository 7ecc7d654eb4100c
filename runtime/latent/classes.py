"""Classes: what the probabilities y [n, classes] of a categorical head say."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_SHOWN: Final = 8


class Classes(NamedTuple):
    """The most probable class of each image: its name, its number int64 [n] and its probability float32 [n]."""

    names: list[str]
    numbers: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    def __repr__(self) -> str:
        names = ", ".join(self.names[:_SHOWN]) + (", ..." if len(self.names) > _SHOWN else "")
        return f"<Classes [{len(self.names)}]: {names}>"

    def counts(self, name: str = "label") -> dict[str, list[Any]]:
        """How many images each class has that has any, in the order of the classes: columns `name` and images."""
        counts = Counter(name for _, name in sorted(zip(self.numbers.tolist(), self.names, strict=True)))
        return {name: list(counts), "images": list(counts.values())}


def most_probable(y: NDArray[np.float32], labels: Sequence[str]) -> Classes:
    """The most probable of the classes `labels` by each row of probabilities y [n, classes], the first of equals."""
    numbers = y.argmax(1)
    return Classes([labels[number] for number in numbers], numbers, y[np.arange(len(y)), numbers])
