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
# A Host as a whole (RFC 9110, section 7.2), so that nobody reads another name in it than is looked at here.
_HOST: Final = re.compile(r"(\[[^][\s/?#@\\]+\]|[^][\s/?#@\\:]+)(:[0-9]*)?")


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
        if refused := self._refusal(headers, scope):
            status, error = refused
            await refusal(error, status, {"Connection": "close"})(scope, receive, send)
        elif scope["method"] == "HEAD":
            asked = {**scope, "method": "GET"}
            await self.app(asked, receive, send)
            scope["route"] = asked.get("route")
        else:
            await self.app(scope, receive, send)

    def _refusal(self, headers: Headers, scope: Scope) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if error := _malformed(headers) or self._of_another_host(host, scope):
            return 400, error
        error = self._of_another_page(origin, host)
        return (403, error) if error else None

    def _of_another_host(self, host: str, scope: Scope) -> str | None:
        name, own = _bare(host.lower()), str((scope.get("server") or ("",))[0])
        if ANY in self._hosts or name in self._hosts or (name and name == own):
            return None
        if not host:
            return "the request has no Host, expected a name of this service; send one, or serve with --allow-host '*'"
        return f"the Host is {host[:80]!r}, expected a name of this service; serve with --allow-host {name[:80]}"

    def _of_another_page(self, origin: str | None, host: str) -> str | None:
        if origin is None or {origin, ANY} & self._origins:
            return None
        if host and origin.lower().partition("://")[2] == host.lower():
            return None
        if not _ORIGIN.fullmatch(origin):
            return f"the Origin is {origin[:80]!r}, expected this service's own, or a site such as https://example.org"
        return f"the Origin is {origin[:80]!r}, expected this service's own; serve with --cors {origin[:80]}"


def _malformed(headers: Headers) -> str | None:
    """What is wrong with lines that tell who asks, whoever it is: others may read them in another way."""
    for name in ("Host", "Origin"):
        if (lines := len(headers.getlist(name))) > 1:
            return f"the request has {lines} lines of {name}, expected one"
    host = headers.get("host", "")
    if host and not _HOST.fullmatch(host):
        return f"the Host is {host[:80]!r}, expected a name or an address, with a port or without: localhost:8000"
    return None


def _bare(host: str) -> str:
    """A host without its port, and without the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]
