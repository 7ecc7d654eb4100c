"""Tables and JSON on stdout, notes on stderr."""

import json
import sys
from collections.abc import Sequence


def print_json(content: object) -> None:
    """Print JSON on stdout."""
    print(json.dumps(content, indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with aligned columns on stdout."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def note(message: str) -> None:
    """Print a note on stderr, where it does not mix with results."""
    print(message, file=sys.stderr)
