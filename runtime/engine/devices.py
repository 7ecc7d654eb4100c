"""Devices: their names, the ONNX Runtime providers that each one is, and whether a session got what it was made for."""

import platform
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from aae_zoo.runtime.errors import DeviceUnavailable, InvalidInput

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# "cuda:1", or ONNX Runtime's providers in the order of preference, each a name or a name and its options.
Device = str | Sequence[str | tuple[str, Mapping[str, Any]]]
Provider = tuple[str, dict[str, Any]]

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
NVIDIA: Final = (CUDA, TENSORRT)
# Each device's providers; the CPU takes what the others have no operator for.
PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "cpu": (CPU,),
    "cuda": (CUDA, CPU),
    "tensorrt": (TENSORRT, CUDA, CPU),
    "coreml": ("CoreMLExecutionProvider", CPU),
    "dml": ("DmlExecutionProvider", CPU),
    "openvino": ("OpenVINOExecutionProvider", CPU),
}
MENDS: Final[Mapping[str, str]] = {
    "cuda": "pip uninstall onnxruntime, then pip install 'aae-zoo[gpu]'",
    "tensorrt": "pip uninstall onnxruntime, then pip install 'aae-zoo[gpu]' tensorrt",
    "coreml": "it is in ONNX Runtime's wheels for macOS",
    "dml": "on Windows, pip uninstall onnxruntime, then pip install onnxruntime-directml",
    "openvino": "pip uninstall onnxruntime, then pip install onnxruntime-openvino",
}
# Their wheels are on PyPI for x86-64 alone, on Linux and Windows.
_X86_ONLY: Final = ("cuda", "tensorrt", "openvino")
DEVICES: Final = ("auto", *PROVIDERS)


def mend_of(device: str) -> str:
    """How to get an ONNX Runtime with a device, or that PyPI has none for this machine."""
    system, machine = platform.system(), platform.machine()
    if device in _X86_ONLY and (system == "Darwin" or machine not in ("x86_64", "AMD64")):
        return f"PyPI has no wheel with it for {system} on {machine}"
    return MENDS[device]


def wanted_providers(
    ort: ModuleType, device: Device, *, tf32: bool = False, deterministic: bool = False
) -> list[Provider]:
    """The providers and options of a device: "auto", "cpu", "cuda[:n]" and so on, or a list of providers.

    "auto" is "cuda" where ONNX Runtime has it, else "cpu": the others may compute in fewer digits, and are asked for
    by name. `tf32` lets CUDA round the inputs of matrix products to ten bits; TensorRT, which has no such option,
    does so unless NVIDIA_TF32_OVERRIDE=0 is set. `deterministic` keeps CUDA from trying which of a convolution's
    algorithms is fastest, as some of them add in another order each time.

    Raises:
        InvalidInput: there is no such device or provider.
        DeviceUnavailable: this ONNX Runtime is built without it.
    """
    check_device(device)
    available = ort.get_available_providers()
    if not isinstance(device, str):
        return _listed(device, available, tf32, deterministic)
    name, _, number = device.partition(":")
    if name == "auto":
        name = "cuda" if CUDA in available else "cpu"
    if PROVIDERS[name][0] not in available:
        raise DeviceUnavailable(
            f"device {device} was asked for, but this ONNX Runtime {ort.__version__} is built without it; "
            f"{mend_of(name)}"
        )
    options = {"device_id": number} if number else {}
    return [
        (p, _defaults(p, tf32, deterministic) | (options if p != CPU else {}))
        for p in PROVIDERS[name]
        if p in available
    ]


def check_device(device: Device) -> None:
    """Refuse what is no device anywhere, before anything is opened on it.

    Raises:
        InvalidInput: it is no name of one, or neither text nor a list.
    """
    if isinstance(device, Sequence) and not isinstance(device, (str, bytes)):
        return
    name, _, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    numbered = name in ("cuda", "tensorrt", "dml") and number.isascii() and number.isdigit()
    if name not in DEVICES or (number and not numbered):
        raise InvalidInput(f"device is {device!r}, expected one of {', '.join(DEVICES)}, or cuda:1 for a second GPU")


def missing_providers(session: "InferenceSession", wanted: Sequence[Provider]) -> str:
    """The providers that a session was made for and did not get, or got with another device number; empty if none."""
    found = session.get_provider_options()
    missing = []
    for name, options in wanted:
        number = options.get("device_id")
        if name not in found or (number is not None and str(found[name].get("device_id", number)) != str(number)):
            missing.append(name if number is None else f"{name} {number}")
    return ", ".join(missing)


def memory_of(session: "InferenceSession") -> tuple[str, int]:
    """Where a session keeps its arrays, as ONNX Runtime names it: ("cuda", number), or ("cpu", 0) for all others."""
    options = session.get_provider_options()
    return ("cuda", int(options[CUDA].get("device_id", 0))) if CUDA in options else ("cpu", 0)


def _listed(device: Sequence[Any], available: Sequence[str], tf32: bool, deterministic: bool) -> list[Provider]:
    """The providers of a list; its options override ours."""
    wanted: list[Provider] = []
    for entry in device:
        name, options = (entry, {}) if isinstance(entry, str) else entry
        if name not in available:
            raise DeviceUnavailable(
                f"the provider {name!r} was asked for, but this ONNX Runtime has {', '.join(available)}"
            )
        wanted.append((name, _defaults(name, tf32, deterministic) | dict(options)))
    if not wanted:
        raise InvalidInput("device is an empty list, expected at least one of " + ", ".join(available))
    return wanted


def _defaults(provider: str, tf32: bool, deterministic: bool) -> dict[str, Any]:
    if provider != CUDA:
        return {}
    return {"use_tf32": str(int(tf32))} | ({"cudnn_conv_algo_search": "DEFAULT"} if deterministic else {})
