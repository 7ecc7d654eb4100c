"""The semi-supervised adversarial autoencoder, and clustering (Makhzani et al., arXiv 1511.05644, sections 5 and 6).

The encoder gives a style z and the probabilities of the classes y; the decoder gets both. Two discriminators make
sure that z is Gaussian and y one-hot, each class as often as every other. With labels for a few images the classes are
those of the labels; with none, clusters.

Two things are not in the paper. The style's discriminator sees y beside z: z has to be Gaussian in every class, not
only over all of them, or a style drawn for one class would be drawn as another. And consistency: the class of an
image that was turned, stretched and moved has to be that of the image itself (Sajjadi et al., NeurIPS 2016), by either
of two losses. Where labels tell most classes already, the image's class is the target, if it is sure enough (Sohn et
al., "FixMatch", arXiv 2001.07685, equation 4). With few labels or none, the two say as much as they can of each other
(Ji et al., arXiv 1807.06653). This needs hundreds of times fewer epochs.

With exactly as many clusters as there are classes most optima of that are bad: they have a part of one class with
another. Two things of the same paper keep clusters from them. A head of many more clusters shares the encoder, which
so learns what tells digits apart ("auxiliary overclustering"); and of several sub-heads, each of which begins
elsewhere, the model's is the one whose pairs say most of each other.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Generator, Tensor, nn

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.maths.adversary import discriminator_loss, generator_loss
from aae_zoo.zoo.maths.augmentation import Settings as Augmentation
from aae_zoo.zoo.maths.augmentation import change
from aae_zoo.zoo.networks import mlp
from aae_zoo.zoo.objectives import BaseObjective, Batch, Reconstruction, reconstruction_loss, two_players
from aae_zoo.zoo.parts import PartSettings
from aae_zoo.zoo.priors import BasePrior, categorical, open_uniform
from aae_zoo.zoo.processes import average

# The paper of the method, on arXiv.
ARXIV: Final = "1511.05644"


class Settings(PartSettings):
    """The reconstruction loss, the weights of the other losses, and the discriminators of style and classes.

    `confidence` is how sure of its class an image has to be to be a target of the consistency, and `temperature` what
    its logits are divided by for that: below 1, targets are surer than the encoder is (Berthelot et al., "MixMatch",
    arXiv 1905.02249, equation 7). Without `confidence` there are no targets: consistency is mutual information, and
    `overclusters` the number of clusters of a head beside that of the classes.
    """

    kind: Literal["semi"]
    reconstruction: Reconstruction
    adversarial_weight: PositiveFloat
    class_adversarial_weight: PositiveFloat
    balance_weight: NonNegativeFloat
    label_weight: NonNegativeFloat
    consistency_weight: NonNegativeFloat
    confidence: Annotated[float, Field(ge=0, lt=1)] | None = None
    temperature: PositiveFloat = 1.0
    overclusters: Annotated[int, Field(ge=0)] = 0
    augmentation: Augmentation
    discriminator_learning_rate: PositiveFloat
    discriminator: mlp.Settings


class Objective(BaseObjective):
    """Discriminators, then reconstruction, generators, labels and consistency: one update of each on every batch."""

    def __init__(self, settings: Settings, autoencoder: Autoencoder, learning_rate: float) -> None:
        super().__init__()
        if not isinstance(autoencoder.prior, categorical.Prior):
            raise InvalidRecipe("objective.kind = 'semi' needs prior.kind = 'categorical' or 'heads', for its classes")
        if autoencoder.prior.subheads > 1 and settings.confidence is not None:
            raise InvalidRecipe("prior.subheads are judged by mutual information; leave out objective.confidence")
        self._check_used(settings)
        self.settings = settings
        self.encoder, self.decoder, self.prior = autoencoder.encoder, autoencoder.decoder, autoencoder.prior
        self.logits = autoencoder.logits
        s, classes = settings.discriminator, self.prior.classes
        self.discriminator = mlp.Discriminator(s, self.prior.latent + classes)
        self.class_discriminator = mlp.Discriminator(s, classes)
        self.normalise = nn.BatchNorm1d(settings.overclusters, affine=False) if settings.overclusters else None
        self.optimisers = two_players(
            [self.encoder, self.decoder, self.prior],
            learning_rate,
            [self.discriminator, self.class_discriminator],
            settings.discriminator_learning_rate,
        )

    @staticmethod
    def _check_used(settings: Settings) -> None:
        """Refuse settings of the one kind of consistency where it is of the other, which would not look at them."""
        if settings.confidence is None and settings.temperature != 1:
            raise InvalidRecipe(
                f"objective.temperature is {settings.temperature:g}, which is of targets; give "
                "objective.confidence too, or leave it out"
            )
        if settings.confidence is not None and settings.overclusters:
            raise InvalidRecipe(
                f"objective.overclusters is {settings.overclusters}, which is of mutual information; leave it out, or "
                "objective.confidence"
            )

    @staticmethod
    def heads(settings: Settings, prior: BasePrior) -> dict[str, int]:  # noqa: ARG004
        """The logits of more clusters than there are classes, where they are asked for."""
        return {"over": settings.overclusters} if settings.overclusters else {}

    def check_labels(self, known: int, images: int) -> None:
        """Of some images, with a weight, or of none without."""
        if bool(known) != bool(self.settings.label_weight):
            raise InvalidRecipe(
                f"objective.label_weight is {self.settings.label_weight:g}, and training knows {known} labels; set "
                "data.labels and objective.label_weight both to 0, for clusters, or both above"
            )
        if known == images:
            raise InvalidRecipe(
                f"objective.kind = 'semi' learns from the labels of some training images, and knows those of all "
                f"{images}; set data.labels lower, or give 'supervised'"
            )

    def step(self, batch: Batch, generator: Generator) -> dict[str, Tensor]:
        """One batch; the images of its labelled batch only teach the classes."""
        x, s = batch.image, self.settings
        outputs = self.encoder(x)
        parts = self.prior.parts_of(outputs)
        z, y = parts["z"], parts["y"]

        # Discriminators:  min_D  -E log D(z', y)  -  E log(1 - D(z, y)),   z' ~ p(z)
        #                  min_D_y  -E log D_y(y')  -  E log(1 - D_y(y)),   y' ~ p(y)
        drawn = self.prior.parts(open_uniform(len(x), self.prior.noise, generator))
        styled = torch.cat([z, y.detach()], 1)
        loss_D = discriminator_loss(self.discriminator, torch.cat([drawn["z"], y.detach()], 1), styled)
        loss_D_y = discriminator_loss(self.class_discriminator, drawn["y"], y)
        self.update("discriminator", loss_D + loss_D_y)

        # min_Q,P  -E log P(x | z, y)  -  w E log D(z, y)  -  w_y E log D_y(y)  -  w_l E log Q(label | x)
        #          +  consistency
        # Of several sub-heads none may be the better one for what is easiest to draw.
        decoded = parts if self.prior.subheads == 1 else {**parts, "y": y.detach()}
        losses = {
            "reconstruction": reconstruction_loss(self.logits(self.prior.together(decoded)), x, s.reconstruction),
            "generator": generator_loss(self.discriminator, styled),
            "class_generator": generator_loss(self.class_discriminator, y),
            "balance": math.log(self.prior.classes) + (y.mean(0) * y.mean(0).clamp(min=1e-8).log()).sum(),
            **self._class_losses(batch, outputs, y, generator),
        }
        weights = {
            "generator": s.adversarial_weight,
            "class_generator": s.class_adversarial_weight,
            "balance": s.balance_weight,
            "consistency": s.consistency_weight,
            "label": s.label_weight,
        }
        total = sum((weights.get(name, 1.0) * loss for name, loss in losses.items()), self.prior.penalty())
        self.update("autoencoder", total)
        judged = {"discriminator": loss_D, "class_discriminator": loss_D_y}
        return {name: loss.detach() for name, loss in {**losses, **judged}.items()}

    def _class_losses(
        self, batch: Batch, outputs: Mapping[str, Tensor], y: Tensor, generator: Generator
    ) -> dict[str, Tensor]:
        """Consistency of the changed images' classes with those of the images, and with labels their cross-entropy.

        `outputs` are the encoder's for the images, and `y` the probabilities of their classes.
        """
        images = torch.cat([batch.image, batch.known_image])
        of_all = self.encoder(change(images, self.settings.augmentation, generator))
        changed = {name: of_each[: len(y)] for name, of_each in of_all.items()}
        if (confidence := self.settings.confidence) is None:
            losses = {"consistency": -self._information(outputs, changed)}
        else:
            losses = {"consistency": self._distance(y, self.prior.class_logits(changed["y"]), confidence)}
        if len(batch.known_image):
            losses["label"] = F.cross_entropy(self.prior.class_logits(of_all["y"][len(y) :]), batch.known_label)
        return losses

    def _distance(self, y: Tensor, changed: Tensor, confidence: float) -> Tensor:
        """The cross-entropy of the changed images' logits to the images' classes, of those that are sure of it."""
        target = (y.detach().clamp(min=1e-30).log() / self.settings.temperature).softmax(1)
        sure = (target.amax(1) >= confidence).float()
        return (sure * F.cross_entropy(changed, target, reduction="none")).mean()

    def _information(self, outputs: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> Tensor:
        """What images and changed ones say of each other: the mean of all sub-heads, which are judged by it.

        That of the many clusters is added.
        """
        information = mutual_information(*(self.prior.guesses(of["y"]) for of in (outputs, changed)))
        if self.prior.subheads > 1:
            quality = information.detach().clone()
            average(quality)
            self.prior.judge(quality)
        if self.normalise is None:
            return information.mean()
        scale = self.prior.scale or 1.0
        over = ((scale * self.normalise(of["over"])).softmax(1)[:, None] for of in (outputs, changed))
        return information.mean() + mutual_information(*over).sum()


def mutual_information(a: Tensor, b: Tensor) -> Tensor:
    """I(A; B) in nats [guesses] of the classes of pairs of images, from their probabilities [n, guesses, classes].

    Ji et al., "Invariant information clustering" (arXiv 1807.06653), equation 3, with the joint distribution made
    symmetric: the largest value has each class as often as any other and the same one for both images of a pair.
    """
    joint = torch.einsum("ngi,ngj->gij", a, b) / len(a)
    joint = ((joint + joint.mT) / 2).clamp(min=1e-8)
    independent = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True)
    return (joint * (joint / independent).log()).sum((1, 2))
