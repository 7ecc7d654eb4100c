"""Reader of idx files, the format of MNIST: a magic number, the dimensions, then unsigned bytes, plain or gzipped."""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.formats.arrays import MOST

_UNSIGNED_BYTE = 0x08
# Images, rows, columns and colours.
_MOST_DIMENSIONS = 4


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes as uint8 [n, ...].

    Raises:
        InvalidInput: it is missing, not idx of unsigned bytes, truncated, too long, or damaged gzip.
    """
    try:
        with _open(path) as stream:
            return _read(stream, path)
    except InvalidInput:
        raise
    except (OSError, EOFError, ValueError, MemoryError, zlib.error) as error:
        raise InvalidInput(
            f"{path} cannot be read as an idx file ({words_of(error)}); give an intact idx or idx.gz file"
        ) from None


def is_idx(path: Path) -> bool:
    """Whether a file is idx by its name, which ends in ubyte or .idx, with or without .gz after it."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(("ubyte", ".idx"))


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _read(stream: BinaryIO, path: Path) -> NDArray[np.uint8]:
    magic = stream.read(4)
    if len(magic) != 4 or magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or magic[3] > _MOST_DIMENSIONS:
        raise InvalidInput(
            f"{path} begins with {magic.hex() or 'nothing'}, expected 000008 and a rank of at most {_MOST_DIMENSIONS}: "
            "an idx file of bytes"
        )
    dimensions = [int.from_bytes(stream.read(4), "big") for _ in range(magic[3])]
    size = math.prod(dimensions)
    if size > MOST:
        raise InvalidInput(f"{path} announces {size} bytes, expected at most {MOST}; save it as .npy")
    content = stream.read(size + 1)
    if len(content) != size:
        found = f"{len(content)} bytes" if len(content) < size else "more bytes"
        raise InvalidInput(f"{path} holds {found} after its header, expected {size}; get the file again")
    return np.frombuffer(content, np.uint8).reshape(dimensions)
