"""Who may ask: by the names that the service is called, and the web pages that a browser asks for.

A page of another site can have its visitor's browser send requests to a service on that visitor's machine, in its own
name (CORS, CSRF) or in one that it has pointed there (DNS rebinding). The first has the page's Origin, the second its
Host.
"""

import re
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.serving.edge.sentences import refusal

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
ANY: Final = "*"
# A site as browsers name it: what is written in another way would never be the Origin of a request.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\sA-Z]+|null|\*")


def check_names(hosts: Collection[str], origins: Collection[str]) -> None:
    """Check that requests can have these hosts and origins.

    Raises:
        InvalidInput: they cannot.
    """
    for host in hosts:
        if not host or "/" in host:
            raise InvalidInput(f"the host is {host!r}, expected a name or an address alone, such as example.org or ::1")
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise InvalidInput(
                f"the origin is {origin!r}, expected a site such as https://example.org, in small letters"
            )


class Hosts:
    """Middleware that refuses hosts and origins of others, and answers HEAD as GET, whose answer uvicorn cuts off.

    The service is called by the names of this machine, by `hosts`, and by the address that a connection came to;
    requests with an Origin come from its own pages, or from one of `origins`.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self.app = app
        self._hosts = {*LOOPBACK, *(_bare(host.lower()) for host in hosts)}
        self._origins = set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refused := self._refusal(headers.get("host", ""), headers.get("origin"), scope):
            status, error = refused
            await refusal(error, status, {"Connection": "close"})(scope, receive, send)
        elif scope["method"] == "HEAD":
            asked = {**scope, "method": "GET"}
            await self.app(asked, receive, send)
            scope["route"] = asked.get("route")
        else:
            await self.app(scope, receive, send)

    def _refusal(self, host: str, origin: str | None, scope: Scope) -> tuple[int, str] | None:
        if not host and ANY not in self._hosts:
            return (
                400,
                "the request has no Host, expected a name of this service; send one, or serve with --allow-host '*'",
            )
        name, own = _bare(host.lower()), str((scope.get("server") or ("",))[0])
        if ANY not in self._hosts and name not in self._hosts and name != own:
            return (
                400,
                f"the Host is {host[:80]!r}, expected a name of this service; serve with --allow-host {name[:80]}",
            )
        if origin is None or {origin, ANY} & self._origins or origin.lower().partition("://")[2] == host.lower():
            return None
        return 403, f"the Origin is {origin[:80]!r}, expected this service's own; serve with --cors {origin[:80]}"


def _bare(host: str) -> str:
    """A host without its port, and without the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]
