"""Arrays on a card: those that models give, and those of other libraries, taken and given without a copy.

DLPack (https://dmlc.github.io/dlpack/latest/) hands an array over as a capsule with a C structure; the older CUDA array
interface (https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html) as a dictionary.
"""

import ctypes
import math
from collections.abc import Callable
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import words_of

# DLPack's numbers of devices and of floats.
_DLPACK_CPU, _DLPACK_CUDA, _DLPACK_FLOAT = 1, 2, 2
_DLPACK_KINDS: Final = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
_NAME: Final = b"dltensor"
# DLPack's and the driver's number of the default stream, which it means where none is given.
_LEGACY: Final = 1
_FLOAT32: Final = np.dtype(np.float32)


class Memory(Protocol):
    """Memory that an array lies in: its address, DLPack's kind and number of the device, and the way to the host."""

    address: int
    place: tuple[int, int]

    def to_host(self, offset: int, values: NDArray[np.float32]) -> None:
        """Copy what lies `offset` bytes from the beginning."""

    def lend(self, stream: int | None) -> None:
        """Let a stream of another library, by DLPack's number or address, read it after what was begun is done.

        Without one, wait until it is done. The library may still be reading when it lets go.
        """


class HostMemory:
    """Memory of numpy's, for models on the CPU."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self._values = values
        self.address = values.ctypes.data
        self.place = (_DLPACK_CPU, 0)

    def to_host(self, offset: int, values: NDArray[np.float32]) -> None:
        """Copy what lies `offset` bytes from the beginning."""
        values[...] = self.part(offset, values.shape)

    def part(self, offset: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """What lies `offset` bytes from the beginning, not copied."""
        start = offset // 4
        return self._values.reshape(-1)[start : start + math.prod(shape)].reshape(shape)

    def lend(self, stream: int | None) -> None:
        """All is done."""


def of_host(values: NDArray[np.float32]) -> "DeviceArray":
    """The array of a model that runs on the CPU."""
    return DeviceArray(HostMemory(values), values.shape)


class BorrowedMemory:
    """Memory of another library, kept for as long as this lives."""

    def __init__(self, address: int, place: tuple[int, int], size: int, owner: object) -> None:
        self.address, self.place, self.size, self._owner = address, place, size, owner

    def to_host(self, offset: int, values: NDArray[np.float32]) -> None:
        """Copy what lies `offset` bytes from the beginning."""
        from aae_zoo.runtime.engine.cuda.driver import driver

        card = driver(self.place[1])
        with card:
            card.synchronize_all()
            card.download(values.ctypes.data, self.address + offset, values.nbytes, 0)
            card.synchronize(0)

    def lend(self, stream: int | None) -> None:
        """Its owner has seen to that."""


class DeviceArray:
    """An array float32 on the card that a model ran on; the card may still be at work on it when the call returns.

    torch.from_dlpack, cupy.from_dlpack and jax.dlpack.from_dlpack take it without a copy, and what they do with it
    waits for that work; `numpy()`, or any function of numpy, waits too and copies it to the host. Rows are sliced
    without a copy. Its memory is given back when nobody uses it any more. `nbytes` are the bytes that it takes,
    `address` is where it begins.
    """

    dtype = _FLOAT32

    def __init__(self, memory: Memory, shape: tuple[int, ...], offset: int = 0) -> None:
        self._memory, self._offset = memory, offset
        self.shape = shape
        self.nbytes = 4 * math.prod(shape)
        self.address = memory.address + offset

    def __repr__(self) -> str:
        return f"<DeviceArray float32 {list(self.shape)} on {self.device}>"

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, part: slice) -> Self:
        """Some rows, as `Images` give them."""
        return self[part]

    def __getitem__(self, rows: slice) -> Self:
        """Some rows, one after the other, of the same memory."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise InvalidInput(
                f"a DeviceArray is cut by rows, such as array[2:5], not {rows!r}; array.numpy() has more"
            )
        start, stop, _ = rows.indices(len(self))
        row = 4 * math.prod(self.shape[1:])
        return type(self)(self._memory, (max(0, stop - start), *self.shape[1:]), self._offset + start * row)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def device(self) -> str:
        """Where it lies, such as "cuda:0", or "cpu"."""
        kind, number = self._memory.place
        return f"cuda:{number}" if kind == _DLPACK_CUDA else "cpu"

    def lend(self, stream: int) -> None:
        """Let a stream of another library, or of another model, read it after what was begun is done."""
        self._memory.lend(stream)

    def belongs_to(self, card: object) -> bool:
        """Whether it is a result of the model that uses the card."""
        return getattr(self._memory, "card", None) is card

    @property
    def borrowed(self) -> int:
        """The bytes of another library's memory that it keeps."""
        return self._memory.size if isinstance(self._memory, BorrowedMemory) else 0

    def on_host(self) -> NDArray[np.float32] | None:
        """The array itself where it lies on the host, for whoever writes it."""
        return self._memory.part(self._offset, self.shape) if isinstance(self._memory, HostMemory) else None

    def numpy(self) -> NDArray[np.float32]:
        """A copy on the host."""
        values = np.empty(self.shape, np.float32)
        if values.size:
            self._memory.to_host(self._offset, values)
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a DeviceArray cannot be an array of numpy without a copy")
        return self.numpy().astype(dtype or np.float32, copy=False)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self._memory.place[0] != _DLPACK_CUDA:
            raise AttributeError("__cuda_array_interface__")
        self._memory.lend(None)
        return {
            "shape": self.shape,
            "typestr": "<f4",
            "data": (self.address, False),
            "version": 3,
            "strides": None,
            "stream": None,  # all work on it is done
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._memory.place

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """A capsule of DLPack's first version, which every library takes; `stream` waits for what was begun."""
        if copy or (dl_device is not None and tuple(dl_device) != self._memory.place):
            raise BufferError(f"this array is given as it is, on {self.device}; copy it there, or take .numpy()")
        self.lend(_LEGACY if stream is None else int(stream))
        return _capsule(self)


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("kind", ctypes.c_int32),
        ("number", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_api: Final = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
# Capsules as addresses: their destructor must not take a reference to what is being freed.
_is_valid: Final = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_pointer: Final = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))

# What is handed over, by the address of its structure, for as long as another library uses it.
_lent: Final[dict[int, tuple[object, ...]]] = {}


def _delete(managed: int) -> None:
    """Called by whoever has taken a capsule, when it has no more use for the array."""
    _lent.pop(managed, None)


def _destroy(capsule: int) -> None:
    """Called when a capsule is freed; one that nobody has taken still has its name."""
    if _is_valid(capsule, _NAME):
        _lent.pop(_pointer(capsule, _NAME), None)


_callback: Final = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_deleter, _destructor = _callback(_delete), _callback(_destroy)
for _called in (_deleter, _destructor):  # by other libraries, maybe after this module is gone
    _api.Py_IncRef(ctypes.py_object(_called))


def _capsule(array: DeviceArray) -> object:
    """A capsule of an array, which lives until whoever takes it lets go."""
    # Dense rows have no need of strides, yet some libraries look at them.
    steps = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    shape, strides = ((ctypes.c_int64 * array.ndim)(*values) for values in (array.shape, steps))
    kind, number = array.__dlpack_device__()
    tensor = _Tensor(array.address, kind, number, array.ndim, _DLPACK_FLOAT, 32, 1, shape, strides, 0)
    managed = _Managed(tensor, None, ctypes.cast(_deleter, ctypes.c_void_p))
    address = ctypes.addressof(managed)
    _lent[address] = (managed, shape, strides, array)
    return _api.PyCapsule_New(address, _NAME, ctypes.cast(_destructor, ctypes.c_void_p))


def borrow(values: Any, name: str, wait: Callable[[int], None]) -> DeviceArray:
    """An array on a card of any library, as it lies there; `wait` lets those who use it wait for a stream.

    The library lets CUDA's default stream wait for what is being done to the array, which is the one that it works on
    anyway as a rule.

    Raises:
        InvalidInput: it is not float32, not contiguous, or its library does not give it.
    """
    if callable(detach := getattr(values, "detach", None)):  # torch does not lend what needs gradients
        values = detach()
    if hasattr(values, "__dlpack__"):
        return _of_dlpack(values, name, wait)
    return _of_interface(values, name, wait)


def _of_dlpack(values: Any, name: str, wait: Callable[[int], None]) -> DeviceArray:
    try:
        capsule = values.__dlpack__(stream=_LEGACY)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        reason = words_of(error)
        raise InvalidInput(f"{name} cannot be taken from the card ({reason}); give it as a numpy array") from None
    address = _pointer(id(capsule), _NAME)
    tensor = ctypes.cast(address, ctypes.POINTER(_Managed)).contents.tensor
    shape = tuple(tensor.shape[: tensor.ndim])
    dtype = f"{_DLPACK_KINDS.get(tensor.code, tensor.code)}{tensor.bits}" + (f"x{tensor.lanes}" * (tensor.lanes != 1))
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    place = (tensor.kind, tensor.number)
    _check_plain(name, place, dtype, shape, strides)
    wait(_LEGACY)
    address = (tensor.data or 0) + tensor.byte_offset
    return DeviceArray(BorrowedMemory(address, place, 4 * math.prod(shape), capsule), shape)


def _of_interface(values: Any, name: str, wait: Callable[[int], None]) -> DeviceArray:
    from aae_zoo.runtime.engine.cuda.driver import card_of

    given = values.__cuda_array_interface__
    address, shape, dtype = given["data"][0], tuple(given["shape"]), np.dtype(given["typestr"])
    strides = given.get("strides")
    steps = None if strides is None else tuple(step // dtype.itemsize for step in strides)
    place = (_DLPACK_CUDA, card_of(address))
    _check_plain(name, place, dtype.name, shape, steps)
    if given.get("stream") is not None:
        wait(given["stream"])
    return DeviceArray(BorrowedMemory(address, place, 4 * math.prod(shape), values), shape)


def _check_plain(
    name: str, place: tuple[int, int], dtype: str, shape: tuple[int, ...], strides: tuple[int, ...] | None
) -> None:
    """Refuse what cannot be used as it lies."""
    dense = 0 in shape or all(
        length <= 1 or step == math.prod(shape[axis + 1 :])
        for axis, (length, step) in enumerate(zip(shape, strides or (), strict=False))
    )
    if dtype == "float32" and dense:
        return
    found = dtype if dtype != "float32" else "float32 that is not contiguous"
    raise InvalidInput(
        f"{name} lies on cuda:{place[1]} as {found}, expected contiguous float32; make it that there, in PyTorch with "
        f".float().contiguous(), or give it as a numpy array"
    )
