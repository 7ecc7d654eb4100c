"""Losses that are kept where they are computed until somebody looks at them: looking waits for the device."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Losses:
    """The losses of the steps since they were last read: their sums, in float64, and those of the last step.

    `add` waits for nothing, and its tensors stay the same ones, so that it can be a part of a CUDA graph.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums = self._last = torch.empty(0)

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Take the losses of one step, scalars on one device by name: the same names each time."""
        values = torch.stack([*losses.values()])
        if not self._names:
            self._names = tuple(losses)
            self._sums, self._last = torch.zeros_like(values, dtype=torch.float64), torch.zeros_like(values)
        self._sums += values
        self._last.copy_(values)

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """The sums since the last call, and the losses of the last step, by name."""
        sums, last = torch.stack([self._sums, self._last.double()]).tolist()
        self._sums.zero_()
        return dict(zip(self._names, sums, strict=True)), dict(zip(self._names, last, strict=True))
