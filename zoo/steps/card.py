"""The steps of an epoch on one card, which is told everything beforehand and asked for nothing."""

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from aae_zoo.zoo.objectives import BaseObjective
from aae_zoo.zoo.steps.examples import Examples
from aae_zoo.zoo.steps.losses import Losses
from aae_zoo.zoo.steps.rates import Rates
from aae_zoo.zoo.steps.replayed import Replayed


class CardSteps:
    """An objective's steps on the card that its networks, `noise` and `examples` are on.

    What an epoch needs (which images, which rates) goes to the card when it begins; a step finds its own by a counter
    that is there too. So all steps are the same work, which `make` replays; on a CPU, which can make the same steps,
    `make` is the step as it is written. Their losses are added to `losses`.
    """

    def __init__(
        self, objective: BaseObjective, noise: Generator, examples: Examples, rates: Rates, losses: Losses
    ) -> None:
        self.objective, self.noise, self.examples, self.losses = objective, noise, examples, losses
        self.rates = rates
        self.device = examples.images.device
        self._some = self._known = self._factors = torch.empty(0)
        self._number = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._bases = torch.tensor(rates.bases, device=self.device)
        self._rates = self._bases.clone()
        for group, rate in zip(rates.groups, self._rates.unbind(), strict=True):
            group.update(lr=rate, capturable=True)
        self.make: Callable[[], None] = Replayed(self.step, noise) if self.device.type == "cuda" else self.step

    def epoch(self, first: int, some: Tensor, known: Tensor) -> Iterator[None]:
        """Make one step each time the next is asked for: `first` and as many as there are rows of indices.

        `some` [steps, batch] are the images of each, `known` [steps, any] those of known labels; each epoch has as
        many. The card may still be at work when a step is returned from.
        """
        factors = torch.tensor([self.rates.factor(first + number) for number in range(len(some))])
        if len(self._some):
            for old, new in ((self._some, some), (self._known, known), (self._factors, factors)):
                old.copy_(new)
        else:
            self._some, self._known, self._factors = (new.to(self.device) for new in (some, known, factors))
        self._number.zero_()
        for _ in range(len(some)):
            self.make()
            yield

    @property
    def refused(self) -> str | None:
        """Why the steps are not replayed, where that is known."""
        return self.make.refused if isinstance(self.make, Replayed) else None

    def step(self) -> None:
        """The step that the counter has come to, as it is written."""
        torch.mul(self._bases, self._now(self._factors), out=self._rates)
        batch = self.examples.batch(self._now(self._some)[0], self._now(self._known)[0], self.device)
        self.losses.add(self.objective.step(batch, self.noise))
        self._number += 1

    def _now(self, rows: Tensor) -> Tensor:
        """The row of this step, [1, ...]."""
        return rows.index_select(0, self._number)
