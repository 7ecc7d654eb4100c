"""Texts that others wrote, each escaped for where it goes: there it says what it says, and does nothing else."""

import re
import sys
from typing import Final

# What would control a terminal, end a line, turn text round, or is not a character: a regular expression of JSON
# Schema's dialect too.
CONTROL: Final = r"[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
_CONTROL: Final = re.compile(CONTROL)
_MOST_SAID: Final = 200
# What Markdown would read as markup, which an underscore within a word is not; and the number of a list's item.
_MARKUP: Final = r"[\\`*\[\]<>|&~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[-+#=]"
_NUMBERED: Final = r"^(\d+)([.)])(?=\s|$)"


def is_line(text: str) -> bool:
    """Whether a text is one line without anything that `line` would escape."""
    return _CONTROL.search(text) is None


def line(text: str) -> str:
    r"""One line for a terminal: what would control it, end the line or turn text round is written as \x1b and so on."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def note(text: str) -> None:
    """Write one line on stderr, whatever is in it."""
    sys.stderr.write(f"{line(text)}\n")


def words_of(said: BaseException | str) -> str:
    """What another's error or program says, which may be pages, cut to what one of our sentences can hold on one line.

    An error without words is named by its class.
    """
    words = " ".join(str(said).split()) or ("it says nothing" if isinstance(said, str) else type(said).__name__)
    return words if len(words) <= _MOST_SAID else f"{words[:_MOST_SAID]}..."


def markdown(text: str) -> str:
    """One line of plain text in Markdown: https://spec.commonmark.org/0.31.2/#backslash-escapes."""
    return re.sub(_NUMBERED, r"\1\\\2", re.sub(_MARKUP, r"\\\g<0>", line(text)))


def markdown_code(text: str) -> str:
    """A span of code in Markdown, between as many backticks as it needs."""
    text = line(text).replace("|", "\\|")  # a table's cell ends at a bar, even within code
    ticks = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if "`" in text or not text.strip() else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def markdown_block(text: str, language: str = "") -> str:
    """Lines of code in Markdown, between as many backticks as they need."""
    lines = "\n".join(map(line, text.removesuffix("\n").split("\n")))
    ticks = "`" * max(3, max(map(len, re.findall("`+", lines)), default=0) + 1)
    return f"{ticks}{language}\n{lines}\n{ticks}"


def html_text(text: str) -> str:
    """Text in HTML, between tags or within the quotes of an attribute."""
    import html  # only pages need it

    return html.escape(line(text))


def shell_word(text: str) -> str:
    """One word of a POSIX shell's command, in single quotes."""
    return "'" + line(text).replace("'", "'\\''") + "'"


def protobuf_text(text: str) -> str:
    """A string of protobuf's text format, in its quotes: what is not plain is in octal bytes.

    https://protobuf.dev/reference/protobuf/textformat-spec/#string
    """
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in "\"'\\" else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'
