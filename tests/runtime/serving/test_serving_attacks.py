"""Clients that stall, flood and overfill: each is caused here, beside a client that behaves."""

import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import bombs
import numpy as np
import pytest
from service import JSON, NPY, Answer, Server, serving

from aae_zoo.runtime import load
from aae_zoo.runtime.serving.bodies import MAX_JSON
from aae_zoo.runtime.serving.edge import connections, logs
from aae_zoo.runtime.serving.edge.connections import MAX_FIELDS, MAX_HEAD
from aae_zoo.runtime.serving.limits import MAX_BODY

MODEL = "mnist-plane"
HEAD = b"POST /encode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\n"
GET = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n"
# Ten times what is needed here; those who wait for ever wait longer.
SOON = 60


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(MODEL) as running:
        yield running


def connect(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    client = socket.socket()
    client.settimeout(SOON)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that answers wait where they come from
    client.connect((address.hostname, address.port))
    return client


@contextmanager
def clients(server: Server, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """So many clients that have sent so much, and then nothing."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            client = stack.enter_context(connect(server))
            with suppress(OSError):  # it was ended before it had sent all
                client.sendall(sent)
            opened.append(client)
        yield opened


def check_a_good_client_is_served(server: Server) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
        assert server.ask(path).status == 200
    answer = server.ask("/sample?n=3&seed=5&format=npy")
    assert answer.status == 200, answer
    assert np.allclose(answer.array, load(MODEL).sample(3, seed=5), atol=1e-6)


def everything_until_the_end(client: socket.socket) -> bytes:
    """What a client is told until its connection ends."""
    told = b""
    try:
        while part := client.recv(1 << 16):
            told += part
    except ConnectionResetError:
        pass
    return told


STALLED = {
    "says nothing": b"",
    "stops in its head": b"GET /sample HTTP/1.1\r\nHost: local",
    "stops before its body": HEAD + b"Content-Length: 1000000\r\n\r\n",
    "stops in its body": HEAD + b"Content-Length: 16777216\r\n\r\n" + bytes(1 << 18),
    "stops in a piece": HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n" + bytes(1 << 18),
    "reads no answer": b"GET /sample?n=256&format=npy HTTP/1.1\r\nHost: localhost\r\n\r\n" * 16,
}


@pytest.mark.parametrize("sent", STALLED.values(), ids=STALLED)
def test_clients_that_stall_keep_nobody_waiting(server: Server, sent: bytes) -> None:
    """More of them than there may be connections, and than there are places for requests."""
    with clients(server, 300, sent):
        check_a_good_client_is_served(server)
    check_a_good_client_is_served(server)


@pytest.mark.parametrize("kind", ["says nothing", "stops in its head", "reads no answer"])
def test_a_client_that_stalls_is_let_go(server: Server, kind: str) -> None:
    with clients(server, 1, STALLED[kind]) as [client]:
        begun = time.monotonic()
        while not established(server):
            time.sleep(0.01)
        while established(server):
            assert time.monotonic() - begun < connections.PATIENCE + SOON
            time.sleep(0.1)
        assert everything_until_the_end(client).count(b"HTTP/1.1 200 ") < 16


def established(server: Server) -> int:
    """The connections to a server that are open on its side."""
    port = f":{urlsplit(server.url).port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    inodes = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(port)}
    return len(inodes & open_files(server)) - 1  # the one that listens


def open_files(server: Server) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found.add(str(descriptor.readlink()))
    return found


def test_a_body_that_takes_too_long_is_ended(server: Server) -> None:
    with clients(server, 1, HEAD + b"Content-Length: 100\r\n\r\nx") as [client]:
        told = everything_until_the_end(client)
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"the body has not come within 10 seconds; send it faster, or less" in told


HEADS = {
    "a long field": (GET + b"X: " + b"x" * (2 * MAX_HEAD), f"more than {MAX_HEAD} bytes"),
    "a field without end": (GET + b"X: " + b"x" * (8 * MAX_HEAD), f"more than {MAX_HEAD} bytes"),
    "a long target": (b"GET /" + b"x" * (2 * MAX_HEAD) + b" HTTP/1.1\r\n", f"more than {MAX_HEAD} bytes"),
    "many fields": (GET + b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n", f"more than {MAX_FIELDS} fields"),
    "many fields behind a body": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"X: y\r\n" * (MAX_FIELDS + 1),
        f"more than {MAX_FIELDS} fields",
    ),
}


@pytest.mark.parametrize(("sent", "sentence"), HEADS.values(), ids=HEADS)
def test_heads_that_are_too_large(server: Server, sent: bytes, sentence: str) -> None:
    with clients(server, 1, sent) as [client]:
        told = everything_until_the_end(client)
    if told:  # the client may still have been sending, and then is told nothing
        assert told.startswith(b"HTTP/1.1 431 ")
        error = json.loads(told.partition(b"\r\n\r\n")[2])["error"]
        assert error == f"the request's head has {sentence}, which is the limit; send a shorter one"


def test_the_largest_head_that_is_taken(server: Server) -> None:
    filled = b"".join(b"X-%d: %s\r\n" % (k, b"x" * 600) for k in range(MAX_FIELDS - 2))
    with clients(server, 1, GET + b"Connection: close\r\n" + filled + b"\r\n") as [client]:
        assert everything_until_the_end(client).startswith(b"HTTP/1.1 200 ")


def test_large_heads_take_no_memory(server: Server) -> None:
    check_a_good_client_is_served(server)
    before = memory(server)
    with clients(server, 250, GET + b"X: " + b"x" * (MAX_HEAD - 100)):
        check_a_good_client_is_served(server)
    with clients(server, 250, GET + b"X: " + b"x" * (16 * MAX_HEAD)):
        check_a_good_client_is_served(server)
    assert memory(server) - before < 64 << 20


def test_requests_that_are_sent_before_the_last_is_answered(server: Server) -> None:
    with clients(server, 100, (GET + b"\r\n") * 5000):
        check_a_good_client_is_served(server)
    with clients(server, 1, (GET + b"\r\n") * 8 + GET + b"Connection: close\r\n\r\n") as [client]:
        assert everything_until_the_end(client).count(b"HTTP/1.1 200 ") == 9


def memory(server: Server) -> int:
    """The most memory that the service has had, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def numbers(length: int) -> bytes:
    start = b'{"inputs":[{"name":"u","datatype":"FP32","shape":[1,8],"data":[1'
    return start + b",100" * min((length - len(start) - 4) // 4, (1 << 20) - 9) + b"]}]}"


WORK: dict[str, Callable[[], tuple[str, bytes, str]]] = {
    "numbers in JSON": lambda: (f"/v2/models/{MODEL}/infer", numbers(MAX_JSON), JSON),
    "lists in JSON": lambda: (f"/v2/models/{MODEL}/infer", b"[" + b"[[]]," * 32_000 + b"[]]", JSON),
    "codes in JSON": lambda: ("/decode", b'{"z":[[1' + b",100" * (MAX_JSON // 4 - 9) + b"]]}", JSON),
    "arrays": lambda: ("/encode", bombs.npy_of(np.zeros((256, 1, 90, 90))), NPY),
    "arrays to resize": lambda: ("/encode?resize=true", bombs.npy_of(np.zeros((256, 1, 90, 90))), NPY),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_large_bodies_keep_health_from_nothing(server: Server, work: Callable[[], tuple[str, bytes, str]]) -> None:
    asked = work()
    ended = threading.Event()

    def bad_client(_: int) -> Answer:
        answer = server.ask(*asked)
        while not ended.is_set():
            answer = server.ask(*asked)
        return answer

    with ThreadPoolExecutor(8) as pool:
        bad = pool.map(bad_client, range(8))
        try:
            for _ in range(20):
                assert server.ask("/v2/health/live").status == 200
            check_a_good_client_is_served(server)
        finally:
            ended.set()
        assert {answer.status for answer in bad} <= {200, 413, 422, 503}


def test_descriptors_are_never_used_up() -> None:
    """With few of them: what cannot be taken is not said for ever, and who comes later is served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    with ExitStack() as stack:
        try:
            server = stack.enter_context(serving(MODEL))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with clients(server, 500, b"GET /"):
            check_a_good_client_is_served(server)
    # serving() has checked that nothing was said


def test_the_end_comes_soon_with_clients_that_stall() -> None:
    with serving(MODEL) as server, ExitStack() as stack:
        for sent in STALLED.values():
            stack.enter_context(clients(server, 20, sent))
        check_a_good_client_is_served(server)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=25)  # requests in work would have 30 seconds


def test_a_body_of_the_largest_size_is_taken_slowly(server: Server) -> None:
    """A slow client is no bad one."""
    with clients(server, 1, HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % MAX_BODY) as [client]:
        for _ in range(16):
            client.sendall(bytes(MAX_BODY // 16))
            time.sleep(0.05)
        assert everything_until_the_end(client).startswith(b"HTTP/1.1 422 ")


def test_few_errors_are_said() -> None:
    program = """
import logging
from aae_zoo.runtime.serving.edge import logs
logs.say_few_errors()
for number in range(1000):
    logging.getLogger("asyncio").error("error %d", number)
logs.SECONDS = -1
logging.getLogger("uvicorn.error").error("the next")
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stderr.splitlines()
    assert said == [
        *(f"ERROR: error {number}" for number in range(logs.MOST)),
        f"ERROR: ({1000 - logs.MOST} more were left out) the next",
    ]
