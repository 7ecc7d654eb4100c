"""Objectives, one kind a file: `Settings` and `Objective`, what is minimised and how one batch does it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.adversary import ImageAdversary, ImageSettings
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.maths.optimiser import adam
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.processes import average_gradients

Reconstruction = Literal["bce", "mse"]


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

    @staticmethod
    def refuse_labels(kind: str, prior: BasePrior) -> None:
        """Refuse a prior whose decoder wants labels, for an objective that has none to give.

        Raises:
            InvalidRecipe: it is one.
        """
        if prior.conditional:
            raise InvalidRecipe(
                f"objective.kind = {kind!r} has no labels for the decoder; give 'supervised' or 'semi', or another "
                "prior.kind"
            )

    @staticmethod
    def refuse_fitted(kind: str, prior: BasePrior) -> None:
        """Refuse a prior that is fitted when training is over, for an objective that brings codes to the prior.

        Raises:
            InvalidRecipe: it is one.
        """
        if prior.fitted:
            raise InvalidRecipe(
                f"objective.kind = {kind!r} brings codes to the prior; prior.kind = 'fitted' is for 'ae'"
            )

    def check_labels(self, known: int, images: int) -> None:  # noqa: ARG002
        """Whether it can learn where the labels of so many of the training images are known.

        Raises:
            InvalidRecipe: it cannot.
        """
        return

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

    def add_image_adversary(self, settings: ImageSettings | None, autoencoder: Autoencoder) -> ImageAdversary | None:
        """The adversary on images that a recipe asks for, with its optimiser among the others; None if for none."""
        if settings is None:
            return None
        adversary = ImageAdversary(settings, autoencoder.image)
        self.optimisers["images"] = adversary.optimiser
        return adversary

    def play(self, adversary: ImageAdversary, x: Tensor, drawn: Tensor, generator: Generator) -> dict[str, Tensor]:
        """The adversary on images learns; its loss, and then the decoder's for the images that it drew, by name."""
        loss = adversary.discriminator_loss(x, drawn, generator)
        self.update("images", loss)
        return {"image_discriminator": loss, "image_generator": adversary.generator_loss(drawn, generator)}

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
    return {"autoencoder": adam(autoencoder, learning_rate), "discriminator": adam(judges, judges_rate)}


def reconstruction_loss(logits: Tensor, image: Tensor, kind: Reconstruction) -> Tensor:
    """Squared error or cross-entropy, summed over the pixels of an image and averaged over the batch.

    Summed, not averaged, over pixels: the log-likelihood of an image is a sum, and averaging it would weigh the
    prior's term as many times more as an image has pixels.
    """
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(logits, image, reduction="sum") / len(image)
    return F.mse_loss(logits.sigmoid(), image, reduction="sum") / len(image)
