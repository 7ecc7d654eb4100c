"""Training: real, logged, deterministic, resumable, and careful with what is there already."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import RECIPE, AaeZoo, batch_of
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from aae_zoo.runtime.errors import CheckpointError, Interrupted, OutputError, TrainingError
from aae_zoo.runtime.ownership import MARK
from aae_zoo.zoo.build import build
from aae_zoo.zoo.data.loading import load_data
from aae_zoo.zoo.maths.mmd import mmd2
from aae_zoo.zoo.objectives import Batch, reconstruction_loss
from aae_zoo.zoo.objectives.aae import Objective
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.recipe import Recipe, load_recipe, parse_recipe
from aae_zoo.zoo.steps.rates import learning_rate_factor
from aae_zoo.zoo.training import trainer
from aae_zoo.zoo.training.pictures import code_scatter
from aae_zoo.zoo.training.trainer import Trainer, train

AAE_ZOO = Path(sys.executable).with_name("aae-zoo")
PICTURES = ("reconstructions", "samples", "codes", "losses")


def same_weights(a: Path, b: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def log_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("seconds", None)  # the only thing that may differ between two runs of a recipe
    return rows


def test_a_run_holds_everything_it_should(small_run: Path) -> None:
    names = {"recipe.toml", "log.jsonl", "model.safetensors", "resume.pt", "metrics.json", "run.json", MARK}
    assert {p.name for p in small_run.iterdir()} == {*names, "pictures", "tensorboard"}
    pictures = {f"{name}-{epoch:04}.png" for name in PICTURES for epoch in (2, 4)}
    assert {p.name for p in (small_run / "pictures").iterdir()} == pictures
    with safe_open(small_run / "model.safetensors", "pt") as file:
        assert file.metadata()["recipe_sha256"] == load_recipe(str(small_run / "recipe.toml")).sha256
        assert {name.split(".")[0] for name in file.keys()} == {"encoder", "decoder", "discriminator"}  # noqa: SIM118
    facts = json.loads((small_run / "run.json").read_text())
    assert facts["seed"] == 3
    assert facts["processes"] == 1
    assert set(facts["dataset_md5"]) > {"train-images-idx3-ubyte"}


@pytest.mark.parametrize("name", ["$a_$_b", r"$\foo$", "_hidden", "\N{CJK UNIFIED IDEOGRAPH-732B}", "x" * 200])
def test_a_class_may_be_called_anything(name: str) -> None:
    """Beside the plane of codes too, where Matplotlib would read formulas, hide labels and run out of room."""
    z, labels = np.zeros((4, 2), np.float32), np.arange(4) % 2
    drawn, shorter = (code_scatter(z, labels, [each, "b"], z) for each in (name, ""))
    assert drawn.size == shorter.size
    assert drawn.convert("RGB").tobytes() != shorter.convert("RGB").tobytes()


def tensorboard_of(run: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows but the time it took, by name and step, none of which is there twice."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    names = set(events.Tags()["scalars"]) - {"epoch/seconds"}
    shown = {name: {e.step: e.value for e in events.Scalars(name)} for name in names}
    assert all(len(shown[name]) == len(events.Scalars(name)) for name in names)
    return shown


def test_the_log_has_every_loss_and_the_codes_moments(small_run: Path) -> None:
    rows = log_of(small_run)
    steps = [row for row in rows if "validation" not in row]
    epochs = [row for row in rows if "validation" in row]
    assert [row["step"] for row in steps] == list(range(0, 80, 5))
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]
    assert all({"reconstruction", "discriminator", "generator", "rate"} <= set(row) for row in steps)
    assert all({"mse", "mmd2", "code_mean", "code_covariance"} <= set(row["validation"]) for row in epochs)


def test_tensorboard_has_the_logs_numbers_and_the_pictures(small_run: Path) -> None:
    rows, shown = log_of(small_run), tensorboard_of(small_run)
    for name in ("reconstruction", "discriminator", "generator", "rate"):
        assert shown[f"batch/{name}"] == pytest.approx({r["step"]: r[name] for r in rows if "validation" not in r})
    for name in ("mse", "mmd2"):
        logged = {r["step"] - 1: r["validation"][name] for r in rows if "validation" in r}
        assert shown[f"epoch/validation/{name}"] == pytest.approx(logged)
    events = EventAccumulator(str(small_run / "tensorboard")).Reload()
    for name in PICTURES:
        assert [image.step for image in events.Images(name)] == [39, 79]


def test_training_leaves_the_processor_as_it_was(small_run: Path) -> None:
    smallest = torch.tensor([2.0**-126])
    assert float(smallest / 2) > 0, "numbers below the smallest normal one are flushed to zero"


def test_training_makes_the_model_better(small_run: Path) -> None:
    epochs = [row for row in log_of(small_run) if "validation" in row]
    assert epochs[-1]["reconstruction"] < 0.8 * epochs[0]["reconstruction"]
    assert epochs[-1]["validation"]["mse"] < epochs[0]["validation"]["mse"]


def test_the_same_recipe_gives_the_same_weights(
    small_run: Path, small_recipe: Path, small_data: Path, tmp_path: Path
) -> None:
    train(load_recipe(str(small_recipe)), tmp_path / "again", data=small_data)
    assert same_weights(small_run, tmp_path / "again")
    assert log_of(small_run) == log_of(tmp_path / "again")
    train(load_recipe(str(small_recipe), ["training.seed=4"]), tmp_path / "other", data=small_data)
    assert not same_weights(small_run, tmp_path / "other")


def test_a_killed_run_resumes_exactly(small_run: Path, small_recipe: Path, small_data: Path, tmp_path: Path) -> None:
    """Kill -9 as soon as the first checkpoint is there; what --resume makes of it equals a run never stopped."""
    out = tmp_path / "run"
    command: list[str | Path] = [AAE_ZOO, "train", small_recipe, "--data", small_data, "--out", out]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "resume.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "run.json").exists(), "the run had ended before it could be killed"
    assert torch.load(out / "resume.pt", weights_only=True)["epoch"] < 4
    with (out / "log.jsonl").open("a") as stream:
        stream.write('{"step": 999, "of": "an epoch that the kill cut off"}\n')
    with SummaryWriter(str(out / "tensorboard")) as writer:
        writer.add_scalar("batch/reconstruction", 1.0, 79)
    for path in (
        out / "tensorboard"
    ).iterdir():  # TensorBoard reads by the second in the name: let it be an earlier one
        path.rename(path.with_name(path.name.replace("tfevents.", "tfevents.0")))
    train(load_recipe(str(small_recipe)), out, data=small_data, resume=True)
    assert same_weights(small_run, out)
    assert log_of(small_run) == log_of(out)
    assert tensorboard_of(out) == tensorboard_of(small_run)


@pytest.mark.parametrize(
    ("at", "message"),
    [(30, "in epoch 2; all whole epochs are kept .* --resume"), (3, "nothing is kept: .* start again")],
)
def test_ctrl_c_says_how_to_go_on(
    small_run: Path,
    small_recipe: Path,
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    message: str,
) -> None:
    step = Objective.step

    def interrupted(self: Objective, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        calls[id(self)] = calls.get(id(self), 0) + 1
        if len(calls) == 2 and calls[id(self)] == at:  # the first one's steps are timed, and thrown away
            raise KeyboardInterrupt
        return step(self, batch, generator)

    calls: dict[int, int] = {}
    monkeypatch.setattr(Objective, "step", interrupted)
    with pytest.raises(TrainingError, match=message):
        train(load_recipe(str(small_recipe)), tmp_path / "run", data=small_data)
    monkeypatch.setattr(Objective, "step", step)
    train(load_recipe(str(small_recipe)), tmp_path / "run", data=small_data, resume="--resume" in message)
    assert same_weights(tmp_path / "run", small_run)


def test_ctrl_c_after_the_last_epoch_says_how_to_go_on(
    small_run: Path, small_recipe: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "measure", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(Interrupted, match="after the last epoch; all whole epochs are kept .* --resume to go on"):
            train(load_recipe(str(small_recipe)), tmp_path / "run", data=small_data)
    metrics = train(load_recipe(str(small_recipe)), tmp_path / "run", data=small_data, resume=True)
    assert metrics == json.loads((small_run / "metrics.json").read_text())


def test_ctrl_c_as_the_last_epoch_is_measured_names_that_one(
    small_recipe: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "evaluate", mock.Mock(side_effect=KeyboardInterrupt))
    recipe = load_recipe(str(small_recipe), ["training.epochs=1"])
    with pytest.raises(Interrupted, match="in epoch 1; the first epoch was not finished"):
        train(recipe, tmp_path / "run", data=small_data)


def test_a_loss_that_is_no_number_stops_the_run(
    small_recipe: Path, small_data: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "run"
    message = refused("train", small_recipe, "--data", small_data, "--out", out, "--set", "training.learning_rate=1e30")
    assert "loss is" in message
    assert "of epoch 1, expected a finite number" in message
    assert not (out / "model.safetensors").exists()


def test_a_run_is_not_overwritten(small_recipe: Path, small_data: Path, run_folder: Path) -> None:
    before = (run_folder / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="holds a run already; add --resume"):
        train(load_recipe(str(small_recipe)), run_folder, data=small_data)
    assert (run_folder / "model.safetensors").read_bytes() == before


def test_resuming_another_recipe_is_refused(small_recipe: Path, small_data: Path, run_folder: Path) -> None:
    recipe = load_recipe(str(small_recipe), ["training.epochs=5"])
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        train(recipe, run_folder, data=small_data, resume=True)


def test_resuming_with_other_data_is_refused(
    small_recipe: Path, small_data: Path, run_folder: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(small_data, tmp_path / "small"))
    pixels = bytearray((data / "train-images-idx3-ubyte").read_bytes())
    pixels[-1] ^= 1
    (data / "train-images-idx3-ubyte").write_bytes(pixels)
    with pytest.raises(CheckpointError, match="was trained on other data than small is now"):
        train(load_recipe(str(small_recipe)), run_folder, data=data, resume=True)


def test_an_epoch_is_as_many_passes_as_the_recipe_says(small_recipe: Path, small_data: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(small_recipe), ["training.passes=3", "training.batch=100"])
    trainer = Trainer(recipe, load_data(recipe.data, small_data), tmp_path / "run", Processes())
    batches = list(trainer.batches())
    assert len(batches) == 3 * len(trainer.images) // 100
    seen = Counter(image.numpy().tobytes() for batch in batches for image in batch.image)
    once = Counter(image.float().div(255).numpy().tobytes() for image in trainer.images)
    assert all(count <= 3 * once[image] for image, count in seen.items())
    assert all(2 * once[image] <= seen[image] for image in once)  # only the last batch may have been left out


def test_an_epoch_has_as_many_steps_as_the_recipe_says_at_least(
    small_recipe: Path, small_data: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(str(small_recipe), ["training.steps=50", "training.batch=100"])
    trainer = Trainer(recipe, load_data(recipe.data, small_data), tmp_path / "run", Processes())
    batches = list(trainer.batches())
    assert len(batches) == 50 > len(trainer.images) // 100
    assert all(len(batch.image) == 100 for batch in batches)
    seen = Counter(image.numpy().tobytes() for batch in batches for image in batch.image)
    once = Counter(image.float().div(255).numpy().tobytes() for image in trainer.images)
    passes = -(-5000 // len(trainer.images))
    assert all((passes - 1) * once[image] <= seen[image] <= passes * once[image] for image in once)
    many = load_recipe(str(small_recipe), ["training.steps=2", "training.batch=10"]).training
    assert many.steps_per_epoch(1000) == 100


def test_saying_beforehand_how_long_it_takes_changes_nothing(
    small_recipe: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(str(small_recipe), ["training.epochs=1"])
    train(recipe, tmp_path / "said", data=small_data)
    monkeypatch.setattr(Trainer, "_say_beforehand", lambda *_: None)
    train(recipe, tmp_path / "unsaid", data=small_data)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("said", "unsaid"))
    assert first == second


class TestDamagedRuns:
    """What evaluate and export say of a run that is not whole."""

    @pytest.fixture(params=["evaluate", "export"])
    def said(
        self,
        request: pytest.FixtureRequest,
        run_folder: Path,
        small_data: Path,
        refused: Callable[..., str],
        no_leftovers: Path,
    ) -> Iterator[Callable[[], str]]:
        output = ["-o", no_leftovers / "bundle"] if request.param == "export" else []
        yield lambda: refused(request.param, run_folder, "--data", small_data, *output)

    def test_of_another_recipe(self, said: Callable[[], str], run_folder: Path) -> None:
        path = run_folder / "recipe.toml"
        path.write_text(path.read_text().replace("adversarial_weight = 5.0", "adversarial_weight = 6.0"))
        assert "model.safetensors belongs to another recipe" in said()

    def test_no_weights(self, said: Callable[[], str], run_folder: Path) -> None:
        (run_folder / "model.safetensors").unlink()
        assert "model.safetensors is missing or damaged" in said()

    def test_truncated_weights(self, said: Callable[[], str], run_folder: Path) -> None:
        os.truncate(run_folder / "model.safetensors", 5000)
        assert "model.safetensors is missing or damaged" in said()

    def test_no_run(self, said: Callable[[], str], run_folder: Path) -> None:
        shutil.rmtree(run_folder)
        assert "holds no run (no recipe.toml)" in said()

    def test_a_damaged_recipe(self, said: Callable[[], str], run_folder: Path) -> None:
        (run_folder / "recipe.toml").write_text('name = "small"')
        assert "the run's recipe is damaged" in said()


def test_an_unfinished_run_is_not_exported(
    run_folder: Path, small_data: Path, refused: Callable[..., str], no_leftovers: Path
) -> None:
    (run_folder / "run.json").unlink()
    message = refused("export", run_folder, "--data", small_data, "-o", no_leftovers / "bundle")
    assert "run.json is missing or damaged" in message
    assert "--resume" in message


def test_a_truncated_resume_file(small_recipe: Path, small_data: Path, run_folder: Path) -> None:
    os.truncate(run_folder / "resume.pt", 3000)
    with pytest.raises(CheckpointError, match=r"resume\.pt is missing or damaged"):
        train(load_recipe(str(small_recipe)), run_folder, data=small_data, resume=True)


def test_a_run_folder_that_cannot_be_written(small_recipe: Path, small_data: Path, refused: Callable[..., str]) -> None:
    assert "cannot write /proc/run" in refused("train", small_recipe, "--data", small_data, "--out", "/proc/run")


def test_a_resumed_run_names_the_command_that_trains_it_whole(
    small_recipe: Path, small_data: Path, run_folder: Path, aae_zoo: AaeZoo
) -> None:
    (run_folder / "run.json").unlink()
    assert aae_zoo("train", small_recipe, "--data", small_data, "--out", run_folder, "--resume").status == 0
    assert json.loads((run_folder / "run.json").read_text())["command"] == "aae-zoo train recipe.toml"
    assert load_recipe("mnist-plane").command == "aae-zoo train mnist-plane"
    assert load_recipe("mnist-plane", ["training.epochs=1"]).command == "aae-zoo train recipe.toml"


def test_little_that_is_left_to_learn_from_is_warned_of(
    small_recipe: Path, small_data: Path, tmp_path: Path, aae_zoo: AaeZoo
) -> None:
    """As of a recipe that keeps ten thousand of MNIST, with a folder of twelve thousand pictures."""
    line = ["train", small_recipe, "--data", small_data, "--set", "training.epochs=1"]
    few = "warning: 1,000 of 1,200 training images are for validation, and 200 to learn from; "
    for validation, said in ((1000, True), (600, False)):
        done = aae_zoo(*line, "--out", tmp_path / str(validation), "--set", f"data.validation={validation}")
        assert done.status == 0
        assert (few in done.err) is said


def test_too_little_data_for_a_batch(
    small_recipe: Path, small_data: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    message = refused(
        "train", small_recipe, "--data", small_data, "--out", tmp_path / "x", "--set", "data.validation=1190"
    )
    assert "has 1200 training images, of which 1190 are for validation: too few for a batch of 50" in message


def test_too_few_images_to_measure_the_model_on(small_recipe: Path, small_data: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(small_recipe))
    data = load_data(recipe.data, small_data)
    data = replace(data, test_images=data.test_images[:1], test_labels=data.test_labels[:1])
    with pytest.raises(TrainingError, match="has 1 test image, expected 2 or more to measure the model on"):
        train(recipe, tmp_path / "run", data=data)


def test_evaluate_repeats_the_runs_metrics(small_run: Path, small_data: Path, aae_zoo: AaeZoo) -> None:
    result = aae_zoo("evaluate", small_run, "--data", small_data, "--json")
    assert json.loads(result.out) == json.loads((small_run / "metrics.json").read_text())


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [learning_rate_factor(step, 100, 0.1) for step in range(100)]
    assert rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_reconstruction_losses_are_sums_over_pixels() -> None:
    logits, image = torch.randn(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    p = logits.sigmoid()
    squared = ((p - image) ** 2).sum() / 3
    entropy = -(image * p.log() + (1 - image) * (1 - p).log()).sum() / 3
    assert torch.allclose(reconstruction_loss(logits, image, "mse"), squared)
    assert torch.allclose(reconstruction_loss(logits, image, "bce"), entropy)


class TestObjective:
    """One step of the adversarial autoencoder moves each network by its own loss only."""

    @pytest.fixture
    def objective(self, small_recipe: Path) -> Objective:
        torch.manual_seed(0)
        objective = build(load_recipe(str(small_recipe)), (1, 14, 14))[1]
        assert isinstance(objective, Objective)
        return objective

    def test_every_network_learns(self, objective: Objective) -> None:
        before = {name: p.clone() for name, p in objective.named_parameters()}
        losses = objective.step(batch_of(torch.rand(50, 1, 14, 14)), torch.Generator().manual_seed(0))
        assert set(losses) == {"reconstruction", "discriminator", "generator"}
        assert all(not torch.equal(p, before[name]) for name, p in objective.named_parameters())

    def test_no_gradient_leaks_from_one_phase_into_another(self, objective: Objective) -> None:
        """The discriminator's update is that of its own loss, whatever the autoencoder's weight is."""
        other = build(recipe_with(adversarial_weight=500.0), (1, 14, 14))[1]
        other.load_state_dict(objective.state_dict())
        x = torch.rand(50, 1, 14, 14)
        for each in (objective, other):
            torch.manual_seed(1)  # dropout
            each.step(batch_of(x), torch.Generator().manual_seed(0))
        mine, theirs = (dict(o.named_parameters()) for o in (objective, other))
        discriminator = [name for name in mine if name.startswith("discriminator")]
        assert all(torch.equal(mine[name], theirs[name]) for name in discriminator)
        assert not torch.equal(mine["encoder.layers.0.weight"], theirs["encoder.layers.0.weight"])

    def test_the_discriminator_learns_to_tell_codes_from_the_prior(self, objective: Objective) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(50, 1, 14, 14)
        first = float(objective.step(batch_of(x), generator)["discriminator"])
        for optimiser in objective.optimisers["autoencoder"].param_groups:
            optimiser["lr"] = 0.0
        for _ in range(100):
            last = float(objective.step(batch_of(x), generator)["discriminator"])
        assert last < 0.6 * first


def recipe_with(**objective: float) -> Recipe:
    document = tomllib.loads(RECIPE)
    document["objective"].update(objective)
    return parse_recipe(document, "small.toml")


class TestMmd:
    """The estimator of how well codes match the prior: unbiased, and large for what differs."""

    def test_it_is_about_zero_for_two_samples_of_one_distribution(self) -> None:
        generator = torch.Generator().manual_seed(0)
        pairs = [torch.randn(2, 500, 2, generator=generator) for _ in range(40)]
        values = [float(mmd2(a, b, 1.0)) for a, b in pairs]
        assert abs(sum(values) / 40) < 0.002
        assert min(values) < 0 < max(values)  # unbiased: both signs occur

    def test_it_grows_with_the_distance(self) -> None:
        a, b = torch.randn(2, 500, 2, generator=torch.Generator().manual_seed(0))
        near, far = mmd2(a, b + 0.3, 1.0), mmd2(a, b + 1.0, 1.0)
        assert 0.02 < near < far

    def test_it_does_not_depend_on_the_unit(self) -> None:
        a, b = torch.randn(2, 500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert float(mmd2(a, b + 1, 1.0)) == pytest.approx(float(mmd2(5 * a, 5 * b + 5, 25.0)))

    def test_it_is_the_definition(self) -> None:
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(n, 2, generator=generator, dtype=torch.float64) for n in (4, 3))

        def k(x: torch.Tensor, y: torch.Tensor) -> float:
            c = [2 * 2 * 1.5 * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
            return sum(v / (v + float(((x - y) ** 2).sum())) for v in c)

        aa = sum(k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j) / (4 * 3)
        bb = sum(k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j) / (3 * 2)
        ab = sum(k(x, y) for x in a for y in b) / (4 * 3)
        assert float(mmd2(a, b, 1.5)) == pytest.approx(aa + bb - 2 * ab)
