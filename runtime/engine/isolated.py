"""Graphs of a bundle that nobody trusts, run in a process of their own that has bounds on its memory and time.

Whatever they do there, even a division that ends the process, is one sentence here. Names, shapes and the bytes of
arrays go through a pipe, and nothing is unpickled. It is slow: every batch goes there and back.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime import errors
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.engine.devices import CPU
from aae_zoo.runtime.errors import AaeZooError, DeviceUnavailable, InvalidBundle, InvalidInput, python_for
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.formats.arrays import Arrays

# What a worker may have: bytes of addresses, as ONNX Runtime and its threads alone take one or two GB of them, and
# seconds for opening a graph and running one batch.
MEMORY: Final = 4 << 30
SECONDS: Final = 60
_HEADER: Final = 1 << 16


class Worker:
    """The process that runs a bundle's graphs, started when it is first needed and again where it has ended."""

    def __init__(self, bundle: Bundle, *, device: object, threads: int | None, precision: str) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if device not in ("auto", "cpu"):
            raise InvalidInput(f"device is {device!r}, expected auto or cpu: isolated models run on the CPU")
        if os.name != "posix":
            raise InvalidInput("isolated models need limits that this system does not have; run them on Linux or macOS")
        python_for("isolate a model")  # raises where there is none
        self._bundle = bundle
        self._asked: dict[str, Any] = {
            "folder": str(bundle.folder.resolve()),
            "threads": threads,
            "precision": precision,
        }
        self._lock = threading.Lock()

    def __del__(self) -> None:
        self._end()

    def __getstate__(self) -> dict[str, Any]:
        return {"_bundle": self._bundle, "_asked": self._asked}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy has a process of its own."""
        self.__dict__.update(state)
        self._process, self._lock = None, threading.Lock()

    def session(self, role: str) -> "IsolatedSession":
        """What runs the graph of a role here."""
        return IsolatedSession(self, role)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def run(self, role: str, names: Sequence[str], inputs: Mapping[str, NDArray[np.float32]]) -> list[Any]:
        """The outputs `names` of the graph of a role.

        Raises:
            InvalidBundle: the process ended, by itself or by its bounds, or gives what it was not asked for.
            AaeZooError: what the graph's own run raised.
            DeviceUnavailable: the process cannot be started.
        """
        with self._lock:
            try:
                self._start()
                send(self._pipe, {"role": role}, inputs)
                header, found = receive(self._pipe, self._most(inputs))
            except (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
                raise self._ended(error) from None
            except BaseException:  # an interrupt: what the process answers later would be taken for the next answer
                self._end()
                raise
        if "error" in header:
            kind = getattr(errors, str(header.get("kind")), InvalidBundle)
            raise (kind if isinstance(kind, type) and issubclass(kind, AaeZooError) else InvalidBundle)(header["error"])
        if set(found) != set(names):
            raise InvalidBundle(
                f"the worker of {self._bundle.manifest.name} gives {sorted(found)[:9]}, not what was asked"
            )
        return [found[name] for name in names]

    def _start(self) -> None:
        if self._process is not None:
            return
        self._pipe, theirs = Pipe()
        with theirs:
            asked = json.dumps({**self._asked, "memory": MEMORY, "seconds": SECONDS})
            program = [*python_for("isolate a model"), "-m", "aae_zoo.runtime.engine.worker"]
            nothing = subprocess.DEVNULL
            self._process = subprocess.Popen(  # noqa: S603 - this Python
                [*program, str(theirs.fileno()), asked],
                stdin=nothing,
                stdout=nothing,
                stderr=nothing,
                pass_fds=[theirs.fileno()],
            )

    def _most(self, inputs: Mapping[str, NDArray[np.float32]]) -> int:
        """The bytes of the largest array that may come back."""
        rows = len(next(iter(inputs.values())))
        return 4 * rows * max(map(math.prod, self._bundle.manifest.row_shapes.values()))

    def _end(self) -> int | None:
        """End the process, if there is one: its status."""
        process, self._process = self._process, None
        if process is None:
            return None
        self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)  # it ends when its pipe is closed, unless it is at work
        process.kill()
        return process.wait()

    def _ended(self, error: Exception) -> AaeZooError:
        status = self._end()
        if status is None:
            return DeviceUnavailable(
                f"the process that is to run {self._bundle.manifest.name} cannot be started ({words_of(error)}); "
                "end other programs, or raise the limit that ulimit -a shows"
            )
        how = f"ended with the status {status}"
        if status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        if status == -signal.SIGALRM:
            how = f"took more than {SECONDS} s"
        if status == 0:
            how = f"gives no answer ({type(error).__name__})"
        return InvalidBundle(
            f"the process that runs {self._bundle.manifest.name} {how}; it may have {MEMORY >> 30} GiB of memory and "
            f"{SECONDS} s for a batch; do not trust this bundle"
        )


class IsolatedSession:
    """What takes the place of a session of ONNX Runtime where the graph of a role runs in a worker."""

    def __init__(self, worker: Worker, role: str) -> None:
        self._worker, self._role = worker, role

    def get_providers(self) -> list[str]:
        """ONNX Runtime's name of the CPU."""
        return [CPU]

    def run(self, names: Sequence[str], inputs: Mapping[str, NDArray[np.float32]]) -> list[Any]:
        """The outputs `names`; see `Worker.run`."""
        return self._worker.run(self._role, names, inputs)


def send(pipe: Connection, header: Mapping[str, object], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Send a header, and arrays by name."""
    shapes = {name: values.shape for name, values in arrays.items()}
    pipe.send_bytes(json.dumps({**header, "shapes": shapes}).encode())
    for values in arrays.values():
        pipe.send_bytes(np.ascontiguousarray(values, np.float32).data.cast("B"))


def receive(pipe: Connection, most: int) -> tuple[dict[str, Any], Arrays]:
    """A header, and the arrays that it announces, each of at most `most` bytes.

    Raises:
        OSError, EOFError, ValueError, TypeError, LookupError, AttributeError: the other side has ended, or sends other
            things.
    """
    header = json.loads(pipe.recv_bytes(_HEADER))
    arrays = {}
    for name, shape in header.pop("shapes").items():
        arrays[name] = np.frombuffer(bytearray(pipe.recv_bytes(most)), np.float32).reshape(shape)
    return header, arrays
