"""What commands write: arrays, and bytes into a file or to stdout."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.files import atomic_file, output_errors


def save_arrays(arrays: dict[str, NDArray[Any]], output: str) -> None:
    """Write arrays: .npz all by name, .npy or - (to stdout, as .npy) the first.

    Raises:
        InvalidInput: the output has another suffix.
        OutputError: it cannot be written.
    """
    suffix = Path(output).suffix.lower()
    if suffix == ".npz":
        write_file(output, lambda stream: np.savez_compressed(stream, **arrays))  # type: ignore[arg-type]
    elif suffix == ".npy" or output == "-":
        write_file(output, lambda stream: np.save(stream, next(iter(arrays.values()))))
    else:
        raise InvalidInput(f"the output {output} ends in {suffix or 'nothing'}, expected .npy, .npz or -")


def write_file(output: str, write: Callable[[IO[bytes]], object]) -> None:
    """Call `write` with a binary stream that becomes the file `output` when it is complete, or is stdout for "-".

    Raises:
        OutputError: the file cannot be written.
    """
    if output == "-":
        buffer = io.BytesIO()  # a pipe cannot seek
        write(buffer)
        with output_errors(Path("stdout")):
            sys.stdout.buffer.write(buffer.getbuffer())
            sys.stdout.buffer.flush()
        return
    with atomic_file(Path(output)) as temporary, temporary.open("wb") as stream:
        write(stream)
