"""Small work: how long a process takes that draws a few pictures, on each device."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rows import Measured, Row, held
from speed import NAME

DEVICES = ("auto", "cuda", "cpu")
TIMES = 3


def checks() -> Iterator[Row]:
    yield Row("a process that draws 64 pictures", "each device draws; the times are for the docs", processes)


def processes() -> Measured:
    found: dict[str, list[float]] = {device: [] for device in DEVICES}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(TIMES):
            for device in DEVICES:
                found[device].append(seconds(device, Path(folder) / f"{number}-{device}.png"))
    medians = {device: statistics.median(times) for device, times in found.items()}
    text = ", ".join(f"{device} {value:.2f} s" for device, value in medians.items())
    return held(True, f"{text} ({NAME})", {"seconds": medians, "model": NAME})


def seconds(device: str, out: Path) -> float:
    program = "from aae_zoo.cli.main import main; main()"
    command = [sys.executable, "-c", program, "sample", NAME, "-n", "64", "--device", device, "-o", str(out)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    taken = time.perf_counter() - started
    assert done.returncode == 0 and out.exists(), " ".join(done.stderr.split())[-300:]
    return taken
