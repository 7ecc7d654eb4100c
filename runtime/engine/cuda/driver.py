"""NVIDIA's driver: memory, streams, events and graphs of one card, in the context that ONNX Runtime uses too.

https://docs.nvidia.com/cuda/cuda-driver-api/ says what each call does. All addresses and handles are whole numbers.
"""

import ctypes
import math
import os
import threading
from ctypes import c_char_p, c_float, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_void_p
from types import TracebackType
from typing import Any, Final

from aae_zoo.runtime.engine.cuda.finite import MOST_BLOCKS, NAME, PTX, THREADS
from aae_zoo.runtime.engine.cuda.recording import TURNS
from aae_zoo.runtime.engine.gpus import driver_library
from aae_zoo.runtime.errors import DeviceUnavailable

# What each call takes; c_uint64 is an address on the card.
_TAKES: Final[dict[str, tuple[Any, ...]]] = {
    "cuInit": (c_uint,),
    "cuDeviceGet": (c_void_p, c_int),
    "cuDevicePrimaryCtxRetain": (c_void_p, c_int),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (c_void_p,),
    "cuCtxSynchronize": (),
    "cuMemAlloc_v2": (c_void_p, c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostAlloc": (c_void_p, c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemGetInfo_v2": (c_void_p, c_void_p),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuMemsetD8Async": (c_uint64, c_ubyte, c_size_t, c_void_p),
    "cuPointerGetAttribute": (c_void_p, c_int, c_uint64),
    "cuStreamCreate": (c_void_p, c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamWaitEvent": (c_void_p, c_void_p, c_uint),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, c_void_p),
    "cuEventCreate": (c_void_p, c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventQuery": (c_void_p,),
    "cuEventSynchronize": (c_void_p,),
    "cuEventDestroy_v2": (c_void_p,),
    "cuGraphGetNodes": (c_void_p, c_void_p, c_void_p),
    "cuGraphNodeGetType": (c_void_p, c_void_p),
    "cuGraphMemcpyNodeGetParams": (c_void_p, c_void_p),
    "cuGraphInstantiateWithFlags": (c_void_p, c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
    "cuModuleLoadData": (c_void_p, c_char_p),
    "cuModuleGetFunction": (c_void_p, c_void_p, c_char_p),
    "cuLaunchKernel": (c_void_p, *(c_uint,) * 7, c_void_p, c_void_p, c_void_p),
    "cuGetErrorName": (c_int, c_void_p),
}
_SUCCESS, _OUT_OF_MEMORY, _NOT_READY = 0, 2, 600
# Streams and events of ours neither wait for the default stream nor keep the time.
_NON_BLOCKING, _NO_TIMING = 1, 2
# A capture that other threads' calls do not disturb, and in which nothing may be done that cannot be replayed.
_THREAD_LOCAL: Final = 1
# Node kinds of a graph, and of these what may be replayed: whatever takes nothing from the host.
_KINDS: Final = {0: "kernel", 1: "memcpy", 2: "memset", 3: "host", 4: "graph", 5: "empty", 10: "alloc", 11: "free"}
_HARMLESS: Final = frozenset((0, 2, 5, 10, 11))
_MEMCPY: Final = 1
# CUDA_MEMCPY3D has 200 bytes; where the kinds of its two memories are, and their addresses.
_COPY_BYTES: Final = 200
_COPY_ENDS: Final = ((32, 48), (120, 136))
_ON_HOST, _ON_DEVICE, _UNIFIED = 1, 2, 4
_POINTER_KIND, _POINTER_CARD = 2, 9


class CudaError(RuntimeError):
    """A call of the driver that failed; `code` is the driver's."""

    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__(f"{call} failed with {name} ({code})")
        self.code = code


class Driver:
    """The driver's calls for one card, in its primary context, which is kept for as long as the process lives.

    `with driver:` works in that context, and leaves the thread in the one that it had.
    """

    def __init__(self, library: ctypes.CDLL, number: int) -> None:
        self.number = number
        self._not_finite: int | None = None
        self._process = os.getpid()
        self._functions = {name: getattr(library, name) for name in _TAKES}
        for name, takes in _TAKES.items():
            self._functions[name].argtypes = takes
        self._popped = ctypes.byref(c_void_p())  # which context it was, nobody asks
        self._push, self._pop = (self._functions[f"cuCtx{way}Current_v2"] for way in ("Push", "Pop"))
        self.call("cuInit", 0)
        device = c_int()
        self.call("cuDeviceGet", ctypes.byref(device), number)
        self._context = self._made("cuDevicePrimaryCtxRetain", device.value)
        with self:
            self._not_finite = self._kernel()

    def __enter__(self) -> None:
        if code := self._push(self._context):
            raise CudaError("cuCtxPushCurrent_v2", code, self._name_of(code))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pop(self._popped)

    @property
    def is_alive(self) -> bool:
        """Whether this is the process that made it: CUDA does not survive a fork."""
        return os.getpid() == self._process

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver.

        Raises:
            CudaError: it fails.
        """
        if code := self._functions[name](*arguments):
            raise CudaError(name, code, self._name_of(code))

    @property
    def looks(self) -> bool:
        """Whether the card can look for numbers that are not finite."""
        return self._not_finite is not None

    def _kernel(self) -> int | None:
        """The kernel that looks for numbers that are not finite, if it finds one that is there and no other."""
        try:
            self._not_finite = self._made("cuModuleGetFunction", self._made("cuModuleLoadData", PTX), NAME)
            at, stream = self.take_pinned(16), self.stream()
            numbers, flags = (c_float * 2).from_address(at), (c_uint * 2).from_address(at + 8)
            numbers[:], flags[:] = [1.0, math.nan], [0, 0]
            self.look_for_not_finite(at, 1, at + 8, stream)
            self.look_for_not_finite(at, 2, at + 12, stream)
            self.synchronize(stream)
            found = tuple(flags)
            self.free_pinned(at)
        except (CudaError, DeviceUnavailable):
            return None
        return self._not_finite if found == (0, 1) else None

    def take(self, size: int) -> int:
        """Memory of the card: its address.

        Raises:
            DeviceUnavailable: there is not so much.
        """
        return self._memory("cuMemAlloc_v2", size, f"on the GPU cuda:{self.number}", "the card")

    def take_pinned(self, size: int) -> int:
        """Memory of the host that stays in its place, which the card reads and writes by itself: its address.

        Raises:
            DeviceUnavailable: there is not so much.
        """
        return self._memory("cuMemHostAlloc", size, "in pinned memory of this machine", "the machine", 0)

    def free(self, address: int) -> None:
        """Give memory of the card back; it waits for all work on the card."""
        self.call("cuMemFree_v2", address)

    def free_pinned(self, address: int) -> None:
        """Give pinned memory back."""
        self.call("cuMemFreeHost", address)

    def left(self) -> tuple[int, int]:
        """The bytes of the card that are free, and all of them."""
        free, total = c_size_t(), c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def stream(self) -> int:
        """A new stream."""
        return self._made("cuStreamCreate", _NON_BLOCKING)

    def event(self) -> int:
        """A new event."""
        return self._made("cuEventCreate", _NO_TIMING)

    def record(self, event: int, stream: int) -> None:
        """Let an event stand for all that a stream has been given until now."""
        self.call("cuEventRecord", event, stream)

    def wait(self, event: int, stream: int) -> None:
        """Let what a stream is given from now on wait for an event."""
        self.call("cuStreamWaitEvent", stream, event, 0)

    def synchronize(self, stream: int) -> None:
        """Wait until a stream has nothing to do."""
        self.call("cuStreamSynchronize", stream)

    def synchronize_event(self, event: int) -> None:
        """Wait for an event."""
        self.call("cuEventSynchronize", event)

    def is_done(self, event: int) -> bool:
        """Whether an event has happened, or nothing was ever recorded."""
        return bool(self._functions["cuEventQuery"](event) != _NOT_READY)

    def forget_event(self, event: int) -> None:
        """Free an event."""
        self.call("cuEventDestroy_v2", event)

    def synchronize_all(self) -> None:
        """Wait until the whole card has nothing to do."""
        with TURNS:
            self.call("cuCtxSynchronize")

    def upload(self, to: int, source: int, size: int, stream: int) -> None:
        """Copy from the host to the card."""
        self.call("cuMemcpyHtoDAsync_v2", to, source, size, stream)

    def download(self, to: int, source: int, size: int, stream: int) -> None:
        """Copy from the card to the host."""
        self.call("cuMemcpyDtoHAsync_v2", to, source, size, stream)

    def copy(self, to: int, source: int, size: int, stream: int) -> None:
        """Copy on the card."""
        self.call("cuMemcpyDtoDAsync_v2", to, source, size, stream)

    def fill(self, to: int, byte: int, size: int, stream: int) -> None:
        """Set `size` bytes on the card."""
        self.call("cuMemsetD8Async", to, byte, size, stream)

    def look_for_not_finite(self, values: int, count: int, flag: int, stream: int) -> None:
        """Set the 32-bit number at `flag`, in pinned memory, to 1 where one of `count` float32 is NaN or infinite."""
        given = (c_uint64(values), c_uint64(count), c_uint64(flag))
        where = (c_void_p * 3)(*map(ctypes.addressof, given))
        blocks = max(1, min(MOST_BLOCKS, count // (4 * THREADS)))
        self.call("cuLaunchKernel", self._not_finite, blocks, 1, 1, THREADS, 1, 1, 0, stream, where, None)

    def begin_capture(self, stream: int) -> None:
        """Record what this thread gives a stream instead of doing it."""
        self.call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """What was recorded: a graph; the stream works again, whatever went wrong.

        Raises:
            CudaError: something was done meanwhile that cannot be recorded.
        """
        graph = c_void_p()
        self.call("cuStreamEndCapture", stream, ctypes.byref(graph))
        return graph.value or 0

    def strange_nodes(self, graph: int) -> list[str]:
        """What a graph does that must not be replayed: all that takes something from the host, or leaves it there."""
        count = c_size_t()
        self.call("cuGraphGetNodes", graph, None, ctypes.byref(count))
        nodes = (c_void_p * max(1, count.value))()
        self.call("cuGraphGetNodes", graph, nodes, ctypes.byref(count))
        strange = []
        for node in nodes[: count.value]:
            kind = c_int()
            self.call("cuGraphNodeGetType", node, ctypes.byref(kind))
            if kind.value not in _HARMLESS and not (kind.value == _MEMCPY and self._stays(node or 0)):
                strange.append(_KINDS.get(kind.value, f"kind {kind.value}"))
        return strange

    def instantiate(self, graph: int) -> int:
        """A graph that can be launched; the recorded one is freed."""
        try:
            return self._made("cuGraphInstantiateWithFlags", graph, 0)
        finally:
            self.forget_graph(graph)

    def forget_graph(self, graph: int) -> None:
        """Free a recorded graph."""
        self.call("cuGraphDestroy", graph)

    def launch(self, executable: int, stream: int) -> None:
        """Do all that a graph has recorded."""
        self.call("cuGraphLaunch", executable, stream)

    def forget(self, executable: int) -> None:
        """Free a graph that can be launched."""
        self.call("cuGraphExecDestroy", executable)

    def is_on_card(self, address: int) -> bool:
        """Whether an address is in a card's memory."""
        return self._kind(address) == _ON_DEVICE

    def is_pinned(self, address: int) -> bool:
        """Whether an address is in pinned memory of the host, whoever has taken it."""
        return self._kind(address) == _ON_HOST

    def _kind(self, address: int) -> int:
        kind = c_uint()
        code = self._functions["cuPointerGetAttribute"](ctypes.byref(kind), _POINTER_KIND, address)
        return kind.value if code == _SUCCESS else 0  # CUDA does not know the memory of others

    def _stays(self, node: int) -> bool:
        """Whether both ends of a copy lie on the card."""
        copy = ctypes.create_string_buffer(_COPY_BYTES)
        self.call("cuGraphMemcpyNodeGetParams", node, copy)
        for kind_at, address_at in _COPY_ENDS:
            kind = int.from_bytes(copy.raw[kind_at : kind_at + 4], "little")
            address = int.from_bytes(copy.raw[address_at : address_at + 8], "little")
            if kind not in (_ON_DEVICE, _UNIFIED) or not self.is_on_card(address):
                return False
        return True

    def _made(self, name: str, *arguments: Any) -> int:
        """The handle that a call gives by its first argument."""
        handle = c_void_p()
        self.call(name, ctypes.byref(handle), *arguments)
        return handle.value or 0

    def _memory(self, name: str, size: int, where: str, whose: str, *more: int) -> int:
        try:
            return self._made(name, size, *more)
        except CudaError as error:
            if error.code != _OUT_OF_MEMORY:
                raise
            raise too_little(f"{size:,}", where, whose) from None

    def _name_of(self, code: int) -> str:
        name = c_char_p()
        if self._functions["cuGetErrorName"](code, ctypes.byref(name)) or not name.value:
            return "an unknown error"
        return name.value.decode()


def too_little(size: str, where: str, whose: str) -> DeviceUnavailable:
    """The error for a number of bytes, as a text, that are not free."""
    return DeviceUnavailable(
        f"there is no room for {size} bytes {where}; ask for fewer rows at a time, use model.stream, let go of arrays "
        f"that are no longer needed, or end other programs that use {whose}"
    )


def card_of(address: int) -> int:
    """The number of the card whose memory an address is in; 0 where the driver does not know it."""
    number = c_int()
    if library := driver_library():
        library.cuPointerGetAttribute(ctypes.byref(number), c_int(_POINTER_CARD), c_uint64(address))
    return number.value


_LOCK: Final = threading.Lock()
_drivers: Final[dict[int, Driver]] = {}


def driver(number: int) -> Driver:
    """The driver's calls for the card of a number.

    Raises:
        DeviceUnavailable: there is no driver, or it fails.
    """
    with _LOCK:
        found = _drivers.get(number)
        if found is None or not found.is_alive:
            found = _drivers[number] = _opened(number)
        return found


def _opened(number: int) -> Driver:
    library = driver_library()
    if library is None:
        raise DeviceUnavailable("NVIDIA's driver is not installed; aae-zoo doctor shows what is missing")
    try:
        return Driver(library, number)
    except (CudaError, AttributeError) as error:
        raise DeviceUnavailable(f"NVIDIA's driver cannot be used for cuda:{number}: {error}") from None
