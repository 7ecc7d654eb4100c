"""What requests bring and answers take: pictures, .npy arrays and JSON."""

import io
from collections.abc import Mapping
from typing import Annotated, Any, Final

import numpy as np
import orjson
from fastapi import HTTPException
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.drawing.grid import grid
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.formats.decoded import npy_header
from aae_zoo.runtime.formats.folders import FORMATS
from aae_zoo.runtime.serving.batching import ROWS

NPY: Final = "application/x-npy"
# The most bytes of JSON, and of what it has: all that reads it keeps Python's own lock, above all to make lists, and to
# say of every name that it is not known.
MAX_JSON: Final = 1 << 22
JSON_MARKS: Final = {
    b",": ("commas", 1 << 20),
    b"[": ("lists", 1 << 16),
    b"{": ("objects", 1000),
    b":": ("names", 1000),
}
PICTURES: Final = tuple(kind for kind, *_ in FORMATS.values())
# Measured for JSON of every kind of value: bytes of memory for a comma, a list or object, and a name; a name that is
# not known makes an error of its own.
_JSON_COSTS: Final = {b",": 90, b"[": 100, b"{": 100, b":": 1500}
# A text is there as the body, as its characters and as a value; one large character makes all take four bytes each.
_JSON_TEXT: Final = {True: 3, False: 10}

Number = Annotated[float, Field(ge=-1e6, le=1e6)]


class Told(BaseModel):
    """The most probable value of an attribute for each image, and how probable it is."""

    value: list[str]
    probability: list[float]


class Encoded(BaseModel):
    """The codes of images, row by row; log_var, y and the classes' names where the model gives them.

    Of a model with several attributes, each has its values and how probable they are.
    """

    z: list[list[float]]
    log_var: list[list[float]] | None = None
    y: list[list[float]] | None = None
    label: list[str] | None = None
    attributes: dict[str, Told] | None = None


class Scored(BaseModel):
    """The scores of images, row by row; an image is anomalous where its score is above `threshold`.

    A detector's score has no parts.
    """

    score: list[float]
    reconstruction: list[float] | None = None
    distance: list[float] | None = None
    anomalous: list[bool]
    flat: list[bool]
    threshold: float


def codes_model(manifest: Manifest, *, conditional: bool) -> type[BaseModel]:
    """What a request to decode says in JSON: z, and where the decoder is conditional, y too."""
    size = Field(min_length=1, max_length=ROWS)
    z_row = Annotated[list[Number], Field(min_length=manifest.latent, max_length=manifest.latent)]
    classes = manifest.classes
    y_row = Annotated[list[Number], Field(min_length=classes, max_length=classes)]
    number = Annotated[int, Field(ge=0, le=max(0, classes - 1))]

    class Codes(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        z: Annotated[list[z_row], size]

    class CodesAndClasses(Codes):
        y: Annotated[list[number], size] | Annotated[list[y_row], size]

    class CodesAndAttributes(Codes):
        y: Annotated[list[y_row], size]

    if not conditional:
        return Codes
    return CodesAndAttributes if manifest.attributes else CodesAndClasses


def check_json(body: bytes) -> None:
    """Refuse JSON that would take too long to read.

    Raises:
        HTTPException: 413 where it has more than MAX_JSON bytes, or too many values, lists or names.
    """
    if len(body) > MAX_JSON:
        error = f"the JSON has {len(body)} bytes, expected at most {MAX_JSON}; send an .npy array, or several requests"
        raise HTTPException(413, error)
    for mark, (what, most) in JSON_MARKS.items():
        if (found := body.count(mark)) > most:
            raise HTTPException(413, f"the JSON has {found} {what}, expected at most {most}; send several requests")


def json_cost(body: bytes) -> int:
    """The bytes of memory that JSON takes at most when it is read and checked."""
    is_plain = body.isascii() and b"\\" not in body
    return _JSON_TEXT[is_plain] * len(body) + sum(body.count(mark) * cost for mark, cost in _JSON_COSTS.items())


def json_rows(body: bytes) -> int:
    """How many rows the arrays in JSON can have at most."""
    return min(ROWS, body.count(b",") + 1)


def is_npy(body: bytes) -> bool:
    """Whether this begins as an .npy file does."""
    return body.startswith(b"\x93NUMPY")


def read_npy(body: bytes) -> NDArray[Any]:
    """The array of an .npy file, which shares the memory of `body`.

    Raises:
        InvalidInput: it is not one, is cut short or pickled, or has more than ROWS rows.
    """
    stream = io.BytesIO(body)
    try:
        shape, fortran, dtype = npy_header(stream, len(body))
        values = np.frombuffer(body, dtype, offset=stream.tell())
        array = values.reshape(shape, order="F" if fortran else "C")
    except Exception as error:  # a damaged array raises whatever numpy meets first
        why = words_of(error)
        raise InvalidInput(f"the body cannot be read as an .npy array ({why}); send what numpy.save wrote") from None
    if array.ndim and len(array) > ROWS:
        raise InvalidInput(f"the array has {len(array)} rows, expected at most {ROWS}; send several requests")
    return array


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
