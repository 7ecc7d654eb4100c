"""Trackers: what they are told of a run, what is said where there is none, and training that outlives them."""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import AaeZoo, full_disk
from PIL import Image

from aae_zoo.runtime.errors import CheckpointError, InvalidInput, MissingBackend, OutputError, TrainingError
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training.log import Log
from aae_zoo.zoo.training.run import Run
from aae_zoo.zoo.training.trackers import check_tracker, open_tracker
from aae_zoo.zoo.training.trainer import train


class Wandb(ModuleType):
    """As much of W&B's client as accelerate's tracker of it calls; the real one asks for an account."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.told: list[tuple[str, Any]] = []
        self.config = self
        self.fails: BaseException | None = None

    def init(self, **settings: Any) -> "Wandb":
        return self._tell("init", settings)

    def update(self, values: dict[str, Any], allow_val_change: bool) -> None:
        self._tell("config", values)

    def log(self, values: dict[str, Any], step: int) -> None:
        self._tell("log", (step, values))

    def finish(self, exit_code: int = 0) -> None:
        self._tell("finish", exit_code)

    def Image(self, pixels: Any) -> Any:  # noqa: N802 - W&B's name
        return pixels

    def _tell(self, what: str, value: Any) -> "Wandb":
        if self.fails:
            raise self.fails
        self.told.append((what, value))
        return self


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def run(small_recipe: Path, tmp_path: Path) -> Run:
    Processes()  # without which accelerate's trackers say nothing
    run = Run(tmp_path / "run", load_recipe(str(small_recipe)))
    run.create()
    return run


@pytest.fixture
def log(run: Run, wandb: Wandb) -> Log:
    return Log(run, step=0, size=0, tracker="wandb")


def test_accelerates_tracker_is_told_what_the_log_has(log: Log, run: Run, wandb: Wandb) -> None:
    with log:
        log.batch({"step": 3, "epoch": 0, "rate": 0.5, "reconstruction": 2.0})
        log.epoch({"step": 10, "epoch": 1, "validation": {"mse": 0.25, "code_mean": [0.0, 1.0]}})
        log.picture("samples", Image.new("L", (4, 3), 255), epoch=1, step=10)
    (_, settings), (_, config), batch, epoch, (_, (step, pictures)), end = wandb.told
    assert settings == {"project": "aae-zoo", "name": run.recipe.name}
    assert (config["training.seed"], config["prior.kind"]) == (run.recipe.training.seed, "gaussian")
    assert all(isinstance(value, str | int | float | None) for value in config.values())
    assert batch == ("log", (3, {"batch/epoch": 0, "batch/rate": 0.5, "batch/reconstruction": 2.0}))
    assert epoch == ("log", (9, {"epoch/epoch": 1, "epoch/validation/mse": 0.25}))
    assert (step, pictures["samples"][0].shape, np.min(pictures["samples"][0])) == (9, (3, 4, 3), 255)
    assert end == ("finish", 0)
    assert len(list(log.rows())) == 2
    assert not run.tensorboard.exists()


def test_a_tracker_that_fails_is_warned_of_once_and_left(log: Log, wandb: Wandb) -> None:
    wandb.fails = ConnectionError("the server is gone\nfor good")
    with pytest.warns(RuntimeWarning, match=r"^wandb failed \(the server is gone\); training goes on without it$"):
        log.batch({"step": 0, "epoch": 0, "loss": 1.0})
    log.batch({"step": 1, "epoch": 0, "loss": 0.5})
    log.picture("samples", Image.new("L", (4, 3)), epoch=1, step=2)
    assert [row["loss"] for row in log.rows()] == [1.0, 0.5]
    assert (log.run.pictures / "samples-0001.png").exists()


def test_a_tracker_that_cannot_be_started_is_one_sentence(run: Run, wandb: Wandb) -> None:
    wandb.fails = RuntimeError("No API key configured.\nUse `wandb login`")
    with pytest.raises(TrainingError, match=r"^wandb cannot be started \(No API key configured.\); see its own"):
        open_tracker("wandb", run, 0)


@pytest.mark.parametrize(("fails_at", "told"), [("init", []), ("update", ["init", "finish"])])
def test_of_a_tracker_that_cannot_be_started_only_what_began_is_ended(
    fails_at: str, told: list[str], run: Run, wandb: Wandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(wandb, fails_at, fail)
    with pytest.raises(TrainingError, match="wandb cannot be started"):
        open_tracker("wandb", run, 0)
    assert [what for what, _ in wandb.told] == told


def test_a_training_that_fails_is_a_failed_run_of_its_tracker(
    small_recipe: Path, small_data: Path, tmp_path: Path, wandb: Wandb
) -> None:
    recipe = load_recipe(str(small_recipe), ["training.learning_rate=1e30"])
    with pytest.raises(TrainingError, match="expected a finite number"):
        train(recipe, tmp_path / "run", data=small_data, tracker="wandb")
    assert wandb.told[-1] == ("finish", 1)


def test_a_training_that_fails_is_a_failed_run_of_mlflow(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = mock.MagicMock()
    mlflow.utils.validation.MAX_PARAM_VAL_LENGTH = mlflow.utils.validation.MAX_PARAMS_TAGS_PER_BATCH = 100
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    with pytest.raises(TrainingError, match="a loss"), Log(run, step=0, size=0, tracker="mlflow"):
        raise TrainingError("a loss is no number")
    mlflow.end_run.assert_called_once_with("FAILED")


def test_a_resumption_that_is_refused_begins_no_run_of_a_tracker(
    small_recipe: Path, small_data: Path, run_folder: Path, wandb: Wandb
) -> None:
    state = torch.load(run_folder / "resume.pt", weights_only=True)
    torch.save({**state, "optimisers": {}}, run_folder / "resume.pt")
    with pytest.raises(CheckpointError, match="does not fit small"):
        train(load_recipe(str(small_recipe)), run_folder, data=small_data, resume=True, tracker="wandb")
    assert wandb.told == []


def test_a_disk_that_is_full_for_tensorboard_is_one_sentence(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    """Its thread, which writes, ends with the error too, and says nothing of it, whatever else has begun and ended."""
    before, tracker = (open_tracker("tensorboard", run, 0) for _ in range(2))
    before.close(failed=False)
    with full_disk(100), pytest.raises(OutputError, match=r"cannot write .*tensorboard: File too large; give"):
        for step in range(100):
            tracker.numbers({"loss": 0.5}, step)
            tracker.flush()
    with pytest.raises(OutputError, match="tensorboard: File too large"):
        tracker.close(failed=True)
    assert capfd.readouterr().err == ""


def test_trackers_that_there_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="the tracker is 'neptune', expected one of tensorboard, wandb"):
        check_tracker("neptune")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingBackend, match="mlflow is not installed; pip install mlflow, or give --tracker none"):
        check_tracker("mlflow")
    for name in ("tensorboard", "none"):
        check_tracker(name)


def test_the_command_refuses_before_it_makes_a_run(
    small_recipe: Path, small_data: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    command = ("train", small_recipe, "--data", small_data, "--out", tmp_path / "run", "--tracker", "neptune")
    assert "the tracker is 'neptune', expected one of tensorboard, wandb, mlflow, none" in refused(*command)
    assert not (tmp_path / "run").exists()


def test_the_command_trains_without_a_tracker(
    small_recipe: Path, small_data: Path, tmp_path: Path, aae_zoo: AaeZoo
) -> None:
    command = ("train", small_recipe, "--data", small_data, "--out", tmp_path / "run", "--set", "training.epochs=1")
    result = aae_zoo(*command, "--tracker", "none")
    assert result.status == 0, result.err
    assert (tmp_path / "run" / "log.jsonl").stat().st_size
    assert not (tmp_path / "run" / "tensorboard").exists()
