"""Training beside another busy process: how many times as long it takes as alone, with and without threads that spin.

    python tests/benchmarks/neighbours.py [PAIRS]

Each pair trains `digits-gauss` for some epochs alone and then beside one endless loop for each CPU, which takes half of
the CPUs' time. Training's own seconds are compared, those of whole epochs without the start of Python. What else the
machine does adds to both: only a quiet one gives figures to quote.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from aae_zoo.runtime.engine.cpus import available_cpus

_EPOCHS: Final = 12
# What GNU's OpenMP does where nobody says anything, and what aae-zoo says.
_POLICIES: Final[dict[str, dict[str, str]]] = {"spinning": {"GOMP_SPINCOUNT": "300000"}, "as it is": {}}


def seconds(policy: Mapping[str, str]) -> float:
    """The seconds that training takes with what OpenMP is told."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= policy
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        command = [sys.executable, "-m", "aae_zoo.cli.main", "train", "digits-gauss", "--out", str(run)]
        command += ["--set", f"training.epochs={_EPOCHS}", "--set", f"training.pictures_every={_EPOCHS}"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return float(json.loads((run / "run.json").read_text("utf-8"))["training_seconds"])


@contextmanager
def busy_neighbours() -> Iterator[None]:
    """One process that never waits for each CPU."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(available_cpus())]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    """Print for each policy the median seconds alone, those beside neighbours, and the median ratio of the pairs."""
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in _POLICIES}
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        for name, policy in _POLICIES.items():
            alone = seconds(policy)
            with busy_neighbours():
                pairs[name].append((alone, seconds(policy)))
    for name, found in pairs.items():
        alone, beside = (median(values) for values in zip(*found, strict=True))
        ratio = median(b / a for a, b in found)
        sys.stdout.write(f"{name}: alone {alone:.1f} s, beside busy processes {beside:.1f} s, ratio {ratio:.2f}\n")


if __name__ == "__main__":
    main()
