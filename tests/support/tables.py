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
    table, text = "\n".join([begin, *lines, end]), path.read_text("utf-8")
    text, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: table, text, flags=re.S)
    if count != 1:
        raise SystemExit(f"{path} has {count} tables, expected one between {begin} and {end}")
    with atomic_file(path) as temporary:
        temporary.write_text(text, "utf-8")
