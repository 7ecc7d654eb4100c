"""A picture that was written, shown: in the terminal, or by the program that this desktop opens pictures with."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aae_zoo.runtime.errors import InvalidInput, OutputError

if TYPE_CHECKING:
    from PIL.Image import Image

# Seconds for a terminal to say what it can do.
_PATIENCE: Final = 1.0
# Columns of pixels in one of text, where the terminal does not say.
_CELL: Final = 8
_COLOURS: Final = 64  # of a sixel picture: terminals have 256 at most, and each one more makes it longer
_CHUNK: Final = 4096  # characters of a kitty picture in one escape


class View:
    """How the picture in `output` is shown once it is written: drawn in the terminal, opened in a viewer, or both.

    Raises:
        InvalidInput: the output is no picture, or there is no terminal to draw it in.
    """

    def __init__(self, output: str, *, show: bool, open_: bool) -> None:
        self._path, self._show, self._open = Path(output), show, open_
        if (show or open_) and self._path.suffix.lower() != ".png":
            raise InvalidInput(f"--show and --open take one picture, but the output is {output}; give -o name.png")
        if show and (not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"):
            raise InvalidInput("--show needs a terminal that draws, which stdout is not; leave it out, or give --open")

    def __call__(self) -> None:
        """Show it.

        Raises:
            OutputError: this machine has no program to open it with.
        """
        if self._show:
            _show(self._path)
        if self._open:
            _open(self._path)


def _open(path: Path) -> None:
    import webbrowser  # it asks the desktop first, which knows a viewer for pictures

    if not webbrowser.open(path.resolve().as_uri()):
        raise OutputError(f"{path} is written, but this machine has no program to open it with; leave out --open")


def _show(path: Path) -> None:
    from PIL.PngImagePlugin import PngImageFile  # Image.open refuses what is large, and this is our own

    with PngImageFile(path) as opened:
        picture = opened.convert("RGB")
    if _is_kitty():
        text = _kitty(_fitted(picture, _width()))
    elif _has_sixels():
        text = _sixels(_fitted(picture, _width()))
    else:
        text = _half_blocks(_fitted(picture, shutil.get_terminal_size().columns))
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{text}\n".encode())  # whatever the encoding of names: these are for the terminal
    sys.stdout.buffer.flush()


def _fitted(picture: "Image", width: int) -> "Image":
    if picture.width <= width:
        return picture
    return picture.resize((width, max(1, round(picture.height * width / picture.width))))


def _width() -> int:
    """The width of the terminal in pixels."""
    import fcntl
    import struct
    import termios

    size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    _, columns, width, _ = struct.unpack("4H", size)
    return width or _CELL * (columns or shutil.get_terminal_size().columns)


def _is_kitty() -> bool:
    """Whether the terminal knows kitty's graphics: through tmux and screen it does not."""
    term = os.environ.get("TERM", "")
    return term in ("xterm-kitty", "xterm-ghostty") or (
        "KITTY_WINDOW_ID" in os.environ and not term.startswith(("screen", "tmux"))
    )


def _has_sixels() -> bool:
    """Whether the terminal names sixels among its attributes, which it is asked for (DA1)."""
    try:
        import select
        import termios
        import tty
    except ImportError:  # Windows
        return False
    if not sys.stdin.isatty():
        return False
    keyboard, reply = sys.stdin.fileno(), b""
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard, termios.TCSADRAIN)
        sys.stdout.write("\x1b[c")
        sys.stdout.flush()
        while not reply.endswith(b"c") and select.select([keyboard], [], [], _PATIENCE)[0]:
            reply += os.read(keyboard, 64) or b"c"
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
    attributes = re.search(rb"\x1b\[\?([\d;]+)c", reply)
    return bool(attributes and b"4" in attributes[1].split(b";"))


def _kitty(picture: "Image") -> str:
    """A picture for kitty's graphics protocol: a PNG in base64, in pieces."""
    import base64
    import io

    picture.save(content := io.BytesIO(), "PNG")
    data = base64.standard_b64encode(content.getbuffer()).decode()
    pieces = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    keys = ["a=T,f=100,q=2,", *[""] * (len(pieces) - 1)]
    more = [*[1] * (len(pieces) - 1), 0]
    return "".join(f"\x1b_G{k}m={m};{piece}\x1b\\" for k, m, piece in zip(keys, more, pieces, strict=True))


def _sixels(picture: "Image") -> str:
    """A picture as sixels: bands of six rows, and in each of them every colour's pixels as one letter a column."""
    import numpy as np

    drawn = picture.quantize(_COLOURS)
    pixels, palette = np.asarray(drawn), drawn.getpalette() or []
    parts = [f'\x1bPq"1;1;{drawn.width};{drawn.height}']
    for colour in range(len(palette) // 3):
        red, green, blue = (round(value * 100 / 255) for value in palette[3 * colour : 3 * colour + 3])
        parts.append(f"#{colour};2;{red};{green};{blue}")
    for top in range(0, drawn.height, 6):
        band = pixels[top : top + 6]
        bits = 1 << np.arange(len(band))
        for colour in np.unique(band):
            letters = (63 + bits @ (band == colour)).astype(np.uint8).tobytes().decode()
            parts.append(f"#{colour}" + re.sub(r"(.)\1{3,}", lambda m: f"!{len(m[0])}{m[1]}", letters) + "$")
        parts.append("-")
    return "".join(parts) + "\x1b\\"


def _half_blocks(picture: "Image") -> str:
    """A picture as letters, two pixels each: an upper half block in the colour of the upper, on that of the lower."""
    import numpy as np

    colour = _rgb if os.environ.get("COLORTERM") in ("truecolor", "24bit") else _of_256
    rows = np.asarray(picture).tolist()
    rows += [[(0, 0, 0)] * picture.width] * (len(rows) % 2)
    lines = [
        "".join(f"\x1b[38;{colour(*a)};48;{colour(*b)}m▀" for a, b in zip(upper, lower, strict=True)) + "\x1b[0m"
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
    return "\n".join(lines)


def _rgb(red: int, green: int, blue: int) -> str:
    return f"2;{red};{green};{blue}"


def _of_256(red: int, green: int, blue: int) -> str:
    """The nearest of xterm's 24 grays, or of its cube of 6 x 6 x 6 colours."""
    if red == green == blue and 3 <= red < 243:
        return f"5;{232 + (red - 3) // 10}"
    return f"5;{16 + 36 * _step(red) + 6 * _step(green) + _step(blue)}"


def _step(value: int) -> int:
    """The nearest of the cube's steps, which are 0, 95, 135, 175, 215 and 255."""
    return 0 if value < 48 else 1 if value < 115 else (value - 35) // 40
