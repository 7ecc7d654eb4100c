"""What a model takes: images and codes, checked at the boundary so that a mistake is named where it was made."""

from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.manifest import ImageShape

_BITS_OF_ONE: Final = 0x3F800000
_FLOAT32: Final = np.dtype(np.float32)
_FEW: Final = 64


def check_images(images: Any, shape: ImageShape) -> NDArray[np.float32]:
    """Images as contiguous float32 [n, C, H, W] in [0, 1].

    Takes floats in [0, 1] or uint8 in 0..255, of shape [n, C, H, W] or, for gray images, [n, H, W].

    Raises:
        InvalidInput: wrong rank, size, dtype or range, a NaN, or no image at all.
    """
    array = np.asarray(images)
    if array.ndim == 3 and shape.channels == 1:
        array = array[:, None]
    if array.ndim != 4 or array.shape[1:] != shape.axes or len(array) == 0:
        raise InvalidInput(f"the images have shape {list(np.shape(images))}, expected [n, {_axes(shape)}] with n >= 1")
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    array = _float32(array, "images", "uint8 or floats in [0, 1]")
    # One pass instead of two: as unsigned integers, the bits of all floats in [0, 1] are at most those of 1, and
    # those of NaN, infinity and whatever is larger or negative are above (so are those of -0, hence the second look).
    if np.maximum.reduce(array.view(np.uint32), axis=None) > _BITS_OF_ONE:
        _check_range(array)
    return array


def check_codes(values: Any, size: int, name: str) -> NDArray[np.float32]:
    """Codes (or noise) as contiguous float32 [n, size]; `name` is that of the graph's input.

    Raises:
        InvalidInput: wrong rank, size or dtype, a value that is not finite, or no row at all.
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != size or len(array) == 0:
        raise InvalidInput(f"{name} has shape {list(array.shape)}, expected [n, {size}] with n >= 1")
    array = _float32(array, name, "finite floats")
    if not _all_finite(array):
        bad = array[~np.isfinite(array)][0]
        raise InvalidInput(f"{name} holds {bad}, expected finite floats")
    return array


def check_classes(values: Any, classes: int) -> NDArray[np.float32]:
    """Classes as contiguous float32 [n, classes]: class numbers, integers [n], become one-hot rows.

    Raises:
        InvalidInput: a number that is no class, or as for `check_codes`.
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0:
        return check_codes(values, classes, "y")
    if array.min() < 0 or array.max() >= classes:
        raise InvalidInput(f"y holds the classes {array.min()} to {array.max()}, expected 0 to {classes - 1}")
    return np.asarray(np.eye(classes, dtype=np.float32)[array])


def _check_range(images: NDArray[np.float32]) -> None:
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # also false for NaN
        found = "NaN" if np.isnan(low) or np.isnan(high) else f"values from {low:g} to {high:g}"
        raise InvalidInput(f"the images have {found}, expected [0, 1]; divide by the largest value, or pass uint8")


def _all_finite(array: NDArray[np.float32]) -> bool:
    """Whether all numbers are finite; for a few, Python is faster than numpy, and counts beside a run of 0.1 ms."""
    if array.size <= _FEW:
        return all(map(isfinite, array.ravel().tolist()))
    return bool(np.isfinite(array).all())


def _float32(array: NDArray[Any], name: str, expected: str) -> NDArray[np.float32]:
    if array.dtype is _FLOAT32 and array.flags.c_contiguous:
        return array
    if array.dtype.kind != "f":
        raise InvalidInput(f"{name} has dtype {array.dtype}, expected {expected}")
    return np.ascontiguousarray(array, dtype=np.float32)


def _axes(shape: ImageShape) -> str:
    return ", ".join(map(str, shape.axes))
