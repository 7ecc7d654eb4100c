"""Several processes train one model: as one process would, exactly again, and ending together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from conftest import RECIPE
from safetensors.torch import load_file

from aae_zoo.runtime.errors import CheckpointError
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training.trainer import train

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCHER = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
Command = Sequence[str | Path]
EPOCHS = "training.epochs=12"

# Neither noise nor dropout: what is left to differ between one process and two is the order of sums.
PLAIN = (
    RECIPE.split("[prior]")[0].replace("dropout = 0.1", "")
    + """
[prior]
kind = "fitted"
size = 2
components = 3

[objective]
kind = "ae"
reconstruction = "bce"

[training]"""
    + RECIPE.split("[training]")[1]
)


def environment() -> dict[str, str]:
    return {**os.environ, "ACCELERATE_USE_CPU": "true"}


def in_two(recipe: Path, data: Path, out: Path, *options: str) -> Command:
    """The command that trains a recipe in two processes."""
    return [*LAUNCH, *LAUNCHER, "-m", "aae_zoo.cli.main", "train", recipe, "--data", data, "--out", out, *options]


def run(command: Command) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def log_of(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def weights_of(folder: Path) -> Mapping[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def said(result: "subprocess.CompletedProcess[str]") -> list[str]:
    """The sentences of our own; what the launcher says of its processes' ends is its own."""
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def two(small_recipe: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes."""
    out = tmp_path_factory.mktemp("two") / "run"
    result = run(in_two(small_recipe, small_data, out, "--set", EPOCHS, "--json"))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == json.loads((out / "metrics.json").read_text())  # printed once
    return out


def test_two_processes_have_one_log_and_the_losses_of_one(
    two: Path, small_recipe: Path, small_data: Path, tmp_path: Path
) -> None:
    """Step 0 agrees but for dropout; after it each draws noise of its own, and an epoch's reconstruction agrees to 5 %.

    The discriminator's loss follows the noise: its epochs are up to 7 % apart by luck, and agree in their mean.
    """
    train(load_recipe(str(small_recipe), [EPOCHS]), tmp_path / "one", data=small_data)
    one, both = log_of(tmp_path / "one"), log_of(two)
    assert [row["step"] for row in both] == [row["step"] for row in one]
    assert both[0]["reconstruction"] == pytest.approx(one[0]["reconstruction"], rel=1e-3)
    alone, together = ([row for row in log if "validation" in row] for log in (one, both))
    for a, b in zip(alone, together, strict=True):
        assert b["reconstruction"] == pytest.approx(a["reconstruction"], rel=0.05)
    means = [mean(row["discriminator"] for row in epochs) for epochs in (alone, together)]
    assert means[1] == pytest.approx(means[0], rel=0.05)
    assert len(list((two / "tensorboard").iterdir())) == 1
    facts = json.loads((two / "run.json").read_text())
    assert facts["processes"] == 2
    assert facts["command"].startswith("accelerate launch --multi_gpu --num_processes 2 -m aae_zoo.cli.main train ")


def test_without_noise_two_processes_are_one(small_data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "plain.toml"
    recipe.write_text(PLAIN)
    assert run(in_two(recipe, small_data, tmp_path / "two")).returncode == 0
    train(load_recipe(str(recipe)), tmp_path / "one", data=small_data)
    one, both = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert [r["reconstruction"] for r in both] == pytest.approx([r["reconstruction"] for r in one], rel=1e-4)
    a, b = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert all(torch.allclose(a[name], b[name], atol=1e-3) for name in a if not name.startswith("prior"))


def test_ctrl_c_ends_both_and_they_resume_exactly(
    two: Path, small_recipe: Path, small_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = in_two(small_recipe, small_data, out, "--set", EPOCHS)
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "resume.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert not (out / "run.json").exists(), "the run had ended before it could be interrupted"
    assert errors.count("error: ") == 1
    assert "all whole epochs are kept" in errors
    assert run([*command, "--resume"]).returncode == 0
    assert log_of(out) == log_of(two)
    assert all(torch.equal(weights, weights_of(out)[name]) for name, weights in weights_of(two).items())


def test_an_error_is_said_once(small_recipe: Path, small_data: Path, tmp_path: Path) -> None:
    result = run(in_two(small_recipe, small_data, tmp_path / "run", "--set", "training.batch=25"))
    assert result.returncode != 0
    assert len(said(result)) == 1
    assert "training.batch is 25, expected a multiple of the 2 processes" in said(result)[0]
    assert "Traceback" not in result.stderr.split("error: ")[0]
    assert not (tmp_path / "run").exists()


def test_another_number_of_processes_does_not_resume(
    two: Path, small_recipe: Path, small_data: Path, refused: Callable[..., str]
) -> None:
    with pytest.raises(CheckpointError, match="was written by 2 processes, found 1"):
        train(load_recipe(str(small_recipe), [EPOCHS]), two, data=small_data, resume=True)
