"""Images of every kind that users have, converted to what a model takes, some rows at a time.

Arrays of numpy, torch, or anything with `__array__` or DLPack; uint8, or floats in [0, 1]; channels first or last;
gray or colour; lists of Pillow images.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.arrays import FLOAT32, as_array, contiguous_float32

if TYPE_CHECKING:
    from PIL.Image import Image

_BITS_OF_ONE: Final = 0x3F800000
_UINT32: Final = np.dtype(np.uint32)
# Pillow's weights of red, green and blue in gray, of 65,536 (ITU-R BT.601), so that arrays become what pictures do.
_LUMA: Final = (19595, 38470, 7471)
# EXIF's tag of how a picture is held, and what turns each value but 1, upright, into that (Pillow's Transpose).
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


class Images:
    """Images that a user gives; `rows` converts some of them.

    With `resize` they may be of any size, and pictures of different sizes; without it, another size is refused.

    Raises:
        InvalidInput: wrong rank, size or dtype, or no images.
    """

    def __init__(self, images: Any, shape: ImageShape, *, resize: bool = False) -> None:
        self.shape, self._resize = shape, resize
        self._pictures = _pictures(images)
        if self._pictures:
            self._count = len(self._pictures)
            return
        array = as_array(images, "the images")
        if array.shape[1:] != shape.axes or len(array) == 0:
            array = _channels_first(array, shape, resize)
        if array.dtype.kind != "f" and array.dtype != np.uint8:
            raise InvalidInput(f"the images have dtype {array.dtype}, expected uint8 or floats in [0, 1]")
        self._array, self._count = array, len(array)

    def __len__(self) -> int:
        return self._count

    def rows(self, part: slice) -> NDArray[np.float32]:
        """The images `part` as contiguous float32 [rows, C, H, W] in [0, 1].

        Raises:
            InvalidInput: a value outside [0, 1], or a NaN.
        """
        if self._pictures:
            numbers = range(*part.indices(self._count))
            return _unit(np.stack([self._pixels(number) for number in numbers]))
        array = self._array[part]
        is_float = array.dtype.kind == "f"
        if is_float:
            array = contiguous_float32(array)
            check_range(array)
        if array.shape[1:] != self.shape.axes:
            array = _resized(_coloured(array, self.shape.channels), self.shape)
        return array if is_float else _unit(array)

    def _pixels(self, number: int) -> NDArray[np.uint8]:
        return to_pixels(self._pictures[number], self.shape, f"picture {number}", resize=self._resize)


def check_images(images: Any, shape: ImageShape, *, resize: bool = False) -> NDArray[np.float32]:
    """Images of any kind as contiguous float32 [n, C, H, W] in [0, 1].

    Raises:
        InvalidInput: wrong rank, size, dtype or range, a NaN, or no images.
    """
    given = Images(images, shape, resize=resize)
    return given.rows(slice(0, len(given)))


def is_plain(images: Any, axes: tuple[int, int, int]) -> TypeGuard[NDArray[np.float32]]:
    """Whether images are what a graph takes, except perhaps for their range: only `check_range` is left to do."""
    return (
        type(images) is np.ndarray
        and images.dtype is FLOAT32
        and images.shape[1:] == axes
        and images.flags.c_contiguous
        and len(images) > 0
    )


def check_range(images: NDArray[np.float32]) -> None:
    """Refuse contiguous images with a number outside [0, 1].

    Raises:
        InvalidInput: a value outside [0, 1], or a NaN.
    """
    # One pass instead of two: as unsigned integers, the bits of all floats in [0, 1] are at most those of 1, and
    # those of NaN, infinity and anything larger or negative are above (so are those of -0, hence the second look).
    # argmax has less to set up than max, and in one dimension; that counts beside a run of 0.06 ms.
    bits = images.ravel().view(_UINT32)
    if bits.item(bits.argmax()) <= _BITS_OF_ONE:
        return
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # also false for NaN
        found = "NaN" if np.isnan(low) or np.isnan(high) else f"values from {low:g} to {high:g}"
        raise InvalidInput(f"the images have {found}, expected [0, 1]; divide by the largest value, or pass uint8")


def to_pixels(picture: "Image", shape: ImageShape, name: str, *, resize: bool) -> NDArray[np.uint8]:
    """A picture as uint8 [C, H, W], upright, gray or colour as the model needs; `name` is said in errors.

    Raises:
        InvalidInput: it is of another size than the model's, and `resize` is false.
    """
    return fitted(*converted(picture, shape), shape, name, resize=resize)


def converted(picture: "Image", shape: ImageShape) -> tuple["Image", int | None]:
    """A picture in gray or colour, as the model needs it, and how it is to be turned (Pillow's Transpose), if it is.

    Turned after that it takes less memory, least where the caller has let go of the picture that was given.
    """
    turn = _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    mode = "L" if shape.channels == 1 else "RGB"
    return picture if picture.mode == mode else picture.convert(mode), turn


def fitted(picture: "Image", turn: int | None, shape: ImageShape, name: str, *, resize: bool) -> NDArray[np.uint8]:
    """A converted picture, turned, as uint8 [C, H, W].

    Raises:
        InvalidInput: as for `to_pixels`.
    """
    from PIL import Image  # slow to import, and drawing does not need it

    upright = picture if turn is None else picture.transpose(Image.Transpose(turn))
    if not resize:
        check_size(upright.size, shape, name)
    size = (shape.width, shape.height)
    pixels = np.asarray(upright if upright.size == size else upright.resize(size, Image.Resampling.LANCZOS))
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def check_size(size: tuple[int, int], shape: ImageShape, name: str, *, turned: bool = False) -> None:
    """Refuse a picture of another width and height than the model's; `turned` may be the other way round.

    Raises:
        InvalidInput: it is of another size.
    """
    expected = (shape.width, shape.height)
    if size != expected and not (turned and size == expected[::-1]):
        raise InvalidInput(
            f"{name} is {size[0]} x {size[1]} pixels, expected {expected[0]} x {expected[1]}; "
            "resize it, or ask for it (--resize, in Python resize=True, over HTTP resize=true)"
        )


def _pictures(images: Any) -> "Sequence[Image]":
    """The Pillow images that a user gave, if that is what they are, without importing Pillow."""
    if type(images) is np.ndarray:
        return []
    given = images if isinstance(images, list | tuple) else [images]
    is_picture = [hasattr(image, "getbands") and hasattr(image, "convert") for image in given[:1]]
    return given if any(is_picture) else []


def _channels_first(array: NDArray[Any], shape: ImageShape, resize: bool) -> NDArray[Any]:
    """Images as [n, channels, height, width], a view, of whatever layout fits the model best.

    The model's own number of channels goes before the other of 1 and 3, and channels first before channels last.
    """
    images = array[:, None] if array.ndim == 3 and shape.channels == 1 else array
    known = (shape.channels, 4 - shape.channels) if shape.channels in (1, 3) else (shape.channels,)
    for channels in known if images.ndim == 4 and images.size else ():
        for axis in (1, 3):
            moved = np.moveaxis(images, axis, 1)
            if moved.shape[1] == channels and (resize or moved.shape[2:] == shape.axes[1:]):
                return moved
    raise _wrong_shape(array, shape)


def _wrong_shape(array: NDArray[Any], shape: ImageShape) -> InvalidInput:
    axes = ", ".join(map(str, shape.axes))
    return InvalidInput(
        f"the images have shape {list(array.shape)}, expected [n, {axes}] with n >= 1, the channels first or last, "
        "or resize=True for another size"
    )


def _coloured(array: NDArray[Any], channels: int) -> NDArray[Any]:
    """Gray images from colour ones or the other way round, [n, channels, height, width], uint8 or float32."""
    if array.shape[1] == channels:
        return array
    if channels == 3:
        return np.repeat(array, 3, axis=1)
    red, green, blue = (array[:, i : i + 1] for i in range(3))
    if array.dtype == np.uint8:
        total = sum(c.astype(np.uint32) * w for c, w in zip((red, green, blue), _LUMA, strict=True)) + 0x8000
        return (np.asarray(total, np.uint32) >> 16).astype(np.uint8)
    weights = [np.float32(w / 65536) for w in _LUMA]
    return np.minimum(red * weights[0] + green * weights[1] + blue * weights[2], np.float32(1))


def _resized(array: NDArray[Any], shape: ImageShape) -> NDArray[Any]:
    """Images [n, C, height, width], uint8 or float32, of the model's height and width, as pictures are resized."""
    if array.shape[2:] == shape.axes[1:]:
        return np.ascontiguousarray(array)
    from PIL import Image

    size = (shape.width, shape.height)
    planes = np.ascontiguousarray(array).reshape(-1, *array.shape[2:])
    resized = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS)) for plane in planes]
    values = np.stack(resized).reshape(len(array), *shape.axes)
    return values if values.dtype == np.uint8 else values.clip(0, 1)  # Lanczos overshoots edges


def _unit(array: NDArray[np.uint8]) -> NDArray[np.float32]:
    floats = array.astype(np.float32, order="C")
    floats /= np.float32(255)
    return floats
