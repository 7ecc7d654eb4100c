"""Training: setup -> fit -> evaluate -> save."""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from tqdm import tqdm

from aae_zoo.runtime.errors import CheckpointError, OutputError, TrainingError
from aae_zoo.runtime.files import atomic_file, output_errors
from aae_zoo.runtime.noise import percentile_grid
from aae_zoo.runtime.pictures import grid
from aae_zoo.runtime.session import available_cpus
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data import Dataset, load_data, to_float
from aae_zoo.zoo.labels import known_labels
from aae_zoo.zoo.metrics import evaluate, measure
from aae_zoo.zoo.objectives import BaseObjective, Batch
from aae_zoo.zoo.parts import load_part
from aae_zoo.zoo.provenance import environment
from aae_zoo.zoo.recipe import Recipe, TrainingSettings
from aae_zoo.zoo.run import Run

_FITTED: Final = 10_000


def train(recipe: Recipe, out: Path, *, data: Path | None = None, resume: bool = False) -> dict[str, Any]:
    """Train a recipe into the run folder `out`; the metrics on the test set.

    On one machine, with the same versions and number of threads, the same recipe gives the same weights, whether
    or not the run was interrupted and resumed.

    Raises:
        DatasetError: the data set is missing or damaged.
        CheckpointError: `resume` finds no checkpoint, or one of another recipe.
        OutputError: `out` holds a run already and `resume` is false, or it cannot be written.
        TrainingError: a loss is no longer a finite number, or the process was interrupted.
    """
    trainer = Trainer(recipe, load_data(recipe.data, data), out)
    trainer.setup(resume=resume)
    trainer.fit()
    metrics = trainer.evaluate()
    trainer.save(metrics)
    return metrics


def evaluate_run(folder: Path, *, data: Path | None = None) -> dict[str, Any]:
    """The metrics of a run's weights on the test set.

    Raises:
        CheckpointError: the run is missing, damaged or of another recipe.
        DatasetError: the data set is missing or damaged.
    """
    run = Run.open(folder)
    dataset = load_data(run.recipe.data, data)
    model, _ = load_model(run, dataset.image_shape)
    return measure(model, dataset, run.recipe)


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """What the learning rates are multiplied by at a step: linear warm-up, then half a cosine down to zero."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def load_model(run: Run, image: tuple[int, int, int]) -> tuple[Autoencoder, BaseObjective]:
    """A run's model and objective with its weights, in evaluation mode.

    Raises:
        CheckpointError: the weights are missing, damaged, of another recipe or of another shape.
    """
    model, objective = build(run.recipe, image)
    try:
        objective.load_state_dict(run.load_weights())
    except RuntimeError as error:
        raise CheckpointError(f"{run.weights} does not fit {run.recipe.name} on images {image}: {error}") from None
    objective.eval()
    return model, objective


def build(recipe: Recipe, image: tuple[int, int, int]) -> tuple[Autoencoder, BaseObjective]:
    """The model and the objective that a recipe describes, freshly initialised, for images (C, H, W)."""
    part = load_part("objectives", recipe.objective.kind)
    model = Autoencoder(
        recipe,
        image,
        lambda prior: part.Objective.heads(recipe.objective, prior),
        noisy=part.Objective.noisy(recipe.objective),
    )
    objective: BaseObjective = part.Objective(recipe.objective, model, recipe.training.learning_rate)
    return model, objective


class Trainer:
    """One run of training: model, data, random state, log and pictures."""

    def __init__(self, recipe: Recipe, dataset: Dataset, out: Path) -> None:
        self.run = Run(out, recipe)
        self.settings: TrainingSettings = recipe.training
        self.dataset = dataset
        kept = recipe.data.validation_count(len(dataset.train_images))
        if len(dataset.train_images) - kept < self.settings.batch:
            raise TrainingError(
                f"{dataset.name} has {len(dataset.train_images)} training images, of which {kept} are for validation: "
                f"too few for a batch of {self.settings.batch}; set data.validation or training.batch lower"
            )
        self.images = dataset.train_images[:-kept]
        self.validation = dataset.train_images[-kept:]
        self.known = known_labels(dataset, recipe)
        self.labels = torch.full((len(self.images),), -1)
        self.labels[self.known] = dataset.train_labels[self.known]
        self.epoch = 0
        self.seconds = 0.0

    def setup(self, *, resume: bool) -> None:
        """Build the networks from the seed, and make the run folder or continue the one that is there."""
        torch.set_num_threads(available_cpus())
        self.environment = environment(torch.get_num_threads())  # now: the checkout may change while this runs
        torch.manual_seed(self.settings.seed)
        self.generator = torch.Generator().manual_seed(self.settings.seed)
        self.model, self.objective = build(self.run.recipe, self.dataset.image_shape)
        self.base_rates = [g["lr"] for o in self.objective.optimisers.values() for g in o.param_groups]
        self.steps_per_epoch = len(self.images) // self.settings.batch
        if resume:
            self._restore(self.run.load_state())
        elif self.run.state.exists():
            raise OutputError(f"{self.run.folder} holds a run already; add --resume to go on, or give another --out")
        else:
            self.run.create()
            with output_errors(self.run.log):
                self.run.log.write_text("")

    def fit(self) -> None:
        """Train to the last epoch, with a progress bar on stderr and a checkpoint after every epoch."""
        total = self.settings.epochs * self.steps_per_epoch
        hidden = not sys.stderr.isatty()
        with tqdm(total=total, initial=self._step, unit="step", desc=self.run.recipe.name, disable=hidden) as bar:
            torch.set_flush_denormal(True)  # dead units' vanishing gradients would slow every product on some CPUs
            try:
                while self.epoch < self.settings.epochs:
                    started = time.perf_counter()
                    losses = self._epoch(bar)
                    self.epoch += 1
                    self._fit_prior()
                    validation = evaluate(self.model, self.validation, draws=2)
                    self.seconds += time.perf_counter() - started
                    self._report(losses, validation, bar)
                    self._checkpoint()
            except KeyboardInterrupt:
                raise TrainingError(f"interrupted in epoch {self.epoch + 1}; {self._how_to_go_on()}") from None
            finally:
                torch.set_flush_denormal(False)  # the whole process would keep it

    def evaluate(self) -> dict[str, Any]:
        """The metrics on the test set."""
        return measure(self.model, self.dataset, self.run.recipe)

    def save(self, metrics: dict[str, Any]) -> None:
        """Write the metrics and where they came from: the run is complete."""
        self.run.write_json("metrics.json", metrics)
        if 0 < len(self.known) < len(self.images):
            self.run.write_json("labels.json", {"training_images_with_known_labels": self.known.tolist()})
        facts = {
            "command": self.run.recipe.command,
            "seed": self.settings.seed,
            "training_seconds": round(self.seconds, 1),
            "dataset_md5": self.dataset.md5s,
            **self.environment,
        }
        self.run.write_json("run.json", facts)

    def _how_to_go_on(self) -> str:
        if self.run.state.exists():
            return f"all whole epochs are kept in {self.run.folder}: give the same command with --resume to go on"
        return "the first epoch was not whole, so nothing is kept: give the same command to start again"

    @property
    def _step(self) -> int:
        return self.epoch * self.steps_per_epoch

    def _epoch(self, bar: "tqdm[Any]") -> dict[str, float]:
        """One pass over the training images; the mean of each loss."""
        self.objective.train()
        totals: dict[str, float] = {}
        for number, batch in enumerate(self.batches()):
            step = self._step + number
            rate = self._set_rates(step)
            losses = {name: float(loss) for name, loss in self.objective.step(batch, self.generator).items()}
            self._check_finite(losses, step)
            if step % self.settings.log_every == 0:
                self._log({"step": step, "epoch": self.epoch, "rate": rate, **losses})
            totals = {name: totals.get(name, 0.0) + loss for name, loss in losses.items()}
            bar.update()
        return {name: total / self.steps_per_epoch for name, total in totals.items()}

    def batches(self) -> Iterator[Batch]:
        """Whole batches in random order: look-ups in one tensor in memory."""
        order = torch.randperm(len(self.images), generator=self.generator)
        for number in range(self.steps_per_epoch):
            some = order[number * self.settings.batch :][: self.settings.batch]
            known = self.known[:0]
            if 0 < len(self.known) < len(self.images):
                chosen = torch.randint(len(self.known), (self.settings.labelled_batch,), generator=self.generator)
                known = self.known[chosen]
            yield Batch(*self._look_up(some), *self._look_up(known))

    def _look_up(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return to_float(self.images[indices]), self.labels[indices]

    def _fit_prior(self) -> None:
        """Fit the prior, where it is one that is fitted, to the codes of some training images."""
        if self.model.prior.fitted:
            self.model.eval()
            with torch.no_grad():
                codes = [self.model.encode(to_float(part))["z"] for part in self.images[:_FITTED].split(1000)]
            self.model.prior.fit(torch.cat(codes), self.settings.seed)

    def _set_rates(self, step: int) -> float:
        factor = learning_rate_factor(step, self.settings.epochs * self.steps_per_epoch, self.settings.warmup)
        groups = [g for o in self.objective.optimisers.values() for g in o.param_groups]
        for group, base in zip(groups, self.base_rates, strict=True):
            group["lr"] = base * factor
        return factor

    def _check_finite(self, losses: dict[str, float], step: int) -> None:
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the {name} loss is {loss} at step {step} of epoch {self.epoch + 1}, expected a finite number; "
                    f"the last good checkpoint is kept in {self.run.folder}: lower training.learning_rate"
                )

    def _report(self, losses: dict[str, float], validation: dict[str, Any], bar: "tqdm[Any]") -> None:
        """Log the epoch: the mean losses, and how far the validation codes and images are from where they should be."""
        self._log(
            {"step": self._step, "epoch": self.epoch, "seconds": self.seconds, **losses, "validation": validation}
        )
        if self.epoch % self.settings.pictures_every == 0 or self.epoch == self.settings.epochs:
            self._draw()
        means = "  ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
        line = f"epoch {self.epoch}/{self.settings.epochs}  {self.seconds:.0f} s  {means}"
        bar.write(f"{line}  validation mse {validation['mse']:.5f} mmd2 {validation['mmd2']:.4f}", file=sys.stderr)

    def _log(self, row: dict[str, Any]) -> None:
        with output_errors(self.run.log), self.run.log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    @torch.no_grad()
    def _draw(self) -> None:
        """Pictures of the epoch: validation images above their reconstructions, and samples of the prior."""
        x = to_float(self.validation[:10])
        again = self.model.logits(self.model.encode(x)).sigmoid()
        if self.model.prior.noise == 2:
            codes = self.model.prior(torch.from_numpy(percentile_grid(16)))
        else:
            codes = self.model.prior.draw(64, torch.Generator().manual_seed(0))
        samples = self.model.logits(codes).sigmoid()
        for name, picture in (
            ("reconstructions", grid(torch.cat([x, again]).numpy(), len(x))),
            ("samples", grid(samples.numpy())),
        ):
            with atomic_file(self.run.pictures / f"{name}-{self.epoch:04}.png") as temporary:
                picture.save(temporary)

    def _checkpoint(self) -> None:
        """Write the weights, and everything that an exact continuation needs."""
        self.run.save_weights(self.objective.state_dict(), epoch=self.epoch, step=self._step)
        self.run.save_state(
            {
                "epoch": self.epoch,
                "seconds": self.seconds,
                "log_bytes": self.run.log.stat().st_size,
                "weights": self.objective.state_dict(),
                "optimisers": {name: o.state_dict() for name, o in self.objective.optimisers.items()},
                "generator": self.generator.get_state(),
                "torch": torch.get_rng_state(),
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.objective.load_state_dict(state["weights"])
        for name, optimiser in self.objective.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        with output_errors(self.run.log), self.run.log.open("ab") as stream:
            stream.truncate(state["log_bytes"])  # rows of an epoch that will be trained again
