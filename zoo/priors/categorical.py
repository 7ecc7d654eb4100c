"""A class and a Gaussian style, independent of each other: y uniform over the classes, z ~ N(0, std^2 I).

The prior of Makhzani et al. (arXiv 1511.05644) wherever the decoder gets a label with the code: supervised
(figure 6), semi-supervised (figure 8) and clustering (section 6).
"""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.maths.quantile import normal_quantile
from aae_zoo.zoo.parts import PriorSettings, Size
from aae_zoo.zoo.priors import BasePrior, one_hot

# The weight of a batch in the running mean of how good sub-heads are, and by how much a better one has to be better:
# those that have found the same classes are as good as each other, but number them differently, and a decoder that
# got now one and now another could not learn what a number means.
_NEWEST: Final = 0.02
_BETTER: Final = 0.02


class Settings(PriorSettings):
    """How many classes, by default as many as the data set has, and the standard deviation of each coordinate of z.

    With `scale` both heads of the encoder are normalised over the batch, and the logits of the classes multiplied by
    it (the paper normalises the heads for clustering, appendix A.3): without labels, every class then has its share
    from the first step on, and the style stays where its prior is while the classes are being found.

    `subheads` are as many guesses at the classes, each from other random weights (Ji et al., "Invariant information
    clustering", arXiv 1807.06653): training says which is the best, and that one is the model's.
    """

    kind: Literal["categorical"]
    classes: Size | None = None
    std: PositiveFloat = 1.0
    scale: PositiveFloat | None = None
    subheads: Size = 1


class Prior(BasePrior):
    """z = std * quantile(u) of all coordinates but the last, which chooses y."""

    conditional = True
    quality: Tensor
    choice: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        if settings.classes is None:
            raise InvalidRecipe("prior.classes is missing, and the data have no classes to count; set it to a number")
        self.latent, self.noise = settings.size, settings.size + 1
        self.classes, self.label_coordinate, self.std = settings.classes, settings.size, settings.std
        self.scale, self.subheads = settings.scale, settings.subheads
        normalised, logits = settings.scale is not None, settings.subheads * settings.classes
        self.normalise_style = nn.BatchNorm1d(settings.size, affine=False) if normalised else nn.Identity()
        self.normalise = nn.BatchNorm1d(logits, affine=False) if normalised else nn.Identity()
        if self.subheads > 1:
            self.register_buffer("quality", torch.zeros(self.subheads))
            self.register_buffer("choice", torch.zeros(logits, self.classes))
            self.judge(self.quality)

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Styles z [n, size] and one-hot classes y [n, classes] of noise u [n, size + 1]."""
        return self.parts(u)

    def parts(self, u: Tensor) -> dict[str, Tensor]:
        """Styles z and one-hot classes y, before a prior built on this one puts them together."""
        return {"z": self.std * normal_quantile(u[:, :-1]), "y": one_hot(u[:, -1], self.classes)}

    def parts_of(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same two of images, from the encoder's linear outputs: styles, and probabilities of the classes."""
        style = outputs["z"] if self.scale is None else self.std * self.normalise_style(outputs["z"])
        return {"z": style, "y": self.class_logits(outputs["y"]).softmax(1)}

    def together(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The codes of a style and a class: here both as they are."""
        return dict(parts)

    def penalty(self) -> Tensor:
        """What training adds to the losses for the prior's own parameters, of which this one has none."""
        return torch.zeros(())

    def heads(self) -> dict[str, int]:
        """The style, and the logits of the classes from each sub-head."""
        return {"z": self.latent, "y": self.subheads * self.classes}

    def codes(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The style, and the probabilities of the classes."""
        return self.together(self.parts_of(outputs))

    def class_logits(self, y: Tensor) -> Tensor:
        """The logits [n, classes] of the classes from the encoder's linear output, as its best sub-head has them."""
        logits = self._logits(y)
        if self.subheads == 1:
            return logits
        # In training a copy, because `judge` changes the choice before the gradient, which needs it, is computed.
        return logits @ (self.choice.clone() if self.training else self.choice)

    def guesses(self, y: Tensor) -> Tensor:
        """The probabilities [n, subheads, classes] of the classes from the same output, as every sub-head has them."""
        guesses: Tensor = self._logits(y).unflatten(1, (self.subheads, self.classes)).softmax(2)
        return guesses

    @torch.no_grad()
    def judge(self, quality: Tensor) -> None:
        """Tell how good every sub-head was on a batch [subheads]: the best of about the last fifty is the model's.

        The choice is a matrix of zeros and ones, which every engine multiplies by and no card has to be asked for.
        """
        self.quality.lerp_(quality, _NEWEST)
        chosen = self.choice[:: self.classes, 0]
        best = nn.functional.one_hot((self.quality + _BETTER * chosen).argmax(), self.subheads)
        self.choice.copy_(torch.kron(best[:, None], torch.eye(self.classes, device=best.device)))

    def _logits(self, y: Tensor) -> Tensor:
        """The logits [n, subheads * classes] of all sub-heads side by side."""
        logits: Tensor = self.normalise(y)
        return logits if self.scale is None else self.scale * logits
