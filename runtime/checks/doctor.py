"""What is installed, what would be used, and what is wrong with it: the findings that `aae-zoo doctor` prints."""

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.engine.cpus import available_cpus
from aae_zoo.runtime.engine.devices import PROVIDERS, mend_of
from aae_zoo.runtime.engine.gpus import driver_version, nvidia_gpus
from aae_zoo.runtime.engine.session import import_onnxruntime, open_session
from aae_zoo.runtime.engine.wheels import installed, installed_wheels, package_of
from aae_zoo.runtime.errors import AaeZooError
from aae_zoo.runtime.store.cache import cache_folder, cached_models
from aae_zoo.runtime.store.catalogue import SHIPPED, list_models
from aae_zoo.runtime.store.shared import part_of
from aae_zoo.runtime.words import counted

_INSTALL = "pip install 'aae-zoo[cpu]', or for NVIDIA GPUs pip install 'aae-zoo[gpu]'"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `mend` says how to mend it, or is None where nothing is wrong."""

    name: str
    found: str
    mend: str | None = None


def diagnose() -> list[Finding]:
    """Look at this installation. Nothing is changed and nothing goes to the network."""
    return [*_versions(), *_onnxruntime(), *_gpus(), *_devices(), *_models(), _cache(), _data()]


def _versions() -> Iterator[Finding]:
    yield Finding("aae-zoo", installed("aae-zoo") or "not installed as a package")
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in ("numpy", "pillow", "typer", "huggingface-hub"):
        yield Finding(name, installed(name) or "missing", None if installed(name) else f"pip install {name}")
    torch = installed("torch")
    yield Finding(
        "torch", torch or "not installed (only training and export need it: pip install 'aae-zoo[cpu,train]')"
    )


def _onnxruntime() -> Iterator[Finding]:
    wheels = installed_wheels()
    text = ", ".join(f"{name} {found}" for name, found in wheels.items()) or "not installed"
    mend = None
    if not wheels:
        mend = _INSTALL
    elif len(wheels) > 1:
        mend = f"these wheels overwrite each other: pip uninstall {' '.join(wheels)}, then install one of them"
    elif (loaded := _loaded_version()) not in (None, *wheels.values()):
        text += f", but the module that is imported is {loaded}"
        mend = f"pip uninstall {' '.join(wheels)}, then {_INSTALL}"
    yield Finding("ONNX Runtime", text, mend)
    off = os.environ["ORT_DISABLE_TELEMETRY"]
    yield Finding("telemetry", "off" if off == "1" else f"as ONNX Runtime has it: ORT_DISABLE_TELEMETRY is {off!r}")


def _loaded_version() -> str | None:
    try:
        return str(import_onnxruntime().__version__)
    except AaeZooError:
        return None


def _gpus() -> Iterator[Finding]:
    gpus = nvidia_gpus()
    driver = driver_version() if gpus else None
    for number, gpu in enumerate(gpus):
        yield Finding(f"GPU cuda:{number}", f"{gpu}, driver {driver}" if driver else str(gpu))


def _devices() -> Iterator[Finding]:
    """Each device, tried with a small graph where ONNX Runtime has it; one that is built in and fails is a fault."""
    try:
        ort = import_onnxruntime()
    except AaeZooError as error:
        yield Finding("devices", "none", str(error))
        return
    available = ort.get_available_providers()
    yield Finding("device cpu", counted(available_cpus(), "thread"))
    used = "cpu"
    for device, providers in PROVIDERS.items():
        if providers[0] not in available:
            yield Finding(f"device {device}", f"not used: this ONNX Runtime is built without it ({mend_of(device)})")
        elif device != "cpu":
            fault = _try(device)
            used = device if device == "cuda" and fault is None else used
            # TensorRT comes in the wheel for CUDA, and needs libraries that not everyone wants.
            mend = _mend(device, fault) if fault and device != "tensorrt" else None
            yield Finding(f"device {device}", f"cannot be used: {fault}" if fault else "works", mend)
    yield Finding("device auto", f"is {used}")


def _try(device: str) -> str | None:
    """Why the smallest shipped model cannot be run on a device, or None."""
    try:
        entry = min((e for e in list_models() if e.shipped), key=lambda e: e.size)
        open_session(read_graph(open_bundle(SHIPPED / entry.name), "prior"), device=device)
    except (AaeZooError, ValueError) as error:
        return str(error).partition("cannot be used: ")[2].partition("; aae-zoo doctor")[0] or str(error)
    return None


def _mend(device: str, fault: str) -> str:
    if device != "cuda":
        return mend_of(device)
    missing = re.search(r"([\w.-]+\.(?:so[.\d]*|dll))\b", fault)
    if missing and (package := package_of(missing[1])):
        return (
            f"pip install {package}, which brings {missing[1]}; pip install 'aae-zoo[gpu]' brings all that CUDA needs"
        )
    return "update NVIDIA's driver, and pip install 'aae-zoo[gpu]' for CUDA's libraries; without a GPU, " + (
        "pip uninstall onnxruntime-gpu, then pip install 'aae-zoo[cpu]'"
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
    """The cache: where nothing can be pulled into it, it is a fault if nothing can be loaded from it either."""
    try:
        folder = cache_folder()
        loadable = [model for model in cached_models() if model.state in ("whole", "in part")]
    except AaeZooError as error:
        return Finding("cache", "none", str(error))
    part = part_of(folder)
    nearest = next(p for p in (part, *part.parents) if os.path.exists(p))
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return Finding("cache", f"{folder} ({'there' if folder.exists() else 'not made yet'})")
    if loadable:
        models = counted(len(loadable), "model")
        return Finding("cache", f"{folder} ({models} to load; it cannot be written, so nothing is pulled into it)")
    return Finding("cache", f"{folder} cannot be written", "set AAE_ZOO_CACHE to a folder that is writable")


def _data() -> Finding:
    root = os.environ.get("AAE_ZOO_DATA")
    if not root:
        return Finding("data", "AAE_ZOO_DATA is not set (only training and export need data)")
    try:
        names = sorted(path.name for path in Path(root).iterdir() if path.is_dir())
    except OSError:
        found = f"AAE_ZOO_DATA is {root}, which is not a folder that can be read"
        return Finding("data", found, "set it to the folder of the data sets")
    return Finding("data", f"{root}: {', '.join(names) or 'empty'}")
