"""NVIDIA's GPUs, as their driver lists them, so that a device that is not there can be told from one that fails."""

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aae_zoo.runtime.errors import DeviceUnavailable

# The driver's own library on Linux and on Windows; no wheel brings it.
_DRIVER: Final = ("libcuda.so.1", "nvcuda.dll")
# What comes with it for those who look after GPUs.
_MANAGEMENT: Final = ("libnvidia-ml.so.1", "nvml.dll")
_LONGEST_NAME: Final = 256


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name, and its memory in bytes."""

    name: str
    memory: int

    def __str__(self) -> str:
        return f"{self.name}, {self.memory / (1 << 30):.0f} GiB"


def nvidia_gpus() -> list[Gpu]:
    """The GPUs that CUDA numbers 0, 1 and so on in this process; none where there is no driver, or it fails.

    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html
    """
    driver, count = driver_library(), ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [_gpu(driver, number) for number in range(count.value)]


def driver_version() -> str | None:
    """The version of the driver, such as "580.95.05", or None where it does not say.

    https://docs.nvidia.com/deploy/nvml-api/group__nvmlSystemQueries.html
    """
    management = _library(_MANAGEMENT)
    if management is None or management.nvmlInit_v2():
        return None
    text = ctypes.create_string_buffer(_LONGEST_NAME)
    failed = management.nvmlSystemGetDriverVersion(text, _LONGEST_NAME)
    management.nvmlShutdown()
    return None if failed else text.value.decode("utf-8", "replace")


def check_gpu(number: int) -> None:
    """Refuse a number of a GPU that the driver does not list. Where it lists none, ONNX Runtime says why.

    Raises:
        DeviceUnavailable: there is no such GPU.
    """
    gpus = nvidia_gpus()
    if gpus and number >= len(gpus):
        there = f"are {len(gpus)} GPUs" if len(gpus) > 1 else "is 1 GPU"
        listed = ", ".join(f"cuda:{n} ({gpu.name})" for n, gpu in enumerate(gpus))
        raise DeviceUnavailable(f"there {there} here, {listed}")


def driver_library() -> ctypes.CDLL | None:
    """NVIDIA's driver, or None where there is none."""
    return _library(_DRIVER)


def _library(names: Sequence[str]) -> ctypes.CDLL | None:
    """The first of some libraries that is there."""
    for name in names:
        with suppress(OSError):
            return ctypes.CDLL(name)
    return None


def _gpu(driver: ctypes.CDLL, number: int) -> Gpu:
    device, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(_LONGEST_NAME)
    driver.cuDeviceGet(ctypes.byref(device), number)
    driver.cuDeviceGetName(name, _LONGEST_NAME, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Gpu(name.value.decode("utf-8", "replace"), memory.value)
