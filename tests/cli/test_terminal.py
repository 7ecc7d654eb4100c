"""The command line in a terminal: tables as wide as it, progress, pictures that are drawn in it, and opened."""

import base64
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from time import sleep
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.cli.main import main
from aae_zoo.runtime import load
from aae_zoo.runtime.checks import bench as benchmarks
from aae_zoo.runtime.drawing.grid import save_images

Picture = NDArray[np.float64]  # [height, width, 3], 0 to 255

AAE_ZOO: Final = Path(sys.executable).with_name("aae-zoo")
# What xterm answers to a program that asks what it can do; 4 is sixels.
_PLAIN: Final = b"\x1b[?62;22c"
_WITH_SIXELS: Final = b"\x1b[?62;4;22c"
_QUESTION: Final = b"\x1b[c"


def terminal(*arguments: Any, **how: Any) -> str:
    """What a command line that succeeds shows in a terminal."""
    return in_terminal([sys.executable, "-m", "aae_zoo.cli.main", *map(str, arguments)], **how)


def shown(picture: Path, **how: Any) -> str:
    """What the option --show draws of a picture in a terminal."""
    program = f"from aae_zoo.cli.viewing import View\nView({str(picture)!r}, show=True, open_=False)()"
    return in_terminal([sys.executable, "-c", program], **how)


def in_terminal(
    command: list[str],
    *,
    columns: int = 80,
    pixels: tuple[int, int] = (0, 0),
    typed: bytes = b"",
    answer: bytes = _PLAIN,
    **environment: str,
) -> str:
    """What a program that succeeds shows in a terminal of 40 lines, and says what it can do after what is typed."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, *pixels))
    modes = termios.tcgetattr(its)
    left_out = ("COLUMNS", "COLORTERM", "KITTY_WINDOW_ID", "STY", "TMUX")
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    given = inherited | {"TERM": "xterm-256color"} | environment
    output = b""
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=given, start_new_session=True) as process:
        os.close(its)
        with suppress(OSError):  # as Linux says that the other end was closed
            while part := os.read(ours, 65536):
                output += part
                if output.endswith(_QUESTION):
                    os.write(ours, typed)
                    sleep(0.1 if typed else 0)
                    os.write(ours, answer)
        assert termios.tcgetattr(ours) == modes  # the terminal is left as it was found
    os.close(ours)
    text = output.decode().replace("\r\n", "\n")
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
        assert any(len(line.split()[-1]) == 64 for line in terminal("info", "mnist-plane").splitlines())  # a SHA-256

    def test_a_terminal_with_no_room_for_words_breaks_the_lines_itself(self) -> None:
        assert terminal("list", columns=40) == terminal("list", columns=1000)

    def test_columns_are_straight_whatever_the_characters(self, tmp_path: Path) -> None:
        """Chinese ones and emoji take two columns each; accents none, nor do the parts of a Korean one."""
        wide = {"a.png": 5, "七八九.png": 10, "😀.png": 6, "e\u0301.png": 5, "\u1112\u1161\u11ab.png": 6}
        for name in wide:
            Image.new("L", (8, 8)).save(tmp_path / name)
        header, *rows = terminal("score", "digits-gauss", tmp_path).split("\r\x1b[K")[-1].splitlines()
        starts = [wide[name] + len(gap) for name, gap in re.findall(r"^(\S+)( +)", "\n".join(rows[:5]), re.MULTILINE)]
        assert starts == [header.index("score")] * len(wide)


def test_bench_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for constant, value in {"_SECONDS": 0.0, "_TIMED_PAIRS": 1, "_STARTS": 1, "TIMED_BATCHES": (1, 64)}.items():
        monkeypatch.setattr(benchmarks, constant, value)
    monkeypatch.setattr(sys, "argv", ["aae-zoo", "bench", "digits-gauss", "--json"])
    ours, its = pty.openpty()
    with os.fdopen(its, "w") as stderr, suppress(SystemExit):
        monkeypatch.setattr(sys, "stderr", stderr)
        main()
    monkeypatch.undo()
    whats = [timing["what"] for timing in json.loads(capsys.readouterr().out)]
    counts = [f"{number} of {len(whats)}: {what}"[:79] for number, what in enumerate(["", *whats])]
    text = b""
    with suppress(OSError):  # there is no more to come
        while part := os.read(ours, 65536):
            text += part
    os.close(ours)
    assert text.decode().split("\r\x1b[K") == ["", f"0 of {len(whats)}", *counts[1:], ""]


def test_reading_a_folder_tells_how_far_it_is(tmp_path: Path) -> None:
    save_images(load("digits-gauss").sample(2), f"{tmp_path / 'pictures'}/")
    text = terminal("encode", "digits-gauss", tmp_path / "pictures", "-o", tmp_path / "z.npy")
    lines = ["0 of 2", "1 of 2: 0000.png", "2 of 2: 0001.png", f"codes [2, 2] in {tmp_path / 'z.npy'}\n"]
    assert text.split("\r\x1b[K") == ["", *lines]
    again = ("encode", "digits-gauss", tmp_path / "pictures", "-o", tmp_path / "again.npy")
    assert terminal(*again, TERM="dumb") == f"codes [2, 2] in {tmp_path / 'again.npy'}\n"  # it clears no line


def test_how_far_it_is_fits_the_line_whatever_the_characters(tmp_path: Path) -> None:
    """Of a longer line, which the terminal breaks, only the end would be cleared again."""
    (tmp_path / "pictures").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "pictures" / f"{'七' * 60}.png")
    text = terminal("encode", "digits-gauss", tmp_path / "pictures", "-o", tmp_path / "z.npy", columns=40)
    assert text.split("\r\x1b[K")[2] == "1 of 1: " + "七" * 15  # of two columns each


def test_work_of_many_batches_tells_how_far_it_is(tmp_path: Path) -> None:
    lines = ["0 of 2,500", "1,024 of 2,500", "2,048 of 2,500"]
    drawn = terminal("sample", "digits-gauss", "-n", 2500, "-o", tmp_path / "x.npy")
    assert drawn.split("\r\x1b[K") == ["", *lines, f"2,500 images of digits-gauss in {tmp_path / 'x.npy'}\n"]
    scored = terminal("score", "digits-gauss", tmp_path / "x.npy", "-o", tmp_path / "x.csv")
    assert scored.split("\r\x1b[K")[:4] == ["", *lines]


def test_a_bar_is_as_wide_as_the_window_that_was_made_narrower() -> None:
    program = """
import fcntl, struct, termios, time
from pathlib import Path
from aae_zoo.zoo.data.pictures import progress
for _ in progress([Path()] * 2, "pictures"):
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("4H", 40, 50, 0, 0))
    time.sleep(0.2)
"""
    first, *_, last = in_terminal([sys.executable, "-c", program], columns=80).strip().split("\r")
    assert (len(first), len(last)) == (79, 49)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "x.png"
    save_images(load("digits-gauss").sample(4), str(path))
    return path


class TestShow:
    def test_a_command_draws_what_it_has_written(self, tmp_path: Path) -> None:
        output = tmp_path / "x.png"
        said, drawn = terminal("sample", "-n", 4, "--show", "-o", output, columns=60, COLORTERM="truecolor").split(
            "\n", 1
        )
        assert said == f"4 images of mnist-gauss in {output}"
        assert similar(half_blocks(drawn), opened(output), (60, 60))

    @pytest.mark.parametrize("depth", ["truecolor", ""])
    def test_half_blocks_are_two_pixels_each(self, depth: str, tmp_path: Path) -> None:
        red, green = np.mgrid[0:255:21j, 0:255:33j]
        picture = np.stack([red, green, 255 - red], -1).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "x.png")
        drawn = half_blocks(shown(tmp_path / "x.png", COLORTERM=depth))
        assert np.abs(drawn[:21] - picture).max() <= (0 if depth else 48)
        assert drawn.shape == (22, 33, 3)  # of 21 rows the last has none below it
        assert not drawn[21].any()

    def test_grays_of_256_colours(self, samples: Path) -> None:
        assert similar(half_blocks(shown(samples)), opened(samples), (80, 80))

    @pytest.mark.parametrize("surroundings", [{"TERM": "xterm-kitty"}, {"KITTY_WINDOW_ID": "1"}])
    def test_kitty_is_sent_the_picture_itself(self, surroundings: dict[str, str], tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "x.png")
        pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", shown(tmp_path / "x.png", **surroundings))
        assert [keys for keys, _ in pieces] == ["a=T,f=100,q=2,m=1", *["m=1"] * (len(pieces) - 2), "m=0"]
        assert max(len(piece) for _, piece in pieces) == 4096
        assert np.array_equal(opened(BytesIO(base64.b64decode("".join(piece for _, piece in pieces)))), noise)

    @pytest.mark.parametrize("within", [{"TERM": "tmux-256color"}, {"TMUX": "/run/tmux,1,0"}, {"STY": "1.a"}])
    def test_tmux_and_screen_in_kitty_are_asked_as_any_other(self, within: dict[str, str], samples: Path) -> None:
        assert "▀" in shown(samples, KITTY_WINDOW_ID="1", **within)

    def test_sixels_where_the_terminal_says_that_it_has_them(self, samples: Path) -> None:
        drawn = sixels(shown(samples, answer=_WITH_SIXELS))
        assert np.abs(drawn - opened(samples)).max() <= 5  # of 256 colours

    @pytest.mark.parametrize(
        ("answer", "expected"), [(b"\x1b[?1;0;16S", 16), (b"\x1b[?1;0;1024S", 256), (b"\x1b[?1;3;0S", 256), (b"", 256)]
    )
    def test_sixels_have_as_many_colours_as_the_terminal(self, answer: bytes, expected: int, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "x.png")
        drawn = sixels(shown(tmp_path / "x.png", answer=answer + _WITH_SIXELS))
        assert expected / 2 < len(np.unique(drawn.reshape(-1, 3), axis=0)) <= expected

    def test_rare_colours_are_kept(self, tmp_path: Path) -> None:
        picture = np.full((90, 90, 3), 240, np.uint8) - np.random.default_rng(0).integers(0, 99, (90, 90, 1), np.uint8)
        picture[4:8, 4:8], picture[20:24, 4:8] = (255, 0, 255), (0, 160, 60)
        Image.fromarray(picture).save(tmp_path / "x.png")
        drawn = sixels(shown(tmp_path / "x.png", answer=_WITH_SIXELS))
        assert np.abs(drawn - picture).max() <= 8

    def test_what_is_typed_is_no_answer(self, samples: Path) -> None:
        assert "\x1bPq" in shown(samples, typed=b"abc", answer=_WITH_SIXELS)

    def test_a_picture_that_is_wider_than_the_terminal_is_made_smaller(self, samples: Path) -> None:
        drawn = sixels(shown(samples, answer=_WITH_SIXELS, columns=30))
        assert similar(drawn, opened(samples), (240, 240))

    @pytest.mark.parametrize("surroundings", [{"TERM": "xterm-kitty"}, {"answer": _WITH_SIXELS}])
    def test_a_picture_that_is_higher_than_the_terminal_is_seen_at_once(
        self, surroundings: dict[str, Any], samples: Path
    ) -> None:
        text = shown(samples, pixels=(800, 200), **surroundings)  # lines of 5 pixels, of which three are left
        kitty = "".join(re.findall(r"\x1b_G[^;]*;([^\x1b]*)\x1b\\", text))
        drawn = opened(BytesIO(base64.b64decode(kitty))) if kitty else sixels(text)
        assert similar(drawn, opened(samples), (185, 185))

    def test_a_terminal_that_does_not_answer(self, samples: Path) -> None:
        assert "▀" in shown(samples, answer=b"")

    def test_what_it_cannot_draw_or_draw_on_is_refused_before_anything_is_written(
        self, refused: Callable[..., str], no_leftovers: Path
    ) -> None:
        assert "that draws, which stdout is not;" in refused("sample", "--show", "-o", no_leftovers / "x.png")
        for output in (no_leftovers / "x.npy", f"{no_leftovers}/folder/", "-"):
            for option in ("--show", "--open"):
                assert f"but the output is {output}; give -o name.png" in refused("sample", option, "-o", output)


class TestOpen:
    def test_the_desktops_program_is_given_the_picture(self, tmp_path: Path) -> None:
        browser = tmp_path / "browser"
        browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
        browser.chmod(0o755)
        output = tmp_path / "a picture.png"
        terminal("sample", "-n", 1, "--open", "-o", output, BROWSER=f"{browser} %s")
        assert (tmp_path / "opened").read_text() == f"{output.as_uri()}\n"
        assert output.exists()

    def test_a_machine_without_one(self, tmp_path: Path) -> None:
        """The picture is there all the same."""
        command = [
            sys.executable,
            "-m",
            "aae_zoo.cli.main",
            "sample",
            "-n",
            "1",
            "--open",
            "-o",
            str(tmp_path / "x.png"),
        ]
        without = {name: value for name, value in os.environ.items() if name not in ("BROWSER", "DISPLAY")}
        result = subprocess.run(command, env=without | {"PATH": str(tmp_path)}, capture_output=True, text=True)
        assert result.returncode == 1
        assert result.stderr.startswith(f"error: {tmp_path / 'x.png'} is written, but this machine has no program")
        assert result.stderr.count("\n") == 1
        assert (tmp_path / "x.png").exists()


def opened(file: Path | BytesIO) -> Picture:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"), float)


def similar(drawn: Picture, written: Picture, size: tuple[int, int]) -> bool:
    """Whether a picture is another one at this size, with a mean difference of 2 of 255 at most."""
    expected = np.asarray(Image.fromarray(written.astype(np.uint8)).resize(size), float)
    return drawn.shape == expected.shape and bool(np.abs(drawn - expected).mean() <= 2)


def half_blocks(text: str) -> Picture:
    """The pixels of half blocks, as a terminal would colour them."""
    rows: list[list[list[int]]] = []
    number = r"5;\d+|2;\d+;\d+;\d+"
    for line in filter(None, text.split(_QUESTION.decode())[-1].split("\n")):
        cells = re.findall(rf"\x1b\[38;({number});48;({number})m▀", line)
        assert "".join(f"\x1b[38;{a};48;{b}m▀" for a, b in cells) + "\x1b[0m" == line
        rows += [[colour(part) for part in half] for half in zip(*cells, strict=True)]
    return np.array(rows, float)


def colour(code: str) -> list[int]:
    """A colour of 24 bits, or one of xterm's 256."""
    kind, *values = map(int, code.split(";"))
    if kind == 2:
        return values
    (number,) = values
    if number >= 232:
        return [8 + 10 * (number - 232)] * 3
    return [(0, 95, 135, 175, 215, 255)[(number - 16) // step % 6] for step in (36, 6, 1)]


def sixels(text: str) -> Picture:
    """The pixels of sixels, as DEC's manual for the VT330 reads them."""
    match = re.search(r'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\', text)
    assert match
    width, height = int(match[1]), int(match[2])
    picture = np.full((height + 5, width, 3), -1.0)
    palette: dict[str, list[float]] = {}
    left = top = 0
    now = [-1.0] * 3
    for number, defined, repeat, letter, end in re.findall(
        r"#(\d+)(?:;2;(\d+;\d+;\d+))?|(?:!(\d+))?([?-~])|([$-])", match[3]
    ):
        if defined:
            palette[number] = [int(part) * 255 / 100 for part in defined.split(";")]
        elif number:
            now = palette[number]
        elif letter:
            times = int(repeat or 1)
            for row in range(6):
                if (ord(letter) - 63) >> row & 1:
                    picture[top + row, left : left + times] = now
            left += times
        else:
            left, top = 0, top + 6 * (end == "-")
    assert picture[:height].min() >= 0  # all is drawn
    return picture[:height]
