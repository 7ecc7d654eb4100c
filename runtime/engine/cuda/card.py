"""A card as one model uses it: a stream that all its graphs compute on, another that copies back, and their memory.

ONNX Runtime is given the stream, so that what a model does follows one after the other without anybody waiting: the
prior's codes, the decoder's images, the copies. Whoever gives the stream something holds the lock.
"""

import ctypes
import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.engine.cuda.arrays import DeviceArray, borrow
from aae_zoo.runtime.engine.cuda.driver import CudaError, Driver, driver
from aae_zoo.runtime.engine.cuda.recording import TURNS
from aae_zoo.runtime.errors import DeviceUnavailable, InvalidInput

# DLPack's number of a card.
_CUDA: Final = 2
# Memory that is asked for again and again is kept, this many bytes of it; larger pieces go back at once.
_KEPT: Final = 1 << 28
_LARGE: Final = 1 << 25
_SMALLEST: Final = 1 << 9

# Streams outlive the models that used them: a session may still touch its stream when it is freed.
_idle: Final[dict[int, list[tuple[int, int]]]] = defaultdict(list)


class Pool:
    """Pieces of memory, powers of two in size, that are kept for the next who asks."""

    def __init__(self, take: Callable[[int], int], free: Callable[[int], None]) -> None:
        self._take, self._free = take, free
        self._pieces: dict[int, list[int]] = defaultdict(list)
        self._kept = 0

    def take(self, size: int) -> int:
        """A piece of at least `size` bytes: its address.

        Raises:
            DeviceUnavailable: there is not that much, even without what is kept.
        """
        size = rounded(size)
        if self._pieces[size]:
            self._kept -= size
            return self._pieces[size].pop()
        try:
            return self._take(size)
        except DeviceUnavailable:
            self.clear()
            return self._take(size)

    def give(self, address: int, size: int) -> None:
        """Keep a piece, or free it where enough is kept."""
        size = rounded(size)
        if size > _LARGE or self._kept + size > _KEPT:
            self._free(address)
        else:
            self._kept += size
            self._pieces[size].append(address)

    def clear(self) -> None:
        """Free all that is kept."""
        for addresses in self._pieces.values():
            for address in addresses:
                self._free(address)
        self._pieces.clear()
        self._kept = 0


def rounded(size: int) -> int:
    """The bytes that are taken where `size` are asked for: the next power of two, large ones as they are."""
    return size if size > _LARGE else max(_SMALLEST, 1 << (size - 1).bit_length())


class Card:
    """A card, as one model uses it."""

    turns = TURNS

    def __init__(self, number: int) -> None:
        self.driver: Driver = driver(number)
        self.number = number
        self.place = (_CUDA, number)
        self.lock = threading.Lock()
        # Pieces that nobody uses any more: whoever finds that out may be at anything, so they are only put down.
        self._returned: deque[tuple[int, int, bool]] = deque()
        self._returned_pinned: deque[tuple[int, int]] = deque()
        with self.driver:
            self.stream, self.back = _idle[number].pop() if _idle[number] else self._streams()
            self._event = self.driver.event()
        self._memory = Pool(self.driver.take, self.driver.free)
        self._pinned = Pool(self.driver.take_pinned, self.driver.free_pinned)

    def __del__(self) -> None:
        if not hasattr(self, "_pinned") or not self.driver.is_alive:
            return
        with suppress(CudaError), self.driver:
            self.driver.synchronize(self.stream)
            self._collect()
            self._memory.clear()
            self._pinned.clear()
            self.driver.forget_event(self._event)
            _idle[self.number].append((self.stream, self.back))

    def _streams(self) -> tuple[int, int]:
        return self.driver.stream(), self.driver.stream()

    def array(self, shape: tuple[int, ...]) -> DeviceArray:
        """An array with nothing in it yet; with the lock.

        Raises:
            DeviceUnavailable: the card has no room for it.
        """
        size = 4 * math.prod(shape)
        return DeviceArray(CardMemory(self, self.take(size), size), shape)

    def borrow(self, values: Any, name: str, shape: tuple[int, ...]) -> DeviceArray:
        """An input [n, *shape] that lies on this card, as it lies there.

        Raises:
            InvalidInput: it is on another card, of another shape, not float32 or not contiguous.
        """
        array = self.seen(values, name)
        if array.__dlpack_device__() != self.place:
            raise InvalidInput(
                f"{name} lies on {array.device} and the model runs on cuda:{self.number}; copy it there, "
                f"or load the model with device={array.device!r}"
            )
        if array.shape[1:] != shape or len(array.shape) != 1 + len(shape) or not len(array):
            expected = ", ".join(map(str, ("n", *shape)))
            raise InvalidInput(f"{name} has shape {list(array.shape)}, expected [{expected}] with n >= 1")
        return array

    def seen(self, values: Any, name: str) -> DeviceArray:
        """An array of any shape on any card, which this model waits for.

        Raises:
            InvalidInput: it is not float32, not contiguous, or its library does not give it.
        """
        if not isinstance(values, DeviceArray):
            with self.lock, self.driver:
                return borrow(values, name, self.follow)
        if not values.belongs_to(self):
            values.lend(self.stream)
        return values

    def take(self, size: int) -> int:
        """Memory of the card, as `Pool.take`; with the lock."""
        self._collect()
        return self._memory.take(size)

    def take_pinned(self, size: int) -> int:
        """Pinned memory, as `Pool.take`; with the lock."""
        self._collect()
        return self._pinned.take(size)

    def give(self, address: int, size: int, *, lent: bool = False) -> None:
        """Give memory of the card back; `lent` says that another library may still be reading it."""
        self._returned.append((address, size, lent))
        if size > _LARGE and self.lock.acquire(blocking=False):  # held: whoever holds it may be recording
            try:
                with self.driver:
                    self._collect()
            finally:
                self.lock.release()

    def give_pinned(self, address: int, size: int) -> None:
        """Give pinned memory back, which nothing on the card uses any more."""
        self._returned_pinned.append((address, size))

    def follow(self, stream: int) -> None:
        """Let what this model computes from now on wait for what another stream was given; with the lock."""
        self.driver.record(self._event, stream)
        self.driver.wait(self._event, self.stream)

    def precede(self, stream: int) -> None:
        """Let what another stream is given from now on wait for what this model computes until now."""
        with self.lock, self.driver:
            self.driver.record(self._event, self.stream)
            self.driver.wait(self._event, stream)

    def _collect(self) -> None:
        """Take in what was given back: the next work on it comes later in the same stream."""
        while self._returned:
            address, size, lent = self._returned.popleft()
            if lent:
                self.driver.synchronize_all()
            self._memory.give(address, size)
        while self._returned_pinned:
            self._pinned.give(*self._returned_pinned.popleft())


class CardMemory:
    """A piece of a card's memory, given back when nothing uses it any more."""

    def __init__(self, card: Card, address: int, size: int) -> None:
        self.card, self.address, self.place = card, address, card.place
        self._size, self._lent = size, False

    def __del__(self) -> None:
        if not hasattr(self, "_lent") or not self.card.driver.is_alive:
            return
        self.card.give(self.address, self._size, lent=self._lent)

    def to_host(self, offset: int, values: NDArray[np.float32]) -> None:
        """Copy what lies `offset` bytes from the beginning."""
        card = self.card
        card.precede(card.back)
        with card.driver:
            card.driver.download(values.ctypes.data, self.address + offset, values.nbytes, card.back)
            card.driver.synchronize(card.back)

    def lend(self, stream: int | None) -> None:
        """Let another library's stream read it after what was begun, or wait for that."""
        self._lent = True
        if stream is None or stream < 0:  # DLPack's -1 asks that nothing is done to streams
            with self.card.lock, self.card.driver:
                self.card.driver.synchronize(self.card.stream)
        else:
            self.card.precede(stream)


def pinned_view(address: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array of numpy over memory that somebody else keeps."""
    numbers: Any = (ctypes.c_float * math.prod(shape)).from_address(address)
    return np.frombuffer(numbers, np.float32).reshape(shape)
