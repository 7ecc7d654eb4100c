"""What a training will take, said before it begins: a few of its steps are made and timed."""

import time
from dataclasses import dataclass
from typing import Final

import psutil
import torch

from aae_zoo.zoo.build import build
from aae_zoo.zoo.objectives import Batch
from aae_zoo.zoo.recipe import Recipe

_STEPS: Final = 20
_SECONDS: Final = 2.0
# What the export takes beside what training has taken: PyTorch's exporter, and ONNX Runtime's sessions.
_EXPORT: Final = 300_000_000


@dataclass(frozen=True)
class Estimate:
    """About how many seconds a step of a training takes, and how many bytes of memory it and the export take."""

    step: float
    bytes: int


def estimate(recipe: Recipe, image: tuple[int, int, int], batch: Batch) -> Estimate:
    """Make some steps on a batch of images (C, H, W) with networks that are thrown away, after one that takes longer.

    The random state stays as it was.
    """
    device = batch.image.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        _, objective = build(recipe, image)
        objective.to(device).train()
        noise = torch.Generator(device).manual_seed(0)
        times: list[float] = []
        while len(times) <= _STEPS and (len(times) < 2 or sum(times) < _SECONDS):
            started = time.perf_counter()
            _ = [float(loss) for loss in objective.step(batch, noise).values()]
            times.append(time.perf_counter() - started)
    return Estimate(sum(times[1:]) / len(times[1:]), psutil.Process().memory_info().rss + _EXPORT)
