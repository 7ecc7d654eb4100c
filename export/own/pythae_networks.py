"""pythae's default networks, written anew: the same functions, and the same names for weights and outputs."""

import math
from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

_HIDDEN: Final = 512


class DefaultEncoder(nn.Module):
    """Images through one hidden layer to codes, and where it is `variational` to the logarithms of their variances."""

    def __init__(self, shape: Sequence[int], latent: int, *, variational: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(math.prod(shape), _HIDDEN), nn.ReLU()))
        self.embedding = nn.Linear(_HIDDEN, latent)
        self.log_var = nn.Linear(_HIDDEN, latent) if variational else None

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Images [n, C, H, W] in [0, 1] to `embedding` and `log_covariance`, each [n, latent]."""
        hidden = self.layers(image.flatten(1))
        outputs: dict[str, Tensor] = {"embedding": self.embedding(hidden)}
        if self.log_var is not None:
            outputs["log_covariance"] = self.log_var(hidden)
        return outputs


class DefaultDecoder(nn.Module):
    """Codes through one hidden layer to images."""

    def __init__(self, shape: Sequence[int], latent: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(latent, _HIDDEN), nn.ReLU()),
            nn.Sequential(nn.Linear(_HIDDEN, math.prod(shape)), nn.Sigmoid()),
        )

    def forward(self, z: Tensor) -> dict[str, Tensor]:
        """Codes [n, latent] to `reconstruction`, images [n, C, H, W] in [0, 1]."""
        return {"reconstruction": self.layers(z).unflatten(1, self.shape)}
