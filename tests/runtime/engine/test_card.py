"""Work on a card, with a driver whose card is this machine's memory: ONNX Runtime computes there as it does on the CPU.

What only a card can show, that a recorded graph gives what its operators give, tests/gpu shows.
"""

import ctypes
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aae_zoo.runtime import DeviceUnavailable, InvalidInput, Model, load
from aae_zoo.runtime.engine import engine as engines
from aae_zoo.runtime.engine import gpus
from aae_zoo.runtime.engine.cuda import driver as drivers
from aae_zoo.runtime.engine.cuda.arrays import DeviceArray
from aae_zoo.runtime.engine.session import open_session

SOURCE = Path(__file__).parents[2] / "support" / "fake_cuda.c"
NEAR = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", built, SOURCE], check=True)
    return built


@pytest.fixture
def card(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ctypes.CDLL]:
    """The driver, and every model that is loaded with device="cpu" meanwhile runs on its card."""
    monkeypatch.setattr(gpus, "_DRIVER", (str(library),))
    drivers._drivers.clear()

    def opened(graph: Any, *, stream: Any, **options: Any) -> Any:
        stream(0)
        return open_session(graph, **options)

    monkeypatch.setattr(engines, "open_session", opened)
    monkeypatch.setattr(engines, "memory_of", lambda session: ("cuda", 0))
    yield ctypes.CDLL(str(library))
    drivers._drivers.clear()


def number(card: ctypes.CDLL, name: str, value: int | None = None) -> int:
    """A number of the driver's, or set it."""
    kind: Any = ctypes.c_int if name in ("node_kind", "capture_fails", "end_fails") else ctypes.c_size_t
    found = kind.in_dll(card, name)
    if value is not None:
        found.value = value
    return found.value


def model(name: str = "digits-gauss", **options: Any) -> Model:
    return load(name, device="cpu", threads=1, **options)


@pytest.fixture(scope="module")
def plain() -> Model:
    return model()


@pytest.mark.parametrize("count", [1, 7, 64, 1500])
def test_all_calls_give_what_the_cpu_gives(card: ctypes.CDLL, plain: Model, count: int) -> None:
    ours = model()
    for _ in range(4):
        images = plain.sample(count, seed=4)
        z = plain.encode(images)
        assert ours.graph("decoder").card is not None
        assert np.allclose(ours.sample(count, seed=4), images, **NEAR)
        assert np.allclose(ours.encode(images), z, **NEAR)
        assert np.allclose(ours.decode(z), plain.decode(z), **NEAR)
        assert np.allclose(ours.reconstruct(images), plain.reconstruct(images), **NEAR)
        assert np.allclose(ours.sample(count, temperature=0.5), plain.sample(count, temperature=0.5), **NEAR)
        assert np.allclose(np.concatenate(list(ours.stream("sample", count, seed=4))), images, **NEAR)
        assert np.allclose(ours.score(images).score, plain.score(images).score, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 64, 1500])
def test_arrays_stay_on_the_card(card: ctypes.CDLL, plain: Model, count: int) -> None:
    ours = model(arrays="device")
    images = plain.sample(count, seed=4)
    drawn: Any = ours.sample(count, seed=4)
    assert isinstance(drawn, DeviceArray) and drawn.device == "cuda:0"
    z = ours.encode(drawn)
    assert isinstance(z, DeviceArray)
    assert np.allclose(drawn, images, **NEAR)
    assert np.allclose(z, plain.encode(images), **NEAR)
    assert np.allclose(ours.decode(z), plain.reconstruct(images), **NEAR)
    assert np.allclose(ours.reconstruct(drawn), plain.reconstruct(images), **NEAR)
    assert np.allclose(
        ours.interpolate(images[:2]) if count > 1 else 0, plain.interpolate(images[:2]) if count > 1 else 0, atol=1e-5
    )
