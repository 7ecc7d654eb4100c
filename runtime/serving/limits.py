"""How much a service takes at once."""

from typing import Final

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The most bytes of one request's body.
MAX_BODY: Final = 1 << 24
HEALTH: Final = "/v2/health"


class Gate:
    """Middleware that lets at most `most` requests in at once, and tells one more 503 and when to come back.

    It is told so before its body is read. Questions after the service's health always come through. A body of more
    than MAX_BODY bytes is read no further, and refused with 413.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = self.free = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http" or scope["path"].startswith(HEALTH):
            await self.app(scope, receive, send)
        elif self.free:
            self.free -= 1
            try:
                await self.app(scope, _bounded(receive), send)
            finally:
                self.free += 1
        else:
            error = f"{self.most} requests are in work, which is the limit; try again in a second"
            await JSONResponse({"error": error}, 503, {"Retry-After": "1"})(scope, receive, send)


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
