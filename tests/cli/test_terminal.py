"""The command line in a terminal: tables as wide as it, progress, pictures that are drawn in it, and opened."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from typing import Any, Final

import pytest

# What xterm answers to a program that asks what it can do; 4 is sixels.
_PLAIN: Final = b"\x1b[?62;22c"
_WITH_SIXELS: Final = b"\x1b[?62;4;22c"
_QUESTION: Final = b"\x1b[c"


def terminal(*arguments: Any, columns: int = 80, answer: bytes = _PLAIN, **environment: str) -> str:
    """What a command that succeeds shows in a terminal, which answers the question what it can do."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
    command = [sys.executable, "-m", "aae_zoo.cli.main", *map(str, arguments)]
    left_out = ("COLUMNS", "COLORTERM", "KITTY_WINDOW_ID", "TMUX")
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    given = inherited | {"TERM": "xterm-256color"} | environment
    shown = b""
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=given, start_new_session=True) as process:
        os.close(its)
        with suppress(OSError):  # as Linux says that the other end was closed
            while part := os.read(ours, 65536):
                shown += part
                if part.endswith(_QUESTION):
                    os.write(ours, answer)
    os.close(ours)
    text = shown.decode().replace("\r\n", "\n")
    assert process.returncode == 0, text
    return text


class TestTables:
    def test_they_are_as_wide_as_the_terminal_and_wrapped_between_words(self) -> None:
        lines = terminal("list", columns=80).splitlines()
        assert max(map(len, lines)) <= 80
        start = lines[0].index("description")
        described = " ".join(line[start:] for line in lines)
        assert "Compresses handwritten digits to eight numbers; draws them from a mixture fitted" in described
        assert any(not line[:start].strip() for line in lines)  # the description goes on under itself

    def test_what_is_too_long_for_any_line_is_not_broken(self) -> None:
        assert any(len(line.split()[-1]) == 64 for line in terminal("info", "mnist-gauss").splitlines())  # a SHA-256

    def test_a_terminal_with_no_room_for_words_breaks_the_lines_itself(self) -> None:
        assert "  Draws clothes, trained without a discriminator\n" in terminal("list", columns=40)
