"""What commands write: arrays, bytes into a file or to stdout, and what says in a PNG file whose it is."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.files import atomic_file, output_errors
from aae_zoo.runtime.ownership import SOFTWARE

# What a file takes at least on usual disks.
BLOCK: Final = 4096


def save_arrays(arrays: dict[str, NDArray[Any]], output: str) -> None:
    """Write arrays: .npz all by name, .npy or - (to stdout, as .npy) the first.

    Raises:
        InvalidInput: the output has another suffix.
        OutputError: it cannot be written.
    """
    check_arrays(output)
    if Path(output).suffix.lower() == ".npz":
        write_file(output, lambda stream: np.savez_compressed(stream, **arrays))  # type: ignore[arg-type]
    else:
        write_file(output, lambda stream: np.save(stream, next(iter(arrays.values()))))


def check_arrays(output: str) -> None:
    """Refuse an output that `save_arrays` would, before minutes of work.

    Raises:
        InvalidInput: its suffix is not that of arrays.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in (".npy", ".npz") and output != "-":
        raise InvalidInput(f"the output {output} ends in {suffix or 'nothing'}, expected .npy, .npz or -")


def write_file(output: str, write: Callable[[IO[bytes]], object]) -> None:
    """Call `write` with a binary stream that becomes the file `output` when it is complete, or is stdout for "-".

    Raises:
        OutputError: the file cannot be written.
        BrokenPipeError: whoever read stdout has gone.
    """
    if output == "-":
        buffer = io.BytesIO()  # a pipe cannot seek
        write(buffer)
        with output_errors(Path("stdout")):
            rest = buffer.getbuffer()
            while rest:  # without a buffer (PYTHONUNBUFFERED) stdout may take a part, as where a disk gets full
                rest = rest[sys.stdout.buffer.write(rest) :]
            sys.stdout.buffer.flush()
        return
    with atomic_file(Path(output), links=True) as temporary, temporary.open("wb") as stream:
        write(stream)


def png_text() -> PngInfo:
    """What a PNG file says of itself: that aae-zoo wrote it."""
    ours = PngInfo()
    ours.add_text("Software", SOFTWARE)
    return ours
