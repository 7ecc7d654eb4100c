"""The program that runs graphs for `isolated.Worker`: python -m aae_zoo.runtime.engine.worker DESCRIPTOR JSON."""

import json
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.engine.engine import Engine
from aae_zoo.runtime.engine.isolated import receive, send
from aae_zoo.runtime.errors import AaeZooError, InvalidBundle
from aae_zoo.runtime.formats.arrays import Arrays


def work(pipe: Connection, asked: dict[str, Any]) -> None:
    """Run what is asked for until the pipe is closed, within the bounds of memory and time."""
    for kind, most in ((resource.RLIMIT_AS, asked["memory"]), (resource.RLIMIT_CORE, 0)):
        _, allowed = resource.getrlimit(kind)
        most = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
        resource.setrlimit(kind, (most, most))
    bundle = open_bundle(Path(asked["folder"]))
    engine = Engine(bundle, device="cpu", threads=asked["threads"], precision=asked["precision"])
    while True:
        try:
            header, inputs = receive(pipe, asked["memory"])
        except EOFError:
            return
        signal.alarm(asked["seconds"])  # ends the process, whatever it is doing
        answer, found = _run(engine, header["role"], inputs)
        signal.alarm(0)
        send(pipe, answer, found)


def _run(engine: Engine, role: str, inputs: Arrays) -> tuple[dict[str, str], Arrays]:
    """The header of the answer, an error if there is one, and the outputs."""
    try:
        return {}, engine.graph(role).run(inputs, finite=False)
    except AaeZooError as error:
        return {"error": str(error), "kind": type(error).__name__}, {}
    except MemoryError:
        return {"error": f"there is not enough memory to run the {role}", "kind": InvalidBundle.__name__}, {}


if __name__ == "__main__":
    work(Connection(int(sys.argv[1])), json.loads(sys.argv[2]))
