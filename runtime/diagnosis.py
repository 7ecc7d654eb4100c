"""What is installed, what would be used, and what is wrong with it: the findings that `aae-zoo doctor` prints."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aae_zoo.runtime.bundle import open_bundle
from aae_zoo.runtime.cache import cache_folder
from aae_zoo.runtime.catalogue import SHIPPED, list_models
from aae_zoo.runtime.errors import AaeZooError
from aae_zoo.runtime.session import available_cpus, import_onnxruntime

_ONNXRUNTIME_WHEELS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `mend` says how to mend it, or is None where nothing is wrong."""

    name: str
    found: str
    mend: str | None = None


def diagnose() -> list[Finding]:
    """Look at this installation. Nothing is changed and nothing goes to the network."""
    return [*_versions(), *_onnxruntime(), *_devices(), *_models(), _cache(), _data()]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _versions() -> Iterator[Finding]:
    yield Finding("aae-zoo", _installed("aae-zoo") or "not installed as a package")
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in ("numpy", "pillow"):
        yield Finding(name, _installed(name) or "missing", None if _installed(name) else f"pip install {name}")
    torch = _installed("torch")
    yield Finding(
        "torch", torch or "not installed (only training and export need it: pip install 'aae-zoo[cpu,train]')"
    )


def _onnxruntime() -> Iterator[Finding]:
    wheels = {name: found for name in _ONNXRUNTIME_WHEELS if (found := _installed(name))}
    text = ", ".join(f"{name} {found}" for name, found in wheels.items()) or "not installed"
    mend = None
    if not wheels:
        mend = "pip install 'aae-zoo[cpu]', or for NVIDIA GPUs pip install 'aae-zoo[gpu]'"
    elif len(wheels) > 1:
        mend = f"these wheels overwrite each other: pip uninstall {' '.join(wheels)}, then install one of them"
    yield Finding("ONNX Runtime", text, mend)


def _devices() -> Iterator[Finding]:
    try:
        providers = import_onnxruntime().get_available_providers()
    except AaeZooError as error:
        yield Finding("devices", "none", str(error))
        return
    cuda = "CUDAExecutionProvider" in providers
    yield Finding("device cpu", f"{available_cpus()} threads")
    yield Finding(
        "device cuda", "built in, tried first" if cuda else "not used: this ONNX Runtime is built without CUDA"
    )


def _models() -> Iterator[Finding]:
    reinstall = "pip install --force-reinstall aae-zoo"
    try:
        entries = list_models()
    except AaeZooError as error:
        yield Finding("catalogue", "damaged", str(error))
        return
    for entry in entries:
        if entry.shipped:
            try:
                bundle = open_bundle(SHIPPED / entry.name)
                bundle.check_files()
                yield Finding(f"model {entry.name}", f"{bundle.manifest.version}, every file as it should be")
            except AaeZooError as error:
                yield Finding(f"model {entry.name}", str(error), reinstall)


def _cache() -> Finding:
    folder = cache_folder()
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return Finding("cache", f"{folder} ({'there' if folder.exists() else 'not made yet'})")
    return Finding("cache", f"{folder} cannot be written", "set AAE_ZOO_CACHE to a folder that can be")


def _data() -> Finding:
    root = os.environ.get("AAE_ZOO_DATA")
    if root is None:
        return Finding("data", "AAE_ZOO_DATA is not set (only training and export need data)")
    if not Path(root).is_dir():
        return Finding("data", f"AAE_ZOO_DATA is {root}, which is no folder", "set it to the folder of the data sets")
    return Finding(
        "data", f"{root}: {', '.join(sorted(p.name for p in Path(root).iterdir() if p.is_dir())) or 'empty'}"
    )
