"""Priors, one kind a file: `Settings` and `Prior`, a module from uniform noise to the decoder's inputs.

The same module draws the real codes of training and becomes `prior.onnx`, so it is made of plain operators.
"""

from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor, nn


class BasePrior(nn.Module, ABC):
    """A distribution of codes: forward maps noise u [n, noise] in the open interval (0, 1) to z [n, latent]."""

    noise: int
    latent: int

    @abstractmethod
    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """The codes of uniform noise, by the names of the decoder's inputs."""

    def moments(self, generator: Generator) -> tuple[Tensor, float]:
        """The mean [latent] and the mean variance of the code's coordinates, from 100,000 draws."""
        z = self.draw(100_000, generator)["z"]
        return z.mean(0), float(z.var(0).mean())

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        """`count` codes drawn from the prior with the generator's noise."""
        codes: dict[str, Tensor] = self(open_uniform(count, self.noise, generator))
        return codes


def open_uniform(count: int, size: int, generator: Generator) -> Tensor:
    """Uniform noise [count, size] in the open interval (0, 1): (2 k + 1) / 2^24 for k uniform in 0 .. 2^23 - 1.

    All 2^23 values are float32 numbers, and neither 0 nor 1, whose quantiles are infinite, is among them.
    """
    k = torch.randint(1 << 23, (count, size), generator=generator, device=generator.device)
    return (2 * k + 1).float() / 2.0**24
