"""Networks, one kind a file: `Settings`, `Encoder` and `Decoder`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class BaseEncoder(nn.Module, ABC):
    """Images [n, C, H, W] in [0, 1] to the encoder's outputs by name, among them the code z [n, latent].

    `heads` gives the width of every output: the objective decides which there are.
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
        return dict(zip(self.heads, outputs.split(list(self.heads.values()), dim=1), strict=True))


class BaseDecoder(nn.Module, ABC):
    """P(x|z): codes z [n, latent] to images [n, C, H, W] in [0, 1], the means of their pixels."""

    @abstractmethod
    def logits(self, z: Tensor) -> Tensor:
        """The images before the sigmoid, from which cross-entropy is computed without loss."""

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        """The image of each code."""
        return {"image": self.logits(z).sigmoid()}
