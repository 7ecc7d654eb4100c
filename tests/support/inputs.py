"""One digit in every kind of file and array that people have, and the table of docs/inputs.md of what each gives.

`python tests/support/inputs.py` writes the table again.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tables import replace_table

from aae_zoo.runtime import InvalidInput, load
from aae_zoo.runtime.formats.images import as_images
from aae_zoo.runtime.formats.plan import How, Plan

DOCUMENT = Path(__file__).parents[2] / "docs" / "inputs.md"
BEGIN, END = "<!-- what each input gives -->", "<!-- end -->"
MODEL = "mnist-style"


def seven(size: int = 28) -> NDArray[np.uint8]:
    """A white 7 on black, of 0 and 255 alone, uint8 [size, size]."""
    picture = Image.new("L", (size * 8, size * 8))
    points = [(7 * size // 28 * 8, 7 * size // 28 * 8), (20 * size // 28 * 8, 7 * size // 28 * 8)]
    points.append((12 * size // 28 * 8, 22 * size // 28 * 8))
    ImageDraw.Draw(picture).line(points, fill=255, width=int(2.6 * 8 * size / 28), joint="curve")
    small = np.asarray(picture.resize((size, size), Image.Resampling.BOX))
    return np.where(small > 127, np.uint8(255), np.uint8(0))


PLAIN = seven()
PICTURE = Image.fromarray(PLAIN)
BLACK_INK = Image.merge("LA", [Image.new("L", (28, 28)), PICTURE])
DARK_ON_LIGHT = Image.fromarray(255 - PLAIN)
WHITE_INK = Image.merge("LA", [Image.new("L", (28, 28), 255), PICTURE])
TWELVE_BITS = Image.fromarray((PLAIN.astype(np.uint32) * 4095 // 255).astype(np.uint16))


def turned() -> Image.Image:
    """The digit as a camera held sideways saves it, with the EXIF orientation that says so."""
    picture = PICTURE.transpose(Image.Transpose.ROTATE_90)
    picture.getexif()[0x0112] = 6
    return picture


class Case(NamedTuple):
    """A kind of input: what it is called, what makes it in a folder, and what is asked for; `far` is how far it is off.

    `refused` says whether it is refused, `other` what it becomes where that is not the digit.
    """

    name: str
    make: Callable[[Path], Any]
    how: How = {}  # noqa: RUF012 - a tuple's default, which nobody changes
    far: float = 0.0
    refused: bool = False
    other: str = ""


def file(name: str, picture: Image.Image, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        picture.save(folder / name, **options)
        return folder / name

    return make


def several(name: str) -> Callable[[Path], Path]:
    """A file of two pictures, of which the first is the digit; of copies, which Pillow marks as saved in a format."""
    return file(name, PICTURE.copy(), save_all=True, append_images=[DARK_ON_LIGHT.copy()], lossless=True)


def array(values: Any) -> Callable[[Path], Any]:
    return lambda folder: values


def big_endian(folder: Path) -> Path:
    data = (PLAIN.astype(np.uint16) * 257).astype(">u2").tobytes()
    return file("x.tif", Image.frombytes("I;16B", (28, 28), data))(folder)


def npy(values: NDArray[Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / "x.npy", values)
        return folder / "x.npy"

    return make


def npz(folder: Path) -> Path:
    np.savez(folder / "x.npz", image=PLAIN[None])
    return folder / "x.npz"


def idx(folder: Path) -> Path:
    (folder / "x.idx").write_bytes(
        bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (1, 28, 28)) + PLAIN.tobytes()
    )
    return folder / "x.idx"


FLOATS = (PLAIN / 255).astype(np.float32)[None]
ONES = (PLAIN // 255).astype(np.uint8)[None]
LARGE = Image.fromarray(255 - np.pad(seven(112), ((50, 120), (30, 90))))
CASES = [
    Case("PNG, gray", file("x.png", PICTURE)),
    Case("PNG, colour", file("x.png", PICTURE.convert("RGB"))),
    Case("PNG, a palette", file("x.png", PICTURE.convert("P"))),
    Case("PNG, 1 bit", file("x.png", PICTURE.convert("1"))),
    Case("PNG, 16 bits", file("x.png", Image.fromarray(PLAIN.astype(np.uint16) * 257))),
    Case("PNG, suffix in capitals", file("X.PNG", PICTURE, format="PNG")),
    Case("JPEG (.jpg, .jpeg, .jfif)", file("x.jfif", PICTURE, format="JPEG", quality=95), far=0.1),
    Case("JPEG of a camera held sideways", file("x.jpg", turned(), quality=95, exif=turned().getexif()), far=0.1),
    Case("WebP", file("x.webp", PICTURE.convert("RGB"), lossless=True)),
    Case("BMP", file("x.bmp", PICTURE)),
    Case("GIF", file("x.gif", PICTURE)),
    Case("TIFF", file("x.tif", PICTURE)),
    Case("TIFF, packed", file("x.tiff", PICTURE, compression="tiff_lzw")),
    Case("TIFF, 16 bits", file("x.tif", Image.fromarray(PLAIN.astype(np.uint16) * 257))),
    Case("TIFF, 16 bits, big-endian", big_endian),
    Case("TIFF, CMYK", file("x.tif", PICTURE.convert("RGB").convert("CMYK"))),
    Case("TIFF, floats in [0, 1]", file("x.tif", Image.fromarray(FLOATS[0]))),
    Case("TIFF, other floats", file("x.tif", Image.fromarray(FLOATS[0] * 300)), refused=True),
    Case("PGM", file("x.pgm", PICTURE)),
    Case("PPM", file("x.ppm", PICTURE.convert("RGB"))),
    Case(
        "a TIFF of several pages, a GIF, WebP or PNG that moves, with the digit first",
        lambda folder: [several(name)(folder) for name in ("x.tif", "x.gif", "x.webp", "x.png")],
    ),
    Case("black on white", file("x.png", DARK_ON_LIGHT)),
    Case(
        "black on white, `invert no`",
        file("x.png", DARK_ON_LIGHT),
        {"invert": "no"},
        other="black on white",
    ),
    Case("black ink on a transparent ground", file("x.png", BLACK_INK)),
    Case("white ink on a transparent ground", file("x.png", WHITE_INK)),
    Case("12 bits in 16", file("x.png", TWELVE_BITS), other="a sixteenth as bright"),
    Case("12 bits in 16, `range 0..4095`", file("x.png", TWELVE_BITS), {"range": (0, 4095)}),
    Case("a mask of 0 and 1 in a PNG", file("x.png", Image.fromarray(ONES[0])), other="nearly black"),
    Case("another size", file("x.png", LARGE), refused=True),
    Case(
        "another size, `resize`",
        file("x.png", LARGE),
        {"resize": True},
        far=1.0,
        other="the digit, scaled and in the middle",
    ),
    Case(".npy", npy(PLAIN[None])),
    Case(".npz with an array `image`", npz),
    Case("idx", idx),
    Case("a Pillow image", array(PICTURE)),
    Case("a list of Pillow images, arrays and paths", lambda folder: [PICTURE, PLAIN, file("x.png", PICTURE)(folder)]),
    Case("uint8 [n, H, W], [n, C, H, W] or [n, H, W, C]", array(PLAIN[None, ..., None])),
    Case("booleans", array(ONES.astype(bool))),
    Case("floats in [0, 1]", array(FLOATS.astype(np.float64))),
    Case("floats a rounding above 1", array(FLOATS * np.float32(1.0000002)), far=1e-5),
    Case("uint8 of 0 and 1", array(ONES), refused=True),
    Case("floats of 0 to 255", array(FLOATS * 255), refused=True),
    Case("floats that are normalised", array((FLOATS - np.float32(0.1307)) / np.float32(0.3081)), refused=True),
    Case("whole numbers of more bits", array(FLOATS.astype(np.int32) * 4095), refused=True),
    Case("whole numbers of more bits, `range 0..4095`", array(FLOATS.astype(np.int32) * 4095), {"range": (0, 4095)}),
    Case("None in a list", array([PICTURE, None]), refused=True),
]


def read(case: Case, folder: Path) -> tuple[NDArray[np.float32] | None, str]:
    """The images that an input gives, or None where it is refused, and what is said of it."""
    how: How = {"invert": "auto", **case.how}
    given = case.make(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            images = as_images(given, Plan.of(load(MODEL).manifest, how))
            pixels = images.rows(slice(None))
        except InvalidInput as error:
            return None, str(error).replace(f"{folder}/", "")
    return pixels, "; ".join(str(w.message) for w in caught).replace(f"{folder}/", "")


def table() -> str:
    """The table of all cases, in Markdown."""
    lines = ["| given | gives | says |", "|---|---|---|"]
    for case in CASES:
        with TemporaryDirectory() as folder:
            pixels, said = read(case, Path(folder))
        gives = "nothing" if pixels is None else case.other or "the digit"
        lines.append(f"| {case.name} | {gives} | {said.replace('|', '&#124;')} |")
    return "\n".join(lines)


if __name__ == "__main__":
    replace_table(DOCUMENT, BEGIN, END, [table()])
