"""How much memory a file takes once it is decoded, said by its header before any of that is spent."""

import io
import math
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.formats.arrays import MOST
from aae_zoo.runtime.formats.folders import FORMATS
from aae_zoo.runtime.formats.plan import Plan

# Where one colour or number is transparent, all colours are unpacked, and the transparency of each pixel.
_KEYED: Final = 5
# The bytes of each type of TIFF's tags, and the most that Python takes for a byte of them.
_TIFF_TYPES: Final = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1)) | {16: 8, 17: 8, 18: 8}
_TAG: Final = 40
_ORIENTATION, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_LENGTH = 274, 258, 277, 322, 323
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
    """The pixels of a picture as they are decoded: the bytes that are needed meanwhile, and those that stay.

    `beside` are the bytes a pixel that are needed beside those and the converted picture: for transparency, or numbers
    of more than 8 bits.
    """

    size: tuple[int, int]
    working: int
    staying: int
    beside: int


class Decoding(NamedTuple):
    """The pixels of a picture, and the bytes that decoding it takes at most, its file among them."""

    width: int
    height: int
    cost: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height} pixels"


def measure_picture(source: Path | IO[bytes], plan: Plan) -> Decoding:
    """What decoding a picture for a model takes; only its header is read.

    Multiples are measured with Pillow 13, and hold for everything that `read_picture` does: decoding, colours,
    orientation and size.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: it is not a picture.
    """
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream:
        length = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if length > MOST:
            raise ValueError(f"it has {length} bytes, expected at most {MOST}")
        is_png = stream.read(8) == b"\x89PNG\r\n\x1a\n"
        pixels = _png(stream) if is_png else _other(stream, length, jpeg_size(plan))
        stream.seek(0)
    return Decoding(*pixels.size, length + _converted(pixels, plan.shape))


def jpeg_size(plan: Plan) -> tuple[int, int] | None:
    """The least size that a JPEG file is decoded at, a half, a quarter or an eighth of its own; None for its own.

    A digit may be a small part of its picture.
    """
    side = (16 if plan.preparation.fit == "digit" else 2) * max(plan.shape.width, plan.shape.height)
    return (side, side) if plan.resize else None


def npy_header(stream: IO[bytes], length: int) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    """The shape, the order (True for Fortran's) and the dtype of an .npy file of `length` bytes; the array follows.

    Raises:
        ValueError: it is not an .npy file of format 1.0, has objects, or not as many bytes as its header promises.
    """
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # what numpy.save writes; the header of the others may have gigabytes
        raise ValueError(f"it has the format {'.'.join(map(str, version))}, expected 1.0")
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # numpy reads it as Python, whose parts raise errors of their own
        raise ValueError(words_of(error)) from None
    if dtype.hasobject:
        raise ValueError(
            "it has Python objects, which are pickled, expected numbers or text, such as array.astype(str)"
        )
    there = length - stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != there:
        raise ValueError(f"its header promises {str(dtype)[:40]} {str(list(shape))[:80]}, but {there} bytes follow")
    return shape, fortran, dtype


def _png(stream: IO[bytes]) -> _Pixels:
    """Those of a PNG file, with its texts, which Pillow unpacks when it opens the file."""
    head, text, is_keyed = b"", 0, False
    while len(start := stream.read(8)) == 8 and start[4:] != b"IEND":
        length, kind = int.from_bytes(start[:4], "big"), start[4:]
        if kind == b"IHDR":
            if head:
                raise ValueError("it has two headers")
            head = stream.read(13)
            length -= 13
        is_keyed |= kind == b"tRNS"
        text += max(length, _PNG_TEXT) if kind in (b"zTXt", b"iTXt", b"iCCP") else length * (kind == b"tEXt")
        stream.seek(length + 4, io.SEEK_CUR)
    if len(head) < 13:
        raise ValueError("it has no header")
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    is_small = head[8] <= 8 and head[9] in (0, 3)  # gray or a palette
    beside = _KEYED if is_keyed else int(head[9] in (4, 6) or head[8] > 8)
    decoded = width * height * (1 if is_small else 4) + _TEXT * min(text, _PNG_TEXTS)
    return _Pixels((width, height), decoded, decoded, beside)


def _other(stream: IO[bytes], length: int, draft: tuple[int, int] | None) -> _Pixels:
    """Those of a file that Pillow opens without unpacking anything."""
    stream.seek(0)
    tags = _tag_bytes(stream, length)
    stream.seek(0)
    with Image.open(stream, formats=tuple(FORMATS)) as opened:
        pixels, working = opened.width * opened.height, 0
        if opened.format == "WEBP":
            working = (_WEBP_WORKING - _WEBP_PIXEL) * pixels + _WEBP_TABLES * _tables(stream, length, pixels)
        elif isinstance(opened, JpegImageFile):
            working = _coefficients(opened)
            if draft:  # `read_picture` scales it a little, first its width
                opened.draft(None, draft)
                working = max(working, 2 * _staying(opened, length))
        elif opened.format == "TIFF":
            working = _TAG * tags + (0 if opened.tile[0][0] == "raw" else length + _largest_tile(opened))
            if opened.getexif().get(_ORIENTATION, 1) != 1:  # Pillow turns it at once
                working = max(working, _staying(opened, length))
        elif opened.format == "PPM" and opened.tile[0][0] != "raw":  # collected, and copied once
            working = 3 * pixels * len(opened.getbands()) * (4 if opened.mode in "IF" else 1)
        staying = _staying(opened, length)
        return _Pixels(opened.size, staying + working, staying, _beside(opened))


def _staying(opened: Image.Image, length: int) -> int:
    """The bytes of the decoded pixels, and of the file, which the readers of all formats but TIFF and PPM keep."""
    content = 0 if opened.format in ("TIFF", "PPM") else length
    return _bytes_a_pixel(opened) * opened.width * opened.height + content


def _beside(opened: Image.Image) -> int:
    if "transparency" in opened.info:
        return _KEYED
    return int(opened.mode[0] in "IF" or opened.has_transparency_data)


def _tag_bytes(stream: IO[bytes], length: int) -> int:
    """The bytes of all tags of a TIFF file, which are read when it is opened; 0 for any other file.

    Raises:
        ValueError: together they are longer than the file: many lie in the same bytes.
    """
    head = stream.read(16)
    if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return 0
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    number, entry, place = (8, 20, head[8:16]) if b"+" in head[:4] else (2, 12, head[4:8])
    stream.seek(min(length, int.from_bytes(place, order)))
    count = int.from_bytes(stream.read(number), order)
    table = stream.read(min(length, count * entry))
    starts = range(0, len(table) - entry + 1, entry)
    sizes = [
        _TIFF_TYPES.get(int.from_bytes(table[at + 2 : at + 4], order), 0)
        * int.from_bytes(table[at + 4 : at + (12 if entry == 20 else 8)], order)
        for at in starts
    ]
    if sum(sizes) > length:
        raise ValueError(f"its tags have {sum(sizes)} bytes, and the whole file {length}")
    return sum(sizes) + len(table)


def _largest_tile(opened: Image.Image) -> int:
    """The bytes of what libtiff unpacks at a time: a strip, at most the whole picture, or a tile."""
    tags: Any = opened.tag_v2  # type: ignore[attr-defined]
    bits = tags.get(_BITS, (1,))
    bytes_: float = max(bits) * max(len(bits), int(tags.get(_SAMPLES, 1))) / 8
    tile = int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))
    return math.ceil(max(opened.width * opened.height, tile) * bytes_)


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
    # The converted picture has beside it the decoded one, and then the one on a ground, or upright.
    beside = pixels.beside * width * height
    on_ground = 2 * converted + (2 * width * height if beside else 0)  # the transparency, and a band to look at
    return max(pixels.working, pixels.staying + converted + beside, on_ground) + rows + weights + narrow
