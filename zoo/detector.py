"""The one-class detector: how odd an image is to a model of one class, and where, as a module that becomes one graph.

    score = (|h - h'|^2 / R + w |h - m|^2 / M) / (1 + w)

with h the histograms of oriented gradients of the image, h' those that the model restores from its code, and m the
mean of those of the training images; R and M are the means of the two squared distances over validation images, so
that these score 1 on average. The first says what the model cannot restore: the residual of S. Pidhorskyi et al.,
"Generative probabilistic novelty detection with adversarial autoencoders" (arXiv 1807.02588), with an error that is
measured in HOG instead of pixels. The second says how far from the middle of the class an image lies, which a model
that restores well does not tell, as their likelihood of the code does.

A picture of nothing has no gradients to restore wrongly: that it is odd, the export's scale says, as of every detector.
Nothing here is fitted to an odd image; what say some had in the constants is told in docs/oneclass.md.
"""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data.dataset import as_float
from aae_zoo.zoo.networks import hog

# What the distance from the mean counts for beside the error of restoring: w above.
_MEAN_WEIGHT: Final = 0.4
# Where nothing ever happens, such as a corner, the usual error is 0; a share of the whole image's is added.
_FLOOR: Final = 0.3
_TINY: Final = 1e-6
_PART: Final = 500


class Detector(nn.Module):
    """Images [n, C, H, W] in [0, 1] to scores [n], about 1 for usual images, and maps [n, 1, H, W] of what is odd.

    A map's values are multiples of what is usual at that place. The model's encoder and decoder are of the kind "hog".
    """

    mean: Tensor
    per_error: Tensor
    per_distance: Tensor
    per_cell: Tensor
    per_pixel: Tensor

    def __init__(self, model: Autoencoder, image: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(model.encoder, hog.Encoder) or not isinstance(model.decoder, hog.Decoder):
            raise InvalidRecipe("a detector needs a model with encoder.kind and decoder.kind = 'hog'")
        self.encoder, self.decoder, self.prior = model.encoder, model.decoder, model.prior
        self.register_buffer("mean", torch.zeros(model.encoder.hog.size))
        # What the four differences are multiplied by. Few operations are left for the graph: each costs more than what
        # it computes of one image.
        self.register_buffer("per_error", torch.ones([]))
        self.register_buffer("per_distance", torch.ones([]))
        self.register_buffer("per_cell", model.encoder.hog.spread())
        self.register_buffer("per_pixel", torch.ones(1, 1, *image[1:]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The score of each image, and where it is odd."""
        errors, distance, pixels = self._differences(image)
        score = errors.sum(1) * self.per_error + distance * self.per_distance
        cells = self.encoder.hog.by_cell(errors) @ self.per_cell
        return score, cells.reshape(pixels.shape) + pixels * self.per_pixel

    def _differences(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared errors of histograms [n, size], distances from the mean [n], errors of pixels [n, 1, H, W]."""
        h = self.encoder.hog(image)
        z = self.prior.codes({"z": self.encoder.outputs_of(h)})["z"]
        # A sum, as some engines know only the mean of older opsets.
        pixels = (image - self.decoder(z)["image"]).square().sum(1, keepdim=True)
        errors = (h - self.decoder.restore(z)).square()
        return errors, (h - self.mean).square().sum(1), F.avg_pool2d(pixels, 3, stride=1, padding=1)

    def fit(self, training: Tensor, validation: Tensor) -> None:
        """Learn what is usual from normal images alone, of bytes or float32 in [0, 1]: [n, C, H, W], 1 or more of each.

        The validation images are others than those that the model was trained on, which it restores a little better.
        """
        self.eval()
        with torch.no_grad():
            h = torch.cat([self.encoder.hog(as_float(part)) for part in training.split(_PART)])
            self.mean.copy_(h.mean(0))
            parts = [self._differences(as_float(part)) for part in validation.split(_PART)]
            errors, distance, pixels = (torch.cat(each) for each in zip(*parts, strict=True))
            self.per_error.copy_(1 / (1 + _MEAN_WEIGHT) / errors.sum(1).mean().clamp(min=_TINY))
            self.per_distance.copy_(_MEAN_WEIGHT / (1 + _MEAN_WEIGHT) / distance.mean().clamp(min=_TINY))
            cells = _floored(self.encoder.hog.by_cell(errors).mean(0))
            self.per_cell.copy_(self.encoder.hog.spread() / 2 / cells[:, None])
            self.per_pixel.copy_(1 / 2 / _floored(pixels.mean(0, keepdim=True)))


def fit_detector(model: Autoencoder, training: Tensor, validation: Tensor) -> Detector:
    """The detector of a trained model and normal images, as `Detector.fit` takes them, in evaluation mode.

    Raises:
        InvalidRecipe: the model's networks are of another kind.
    """
    detector = Detector(model, training.shape[1:])
    detector.fit(training, validation)
    return detector


def _floored(usual: Tensor) -> Tensor:
    return usual + _FLOOR * usual.mean() + _TINY
