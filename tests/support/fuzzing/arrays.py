"""Files of arrays, .npy, .npz, idx, .csv and gzip, whose headers lie, given to the readers of images and codes.

What is read must be images in [0, 1] of the model's shape, or codes of its size.
"""

import ast
import gzip
import io
import tempfile
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.arrays import check_codes
from aae_zoo.runtime.formats.images import read_images
from aae_zoo.runtime.formats.pictures import read_codes
from aae_zoo.runtime.formats.plan import Plan
from fuzzing.changes import change_bytes, change_file, change_number
from fuzzing.memory import at_most

REFUSAL: Final = InvalidInput
_PLANS: Final = (Plan(ImageShape(1, 28, 28)), Plan(ImageShape(3, 14, 14), resize=True, invert="auto", range=(1, 200)))
# Gzip's files of some kilobytes become a thousand times as much at most, and that is there as bytes and as floats.
_MOST: Final = 96 << 20
_WORDS: Final = (
    *("<f4", ">f8", "|u1", "<U9", "|S3", "|O", "<M8[ns]", "[('a', '<f4')]", "|V99999999", "f4,f4", "(3,)f4"),
    *("0", "-1", "28", "1e9", "4294967296", "9223372036854775808", "True", "None", "()", "(28,)", "28L", "{}"),
)


@cache
def arrays() -> list[NDArray[Any]]:
    """Arrays of images and codes of every dtype and layout that people have."""
    images = np.random.default_rng(0).random((3, 28, 28), np.float32)
    pixels = (images * 255).astype(np.uint8)
    few: list[Any] = [
        images,
        *[images[:, None]] * 3,
        images.astype(np.float64),
        images[0],
        pixels,
        pixels[:, None] > 99,
    ]
    few += [np.asfortranarray(images), images.astype(">f4"), images.astype(np.float16), pixels.astype(np.int16)]
    few += [
        pixels[:, :14, :14, None].repeat(3, 3),
        images[:, 0, :8],
        images[:, 0, :8].astype(np.int64),
        images[:, 0, 0],
    ]
    return [*few, images.astype(np.complex64), pixels[:1].astype(str), np.zeros(3, [("a", "<f4"), ("b", "u1")])]


@cache
def files() -> list[tuple[str, bytes]]:
    """Files of them by what they are called, whole."""
    some = arrays()
    codes, pixels = some[0][:, 0, :8], (some[0] * 255).astype(np.uint8)
    idx = b"\0\0\x08\3" + b"".join(n.to_bytes(4, "big") for n in pixels.shape) + pixels.tobytes()
    rows = "\n".join(",".join(map(str, row)) for row in pixels.reshape(3, -1).tolist()).encode()
    return [
        *((".npy", _npy(each)) for each in some),
        *((".npz", _npz(names)) for names in ({"image": some[0]}, {"z": codes, "y": codes[:, 0]}, {"x": some[7]})),
        (".idx", idx),
        (".idx.gz", gzip.compress(idx)),
        (".csv", rows),
        (".csv", b"label," + b",".join(b"p%d" % k for k in range(784)) + b"\n" + rows.replace(b"\n", b"\n7,")),
    ]


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _npz(named: dict[str, NDArray[Any]]) -> bytes:
    return zipped([(f"{name}.npy", _npy(array)) for name, array in named.items()], zipfile.ZIP_DEFLATED)


def zipped(entries: Sequence[tuple[str, bytes]], packed: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file of these entries, with checksums that are right."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packed) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, packed)
    return stream.getvalue()


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp())


def case(random: Random) -> None:
    """One file.

    Raises:
        InvalidInput: it was refused.
        AssertionError: it was read, and is no images or codes; or reading took too much memory.
    """
    suffix, content = random.choice(files())
    content = _changed(suffix, content, random)
    path = _folder() / f"x{suffix}"
    path.write_bytes(content)
    with at_most(_MOST + 20 * len(content)):
        if suffix in (".npy", ".npz") and random.random() < 0.15:
            codes = check_codes(read_codes(path)["z"], 8, "z")
            assert codes.shape[1:] == (8,), content
            assert np.isfinite(codes).all(), content
        else:
            plan = random.choice(_PLANS)
            images = read_images(path, plan).rows(slice(0, 64))
            assert images.dtype == np.float32, content
            assert images.shape[1:] == plan.shape.axes, content
            assert images.min() >= 0, content
            assert images.max() <= 1, content


def _changed(suffix: str, content: bytes, random: Random) -> bytes:
    """A file with changes behind what is checked first: what is packed is changed and packed again."""
    if random.random() < 0.25:
        return change_file(content, [other for _, other in files()], random)
    if suffix == ".npy":
        return _changed_npy(content, random)
    if suffix == ".npz":
        return _changed_npz(content, random)
    if suffix == ".csv":
        return _changed_csv(content, random)
    if suffix == ".idx.gz":
        packed = gzip.compress(change_number(gzip.decompress(content), random, 16))
        return random.choice((packed, packed * 2, packed + b"\0" * 9, change_bytes(packed, random)))
    return change_number(content, random, 16)


def _changed_npy(content: bytes, random: Random) -> bytes:
    """An .npy file whose header says something else, and is still a header; sometimes with values that are none."""
    length = int.from_bytes(content[8:10], "little")
    header, data = ast.literal_eval(content[10 : 10 + length].decode()), content[10 + length :]
    shape, kind = list(header["shape"]), random.choice((0, 1, 2, 2, 2, 2, 3, 4, 4, 5))
    if kind == 0:  # the same bytes, seen in another way
        random.shuffle(shape)
    elif kind == 1 and shape:
        shape[random.randrange(len(shape))] *= random.choice((-1, 0, 2, 1 << 31, 1 << 62))
    elif kind == 2:
        place = random.randrange(len(data) // 4 + 1) * 4
        odd = np.array(random.choice((0.5, 1, 0.1, np.nan, np.inf, -1, 3e38, 2)), "<f4").tobytes()
        data = data[:place] + odd + data[place + 4 :]
    elif kind == 3:
        header["descr"] = random.choice(_WORDS)
    elif kind == 4:
        header["fortran_order"] = random.choice((True, True, 1, None, "x"))
    text = repr(header | {"shape": tuple(shape)})
    if kind == 5:
        old = random.choice([word for word in text.replace(",", " ").split() if word])
        text = text.replace(old, random.choice((*_WORDS, "(" * 200, "9" * 5000, "'" + "x" * 300 + "'")), 1)
    packed = text.encode() + b"\n"
    said = len(packed) if random.random() < 0.95 else random.randrange(1 << 16)
    version = bytes(random.choice(((1, 0),) * 30 + ((2, 0), (3, 0), (9, 9))))
    return b"\x93NUMPY" + version + (said % (1 << 16)).to_bytes(2, "little") + packed + data


def _changed_npz(content: bytes, random: Random) -> bytes:
    """An .npz file with a changed array in it, or with changes in what the zip says of its arrays."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    name, data = entries[0]
    entries[0] = (random.choice((name, name, name, "", "../z.npy", "z", "\x1b[2J.npy")), _changed_npy(data, random))
    packed = zipped(entries, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    if random.random() < 0.5:
        place = random.choice((0, packed.rindex(b"PK\1\2"), packed.rindex(b"PK\5\6")))
        packed = packed[:place] + change_number(packed[place:], random, 46)
    return packed


def _changed_csv(content: bytes, random: Random) -> bytes:
    cells = content.split(b",")
    odd = (
        b"",
        b"nan",
        b"1e400",
        b"-1",
        b"0x1F",
        b"256",
        b"1_0",
        b"9" * 5000,
        b"\xff",
        b'"7"',
        b"\n",
        b"#",
        b"\0",
        b"7\r",
    )
    for _ in range(random.randrange(1, 3)):
        cells[random.randrange(len(cells))] = random.choice(odd)
    return b",".join(cells)
