"""Training on the card: what the slowest of the recipes takes, from start to metrics."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rows import Measured, Missed, Row, held

MOST = 60.0
ROOT = Path(__file__).parents[2]


def checks() -> Iterator[Row]:
    yield Row("the slowest recipe, by some of its epochs", f"<= {MOST:g} s", slowest)


def trained(recipe: str, *settings: str) -> float:
    """The seconds of `aae-zoo train`, from its start to its end, metrics and all."""
    environment = dict(os.environ)
    if "AAE_ZOO_DATA" not in environment and (ROOT / "shared" / "data").is_dir():
        environment["AAE_ZOO_DATA"] = str(ROOT / "shared" / "data")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["train", recipe, "--out", f"{folder}/run", "--tracker", "none"]
        command = [sys.executable, "-c", "from aae_zoo.cli.main import main; main()", *arguments]
        for setting in settings:
            command += ["--set", setting]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        seconds = time.perf_counter() - started
    if done.returncode:
        raise Missed(" ".join(done.stderr.split())[-300:])
    return seconds


def slowest() -> Measured:
    """By the times on a CPU, which recipe is slowest; and what all its epochs take by the times of some."""
    import torch

    from aae_zoo.export.release.timing import training_times
    from aae_zoo.runtime.store.catalogue import SHIPPED
    from aae_zoo.zoo.recipe import load_recipe

    assert torch.cuda.is_available(), "PyTorch finds no GPU"
    times = training_times(SHIPPED)
    recipe = max(times, key=lambda name: times[name].seconds)
    epochs = load_recipe(recipe).training.epochs
    one, three = (trained(recipe, f"training.epochs={count}") for count in (1, 3))
    # What is the same for any number of epochs, such as imports and metrics, is in both.
    seconds = one + (epochs - 1) * (three - one) / 2
    text = f"{recipe}: {seconds:.0f} s for {epochs} epochs (1: {one:.1f} s, 3: {three:.1f} s)"
    return held(seconds <= MOST, text, {"recipe": recipe, "seconds": seconds, "epochs": epochs})
