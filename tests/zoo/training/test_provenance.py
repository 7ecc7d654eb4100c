"""Where a result came from: the libraries that were there, ONNX Runtime's by the name of its wheel."""

import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from aae_zoo.runtime import MissingBackend
from aae_zoo.runtime.engine import wheels
from aae_zoo.zoo.training.provenance import versions


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Of ONNX Runtime's wheels, let these alone be installed."""

    def found(name: str) -> str:
        if name.startswith(("onnxruntime", "ort-")) and name not in names:
            raise PackageNotFoundError(name)
        return "1.31.1" if name in names else version(name)

    monkeypatch.setattr(wheels, "version", found)


@pytest.mark.parametrize("wheel", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"])
def test_the_wheel_that_is_there_is_recorded(wheel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, wheel)
    found = versions()
    assert {name: value for name, value in found.items() if "onnxruntime" in name} == {wheel: "1.31.1"}
    assert found["torch"] == version("torch")


def test_an_onnxruntime_of_no_wheel_is_recorded_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    only(monkeypatch)
    assert versions()["onnxruntime"] == onnxruntime.__version__


def test_there_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingBackend, match=r"aae-zoo\[gpu\]"):
        versions()
