"""The HTTP service as a process, and a client of it."""

import io
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NPY, JSON = "application/x-npy", "application/json"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def array(self) -> NDArray[np.float32]:
        return np.asarray(np.load(io.BytesIO(self.body)))

    @property
    def error(self) -> str:
        assert list(self.json) == ["error"]
        return str(self.json["error"])


@dataclass(frozen=True)
class Server:
    process: "subprocess.Popen[str]"
    url: str

    def ask(self, path: str, body: bytes | None = None, kind: str = JSON) -> Answer:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": kind} if body is not None else {})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def infer(self, name: str, **request: Any) -> Answer:
        return self.ask(f"/v2/models/{name}/infer", json.dumps(request).encode())


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@contextmanager
def serving(bundle: str | Path, *options: str, python: str | Path = sys.executable) -> Iterator[Server]:
    """A server of a bundle, run by `python`; it must end in good order, and have had nothing to say on stderr."""
    command = [str(python), "-m", "aae_zoo.cli.main", "serve", str(bundle), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        try:
            said = process.stdout.readline()
            assert " on http://127.0.0.1:" in said, process.stderr.read()
            yield Server(process, said.split()[3])
        finally:
            process.send_signal(signal.SIGTERM)
            said_last = process.communicate(timeout=60)
        assert (process.returncode, *said_last) == (0, "", "")
