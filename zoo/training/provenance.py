"""Where a result came from: command, versions, machine and commit."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from aae_zoo.runtime.engine.session import import_onnxruntime
from aae_zoo.runtime.engine.wheels import installed_wheels

_LIBRARIES: Final = ("aae-zoo", "torch", "numpy", "onnx", "onnxscript", "safetensors")


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that decide a result, ONNX Runtime's by the name of its wheel.

    Raises:
        MissingBackend: there is no ONNX Runtime.
    """
    wheels = installed_wheels() or {"onnxruntime": import_onnxruntime().__version__}
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}, **wheels}


def commit() -> str | None:
    """The commit of the checkout that this code runs from, "-dirty" where tracked files differ, None elsewhere.

    Shipped models are not part of it: `make zoo` writes one after another.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # fails where the repository around us is another's
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)runtime/models")
        return _git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    return result.stdout.strip()


def environment(threads: int) -> dict[str, Any]:
    """What a number that depends on the machine depended on."""
    return {"commit": commit(), "versions": versions(), "machine": platform.machine(), "threads": threads}
