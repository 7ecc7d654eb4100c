"""What people and programs send to a service out of habit, and who may ask it."""

import gzip
import http.client
import io
import json
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from programs import node
from service import JSON, NPY, Answer, Server, npy, serving

from aae_zoo.runtime import Model, load
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.serving.edge.packed import FORM, file_of_form, unpacked, unpacked_size
from aae_zoo.runtime.serving.limits import MAX_BODY

MODEL = "digits-gauss"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(MODEL) as running:
        yield running


@pytest.fixture(scope="module")
def model() -> Model:
    return load(MODEL)


@pytest.fixture(scope="module")
def pixels(model: Model) -> NDArray[np.uint8]:
    return np.asarray(np.rint(model.sample(3, seed=1) * 255), np.uint8)


def picture(pixels: NDArray[np.uint8], kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def ask(server: Server, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2", f"/v2/models/{MODEL}/ready", "/sample"])
def test_head_is_get_without_the_body(server: Server, path: str) -> None:
    head, get = ask(server, "HEAD", path), ask(server, "GET", path)
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]


def test_head_of_what_has_no_get(server: Server) -> None:
    assert ask(server, "HEAD", "/decode").status == 405


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/samples", 404, "there is nothing at '/samples', expected a path that GET /docs shows"),
        ("GET", "/sample/", 404, "there is nothing at '/sample/', expected a path that GET /docs shows"),
        ("GET", "/encode", 405, "'/encode' does not take GET, expected POST"),
        ("DELETE", "/manifest", 405, "'/manifest' does not take DELETE, expected GET"),
    ],
)
def test_paths_and_methods_that_there_are_not(server: Server, method: str, path: str, status: int, error: str) -> None:
    answer = ask(server, method, path)
    assert (answer.status, answer.error) == (status, error)


def test_a_body_in_gzip(server: Server, pixels: NDArray[np.uint8], model: Model) -> None:
    for coding in ("gzip", "x-gzip", "GZIP"):
        answer = ask(server, "POST", "/encode", gzip.compress(npy(pixels)), Content_Type=NPY, Content_Encoding=coding)
        assert np.allclose(answer.json["z"], model.encode(pixels), atol=1e-5)
    plain = ask(server, "POST", "/encode", npy(pixels), Content_Type=NPY, Content_Encoding="identity")
    assert plain.status == 200


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (
            gzip.compress(bytes(MAX_BODY + 1)),
            413,
            f"the body unpacks to more than {MAX_BODY} bytes, which is the limit",
        ),
        (gzip.compress(bytes(1 << 28)), 413, f"the body unpacks to more than {MAX_BODY} bytes, which is the limit"),
        (gzip.compress(b"x" * 99)[:-9], 422, "the body's gzip is cut short; send all of it"),
        (gzip.compress(b"x") * 2, 422, "the body has more behind its gzip, expected one stream"),
        (b"x" * 99, 422, "the body cannot be read as gzip (Error -3 while decompressing data: incorrect header check)"),
    ],
    ids=["a byte too many", "a bomb", "cut short", "two", "none"],
)
def test_gzip_that_is_refused(server: Server, body: bytes, status: int, sentence: str) -> None:
    answer = ask(server, "POST", "/encode", body, Content_Type=NPY, Content_Encoding="gzip")
    assert answer.status == status
    assert sentence in answer.error


def test_another_encoding_than_gzip(server: Server) -> None:
    answer = ask(server, "POST", "/encode", b"x", Content_Type=NPY, Content_Encoding="br")
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip")
    assert answer.error == "the body's Content-Encoding is br, expected gzip or none"


@given(st.binary(max_size=300_000), st.integers(0, 9))
def test_what_is_packed_comes_out_again(content: bytes, level: int) -> None:
    packed = gzip.compress(content, level)
    size = unpacked_size(packed, MAX_BODY)
    assert size == len(content)
    assert unpacked(packed, size) == content


@given(st.binary(max_size=200))
def test_what_is_not_packed_is_a_sentence(body: bytes) -> None:
    try:
        unpacked_size(body, MAX_BODY)
    except InvalidInput as error:
        assert "gzip" in str(error)


def test_pictures_under_the_name_jpg(server: Server, pixels: NDArray[np.uint8]) -> None:
    body = picture(pixels[0, 0], "JPEG")
    answers = [server.ask("/encode", body, kind) for kind in ("image/jpg", "image/jpeg", "IMAGE/JPG; x=y")]
    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].json == answers[1].json == answers[2].json


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
@pytest.mark.parametrize("name", ["seven.png", "seven.jpg", "seven", "seven.npy"])
def test_curl_sends_a_file(server: Server, pixels: NDArray[np.uint8], tmp_path: Path, name: str) -> None:
    kinds = {"seven.png": ("PNG", "image/png"), "seven.jpg": ("JPEG", "image/jpeg"), "seven": ("PNG", "image/png")}
    kind, media_type = kinds.get(name, ("", NPY))
    body = picture(pixels[0, 0], kind) if kind else npy(pixels)
    (tmp_path / name).write_bytes(body)
    command = ["curl", "-s", "-F", f"file=@{name}", f"{server.url}/encode"]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    assert json.loads(said) == server.ask("/encode", body, media_type).json


def form(*fields: bytes, border: bytes = b"border") -> bytes:
    return b"".join(b"--%s\r\n%s\r\n" % (border, field) for field in fields) + b"--%s--\r\n" % border


PNG_FIELD = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status", "sentence"),
    [
        (FORM, form(PNG_FIELD), 422, "the form's Content-Type has no boundary"),
        (f"{FORM}; boundary={'x' * 71}", form(PNG_FIELD), 422, "the form's Content-Type has no boundary"),
        (f"{FORM}; boundary=other", form(PNG_FIELD), 422, "the form cannot be read as multipart/form-data"),
        (f"{FORM}; boundary=border", b"", 422, "the form cannot be read as multipart/form-data"),
        (f"{FORM}; boundary=border", form(PNG_FIELD)[:-30], 422, "the form cannot be read as multipart/form-data"),
        (f"{FORM}; boundary=border", form(PNG_FIELD, PNG_FIELD), 422, "the form has several fields, expected one"),
        (f"{FORM}; boundary=border", form(b"X: y\r\n" * 1000 + PNG_FIELD), 422, "the form cannot be read"),
        (f"{FORM}; boundary=border", form(PNG_FIELD), 422, "the picture cannot be read as a picture"),
    ],
)
def test_forms_that_are_refused(server: Server, kind: str, body: bytes, status: int, sentence: str) -> None:
    answer = server.ask("/encode", body, kind)
    assert answer.status == status
    assert sentence in answer.error


@given(st.binary(max_size=2000).filter(lambda content: b"--border" not in content))
def test_a_form_gives_the_file_that_is_in_it(content: bytes) -> None:
    assert file_of_form(f"{FORM}; boundary=border", form(PNG_FIELD + content)) == content


@given(st.binary(max_size=200))
def test_what_is_no_form_is_a_sentence(body: bytes) -> None:
    try:
        file_of_form(f"{FORM}; boundary=border", body)
    except InvalidInput as error:
        assert "form" in str(error)


def test_arrays_are_resized_as_in_python(server: Server, pixels: NDArray[np.uint8], model: Model) -> None:
    large = pixels.repeat(2, 2).repeat(2, 3)
    for array in (large, large.astype(np.float32) / 255):
        answer = server.ask("/encode?resize=true&format=npy", npy(array), NPY)
        assert np.allclose(answer.array, model.encode(array, resize=True), atol=1e-5)
        assert server.ask("/encode", npy(array), NPY).status == 422


def test_reconstruct(server: Server, pixels: NDArray[np.uint8], model: Model) -> None:
    answer = server.ask("/reconstruct?format=npy", npy(pixels), NPY)
    assert np.allclose(answer.array, model.reconstruct(pixels), atol=1e-5)
    drawn = server.ask("/reconstruct", picture(pixels[0, 0], "PNG"), "image/png")
    assert drawn.headers["content-type"] == "image/png"


def test_score(server: Server, pixels: NDArray[np.uint8], model: Model) -> None:
    images = np.concatenate([pixels, np.zeros_like(pixels[:1])])
    told, scores = server.ask("/score", npy(images), NPY).json, model.score(images)
    assert told["threshold"] == model.score_limits.threshold
    for name in ("score", "reconstruction", "distance"):
        assert np.allclose(told[name], getattr(scores, name), rtol=1e-4)
    assert told["anomalous"] == scores.anomalous.tolist()
    assert told["flat"] == scores.flat.tolist() == [False, False, False, True]


def test_prometheus_can_read_the_measurements(pixels: NDArray[np.uint8]) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with serving(MODEL) as server:
        server.ask("/sample?n=3")
        server.ask("/encode", npy(pixels), NPY)
        server.ask("/encode", b"x", "text/plain")
        server.ask("/nothing")
        ask(server, "HEAD", "/sample")
        answer = server.ask("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
        requests = {tuple(s.labels.values()): s.value for s in families["aae_zoo_requests"].samples}
        assert requests == {
            ("GET", "/sample", "200"): 1,
            ("HEAD", "/sample", "200"): 1,
            ("POST", "/encode", "200"): 1,
            ("POST", "/encode", "415"): 1,
            ("GET", "other", "404"): 1,
        }
        rows = {s.labels["work"]: s.value for s in families["aae_zoo_rows"].samples}
        assert rows == {"draw": 4, "encode": 3}
        assert {s.labels["of"]: s.value for s in families["aae_zoo_memory_in_use"].samples} == {
            "bodies": 0,
            "decoded": 0,
        }
        counts = [s for s in families["aae_zoo_request_seconds"].samples if s.name.endswith("_count")]
        assert sum(s.value for s in counts) == 5
        assert families["process_resident_memory_bytes"].samples[0].value > 1e6


@pytest.mark.parametrize("query", ["n=4&n=8", "seed=1&seed=1", "n=1&format=png&n=2"])
def test_a_parameter_that_is_given_twice(server: Server, query: str) -> None:
    """Of which one would count, and nothing say which."""
    answer = server.ask(f"/sample?{query}")
    assert answer.status == 422
    assert answer.error == f"the parameter {query[: query.index('=')]!r} is given 2 times, expected one"


def test_versions_are_paths_alone(server: Server) -> None:
    """As the protocol has them; the path without one has no parameter in its place."""
    assert server.ask(f"/v2/models/{MODEL}/versions/0").error.startswith("there is no version '0'")
    assert server.ask(f"/v2/models/{MODEL}?version_=0").error == "there is no parameter 'version_', expected none"
    paths = server.ask("/openapi.json").json["paths"]
    parameters = [
        parameter
        for path, methods in paths.items()
        for method in methods.values()
        for parameter in method.get("parameters", ())
        if path.startswith("/v2/")
    ]
    assert {(each["name"], each["in"], each["schema"].get("type")) for each in parameters} == {
        ("name", "path", "string"),
        ("version_", "path", "string"),
    }


def test_what_a_message_may_leave_out_has_no_default(server: Server) -> None:
    """openapi-typescript has its clients give what has one, in every request."""
    schemas = server.ask("/openapi.json").json["components"]["schemas"]
    for name in ("InferRequest", "InputTensor", "WantedOutput"):
        assert "parameters" not in schemas[name]["required"]
        assert "default" not in schemas[name]["properties"]["parameters"]


def test_the_first_page_leads_to_the_description(server: Server) -> None:
    with urllib.request.urlopen(server.url, timeout=60) as response:  # noqa: S310
        assert response.url == f"{server.url}/docs"
        assert b"swagger" in response.read()


def test_the_pages_may_have_a_path_of_their_own(server: Server) -> None:
    """Behind a proxy that takes it off: every link of the page, and the description's address, is relative."""
    page = server.ask("/docs").body.decode()
    links = re.findall(r"""(?:href|src)="([^"]+)"|url: '([^']+)'""", page)
    assert {"/" + "".join(link) for link in links} == {
        "/openapi.json",
        *(f"/static-offline-docs/{name}" for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon.png")),
    }
    for link in links:
        assert server.ask("/" + "".join(link)).status == 200
    assert server.ask("/openapi.json").json["servers"] == [{"url": "."}]


def test_the_pages_ask_no_other_host(server: Server) -> None:
    seen = node("docs.mjs", f"{server.url}/docs")
    assert seen["faults"] == []
    assert {"/sample", "/encode", "/decode", "/reconstruct", "/score", "/manifest"} <= set(seen["paths"])
    assert seen["answer"] == '{"live":true}'


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST:80"])
def test_hosts_that_the_service_answers_to(server: Server, host: str) -> None:
    assert ask(server, "GET", "/v2", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost."])
def test_hosts_of_others_are_refused(server: Server, host: str) -> None:
    for method, path in (("GET", "/v2"), ("HEAD", "/v2/health/live"), ("POST", "/decode")):
        answer = ask(server, method, path, Host=host)
        assert answer.status == 400
        if method != "HEAD":
            name = re.escape(repr(host))
            assert re.match(
                f"the Host is {name}, expected a name of this service; serve with --allow-host", answer.error
            )


def answer_to(server: Server, head: bytes, later: bytes = b"") -> bytes:
    """What the service answers to a head as it stands, which no client would send, and to what comes after that."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as asking:
        asking.sendall(head)
        told = asking.recv(1 << 16) if later else b""
        with suppress(OSError):  # it was ended
            asking.sendall(later)
            told += asking.makefile("rb").read()
        return told


MALFORMED_HOSTS = ("localhost:80@evil.com", "[::1]evil.com", "127.0.0.1:18599/x", "localhost:x", "localhost:80:80", "[")


@pytest.mark.parametrize("host", MALFORMED_HOSTS)
def test_hosts_that_only_begin_as_ours(server: Server, host: str) -> None:
    answer = ask(server, "GET", "/v2", Host=host)
    assert answer.status == 400
    assert (
        answer.error == f"the Host is {host!r}, expected a name or an address, with a port or without: localhost:8000"
    )


@pytest.mark.parametrize("name", ["Host", "Origin"])
def test_heads_that_say_twice_who_asks(server: Server, name: str) -> None:
    """Of which a proxy before the service might have looked at the other."""
    own = server.url if name == "Origin" else "localhost"
    lines = f"{name}: {own}\r\n{name}: http://evil.example\r\nConnection: close\r\n\r\n"
    host = "" if name == "Host" else f"Host: {server.url.partition('://')[2]}\r\n"
    answer = answer_to(server, f"GET /v2 HTTP/1.1\r\n{host}{lines}".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert f"the request has 2 lines of {name}, expected one".encode() in answer


CHUNKED = b"POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n\r\n1\r\nx\r\n0\r\n%s\r\n"


@pytest.mark.parametrize("coding", ["gzip, chunked", "x, chunked", "gzip\r\nTransfer-Encoding: chunked"])
def test_codings_of_a_transfer_that_are_not_known(server: Server, coding: str) -> None:
    answer = answer_to(server, CHUNKED % (f"Transfer-Encoding: {coding}".encode(), b""))
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b"expected chunked alone, or a Content-Length" in answer


def test_what_comes_after_a_body_is_not_of_its_head(server: Server) -> None:
    answer = answer_to(server, CHUNKED % (b"Transfer-Encoding: Chunked", b"Host: evil\r\nContent-Encoding: br\r\n"))
    assert b"the body's Content-Type is nothing" in answer


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"


@pytest.mark.parametrize("length", [b"Content-Length: 36", b"Transfer-Encoding: chunked"])
def test_an_upgrade_with_a_body(server: Server, length: bytes) -> None:
    """Java's client asks for HTTP/2 so; the body must neither be lost nor be read as a request of its own."""
    head = b"POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = answer_to(server, head + UPGRADE + length + b"\r\n\r\n", body)
    assert answer.count(b"HTTP/1.1 ") == 2  # the second is what the sentence expects
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"asks to change the protocol (Upgrade), expected HTTP/1.1 alone" in answer


def test_an_upgrade_without_a_body_is_not_heeded(server: Server) -> None:
    head = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n"
    answer = answer_to(server, head + UPGRADE + b"\r\n", head + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_a_request_without_a_host(server: Server) -> None:
    answer = answer_to(server, b"GET /v2/health/ready HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (
        b"the request has no Host, expected a name of this service; send one, or serve with --allow-host '*'" in answer
    )


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--host", "", "what follows --host is empty"),
        ("--allow-host", "https://digits.example", "the host is 'https://digits.example', expected a name"),
        ("--cors", "https://page.example/", "the origin is 'https://page.example/', expected a site such as https://"),
        ("--cors", "localhost:3000", "the origin is 'localhost:3000', expected a site such as https://example.org"),
        ("--cors", "https://Page.example", "expected a site such as https://example.org, in small letters"),
    ],
)
def test_names_that_no_request_has(refused: Callable[..., str], option: str, value: str, expected: str) -> None:
    """An empty --host would listen on every address; the others would never let anybody in."""
    assert expected in refused("serve", MODEL, "--port", "0", option, value)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_pages_of_others_are_refused(server: Server, origin: str) -> None:
    """What a browser sends for a form or a script of another site, which needs no Content-Type."""
    body = json.dumps({"z": [[0] * 8]}).encode()
    answer = ask(server, "POST", "/decode", body, Origin=origin)
    assert answer.status == 403
    assert answer.error == f"the Origin is {origin!r}, expected this service's own; serve with --cors {origin}"
    assert "access-control-allow-origin" not in answer.headers
    own = ask(server, "POST", "/decode", body, Origin=server.url, Content_Type=JSON)
    assert own.status in (200, 422)


@pytest.mark.parametrize("origin", ["", "x", "localhost:3000", "https://evil.example/page"])
def test_origins_that_no_page_has(server: Server, origin: str) -> None:
    """None of them is an origin that --cors would take."""
    answer = ask(server, "GET", "/v2", Origin=origin)
    assert answer.status == 403
    assert (
        answer.error == f"the Origin is {origin!r}, expected this service's own, or a site such as https://example.org"
    )


def test_names_and_pages_that_are_allowed() -> None:
    page = "https://page.example"
    options = ("--allow-host", "digits.example", "--cors", page, "--cors", "http://localhost:3000")
    with serving(MODEL, *options) as server:
        assert ask(server, "GET", "/v2", Host="digits.example:443").status == 200
        assert ask(server, "GET", "/v2", Host="evil.example").status == 400
        allowed = ask(server, "GET", "/v2", Origin=page)
        assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, page)
        assert allowed.headers["access-control-expose-headers"] == "Notice, Retry-After"
        asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
        before = ask(server, "OPTIONS", "/encode", None, Origin=page, **asked)
        assert (before.status, before.headers["access-control-allow-origin"]) == (200, page)
        assert ask(server, "OPTIONS", "/encode", None, Origin="https://evil.example", **asked).status == 403
    with serving(MODEL, "--allow-host", "*") as server:
        assert ask(server, "GET", "/v2", Host="whatever.example").status == 200
        assert ask(server, "GET", "/v2", Host="whatever.example/x").status == 400
        assert answer_to(server, b"GET /v2 HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert answer_to(server, b"GET /v2 HTTP/1.0\r\nOrigin: x\r\n\r\n").startswith(b"HTTP/1.1 403 ")
