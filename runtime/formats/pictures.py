"""Pictures and arrays on disk: what users give to encode, and what sample and decode write."""

import io
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.files import atomic_file, atomic_folder, output_errors
from aae_zoo.runtime.formats.decoded import MOST, Decoding, jpeg_size, measure_picture, npy_header, reason
from aae_zoo.runtime.formats.folders import FORMATS, check_file
from aae_zoo.runtime.formats.plan import Notices, Plan
from aae_zoo.runtime.formats.preparation import Loose, check_size, finish, loosen
from aae_zoo.runtime.formats.stream import Stream
from aae_zoo.runtime.ownership import SOFTWARE

_GRID_WIDTH: Final = 480

if TYPE_CHECKING:
    from aae_zoo.runtime.formats.npz import Npz

# Images, or those that a stream gives batch by batch.
Results = NDArray[np.float32] | Stream


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


def save_images(images: Results, output: str, *, columns: int | None = None, gap: int = 2) -> None:
    """Write images [n, C, H, W] in [0, 1]: name.png one grid, folder/ one file each, .npy or .npz arrays, - to stdout.

    `columns` and `gap` are those of the grid. A stream goes into an .npy file or a folder without being held whole.

    Raises:
        InvalidInput: the output has a suffix that is none of these.
        OutputError: it cannot be written.
    """
    path, suffix = Path(output), Path(output).suffix.lower()
    if output == "-" or suffix == ".png":
        _check_pixels(math.prod(images.shape), images.shape[0])  # before a stream is worked out
        picture, ours = grid(_whole(images), columns, gap=gap), PngInfo()
        ours.add_text("Software", SOFTWARE)
        write_file(output, lambda stream: picture.save(stream, "PNG", pnginfo=ours))
    elif suffix == ".npy" and isinstance(images, Stream):
        images.save(path)
    elif suffix in (".npy", ".npz"):
        save_arrays({"image": _whole(images)}, output)
    elif output and (output.endswith("/") or not suffix or path.is_dir()):
        with atomic_folder(path) as folder:
            width = max(4, len(str(images.shape[0] - 1)))
            for number, pixels in enumerate(_each(images)):
                Image.fromarray(pixels).save(folder / f"{number:0{width}}.png")
    else:
        ending = path.suffix or "nothing"
        raise InvalidInput(f"the output {output} ends in {ending}, expected .png, .npy, .npz, a folder/ or -")


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


def grid(
    images: NDArray[np.float32], columns: int | None = None, *, gap: int = 2, scale: int | None = None
) -> Image.Image:
    """All images in one picture, row by row, by default as square as can be, small ones enlarged by a whole factor."""
    pixels = to_uint8(images)
    columns = columns or math.ceil(math.sqrt(len(pixels)))
    rows = math.ceil(len(pixels) / columns)
    height, width = pixels.shape[1] + gap, pixels.shape[2] + gap
    canvas = np.zeros((rows * height - gap, columns * width - gap, *pixels.shape[3:]), np.uint8)
    for number, image in enumerate(pixels):
        top, left = number // columns * height, number % columns * width
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    picture = Image.fromarray(canvas)
    factor = scale or max(1, round(_GRID_WIDTH / picture.width))
    _check_pixels(picture.width * picture.height * factor**2, len(pixels))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _check_pixels(pixels: int, images: int) -> None:
    if pixels > MOST:
        raise InvalidInput(
            f"a picture of {images} images has {pixels} pixels, expected at most {MOST}; write an .npy file"
        )


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images [n, C, H, W] in [0, 1] as bytes [n, H, W] for gray, [n, H, W, C] for colour."""
    pixels = np.rint(images * 255).astype(np.uint8)
    return pixels[:, 0] if pixels.shape[1] == 1 else np.moveaxis(pixels, 1, -1)


def _whole(images: Results) -> NDArray[np.float32]:
    return np.concatenate(list(images)) if isinstance(images, Stream) else images


def _each(images: Results) -> Iterator[NDArray[np.uint8]]:
    for part in images if isinstance(images, Stream) else [images]:
        yield from to_uint8(part)


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
        why = reason(error)
        raise InvalidInput(f"{path} cannot be read as an array ({why}); give one that numpy.save wrote") from None


def read_picture(source: Path | IO[bytes], plan: Plan, notices: Notices) -> NDArray[np.uint8]:
    """One picture, a file or its content, as uint8 [C, H, W].

    Raises:
        InvalidInput: as for `measure`, its decoding would take more than MOST bytes, or as for `prepare`.
    """
    name, decoding = _name(source), measure(source, plan)
    if decoding.cost > MOST:
        raise InvalidInput(
            f"{name} has {decoding}, which would take {decoding.cost} bytes, expected at most {MOST}; make it smaller"
        )
    with _picture_errors(name):
        return finish(_decoded(source, plan, name, notices), plan, name, notices)


def measure(source: Path | IO[bytes], plan: Plan) -> Decoding:
    """What decoding a picture takes, which only its header is read for.

    Raises:
        InvalidInput: it is no picture, or has another size and is not to be resized.
    """
    name = _name(source)
    if isinstance(source, Path):
        check_file(source, "a PNG or JPEG file")
    with _picture_errors(name):
        decoding = measure_picture(source, plan)
        if not plan.resize:
            check_size((decoding.width, decoding.height), plan.shape, name, turned=True)
        return decoding


def _decoded(source: Path | IO[bytes], plan: Plan, name: str, notices: Notices) -> Loose:
    """A picture in the model's colours; the one that was decoded is gone when this returns."""
    with Image.open(source, formats=tuple(FORMATS)) as opened:
        if size := jpeg_size(plan):
            opened.draft(None, size)
        opened.load()
        return loosen(opened, plan, name, notices)


def _name(source: Path | IO[bytes]) -> str:
    return str(source) if isinstance(source, Path) else "the picture"


@contextmanager
def _picture_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (InvalidInput, RuntimeWarning):  # our own warnings, where they are errors
        raise
    except Exception as error:  # a damaged file raises whatever its decoder meets first
        why = "its format is unknown" if isinstance(error, UnidentifiedImageError) else reason(error)
        raise InvalidInput(f"{name} cannot be read as a picture ({why}); give a PNG or JPEG file") from None
