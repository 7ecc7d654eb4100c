"""A detector behind HTTP, and in Triton."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import AaeZoo
from google.protobuf import text_format
from numpy.typing import NDArray
from PIL import Image
from service import NPY, Server, npy, serving
from tritonclient.grpc import model_config_pb2

from aae_zoo.runtime import load
from aae_zoo.zoo.data.loading import load_dataset

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def images(small_data: Path) -> Pixels:
    return np.asarray(load_dataset("small", small_data).test_images[:3].numpy())


@pytest.fixture(scope="module")
def server(detector_bundle: Path) -> Iterator[Server]:
    with serving(detector_bundle) as server:
        yield server


class TestServer:
    def test_score_is_the_detectors(self, server: Server, detector_bundle: Path, images: Pixels) -> None:
        told, scores = server.ask("/score", npy(images), NPY).json, load(detector_bundle).score(images)
        assert list(told) == ["score", "anomalous", "flat", "threshold"]
        assert np.allclose(told["score"], scores.score, atol=1e-5)
        assert (told["anomalous"], told["threshold"]) == (scores.anomalous.tolist(), 1)

    def test_the_protocol_has_it_as_a_model(self, server: Server, detector_bundle: Path, images: Pixels) -> None:
        described = server.ask("/v2/models/small-detector").json
        assert {output["name"]: output["shape"] for output in described["outputs"]} == {
            "score": [-1],
            "map": [-1, 1, 14, 14],
        }
        data = (images / np.float32(255)).ravel().tolist()
        tensor = {"name": "image", "shape": [3, 1, 14, 14], "datatype": "FP32", "data": data}
        answer = server.infer("small-detector", inputs=[tensor])
        assert answer.status == 200, answer.body
        found = {output["name"]: output for output in answer.json["outputs"]}
        assert found["score"]["shape"] == [3]
        assert np.allclose(found["score"]["data"], load(detector_bundle).score(images).score, atol=1e-5)

    def test_maps_as_numbers_and_as_heat(self, server: Server, detector_bundle: Path, images: Pixels) -> None:
        maps = load(detector_bundle).score(images, maps=True).maps
        assert maps is not None
        found = server.ask("/maps?format=npy", npy(images), NPY).array
        assert np.allclose(found[:, 0], np.stack(list(maps)), atol=1e-5)
        picture = Image.open(io.BytesIO(server.ask("/maps", npy(images), NPY).body))
        assert picture.mode == "RGB"


def test_a_model_without_a_detector_has_maps_too(images: Pixels) -> None:
    clothes = load("fashion-gauss8").sample(2)
    with serving("fashion-gauss8") as server:
        found = server.ask("/maps?format=npy", npy(np.rint(clothes * 255).astype(np.uint8)), NPY).array
        assert found.shape == (2, 1, 28, 28)
        assert "reconstruction" in server.ask("/score", npy(np.rint(clothes * 255).astype(np.uint8)), NPY).json


def test_triton_has_it(detector_bundle: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
    assert aae_zoo("export-triton", detector_bundle, "-o", tmp_path / "models").status == 0
    text = (tmp_path / "models" / "small-detector" / "config.pbtxt").read_text()
    described = text_format.Parse(text, model_config_pb2.ModelConfig())
    outputs = {tensor.name: (list(tensor.dims), tensor.HasField("reshape")) for tensor in described.output}
    assert outputs == {"score": ([1], True), "map": ([1, 14, 14], False)}
    assert list(next(tensor for tensor in described.output if tensor.name == "score").reshape.shape) == []
    assert not re.search("detector", (tmp_path / "models" / "small" / "config.pbtxt").read_text())
