"""How much a service takes at once: requests, the bytes of their bodies, and the memory that these become."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final, TypeVar

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.serving.edge import metrics
from aae_zoo.runtime.serving.edge.packed import unpacked, unpacked_size
from aae_zoo.runtime.serving.edge.sentences import refusal

# The most bytes of one request's body.
MAX_BODY: Final = 1 << 24
# The most bytes of all bodies: each is there in pieces, and then whole.
BODIES: Final = 1 << 26
# The most bytes of all that bodies are decoded to, and of what the model makes of it.
DECODED: Final = 5 << 26
# Seconds that a request waits for its share.
PATIENCE: Final = 5.0
HEALTH: Final = "/v2/health"
# Bodies of at most this many bytes are not counted: connections are, and all together they are small.
SMALL: Final = 1 << 16
# Seconds for a body, and the bytes that give it one second more.
BODY_SECONDS: Final = 10.0
BYTES_A_SECOND: Final = 1 << 16
# What is written at once: of an answer, no more than twice this waits for a client to take it.
_PIECE: Final = 1 << 16
# Work on at most this many bytes is done sooner than threads change.
AT_ONCE: Final = 1 << 16

Result = TypeVar("Result")


async def off_the_loop(size: int, work: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """The result of work on `size` bytes, by another thread unless changing threads would take longer."""
    if size <= AT_ONCE:
        return work(*arguments, **options)
    return await run_in_threadpool(work, *arguments, **options)


class Budget:
    """Bytes that all requests share; whoever wants more than is left waits until others give theirs back.

    An eighth is kept for shares of at most 1/256: a few large ones do not keep small ones waiting. All on one event
    loop.
    """

    def __init__(self, most: int) -> None:
        self.free = self.most = most
        self._waiting: list[asyncio.Future[None]] = []

    async def take(self, cost: int) -> None:
        """Take `cost` bytes, as soon as they are free.

        Raises:
            TimeoutError: they were not within PATIENCE seconds.
        """
        kept = 0 if cost <= self.small else self.most >> 3
        async with asyncio.timeout(PATIENCE):
            while cost > self.free - kept:
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(turn)
                await turn
            self.free -= cost

    def give_back(self, cost: int) -> None:
        """Give back what was taken."""
        self.free += cost
        waiting, self._waiting = self._waiting, []
        for turn in waiting:  # in their order, each looks whether there is enough now
            if not turn.done():
                turn.set_result(None)

    @property
    def in_use(self) -> float:
        """The part of it that is taken, from 0 to 1."""
        return 1 - self.free / self.most

    @property
    def small(self) -> int:
        """The most that a small share has."""
        return self.most >> 8

    @property
    def largest(self) -> int:
        """The most that one share can have."""
        return self.most - (self.most >> 3)


def _busy(why: str) -> HTTPException:
    return HTTPException(503, f"{why}; try again in a second", {"Retry-After": "1"})


class Places:
    """Places for requests in work. An eighth is kept for those with small shares, as for `Budget`."""

    def __init__(self, most: int) -> None:
        self.free = self.most = most
        self.free_for_large = most - (most >> 3)

    def error(self) -> HTTPException:
        """What a request that finds none is told."""
        return _busy(f"{self.most} requests are in work, which is the limit")


class Share:
    """What one request has of a budget; where there are `places`, a large one needs one of those for large ones."""

    def __init__(self, budget: Budget, places: Places | None = None) -> None:
        self._budget, self._places, self.held = budget, places, 0
        self._is_large = False

    async def take(self, cost: int, what: str) -> None:
        """Take `cost` bytes for `what`, which is said in errors.

        Raises:
            HTTPException: 413 where no share is that large, 503 where other requests keep theirs too long.
        """
        if cost > self._budget.largest:
            most = self._budget.largest
            raise HTTPException(413, f"{what} would take {cost} bytes of memory, expected at most {most}; send less")
        if cost > self._budget.small and self._places and not self._is_large:
            if not self._places.free_for_large:
                raise self._places.error()
            self._places.free_for_large -= 1
            self._is_large = True
        try:
            await self._budget.take(cost)
        except TimeoutError:
            raise _busy(f"{what} would take {cost} bytes of memory, which other requests have") from None
        self.held += cost

    def keep(self, most: int) -> None:
        """Give back what is more than `most` bytes, and a large one's place."""
        if self._places and self._is_large:
            self._places.free_for_large += 1
            self._is_large = False
        more = max(0, self.held - most)
        self.held -= more
        self._budget.give_back(more)

    def give_back(self) -> None:
        """Give all of it back."""
        self.keep(0)


def share_of(request: Request) -> Share:
    """What a request has of the memory for decoding; it goes back when the answer is sent, whatever happens."""
    share: Share = request.state.share
    return share


class Gate:
    """Middleware that has at most `most` requests in work at once, and tells one more 503 and when to come back.

    A request is in work from when its body is there until its answer begins: whoever sends or reads slowly keeps nobody
    else from it. Questions after the service's health and its measurements always come through. A body of more than
    MAX_BODY bytes is read no further, and refused with 413; all bodies together, and all that becomes of them, have
    their budgets.
    """

    def __init__(self, app: ASGIApp, most: int, bodies: Budget, decoded: Budget) -> None:
        self.app = app
        self.places = Places(most)
        self.bodies, self.decoded = bodies, decoded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http" or scope["path"].startswith(HEALTH) or scope["path"] == metrics.PATH:
            await self.app(scope, receive, send)
            return
        upload, share = _Upload(scope, receive, Share(self.bodies)), Share(self.decoded, self.places)
        try:
            body = await upload.read()
            if body is not None:
                scope.setdefault("state", {})["share"] = share
                await self._work(scope, _again(await _plain(scope, body, share), receive), _Answer(send, share))
        except HTTPException as error:  # those of the application are answered inside it
            await upload.forget()
            await refusal(error.detail, error.status_code, error.headers)(scope, receive, send)
        finally:
            upload.share.give_back()
            share.give_back()

    async def _work(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if not self.places.free:
            raise self.places.error()
        self.places.free -= 1
        with ExitStack() as place:
            place.callback(self._leave)
            answer.begins = place.close
            await self.app(scope, receive, answer.send)

    def _leave(self) -> None:
        self.places.free += 1


class _Upload:
    """A body that is on its way, and its share of the memory for bodies."""

    def __init__(self, scope: Scope, receive: Receive, share: Share) -> None:
        self.share, self._receive = share, receive
        headers = Headers(scope=scope)
        self._coding = ", ".join(headers.getlist("transfer-encoding"))
        self._announced = MAX_BODY if self._coding else int(headers.get("content-length", 0))
        self._more = True

    async def read(self) -> bytes | None:
        """All of it; none where the client has gone.

        Raises:
            HTTPException: 413 where it is too large, 408 where it takes too long, 503 where others have the memory, 501
                where it is coded in a way that is not known (RFC 9112, section 6.1).
        """
        if self._coding.lower() not in ("", "chunked"):  # the parser has made sure that chunked is the last
            error = f"the body's Transfer-Encoding is {self._coding[:80]}, expected chunked alone, or a Content-Length"
            raise HTTPException(501, error)
        seconds = BODY_SECONDS + min(self._announced, MAX_BODY) / BYTES_A_SECOND
        try:
            async with asyncio.timeout(seconds):
                return await self._read()
        except TimeoutError:
            self._more = False
            error = f"the body has not come within {seconds:.0f} seconds; send it faster, or less"
            raise HTTPException(408, error, {"Connection": "close"}) from None

    async def _read(self) -> bytes | None:
        pieces: list[bytes] = []
        size = 0
        while self._more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            self._more = message["more_body"]
            size += len(message["body"])
            if max(size, self._announced) > MAX_BODY:
                error = f"the body has more than {MAX_BODY} bytes, which is the limit; send fewer images"
                raise HTTPException(413, error)
            if size > SMALL and not self.share.held:
                await self.share.take(2 * self._announced, "the body")
            pieces.append(message["body"])
        return b"".join(pieces)

    async def forget(self) -> None:
        """Read what is left: a client that is still sending when its connection ends sees no answer."""
        left = MAX_BODY
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self._more and left > 0:
                    message = await self._receive()
                    self._more = message.get("more_body", False)
                    left -= len(message.get("body", b""))


class _Answer:
    """What an answer is sent with: in pieces, and from when it begins its share is no more than what is sent."""

    def __init__(self, send: Send, share: Share) -> None:
        self._send, self._share = send, share
        self.begins: Callable[[], None] = lambda: None

    async def send(self, message: Message) -> None:
        """Send a message, as the client takes it."""
        self.begins()
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or len(body) <= _PIECE:
            await self._send(message)
            return
        self._share.keep(len(body))
        for start in range(0, len(body), _PIECE):
            is_last = start + _PIECE >= len(body)
            more = not is_last or message.get("more_body", False)
            await self._send({**message, "body": body[start : start + _PIECE], "more_body": more})


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives a body that has been read, and then what else comes."""
    bodies = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": bodies.pop(), "more_body": False} if bodies else await receive()

    return again


async def _plain(scope: Scope, body: bytes, share: Share) -> bytes:
    """A body without its Content-Encoding, which then is not among the headers any more.

    Raises:
        HTTPException: 415 for another encoding than gzip, 422 where it is damaged, 413 and 503 as for `Share.take`.
    """
    coding = dict(scope["headers"]).get(b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if coding == "identity":
        return body
    if coding not in ("gzip", "x-gzip"):
        error = f"the body's Content-Encoding is {coding[:80]}, expected gzip or none"
        raise HTTPException(415, error, {"Accept-Encoding": "gzip"})
    try:
        size = await off_the_loop(MAX_BODY, unpacked_size, body, MAX_BODY)
        if size > MAX_BODY:
            raise HTTPException(413, f"the body unpacks to more than {MAX_BODY} bytes, which is the limit; send less")
        await share.take(2 * size, "the unpacked body")
        plain = await off_the_loop(MAX_BODY, unpacked, body, size)
    except InvalidInput as error:
        raise HTTPException(422, str(error)) from None
    scope["headers"] = [field for field in scope["headers"] if field[0] not in (b"content-encoding", b"content-length")]
    scope["headers"].append((b"content-length", b"%d" % size))
    return plain
