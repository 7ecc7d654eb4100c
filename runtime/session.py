"""ONNX Runtime sessions: threads by what this process may use, and devices that are what was asked for."""

import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from aae_zoo.runtime.errors import DeviceUnavailable, InvalidBundle, InvalidInput, MissingBackend

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DEVICES: Final = ("auto", "cpu", "cuda")
_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"


def open_session(
    graph: bytes, name: str, *, device: str = "auto", threads: int | None = None, tf32: bool = True
) -> "InferenceSession":
    """Make a session for the bytes of a graph; `name` is said in errors.

    `threads` are those of one operator: by default the CPUs that this process may use. `tf32` says whether CUDA may
    multiply float32 matrices with the ten bits of TF32, as ONNX Runtime does unless told otherwise.

    Raises:
        MissingBackend: ONNX Runtime is not installed.
        DeviceUnavailable: an explicit device cannot be had. ONNX Runtime itself falls back silently.
        InvalidInput: `device` or `threads` is none that there is.
        InvalidBundle: ONNX Runtime refuses the graph.
    """
    ort = import_onnxruntime()
    if device not in DEVICES:
        raise InvalidInput(f"device is {device!r}, expected one of {', '.join(DEVICES)}")
    if threads is not None and threads < 1:
        raise InvalidInput(f"threads is {threads}, expected 1 or more")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.log_severity_level = 3  # errors only: they reach the user as exceptions
    wanted = _wanted_providers(ort, device)
    providers = [(p, {"use_tf32": "0"}) if p == _CUDA and not tf32 else p for p in wanted]
    try:
        session: InferenceSession = ort.InferenceSession(graph, options, providers=providers)
    except Exception as error:  # the module's exceptions share no base class but Exception
        raise InvalidBundle(f"ONNX Runtime {ort.__version__} refuses {name}: {_first_line(error)}") from None
    if session.get_providers()[0] != wanted[0]:
        _fell_back(device)
    return session


def import_onnxruntime() -> ModuleType:
    """The module onnxruntime.

    Raises:
        MissingBackend: neither the CPU nor the GPU wheel is installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingBackend(
            f"ONNX Runtime cannot be imported ({error}); install one of the two: "
            "pip install 'aae-zoo[cpu]', or for NVIDIA GPUs pip install 'aae-zoo[gpu]'"
        ) from None
    module: ModuleType = onnxruntime
    return module


def available_cpus() -> int:
    """The CPUs that this process may use: the smaller of its affinity mask and its cgroup's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _cgroup_cpus(Path("/sys/fs/cgroup/cpu.max"), affinity)))


def _cgroup_cpus(cpu_max: Path, default: int) -> int:
    try:
        quota, period = cpu_max.read_text().split()
        return default if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return default


def _wanted_providers(ort: ModuleType, device: str) -> list[str]:
    has_cuda = _CUDA in ort.get_available_providers()
    if device == "cpu" or (device == "auto" and not has_cuda):
        return [_CPU]
    if not has_cuda:
        raise DeviceUnavailable(
            f"device cuda was asked for, but this ONNX Runtime {ort.__version__} is built without CUDA; "
            "pip uninstall onnxruntime, then pip install 'aae-zoo[gpu]'"
        )
    ort.preload_dlls()
    return [_CUDA, _CPU]


def _fell_back(device: str) -> None:
    if device != "auto":
        raise DeviceUnavailable(
            f"device {device} was asked for, but ONNX Runtime fell back to the CPU; "
            "aae-zoo doctor shows what is missing, device='cpu' runs without it"
        )
    warnings.warn("no GPU could be used, running on the CPU (aae-zoo doctor shows why)", RuntimeWarning, stacklevel=2)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
