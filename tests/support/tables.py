"""Documents with tables that commands write."""

import re
from collections.abc import Sequence
from pathlib import Path

from aae_zoo.runtime.files import atomic_file


def replace_table(path: Path, begin: str, end: str, lines: Sequence[str]) -> None:
    """Put lines between two marks of a document, in place of what is there.

    Raises:
        SystemExit: the document has not just one pair of marks.
    """
    text = with_table(path, begin, end, lines)
    with atomic_file(path) as temporary:
        temporary.write_text(text, "utf-8")


def with_table(path: Path, begin: str, end: str, lines: Sequence[str]) -> str:
    """The text of a document with lines between its two marks, in place of what is there.

    Raises:
        SystemExit: as for `replace_table`.
    """
    table = "\n".join([begin, *lines, end])
    found = re.escape(begin) + ".*?" + re.escape(end)
    text, count = re.subn(found, lambda _: table, path.read_text("utf-8"), flags=re.S)
    if count != 1:
        raise SystemExit(f"{path} has {count} tables, expected one between {begin} and {end}")
    return text
