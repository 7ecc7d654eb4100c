"""Training: setup -> fit -> evaluate -> save."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from tqdm import tqdm

from aae_zoo.runtime.errors import CheckpointError, Interrupted, TrainingError
from aae_zoo.runtime.session import available_cpus
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data import Dataset, load_data, to_float
from aae_zoo.zoo.labels import known_labels
from aae_zoo.zoo.log import Log
from aae_zoo.zoo.memory import keep_memory
from aae_zoo.zoo.metrics import evaluate, measure
from aae_zoo.zoo.objectives import BaseObjective, Batch
from aae_zoo.zoo.parts import load_part
from aae_zoo.zoo.pictures import loss_curves, model_pictures
from aae_zoo.zoo.processes import Processes, leave
from aae_zoo.zoo.provenance import environment
from aae_zoo.zoo.recipe import Recipe, TrainingSettings
from aae_zoo.zoo.run import LABELS, Run

_FITTED: Final = 10_000


def train(recipe: Recipe, out: Path, *, data: Path | None = None, resume: bool = False) -> dict[str, Any] | None:
    """Train a recipe into the run folder `out`; the metrics on the test set.

    On one machine, with the same versions and numbers of threads and processes, the same recipe gives the same
    weights, whether or not the run was interrupted and resumed. Of several processes only the main one has metrics,
    and writes and prints; the others give None.

    Raises:
        DatasetError: the data set is missing or damaged.
        CheckpointError: `resume` finds no checkpoint, or one of another recipe or another number of processes.
        OutputError: `resume` is false and `out` holds a run already, or anything that is no run's; or it cannot be
            written.
        TrainingError: a loss is no longer a finite number, the process was interrupted, another one has ended, or a
            batch cannot be shared evenly.
    """
    processes = Processes()
    dataset = _load_once(recipe, data, processes)
    with processes.agree():
        trainer = Trainer(recipe, dataset, out, processes)
        state = trainer.setup(resume=resume)
    trainer.restore(processes.from_main(state))
    trainer.fit()
    processes.part()
    if not processes.main:
        return None
    metrics = trainer.evaluate()
    trainer.save(metrics)
    return metrics


def _load_once(recipe: Recipe, data: Path | None, processes: Processes) -> Dataset:
    """The data set, which the first process of a machine may have to download before the others load it."""
    with processes.agree():
        if processes.first_of_machine:
            dataset = load_data(recipe.data, data)
    with processes.agree():
        if not processes.first_of_machine:
            dataset = load_data(recipe.data, data)
    return dataset


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
    """One run of training, or one process's part of it: model, data, random state, log and pictures."""

    log: Log  # the main process's

    def __init__(self, recipe: Recipe, dataset: Dataset, out: Path, processes: Processes) -> None:
        self.run = Run(out, recipe)
        self.settings: TrainingSettings = recipe.training
        self.dataset = dataset
        self.processes = processes
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
        self._check_shares()

    def _check_shares(self) -> None:
        """Gradients are averaged over the processes, so that each has to have as many images as every other."""
        labelled = self.settings.labelled_batch if self._some_known else 0
        sizes = {"batch": self.settings.batch, "labelled_batch": labelled}
        for name, size in sizes.items():
            if size % self.processes.count:
                raise TrainingError(
                    f"training.{name} is {size}, expected a multiple of the {self.processes.count} processes; "
                    f"give another --num_processes, or --set training.{name}"
                )

    def setup(self, *, resume: bool) -> dict[str, Any]:
        """Build the networks from the seed, and make the run folder or continue the one that is there.

        What the main process gives is to be restored by all.
        """
        keep_memory()
        torch.set_num_threads(max(1, available_cpus() // self.processes.of_machine))
        self.environment = environment(torch.get_num_threads())  # now: the checkout may change while this runs
        torch.manual_seed(self.settings.seed)
        self.order = torch.Generator().manual_seed(self.settings.seed)
        self.model, self.objective = build(self.run.recipe, self.dataset.image_shape)
        self.objective.to(self.processes.device)
        self.base_rates = [g["lr"] for o in self.objective.optimisers.values() for g in o.param_groups]
        self.steps_per_epoch = len(self.images) // self.settings.batch
        self.noise = self._own_noise()
        return self._start(resume=resume) if self.processes.main else {}

    def _own_noise(self) -> torch.Generator:
        """The noise of this process: where it is alone on a CPU, from the generator that shuffles."""
        if self.processes.count == 1 and self.processes.device.type == "cpu":
            return self.order
        seed = self.processes.seed(self.settings.seed)
        torch.manual_seed(seed)  # dropout's
        return torch.Generator(self.processes.device).manual_seed(seed)

    def _start(self, *, resume: bool) -> dict[str, Any]:
        """What all processes start from: a checkpoint's state, or in a new run folder the weights alone."""
        if resume:
            state = self.run.load_state()
            if len(state["random"]) != self.processes.count:
                raise CheckpointError(
                    f"{self.run.state} was written by {len(state['random'])} processes, found {self.processes.count}: "
                    "give the --num_processes it was trained with, or train into a new folder"
                )
        else:
            self.run.create()
            weights = {name: values.cpu() for name, values in self.objective.state_dict().items()}
            state = {"epoch": 0, "log_bytes": 0, "weights": weights}
        self.log = Log(self.run, step=state["epoch"] * self.steps_per_epoch, size=state["log_bytes"])
        return state

    def fit(self) -> None:
        """Train to the last epoch, with a progress bar on stderr and a checkpoint after every epoch."""
        total = self.settings.epochs * self.steps_per_epoch
        hidden = not sys.stderr.isatty() or not self.processes.main
        with tqdm(total=total, initial=self._step, unit="step", desc=self.run.recipe.name, disable=hidden) as bar:
            torch.set_flush_denormal(True)  # dead units' vanishing gradients would slow every product on some CPUs
            try:
                while self.epoch < self.settings.epochs:
                    started = time.perf_counter()
                    losses = self._epoch(bar)
                    self.epoch += 1
                    random = self.processes.gather(self._random_state())
                    with self.processes.agree():
                        if self.processes.main:
                            self._end_epoch(losses, random, started, bar)
            except KeyboardInterrupt:
                leave(Interrupted(f"interrupted in epoch {self.epoch + 1}; {self._how_to_go_on()}"))
            finally:
                torch.set_flush_denormal(False)  # the whole process would keep it
                if self.processes.main:
                    self.log.close()

    def evaluate(self) -> dict[str, Any]:
        """The metrics on the test set."""
        self.objective.to("cpu")
        return measure(self.model, self.dataset, self.run.recipe)

    def save(self, metrics: dict[str, Any]) -> None:
        """Write the metrics and where they came from: the run is complete."""
        self.run.write_json("metrics.json", metrics)
        if self._some_known:
            self.run.write_json(LABELS, {"training_images_with_known_labels": self.known.tolist()})
        facts = {
            "command": self.processes.command(self.run.recipe.command),
            "seed": self.settings.seed,
            "training_seconds": round(self.seconds, 1),
            "dataset_md5": self.dataset.md5s,
            **self.environment,
            "processes": self.processes.count,
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
        """One pass over the training images; the mean of each loss over steps and processes."""
        self.objective.train()
        totals: dict[str, float] = {}
        for number, batch in enumerate(self.batches()):
            step = self._step + number
            rate = self._set_rates(step)
            own = {name: float(loss) for name, loss in self.objective.step(batch, self.noise).items()}
            losses = self.processes.mean(own)
            self._check_finite(losses, step)
            if self.processes.main and step % self.settings.log_every == 0:
                self.log.batch({"step": step, "epoch": self.epoch, "rate": rate, **losses})
            totals = {name: totals.get(name, 0.0) + loss for name, loss in losses.items()}
            bar.update()
        return {name: total / self.steps_per_epoch for name, total in totals.items()}

    def batches(self) -> Iterator[Batch]:
        """This process's shares of whole batches in random order: look-ups in one tensor in memory."""
        order = torch.randperm(len(self.images), generator=self.order)
        for number in range(self.steps_per_epoch):
            some = order[number * self.settings.batch :][: self.settings.batch]
            known = self.known[:0]
            if self._some_known:
                chosen = torch.randint(len(self.known), (self.settings.labelled_batch,), generator=self.order)
                known = self.known[chosen]
            yield Batch(*self._look_up(some), *self._look_up(known))

    def _look_up(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        own, device = self.processes.share(indices), self.processes.device
        return to_float(self.images[own].to(device)), self.labels[own].to(device)

    @property
    def _some_known(self) -> bool:
        """Whether training may know some labels, but not all."""
        return 0 < len(self.known) < len(self.images)

    def _end_epoch(
        self, losses: dict[str, float], random: list[dict[str, Tensor]], started: float, bar: "tqdm[Any]"
    ) -> None:
        """What the main process does after an epoch: measure, report, draw and keep; all of it on the CPU."""
        with self._on_cpu():
            self._fit_prior()
            validation = evaluate(self.model, self.validation, draws=2)
            self.seconds += time.perf_counter() - started
            self._report(losses, validation, bar)
            self._checkpoint(random)

    @contextmanager
    def _on_cpu(self) -> Iterator[None]:
        self.objective.to("cpu")
        try:
            yield
        finally:
            self.objective.to(self.processes.device)

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
                message = (
                    f"the {name} loss is {loss} at step {step} of epoch {self.epoch + 1}, expected a finite number; "
                    f"the last good checkpoint is kept in {self.run.folder}: lower training.learning_rate"
                )
                leave(TrainingError(message))

    def _report(self, losses: dict[str, float], validation: dict[str, Any], bar: "tqdm[Any]") -> None:
        """Log the epoch: the mean losses, and how far the validation codes and images are from where they should be."""
        self.log.epoch(
            {"step": self._step, "epoch": self.epoch, "seconds": self.seconds, **losses, "validation": validation}
        )
        if self.epoch % self.settings.pictures_every == 0 or self.epoch == self.settings.epochs:
            self._draw()
        self.log.flush()
        means = "  ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
        line = f"epoch {self.epoch}/{self.settings.epochs}  {self.seconds:.0f} s  {means}"
        bar.write(f"{line}  validation mse {validation['mse']:.5f} mmd2 {validation['mmd2']:.4f}", file=sys.stderr)

    def _draw(self) -> None:
        """Pictures of the epoch, those of images and codes from validation images."""
        labels = self.dataset.train_labels[len(self.images) :]
        pictures = dict(model_pictures(self.model, self.validation, labels, self.dataset.label_names))
        for name, picture in {**pictures, "losses": loss_curves(self.log.rows())}.items():
            self.log.picture(name, picture, epoch=self.epoch, step=self._step)

    def _checkpoint(self, random: list[dict[str, Tensor]]) -> None:
        """Write the weights, and everything that an exact continuation needs."""
        self.run.save_weights(self.objective.state_dict(), epoch=self.epoch, step=self._step)
        self.run.save_state(
            {
                "epoch": self.epoch,
                "seconds": self.seconds,
                "log_bytes": self.log.size,
                "weights": self.objective.state_dict(),
                "optimisers": {name: o.state_dict() for name, o in self.objective.optimisers.items()},
                "order": self.order.get_state(),
                "random": random,
            }
        )

    def _random_state(self) -> dict[str, Tensor]:
        """The state of this process's own noise: what objectives draw, and dropout."""
        state = {"noise": self.noise.get_state(), "torch": torch.get_rng_state()}
        if self.processes.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.processes.device)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Take on the state that the main process has found."""
        self.objective.load_state_dict(state["weights"])
        if not state["epoch"]:
            return
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        for name, optimiser in self.objective.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        random = state["random"][self.processes.index]
        self.order.set_state(state["order"])
        self.noise.set_state(random["noise"])
        torch.set_rng_state(random["torch"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.processes.device)
