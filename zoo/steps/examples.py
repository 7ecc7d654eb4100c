"""What training looks its batches up in."""

from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.objectives import Batch

# Of a card's free memory, the part that a data set may take; the rest is for the networks and their activations.
_PART: Final = 0.5


@dataclass(frozen=True)
class Examples:
    """Training images, uint8 [n, C, H, W], with what training is told of them, all in the memory of one device.

    It is told their labels, int64 [n], -1 where it may not know them, and maybe attributes, int64 [n, attributes].
    """

    images: Tensor
    labels: Tensor
    attributes: Tensor | None = None

    def batch(self, some: Tensor, known: Tensor, device: torch.device) -> Batch:
        """The images at some indices, and those of known labels at others, all indices on the device of the images.

        They come to `device`, as float32 in [0, 1].
        """
        told = None if self.attributes is None else self.attributes[some].to(device)
        return Batch(*self._look_up(some, device), *self._look_up(known, device), told)

    def _look_up(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        return to_float(self.images[indices].to(device)), self.labels[indices].to(device)


def placed(dataset: Dataset, device: torch.device) -> Dataset:
    """The data set in the memory of a card, or as it is where the card has too little of it."""
    if device.type != "cuda":
        return dataset
    tensors: dict[str, Any] = {name: value for name, value in vars(dataset).items() if isinstance(value, Tensor)}
    free, _ = torch.cuda.mem_get_info(device)
    if sum(value.nbytes for value in tensors.values()) > _PART * free:
        return dataset
    return replace(dataset, **{name: value.to(device) for name, value in tensors.items()})
