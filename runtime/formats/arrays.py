"""Arrays that users give: of any library, as numpy's; codes and classes, checked where a mistake was made."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import words_of

# Arrays by the names of a graph's inputs or outputs, all with as many rows.
Arrays = dict[str, NDArray[np.float32]]

# The most bytes that one file may become. A telephone's photograph of 48 megapixels takes 0.98 GB as lossy WebP, the
# dearest, and 0.3 GB as JPEG.
MOST: Final = 1 << 30

_UINT32: Final = np.dtype(np.uint32)
_INT32: Final = np.dtype(np.int32)
# The bits of the largest float, and the bit of a sign: as unsigned integers, the bits of NaN, infinity and of negative
# numbers are above the largest.
_LARGEST: Final = 0x7F7FFFFF
_SIGN: Final = 0x80000000
_DLPACK_CUDA: Final = 2
FLOAT32: Final = np.dtype(np.float32)
_FEW: Final = 16


def as_array(values: Any, name: str) -> NDArray[Any]:
    """A numpy array from an array of any library: torch, or anything that has `__array__` or DLPack; not copied.

    Torch's tensors leave their graph and their device, CuPy's arrays their card, and no library is imported.

    Raises:
        InvalidInput: it cannot be made into one array.
    """
    if type(values) is np.ndarray:
        return values
    if callable(getattr(values, "cpu", None)):  # torch's: numpy takes neither those that need gradients nor a GPU's
        values = values.detach().cpu()
    try:
        if callable(get := getattr(values, "get", None)) and lies_on_card(values):  # CuPy's
            return np.asarray(get())
        if hasattr(values, "__dlpack__") and not hasattr(values, "__array__"):
            return np.from_dlpack(values)
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        if lies_on_card(values):
            raise InvalidInput(
                f"{name} {'lie' if name.endswith('s') else 'lies'} on a GPU, and the library does not bring arrays to "
                "the host by itself; load the model with device='cuda', or give a numpy array"
            ) from None
        reason = words_of(error)
        raise InvalidInput(f"{name} cannot be made an array ({reason}); give a numpy array on the CPU") from None


def lies_on_card(values: object) -> bool:
    """Whether an array of any library lies on a card of NVIDIA's; numpy's are told apart at once."""
    if type(values) is np.ndarray:
        return False
    if callable(place := getattr(values, "__dlpack_device__", None)):
        return int(place()[0]) == _DLPACK_CUDA
    return isinstance(getattr(values, "__cuda_array_interface__", None), dict)


def check_codes(values: Any, size: int, name: str) -> NDArray[np.float32]:
    """Codes, floats or whole numbers, as contiguous float32 [n, size]; `name` is that of the graph's input.

    Raises:
        InvalidInput: wrong rank or size, no numbers, a value that is not finite, or no rows.
    """
    array = as_array(values, name)
    shape = array.shape
    if len(shape) != 2 or shape[1] != size or shape[0] == 0:
        raise InvalidInput(f"{name} has shape {list(shape)}, expected [n, {size}] with n >= 1")
    if array.dtype is not FLOAT32 and array.dtype.kind not in "fiub":
        raise InvalidInput(f"{name} has dtype {array.dtype}, expected finite floats")
    array = contiguous_float32(array)
    if not _all_finite(array):
        bad = array[~np.isfinite(array)][0]
        raise InvalidInput(f"{name} holds {bad}, expected finite floats")
    return array


def check_noise(values: Any, size: int) -> NDArray[np.float32]:
    """Noise u as contiguous float32 [n, size], each number in the open interval (0, 1).

    Raises:
        InvalidInput: a number outside (0, 1), or as for `check_codes`.
    """
    noise = check_codes(values, size, "u")
    if not (noise.min() > 0 and noise.max() < 1):
        raise InvalidInput(f"u has values from {noise.min():g} to {noise.max():g}, expected the open interval (0, 1)")
    return noise


def check_classes(values: Any, widths: Sequence[int]) -> NDArray[np.float32]:
    """Classes as contiguous float32 [n, classes], those of each attribute after those of the one before it.

    `widths` are how many values each attribute has. Their numbers, integers [n, attributes], become one-hot rows, as
    do those of one attribute [n].

    Raises:
        InvalidInput: a number that is not a class, or as for `check_codes`.
    """
    array, size = as_array(values, "y"), sum(widths)
    if array.dtype.kind not in "iu":
        if array.ndim == 1:
            found = f"shape {list(array.shape)} and dtype {array.dtype}"
            raise InvalidInput(f"y has {found}, expected [n, {size}], or the numbers of classes, as integers")
        return check_codes(array, size, "y")
    numbers = array[:, None] if array.ndim == 1 else array
    if numbers.shape[1:] != (len(widths),) or len(numbers) == 0 or array.shape[1:] == (size,):
        return check_codes(array, size, "y")
    for column, classes in zip(numbers.T, widths, strict=True):
        if column.min() < 0 or column.max() >= classes:
            raise InvalidInput(f"y holds the classes {column.min()} to {column.max()}, expected 0 to {classes - 1}")
    each = zip(numbers.T, widths, strict=True)
    return np.concatenate([np.eye(classes, dtype=np.float32)[column] for column, classes in each], axis=1)


def check_output(out: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array of the caller's that results are written into: float32, contiguous, writeable, of this shape.

    Of a subclass such as numpy.memmap it is the plain array of the same memory.

    Raises:
        InvalidInput: it is not.
    """
    if not isinstance(out, np.ndarray) or out.dtype != FLOAT32 or out.shape != shape:
        found = f"{out.dtype} {list(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
        raise InvalidInput(f"out is {found}, expected a numpy array float32 {list(shape)}")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise InvalidInput("out is read-only or not contiguous, expected an array such as numpy.empty makes")
    return np.asarray(out)


def contiguous_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """Real numbers as contiguous float32: the array itself where it is that already."""
    if array.dtype is FLOAT32 and array.flags.c_contiguous:
        return array
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as that
        return np.ascontiguousarray(array, dtype=np.float32)


def is_number(values: NDArray[np.float32]) -> bool:
    """Whether none of an array's values is NaN, which `argmax` takes for the largest.

    It has less to set up than `is_finite`, which counts beside a run of 0.03 ms.
    """
    largest = values.item(values.argmax())
    return largest == largest  # NaN alone is not


def is_finite(values: NDArray[np.float32]) -> bool:
    """Whether all numbers of a contiguous array are finite: by their bits, in one pass if none is negative, or in two.

    argmax has less to set up than max, and takes a fifth of the time of isfinite on images. As unsigned integers the
    bits of negative numbers are above all others, as signed ones below; those of NaN and infinity are the largest of
    either sign.
    """
    flat = values.ravel()
    bits = flat.view(_UINT32)
    largest = bits.item(bits.argmax())
    if largest <= _LARGEST:
        return True
    positive = flat.view(_INT32)
    return _SIGN <= largest <= _SIGN + _LARGEST and positive.item(positive.argmax()) <= _LARGEST


def _all_finite(array: NDArray[np.float32]) -> bool:
    """Whether all numbers are finite; for a few, Python is faster than numpy, and counts beside a run of 0.1 ms."""
    if array.size <= _FEW:
        return all(map(isfinite, array.ravel().tolist()))
    return is_finite(array)
