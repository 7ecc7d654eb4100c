"""ONNX Runtime's wheels: which of them is installed, as each is for other devices and goes by a name of its own."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

# All of them write the folder onnxruntime.
WHEELS: Final = (
    "onnxruntime",
    *("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-qnn", "onnxruntime-rocm"),
    *("onnxruntime-migraphx", "onnxruntime-webgpu", "onnxruntime-training", "onnxruntime-silicon", "ort-nightly"),
)


def installed(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def installed_wheels() -> dict[str, str]:
    """The versions of those of ONNX Runtime's wheels that are installed, by name."""
    return {name: found for name in WHEELS if (found := installed(name))}
