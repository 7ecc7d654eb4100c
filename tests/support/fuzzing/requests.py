"""Requests of every route, with changed heads, queries and bodies, given as bytes to the service's own connections.

Nothing but the sockets is left out. An answer must be well-formed, with a status that says whose fault it is, never the
service's own, and no connection may leave anything behind: a request that takes places or memory with it would have the
next ones refused with 503.
"""

import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import is_line
from aae_zoo.runtime.serving.limits import DECODED, MAX_BODY
from fuzzing.arrays import files
from fuzzing.changes import change_bytes, change_file, change_json
from fuzzing.door import Door
from fuzzing.memory import at_most
from fuzzing.pictures import changed, pictures

REFUSAL: Final = InvalidInput
MODEL: Final = "digits-gauss"
_NPY, _JSON, _FORM = "application/x-npy", "application/json", "multipart/form-data; boundary=xYx"
_FORM_BODY: Final = b'--xYx\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n%b\r\n--xYx--\r\n'
# Names, values and whole fields of heads that mean something to somebody.
_FIELDS: Final = (
    *(b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 1e3"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Encoding: gzip"),
    *(b"Content-Encoding: br", b"Content-Encoding: gzip, gzip", b"Content-Encoding: \xff", b"Content-Type: \xff/\xfe"),
    *(b"Content-Type: application/json; charset=utf-16", b"Content-Type: multipart/form-data", b"Content-Type:"),
    *(
        b"Content-Type: multipart/form-data; boundary=" + b"x" * 71,
        b"Content-Type: multipart/form-data; boundary*=a''b",
    ),
    *(
        b"Host: evil.example",
        b"Host:",
        b"Host: [::1",
        b"Host: [",
        b"Host: \xff",
        b"Origin: null",
        b"Origin: ://",
        b": x",
    ),
    *(b"Inference-Header-Content-Length: 20", b"Expect: 100-continue", b"Connection: upgrade", b"Upgrade: websocket"),
    *(
        b"Connection: close",
        b"Range: bytes=0-",
        b"X: " + b"x" * 70_000,
        b"X" * 300 + b": 1",
        b"Cookie: a=\x01",
        b"X\r\nY",
    ),
)
_VALUES: Final = (
    *(
        "",
        "0",
        "-1",
        "1",
        "256",
        "257",
        "1e2",
        "nan",
        "true",
        "png",
        "npy",
        "json",
        "x",
        "9" * 5000,
        "18446744073709551616",
    ),
    *(
        "\ud800",
        "\0",
        "%",
        "%ff%fe",
        "%ED%A0%80",
        "%00",
        "٣",
        "0..255",
        "255..0",
        "0..",
        "²..³",
        "0..99999999999999999999",
    ),
    *("+", "a&b", "=", "[]", "yes", "auto", "3"),
)
_PATHS: Final = (
    *("/", "/docs", "/openapi.json", "/metrics", "/manifest", "/v2", "/v2/health/live", "/v2/health/ready"),
    *("/sample",) * 9,
    *(f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/ready", f"/v2/models/{MODEL}-encoder", "/v2/models/none", "/none"),
    *(f"/v2/models/{MODEL}/versions/1.0.0/ready", "/v2/models/%ff/ready", "//sample", "/../etc/passwd", "*", "/%00"),
)
_PREPARED: Final = {"resize": ("true",), "invert": ("yes", "no", "auto"), "range": ("0..255", "0..1")}
_PARAMETERS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "/sample": {"n": ("1", "3"), "seed": ("7",), "format": ("png", "npy")},
    "/decode": {"format": ("png", "npy")},
    "/encode": {"format": ("json", "npy"), **_PREPARED},
    "/reconstruct": {"format": ("png", "npy"), **_PREPARED},
    "/score": _PREPARED,
}
_NAMES: Final = ("label", "N", "", "n[]", "\x1b", "n" * 500)


@cache
def door() -> Door:
    """The service of this process."""
    return Door(MODEL)


def case(random: Random) -> None:
    """One request.

    Raises:
        InvalidInput: it was refused.
        AssertionError: the service failed, or its answer is malformed.
    """
    content = _request(random)
    service = door()
    with at_most(DECODED + 4 * MAX_BODY):
        answer = service.ask(content)
    if not answer:  # the request was never whole
        raise InvalidInput("the request is cut short")
    for status, head, body in _answers(answer, is_head=content.startswith(b"HEAD")):
        assert 200 <= status < 500, (status, body, content)
        if status >= 400:
            raise InvalidInput(f"{_error(body)} ({status})")
        _check(head, body)


def _answers(content: bytes, *, is_head: bool) -> Iterator[tuple[int, bytes, bytes]]:
    """The status, the fields and the body of each answer; to HEAD there is no body."""
    content = content.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    while content:
        head, _, rest = content.partition(b"\r\n\r\n")
        line, _, fields = head.partition(b"\r\n")
        lengths = re.findall(rb"^content-length: (\d+)\r?$", fields, re.M)
        length = int(lengths[0]) if lengths and not is_head else 0
        assert len(rest) >= length, content
        yield int(line.split(b" ")[1]), fields, rest[:length]
        content = rest[length:]


def _error(body: bytes) -> str:
    if not body:  # of HEAD
        return ""
    document = json.loads(body)
    assert list(document) == ["error"], body
    assert is_line(document["error"]), body
    return str(document["error"])


def _check(head: bytes, body: bytes) -> None:
    """Numbers are finite, and pictures are pictures."""
    if not body:
        return
    if b"content-type: application/json" in head:
        json.loads(body)
    elif b"content-type: application/x-npy" in head:
        assert np.isfinite(np.load(io.BytesIO(body))).all()
    elif b"content-type: image/png" in head:
        assert body.startswith(b"\x89PNG")
        assert body.endswith(b"IEND\xaeB`\x82")


def _request(random: Random) -> bytes:
    kind = random.choice((_get, _images, _images, _codes, _tensors, _tensors))
    method, path, media, body = kind(random)
    query = _query(path, random)
    fields = [b"Host: localhost"]
    if media or body:
        fields.append(f"Content-Type: {media}".encode())
    if random.random() < 0.1:
        body = gzip.compress(body, 1)
        fields.append(b"Content-Encoding: gzip")
        body = change_bytes(body, random) if random.random() < 0.3 else body
    if body and random.random() < 0.1:
        fields.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    elif body or method == "POST":
        fields.append(b"Content-Length: %d" % len(body))
    if random.random() < 0.15:
        fields.insert(random.randrange(len(fields) + 1), random.choice(_FIELDS))
    if random.random() < 0.05:
        fields.pop(random.randrange(len(fields)))
    line = f"{method} {path}{query} HTTP/1.1".encode("utf-8", "surrogatepass")
    content = b"\r\n".join([line, *fields, b"", body])
    if random.random() < 0.05:
        return change_bytes(content[:400], random) + content[400:]
    return content * 2 if random.random() < 0.02 else content


def _query(path: str, random: Random) -> str:
    """Parameters that the route has, some with odd values, and sometimes others."""
    known = _PARAMETERS.get(path, {})
    given = [(name, random.choice(values)) for name, values in known.items() if random.random() < 0.5]
    if random.random() < 0.3:
        given.append((random.choice((*known, *known, *_NAMES)), random.choice(_VALUES)))
    escape: Callable[[str], str] = (lambda v: quote(v, errors="surrogatepass")) if random.random() < 0.8 else str
    return "?" + "&".join(f"{name}={escape(value)}" for name, value in given) if given else ""


def _get(random: Random) -> tuple[str, str, str, bytes]:
    method = random.choice(("GET", "GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "DELETE", "get", "PRI"))
    return method, random.choice(_PATHS), "", b""


def _images(random: Random) -> tuple[str, str, str, bytes]:
    path = random.choice(("/encode", "/reconstruct", "/score"))
    kind = random.randrange(3)
    if kind == 0:
        body = changed(random) if random.random() < 0.7 else random.choice(pictures())
        media = random.choice(("image/png", "image/jpeg", "image/webp", "image/jpg"))
    else:
        _, body = random.choice(files())
        body = body if random.random() < 0.3 else change_file(body, [body], random)
        images = np.random.default_rng(random.randrange(99)).random((random.choice((1, 2, 40)), 1, 8, 8), np.float32)
        if random.random() < 0.5:
            stream = io.BytesIO()
            np.save(stream, images)
            body = stream.getvalue() if random.random() < 0.4 else change_file(stream.getvalue(), [body], random)
        media = _NPY
    if random.random() < 0.3:
        body = _FORM_BODY % body
        media = _FORM
        body = change_bytes(body[:120], random) + body[120:] if random.random() < 0.3 else body
    return "POST", path, media, body


def _codes(random: Random) -> tuple[str, str, str, bytes]:
    body = json.dumps({"z": [[0.1, -0.2]] * random.choice((1, 3))}).encode()
    return "POST", "/decode", _JSON, body if random.random() < 0.2 else change_json(body, random)


def _tensors(random: Random) -> tuple[str, str, str, bytes]:
    part, name, shape = random.choice((("", "u", [2]), ("-encoder", "image", [1, 8, 8]), ("-decoder", "z", [2])))
    rows = random.choice((1, 2))
    data = [round(random.uniform(0.05, 0.95), 3) for _ in range(rows * int(np.prod(shape)))]
    tensor = {"name": name, "datatype": "FP32", "shape": [rows, *shape], "data": data, "parameters": {"a": 1}}
    document: dict[str, Any] = {"id": "7", "inputs": [tensor], "parameters": {}}
    if random.random() < 0.3:
        document["outputs"] = [{"name": random.choice(("z", "image", "y")), "parameters": {"binary_data": True}}]
    body = json.dumps(document).encode()
    body = body if random.random() < 0.2 else change_json(body, random)
    if random.random() < 0.1:  # tensors behind the JSON, of an extension that is not offered
        body += np.array(data, np.float32).tobytes()
    return "POST", f"/v2/models/{MODEL}{part}/infer", _JSON, body
