"""Tables with one row an image: figures that score writes, and pixels that are read."""

import csv
import json
import shlex
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.files import atomic_file
from aae_zoo.runtime.formats.arrays import MOST
from aae_zoo.runtime.words import counted

_LABELS: Final = ("label", "labels", "class", "target", "y")
# Writes the picture files that a column of a table has, as those of the Hub's data sets do.
_UNPACK: Final = (
    "import pathlib, pyarrow.parquet as p; o = pathlib.Path({folder!r}); o.mkdir(); "
    "[(o / f'{{i:06}}.png').write_bytes(x['bytes']) "
    "for i, x in enumerate(p.read_table({file!r})['image'].to_pylist())]"
)

Columns = Mapping[str, Sequence[Any] | NDArray[Any]]


def rows(columns: Columns) -> list[dict[str, Any]]:
    """The rows of columns of equal length, in Python's own types, with the seven digits that float32 has."""
    values = [[_plain(value) for value in column] for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def save_table(columns: Columns, output: str) -> None:
    """Write columns of equal length: .csv with a header, .json a list of objects, .npz one array a column.

    Raises:
        InvalidInput: the output has another suffix.
        OutputError: it cannot be written.
    """
    check_table(output)
    path, suffix = Path(output), Path(output).suffix.lower()
    with atomic_file(path, links=True) as temporary:
        if suffix == ".npz":
            with temporary.open("wb") as stream:  # numpy would add .npz to a name that ends in .NPZ
                arrays = {name: np.asarray(column) for name, column in columns.items()}
                np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        elif suffix == ".json":
            temporary.write_text(json.dumps(rows(columns), indent=2) + "\n", "utf-8")
        else:
            _write_csv(temporary, columns)


def check_table(output: str) -> None:
    """Refuse an output that `save_table` would, before minutes of work.

    Raises:
        InvalidInput: its suffix is not that of a table.
    """
    suffix = Path(output).suffix
    if suffix.lower() not in (".csv", ".json", ".npz"):
        raise InvalidInput(f"the output {output} ends in {suffix or 'nothing'}, expected .csv, .json or .npz")


def _write_csv(path: Path, columns: Columns) -> None:
    # The name of a file need not be Unicode.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row.values()] for row in rows(columns))


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return float(f"{value:.7g}") if isinstance(value, float) else value


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
            raise ValueError(f"it has {counted(len(values), 'row')} of {counted(values.shape[1], 'column')}")
    except ValueError as error:
        raise InvalidInput(
            f"{path} cannot be read as a table of pixels ({words_of(error)}); give rows of {pixels} numbers, with a "
            "label first or without, with a header or without"
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
