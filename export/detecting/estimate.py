"""What a training will take, said before it begins: a few of its steps are made and timed."""

import time
from dataclasses import dataclass
from typing import Final

import psutil
import torch

from aae_zoo.zoo.build import build
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.objectives import Batch
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.recipe import Recipe
from aae_zoo.zoo.training.trainer import usual_threads

_STEPS: Final = 20
_SECONDS: Final = 2.0
# What the export takes beside what training has taken: PyTorch's exporter, and ONNX Runtime's sessions.
_EXPORT: Final = 300_000_000


@dataclass(frozen=True)
class Estimate:
    """About how many seconds all steps of a training take, and how many bytes of memory it and the export take."""

    seconds: float
    bytes: int


def estimate(recipe: Recipe, dataset: Dataset, *, threads: int | None = None) -> Estimate:
    """Make some steps with networks that are thrown away, after a first one that takes longer."""
    processes, settings = Processes(), recipe.training
    torch.set_num_threads(threads or usual_threads(processes))
    _, objective = build(recipe, dataset.image_shape)
    objective.to(processes.device).train()
    images = to_float(dataset.train_images[: settings.batch].to(processes.device))
    labels = torch.full((len(images),), -1, device=processes.device)
    batch, noise = Batch(images, labels, images[:0], labels[:0]), torch.Generator(processes.device).manual_seed(0)
    times: list[float] = []
    while len(times) <= _STEPS and sum(times) < _SECONDS:
        started = time.perf_counter()
        _ = [float(loss) for loss in objective.step(batch, noise).values()]
        times.append(time.perf_counter() - started)
    step = sum(times[1:]) / len(times[1:]) if len(times) > 1 else times[0]
    known = len(dataset.train_images) - recipe.data.validation_count(len(dataset.train_images))
    steps = settings.epochs * (settings.passes * known // settings.batch)
    return Estimate(steps * step, psutil.Process().memory_info().rss + _EXPORT)
