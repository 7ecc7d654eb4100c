"""How much a service takes at once: requests, the bytes of their bodies, and the memory that these become."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The most bytes of one request's body.
MAX_BODY: Final = 1 << 24
# The most bytes of all bodies: each is there in pieces, and then whole.
BODIES: Final = 1 << 26
# The most bytes of all that bodies are decoded to, and of what the model makes of it.
DECODED: Final = 5 << 26
# Seconds that a request waits for its share.
PATIENCE: Final = 5.0
HEALTH: Final = "/v2/health"
# Work on so few bytes is done sooner than threads change.
_AT_ONCE: Final = 1 << 16

Result = TypeVar("Result")


async def off_the_loop(size: int, work: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """The result of work on so many bytes, by another thread, but for so few that changing threads takes longer."""
    if size <= _AT_ONCE:
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
        """Take so many bytes, as soon as they are free.

        Raises:
            TimeoutError: they were not within PATIENCE seconds.
        """
        kept = 0 if cost <= self.most >> 8 else self.most >> 3
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
    def largest(self) -> int:
        """The most that one share can have."""
        return self.most - (self.most >> 3)


class Share:
    """What one request has of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._held = budget, 0

    async def take(self, cost: int, what: str) -> None:
        """Take so many bytes for `what`, which is said in errors.

        Raises:
            HTTPException: 413 where no share is that large, 503 where other requests keep theirs too long.
        """
        if cost > self._budget.largest:
            most = self._budget.largest
            raise HTTPException(413, f"{what} would take {cost} bytes of memory, expected at most {most}; send less")
        try:
            await self._budget.take(cost)
        except TimeoutError:
            error = f"{what} would take {cost} bytes of memory, which other requests have; try again in a second"
            raise HTTPException(503, error, {"Retry-After": "1"}) from None
        self._held += cost

    def give_back(self) -> None:
        """Give all of it back."""
        held, self._held = self._held, 0
        self._budget.give_back(held)


def share_of(request: Request) -> Share:
    """What a request has of the memory for decoding; it goes back when the answer is sent, whatever happens."""
    share: Share = request.state.share
    return share


class Gate:
    """Middleware that lets at most `most` requests in at once, and tells one more 503 and when to come back.

    What comes of the body of a refused request is forgotten piece by piece. Questions after the service's health always
    come through. A body of more than MAX_BODY bytes is read no further, and refused with 413; all bodies together have
    their budget.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = self.free = most
        self.bodies, self.decoded = Budget(BODIES), Budget(DECODED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http" or scope["path"].startswith(HEALTH):
            await self.app(scope, receive, send)
        elif self.free:
            await self._admit(scope, receive, send)
        else:
            error = f"{self.most} requests are in work, which is the limit; try again in a second"
            await _refuse(HTTPException(503, error, {"Retry-After": "1"}), scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, share = Share(self.bodies), Share(self.decoded)
        self.free -= 1
        try:
            await body.take(2 * _announced(scope), "the body")
            scope.setdefault("state", {})["share"] = share
            await self.app(scope, _bounded(receive), send)
        except HTTPException as error:  # those of the application are answered inside it
            await _refuse(error, scope, receive, send)
        finally:
            self.free += 1
            body.give_back()
            share.give_back()


async def _refuse(error: HTTPException, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error, after the body: a client that is still sending when its connection ends sees no answer."""
    left = MAX_BODY
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while left > 0 and (message := await receive()).get("more_body"):
                left -= len(message["body"])
    await JSONResponse({"error": error.detail}, error.status_code, error.headers)(scope, receive, send)


def _announced(scope: Scope) -> int:
    """The bytes of a request's body as its head says; as many as there may be where it does not say."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return MAX_BODY
    return min(MAX_BODY, int(headers.get(b"content-length", 0)))


def _bounded(receive: Receive) -> Receive:
    """The same messages, until the bodies in them are too large together."""
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise HTTPException(413, f"the body has more than {MAX_BODY} bytes, which is the limit; send fewer images")
        return message

    return bounded
