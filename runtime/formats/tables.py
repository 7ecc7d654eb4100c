"""Tables of figures, one row an image: what score writes."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.files import atomic_file

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
    path, suffix = Path(output), Path(output).suffix.lower()
    if suffix not in (".csv", ".json", ".npz"):
        raise InvalidInput(f"the output {output} ends in {path.suffix or 'nothing'}, expected .csv, .json or .npz")
    with atomic_file(path) as temporary:
        if suffix == ".npz":
            with temporary.open("wb") as stream:  # numpy would add .npz to a name that ends in .NPZ
                arrays = {name: np.asarray(column) for name, column in columns.items()}
                np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        elif suffix == ".json":
            temporary.write_text(json.dumps(rows(columns), indent=2) + "\n", "utf-8")
        else:
            _write_csv(temporary, columns)


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
