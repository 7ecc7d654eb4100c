"""How much memory a file takes once it is decoded, said by its header before any of that is spent."""

import io
import math
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from aae_zoo.runtime.bundles.manifest import ImageShape

# The most bytes that one file may become. A telephone's photograph of 48 megapixels takes 0.98 GB as lossy WebP, the
# dearest, and 0.3 GB as JPEG.
MOST: Final = 1 << 30
FORMATS: Final = ("PNG", "JPEG", "BMP", "GIF", "WEBP")

# Pillow's bytes a pixel, once it is decoded, in the modes that take fewer than four.
_PIXEL: Final = {"1": 1, "L": 1, "P": 1}
# libwebp keeps two canvases and works on a third; Pillow copies what it gives into bytes and those into a picture.
_WEBP_WORKING, _WEBP_PIXEL = 16, 12
# Lossless WebP has a set of Huffman tables for blocks of 16 pixels or more, each of which the file writes in at least
# 2.5 bytes and libwebp unpacks: a file of 300 KB took 370 MB.
_WEBP_TABLES: Final = 5_700
_WEBP_MOST_TABLES: Final = 1 << 16
# What Pillow unpacks at most of each compressed text or profile of a PNG file, and of all texts.
_PNG_TEXT: Final = 1 << 20
_PNG_TEXTS: Final = 65 << 20
# A text as bytes, and as characters of up to four bytes each.
_TEXT: Final = 5
# Lanczos weighs each pixel of a row and of a column with six numbers of eight bytes.
_WEIGHTS: Final = 56


class _Pixels(NamedTuple):
    """The pixels of a picture as they are decoded: the bytes that are needed meanwhile, and those that stay."""

    size: tuple[int, int]
    working: int
    staying: int


class Decoding(NamedTuple):
    """The pixels of a picture, and the bytes that decoding it takes at most, its file among them."""

    width: int
    height: int
    cost: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height} pixels"


def measure_picture(source: Path | IO[bytes], shape: ImageShape, *, resize: bool) -> Decoding:
    """What decoding a picture for a model takes; only its header is read.

    Multiples are measured with Pillow 13, and hold for everything that `read_picture` does: decoding, colours,
    orientation and size.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: it is no picture.
    """
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
        length = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if length > MOST:
            raise ValueError(f"it has {length} bytes, expected at most {MOST}")
        is_png = stream.read(8) == b"\x89PNG\r\n\x1a\n"
        pixels = _png(stream) if is_png else _other(stream, length, jpeg_size(shape) if resize else None)
        stream.seek(0)
    return Decoding(*pixels.size, length + _converted(pixels, shape))


def jpeg_size(shape: ImageShape) -> tuple[int, int]:
    """A JPEG file that is more than twice as large is decoded at a half, a quarter or an eighth of its size."""
    side = 2 * max(shape.width, shape.height)
    return side, side


def npy_header(stream: IO[bytes], length: int) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    """The shape, the order (True for Fortran's) and the dtype of an .npy file of `length` bytes; the array follows.

    Raises:
        ValueError: it is no .npy file of format 1.0, or has not as many bytes as its header promises.
    """
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # what numpy.save writes; the header of the others may have gigabytes
        raise ValueError(f"it has the format {'.'.join(map(str, version))}, expected 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    there = length - stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != there:
        raise ValueError(f"its header promises {str(dtype)[:40]} {str(list(shape))[:80]}, but {there} bytes follow")
    return shape, fortran, dtype


def reason(error: Exception) -> str:
    """What a reader's error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _png(stream: IO[bytes]) -> _Pixels:
    """Those of a PNG file, with its texts, which Pillow unpacks when it opens the file."""
    head, text = b"", 0
    while len(start := stream.read(8)) == 8 and start[4:] != b"IEND":
        length, kind = int.from_bytes(start[:4], "big"), start[4:]
        if kind == b"IHDR":
            if head:
                raise ValueError("it has two headers")
            head = stream.read(13)
            length -= 13
        text += max(length, _PNG_TEXT) if kind in (b"zTXt", b"iTXt", b"iCCP") else length * (kind == b"tEXt")
        stream.seek(length + 4, io.SEEK_CUR)
    if len(head) < 13:
        raise ValueError("it has no header")
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    is_small = head[8] <= 8 and head[9] in (0, 3)  # gray or a palette
    decoded = width * height * (1 if is_small else 4) + _TEXT * min(text, _PNG_TEXTS)
    return _Pixels((width, height), decoded, decoded)


def _other(stream: IO[bytes], length: int, draft: tuple[int, int] | None) -> _Pixels:
    """Those of a file that Pillow opens without unpacking anything."""
    stream.seek(0)
    with Image.open(stream, formats=FORMATS) as opened:
        pixels, working = opened.width * opened.height, 0
        if opened.format == "WEBP":
            working = (_WEBP_WORKING - _WEBP_PIXEL) * pixels + _WEBP_TABLES * _tables(stream, length, pixels)
        elif isinstance(opened, JpegImageFile):
            working = _coefficients(opened)
            if draft:
                opened.draft(None, draft)
        staying = _bytes_a_pixel(opened) * opened.width * opened.height + length
        return _Pixels(opened.size, staying + working, staying)


def _bytes_a_pixel(picture: Image.Image) -> int:
    if picture.format == "WEBP":
        return _WEBP_PIXEL
    return 2 if picture.format == "GIF" else _PIXEL.get(picture.mode, 4)  # what is behind GIF's first frame, and that


def _coefficients(picture: JpegImageFile) -> int:
    """The bytes of all coefficients, two each, which libjpeg keeps of a picture in several scans, in whole blocks."""
    across, down = ([layer[axis] for layer in picture.layer] for axis in (1, 2))
    share = sum(a * d for a, d in zip(across, down, strict=True)) / (max(across) * max(down) or 1)
    return math.ceil(2 * (picture.width + 31) * (picture.height + 31) * share)


def _tables(stream: IO[bytes], length: int, pixels: int) -> int:
    """How many sets of Huffman tables a WebP file can have."""
    stream.seek(0)
    content = stream.read()
    is_lossless = b"VP8L" in content or b"ALPH" in content
    return min(_WEBP_MOST_TABLES, length * 2 // 5, pixels // 16 + 1) if is_lossless else 0


def _converted(pixels: _Pixels, shape: ImageShape) -> int:
    """The bytes of decoding and of what follows: gray or colour, upright, and the model's size, first its width."""
    width, height = pixels.size
    pixel = 1 if shape.channels == 1 else 4
    converted = pixel * width * height
    # Rows begin at whole multiples of four bytes, and Pillow keeps an address of each.
    rows = 4 * 12 * max(width, height)
    weights = _WEIGHTS * (width + height + shape.width + shape.height)
    narrow = pixel * shape.width * max(width, height)
    # The converted picture has beside it the decoded one, and then the upright one.
    return max(pixels.working, pixels.staying + converted, 2 * converted) + rows + weights + narrow
