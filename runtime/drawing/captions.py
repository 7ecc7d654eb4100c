"""Pictures that compare images: rows of them, with captions at the left of each row and below each image."""

import functools
import math
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from aae_zoo.runtime.drawing.grid import check_pixels, to_uint8

# In pixels: the least width of an image, what rows are filled up to, and the most that a caption at the left has.
_IMAGE: Final = 96
_ROW: Final = 1000
_LEFT: Final = 160
_GAP: Final = 10
_TEXT: Final = 14
_LINE: Final = 17
_PAPER: Final = 255
_INK: Final = 32

# The lines of text below an image.
Lines = tuple[str, ...]


class Row(NamedTuple):
    """Images [n, C, H, W] in [0, 1] side by side, what they are, and the lines below each; no lines for none."""

    caption: str
    images: NDArray[np.float32]
    below: Sequence[Lines] = ()


def columns(shape: tuple[int, int, int]) -> int:
    """How many images of a shape (C, H, W) make a row that is easily looked at."""
    return max(1, _ROW // (shape[2] * _factor(shape[2]) + _GAP))


def check_rows(images: int, shape: tuple[int, int, int], lines: int, instead: str = "an .npy file") -> None:
    """Refuse, before it is worked out, a picture of `images` images with `lines` lines below each that is too large.

    The message says what to write `instead`.

    Raises:
        InvalidInput: it would have more than MOST pixels.
    """
    channels, height, width = shape
    factor = _factor(width)
    place = (height * factor + lines * _LINE + _GAP) * (width * factor + _GAP)
    check_pixels(images * channels * place, images, instead)


def draw_rows(rows: Sequence[Row]) -> Image.Image:
    """Rows of images of one shape (C, H, W), from top to bottom, each image enlarged by a whole factor.

    The captions are cut to their place, and have a ? for every character that the font does not have.
    """
    channels, height, width = rows[0].images.shape[1:]
    size = width * _factor(width), height * _factor(width)
    captions = [_fitted(row.caption, _LEFT) for row in rows]
    widest = max(map(_length, captions))
    left = _GAP + (widest + _GAP if widest else 0)
    heights = [size[1] + _LINE * max(map(len, row.below), default=0) + _GAP for row in rows]
    right = left + max(len(row.images) for row in rows) * (size[0] + _GAP)
    mode, paper = ("L", _PAPER) if channels == 1 else ("RGB", (_PAPER,) * 3)
    picture = Image.new(mode, (right, _GAP + sum(heights)), paper)
    top = _GAP
    for caption, row, below in zip(captions, rows, heights, strict=True):
        _write(picture, caption, (left - _GAP, top + size[1] // 2), "rm")
        _draw_row(picture, row, (left, top), size)
        top += below
    return picture


def _draw_row(picture: Image.Image, row: Row, corner: tuple[int, int], size: tuple[int, int]) -> None:
    left, top = corner
    for number, pixels in enumerate(to_uint8(row.images)):
        picture.paste(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST), (left, top))
        for line, text in enumerate(row.below[number] if row.below else ()):
            middle = left + size[0] // 2, top + size[1] + _LINE * line + _LINE // 2 + 1
            _write(picture, _fitted(text, size[0]), middle, "mm")
        left += size[0] + _GAP


def _write(picture: Image.Image, text: str, place: tuple[int, int], anchor: str) -> None:
    ink = _INK if picture.mode == "L" else (_INK,) * 3
    ImageDraw.Draw(picture).text(place, text, ink, _font(), anchor)


def _factor(width: int) -> int:
    return max(1, math.ceil(_IMAGE / width))


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """The font that comes in Pillow, from 10.1 on, wherever there is FreeType, which all of its wheels have."""
    font = ImageFont.load_default(_TEXT)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101 - it is, with a size
    return font


def _fitted(text: str, width: int) -> str:
    """Text that the font has and that is at most `width` wide; the middle of a longer one is left out."""
    text = "".join(map(_known, text))
    if _length(text) <= width:
        return text
    kept = bisect_right(range(1, len(text)), width, key=lambda kept: _length(_ends(text, kept)))
    return _ends(text, kept)


def _length(text: str) -> int:
    return math.ceil(_font().getlength(text))


def _ends(text: str, kept: int) -> str:
    return f"{text[: math.ceil(kept / 2)]}…{text[len(text) - kept // 2 :]}"


def _known(character: str) -> str:
    """A character as the font has it, which is ASCII: without its accents, or ? for any other."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    return plain if all(" " <= c <= "~" for c in plain) else "?"
