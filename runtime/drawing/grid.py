"""Images as what sample and decode write: one picture of all, a file for each, or arrays."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime.drawing.saving import BLOCK, png_text, save_arrays, write_file
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.files import atomic_folder, check_free, check_space
from aae_zoo.runtime.formats.arrays import MOST
from aae_zoo.runtime.formats.stream import Stream
from aae_zoo.runtime.words import agreeing

_GRID_WIDTH: Final = 480

# Images, or those that a stream gives batch by batch.
Results = NDArray[np.float32] | Stream


def is_picture(output: str) -> bool:
    """Whether images go into one picture by the output's name: name.png, or - for stdout."""
    return output == "-" or Path(output).suffix.lower() == ".png"


def save_images(images: Results, output: str, *, columns: int | None = None, gap: int = 2) -> None:
    """Write images [n, C, H, W] in [0, 1]: name.png one grid, folder/ one file each, .npy or .npz arrays, - to stdout.

    `columns` and `gap` are those of the grid. A stream is never held whole, but as the bytes of a grid.

    Raises:
        InvalidInput: the output has a suffix that is none of these, or a grid would have more than MOST pixels.
        OutputError: it cannot be written, or the disk has no space for it.
    """
    check_images(output)
    path, suffix = Path(output), Path(output).suffix.lower()
    if is_picture(output):
        check_pixels(math.prod(images.shape), images.shape[0])
        save_picture(grid(images, columns, gap=gap), output)
    elif suffix in (".npy", ".npz"):
        if isinstance(images, Stream):
            images.save(path)
        else:
            save_arrays({"image": images}, output)
    else:
        check_space(path, images.shape[0] * BLOCK)
        with atomic_folder(path) as folder:
            width = max(4, len(str(images.shape[0] - 1)))
            for number, pixels in enumerate(_each(images)):
                Image.fromarray(pixels).save(folder / f"{number:0{width}}.png")


def check_images(output: str) -> None:
    """Refuse an output that `save_images` would, before minutes of work.

    Raises:
        InvalidInput: it is neither a picture's, nor arrays', nor a folder's.
        OutputError: it is a folder's, where something stands.
    """
    path = Path(output)
    is_folder = output and (output.endswith("/") or not path.suffix or path.is_dir())
    if is_picture(output) or path.suffix.lower() in (".npy", ".npz"):
        return
    if not is_folder:
        ending = path.suffix or "nothing"
        raise InvalidInput(f"the output {output} ends in {ending}, expected .png, .npy, .npz, a folder/ or -")
    check_free(path, None)


def check_pixels(pixels: int, images: int, instead: str = "an .npy file") -> None:
    """Refuse a picture that is too large to be looked at, before any of it is worked out; `instead` mends it.

    Raises:
        InvalidInput: it would have more than MOST pixels.
    """
    if pixels > MOST:
        of = f"{images} {agreeing(images, 'image', 'images')}"
        raise InvalidInput(f"a picture of {of} has {pixels} pixels, expected at most {MOST}; write {instead}")


def save_picture(picture: Image.Image, output: str) -> None:
    """Write a picture as PNG, which says that aae-zoo wrote it.

    Raises:
        OutputError: it cannot be written.
    """
    write_file(output, lambda stream: picture.save(stream, "PNG", pnginfo=png_text()))


def grid(images: Results, columns: int | None = None, *, gap: int = 2, scale: int | None = None) -> Image.Image:
    """All images in one picture, row by row, by default as square as can be, small ones enlarged by a whole factor.

    Raises:
        InvalidInput: enlarged, it would have more than MOST pixels.
    """
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    colours = () if channels == 1 else (channels,)
    canvas = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, *colours), np.uint8)
    for number, image in enumerate(_each(images)):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        canvas[top : top + height, left : left + width] = image
    picture = Image.fromarray(canvas)
    factor = scale or max(1, round(_GRID_WIDTH / picture.width))
    check_pixels(picture.width * picture.height * factor**2, count)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images [n, C, H, W] in [0, 1] as bytes [n, H, W] for gray, [n, H, W, C] for colour."""
    pixels = np.rint(images * 255).astype(np.uint8)
    return pixels[:, 0] if pixels.shape[1] == 1 else np.moveaxis(pixels, 1, -1)


def _each(images: Results) -> Iterator[NDArray[np.uint8]]:
    for part in images if isinstance(images, Stream) else [images]:
        yield from to_uint8(part)
