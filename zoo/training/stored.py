"""What a run keeps on disk, written with digests and checked as it is read: bytes from outside become objects here.

Weights are a safetensors file with a SHA-256 of all tensors in its metadata; the state is PyTorch's zip file, which has
a CRC-32 of everything in it; what is JSON has a shape. Each reader raises a ValueError that says what is wrong.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated, Any, Final, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aae_zoo.runtime.files import atomic_file, open_plain
from aae_zoo.zoo.training.stable import stable_bytes

_Shape = TypeVar("_Shape", bound=BaseModel)
_DIGEST: Final = "tensors_sha256"


class _Document(BaseModel):
    """A JSON object with at least these fields."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Beginning(_Document):
    """The model whose weights training began with: the layers that are its, and those that are not."""

    name: str
    version: str
    manifest_sha256: str
    layers: list[str]
    new: list[str]


class _Facts(_Document):
    """run.json: `data` is the folder that training was given, None where it looked for the data itself.

    `device` is the name of the GPU that it ran on, where it ran on one.
    """

    command: str
    seed: int
    training_seconds: float
    dataset_md5: dict[str, str]
    commit: str | None
    versions: dict[str, str]
    machine: str
    threads: int
    device: str | None = None
    processes: int = 1
    data: str | None = None
    began_with: _Beginning | None = None


class _Metrics(_Document):
    """metrics.json: the figures that every model has, and those that some have."""

    mse: float
    mmd2: float
    mmd2_prior: float
    code_mean: list[float]
    code_covariance: list[list[float]]
    error: float = 0.0
    frechet: float = 0.0
    parzen: float = 0.0
    mean_image_mse: float = 0.0
    sample_spread: float = 0.0
    sample_sharpness: float = 0.0


class _Row(_Document):
    """A line of log.jsonl: a batch's, or an epoch's."""

    step: int
    epoch: int


class _Labels(_Document):
    training_images_with_known_labels: list[int]


_SHAPES: Final[Mapping[str, type[_Document]]] = {
    "run.json": _Facts,
    "metrics.json": _Metrics,
    "labels.json": _Labels,
}


class _State(_Document):
    """resume.pt: all that decides how training goes on; `random` is a process's each."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    recipe_sha256: str
    epoch: Annotated[int, Field(ge=0)]
    seconds: float
    log_bytes: Annotated[int, Field(ge=0)]
    began_with: _Beginning | None = None
    dataset_md5: dict[str, str] | None = None
    weights: dict[str, Tensor]
    optimisers: dict[str, dict[str, Any]]
    order: Tensor
    random: list[dict[str, Tensor]]


def read_file(path: Path) -> bytes:
    """The content of a file of a run; a pipe or a device in its place would be read for ever.

    Raises:
        OSError: it is missing, no plain file, or cannot be read.
    """
    with open_plain(path, links=True) as stream:
        return stream.read()


def parse_file(name: str, text: bytes) -> dict[str, Any]:
    """The content of the JSON file of this name: run.json, metrics.json or labels.json.

    Raises:
        ValueError: it is not JSON, or lacks what this file always has.
    """
    return _parse(_SHAPES[name], text)


def parse_row(text: bytes) -> dict[str, Any]:
    """A row of log.jsonl.

    Raises:
        ValueError: it is not JSON, or lacks what every row has.
    """
    return _parse(_Row, text)


def _parse(shape: type[_Document], text: bytes) -> dict[str, Any]:
    return parse_json(shape, text).model_dump(exclude_unset=True)


def parse_json(shape: type[_Shape], text: bytes) -> _Shape:
    """The JSON object of this shape in a text.

    Raises:
        ValueError: it is not JSON, or has another shape.
    """
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(_first(error)) from None


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else problem["msg"]


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors by name with their digest, and with texts beside them.

    Raises:
        OutputError: the file cannot be written.
    """
    plain = {name: values.detach().cpu().contiguous() for name, values in weights.items()}
    with atomic_file(path) as temporary:
        temporary.write_bytes(stable_bytes(plain, {**metadata, _DIGEST: _sha256(plain)}))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What `write_weights` wrote; earlier versions wrote no digest.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is damaged.
    """
    open_plain(path, links=True).close()
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    found = _sha256(weights)
    if metadata.get(_DIGEST, found) != found:
        raise ValueError(f"its tensors have the SHA-256 {found[:12]}, expected {metadata[_DIGEST][:12]}")
    return weights, metadata


def _sha256(weights: Mapping[str, Tensor]) -> str:
    """One digest of all tensors: of their names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, values in sorted(weights.items()):
        digest.update(f"{name} {values.dtype} {list(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values.

    Raises:
        OutputError: the file cannot be written.
    """
    torch.save(dict(state), buffer := io.BytesIO())  # of a full disk PyTorch itself makes a RuntimeError
    with atomic_file(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is damaged, or not a state of training.
    """
    state = read_saved(path)
    try:
        _State.model_validate(state)
    except ValidationError as error:
        raise ValueError(f"it is not a state of training: {_first(error)}") from None
    return dict(state)


def read_saved(path: Path) -> Any:
    """What `torch.save` wrote, once its checksums have been looked at: PyTorch itself ignores them.

    Nothing but tensors and plain values is unpickled.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is damaged, or holds anything else.
    """
    try:
        with open_plain(path, links=True) as stream:
            _check_zip(stream)
            return torch.load(stream, map_location="cpu", weights_only=True)
    except (OSError, ValueError):
        raise
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # a damaged or hostile file raises whatever its reader meets first
        raise ValueError(type(error).__name__) from None


def _check_zip(file: IO[bytes]) -> None:
    """Look at the checksums of a zip file, and that it unpacks to no more than itself, as PyTorch writes it."""
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("it is packed, which PyTorch's files are not")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged[:80]} in it is wrong")
        # Of what PyTorch unpickles, this alone asks for any number of bytes.
        if any(b"bytearray" in archive.read(name) for name in archive.namelist() if name.endswith(".pkl")):
            raise ValueError("it asks for memory, which tensors do not")
    file.seek(0)
