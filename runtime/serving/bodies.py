"""What requests bring and answers take: pictures, .npy arrays and JSON."""

import io
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from aae_zoo.runtime.bundles.manifest import ImageShape, Manifest
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.pictures import grid, read_picture
from aae_zoo.runtime.serving.batching import ROWS

NPY: Final = "application/x-npy"
PICTURES: Final = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif")
# A small file can be a huge picture.
_MAX_PIXELS: Final = 1 << 24

Number = Annotated[float, Field(ge=-1e6, le=1e6)]


class Encoded(BaseModel):
    """The codes of images, row by row; log_var, y and the classes' names where the model gives them."""

    z: list[list[float]]
    log_var: list[list[float]] | None = None
    y: list[list[float]] | None = None
    label: list[str] | None = None


def codes_model(manifest: Manifest, *, conditional: bool) -> type[BaseModel]:
    """What a request to decode says in JSON: z, and where the decoder is conditional, y too."""
    size = Field(min_length=1, max_length=ROWS)
    z_row = Annotated[list[Number], Field(min_length=manifest.latent, max_length=manifest.latent)]
    classes = len(manifest.labels)
    y_row = Annotated[list[Number], Field(min_length=classes, max_length=classes)]
    number = Annotated[int, Field(ge=0, le=max(0, classes - 1))]

    class Codes(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        z: Annotated[list[z_row], size]

    class CodesAndClasses(Codes):
        y: Annotated[list[number], size] | Annotated[list[y_row], size]

    return CodesAndClasses if conditional else Codes


def read_npy(body: bytes) -> NDArray[Any]:
    """The array of an .npy file.

    Raises:
        InvalidInput: it is none, is cut short or pickled, or has more than ROWS rows.
    """
    stream = io.BytesIO(body)
    try:
        major, _ = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if math.prod(shape) * dtype.itemsize != len(body) - stream.tell():
            raise ValueError(f"its header promises {dtype} {list(shape)}, which its length is not")
        stream.seek(0)
        array: NDArray[Any] = np.load(stream, allow_pickle=False)
    except (ValueError, EOFError, OverflowError, TypeError) as error:
        raise InvalidInput(f"the body cannot be read as an .npy array ({error}); send what numpy.save wrote") from None
    if array.ndim and len(array) > ROWS:
        raise InvalidInput(f"the array has {len(array)} rows, expected at most {ROWS}; send several requests")
    return array


def read_upload(body: bytes, shape: ImageShape, *, resize: bool) -> NDArray[np.uint8]:
    """The picture of a PNG, JPEG, WebP, BMP or GIF file as uint8 [1, C, H, W].

    Raises:
        InvalidInput: it is none, or has too many pixels, or has another size and `resize` is false.
    """
    try:
        with Image.open(io.BytesIO(body)) as opened:
            pixels = opened.width * opened.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pixels = 0  # read_picture says what is wrong
    if pixels > _MAX_PIXELS:
        raise InvalidInput(f"the picture has {pixels} pixels, expected at most {_MAX_PIXELS}; send a smaller one")
    return read_picture(io.BytesIO(body), shape, resize)[None]


def png(images: NDArray[np.float32]) -> bytes:
    """All images in one picture."""
    stream = io.BytesIO()
    grid(images).save(stream, "PNG")
    return stream.getvalue()


def npy(array: NDArray[np.float32]) -> bytes:
    """An array as an .npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def json(content: Mapping[str, Any]) -> bytes:
    """JSON with arrays as lists, float32 as short as gives the same number again."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
