"""The one-class detector: how odd an image is to a model of one class, and where, as a module that becomes one graph.

    score = (|h - h'|^2 / R + w |h - m|^2 / M) / (1 + w)

with h the histograms of oriented gradients of the image, h' those that the model restores from its code, and m the
mean of those of the training images; R and M are the means of the two squared distances over validation images, so
that these score 1 on average. The first says what the model cannot restore: the residual of S. Pidhorskyi et al.,
"Generative probabilistic novelty detection with adversarial autoencoders" (arXiv 1807.02588), with an error that is
measured in HOG instead of pixels. The second says how far from the middle of the class an image lies, which a model
that restores well does not tell, as their likelihood of the code does.

Where the objective asks for principal components (see `aae_zoo.zoo.maths.components`), what these leave of the pixels
is the map, in place of the errors of the histograms and of the restored image, and where it is greatest counts in the
score:

    score + w' max(e / E) sigma / sigma'

with e the errors of the pixels around each, E their usual ones, and sigma and sigma' the standard deviations of the
score and of the greatest ratio over validation images. E goes from place to place as over training images, and is on
average that of validation images: weighed place by place by what they have themselves, these would score lower than new
ones, and the limit that they set would be passed too often. The mean over all of an image hardly sees a scratch on it.
Of things that are odd as a whole, such as another digit, it makes the score a little worse.

A picture of nothing has no gradients to restore wrongly: that it is odd, the export's scale says, as of every detector.
Nothing here is fitted to an odd image; docs/oneclass.md and docs/anomalies.md tell what say some had in the constants.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data.dataset import as_float
from aae_zoo.zoo.maths.components import Components
from aae_zoo.zoo.networks import hog

# What the distance from the mean counts for beside the error of restoring: w above.
_MEAN_WEIGHT: Final = 0.4
# What the oddest place counts for beside the whole: w' above. The more, the more small defects are found, and the fewer
# other things.
_PLACE_WEIGHT: Final = 0.5
# Where nothing ever happens, such as a corner, the usual error is 0; a share of the whole image's is added.
_FLOOR: Final = 0.3
_TINY: Final = 1e-6
_PART: Final = 500
# More images make no better components.
_ENOUGH: Final = 3000


class Detector(nn.Module):
    """Images [n, C, H, W] in [0, 1] to scores [n], about 1 for usual images, and maps [n, 1, H, W] of what is odd.

    A map's values are multiples of what is usual at that place. The model's encoder and decoder are of the kind "hog".
    """

    mean: Tensor
    per_error: Tensor
    per_distance: Tensor
    per_cell: Tensor
    per_pixel: Tensor
    per_place: Tensor

    def __init__(self, model: Autoencoder, image: Sequence[int], components: Components | None = None) -> None:
        super().__init__()
        if not isinstance(model.encoder, hog.Encoder) or not isinstance(model.decoder, hog.Decoder):
            raise InvalidRecipe("a detector needs a model with encoder.kind and decoder.kind = 'hog'")
        self.encoder, self.decoder, self.prior = model.encoder, model.decoder, model.prior
        self.components = components
        self.register_buffer("mean", torch.zeros(model.encoder.hog.size))
        # What the differences and the greatest error are multiplied by. Few operations are left for the graph: each
        # costs more than what it computes of one image.
        self.register_buffer("per_error", torch.ones([]))
        self.register_buffer("per_distance", torch.ones([]))
        self.register_buffer("per_pixel", torch.ones(1, 1, *image[1:]))
        if components is None:
            self.register_buffer("per_cell", model.encoder.hog.spread())
        else:
            self.register_buffer("per_place", torch.zeros([]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The score of each image, and where it is odd."""
        errors, distance, pixels = self._differences(image)
        score, heat = self._whole(errors, distance), pixels * self.per_pixel
        if self.components is not None:
            return score + _greatest(heat) * self.per_place, heat
        cells = self.encoder.hog.by_cell(errors) @ self.per_cell
        return score, cells.reshape(heat.shape) + heat

    def _whole(self, errors: Tensor, distance: Tensor) -> Tensor:
        """The score of each image as a whole."""
        return errors.sum(1) * self.per_error + distance * self.per_distance

    def _differences(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared errors of histograms [n, size], distances from the mean [n], errors of pixels [n, 1, H, W]."""
        h = self.encoder.hog(image)
        z = self.prior.codes({"z": self.encoder.outputs_of(h)})["z"]
        if self.components is None:
            # A sum, as some engines know only the mean of older opsets.
            pixels = (image - self.decoder(z)["image"]).square().sum(1, keepdim=True)
        else:
            pixels = self.components(image)
        errors = (h - self.decoder.restore(z)).square()
        return errors, (h - self.mean).square().sum(1), _around(pixels)

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
            if self.components is None:
                cells = _floored(self.encoder.hog.by_cell(errors).mean(0))
                self.per_cell.copy_(self.encoder.hog.spread() / 2 / cells[:, None])
                self.per_pixel.copy_(1 / 2 / _floored(pixels.mean(0, keepdim=True)))
            else:
                self.per_pixel.copy_(1 / _floored(pixels.mean() * _shape_of_errors(self.components, training)))
                score, place = self._whole(errors, distance), _greatest(pixels * self.per_pixel)
                self.per_place.copy_(_PLACE_WEIGHT * score.std(correction=0) / place.std(correction=0).clamp(min=_TINY))


def fit_detector(model: Autoencoder, training: Tensor, validation: Tensor, components: int = 0) -> Detector:
    """The detector of a trained model and normal images, as `Detector.fit` takes them, in evaluation mode.

    With `components` it looks for small defects too, by at most as many principal components of the training images.

    Raises:
        InvalidRecipe: the model's networks are of another kind.
    """
    some = training[:: math.ceil(len(training) / _ENOUGH)]
    found = Components.of(as_float(some), components) if components else None
    detector = Detector(model, training.shape[1:], found)
    detector.fit(training, validation)
    return detector


def _around(pixels: Tensor) -> Tensor:
    """The mean of the pixels around each, and of itself."""
    return F.avg_pool2d(pixels, 3, stride=1, padding=1)


def _shape_of_errors(components: Components, images: Tensor) -> Tensor:
    """How the mean error around each pixel goes from place to place: [1, 1, H, W], 1 on average."""
    usual = torch.stack([_around(components(as_float(part))).sum(0) for part in images.split(_PART)]).sum(0)[None]
    return usual / usual.mean().clamp(min=torch.finfo().tiny)


def _greatest(heat: Tensor) -> Tensor:
    """The greatest value [n] of maps [n, 1, H, W]. A pooling, as some engines know only the maximum of older opsets."""
    return F.max_pool2d(heat, heat.shape[2:]).flatten()


def _floored(usual: Tensor) -> Tensor:
    return usual + _FLOOR * usual.mean() + _TINY
