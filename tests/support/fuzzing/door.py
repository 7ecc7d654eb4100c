"""A service with all that stands before it but sockets: connections are given bytes, and what they write is kept."""

import asyncio
import logging
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from aae_zoo.runtime import load
from aae_zoo.runtime.serving.app import create_app
from aae_zoo.runtime.serving.edge.connections import connections_for
from aae_zoo.runtime.serving.service import Service


class _Transport(asyncio.Transport):
    """What a connection writes to: the bytes are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 9), "sockname": ("127.0.0.1", 80)}.get(name, default)

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class _Said(logging.Handler):
    """What the service says of its own faults."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.faults.append(self.format(record))


class Door:
    """The service of a model, which must not fail: what it says of its own faults is an error."""

    def __init__(self, model: str) -> None:
        service = Service(load(model, device="cpu", threads=1))
        self._runner = asyncio.Runner()
        self._loop = self._runner.get_loop()
        app = create_app(service, requests=2, hosts=["127.0.0.1"], origins=["https://a.example"])
        self._connection, _ = connections_for(2)
        self._config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", server_header=False)
        self._state = ServerState()
        self._said = _Said()
        logger = logging.getLogger("uvicorn.error")
        logger.addHandler(self._said)
        logger.propagate = False

    def ask(self, content: bytes) -> bytes:
        """What a client that sends this, and then waits for what it is owed, is answered."""
        self._said.faults.clear()
        answer = self._runner.run(self._ask(content))
        assert not self._said.faults, self._said.faults[0]
        return answer

    async def _ask(self, content: bytes) -> bytes:
        transport = _Transport()
        connection: Any = self._connection(self._config, self._state, {}, self._loop)
        connection.connection_made(transport)
        for start in range(0, len(content), 1 << 16):
            if not transport.closed:
                connection.data_received(content[start : start + (1 << 16)])
        while self._state.tasks:
            if connection.cycle.more_body:  # more was announced than there is
                connection.connection_lost(None)
            await asyncio.wait(self._state.tasks, timeout=0.02)
            await asyncio.sleep(0)
        connection.connection_lost(None)
        return transport.written
