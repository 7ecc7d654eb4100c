"""Small files that claim, or become, something very large."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 2048


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


class _Bits:
    """Bits from the least significant on, as lossless WebP has them."""

    def __init__(self) -> None:
        self._bits: list[int] = []

    def put(self, value: int, count: int) -> None:
        self._bits += [value >> k & 1 for k in range(count)]

    def one_symbol(self, times: int) -> None:
        """Prefix codes with the one symbol 0, of which each occurrence takes no bit at all."""
        for _ in range(times):
            self.put(0b0001, 4)

    def bytes_(self) -> bytes:
        return np.packbits(np.array(self._bits, np.uint8), bitorder="little").tobytes()


def _vp8l(bits: _Bits) -> bytes:
    data = bits.bytes_()
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def webp(width: int, height: int) -> bytes:
    """A lossless WebP picture of one colour, in 28 bytes."""
    bits = _Bits()
    bits.put(0x2F, 8)
    bits.put(width - 1, 14)
    bits.put(height - 1, 14)
    bits.put(1, 4)  # it has an alpha channel; version 0
    bits.put(0, 3)  # no transform, no colour cache, no sets of codes
    bits.one_symbol(5)
    return _vp8l(bits)


def webp_of_codes() -> bytes:
    """A picture of 1024 x 1024 pixels and as many sets of prefix codes as there can be, 65,536, in 300 kB."""
    bits = _Bits()
    bits.put(0x2F, 8)
    bits.put(1023, 14)
    bits.put(1023, 14)
    bits.put(0, 4)
    bits.put(0b100, 3)  # no transform, no colour cache, but sets of codes
    bits.put(0, 3)  # of which each block of 4 x 4 pixels names one, in an image:
    bits.put(0, 1)
    for _ in range(2):  # its green and red numbers all take 8 bits
        bits.put(0, 1)
        bits.put(8, 4)
        for symbol in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8):
            bits.put(symbol == 8, 3)
        bits.put(0b0111, 4)
        bits.put(254, 8)
    bits.one_symbol(3)
    for number in range(1 << 16):
        bits.put(int(f"{number & 255:08b}"[::-1], 2), 8)
        bits.put(int(f"{number >> 8:08b}"[::-1], 2), 8)
    bits.one_symbol(5 << 16)
    return _vp8l(bits)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, colour: int = 6, pixels: bytes = b"") -> bytes:
    """A PNG file of a header, chunks and compressed pixels, whatever they are."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(pixels, 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data


def png_of_texts() -> bytes:
    """60 MB of text in 60 kB."""
    text = zlib.compress(bytes(1 << 20).replace(b"\0", b"a"), 9)
    return png(28, 28, *(_chunk(b"zTXt", b"%d\0\0" % k + text) for k in range(60)), colour=0, pixels=bytes(28 * 29))


def png_of_two_headers() -> bytes:
    """Small, and then large."""
    large = _chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 6, 0, 0, 0))
    return png(28, 28, large, pixels=bytes(SIDE * (4 * SIDE + 1)))


def gif(screen: int, frame: int) -> bytes:
    """A GIF whose screen and whose only frame have such sides; the frame's pixels are missing but for one."""
    head = b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + b"\0\0\0\1\1\1"
    return head + b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\2\2\x4c\1\0;"


def bmp_of_runs(side: int) -> bytes:
    """A BMP whose rows are run-length encoded, and all missing."""
    palette = bytes(1024)
    start = 54 + len(palette)
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 2, 1, 1, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + 2, 0, 0, start) + head + palette + b"\0\1"


def _tiff(entries: list[tuple[int, int, int, int]], data: bytes = b"") -> bytes:
    """A TIFF file of tags (number, type, count, value) and what follows them."""
    tags = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + tags + bytes(4) + data


def tiff_of_a_tile(side: int, tile: int) -> bytes:
    """A small picture in one very large tile, packed."""
    data = zlib.compress(bytes(1 << 16))
    entries = [(256, 3, 1, side), (257, 3, 1, side), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    entries += [(322, 3, 1, tile), (323, 3, 1, tile), (324, 4, 1, 14 + 12 * 10), (325, 4, 1, len(data))]
    return _tiff(entries, data)


def tiff_of_tags() -> bytes:
    """Ten thousand tags that are all of the same megabyte."""
    entries = [(256, 3, 1, 28), (257, 3, 1, 28), (262, 3, 1, 1)]
    entries += [(1000 + number, 1, 1 << 20, 8) for number in range(10_000)]
    return _tiff(entries, bytes(1 << 20))


def pictures() -> dict[str, bytes]:
    """Pictures by what is large about them."""
    colours = Image.new("RGBA", (SIDE, SIDE), (9, 8, 7, 99))
    turned = Image.Exif()
    turned[0x0112] = 6
    frames = [Image.new("P", (1024, 1024), k) for k in range(20)]
    modes = {f"PNG {m}": saved(Image.new(m, (SIDE, SIDE)), "PNG") for m in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")}
    jpegs = {
        f"JPEG {m}{', progressive' * p}": saved(Image.new(m, (SIDE, SIDE)), "JPEG", progressive=p)
        for m in ("L", "RGB", "CMYK")
        for p in (False, True)
    }
    others = {
        "WebP of a few bytes": webp(4096, 4096),
        "WebP of the largest side": webp(1 << 14, 1 << 14),
        "WebP of codes": webp_of_codes(),
        "WebP lossy": saved(colours.convert("RGB"), "WEBP"),
        "WebP lossy with alpha, turned": saved(colours, "WEBP", exif=turned),
        "WebP frames": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
        "PNG turned": saved(colours, "PNG", exif=turned),
        "PNG of texts": png_of_texts(),
        "PNG of two headers": png_of_two_headers(),
        "PNG without pixels": png(SIDE, SIDE),
        "PNG of too many pixels": png(28, 28, pixels=bytes(1 << 28)),
        "PNG of the largest side": png((1 << 31) - 1, (1 << 31) - 1),
        "PNG one colour transparent": saved(Image.new("P", (SIDE, SIDE)), "PNG", transparency=0),
        "PNG one gray transparent": saved(Image.new("L", (SIDE, SIDE)), "PNG", transparency=0),
        "TIFF": saved(colours, "TIFF"),
        "TIFF turned": saved(colours, "TIFF", exif=turned),
        "TIFF packed": saved(colours, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF of 32 bits": saved(Image.new("I", (SIDE, SIDE)), "TIFF"),
        "TIFF of a large tile": tiff_of_a_tile(28, 1 << 14),
        "TIFF of many tags": tiff_of_tags(),
        "PPM": saved(colours.convert("RGB"), "PPM"),
        "PPM of 16 bits": saved(Image.new("I", (SIDE // 8, SIDE // 8)), "PPM"),
        "PPM of text": b"P3 512 512 255 " + b"0 " * (3 << 18),
        "PPM without pixels": b"P6 2048 2048 255 ",
        "PPM of the largest side": b"P6 99999 99999 255 ",
        "PNG tall": saved(Image.new("L", (1, 1 << 22)), "PNG"),
        "PNG wide": saved(Image.new("RGB", (1 << 22, 1)), "PNG"),
        "JPEG turned": saved(colours.convert("RGB"), "JPEG", exif=turned),
        "GIF": saved(Image.new("P", (SIDE, SIDE)), "GIF", transparency=0),
        "GIF frames": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "GIF screen": gif(SIDE, 1),
        "GIF frame": gif(1, SIDE),
        "GIF of the largest side": gif(1, (1 << 16) - 1),
        "BMP": saved(Image.new("RGB", (SIDE // 4, SIDE)), "BMP"),
        "BMP of runs": bmp_of_runs(SIDE),
        "BMP of the largest side": bmp_of_runs(1 << 30),
    }
    return modes | jpegs | others


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """An .npy file of a header's text and data."""
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + data


def npy_header(shape: str, dtype: str = "|u1") -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n"


def npy_of(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(*contents: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of image.npy, and of others."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method, compresslevel=1) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number or 'image'}.npy", content)
    return stream.getvalue()


def zeros(size: int) -> bytes:
    return npy(npy_header(f"({size},)"), bytes(size))


def lying(archive: bytes, size: int) -> bytes:
    """The zip with other sizes of the unpacked entries in its directory and before them."""
    changed = bytearray(archive)
    for mark, place in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        start = changed.find(mark)
        while start >= 0:
            changed[start + place : start + place + 4] = struct.pack("<I", size)
            start = changed.find(mark, start + 4)
    return bytes(changed)


def zip_of_names(count: int) -> bytes:
    """A zip whose directory lists one empty entry so often, and whose true number stands in zip64's end."""
    entry = b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    size = count * len(entry)
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, size, 1)
    return entry * count + end64 + locator + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 47, 0, 0)


def idx(*dimensions: int, data: bytes = b"") -> bytes:
    return bytes([0, 0, 8, len(dimensions)]) + b"".join(n.to_bytes(4, "big") for n in dimensions) + data


# What is really in bombs, and what they say, which is more than any file may become.
REAL, SAID = 1 << 28, 1 << 31


def arrays() -> dict[str, tuple[str, Callable[[], bytes]]]:
    """Files of arrays by what is wrong with them: the end of the file's name, and what makes it."""
    return {
        "unpacks to more": (".npz", lambda: lying(npz(zeros(1 << 20)), SAID)),
        "unpacks to more together": (".npz", lambda: lying(npz(*[zeros(1 << 20)] * 6), 1 << 28)),
        "says it unpacks to little": (".npz", lambda: lying(npz(zeros(REAL)), 300)),
        "says it unpacks to nothing": (".npz", lambda: lying(npz(zeros(REAL)), 0)),
        "a large directory": (".npz", lambda: zip_of_names(1 << 18)),
        "packed by bzip2": (".npz", lambda: npz(zeros(1 << 20), method=zipfile.ZIP_BZIP2)),
        "packed by LZMA": (".npz", lambda: npz(zeros(1 << 20), method=zipfile.ZIP_LZMA)),
        "an entry that promises more": (".npz", lambda: npz(npy(npy_header(f"({1 << 40},)")))),
        "an entry of giant items": (".npz", lambda: npz(npy(npy_header("(1,)", "|S2000000000"), b"x"))),
        "an entry with a giant header": (".npz", lambda: npz(npy(" " * REAL, version=2))),
        "promises more": (".npy", lambda: npy(npy_header(f"({1 << 40},)"), b"x")),
        "promises less than nothing": (".npy", lambda: npy(npy_header("(-1, -1)"), b"x")),
        "giant items": (".npy", lambda: npy(npy_header("(1,)", "|V2147483647"), b"x")),
        "a giant header": (".npy", lambda: npy(" " * REAL, version=2)),
        "a long header": (".npy", lambda: npy(" " * 60_000)),
        "pickles": (".npy", lambda: npy(npy_header("(1,)", "|O"), b"x" * 8)),
        "no shape": (".npy", lambda: npy("{'descr': '|u1', 'fortran_order': False}\n")),
        "an idx that promises more": (".idx", lambda: idx(1 << 16, 1 << 15, data=b"x")),
        "an idx of 2^32 and more": (".idx", lambda: idx((1 << 32) - 1, (1 << 32) - 1, data=b"x")),
        "an idx of 255 dimensions": (".idx", lambda: idx(*[1] * 255, data=b"x")),
        "an idx of nothing, often": (".idx", lambda: idx(0, *[(1 << 32) - 1] * 9)),
        "a gzip of more": (".idx.gz", lambda: gzip.compress(idx(1, 28, 28, data=bytes(REAL)), 1)),
        "a gzip that says so": (".idx.gz", lambda: gzip.compress(idx(SAID, data=bytes(1 << 20)))),
    }
