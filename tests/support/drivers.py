"""NVIDIA's driver for machines without a GPU: libraries that answer as it does."""

import subprocess
from pathlib import Path

_DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return %(fails)d; }
int cuDeviceGetCount(int *count) { *count = %(count)d; return 0; }
int cuDeviceGet(int *device, int number) { *device = 40 + number; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, device == 40 ? "NVIDIA H100 80GB HBM3" : "NVIDIA L4", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)(device == 40 ? 79 : 22) << 30; return 0; }
"""
_MANAGEMENT = """
#include <string.h>
int nvmlInit_v2(void) { return %(fails)d; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned size) { strncpy(version, "580.95.05", size); return 0; }
"""


def write_driver(folder: Path, count: int, *, fails: int = 0) -> None:
    """Compile the driver that lists so many GPUs, or fails, and what comes with it to look after them."""
    for name, program in (("libcuda.so.1", _DRIVER), ("libnvidia-ml.so.1", _MANAGEMENT)):
        source = folder / f"{name}.c"
        source.write_text(program % {"count": count, "fails": fails})
        subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / name, source], check=True)
