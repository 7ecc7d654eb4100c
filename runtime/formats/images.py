"""Images of every kind that users have, converted to what a model takes, some rows at a time.

Arrays of numpy, torch, or anything with `__array__` or DLPack; uint8, booleans, or floats in [0, 1]; channels first or
last; gray or colour; Pillow images, paths of picture files, and lists of all of these.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import line
from aae_zoo.runtime.formats.arrays import FLOAT32, as_array, contiguous_float32
from aae_zoo.runtime.formats.folders import PICTURE_SUFFIXES, Listing, check_file, list_pictures, none_readable
from aae_zoo.runtime.formats.plan import Names, Notices, Plan, turned

if TYPE_CHECKING:
    from PIL import Image

    from aae_zoo.runtime.formats.preparation import Original

_BITS_OF_ONE: Final = 0x3F800000
_UINT32: Final = np.dtype(np.uint32)
# How far sums of floats may be beyond 0 and 1.
_ROUNDING: Final = 1e-5
# Pillow's weights of red, green and blue in gray, of 65,536 (ITU-R BT.601), so that arrays become what pictures do.
_LUMA: Final = (19595, 38470, 7471)
# What is looked at of a large array at a time.
_LOOKED_AT: Final = 4096
# What `Images.batches` converts at a time.
_BATCH: Final = 64


# Of the paths of a folder's pictures those that are read.
Pick = Callable[[list[Path]], list[Path]]


@dataclass(repr=False)
class Images:
    """Images that a user gives, one for each of `names`; those that cannot be read are in `failed`, by name, with why.

    `rows` gives the images of a slice as contiguous float32 [n, C, H, W] in [0, 1], or raises InvalidInput: a value is
    outside [0, 1], or NaN. `left_out` says in words which files of a folder are not pictures. `original`, where images
    may be of another size, looks at one again as it was given.
    """

    names: Sequence[str]
    rows: Callable[[slice], NDArray[np.float32]]
    failed: dict[str, str] = field(default_factory=dict)
    left_out: str = ""
    original: "Callable[[int], Original] | None" = None

    def __len__(self) -> int:
        return len(self.names)

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """All images, some rows at a time.

        Raises:
            InvalidInput: as for `rows`.
        """
        for start in range(0, len(self), _BATCH):
            yield self.rows(slice(start, min(start + _BATCH, len(self))))

    def some(self, numbers: Sequence[int]) -> "Images":
        """The images of these numbers, in their order."""

        def rows(part: slice) -> NDArray[np.float32]:
            return np.concatenate([self.rows(slice(number, number + 1)) for number in numbers[part]])

        return Images([self.names[number] for number in numbers], rows)

    def __repr__(self) -> str:
        first, last = (line(self.names[number]) for number in (0, -1))
        return f"<Images [{len(self)}]: {first} to {last}, {len(self.failed)} failed>"


def as_images(given: Any, plan: Plan, notices: Notices | None = None) -> Images:
    """Images of any kind.

    Raises:
        InvalidInput: wrong rank, size or dtype, no images, a file that cannot be read, or images that were read already
            and are to be read in another way.
    """
    if isinstance(given, Images):
        _refuse_another_way(plan)
        return replace(given, rows=lambda part: _of_shape(given.rows(part), plan.shape))
    if isinstance(given, str | os.PathLike):
        return read_images(Path(given), plan, strict=True)
    items = given if isinstance(given, list | tuple) else [given]
    shapes = {str(getattr(item, "shape", None)) for item in items}
    if len(shapes) > 1 or any(_is_picture(item) or isinstance(item, str | os.PathLike) for item in items):
        return _from_items(items, plan)
    if items is given and items and getattr(items[0], "ndim", 0) == 2:  # gray images, not one in colour
        given = as_array(given, "the images")[:, None]
    return from_array(given, plan, notices)


def from_pixels(
    pixels: NDArray[np.uint8],
    names: Sequence[str],
    failed: dict[str, str],
    left_out: str = "",
    original: "Callable[[int], Original] | None" = None,
) -> Images:
    """Images of pictures that are prepared, uint8 [n, C, H, W]."""
    return Images(names, lambda part: _unit(pixels[part]), failed, left_out, original)


def from_array(given: Any, plan: Plan, notices: Notices | None = None) -> Images:
    """Images of an array of any library, [n, C, H, W] or what can be seen as that.

    Raises:
        InvalidInput: wrong rank, size or dtype, no images, or bytes of 0 and 1, which mean black and almost black.
    """
    array = as_array(given, "the images")
    if not array.ndim:
        raise InvalidInput(
            f"the images are {type(given).__name__}, expected an array, a Pillow image, the path of one, or a list of "
            "these"
        )
    if array.shape[1:] != plan.shape.axes or len(array) == 0:
        array = _channels_first(array, plan)
    chosen = _range_of(array.dtype, plan)
    if chosen is None and array.dtype == np.uint8:
        _refuse_ones(array)
    told = notices or Notices()

    def rows(part: slice) -> NDArray[np.float32]:
        names = Names(part.indices(len(array))[0])
        return _fitted(_in_range(array[part], chosen), plan, told, names)

    def original(number: int) -> "Original":
        from aae_zoo.runtime.formats.preparation import original_of  # as in `_resized`

        image = _in_range(array[number : number + 1], chosen)
        return original_of(_planes(_coloured(image, plan.shape.channels)[0]), plan)

    return Images(_Numbers(len(array)), rows, original=original if plan.resize else None)


def read_images(path: Path, plan: Plan, *, strict: bool = False, pick: Pick | None = None) -> Images:
    """Read a picture, a folder of pictures (by name), an .npy or .npz array, an idx file or a .csv of pixels.

    A picture of a folder that cannot be read is among the `failed` ones; with `strict` it is an error. `pick` gives
    those of a folder's pictures that are read.

    Raises:
        InvalidInput: nothing is there, it is not a picture or an array, or none of the pictures can be read.
    """
    # These import Pillow, which is slow to import and which drawing does not need.
    from aae_zoo.runtime.formats.idx import is_idx, read_idx
    from aae_zoo.runtime.formats.pictures import read_array, read_original, read_picture
    from aae_zoo.runtime.formats.tables import is_csv, read_csv, refuse_parquet

    if os.path.isdir(path):
        return _read_folder(path, plan, strict=strict, pick=pick)
    check_file(path, "a picture, a folder of them, or an .npy, .npz, idx or .csv file")
    refuse_parquet(path)
    if path.suffix.lower() in (".npy", ".npz"):
        return from_array(read_array(path, ("image", "images")), plan)
    if is_idx(path):
        return from_array(read_idx(path), plan)
    if is_csv(path):
        return from_array(read_csv(path, plan.shape), plan)
    pixels = read_picture(path, plan, Notices())[None]
    return from_pixels(pixels, [path.name], {}, original=lambda _: read_original(path, plan))


def check_images(images: Any, plan: Plan, notices: Notices | None = None) -> NDArray[np.float32]:
    """Images of any kind as contiguous float32 [n, C, H, W] in [0, 1].

    Raises:
        InvalidInput: wrong rank, size, dtype or range, a NaN, or no images.
    """
    given = as_images(images, plan, notices)
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


def one_image(image: NDArray[np.float32]) -> Images:
    """An image [1, C, H, W] that `is_plain`.

    Raises:
        InvalidInput: as for `check_range`.
    """
    checked = check_range(image)
    return Images(("0",), lambda part: checked[part])


def check_range(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Contiguous images in [0, 1]: the array itself, unless a rounding is to be cut off.

    Raises:
        InvalidInput: a value outside [0, 1] by more than a rounding, or a NaN.
    """
    # One pass instead of two: as unsigned integers, the bits of all floats in [0, 1] are at most those of 1, and
    # those of NaN, infinity and anything larger or negative are above (so are those of -0, hence the second look).
    # argmax has less to set up than max, and in one dimension; that counts beside a run of 0.06 ms.
    bits = images.ravel().view(_UINT32)
    if bits.item(bits.argmax()) <= _BITS_OF_ONE:
        return images
    low, high = images.min(), images.max()
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:  # also false for NaN
        return np.asarray(images.clip(0, 1))
    if np.isnan(low) or np.isnan(high):
        raise InvalidInput("the images have NaN, expected [0, 1]; replace what is not a number")
    mend = (
        "they look normalised: undo the mean and std first (images * std + mean)"
        if low < 0
        else "divide by the value that is white, 255 for 8 bits"
    )
    raise InvalidInput(f"the images have values from {low:g} to {high:g}, expected [0, 1]; {mend}")


class _Numbers(Sequence[str]):
    """The names of images that have none: their numbers from 0."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        numbers = range(self._count)[number]
        return str(numbers) if isinstance(numbers, int) else list(map(str, numbers))


def _read_folder(folder: Path, plan: Plan, *, strict: bool, pick: Pick | None) -> Images:
    from aae_zoo.runtime.formats.pictures import read_original, read_picture

    listing, notices = list_pictures(folder), Notices(quiet=True)
    pictures = pick(listing.pictures) if pick else listing.pictures
    pixels = np.empty((len(pictures), *plan.shape.axes), np.uint8)
    names: list[str] = []
    failed: dict[str, str] = {}
    for path in pictures:
        try:
            pixels[len(names)] = read_picture(path, plan, notices)
            names.append(path.name)
        except InvalidInput as error:
            if strict:
                raise
            failed[path.name] = str(error)
    notices.tell()
    if names:
        again = lambda number: read_original(folder / names[number], plan)  # noqa: E731 - as of one picture
        return from_pixels(pixels[: len(names)], names, failed, listing.note, again)
    if failed:
        raise InvalidInput(none_readable(folder, failed))
    raise InvalidInput(f"the folder {folder} holds no picture, {_what_it_holds(folder, listing)}")


def _what_it_holds(folder: Path, listing: Listing) -> str:
    """What a folder without pictures has instead."""
    deeper = [*dict.fromkeys(picture.parent for picture in list_pictures(folder, folder.rglob("*")).pictures)]
    if len(deeper) > 1:
        return f"but {len(deeper)} folders in it do; give one of them at a time, first {deeper[0]}"
    if deeper:
        return f"but {deeper[0]} does; give that"
    return "; ".join(filter(None, [f"expected at least one of {', '.join(PICTURE_SUFFIXES)}", listing.note]))


def _is_picture(item: object) -> bool:
    """Whether something is a Pillow image, without importing Pillow."""
    return hasattr(item, "getbands") and hasattr(item, "convert")


def _from_items(items: Sequence[Any], plan: Plan) -> Images:
    """Images of a list of Pillow images, paths of picture files, and arrays of one image each."""
    notices = Notices(quiet=True)

    def rows(part: slice) -> NDArray[np.float32]:
        numbers = range(*part.indices(len(items)))
        images = np.stack([_from_item(items[number], plan, f"picture {number}", notices) for number in numbers])
        if len(items) - 1 in numbers:  # all have been seen, batch by batch
            notices.tell()
        return images

    names = [str(i) if isinstance(i, str | os.PathLike) else str(n) for n, i in enumerate(items)]
    return Images(names, rows, original=lambda number: _original_of_item(items[number], plan))


def _original_of_item(item: Any, plan: Plan) -> "Original":
    from aae_zoo.runtime.formats.pictures import read_original
    from aae_zoo.runtime.formats.preparation import original_of, original_of_picture

    if _is_picture(item):
        return original_of_picture(item, plan)
    if isinstance(item, str | os.PathLike):
        return read_original(Path(item), plan)
    array = as_array(item, "the images")
    given = from_array(array[None] if array.ndim == 3 else array[None, None], plan)
    if given.original:
        return given.original(0)
    return original_of(_planes(given.rows(slice(0, 1))[0]), plan)


def _from_item(item: Any, plan: Plan, name: str, notices: Notices) -> NDArray[np.float32]:
    if _is_picture(item):
        from aae_zoo.runtime.formats.pictures import picture_errors  # as in `read_images`
        from aae_zoo.runtime.formats.preparation import prepare

        with picture_errors(name):
            return _unit(prepare(item, plan, name, notices))
    if isinstance(item, str | os.PathLike):
        from aae_zoo.runtime.formats.pictures import read_picture

        return _unit(read_picture(Path(item), plan, notices))
    array = as_array(item, name)
    if array.ndim not in (2, 3):
        found = f"an array {list(array.shape)}" if array.ndim else type(item).__name__
        raise InvalidInput(f"{name} is {found}, expected a Pillow image, the path of one, or an array of one image")
    try:
        rows = from_array(array[None] if array.ndim == 3 else array[None, None], plan).rows(slice(0, 1))
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from None
    return np.asarray(rows[0])


def _channels_first(array: NDArray[Any], plan: Plan) -> NDArray[Any]:
    """Images as [n, channels, height, width], a view, of whatever layout fits the model best.

    The model's own number of channels goes before the other of 1 and 3, and channels first before channels last.
    """
    shape = plan.shape
    images = array[:, None] if array.ndim == 3 and shape.channels == 1 else array
    known = (shape.channels, 4 - shape.channels) if shape.channels in (1, 3) else (shape.channels,)
    for channels in known if images.ndim == 4 and images.size else ():
        for axis in (1, 3):
            moved = np.moveaxis(images, axis, 1)
            if moved.shape[1] == channels and (plan.resize or moved.shape[2:] == shape.axes[1:]):
                return moved
    raise _wrong_shape(array, shape)


def _wrong_shape(array: NDArray[Any], shape: ImageShape) -> InvalidInput:
    axes = ", ".join(map(str, shape.axes))
    return InvalidInput(
        f"the images have shape {list(array.shape)}, expected [n, {axes}] with n >= 1, the channels first or last, "
        "or resize=True for another size"
    )


def _range_of(dtype: "np.dtype[Any]", plan: Plan) -> tuple[int, int] | None:
    """Which raw values are black and white, or None where the dtype says so.

    Raises:
        InvalidInput: nothing says so, or the range is not one of such values.
    """
    if dtype == np.uint8 and plan.range and plan.range[1] > 255:
        raise InvalidInput(f"the images are uint8, from 0 to 255, of which the range {plan.range} says nothing")
    if plan.range and dtype.kind in "iuf":
        return plan.range
    if dtype.kind in "fb" or dtype == np.uint8:
        return None
    if dtype.kind in "iu" and plan.preparation.range:
        return plan.preparation.range
    raise InvalidInput(
        f"the images have dtype {dtype}, expected uint8, bool, or floats in [0, 1]; divide whole numbers by the one "
        "that is white, or give the range: (0, 4095) for 12 bits"
    )


def _refuse_ones(array: NDArray[np.uint8]) -> None:
    """Refuse bytes of 0 and 1 alone.

    Raises:
        InvalidInput: they are no others, and there are some of 1.
    """
    parts = (array[start : start + _LOOKED_AT] for start in range(0, len(array), _LOOKED_AT))
    if array.size >= 2 and not any(part.max() > 1 for part in parts) and array.any():
        raise InvalidInput(
            "the images are uint8 with no value above 1, which is almost black, where 255 is white; if 1 is white, "
            "multiply by 255 (images * 255), or give booleans or floats (images.astype(bool))"
        )


def _in_range(array: NDArray[Any], chosen: tuple[int, int] | None) -> NDArray[Any]:
    """Images as bytes, or as contiguous float32 in [0, 1].

    Raises:
        InvalidInput: a value outside [0, 1], or a NaN.
    """
    if chosen is not None:
        black, white = chosen
        array = ((array.astype(np.float64) - black) / (white - black)).clip(0, 1)
    if array.dtype == np.uint8:
        return array
    return check_range(contiguous_float32(array))


def _fitted(array: NDArray[Any], plan: Plan, notices: Notices, names: Names) -> NDArray[np.float32]:
    """Images of bytes or floats in the model's colours, size and polarity."""
    array = _coloured(array, plan.shape.channels)
    if array.shape[2:] != plan.shape.axes[1:]:
        return np.stack([_resized(image, plan, notices, names[number]) for number, image in enumerate(array)])
    images = array if array.dtype == FLOAT32 else _unit(array)
    if plan.invert == "yes" or plan.looks_at_grounds:
        gray = _coloured(images, 1)[:, 0] if plan.shape.channels == 3 else images[:, 0]
        inverted = turned(gray, plan, notices, names)
        if inverted.any():
            images = np.where(inverted[:, None, None, None], 1 - images, images)
    return np.ascontiguousarray(images)


def _of_shape(images: NDArray[np.float32], shape: ImageShape) -> NDArray[np.float32]:
    """Images that somebody has read, for this model or for another one.

    Raises:
        InvalidInput: for one of another shape.
    """
    if images.shape[1:] != shape.axes:
        raise InvalidInput(
            f"the images were read for a model of {list(images.shape[1:])}, expected {list(shape.axes)}; read them "
            "with read_images of this model"
        )
    return images


def _refuse_another_way(plan: Plan) -> None:
    """Refuse to read images again, of which raw values and grounds are not known any more.

    Raises:
        InvalidInput: the plan is to invert them, or has a range.
    """
    asked = {"range": plan.range, "invert": None if plan.invert == "no" else plan.invert}
    for name, value in asked.items():
        if value is not None:
            raise InvalidInput(f"{name}={value!r} comes too late for images that were read; give it to read_images")


def _planes(image: NDArray[Any]) -> "list[Image.Image]":
    """The planes of an image [C, height, width] of bytes or floats."""
    from PIL import Image

    return [Image.fromarray(np.ascontiguousarray(plane)) for plane in image]


def _resized(image: NDArray[Any], plan: Plan, notices: Notices, name: str) -> NDArray[np.float32]:
    """An image [C, height, width] of bytes or floats, made to fit as pictures are."""
    from aae_zoo.runtime.formats.preparation import fit

    fitted, inverted = fit(_planes(image), plan, name, notices)
    values = np.stack([np.asarray(plane) for plane in fitted])
    floats = _unit(values) if values.dtype == np.uint8 else values.clip(0, 1)  # Lanczos overshoots edges
    return np.asarray(1 - floats if inverted else floats)


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


def _unit(array: NDArray[np.uint8]) -> NDArray[np.float32]:
    floats = array.astype(np.float32, order="C")
    floats /= np.float32(255)
    return floats
