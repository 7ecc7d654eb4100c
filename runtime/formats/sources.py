"""Files that users name: refused before they are opened where they are none, or are of a kind that is not read."""

import os
import shlex
import stat
import warnings
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.decoded import MOST

_LABELS: Final = ("label", "labels", "class", "target", "y")
# Writes the picture files that a column of a table has, as those of the Hub's data sets do.
_UNPACK: Final = (
    "import pathlib, pyarrow.parquet as p; o = pathlib.Path({folder!r}); o.mkdir(); "
    "[(o / f'{{i:06}}.png').write_bytes(x['bytes']) "
    "for i, x in enumerate(p.read_table({file!r})['image'].to_pylist())]"
)


def check_file(path: Path, expected: str) -> None:
    """Refuse what is no file that can be read; to open a pipe would wait for ever.

    Raises:
        InvalidInput: there is no such file, it is a folder, a pipe or a device, or this user may not read it.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        missing = "input on stdin is not read" if str(path) == "-" else f"there is no file {path}"
        raise InvalidInput(f"{missing}; give {expected}") from None
    if stat.S_ISDIR(mode):
        raise InvalidInput(f"{path} is a folder; give {expected}")
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{path} is a pipe or a device; save what it gives, then give {expected}")
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"{path} may not be read by this user; chmod u+r it, or give {expected}")


def refuse_parquet(path: Path) -> None:
    """Refuse a table of pictures, with the command that makes a folder of them.

    Raises:
        InvalidInput: the file's name ends in .parquet.
    """
    if path.suffix.lower() == ".parquet":
        folder = str(path.with_suffix(""))
        program = _UNPACK.format(folder=folder, file=str(path))
        raise InvalidInput(
            f"{path} is a table, which is not read; python -c {shlex.quote(program)} (with pyarrow installed) writes "
            f"the pictures of its column image into the folder {folder}, which is"
        )


def is_csv(path: Path) -> bool:
    """Whether a file is a table of pixels by its name."""
    return path.suffix.lower() == ".csv"


def read_csv(path: Path, shape: ImageShape) -> NDArray[np.generic]:
    """Images [n, C, H, W] of a table with a row of pixels for each: uint8 where they go from 0 to 255, else floats.

    A first row that is not of numbers is a header. One column more than there are pixels is the label's and left out:
    the one that the header calls so, or the first, as in Kaggle's files of MNIST.

    Raises:
        InvalidInput: the file is too large, or not a table of numbers with as many columns as that.
    """
    pixels = shape.channels * shape.height * shape.width
    try:
        if path.stat().st_size > MOST:
            raise ValueError(f"it has more than {MOST} bytes")
        with path.open(encoding="utf-8-sig") as stream:
            header = [cell.strip().strip('"').lower() for cell in stream.readline(1 << 20).split(",")]
        names = [] if all(map(_is_number, header)) else header
        with warnings.catch_warnings(action="ignore"):  # of files without rows
            values = np.loadtxt(
                path, np.float32, delimiter=",", skiprows=int(names != []), ndmin=2, encoding="utf-8-sig"
            )
        if len(values) and values.shape[1] == pixels + 1:
            label = next((names.index(name) for name in _LABELS if name in names), 0)
            values = np.delete(values, label, axis=1)
        if not len(values) or values.shape[1] != pixels:
            raise ValueError(f"it has {len(values)} rows of {values.shape[1]} columns")
    except ValueError as error:
        raise InvalidInput(
            f"{path} cannot be read as a table of pixels ({error}); give rows of {pixels} numbers, with a label first "
            "or without, with a header or without"
        ) from None
    images = values.reshape(-1, *shape.axes)
    is_bytes = images.max() > 1 and images.min() >= 0 and images.max() <= 255 and (images == np.rint(images)).all()
    return images.astype(np.uint8) if is_bytes else images


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
