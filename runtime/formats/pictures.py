"""Pictures and arrays on disk that users give."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.formats.arrays import MOST
from aae_zoo.runtime.formats.decoded import Decoding, jpeg_size, measure_picture, npy_header
from aae_zoo.runtime.formats.folders import FORMATS, check_file
from aae_zoo.runtime.formats.plan import Notices, Plan
from aae_zoo.runtime.formats.preparation import Loose, Original, check_size, finish, loosen, original_of_picture

if TYPE_CHECKING:
    from aae_zoo.runtime.formats.npz import Npz


def read_array(path: Path, names: tuple[str, ...]) -> NDArray[Any]:
    """Read an .npy array, or from an .npz the first array with one of `names`, or its only one. No pickles.

    Raises:
        InvalidInput: there is no such file or array, or it is damaged, pickled or too large.
    """
    with _opened(path) as content:
        if isinstance(content, np.ndarray):
            return np.asarray(content)
        found = [n for n in names if n in content.names] or (content.names if len(content.names) == 1 else [])
        if found:
            return content.read(found[0])
        raise InvalidInput(
            f"{path} holds the arrays {str(content.names)[:200]}, expected one called {' or '.join(names)}"
        )


def read_codes(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read codes: z as `read_array` finds it, and y where an .npz has it too.

    Raises:
        InvalidInput: as for `read_array`.
    """
    codes = {"z": read_array(path, ("z",))}
    with _opened(path) as content:
        if not isinstance(content, np.ndarray) and {"z", "y"} <= set(content.names):
            codes["y"] = content.read("y")
    return codes


def read_labels(path: Path) -> NDArray[Any] | None:
    """The labels that a file of arrays has beside its images, or None if it has none.

    Raises:
        InvalidInput: as for `read_array`.
    """
    with _opened(path) as content:
        if isinstance(content, np.ndarray):
            return None
        return next((content.read(name) for name in ("labels", "label") if name in content.names), None)


@contextmanager
def _opened(path: Path) -> Iterator["NDArray[Any] | Npz"]:
    """The array of an .npy file, which stays on disk until its rows are asked for, or the arrays of an .npz file.

    Errors, then or later, become InvalidInput.
    """
    from aae_zoo.runtime.formats.npz import Npz  # slow to import, and drawing does not need it

    check_file(path, "an .npy or .npz file")
    try:
        with path.open("rb") as stream:
            if path.suffix.lower() == ".npy":
                npy_header(stream, path.stat().st_size)
                yield np.load(path, mmap_mode="r", allow_pickle=False)
            else:
                yield Npz(stream, MOST)
    except InvalidInput:
        raise
    except Exception as error:  # a damaged file raises whatever its reader meets first
        why = words_of(error)
        raise InvalidInput(f"{path} cannot be read as an array ({why}); give one that numpy.save wrote") from None


def read_picture(source: Path | IO[bytes], plan: Plan, notices: Notices) -> NDArray[np.uint8]:
    """One picture, a file or its content, as uint8 [C, H, W].

    Raises:
        InvalidInput: as for `measure`, its decoding would take more than MOST bytes, or as for `prepare`.
    """
    name, decoding = _name(source), measure(source, plan)
    _check_cost(name, decoding)
    with picture_errors(name):
        return finish(_decoded(source, plan, name, notices), plan, name, notices)


def read_original(path: Path, plan: Plan) -> Original:
    """A picture that `read_picture` has read, in its own size, of which JPEG files are not always decoded.

    Raises:
        InvalidInput: it cannot be read any more, or its decoding would take more than MOST bytes.
    """
    with picture_errors(str(path)):
        _check_cost(str(path), measure_picture(path, replace(plan, resize=False)))
        with _open(path) as opened:
            return original_of_picture(opened, plan)


def measure(source: Path | IO[bytes], plan: Plan) -> Decoding:
    """What decoding a picture takes, which only its header is read for.

    Raises:
        InvalidInput: it is not a picture, or has another size and is not to be resized.
    """
    name = _name(source)
    if isinstance(source, Path):
        check_file(source, "a PNG or JPEG file")
    with picture_errors(name):
        decoding = measure_picture(source, plan)
        if not plan.resize:
            check_size((decoding.width, decoding.height), plan.shape, name, turned=True)
        return decoding


def _check_cost(name: str, decoding: Decoding) -> None:
    if decoding.cost > MOST:
        raise InvalidInput(
            f"{name} has {decoding}, which would take {decoding.cost} bytes, expected at most {MOST}; make it smaller"
        )


def _decoded(source: Path | IO[bytes], plan: Plan, name: str, notices: Notices) -> Loose:
    """A picture in the model's colours; the one that was decoded is gone when this returns."""
    with _open(source) as opened:
        size = jpeg_size(plan)
        decoded = opened.draft(None, size) if size else None
        opened.load()
        if decoded is None or decoded[1] == (0, 0, *opened.size):
            return loosen(opened, plan, name, notices)
        # It does not fill the last row or column of its pixels, and would become larger than it is.
        picture = opened.resize(opened.size, Image.Resampling.LANCZOS, decoded[1])
    return loosen(picture, plan, name, notices)


@contextmanager
def _open(source: Path | IO[bytes]) -> Iterator[Image.Image]:
    """A picture, not by its name: a TIFF file that has one is mapped, and scrambled where it lies on its side."""
    with (
        source.open("rb") if isinstance(source, Path) else nullcontext(source) as stream,
        Image.open(stream, formats=tuple(FORMATS)) as opened,
    ):
        yield opened


def _name(source: Path | IO[bytes]) -> str:
    return str(source) if isinstance(source, Path) else "the picture"


@contextmanager
def picture_errors(name: str) -> Iterator[None]:
    """Turn whatever decoding a picture raises into one InvalidInput that names it."""
    try:
        yield
    except (InvalidInput, RuntimeWarning):  # our own warnings, where they are errors
        raise
    except Exception as error:  # a damaged file raises whatever its decoder meets first
        why = "its format is unknown" if isinstance(error, UnidentifiedImageError) else words_of(error)
        raise InvalidInput(f"{name} cannot be read as a picture ({why}); give a PNG or JPEG file") from None
