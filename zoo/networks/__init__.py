"""Networks, one kind a file: `Settings`, `Encoder`, `Decoder` and `Discriminator`.

An encoder maps images [n, C, H, W] in [0, 1] to its outputs by name: z [n, latent]. A discriminator maps codes to
the logit of the probability that they were drawn from the prior.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class BaseDecoder(nn.Module, ABC):
    """P(x|z): codes z [n, latent] to images [n, C, H, W] in [0, 1], the means of their pixels."""

    @abstractmethod
    def logits(self, z: Tensor) -> Tensor:
        """The images before the sigmoid, from which cross-entropy is computed without loss."""

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        """The image of each code."""
        return {"image": self.logits(z).sigmoid()}
