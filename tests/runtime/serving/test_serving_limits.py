"""What bad clients can take of a service's memory, and what is left for good ones."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import bombs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from service import JSON, NPY, Answer, Server, serving

from aae_zoo.runtime import Model
from aae_zoo.runtime.serving import limits
from aae_zoo.runtime.serving.bodies import MAX_JSON
from aae_zoo.runtime.serving.limits import BODIES, DECODED, MAX_BODY, SMALL, Budget, Gate

PNG, WEBP = "image/png", "image/webp"
RESIZED = "/encode?resize=true"
# Beside what is counted: 40 threads with stacks and arenas, and what the allocator keeps of what was freed.
SLACK = 64 << 20
LARGEST = Budget(DECODED).largest


@pytest.fixture(scope="module")
def server(small_bundle: Path) -> Iterator[Server]:
    with serving(small_bundle) as running:
        yield running


@pytest.fixture(scope="module")
def quiet(server: Server) -> int:
    """The memory of the service before anybody was bad to it."""
    server.ask("/sample?n=3")
    return memory(server)


def memory(server: Server) -> int:
    """The most memory that the service has had, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def names(count: int) -> bytes:
    """JSON of so many names, none of which is known: each is an error of its own."""
    return b"{" + b",".join(b'"%x":0' % k for k in range(count)) + b"}"


Ask = tuple[str, bytes, str]
BOMBS: dict[str, Callable[[], Ask]] = {
    "WebP": lambda: (RESIZED, bombs.webp(4096, 4096), WEBP),
    "WebP of codes": lambda: (RESIZED, bombs.webp_of_codes(), WEBP),
    "PNG": lambda: (RESIZED, bombs.saved(Image.new("RGBA", (4096, 4096)), "PNG"), PNG),
    "PNG of texts": lambda: (RESIZED, bombs.png_of_texts(), PNG),
    ".npy": lambda: ("/encode", bombs.npy_of(np.zeros((256, 255, 255), np.uint8)), NPY),
    "names in JSON": lambda: ("/decode", names(900), JSON),
    "lists in JSON": lambda: ("/v2/models/small/infer", b'{"inputs":[' + b"[[1]]," * 30_000 + b"[]]}", JSON),
    "a long text in JSON": lambda: (
        "/v2/models/small/infer",
        json.dumps(
            {"inputs": [{"name": "u", "datatype": "FP32", "shape": [1, 2], "data": ["a" * 100_000, *[1] * 10_000]}]}
        ).encode(),
        JSON,
    ),
}


def check_answer(answer: Answer) -> None:
    """It is as always, or a sentence."""
    assert answer.status in (200, 413, 422, 503), answer
    if answer.status != 200:
        assert "\n" not in answer.error
    if answer.status == 503:
        assert answer.headers["retry-after"] == "1"
        assert "which other requests have; try again in a second" in answer.error
    if answer.status == 413:
        assert f"expected at most {LARGEST}; send less" in answer.error


@pytest.mark.parametrize(
    "kinds", [["WebP"], ["PNG"], ["names in JSON"], list(BOMBS)], ids=["WebP", "PNG", "JSON", "all"]
)
def test_forty_bad_clients_and_a_good_one(server: Server, quiet: int, small: Model, kinds: list[str]) -> None:
    expected = small.sample(3, seed=5)
    asked = [BOMBS[kind]() for kind in kinds]
    ended = threading.Event()

    def good_client() -> int:
        count = 0
        while not ended.is_set() or not count:
            answer = server.ask("/sample?n=3&seed=5&format=npy")
            assert answer.status == 200, answer
            assert np.allclose(answer.array, expected, atol=1e-6)
            count += 1
        return count

    with ThreadPoolExecutor(41) as pool:
        good = pool.submit(good_client)
        try:
            answers = list(pool.map(lambda k: server.ask(*asked[k % len(asked)]), range(40)))
        finally:
            ended.set()
        assert good.result() >= 1
    for answer in answers:
        check_answer(answer)
    assert memory(server) - quiet <= DECODED + BODIES + SLACK
    check_all_is_given_back(server)


def check_all_is_given_back(server: Server) -> None:
    """A picture that takes nearly all of the memory is taken, and a body of the largest size is read.

    What clients that are gone have asked for is still worked on, which on a busy machine takes longer than any waits.
    """
    until = time.monotonic() + 60
    while (status := server.ask(*BOMBS["WebP"]()).status) == 503 and time.monotonic() < until:
        pass
    assert status == 200
    assert server.ask("/encode", bytes(MAX_BODY), NPY).status == 422


@contextmanager
def asking(server: Server, path: str, kind: str, length: int, body: bytes) -> Iterator[HTTPConnection]:
    """A client that has sent so much of a body of such a length."""
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(length))
    connection.endheaders(body)
    yield connection
    connection.close()


def test_clients_that_go_leave_their_share(server: Server) -> None:
    """In the middle of their body, while they wait, and while they are worked for."""
    bomb = BOMBS["WebP"]()[1]
    with ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(asking(server, "/encode", NPY, MAX_BODY, bytes(2 * SMALL)))
            for _ in range(3):
                clients.enter_context(asking(server, RESIZED, WEBP, len(bomb), bomb))
    for _ in range(2):
        check_all_is_given_back(server)


def test_slow_large_bodies_keep_no_small_one_waiting(server: Server, small: Model) -> None:
    with ExitStack() as clients:
        slow = [clients.enter_context(asking(server, "/encode", NPY, MAX_BODY, bytes(SMALL + 1))) for _ in range(9)]
        z = np.array([[0.5, -1]], np.float32)
        answer = server.ask("/decode?format=npy", bombs.npy_of(z), NPY)
        assert np.allclose(answer.array, small.decode(z), atol=1e-6)
        refused = server.ask("/encode", bytes(MAX_BODY), NPY)
        assert (refused.status, refused.error) == (
            503,
            f"the body would take {2 * MAX_BODY} bytes of memory, which other requests have; try again in a second",
        )
        del slow
    check_all_is_given_back(server)


def test_what_no_share_is_large_enough_for(server: Server) -> None:
    answer = server.ask(RESIZED, bombs.png(8192, 8192), PNG)
    assert answer.status == 413
    assert re.search(r"of 8192 x 8192 pixels would take \d+ bytes of memory, expected at most 293601280", answer.error)
    check_answer(answer)


def test_json_that_would_take_too_long_to_read(server: Server) -> None:
    for path in ("/decode", "/v2/models/small/infer"):
        named = server.ask(path, names(150_000), JSON)
        assert (named.status, named.error) == (
            413,
            "the JSON has 150000 names, expected at most 1000; send several requests",
        )
        lists = server.ask(path, b"[" + b"[]," * 70_000 + b"[]]", JSON)
        assert (lists.status, lists.error) == (
            413,
            "the JSON has 70002 lists, expected at most 65536; send several requests",
        )
        long = server.ask(path, b"[" + b" " * MAX_JSON + b"]", JSON)
        assert (long.status, long.error) == (
            413,
            f"the JSON has {MAX_JSON + 2} bytes, expected at most {MAX_JSON}; send an .npy array, or several requests",
        )


def test_a_telephones_photograph_is_taken(server: Server) -> None:
    picture = Image.new("RGB", (8064, 6048), (200, 100, 50))
    assert server.ask(RESIZED, bombs.saved(picture, "JPEG"), "image/jpeg").status == 200


def test_the_description_says_the_bounds(server: Server) -> None:
    answers = server.ask("/openapi.json").json["paths"]["/encode"]["post"]["responses"]
    assert str(LARGEST) in answers["413"]["description"]
    assert str(MAX_BODY) in answers["413"]["description"]
    assert "5 seconds" in answers["503"]["description"]


App = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]


@pytest.mark.parametrize("end", ["returns", "raises", "is cancelled", "waits"])
def test_the_share_goes_back_however_a_request_ends(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATIENCE", 0.05)
    reached, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await scope["state"]["share"].take(LARGEST, "the picture")
        reached.set()
        await go.wait()
        if end == "waits":
            await scope["state"]["share"].take(LARGEST, "another")
        if end == "raises":
            raise RuntimeError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(1_000_000), "more_body": False}

    async def ask() -> Gate:
        gate = Gate(app, 8, Budget(BODIES), Budget(DECODED))
        headers = [(b"content-length", b"1000000")]
        task = asyncio.create_task(gate({"type": "http", "path": "/", "headers": headers}, receive, send))
        await reached.wait()
        assert gate.decoded.free == DECODED - LARGEST
        assert gate.bodies.free == BODIES - 2_000_000
        assert (gate.places.free, gate.places.free_for_large) == (7, 6)
        if end == "is cancelled":
            task.cancel()
        else:
            go.set()
        with suppress(RuntimeError, asyncio.CancelledError):
            await task
        return gate

    gate = asyncio.run(ask())
    assert (gate.places.free, gate.places.free_for_large, gate.decoded.free, gate.bodies.free) == (
        8,
        7,
        DECODED,
        BODIES,
    )
    assert [message["status"] for message in sent if "status" in message] == ([503] if end == "waits" else [])


@given(st.lists(st.tuples(st.integers(0, 7 << 8), st.integers(0, 5), st.booleans()), max_size=40))
def test_shares_never_exceed_the_budget_and_all_come_back(requests: list[tuple[int, int, bool]]) -> None:
    """Requests of (cost, steps of work, whether they are cancelled)."""

    async def run() -> None:
        budget = Budget(8 << 8)

        async def request(cost: int, steps: int) -> None:
            await budget.take(cost)
            try:
                for _ in range(steps):
                    assert 0 <= budget.free <= budget.most - cost
                    await asyncio.sleep(0)
            finally:
                budget.give_back(cost)

        tasks = [asyncio.create_task(request(cost, steps)) for cost, steps, _ in requests]
        await asyncio.sleep(0)
        for task, (_, _, cancelled) in zip(tasks, requests, strict=True):
            if cancelled:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert budget.free == budget.most

    asyncio.run(run())


def test_small_shares_pass_large_ones() -> None:
    async def run() -> None:
        budget = Budget(1024)
        await budget.take(budget.largest)
        large = asyncio.create_task(budget.take(budget.largest))
        await asyncio.sleep(0)
        await budget.take(4)
        assert not large.done()
        budget.give_back(budget.largest)
        await asyncio.sleep(0)
        assert not large.done()  # an eighth is left for small ones, less what they have
        budget.give_back(4)
        await large

    asyncio.run(run())
