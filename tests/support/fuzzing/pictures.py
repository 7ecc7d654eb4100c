"""Pictures of every format that is read, with changed sizes, tags and chunks, given to the one reader of pictures.

What is read must have the model's shape, and take no more memory than was said before it was decoded.
"""

import io
import itertools
import struct
import zlib
from functools import cache
from random import Random
from typing import Any, Final

import numpy as np
from PIL import Image, PngImagePlugin

from aae_zoo.runtime.bundles.manifest import FITS, GROUNDS, POLARITIES, ImageShape, Preparation
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.pictures import measure, read_picture
from aae_zoo.runtime.formats.plan import Notices, Plan
from fuzzing.changes import NUMBERS, change_file, change_number
from fuzzing.memory import at_most

REFUSAL: Final = InvalidInput
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_SLACK: Final = 32 << 20
# What cannot be read in a moment is only measured: the test of bombs holds such pictures to what they are said to take.
_MOST: Final = 1 << 28


@cache
def pictures() -> list[bytes]:
    """Small pictures of every format, of every mode and packing that it has."""
    digit = Image.fromarray(np.indices((28, 28), np.uint8).prod(0, dtype=np.uint8))
    wide = digit.resize((61, 40))
    colour = Image.merge("RGB", [wide, wide.rotate(90), wide.rotate(180)])
    deep = Image.fromarray(np.asarray(wide).astype(np.uint16) * 257)
    clear = Image.merge("RGBA", [*colour.split(), wide])
    turned = Image.Exif()
    turned[0x0112] = 6
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Software", "x" * 40)
    texts.add_text("Comment", "y" * 400, zip=True)
    texts.add_itxt("Title", "z" * 40, "en", "t", zip=True)
    frames: dict[str, Any] = {"save_all": True, "append_images": [digit.rotate(90), digit]}
    modes = [digit, wide, colour, deep, clear, clear.convert("LA"), colour.convert("P"), digit.convert("1")]
    return [
        *(_saved(each, "PNG") for each in modes),
        _saved(digit, "PNG", pnginfo=texts, exif=turned, icc_profile=b"i" * 200),
        _saved(colour.quantize(16), "PNG", transparency=3),
        *(_saved(each, "JPEG", exif=turned) for each in (digit, wide, colour, colour.convert("CMYK"))),
        _saved(colour, "JPEG", progressive=True, quality=70),
        *(_saved(each, "WEBP") for each in (colour, clear)),
        *(_saved(each, "WEBP", lossless=True, exact=True) for each in (colour, clear)),
        _saved(digit.convert("RGB"), "WEBP", **frames),
        _saved(digit, "GIF", **frames),
        _saved(colour, "GIF", transparency=0),
        *(_saved(each, "TIFF") for each in (digit, colour, deep, clear, wide.convert("F"), wide.convert("I"))),
        *(_saved(wide, "TIFF", compression=c, exif=turned) for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
        _saved(colour, "TIFF", compression="jpeg"),
        _saved(digit.convert("1"), "TIFF", compression="group4"),
        *(_saved(each, "BMP") for each in (digit, colour, clear, digit.convert("1"))),
        *(_saved(each, "PPM") for each in (digit, colour, deep, digit.convert("1"))),
        b"P2 28 28 255 " + b" ".join(b"%d" % value for value in digit.tobytes()),
    ]


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@cache
def plans() -> list[Plan]:
    """Every way to prepare pictures, of gray and of colour, of their own size and of any."""
    shapes = [ImageShape(1, 28, 28), ImageShape(3, 32, 32), ImageShape(1, 8, 8)]
    prepared = [Preparation(*each, None) for each in itertools.product(FITS, GROUNDS, POLARITIES)]
    plans = [Plan(shape, each, resize=True) for shape in shapes for each in prepared]
    plans += [Plan(shape, prepared[0], resize=True, range=(3, 200), invert="auto") for shape in shapes]
    return plans + [Plan(shapes[0], prepared[0], invert=invert) for invert in ("auto", "yes", "no", None)]


def case(random: Random) -> None:
    """One picture.

    Raises:
        InvalidInput: it was refused.
        AssertionError: it was read and is no image of the model, or reading took more memory than was said.
    """
    content, plan = changed(random), random.choice(plans())
    with at_most(_SLACK):
        decoding = measure(io.BytesIO(content), plan)
    if decoding.cost > _MOST:
        return
    with at_most(decoding.cost + _SLACK):
        image = read_picture(io.BytesIO(content), plan, Notices(quiet=True))
    assert image.dtype == np.uint8, content
    assert image.shape == plan.shape.axes, content


def changed(random: Random) -> bytes:
    """A picture with changes that keep what is checked first: PNG's checksums, and the place of TIFF's tags."""
    content = random.choice(pictures())
    if random.random() < 0.3:
        return change_file(content, pictures(), random)
    if content.startswith(_SIGNATURE):
        return _changed_png(content, random)
    if content.startswith(b"II*\0"):
        return _changed_tags(content, random)
    if content.startswith(b"\xff\xd8"):
        return _changed_segments(content, random)
    return change_number(content, random, 64)


def _changed_png(content: bytes, random: Random) -> bytes:
    chunks, place = [], len(_SIGNATURE)
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += length + 12
    number = random.randrange(len(chunks))
    kind, data = old = chunks[number]
    packed = kind == b"IDAT" and random.random() < 0.5
    if packed:  # the pixels themselves, which begin each row with a filter
        data = zlib.decompress(data)
    data = change_file(data, [data for _, data in chunks], random)
    new = (kind, zlib.compress(data) if packed else data)
    other = (random.choice(chunks)[0], data)
    chunks[number : number + 1] = random.choice([*[[new]] * 6, [], [new, old], [old, old], [other], [new] * 40])
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _changed_tags(content: bytes, random: Random) -> bytes:
    """A TIFF file with fields of one or two of its tags changed: number, type, count and value."""
    changed = bytearray(content)
    start = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[start : start + 2], "little")
    for _ in range(random.randrange(1, 3)):
        at, width = random.choice(((0, 2), (2, 2), (4, 4), (8, 4), (8, 4), (8, 2)))
        place = start + 2 + 12 * random.randrange(count) + at
        old = int.from_bytes(changed[place : place + width], "little")
        new = random.choice((*NUMBERS, old + 1, 2 * old, 4 * old, random.randrange(20), random.randrange(254, 350)))
        changed[place : place + width] = (new % (1 << 8 * width)).to_bytes(width, "little")
    return bytes(changed)


def _changed_segments(content: bytes, random: Random) -> bytes:
    """A JPEG file with a segment of its head changed, doubled or left out."""
    parts, place = [content[:2]], 2
    while content[place + 1] != 0xDA:  # the scan
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        parts.append(content[place:end])
        place = end
    number = random.randrange(1, len(parts))
    new = parts[number][:2] + change_number(parts[number][2:], random, 24)
    parts[number] = random.choice((new, new, new, new, b"", parts[number] * 2, new + parts[number]))
    return b"".join(parts) + content[place:]
