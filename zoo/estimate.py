"""What a training will take, said before it begins: a few of its steps are made and timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import psutil
import torch

from aae_zoo.zoo.build import build
from aae_zoo.zoo.objectives import BaseObjective, Batch
from aae_zoo.zoo.recipe import Recipe
from aae_zoo.zoo.steps.replayed import WARM_UP, Replayed

_STEPS: Final = 20
_SECONDS: Final = 2.0
# One step may be held up by other programs for many times as long as it takes.
_LEAST: Final = 3
# What the export takes beside what training has taken: PyTorch's exporter, and ONNX Runtime's sessions.
_EXPORT: Final = 300_000_000


@dataclass(frozen=True)
class Estimate:
    """About how many seconds a step of a training takes, and how many bytes of memory it and the export take."""

    step: float
    bytes: int


def estimate(recipe: Recipe, image: tuple[int, int, int], batch: Batch) -> Estimate:
    """Make some steps on a batch of images (C, H, W) with networks that are thrown away, after one that takes longer.

    The random state stays as it was. On a card the steps are those of a CUDA graph, as training's are.
    """
    device = batch.image.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        _, objective = build(recipe, image)
        objective.to(device).train()
        noise = torch.Generator(device).manual_seed(0)
        step: Callable[[], object] = partial(objective.step, batch, noise)
        longer = 1
        if device.type == "cuda":
            step, longer = _on_card(objective, step, noise), WARM_UP + 1
        times: list[float] = []
        while len(times) < longer + _STEPS and (len(times) < longer + _LEAST or sum(times[longer:]) < _SECONDS):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
    return Estimate(statistics.median(times[longer:]), psutil.Process().memory_info().rss + _EXPORT)


def _on_card(objective: BaseObjective, work: Callable[[], object], noise: torch.Generator) -> Callable[[], object]:
    """The work as training does it on a card, waited for."""
    for optimiser in objective.optimisers.values():
        for group in optimiser.param_groups:
            group["capturable"] = True
    replayed = Replayed(work, noise)

    def step() -> None:
        replayed()
        torch.cuda.synchronize()

    return step
