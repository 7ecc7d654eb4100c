"""Nearest neighbours in code space: which images of a set are most like an image, as the model sees them."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput, whole

# So many numbers are worked on at a time, 8 MB: a distance to each other code, and the codes of the neighbours.
_NUMBERS: Final = 1 << 20


class Neighbours(NamedTuple):
    """For each code, nearest first, both [n, k]: the numbers of its neighbours, and their Euclidean distances."""

    numbers: NDArray[np.int64]
    distances: NDArray[np.float32]

    def __repr__(self) -> str:
        return f"<Neighbours {list(self.numbers.shape)}>"

    def columns(self, names: Sequence[str], among: Sequence[str]) -> dict[str, Sequence[Any]]:
        """A row for each pair, with the names of both: columns image, rank, nearest and distance."""
        count, k = self.numbers.shape
        return {
            "image": [name for name in names for _ in range(k)],
            "rank": list(range(1, k + 1)) * count,
            "nearest": [among[number] for number in self.numbers.ravel().tolist()],
            "distance": self.distances.ravel().tolist(),
        }


def nearest_codes(z: NDArray[np.float32], among: NDArray[np.float32], k: int) -> Neighbours:
    """The `k` nearest of codes `among` [m, latent] to each code z [n, latent].

    Raises:
        InvalidInput: `k` is no whole number, below 1 or above m.
    """
    k = whole(k, "k")
    if not 1 <= k <= len(among):
        raise InvalidInput(f"k is {k}, expected 1 to {len(among)}, the number of images to choose from")
    rows, b = max(1, _NUMBERS // max(len(among), k * among.shape[1])), among.astype(np.float64)
    squares = (b * b).sum(1)
    parts = [_nearest(z[start : start + rows], b, squares, k) for start in range(0, len(z), rows)]
    return Neighbours(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _nearest(z: NDArray[np.float32], b: NDArray[np.float64], squares: NDArray[np.float64], k: int) -> Neighbours:
    a = z.astype(np.float64)
    squared = (a * a).sum(1)[:, None] + squares - 2 * a @ b.T
    numbers = np.sort(np.argpartition(squared, k - 1, axis=1)[:, :k], axis=1)
    # Once more for the few that are returned: the sum above loses the digits of small distances.
    distances = np.linalg.norm(a[:, None] - b[numbers], axis=2)
    order = np.argsort(distances, axis=1, kind="stable")
    ordered = np.take_along_axis(distances, order, axis=1).astype(np.float32)
    return Neighbours(np.take_along_axis(numbers, order, axis=1), ordered)
