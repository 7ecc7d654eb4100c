"""Uniform noise for the prior: the same numbers for a seed on every machine and in every numpy."""

import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput, whole

_STEP: Final = 2.0**-24
_MAX_COUNT: Final = 1 << 31
_BORDER: Final = 2.0**-12


def uniform_noise(count: int, size: int, seed: int, start: int = 0) -> NDArray[np.float32]:
    """Uniform noise [count, size] in the open interval (0, 1): rows `start` to `start + count` of the seed's.

    The raw 64-bit stream of the counter-based generator Philox4x64-10 with the seed as its key (Salmon et al.,
    "Parallel random numbers: as easy as 1, 2, 3", SC 2011), which numpy promises never to change, unlike the
    streams of its distributions. The top 23 bits k of each number give (2 k + 1) / 2^24, which float32 holds
    exactly, so that neither 0 nor 1 occurs. Blocks of four numbers are counted from 1.

    Raises:
        InvalidInput: `count` is below 1 or above 2^31, or `seed` not in [0, 2^64).
    """
    check_draw(count, seed)
    blocks, skipped = divmod(start * size, 4)
    raw = np.random.Philox(key=seed, counter=blocks).random_raw(skipped + count * size)[skipped:]
    odd = (raw >> np.uint64(40)) | np.uint64(1)
    return (odd.astype(np.float32) * np.float32(_STEP)).reshape(count, size)


def check_draw(count: int, seed: int) -> None:
    """Check a number of samples and a seed.

    Raises:
        InvalidInput: one is not a whole number, `count` is below 1 or above 2^31, or `seed` not in [0, 2^64).
    """
    whole(count, "the number of samples")
    whole(seed, "the seed")
    if not 1 <= count <= _MAX_COUNT:
        raise InvalidInput(f"the number of samples is {count}, expected 1 to {_MAX_COUNT}")
    if not 0 <= seed < 1 << 64:
        raise InvalidInput(f"the seed is {seed}, expected a whole number from 0 to 2^64 - 1")


def chosen_seed(seed: int | None) -> int:
    """The seed itself, or where it is None another one each time."""
    return int.from_bytes(os.urandom(8)) if seed is None else seed


def choose_label(noise: NDArray[np.float32], coordinate: int, label: int | NDArray[np.int64], classes: int) -> None:
    """Move a coordinate of the noise, in place, into the interval of a class: u = (label + u) / classes.

    `label` is the number of the class of all rows, or of each [n].

    It stays a little away from the borders, so that float32's rounding of u * classes, here or in the graph, never
    reaches the next class (seen for up to 1,000 classes).
    """
    inside = _BORDER + (1 - 2 * _BORDER) * noise[:, coordinate].astype(np.float64)
    noise[:, coordinate] = (label + inside) / classes


def percentile_grid(side: int) -> NDArray[np.float32]:
    """A regular grid of noise [side * side, 2]: the centres of side x side cells, row by row from the top.

    The first coordinate grows to the right, the second upwards, as in a plot of the code.
    """
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    rows, columns = np.meshgrid(centres[::-1], centres, indexing="ij")
    return np.stack([columns.ravel(), rows.ravel()], axis=1)
