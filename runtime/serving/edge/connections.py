"""Connections that a client can neither fill nor keep: uvicorn's own, with bounds on heads, on waiting and on number.

What a client sends before its body, or instead of one, has MAX_HEAD bytes and MAX_FIELDS fields. It has PATIENCE
seconds for that, and for taking the answer. One connection more than there may be ends the one that has waited for its
client longest, or whose request has been in work longest: clients that stall end each other, and one that asks and
reads is hardly ever the oldest.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

try:
    import resource
except ModuleNotFoundError:  # Windows, where sockets have no such limit
    resource = None  # type: ignore[assignment]

# The most bytes and fields of a request's head, and the most requests that wait on a connection for the one before.
MAX_HEAD: Final = 1 << 16
MAX_FIELDS: Final = 100
MAX_PIPELINED: Final = 16
# Seconds for a request's head, and for taking what was written before more is.
PATIENCE: Final = 10.0
# Seconds for what a client still owes when the service ends.
LAST_WORD: Final = 3.0
# Connections that are taken in one go, and how often that happens before those that are too many are closed.
_BURST: Final = 64
_BURSTS: Final = 6
# Descriptors for files.
_FILES: Final = 64
# Connections beside those whose requests are in work.
_BESIDE: Final = 128

_BYTES: Final = f"more than {MAX_HEAD} bytes"
_UPGRADE: Final = (
    "the request has a body and asks to change the protocol (Upgrade), expected HTTP/1.1 alone; send no Upgrade, "
    "in Java with HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)"
)


class Connection(HttpToolsProtocol):
    """A connection with bounds; `most` of them are open at once."""

    most: int
    _turn = 0.0  # since when it is the client's turn
    _loose = 0  # bytes that have come since there was a body, or a whole head
    _head = 0  # bytes of the head's names and values
    _fields = 0
    _is_head = True  # whether fields are those of a head, or come after a body
    _too_large = ""
    _why = ""  # what is wrong with a head that can be read

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: to ask, to go on with its body, or to take what was written."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body or self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, in place of the one that waits longest where there are enough."""
        super().connection_made(transport)
        self._turn = time.monotonic()
        if len(self.connections) > self.most:
            others = [each for each in self.connections if isinstance(each, Connection) and each is not self]
            waiting = [each for each in others if each.waits and not each.transport.is_closing()]
            min(waiting or others, key=lambda each: each._turn).end()

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it is too much of what is not a body."""
        self._loose += len(data)
        super().data_received(data)
        if self._loose > MAX_HEAD and not self.transport.is_closing():
            self._too_large = _BYTES
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._fields, self._head, self._is_head = 0, 0, True
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many requests wait")
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; of one after the body (RFC 9110, section 6.5.1) only count the bytes."""
        self._fields += 1
        self._count(len(name) + len(value))
        if self._is_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._loose, self._turn, self._is_head = 0, time.monotonic(), False
        # The parser takes what follows for another protocol's: the body would be lost, or read as the next request.
        if self.parser.should_upgrade() and {b"content-length", b"transfer-encoding"} & dict(self.headers).keys():
            self._why = _UPGRADE
            raise ValueError(self._why)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._loose = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._loose = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._turn = time.monotonic()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to take what was written."""
        self._turn = time.monotonic()
        super().pause_writing()

    def send_400_response(self, msg: str) -> None:
        """Say in one sentence what is wrong, and end the connection."""
        error = self._why or msg or "the request cannot be read as HTTP"
        if self._too_large:
            error = f"the request's head has {self._too_large}, which is the limit; send a shorter one"
        body = json.dumps({"error": error}).encode()
        fields = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[431 if self._too_large else 400] + fields + body)
        self.transport.close()

    def shutdown(self) -> None:
        """End when what is asked is answered; a client that owes something has LAST_WORD seconds for it."""
        super().shutdown()
        self.loop.call_later(LAST_WORD, self._end_if_it_waits)

    def end_if_overdue(self, now: float) -> None:
        """End where the head has not come, or the answer was not taken, in time; bodies have times of their own."""
        reading = self.cycle is not None and not self.cycle.response_complete and not self.flow.write_paused
        if self.waits and not reading and now - self._turn > PATIENCE:
            self.end()

    def end(self) -> None:
        """End at once."""
        self.transport.abort()

    def _count(self, size: int) -> None:
        """Count what belongs to a head; an error here ends the parser, which then sends 400."""
        self._head += size
        if self._head > MAX_HEAD or self._fields > MAX_FIELDS:
            self._too_large = _BYTES if self._head > MAX_HEAD else f"more than {MAX_FIELDS} fields"
            raise ValueError(self._too_large)

    def _end_if_it_waits(self) -> None:
        if self.waits:
            self.end()
        elif not self.transport.is_closing():
            self.loop.call_later(LAST_WORD, self._end_if_it_waits)


def connections_for(requests: int) -> tuple[type[Connection], int]:
    """The kind of connection for a service that works on `requests` requests at once, and how many are taken in one go.

    No more than this process may have descriptors for.
    """
    most, burst = requests + _BESIDE, _BURST
    if resource is not None:
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if allowed != resource.RLIM_INFINITY:
            burst = max(1, min(burst, allowed // 16))
            most = max(1, min(most, allowed - _BURSTS * burst - _FILES))
    return type("Connection", (Connection,), {"most": most}), burst


def sweep(open_connections: Callable[[], Iterable[object]]) -> Callable[[], Awaitable[None]]:
    """What uvicorn is to call every second: it ends the connections that are overdue."""
    return partial(_sweep, open_connections)


async def _sweep(open_connections: Callable[[], Iterable[object]]) -> None:
    now = time.monotonic()
    for connection in list(open_connections()):
        if isinstance(connection, Connection):
            connection.end_if_overdue(now)
