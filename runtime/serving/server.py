"""The service as a process: listening, announcing itself, and ending in good order."""

import ctypes
import socket
import sys
from collections.abc import Callable, Collection
from typing import Final

import uvicorn
from anyio import to_thread
from fastapi import FastAPI

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.model import Model
from aae_zoo.runtime.serving.app import create_app
from aae_zoo.runtime.serving.edge.connections import connections_for, sweep
from aae_zoo.runtime.serving.edge.hosts import check_names
from aae_zoo.runtime.serving.edge.logs import only_python_says_errors, say_few_errors
from aae_zoo.runtime.serving.service import Service

# Requests in work when the process is told to end have this many seconds to be answered.
_GRACE: Final = 30
# Seconds after which a thread lets another go on, the event loop among them (Python's own: 5 ms), and threads for work.
_SWITCH: Final = 0.0005
_THREADS: Final = 8
# Bytes of an answer that the system keeps for a client.
_UNREAD: Final = 1 << 18
# Connections that wait to be taken, in the system.
_WAITING: Final = 1024
# Of glibc's malloc.h: blocks of this many bytes are the system's own, and go back to it when they are freed.
_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 1 << 20


def serve(
    model: Model,
    *,
    host: str,
    port: int,
    requests: int,
    announce: Callable[[str], None],
    hosts: Collection[str] = (),
    origins: Collection[str] = (),
) -> None:
    """Serve a model until the process is sent SIGTERM or SIGINT, then answer what is in work.

    uvicorn raises the signal again when it has ended in good order, for the handler that was there before.

    Port 0 takes a free one; `announce` is called with the URL as soon as connections are taken. The service answers to
    the names `hosts` beside the address and those of this machine; web pages from `origins` beside its own may ask it.

    Raises:
        InvalidInput: the address cannot be listened on, or a name or site is not valid.
        InvalidBundle: a graph that cannot be opened.
    """
    check_names([host, *hosts], origins)
    _keep_no_large_blocks()
    sys.setswitchinterval(_SWITCH)
    service = Service(model)
    app = create_app(service, requests=requests, hosts=[host, *hosts], origins=origins)
    try:
        with _listen(host, port) as listener, only_python_says_errors():
            say_few_errors()
            server = _server(app, requests)
            shown = f"[{host}]" if ":" in host else host
            announce(f"http://{shown}:{listener.getsockname()[1]}")
            server.run(sockets=[listener])
    finally:
        service.close()


class _Server(uvicorn.Server):
    """uvicorn's server, with more connections that wait than are taken in one go, and few threads beside it."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_WAITING)


def _server(app: FastAPI, requests: int) -> uvicorn.Server:
    connection, burst = connections_for(requests)
    config = uvicorn.Config(
        app,
        http=connection,
        ws="none",
        log_config=None,
        access_log=False,
        backlog=burst,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        timeout_notify=1,
    )
    server = _Server(config)
    config.callback_notify = sweep(lambda: server.server_state.connections)
    return server


def _keep_no_large_blocks() -> None:
    """Have glibc keep no large block that is freed, as it learns to: what one request had others have elsewhere."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Connections inherit it. asyncio sets it only on sockets that it makes itself; without it each answer's body
        # waits 40 ms for the acknowledgement of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # So is this: what the system keeps of answers for clients that read none counts against this service too.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD)
        return listener
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # create_server adds the address
        raise InvalidInput(f"cannot listen on {host} port {port}: {reason}; give another --host or --port") from None
