"""Objectives, one kind a file: `Settings` and `Objective`, what is minimised and how one batch does it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import Adam, Optimizer

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.processes import average_gradients

Reconstruction = Literal["bce", "mse"]

# Adam's usual memory of 0.9 makes the two players of an adversarial game overshoot each other, and a plain
# autoencoder of few epochs learns faster with a shorter one too.
ADAM_BETAS = (0.5, 0.99)


class Batch(NamedTuple):
    """Images [n, C, H, W] in [0, 1] and their labels int64 [n], -1 where training may not know them.

    Where only some labels may be known, `known_image` and `known_label` are a batch of those that are. `attributes`
    are the numbers of the values of each attribute that training is told of, int64 [n, attributes].
    """

    image: Tensor
    label: Tensor
    known_image: Tensor
    known_label: Tensor
    attributes: Tensor | None = None


class BaseObjective(nn.Module, ABC):
    """An objective owns every network that it trains, and the optimisers that train them."""

    optimisers: dict[str, Optimizer]

    @staticmethod
    def heads(settings: Any, prior: BasePrior) -> dict[str, int]:  # noqa: ARG004
        """The outputs that this objective wants of the encoder in addition to the prior's: widths by name."""
        return {}

    @staticmethod
    def noisy(settings: Any) -> bool:  # noqa: ARG004
        """Whether the encoder gets a channel of noise in addition to the image."""
        return False

    @abstractmethod
    def step(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """Update all networks once on a batch; the losses before the update, by name."""

    def detector(self, model: Autoencoder, training: Tensor, validation: Tensor) -> nn.Module | None:  # noqa: ARG002
        """What tells odd images by the trained model, in evaluation mode, where the objective is made for that.

        It takes images [n, C, H, W] in [0, 1] to a pair: their scores [n], any numbers of which the greater are the
        odder, and maps [n, 1, H, W], not below 0. `training` and `validation` are the model's images, uint8
        [n, C, H, W].
        """
        return None

    def update(self, name: str, loss: Tensor) -> None:
        """One step of an optimiser down the gradient of a loss, and of nothing that another loss left.

        Of several processes all take the same step, down the mean of their gradients.
        """
        optimiser = self.optimisers[name]
        optimiser.zero_grad()
        loss.backward()
        average_gradients(p for group in optimiser.param_groups for p in group["params"])
        optimiser.step()


def two_players(
    autoencoder: Iterable[nn.Module], learning_rate: float, judges: Iterable[nn.Module], judges_rate: float
) -> dict[str, Optimizer]:
    """The optimisers of an adversarial game: "autoencoder" for the judged, "discriminator" for the judges."""

    def adam(players: Iterable[nn.Module], rate: float) -> Optimizer:
        parameters = [parameter for network in players for parameter in network.parameters()]
        return Adam(parameters, rate, betas=ADAM_BETAS, fused=True)

    return {"autoencoder": adam(autoencoder, learning_rate), "discriminator": adam(judges, judges_rate)}


def reconstruction_loss(logits: Tensor, image: Tensor, kind: Reconstruction) -> Tensor:
    """Squared error or cross-entropy, summed over the pixels of an image and averaged over the batch.

    Summed, not averaged, over pixels: the log-likelihood of an image is a sum, and averaging it would weigh the
    prior's term as many times more as an image has pixels.
    """
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(logits, image, reduction="sum") / len(image)
    return F.mse_loss(logits.sigmoid(), image, reduction="sum") / len(image)
