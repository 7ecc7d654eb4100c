"""Where an image is unlike its reconstruction: the squared error of each pixel, smoothed."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

# The standard deviation of the smoothing, as a share of an image's shorter side, and how many of them it reaches.
_BLUR: Final = 1 / 40
_REACH: Final = 3
# So many times R, the usual squared error of an image, is the local one where an image is odd: about one in a hundred
# validation images of the shipped models reaches it somewhere.
LOCAL: Final = 10.0

Figures = NDArray[np.float32]


def local_error(images: Figures, again: Figures) -> Figures:
    """The maps [n, 1, H, W] of images [n, C, H, W] and their reconstructions: the squared error around each pixel.

    It is the mean over the channels, smoothed by a Gaussian that sees the border's pixels repeated beyond it.
    """
    error = np.square(again - images).mean(1, keepdims=True)
    kernel = _gaussian(_BLUR * min(error.shape[2:]))
    return _smoothed(_smoothed(error, kernel, 2), kernel, 3)


def _gaussian(deviation: float) -> Figures:
    reach = max(1, round(_REACH * deviation))
    weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / deviation))
    return np.asarray(weights / weights.sum(), np.float32)


def _smoothed(values: Figures, kernel: Figures, axis: int) -> Figures:
    size, reach = values.shape[axis], len(kernel) // 2
    around = [(reach, reach) if a == axis else (0, 0) for a in range(values.ndim)]
    padded, total = np.pad(values, around, mode="edge"), np.zeros_like(values)
    for start, weight in enumerate(kernel):
        total += weight * padded.take(range(start, start + size), axis)
    return total
