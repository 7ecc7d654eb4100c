"""A picture that was written, shown: in the terminal, or by the program that this desktop opens pictures with."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aae_zoo.runtime.errors import InvalidInput, OutputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

# Seconds for a terminal to say what it can do.
_PATIENCE: Final = 1.0
# Width and height of a letter in pixels, where the terminal does not say.
_CELL: Final = (8, 16)
# Lines that are left for what is said before a picture, for the rest of its last one, and for what is typed after it.
_LINES: Final = 3
# It is asked how many colours its sixels have (XTSMGRAPHICS), and what it can do (DA1), which all answer.
_QUESTION: Final = "\x1b[?1;1;0S\x1b[c"
_COLOURS: Final = re.compile(rb"\x1b\[\?1;0;(\d+)S")
_ATTRIBUTES: Final = re.compile(rb"\x1b\[\?([\d;]+)c")
_MOST_COLOURS: Final = 256  # what most have that do not say, and what a palette of Pillow holds
_THUMBNAIL: Final = 128  # pixels a side that colours are chosen by: of all pixels it would take a second
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
        text = _kitty(_fitted(picture, *_space()))
    elif colours := _sixel_colours():
        text = _sixels(_fitted(picture, *_space()), colours)
    else:  # as wide as can be, since so few pixels are hard to tell, and not to be seen at once where that is too high
        text = _half_blocks(_fitted(picture, shutil.get_terminal_size().columns, picture.height))
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{text}\n".encode())  # whatever the encoding of names: these are for the terminal
    sys.stdout.buffer.flush()


def _fitted(picture: "Image", width: int, height: int) -> "Image":
    scale = min(width / picture.width, height / picture.height)
    if scale >= 1:
        return picture
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))


def _space() -> tuple[int, int]:
    """How wide and high a picture may be, in pixels, that is seen at once in the terminal."""
    import fcntl
    import struct
    import termios

    size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    lines, columns, width, height = struct.unpack("4H", size)
    if not (lines and columns):
        columns, lines = shutil.get_terminal_size()
    cell_width, cell_height = (width / columns, height / lines) if width and height else _CELL
    return int(columns * cell_width), max(1, int((lines - _LINES) * cell_height))


def _is_kitty() -> bool:
    """Whether the terminal knows kitty's graphics: through tmux and screen it does not."""
    term, within = os.environ.get("TERM", ""), {"TMUX", "STY"} & os.environ.keys()
    return term in ("xterm-kitty", "xterm-ghostty") or (
        "KITTY_WINDOW_ID" in os.environ and not within and not term.startswith(("screen", "tmux"))
    )


def _sixel_colours() -> int:
    """How many colours a sixel picture may have in the terminal, by its own words; 0 if it has no sixels."""
    reply = _answer()
    attributes, colours = _ATTRIBUTES.search(reply), _COLOURS.search(reply)
    if not attributes or b"4" not in attributes[1].split(b";"):
        return 0
    return min(int(colours[1]), _MOST_COLOURS) if colours else _MOST_COLOURS


def _answer() -> bytes:
    """What the terminal answers to the question, and what was typed meanwhile; nothing where it cannot be asked."""
    try:
        import select
        import termios
        import tty
    except ImportError:  # Windows
        return b""
    if not sys.stdin.isatty():
        return b""
    keyboard, reply = sys.stdin.fileno(), b""
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard, termios.TCSADRAIN)
        sys.stdout.write(_QUESTION)
        sys.stdout.flush()
        while not _ATTRIBUTES.search(reply) and select.select([keyboard], [], [], _PATIENCE)[0]:
            if not (part := os.read(keyboard, 64)):
                break
            reply += part
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
    return reply


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


def _sixels(picture: "Image", colours: int) -> str:
    """A picture as sixels: what its colours are, and bands of six rows."""
    import numpy as np
    from PIL.Image import Dither, Resampling

    size = min(picture.width, _THUMBNAIL), min(picture.height, _THUMBNAIL)
    chosen = picture.resize(size, Resampling.NEAREST).quantize(colours, kmeans=1)
    drawn = picture.quantize(palette=chosen, dither=Dither.NONE)
    pixels = np.asarray(drawn)
    palette = [round(value * 100 / 255) for value in drawn.getpalette() or []]
    defined = [f"#{i // 3};2;{palette[i]};{palette[i + 1]};{palette[i + 2]}" for i in range(0, len(palette), 3)]
    bands = [_band(pixels[top : top + 6]) for top in range(0, drawn.height, 6)]
    return f'\x1bPq"1;1;{drawn.width};{drawn.height}{"".join(defined)}{"-".join(bands)}\x1b\\'


def _band(rows: "NDArray[np.uint8]") -> str:
    """Up to six rows of colours [rows, width]: after each colour a letter a column, with a bit for each of the rows."""
    import numpy as np

    bits, parts = 1 << np.arange(len(rows)), []
    for colour in np.unique(rows):
        letters = (63 + bits @ (rows == colour)).astype(np.uint8).tobytes().decode()
        parts.append(f"#{colour}" + re.sub(r"(.)\1{3,}", lambda m: f"!{len(m[0])}{m[1]}", letters))
    return "$".join(parts)


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
