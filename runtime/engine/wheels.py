"""ONNX Runtime's wheels: which of them is installed, as each is for other devices and goes by a name of its own."""

import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

# All of them write the folder onnxruntime.
WHEELS: Final = (
    "onnxruntime",
    *("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-qnn", "onnxruntime-rocm"),
    *("onnxruntime-migraphx", "onnxruntime-webgpu", "onnxruntime-training", "onnxruntime-silicon", "ort-nightly"),
)

# Libraries whose packages have other names than they have.
_PACKAGES: Final = {"cudart": "cuda-runtime", "nvrtc": "cuda-nvrtc"}


def installed(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def installed_wheels() -> dict[str, str]:
    """The versions of those of ONNX Runtime's wheels that are installed, by name."""
    return {name: found for name in WHEELS if (found := installed(name))}


def package_of(library: str) -> str | None:
    """The package, of those that the GPU wheel's extras bring, that has one of CUDA's libraries, or None.

    `library` is a file's name, such as libcublasLt.so.13 or cudart64_13.dll.
    """
    found = re.match(r"(?:lib)?(cublas|cudart|cudnn|cufft|curand|nvjitlink|nvrtc)", library, re.IGNORECASE)
    try:
        required = requires("onnxruntime-gpu") if found else None
    except PackageNotFoundError:
        return None
    if not found or not required:
        return None
    package = f"nvidia-{_PACKAGES.get(found[1].lower(), found[1].lower())}"
    names = [re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in required]
    # Those of CUDA 12, and cuDNN's, have its number at their end.
    return next((name for name in names if re.fullmatch(rf"{package}(-cu\d+)?", name)), None)
