"""The Open Inference Protocol, version 2, over HTTP with JSON: what its messages look like, and tensors in and out.

Source: the KServe project's open-inference-protocol, specification/protocol/inference_rest.md. Only FP32 tensors occur.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.serving.batching import ROWS
from aae_zoo.runtime.words import counted

PLATFORM: Final = "onnxruntime_onnx"
# The header of an extension: how much of a body is JSON, before tensors in bytes. Triton's client sends it by default.
BINARY: Final = "inference-header-content-length"


Parameters = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())


class Error(_Message):
    """What went wrong, in one sentence."""

    error: str


class Live(_Message):
    """Whether the server answers."""

    live: bool


class Ready(_Message):
    """Whether the server can run its model."""

    ready: bool


class ModelReady(_Message):
    """Whether a model can run."""

    name: str
    ready: bool


class ServerMetadata(_Message):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(_Message):
    """A tensor that a model takes or gives; its first axis, -1, is the batch."""

    name: str
    datatype: Literal["FP32"]
    shape: list[int]


class ModelMetadata(_Message):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InputTensor(_Message):
    """A tensor, its data flat or nested, row by row."""

    name: str
    datatype: Literal["FP32"]
    shape: Annotated[list[Annotated[int, Field(ge=1, le=1 << 20)]], Field(min_length=1, max_length=4)]
    parameters: Parameters = Field(default_factory=dict)
    data: Annotated[list[Any], Field(description="Numbers, or lists of them, in the order of rows")]


class WantedOutput(_Message):
    """An output that the answer is to have."""

    name: str
    parameters: Parameters = Field(default_factory=dict)


class InferRequest(_Message):
    """Tensors for a model; without `outputs`, all of its outputs are wanted. Parameters are ignored."""

    id: str | None = None
    parameters: Parameters = Field(default_factory=dict)
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=2)]
    outputs: Annotated[list[WantedOutput], Field(max_length=3)] | None = None


class OutputTensor(_Message):
    """A tensor, its data flat, row by row."""

    name: str
    datatype: Literal["FP32"]
    shape: list[int]
    data: list[float]


class InferResponse(_Message):
    """What a model made of the tensors."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


def describe(names: Iterable[str], shapes: Shapes) -> list[TensorMetadata]:
    """The metadata of the tensors of these names."""
    return [TensorMetadata(name=name, datatype="FP32", shape=[-1, *shapes[name]]) for name in names]


def read_tensors(request: InferRequest, names: Iterable[str], shapes: Shapes) -> Arrays:
    """The inputs of a request by name: float32, of the same 1 to ROWS rows.

    Raises:
        InvalidInput: an input that is missing, given twice or not known; or a shape or data that does not fit.
    """
    wanted, given = sorted(names), sorted(tensor.name for tensor in request.inputs)
    if given != wanted:
        raise InvalidInput(f"the inputs are {', '.join(given)}, expected {', '.join(wanted)}")
    arrays = {tensor.name: _array(tensor, shapes[tensor.name]) for tensor in request.inputs}
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        raise InvalidInput(f"the inputs have {rows} rows, expected the same number of each")
    return arrays


def write_tensors(arrays: Mapping[str, NDArray[np.float32]]) -> list[dict[str, Any]]:
    """The tensors of an answer, as OutputTensor describes them, with arrays as data."""
    return [
        {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": np.ascontiguousarray(array).ravel()}
        for name, array in arrays.items()
    ]


def _array(tensor: InputTensor, row: tuple[int, ...]) -> NDArray[np.float32]:
    if tensor.shape[0] > ROWS or tuple(tensor.shape[1:]) != row:
        raise InvalidInput(f"{tensor.name} has shape {tensor.shape}, expected {[f'1 to {ROWS}', *row]}")
    if len(tensor.data) > (size := math.prod(tensor.shape)):
        raise InvalidInput(
            f"the data of {tensor.name} is {counted(len(tensor.data), 'number')}, its shape is {tensor.shape}"
        )
    values = _numbers(tensor.data)
    if values is None or (values.ndim > 1 and list(values.shape) != tensor.shape):
        raise InvalidInput(f"the data of {tensor.name} is not numbers of shape {tensor.shape}, flat or nested")
    if values.size != size:
        raise InvalidInput(
            f"the data of {tensor.name} is {counted(values.size, 'number')}, its shape is {tensor.shape}"
        )
    return to_float32(values).reshape(tensor.shape)


def _numbers(data: list[Any]) -> NDArray[np.float64] | None:
    """The array of numbers, or lists of them; None where there is anything else."""
    try:
        values = np.asarray(data, object)  # of another dtype, one long text would make all items of the array as long
        return values.astype(np.float64) if {*map(type, values.flat)} <= {int, float} else None
    except (ValueError, OverflowError):  # lists of different lengths, or too deep; a number that is too large
        return None


def to_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """The same numbers as float32, infinite where they are too large for float32: the checks of a model say so."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
