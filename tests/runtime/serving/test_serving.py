"""The HTTP service: real processes on loopback, asked by real clients."""

import base64
import io
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

import inputs
import numpy as np
import onnx
import pytest
from conftest import replace_graph
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from service import JSON, NPY, Answer, Server, npy, serving

from aae_zoo.runtime import Model, load
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.serving.batching import ROWS, Batcher
from aae_zoo.runtime.serving.limits import MAX_BODY


@pytest.fixture(scope="module")
def server(small_bundle: Path) -> Iterator[Server]:
    with serving(small_bundle) as running:
        yield running


@pytest.fixture(scope="module")
def labelled() -> Iterator[Server]:
    with serving("mnist-style") as running:
        yield running


def test_a_graph_that_fails_is_one_sentence(digits_bundle: Path) -> None:
    """It does so for several rows alone, so that the service starts."""
    model = onnx.load(digits_bundle / "decoder.onnx")
    for node in model.graph.node:
        node.output[:] = ["was" if name == "image" else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Reshape", ["was", "one"], ["image"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 8, 8]), "one"))
    replace_graph(digits_bundle, "decoder.onnx", model.SerializeToString())
    with serving(digits_bundle) as running:
        answer = running.ask("/sample?n=4")
        assert answer.status == 500
        assert "ONNX Runtime cannot run decoder.onnx of digits-gauss" in answer.error


def png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def tensor(name: str, array: NDArray[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}


def test_sample_gives_what_the_model_gives(server: Server, small: Model) -> None:
    answer = server.ask("/sample?n=3&seed=5&format=npy")
    assert answer.headers["content-type"] == NPY
    assert np.allclose(answer.array, small.sample(3, seed=5), atol=1e-6)
    picture = server.ask("/sample?n=4")
    assert picture.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(picture.body)) as opened:
        assert opened.width == opened.height


def test_encode_takes_pictures_and_arrays(server: Server, small: Model) -> None:
    images = np.rint(small.sample(3, seed=1) * 255).astype(np.uint8)
    expected = small.encode(images)
    assert np.allclose(server.ask("/encode", npy(images), NPY).json["z"], expected, atol=1e-5)
    assert np.allclose(server.ask("/encode?format=npy", npy(images), NPY).array, expected, atol=1e-5)
    assert np.allclose(server.ask("/encode", png(images[0, 0]), "image/png").json["z"], expected[:1], atol=1e-5)
    large = png(images[0, 0].repeat(2, 0).repeat(2, 1))
    error = server.ask("/encode", large, "image/png").error
    assert "28 x 28 pixels, expected 14 x 14" in error
    assert "over HTTP resize=true" in error
    assert server.ask("/encode?resize=true", large, "image/png").status == 200


def test_decode_takes_json_and_arrays(server: Server, small: Model) -> None:
    z = np.array([[0.5, -1], [0, 2]], np.float32)
    body = json.dumps({"z": z.tolist()}).encode()
    assert np.allclose(server.ask("/decode?format=npy", body).array, small.decode(z), atol=1e-6)
    assert np.allclose(server.ask("/decode?format=npy", npy(z), NPY).array, small.decode(z), atol=1e-6)
    assert server.ask("/decode", body).body.startswith(b"\x89PNG")


def test_a_model_with_classes(labelled: Server) -> None:
    model = load("mnist-style")
    sevens = labelled.ask("/sample?n=4&label=7&format=npy").array
    assert np.allclose(sevens, model.sample(4, label=7), atol=1e-6)
    assert "the label is asked for twice" in labelled.ask("/sample?label=7&with=label=3").error
    assert labelled.ask("/sample?label=ten").error == (
        "mnist-style has no label 'ten', expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    )
    assert labelled.ask("/sample?with=hat=red").error == "mnist-style has no attribute 'hat', expected label"
    told = labelled.ask("/encode", npy(sevens), NPY).json
    assert set(told) == {"z", "y", "label"}
    assert told["label"] == model.classify(sevens).names
    z = np.asarray(told["z"][:2])
    for y in ([2, 0], np.eye(10)[[2, 0]].tolist()):
        answer = labelled.ask("/decode?format=npy", json.dumps({"z": z.tolist(), "y": y}).encode())
        assert np.allclose(answer.array, model.decode(z, np.array([2, 0])), atol=1e-5)
    assert "y: Field required" in labelled.ask("/decode", json.dumps({"z": z.tolist()}).encode()).error
    for path in ("/decode", "/v2/models/mnist-style-decoder/infer"):
        assert labelled.ask(path, b"[1]").error == "body: Input should be a JSON object, found [1]"
    assert "takes y too; send JSON with z and y" in labelled.ask("/decode", npy(z), NPY).error
    one = json.dumps({"z": z.tolist(), "y": [1]}).encode()
    assert "z has 2 rows and y has 1" in labelled.ask("/decode", one).error


def test_health_and_metadata(server: Server, small: Model) -> None:
    assert server.ask("/v2/health/live").json == {"live": True}
    assert server.ask("/v2/health/ready").json == {"ready": True}
    assert server.ask("/v2").json["name"] == "aae-zoo"
    assert server.ask("/manifest").json["latent"] == small.manifest.latent
    for path in ("/v2/models/small-encoder", "/v2/models/small-encoder/versions/0.1.0"):
        assert server.ask(path + "/ready").json == {"name": "small-encoder", "ready": True}
        assert server.ask(path).json == {
            "name": "small-encoder",
            "versions": ["0.1.0"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 14, 14]}],
            "outputs": [{"name": "z", "datatype": "FP32", "shape": [-1, 2]}],
        }
    assert server.ask("/v2/models/large").status == 404
    assert server.ask("/v2/models/small/versions/7").error == "there is no version '7' of small; there is 0.1.0"
    assert b"swagger" in server.ask("/docs").body


def test_a_client_of_the_inference_protocol(labelled: Server) -> None:
    """Triton's own client: what it can ask a Triton server it can ask this one."""
    from tritonclient import http
    from tritonclient.utils import InferenceServerException

    model = load("mnist-style")
    with http.InferenceServerClient(labelled.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("mnist-style")

        def ask(name: str, **arrays: NDArray[np.float32]) -> Any:
            inputs = [http.InferInput(key, list(array.shape), "FP32") for key, array in arrays.items()]
            for part, array in zip(inputs, arrays.values(), strict=True):
                part.set_data_from_numpy(array, binary_data=False)
            outputs = client.get_model_metadata(name)["outputs"]
            wanted = [http.InferRequestedOutput(output["name"], binary_data=False) for output in outputs]
            return client.infer(name, inputs, outputs=wanted, request_id="seven")

        in_bytes = http.InferInput("u", [1, 9], "FP32").set_data_from_numpy(np.full((1, 9), 0.5, np.float32))
        with pytest.raises(
            InferenceServerException, match="the tensors are binary, expected JSON, .* binary_data=False"
        ):
            client.infer("mnist-style", [in_bytes])

        u = np.linspace(0.05, 0.95, 45, dtype=np.float32).reshape(5, 9)
        drawn = ask("mnist-style", u=u)
        assert drawn.get_response()["id"] == "seven"
        assert np.allclose(drawn.as_numpy("image"), model.sample_from(u), atol=1e-6)
        codes = ask("mnist-style-encoder", image=model.sample_from(u))
        assert np.allclose(codes.as_numpy("y"), model.codes(model.sample_from(u))["y"], atol=1e-5)
        again = ask("mnist-style-decoder", z=codes.as_numpy("z"), y=codes.as_numpy("y"))
        assert np.allclose(again.as_numpy("image"), model.reconstruct(model.sample_from(u)), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "x"}, "the inputs are x, expected u"),
        ({"shape": [1, 3]}, "u has shape [1, 3], expected ['1 to 256', 2]"),
        ({"shape": [ROWS + 1, 2]}, "u has shape [257, 2], expected ['1 to 256', 2]"),
        ({"data": [0.5]}, "the data of u is 1 number, its shape is [1, 2]"),
        ({"data": [[0.5], [0.5]]}, "the data of u is not numbers of shape [1, 2], flat or nested"),
        ({"data": [[0.5, 0.5], [0.5]]}, "the data of u is not numbers of shape [1, 2], flat or nested"),
        ({"data": ["0.5", "0.5"]}, "the data of u is not numbers of shape [1, 2], flat or nested"),
        ({"data": [0.5, 1.5]}, "u has values from 0.5 to 1.5, expected the open interval (0, 1)"),
        ({"data": [0.5, 1e300]}, "u holds inf, expected finite floats"),
        ({"datatype": "INT8"}, "body.inputs.0.datatype: Input should be 'FP32', found 'INT8'"),
    ],
)
def test_tensors_that_a_model_cannot_take(server: Server, change: dict[str, Any], sentence: str) -> None:
    answer = server.infer("small", inputs=[tensor("u", np.full((1, 2), 0.5)) | change])
    assert (answer.status, answer.error) == (422, sentence)


def test_the_most_rows_of_a_tensor(server: Server) -> None:
    answer = server.infer("small", inputs=[tensor("u", np.full((ROWS, 2), 0.5))])
    assert answer.json["outputs"][0]["shape"] == [ROWS, 1, 14, 14]


def test_pictures_and_arrays_are_prepared_as_everywhere(labelled: Server) -> None:
    def label(body: bytes, kind: str = "image/png", query: str = "") -> Any:
        return labelled.ask(f"/encode?{query}", body, kind).json["label"]

    def saved(picture: Image.Image, kind: str) -> bytes:
        stream = io.BytesIO()
        picture.save(stream, kind)
        return stream.getvalue()

    black_on_white, twelve_bits = 255 - inputs.PLAIN, np.asarray(inputs.TWELVE_BITS)
    plain = labelled.ask("/encode", saved(inputs.PICTURE, "PNG"), "image/png").json["z"]
    for body, kind, query in [
        (png(black_on_white), "image/png", ""),
        (png(black_on_white), "image/png", "invert=yes"),
        (saved(inputs.PICTURE, "TIFF"), "image/tiff", ""),
        (saved(inputs.PICTURE, "PPM"), "image/x-portable-anymap", ""),
        (saved(inputs.BLACK_INK, "PNG"), "image/png", ""),
        (saved(inputs.TWELVE_BITS, "PNG"), "image/png", "range=0..4095"),
        (npy(twelve_bits[None]), NPY, "range=0..4095"),
        (npy(black_on_white[None]), NPY, ""),
        (npy(inputs.ONES.astype(bool)), NPY, ""),
    ]:
        answer = labelled.ask(f"/encode?{query}", body, kind).json
        assert np.allclose(answer["z"], plain, atol=1e-5), (kind, query)
    assert "are inverted" in labelled.ask("/encode", png(black_on_white), "image/png").headers["notice"]
    assert labelled.ask("/encode", png(inputs.PLAIN), "image/png").headers["notice"] is None
    large = np.asarray(inputs.LARGE)
    assert label(npy(large[None]), NPY, "resize=true") == label(png(large), query="resize=true") == ["7"]
    assert labelled.ask("/encode?invert=no", png(black_on_white), "image/png").json["z"] != plain
    assert "no value above 1" in labelled.ask("/encode", npy(inputs.ONES), NPY).error
    assert "expected the values of black and white" in labelled.ask("/encode?range=9", npy(inputs.ONES), NPY).error
    assert labelled.ask("/encode?invert=maybe", npy(inputs.ONES), NPY).status == 422


def test_requests_that_are_refused(server: Server) -> None:
    assert "no parameter 'lable', expected n or seed or format" in server.ask("/sample?lable=7").error
    assert server.ask("/sample?n=0").error == "query.n: Input should be greater than or equal to 1, found '0'"
    assert "257 rows, expected at most 256" in server.ask("/encode", npy(np.zeros((257, 14, 14))), NPY).error
    assert "cannot be read as a picture" in server.ask("/encode", b"no picture", "image/png").error
    for body in (b"", b"no array", npy(np.zeros(9))[:-4], npy(np.array([{}]))):
        assert "cannot be read as an .npy array" in server.ask("/decode", body, NPY).error
    huge = npy(np.zeros((1, 2))).replace(b"(1, 2)", b"(8, 9**9)".replace(b"9**9", b"9999"))
    assert "cannot be read as an .npy array" in server.ask("/decode", huge, NPY).error
    assert "the result is not finite" in server.ask("/decode", npy(np.full((1, 2), 3e38, np.float32)), NPY).error
    assert server.ask("/decode", b"1 2", "text/plain").status == 415
    assert server.ask("/decode", b"{").status == 422
    assert server.ask("/v2/models/small/infer", b"[" * 60_000).status == 422
    assert server.infer("small", inputs=[tensor("u", np.full((1, 2), 0.5))], outputs=[{"name": "z"}]).error == (
        "small has no output z, it has image"
    )
    too_long = server.ask("/encode", bytes(MAX_BODY + 1), NPY)
    assert (too_long.status, too_long.error) == (
        413,
        f"the body has more than {MAX_BODY} bytes, which is the limit; send fewer images",
    )


def test_headers_of_arrays_that_no_parser_reads(server: Server) -> None:
    for shape in ("(" * 200, "9" * 5000, "(1, '", "(1,)} {", "(-1, 2)", "(None,)"):
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
        answer = server.ask("/decode", b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text, NPY)
        assert answer.status == 422
        assert answer.error.startswith("the body cannot be read as an .npy array (")
        assert len(answer.error) < 400


def test_refusals_repeat_nothing_that_controls_a_terminal_and_nothing_long(server: Server) -> None:
    answer = server.ask("/decode", json.dumps({"\x1b[2J" + "x" * 10_000: 1, "z": [[1, 2]]}).encode())
    assert answer.status == 422
    assert answer.error.startswith(r"\x1b[2Jxxx")
    assert len(answer.error) < 400
    answer = server.ask("/encode?range=0.." + "9" * 5000, npy(np.zeros((1, 14, 14))), NPY)
    assert answer.error.endswith("expected the values of black and white such as 0..4095")
    assert len(answer.error) < 400


def test_damaged_rows_of_a_picture_say_nothing_on_stderr(server: Server) -> None:
    """Libtiff has a line for each; the server's fixture fails where anything was said."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).random((14, 14)) > 0.5
    Image.fromarray(noise).save(stream, "TIFF", compression="group4")
    content = stream.getvalue()
    for place in range(8, len(content)):  # one of them at least is a row's
        damaged = content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :]
        assert server.ask("/encode", damaged, "image/tiff").status in (200, 422)


def test_half_a_character_is_refused(labelled: Server) -> None:
    tensor = {"name": "u", "shape": [1, 9], "datatype": "FP32", "data": [0.5] * 9}
    for changed in ({"id": "\ud800"}, {"inputs": [tensor | {"name": "u\udfff"}]}, {"outputs": [{"name": "\ud800"}]}):
        answer = labelled.infer("mnist-style", **{"inputs": [tensor], **changed})
        assert answer.status == 422
        assert re.match(r"the body cannot be read as JSON \(.* surrogate in string, at \d+\)$", answer.error)
    assert labelled.ask("/decode", json.dumps({"z": [["\ud800"]]}).encode()).status == 422


@contextmanager
def one_byte_left(server: Server, body: bytes) -> Iterator[HTTPConnection]:
    """A request that waits for the last byte of its body."""
    with closing(HTTPConnection(server.url.removeprefix("http://"), timeout=60)) as slow:
        slow.putrequest("POST", "/decode?format=npy")
        slow.putheader("Content-Type", JSON)
        slow.putheader("Content-Length", str(len(body)))
        slow.endheaders(body[:-1])
        yield slow


def test_the_limit_of_requests(small_bundle: Path) -> None:
    with serving(small_bundle, "--requests", "1") as server, ThreadPoolExecutor(8) as pool:
        refused: list[Answer] = []
        while not refused:
            answers = pool.map(server.ask, ["/sample?n=256"] * 8)
            refused = [answer for answer in answers if answer.status != 200]
            assert server.ask("/v2/health/live").status == 200
        for answer in refused:
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.error == "1 requests are in work, which is the limit; try again in a second"
        assert server.ask("/v2").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_end_in_good_order(small_bundle: Path, small: Model, number: signal.Signals) -> None:
    body = b'{"z": [[0, 0.5]]}'
    with serving(small_bundle, "--requests", "1") as server, one_byte_left(server, body) as slow:
        assert server.ask("/sample").status == 200  # what is still to come keeps nobody waiting
        server.process.send_signal(number)
        with pytest.raises(OSError):
            while server.ask("/v2/health/live").status == 200:
                pass
        slow.send(body[-1:])
        image = np.load(io.BytesIO(slow.getresponse().read()))
        assert np.allclose(image, small.decode(np.array([[0, 0.5]])), atol=1e-6)


def test_many_clients_at_once_get_their_own_answers(server: Server, small: Model) -> None:
    def ask(seed: int) -> bool:
        answer = server.ask(f"/sample?n={seed % 7 + 1}&seed={seed}&format=npy").array
        return np.array_equal(answer, small.sample(seed % 7 + 1, seed=seed))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


class Works:
    """A work that doubles numbers, and takes as long as the test wants."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Semaphore(0), threading.Semaphore(0)
        self.rows: list[int] = []

    def __call__(self, inputs: Arrays) -> Arrays:
        self.begun.release()
        self.go.acquire()
        self.rows.append(len(inputs["x"]))
        if np.isnan(inputs["x"]).any():
            raise ValueError("a number is missing")
        return {"y": 2 * inputs["x"]}


@contextmanager
def batching(**works: Works) -> Iterator[Batcher]:
    batcher = Batcher(works)
    yield batcher
    for work in works.values():
        work.go.release(1000)
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("double", {"x": np.zeros((1, 1), np.float32)})


@given(st.lists(st.integers(1, ROWS), max_size=30))
def test_requests_that_wait_run_together(sizes: list[int]) -> None:
    double = Works()
    with batching(double=double) as batcher:
        arrays = [np.full((size, 3), number, np.float32) for number, size in enumerate([1, *sizes])]
        first = batcher.submit("double", {"x": arrays[0]})
        double.begun.acquire()  # now it runs, and the others wait
        others = [batcher.submit("double", {"x": array}) for array in arrays[1:]]
        double.go.release(1000)
        for array, future in zip(arrays, [first, *others], strict=True):
            assert np.array_equal(future.result()["y"], 2 * array)
    assert double.rows[0] == 1
    assert sum(double.rows) == 1 + sum(sizes)
    assert max(double.rows) <= ROWS
    assert all(a + b > ROWS for a, b in pairwise(sorted(double.rows[1:])))


def test_every_second_run_is_for_a_small_request() -> None:
    """The others wait their turn, and what fits goes with the first, up to the very last row."""
    double = Works()
    with batching(double=double) as batcher:
        futures = [batcher.submit("double", {"x": np.zeros((1, 1), np.float32)})]
        double.begun.acquire()  # now it runs, and the others wait
        sizes = (250, 250, 250, 10, ROWS - 10)
        futures += [batcher.submit("double", {"x": np.zeros((size, 1), np.float32)}) for size in sizes]
        double.go.release(1000)
        assert [len(future.result()["y"]) for future in futures] == [1, *sizes]
    assert double.rows == [1, 250, ROWS, 250, 250]


def test_works_do_not_mix_and_a_fault_is_told_to_all_it_touches() -> None:
    double, other = Works(), Works()
    with batching(double=double, other=other) as batcher:
        rows = [np.full((1, 1), value, np.float32) for value in (0, np.nan, 2, 3)]
        futures = [batcher.submit("double", {"x": rows[0]})]
        double.begun.acquire()
        futures += [
            batcher.submit(work, {"x": row}) for work, row in zip(("other", "double", "other"), rows[1:], strict=True)
        ]
        cancelled = batcher.submit("other", {"x": rows[2]})
        assert cancelled.cancel()
        for work in (double, other):
            work.go.release(9)
        assert futures[0].result()["y"] == 0
        assert futures[2].result()["y"] == 4
        for future in (futures[1], futures[3]):
            assert future.exception() is None or "missing" in str(future.exception())
    assert double.rows == [1, 1]


def test_what_cannot_be_served(refused: Callable[..., str], server: Server, small_bundle: Path) -> None:
    port = server.url.rpartition(":")[2]
    assert refused("serve", small_bundle, "--port", port) == (
        f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; give another --host or --port\n"
    )


def test_without_the_extra_it_says_what_to_install() -> None:
    program = """
import sys
sys.modules["fastapi"] = None  # as if it were not installed
sys.argv = ["aae-zoo", "serve", "mnist-ae"]
from aae_zoo.cli.main import main
main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    said = "error: fastapi is not installed; pip install 'aae-zoo[cpu,serve]'\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", said)


def test_a_package_that_is_too_old_is_named() -> None:
    program = """
import sys, types
sys.modules["prometheus_client"] = types.ModuleType("prometheus_client")  # one without what is imported from it
sys.argv = ["aae-zoo", "serve", "mnist-ae"]
from aae_zoo.cli.main import main
main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    why = "cannot import name 'CollectorRegistry' from 'prometheus_client'"
    said = f"error: prometheus_client cannot be imported, it may be too old ({why}); pip install -U prometheus_client\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", said)


# What the description cannot say: that data has its shape's length, and an array's shape fits the model.
SCHEMATHESIS = """
hooks = "{hooks}"
[parameters]
"path.name" = ["small", "small-encoder", "small-decoder", "x"]
"path.version_" = ["0.1.0", "x"]
[[operations]]
include-path-regex = "/encode|/infer|/score|/maps|/reconstruct"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]
"""
HOOKS = """
import base64, schemathesis
from hypothesis import strategies as st
BODIES = {bodies}
for kind, body in BODIES.items():
    schemathesis.openapi.media_type(kind, st.just(base64.b64decode(body)))
"""


def test_the_service_is_what_its_openapi_description_says(server: Server, tmp_path: Path) -> None:
    picture, codes = png(np.zeros((14, 14), np.uint8)), npy(np.zeros((1, 2)))
    given = {NPY: codes} | {f"image/{kind}": picture for kind in ("png", "jpeg", "webp", "bmp", "gif")}
    bodies = {kind: base64.b64encode(body).decode() for kind, body in given.items()}
    (tmp_path / "hooks.py").write_text(HOOKS.format(bodies=bodies))
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS.format(hooks=tmp_path / "hooks.py"))
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"]
    options = ["--phases", "coverage,fuzzing", "--max-examples", "5", "--generation-deterministic", "--no-color"]
    result = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:]
    assert "16 selected / 16 total" in result.stdout
