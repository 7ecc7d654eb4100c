"""Networks, one kind a file: `Settings`, `Encoder` and `Decoder`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn


class BaseEncoder(nn.Module, ABC):
    """Images [n, C, H, W] in [0, 1] to the network's linear outputs by name, among them that of the code z [n, latent].

    `heads` gives the width of every output: the prior and the objective decide which outputs these are.
    """

    def __init__(self, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.heads = dict(heads)

    @abstractmethod
    def outputs(self, image: Tensor) -> Tensor:
        """All heads side by side: [n, sum of their widths], linear."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs by name."""
        outputs = self.outputs(image)
        if len(self.heads) == 1:
            return dict.fromkeys(self.heads, outputs)
        # Slices, because some engines know only the Split of older opsets.
        ends = accumulate(self.heads.values())
        return {
            name: outputs[:, end - width : end] for (name, width), end in zip(self.heads.items(), ends, strict=True)
        }


class BaseDecoder(nn.Module, ABC):
    """P(x|z, y): codes z [n, latent], with classes y [n, classes] where the prior is conditional, to images.

    Images are [n, C, H, W] in [0, 1], the means of their pixels.
    """

    @abstractmethod
    def outputs(self, code: Tensor) -> Tensor:
        """The images [n, C, H, W], linear, of z and y side by side."""

    def logits(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The images before the sigmoid, from which cross-entropy is computed without loss."""
        return self.outputs(z if y is None else torch.cat([z, y], dim=1))

    def forward(self, z: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The image of each code."""
        return {"image": self.logits(z, y).sigmoid()}
