"""Tables and JSON on stdout, notes on stderr."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TextIO, TypeVar

from aae_zoo.runtime.escapes import line

_Item = TypeVar("_Item")

# Of more images than this, a command prints a summary.
FEW: Final = 20
# With less room than this for the widest column, a terminal breaks the lines of a table itself.
_LEAST: Final = 10


def print_json(content: object) -> None:
    """Print JSON on stdout."""
    print(json.dumps(content, indent=2).replace("\x7f", "\\u007f"))  # JSON itself escapes all other control characters


def say(text: str, *, flush: bool = False) -> None:
    """Print one line on stdout, whatever is in it."""
    print(line(text), flush=flush)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with a header and aligned columns on stdout, as wide as a terminal at most."""
    print_rows([header, *rows])


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns on stdout; in a terminal, the widest is wrapped between words where they do not fit."""
    cells = [[_as_printed(cell, sys.stdout) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    widest = widths.index(max(widths))
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - sum(widths) - 2 * (len(widths) - 1) + widths[widest]
        widths[widest] = min(widths[widest], room) if room >= _LEAST else widths[widest]
    for row in cells:
        for number, part in enumerate(_wrapped(row[widest], widths[widest])):
            texts = [part if column == widest else "" if number else cell for column, cell in enumerate(row)]
            filled = [text + " " * (width - _width(text)) for text, width in zip(texts, widths, strict=True)]
            print("  ".join(filled).rstrip())


def _as_printed(text: str, stream: TextIO) -> str:
    """Text on one line, with escapes for what a stream's encoding lacks, which are wider than what they stand for."""
    encoding = stream.encoding or "utf-8"
    return line(text).encode(encoding, "backslashreplace").decode(encoding)


def _width(text: str) -> int:
    """How many columns of a terminal text takes: a Chinese character or an emoji takes two, an accent none."""
    if text.isascii():
        return len(text)
    import unicodedata  # what is ASCII does not need it

    return sum(
        0 if unicodedata.category(one) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in unicodedata.normalize("NFC", text)  # letters of Korean too, which macOS parts in names of files
    )


def _wrapped(text: str, width: int) -> list[str]:
    """Text in lines of whole words."""
    if _width(text) <= width:
        return [text]
    first, *words = text.split(" ")
    lines = [first]
    for word in words:
        longer = f"{lines[-1]} {word}"
        if _width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def print_records(records: Sequence[Mapping[str, object]]) -> None:
    """Print a table of records that have the same keys: numbers to four digits, yes for true, nothing for false."""
    print_table(list(records[0]), [[_cell(value) for value in record.values()] for record in records])


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def with_progress(items: Iterable[_Item], total: int, name: Callable[[_Item], str]) -> Iterator[_Item]:
    """Give the items, and tell on the last line of stderr, where it is a terminal, how many of `total` there are yet.

    It is written between the items alone: a thread of its own would get in the way of measurements.
    """
    try:
        _progress(f"0 of {total}")
        for number, item in enumerate(items, 1):
            _progress(f"{number} of {total}: {name(item)}")
            yield item
    finally:
        _progress("")


def rows_with_progress(parts: Iterator[slice], total: int) -> Iterator[slice]:
    """Give the rows of each batch, and tell in the same way how many of `total` are done."""
    try:
        for part in parts:
            _progress(f"{part.start:,} of {total:,}")
            yield part
    finally:
        _progress("")


def _progress(text: str) -> None:
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":  # which clears no line, as that of an editor
        most = shutil.get_terminal_size().columns - 1  # a longer line would be two, of which only one is cleared again
        text = _as_printed(text, sys.stderr)[:most]
        while _width(text) > most:
            text = text[:-1]
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
