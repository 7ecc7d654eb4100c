"""Tables and JSON on stdout, notes on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from aae_zoo.runtime.escapes import line

# Of more images than this, a command prints a summary.
FEW: Final = 20


def print_json(content: object) -> None:
    """Print JSON on stdout."""
    print(json.dumps(content, indent=2).replace("\x7f", "\\u007f"))  # JSON itself escapes all other control characters


def say(text: str, *, flush: bool = False) -> None:
    """Print one line on stdout, whatever is in it."""
    print(line(text), flush=flush)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with aligned columns on stdout."""
    cells = [list(map(line, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_records(records: Sequence[Mapping[str, object]]) -> None:
    """Print a table of records that have the same keys: numbers to four digits, yes for true, nothing for false."""
    print_table(list(records[0]), [[_cell(value) for value in record.values()] for record in records])


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def note(message: str) -> None:
    """Print one line on stderr, where it does not mix with results."""
    print(line(message), file=sys.stderr)
