"""Learning rates, all multiplied by one factor that changes from step to step."""

import math
from typing import Any

from aae_zoo.zoo.objectives import BaseObjective


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """What the learning rates are multiplied by at a step: linear warm-up, then half a cosine down to zero."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


class Rates:
    """The learning rates of an objective's optimisers, which are those of its recipe times the factor of a step."""

    def __init__(self, objective: BaseObjective, steps: int, warmup: float) -> None:
        self.objective, self.steps, self.warmup = objective, steps, warmup
        self.bases: list[float] = [group["lr"] for group in self.groups]

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The groups of parameters that have a rate each; loading an optimiser's state makes new ones."""
        return [group for optimiser in self.objective.optimisers.values() for group in optimiser.param_groups]

    def factor(self, step: int) -> float:
        """The factor of a step, which is in [0, 1]."""
        return learning_rate_factor(step, self.steps, self.warmup)

    def set(self, step: int) -> None:
        """Give every group the rate of a step."""
        for group, base in zip(self.groups, self.bases, strict=True):
            group["lr"] = base * self.factor(step)
