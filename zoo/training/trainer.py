"""Training, in the order in which it runs: start, epochs of steps, finish."""

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from tqdm import tqdm

from aae_zoo.runtime.engine.cpus import available_cpus
from aae_zoo.runtime.errors import CheckpointError, Interrupted, TrainingError
from aae_zoo.runtime.store.pull import pull
from aae_zoo.runtime.words import agreeing, counted
from aae_zoo.zoo.bars import bar
from aae_zoo.zoo.build import build
from aae_zoo.zoo.bundled.networks import load_networks
from aae_zoo.zoo.bundled.start import begin_with
from aae_zoo.zoo.conditions import check_attributes, check_classes, check_enough, check_shares
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.data.known_labels import known_labels
from aae_zoo.zoo.data.loading import load_data, with_attributes
from aae_zoo.zoo.estimate import estimate
from aae_zoo.zoo.measure.measured import Networks
from aae_zoo.zoo.measure.metrics import evaluate, measure
from aae_zoo.zoo.objectives import Batch
from aae_zoo.zoo.processes import Processes, leave
from aae_zoo.zoo.recipe import Recipe
from aae_zoo.zoo.steps.card import CardSteps
from aae_zoo.zoo.steps.convolutions import full_precision, repeatable
from aae_zoo.zoo.steps.examples import Examples, placed
from aae_zoo.zoo.steps.losses import Losses
from aae_zoo.zoo.steps.rates import Rates
from aae_zoo.zoo.training.checkpoint import Checkpoint
from aae_zoo.zoo.training.log import Log, NoLog
from aae_zoo.zoo.training.memory import keep_memory
from aae_zoo.zoo.training.pictures import loss_curves, model_pictures
from aae_zoo.zoo.training.provenance import environment
from aae_zoo.zoo.training.run import LABELS, Run, load_model
from aae_zoo.zoo.training.trackers import check_tracker

_FITTED: Final = 10_000


def train(
    recipe: Recipe,
    out: Path,
    *,
    data: Path | Dataset | None = None,
    resume: bool = False,
    threads: int | None = None,
    tracker: str = "tensorboard",
    begin: str | None = None,
) -> dict[str, Any] | None:
    """Train a recipe into the run folder `out`; the metrics on the test set.

    On one machine, with the same versions and numbers of threads and processes, the same recipe gives the same
    weights, whether or not the run was interrupted and resumed. `threads` are those of one operator in each process, by
    default $OMP_NUM_THREADS or a share of the CPUs that this process may use. `data` is the data set's folder, or
    the data set itself. `tracker`, one of `TRACKERS`, shows losses, metrics and pictures meanwhile. `begin` names a
    model, as for `load_networks`, whose layers training begins with, as many as fit. Of several processes only the
    main one has metrics, and writes and prints; the others give None.

    Raises:
        InvalidInput, MissingBackend: there is no such tracker, or it is not installed.
        DatasetError: the data set is missing or damaged.
        CheckpointError: `resume` finds no checkpoint, or one of another recipe, other data, another number of processes
            or another beginning.
        InvalidInput, ModelNotFound, InvalidBundle, HubError: there is no model `begin`, it is damaged, or does not fit.
        OutputError: `out` holds a run already and `resume` is false, another process trains into it, or it cannot be
            written.
        TrainingError: a loss is no longer a finite number, the process was interrupted, another one has ended, a batch
            cannot be shared evenly, or the tracker cannot be started.
    """
    processes = Processes()
    with processes.agree():
        check_tracker(tracker)
    folder, dataset = (None, data) if isinstance(data, Dataset) else (data, _load_once(recipe, data, processes))
    with ExitStack() as stack:
        with processes.agree():
            trainer = Trainer(recipe, dataset, out, processes, data=folder, threads=threads, begin=begin)
            if processes.main:
                stack.enter_context(trainer.run.alone())
        trainer.start(resume=resume, tracker=tracker)
        with repeatable():
            trainer.fit()
            return trainer.finish()


def _load_once(recipe: Recipe, data: Path | None, processes: Processes) -> Dataset:
    """The data set, which the first process of a machine may have to download before the others load it."""
    with processes.agree():
        if processes.first_of_machine:
            dataset = load_data(recipe.data, data)
    with processes.agree():
        if not processes.first_of_machine:
            dataset = load_data(recipe.data, data)
    return dataset


class Trainer:
    """One run of training, or one process's part of it. The methods stand in the order in which they run.

    `images` are the training images, uint8 [n, C, H, W], and `labels` int64 [n], -1 where training may not know them;
    `known` are the indices of those that it may. `validation` are the images kept for validation. `data` is the folder
    that the data set was read from, where one was given, `threads` and `begin` as in `train`.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        out: Path,
        processes: Processes,
        *,
        data: Path | None = None,
        threads: int | None = None,
        begin: str | None = None,
    ) -> None:
        recipe = recipe.for_classes(len(dataset.label_names))
        self.run = Run(out, recipe)
        self.settings = recipe.training
        self.dataset = with_attributes(dataset, recipe.data)
        self.data = data
        self.begin = begin
        self.began_with: dict[str, Any] | None = None
        self.processes = processes
        self.log: Log | NoLog = NoLog()
        self.epoch = 0  # how many are whole
        self.step = 0  # the next one
        self.seconds = 0.0
        self._said = False

        self._take_data(recipe)
        check_shares(self.settings, self.processes.count, some_known=self.some_known)

        # This process's part of the machine.
        keep_memory()
        torch.set_num_threads(threads or usual_threads(processes))
        self.environment = environment(torch.get_num_threads())  # now: the checkout may change while this runs

        self._make_networks(recipe)
        self.losses = Losses()
        # Reading them waits for a card, which is then done only for what is logged; on a CPU they are there.
        self.read_every = self.settings.log_every if processes.device.type == "cuda" else 1
        self.card: CardSteps | None = None
        self.checkpoint = Checkpoint(self.run, self.objective, self.order, self.noise, processes)

    def _take_data(self, recipe: Recipe) -> None:
        """The last training images are for validation, and of the others some labels may be known."""
        dataset = self.dataset
        kept = recipe.data.validation_count(len(dataset.train_images))
        check_enough(dataset, self.settings, kept)
        self.known = known_labels(dataset, recipe)
        self.labels = torch.full((len(dataset.train_images) - kept,), -1)
        self.labels[self.known] = dataset.train_labels[self.known]
        self.some_known = 0 < len(self.known) < len(self.labels)
        self.dataset = dataset = placed(dataset, self.processes.device)
        self.images, self.validation = dataset.train_images[:-kept], dataset.train_images[-kept:]
        told = dataset.train_attributes if recipe.data.attributes else None
        self.examples = Examples(self.images, self.labels.to(self.images.device), told)
        self.steps_per_epoch = self.settings.steps_per_epoch(len(self.images))

    def _make_networks(self, recipe: Recipe) -> None:
        """Networks and random state are all from the recipe's seed."""
        torch.manual_seed(self.settings.seed)
        self.order = torch.Generator().manual_seed(self.settings.seed)
        self.model, self.objective = build(recipe, self.dataset.image_shape)
        told = self.dataset.attributes if self.examples.attributes is not None else ()
        check_attributes(self.model.prior, told)
        self.objective.check_labels(len(self.known), len(self.labels))
        if len(self.known):
            check_classes(self.model.prior, self.dataset)
        self.objective.to(self.processes.device)
        self.rates = Rates(self.objective, self.settings.epochs * self.steps_per_epoch, self.settings.warmup)
        self.noise = self._own_noise()

    def _own_noise(self) -> torch.Generator:
        """The noise of this process: where it is alone on a CPU, from the generator that shuffles."""
        if self.processes.count == 1 and self.processes.device.type == "cpu":
            return self.order
        seed = self.processes.seed(self.settings.seed)
        torch.manual_seed(seed)  # dropout's
        return torch.Generator(self.processes.device).manual_seed(seed)

    def start(self, *, resume: bool, tracker: str = "tensorboard") -> None:
        """Make the run folder, or continue the run in it; every process goes on from the main one's state.

        Raises:
            TrainingError: the tracker cannot be started.
            CheckpointError: as for `train`.
            InvalidInput, ModelNotFound, InvalidBundle, HubError: as for `train`.
            OutputError: `resume` is false and the folder holds a run already, or anything that is not a run's; or it
                cannot be written.
        """
        state: dict[str, Any] = {}
        with self.processes.agree():
            if self.processes.main:
                state = self._old_run() if resume and not self.run.is_without_checkpoint() else self._new_run()
        state = self.processes.from_main(state)
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.began_with = state.get("began_with")
        self.step = self.epoch * self.steps_per_epoch
        with self.processes.agree():
            self.checkpoint.restore(state)
            if self.processes.count == 1 and self.images.is_cuda:
                self.card = CardSteps(self.objective, self.noise, self.examples, self.rates, self.losses)
            if self.processes.main:  # last, as `fit` ends it: nothing that is refused leaves a tracker's run open
                self.log = Log(self.run, step=self.step, size=state["log_bytes"], tracker=tracker)

    def _new_run(self) -> dict[str, Any]:
        began_with = self._begin_with(self.begin) if self.begin else None
        self.run.create()
        return {**self.checkpoint.first(), "began_with": began_with}

    def _begin_with(self, name: str) -> dict[str, Any]:
        """Take the layers of a model that fit, and say which do not."""
        began = begin_with(load_networks(name), self.run.recipe, self.model)
        new = f"; new are {', '.join(began['new'])}" if began["new"] else ""
        taken = f"{len(began['layers'])} of {len(began['layers'] + began['new'])} layers"
        tqdm.write(f"{taken} begin as in {began['name']} {began['version']}{new}", file=sys.stderr)
        return began

    def _old_run(self) -> dict[str, Any]:
        state = self.checkpoint.load()
        began = (state.get("began_with") or {}).get("manifest_sha256")
        if self.begin and pull(self.begin).bundle.manifest_sha256 != began:
            raise CheckpointError(
                f"{self.run.state} did not begin with the weights of {self.begin}, as it is now; leave out --from, "
                "which --resume does not need, or train into a new folder"
            )
        if state.get("dataset_md5", self.dataset.md5s) != self.dataset.md5s:
            raise CheckpointError(
                f"{self.run.state} was trained on other data than {self.dataset.name} is now; give the data that it "
                "was trained on, or train into a new folder"
            )
        return state

    def fit(self) -> None:
        """Train to the last epoch, with a progress bar on stderr and a checkpoint after every epoch.

        Raises:
            TrainingError: a loss is not a finite number, the process was interrupted, or another one has ended.
        """
        total = self.settings.epochs * self.steps_per_epoch
        hidden = None if self.processes.main else True
        shown = bar(total=total, initial=self.step, unit="step", desc=self.run.recipe.name, disable=hidden)
        with self.log, shown:
            torch.set_flush_denormal(True)  # dead units' vanishing gradients would slow every product on some CPUs
            try:
                self._say_beforehand(total - self.step)
                while self.epoch < self.settings.epochs:
                    self.train_epoch(shown)
            except KeyboardInterrupt:
                at = min(self.epoch + 1, self.settings.epochs)  # once the last is whole, there is none after it
                leave(Interrupted(f"interrupted in epoch {at}; {self._how_to_go_on()}"))
            finally:
                torch.set_flush_denormal(False)  # the whole process would keep it

    def _say_beforehand(self, steps: int) -> None:
        """Whether few images are left to learn from, and about how long the steps will take.

        Of several processes none can make steps to be timed without the others.
        """
        learned, kept = len(self.images), len(self.validation)
        if steps and self.processes.main and kept > learned:
            few = f"{kept:,} of {learned + kept:,} training images are for validation, and {learned:,} to learn from"
            tqdm.write(f"warning: {few}; --set data.validation=0.1 keeps a tenth for it", file=sys.stderr)
        if steps and self.processes.count == 1:
            found = estimate(self.run.recipe, self.dataset.image_shape, self._any_batch())
            took = f"{steps:,} steps of {1000 * found.step:.3g} ms, and about {found.bytes / 1e9:.1f} GB of memory"
            tqdm.write(f"training takes about {duration(steps * found.step)}: {took}", file=sys.stderr)

    def train_epoch(self, shown: "tqdm[Any]") -> None:
        """One epoch's steps; then the main process measures, reports, draws and keeps."""
        started = time.perf_counter()
        self.objective.train()
        totals: dict[str, float] = {}
        read = 0
        for number, _ in enumerate(self.steps(), 1):
            if number == self.steps_per_epoch or self.step % self.read_every == 0:
                sums = self._read_losses(number - read)
                totals = {name: totals.get(name, 0.0) + loss for name, loss in sums.items()}
                read = number
            self.step += 1
            shown.update()
        self.epoch += 1
        random = self.processes.gather(self.checkpoint.random())
        with self.processes.agree():
            if self.processes.main:
                means = {name: total / self.steps_per_epoch for name, total in totals.items()}
                self._end_epoch(means, random, started)

    def steps(self) -> Iterator[None]:
        """Make one of the epoch's steps, with the losses before it, each time the next is asked for."""
        if self.card is not None:
            some = self._shuffled()
            known = torch.randint(max(1, len(self.known)), (len(some), self._labelled), generator=self.order)
            yield from self.card.epoch(self.step, some, self.known[known])
            return
        for batch in self.batches():
            self.rates.set(self.step)
            self.losses.add(self.objective.step(batch, self.noise))
            yield

    def batches(self) -> Iterator[Batch]:
        """This process's shares of one epoch's batches, in random order: look-ups in one tensor in memory."""
        for some in self._shuffled().to(self.images.device):
            known = torch.randint(max(1, len(self.known)), (self._labelled,), generator=self.order)
            yield self._batch(some, self.known[known])

    def _shuffled(self) -> Tensor:
        """The images of one epoch's batches in random order: indices [steps, batch]."""
        count = -(-self.steps_per_epoch * self.settings.batch // len(self.images))
        passes = [
            torch.randperm(len(self.images), generator=self.order) for _ in range(max(count, self.settings.passes))
        ]
        return torch.cat(passes)[: self.steps_per_epoch * self.settings.batch].view(self.steps_per_epoch, -1)

    @property
    def _labelled(self) -> int:
        """How many images of known labels come with a batch."""
        return self.settings.labelled_batch if self.some_known else 0

    def _any_batch(self) -> Batch:
        """A batch of the usual size, which takes nothing from the random order."""
        known = torch.arange(self._labelled) % max(1, len(self.known))
        first = torch.arange(self.settings.batch, device=self.images.device) % len(self.images)
        return self._batch(first, self.known[known])

    def _batch(self, some: Tensor, known: Tensor) -> Batch:
        """This process's shares of some images, and of those whose labels training knows."""
        own_known = self.processes.share(known).to(self.images.device)
        return self.examples.batch(self.processes.share(some), own_known, self.processes.device)

    def _read_losses(self, steps: int) -> dict[str, float]:
        """The sums of the losses of the last steps, as means over all processes; those of a step to log are logged."""
        own, last = self.losses.read()
        sums = self.processes.mean(own)
        self._check_finite(sums, steps)
        if self.step % self.settings.log_every == 0:
            last = self.processes.mean(last) if steps > 1 else sums
            self.log.batch({"step": self.step, "epoch": self.epoch, "rate": self.rates.factor(self.step), **last})
        return sums

    def _check_finite(self, losses: dict[str, float], steps: int) -> None:
        where = f"at step {self.step}" if steps == 1 else f"in the steps {self.step - steps + 1} to {self.step}"
        for name, loss in losses.items():
            if not math.isfinite(loss):
                message = (
                    f"the {name} loss is {loss} {where} of epoch {self.epoch + 1}, expected a finite "
                    f"number; the last good checkpoint is kept in {self.run.folder}: lower training.learning_rate"
                )
                leave(TrainingError(message))

    def _end_epoch(self, losses: dict[str, float], random: list[dict[str, Tensor]], started: float) -> None:
        """What the main process does after an epoch: measure, report, draw and keep; all of it where the data are."""
        with self._at_data():
            self._fit_prior()
            validation = evaluate(Networks(self.model), self.validation, draws=2)
            seconds = time.perf_counter() - started
            self.seconds += seconds
            self._report(losses, validation)
            self._say_how_long(seconds)
            self.checkpoint.save(
                random,
                epoch=self.epoch,
                step=self.step,
                seconds=self.seconds,
                log_bytes=self.log.size,
                began_with=self.began_with,
                dataset_md5=self.dataset.md5s,
            )

    @contextmanager
    def _at_data(self) -> Iterator[None]:
        """In float32, with the networks where the data are: on the CPU, where a card has too little memory for them."""
        self.objective.to(self.images.device)
        try:
            with full_precision():
                yield
        finally:
            self.objective.to(self.processes.device)

    def _fit_prior(self) -> None:
        """Fit the prior, where its kind is fitted, to the codes of some training images."""
        if self.model.prior.fitted:
            self.model.eval()
            with torch.no_grad():
                codes = [self.model.encode(to_float(part))["z"] for part in self.images[:_FITTED].split(1000)]
            self.model.prior.fit(torch.cat(codes), self.settings.seed)

    def _report(self, losses: dict[str, float], validation: dict[str, Any]) -> None:
        """Log the epoch: the mean losses, and how far the validation codes and images are from where they should be."""
        self.log.epoch(
            {"step": self.step, "epoch": self.epoch, "seconds": self.seconds, **losses, "validation": validation}
        )
        if self.epoch % self.settings.pictures_every == 0 or self.epoch == self.settings.epochs:
            self._draw()
        self.log.flush()
        means = "  ".join(f"{name} {loss:.4g}" for name, loss in losses.items())
        line = f"epoch {self.epoch}/{self.settings.epochs}  {self.seconds:.0f} s  {means}"
        tqdm.write(f"{line}  validation mse {validation['mse']:.5f} mmd2 {validation['mmd2']:.4f}", file=sys.stderr)

    def _say_how_long(self, seconds: float) -> None:
        """After the first epoch that this process trains: about how long the others will take, and why if long."""
        if not self._said and self.card and (reason := self.card.refused):
            tqdm.write(f"the steps do not make a CUDA graph, and take longer without ({reason})", file=sys.stderr)
        if not self._said and (left := self.settings.epochs - self.epoch):
            tqdm.write(
                f"{counted(left, 'epoch')} {agreeing(left, 'is', 'are')} left: about {duration(left * seconds)}",
                file=sys.stderr,
            )
        self._said = True

    def _draw(self) -> None:
        """Pictures of the epoch, those of images and codes from validation images."""
        labels = self.dataset.train_labels[len(self.images) :]
        pictures = dict(model_pictures(self.model, self.validation, labels, self.dataset.label_names))
        for name, picture in {**pictures, "losses": loss_curves(self.log.rows())}.items():
            self.log.picture(name, picture, epoch=self.epoch, step=self.step)

    def _how_to_go_on(self) -> str:
        if self.run.state.exists():
            return f"all whole epochs are kept in {self.run.folder}: give the same command with --resume to go on"
        return "the first epoch was not finished, so nothing is kept: give the same command to start again"

    def finish(self) -> dict[str, Any] | None:
        """Measure on the test set and write the metrics and where they came from: the run is complete.

        The processes part; the metrics are the main one's, and None those of the others.

        Raises:
            Interrupted: the process was interrupted.
        """
        self.processes.part()
        if not self.processes.main:
            return None
        try:
            with self._at_data():
                metrics = measure(Networks(self.model), self.dataset, self.run.recipe.data)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted after the last epoch; {self._how_to_go_on()}") from None
        self.run.write_json("metrics.json", metrics)
        if self.some_known:
            self.run.write_json(LABELS, {"training_images_with_known_labels": self.known.tolist()})
        began, device = self.began_with, self.processes.device
        facts = {
            "command": self.processes.command(self.run.recipe.command) + (f" --from {began['name']}" if began else ""),
            "seed": self.settings.seed,
            "training_seconds": round(self.seconds, 1),
            "dataset_md5": self.dataset.md5s,
            **self.environment,
            **({"device": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}),
            "processes": self.processes.count,
            "data": str(self.data.resolve()) if self.data else None,
            **({"began_with": began} if began else {}),
        }
        self.run.write_json("run.json", facts)
        return metrics


def usual_threads(processes: Processes) -> int:
    """The user's OMP_NUM_THREADS, or a process's share of the CPUs: of several, their launcher sets it, to 1."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if asked.isdecimal() and int(asked) and processes.of_machine == 1:
        return int(asked)
    return max(1, available_cpus() // processes.of_machine)


def duration(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min or 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def evaluate_run(folder: Path, *, data: Path | None = None) -> dict[str, Any]:
    """The metrics of a run's weights on the test set, computed where training would be.

    Raises:
        CheckpointError: the run is missing, damaged or of another recipe.
        DatasetError: the data set is missing or damaged.
    """
    run = Run.open(folder)
    dataset = placed(load_data(run.recipe.data, run.data(data)), Processes().device)
    model, _ = load_model(run, dataset.image_shape)
    with repeatable(), full_precision():
        return measure(Networks(model.to(dataset.test_images.device)), dataset, run.recipe.data)
