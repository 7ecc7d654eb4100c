"""Maps of where pictures are odd: in each picture's own size, and as heat over the pictures."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime.drawing.grid import to_uint8
from aae_zoo.runtime.drawing.saving import BLOCK, png_text
from aae_zoo.runtime.files import atomic_folder, check_space
from aae_zoo.runtime.formats.images import Images
from aae_zoo.runtime.latent.score import Figures, Scores, joined

# The colours of a map's values of 0 and of 1 and more, how much of the picture they cover, and from which value on.
_WEAK: Final = np.array([255, 200, 0], np.float32)
_STRONG: Final = np.array([215, 0, 40], np.float32)
_COVER: Final = 0.85
_COVERING: Final = 0.4
# How many rows of a picture are put under heat at a time.
_ROWS: Final = 64
# What file systems take for a name, in bytes.
_LONGEST: Final = 255


class Maps(Sequence[Figures]):
    """The maps of images, each float32 [height, width] in the size of the picture that was given: 0 is not odd.

    They are worked out when they are asked for, from maps in the model's size, `values` [n, 1, H, W], and from the
    pictures, which are looked at again; `start` is the number of the first among all `images`.
    """

    def __init__(self, values: Figures, images: Images, start: int = 0) -> None:
        self.values = values
        self._images, self._start = images, start

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        return self.values[number, 0] if self._images.original is None else self._with_picture(number)[1]

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Pickled, they are a list: pictures may be elsewhere by then."""
        return list, (list(self),)

    def overlay(self, number: int) -> Image.Image:
        """The picture in gray, in its own size, under its map as heat: yellow where that is weak, red where strong."""
        picture, heat = self._with_picture(number)
        gray, pixels = np.asarray(picture.convert("L")), np.empty((*heat.shape, 3), np.uint8)
        for top in range(0, len(heat), _ROWS):  # a large picture's floats would take many times its memory
            rows = slice(top, top + _ROWS)
            pixels[rows] = _heated(gray[rows], heat[rows])
        return Image.fromarray(pixels)

    def overlays(self) -> Figures:
        """All overlays of images of one size, [n, 3, H, W] in [0, 1]."""
        pixels = np.stack([np.asarray(self.overlay(number)) for number in range(len(self))])
        return np.moveaxis(pixels, -1, 1).astype(np.float32) / np.float32(255)

    def _with_picture(self, number: int) -> tuple[Image.Image, Figures]:
        values, place = self.values[number, 0], self._start + number
        if self._images.original is None:
            return Image.fromarray(to_uint8(self._images.rows(slice(place, place + 1)))[0]), values
        picture, where = self._images.original(place)
        return picture, values if where is None else where.back(values, picture.size)


def _heated(gray: NDArray[np.uint8], heat: Figures) -> NDArray[np.uint8]:
    """Some rows of an overlay."""
    strength = np.clip(heat, 0, 1)[..., None]
    cover = _COVER * np.minimum(1, strength / _COVERING)
    pixels = gray.astype(np.float32)[..., None] * (1 - cover)
    pixels = pixels + (_WEAK + (_STRONG - _WEAK) * strength) * cover
    rounded: NDArray[np.uint8] = np.rint(pixels).astype(np.uint8)
    return rounded


def save_overlays(scored: Iterable[Scores], names: Sequence[str], output: Path) -> Scores:
    """Write the overlays of scores with maps, which come part by part, into a new folder; return all scores, without.

    Each is a PNG file called as its picture is.

    Raises:
        OutputError: the folder exists already or cannot be written, or the disk has no space for it.
    """
    check_space(output, len(names) * BLOCK)
    parts, ours = [], png_text()
    with atomic_folder(output) as folder:
        each = _file_names(names)
        for part in scored:
            maps = part.maps
            assert isinstance(maps, Maps)  # noqa: S101 - as was asked for
            for number in range(len(maps)):
                maps.overlay(number).save(_free(folder / next(each)), "PNG", pnginfo=ours)
            parts.append(joined([part]))
    return joined(parts)


def _file_names(names: Sequence[str]) -> Iterator[str]:
    width = max(4, len(str(len(names) - 1)))
    for name in names:
        name = name.zfill(width) if name.isdecimal() else name
        yield name if name.lower().endswith(".png") else _as_png(name)


def _as_png(name: str) -> str:
    """The name with .png after its suffix, or where that is too long in its place."""
    longer = f"{name}.png"
    return longer if len(os.fsencode(longer)) <= _LONGEST else f"{Path(name).stem}.png"


def _free(path: Path) -> Path:
    """The path, or one beside it where another picture's file has its name: a.jpg and a.jpg.png become the same."""
    while path.exists():
        path = path.with_name(f"_{path.name}")
    return path
