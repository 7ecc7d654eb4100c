"""Priors, one kind a file: `Settings` and `Prior`, a module from uniform noise to the decoder's inputs.

The same module draws the real codes of training and becomes `prior.onnx`, so it is made of plain operators. A prior
also says what it asks of the encoder: its outputs, and how the network's linear outputs become codes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn


class BasePrior(nn.Module, ABC):
    """A distribution of codes: forward maps noise u [n, noise] in the open interval (0, 1) to z [n, latent].

    Where `classes` is not 0 the prior knows classes, and coordinate `label_coordinate` of the noise chooses one:
    class k is u = (k + uniform) / classes. `widths` are how many of the classes each attribute has, where several can
    be asked for at once, and `coordinates` choose them alike. `choices` are all coordinates that choose, a class, a
    component or a bit, instead of spreading the codes. Where `conditional` is true the decoder gets the class too, as
    y. `subheads` are how many guesses at the classes the encoder makes. Where `fitted` is true the prior is fitted to
    codes of training images after every epoch.
    """

    noise: int
    latent: int
    classes: int = 0
    label_coordinate: int | None = None
    widths: tuple[int, ...] = ()
    coordinates: tuple[int, ...] = ()
    conditional: bool = False
    subheads: int = 1
    fitted: bool = False

    @property
    def choices(self) -> tuple[int, ...]:
        """The coordinates of the noise that choose: by default the one that chooses the class."""
        return () if self.label_coordinate is None else (self.label_coordinate,)

    @abstractmethod
    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """The decoder's inputs, by name, of uniform noise."""

    def heads(self) -> dict[str, int]:
        """The linear outputs that this prior asks of the encoder, by name, and their widths."""
        return {"z": self.latent}

    def codes(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The encoder's codes from its linear outputs: as they are, or brought to where the prior lives."""
        return dict(outputs)

    def fit(self, z: Tensor, seed: int) -> None:
        """Fit the prior to codes z [n, latent]."""
        raise NotImplementedError

    def draw(self, count: int, generator: Generator, label: Tensor | None = None) -> dict[str, Tensor]:
        """`count` codes drawn with the generator's noise; `label` [count] chooses classes, -1 leaves them to chance."""
        u = open_uniform(count, self.noise, generator)
        if label is not None:
            column = u[:, self.label_coordinate]
            u[:, self.label_coordinate] = torch.where(label >= 0, (label + column) / self.classes, column)
        codes: dict[str, Tensor] = self(u)
        return codes

    def variance(self, generator: Generator) -> float:
        """The mean variance of the code's coordinates, from 100,000 draws."""
        with torch.no_grad():
            return float(self.draw(100_000, generator)["z"].var(0).mean())


def open_uniform(count: int, size: int, generator: Generator) -> Tensor:
    """Uniform noise [count, size] in the open interval (0, 1): (2 k + 1) / 2^24 for k uniform in 0 .. 2^23 - 1.

    All 2^23 values are float32 numbers, and neither 0 nor 1, whose quantiles are infinite, is among them.
    """
    k = torch.randint(1 << 23, (count, size), generator=generator, device=generator.device)
    return (2 * k + 1).float() / 2.0**24


def one_hot(u: Tensor, classes: int) -> Tensor:
    """The class that uniform noise u [n] chooses, one-hot [n, classes]: class k is u in [k, k + 1) / classes."""
    chosen = (u * classes).floor().clamp(max=classes - 1)
    return (chosen[:, None] == torch.arange(classes, dtype=u.dtype, device=u.device)).to(u.dtype)
