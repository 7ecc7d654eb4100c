"""The one-class detector: how odd an image is to a model of one class, and where, as a module that becomes one graph.

    score = (|h - h'|^2 / R + w |h - m|^2 / M) / (1 + w)

with h the histograms of oriented gradients of the image, h' those that the model restores from its code, and m the
mean of those of the training images; R and M are the means of the two squared distances over validation images, so
that these score 1 on average. The first says what the model cannot restore: the residual of S. Pidhorskyi et al.,
"Generative probabilistic novelty detection with adversarial autoencoders" (arXiv 1807.02588), with an error that is
measured in HOG instead of pixels. The second says how far from the middle of the class an image lies, which a model
that restores well does not tell, as their likelihood of the code does.

The mean over all of an image hardly sees a scratch on it, and what a model cannot restore of usual images, such as the
grain of wood, drowns it. A segmenter (see `aae_zoo.zoo.segmenter`) sees it, and has nothing to say of another thing
altogether. Where the objective trains one, an image is as odd as the worse of two:

    max((score - m) / (q - m), (l - m') / (q' - m'))

with l the segmenter's logit of the whole image, m and m' the medians of both over training images, and q and q' their
95th percentiles. Training images say how both compare, so that validation images can set the limit of both together.

A picture of nothing has no gradients to restore wrongly: that it is odd, the export's scale says, as of every detector.
Nothing here is fitted to an odd image; docs/oneclass.md and docs/anomalies.md tell what say some had in the constants.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data.dataset import as_float
from aae_zoo.zoo.networks import hog
from aae_zoo.zoo.segmenter import Segmenter, greatest

# What the distance from the mean counts for beside the error of restoring: w above.
_MEAN_WEIGHT: Final = 0.4
# The percentile above.
_HIGH: Final = 0.95
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
        # What the differences are multiplied by. Few operations are left for the graph: each costs more than what it
        # computes of one image.
        self.register_buffer("per_error", torch.ones([]))
        self.register_buffer("per_distance", torch.ones([]))
        self.register_buffer("per_cell", model.encoder.hog.spread())
        self.register_buffer("per_pixel", torch.ones(1, 1, *image[1:]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The score of each image, and where it is odd."""
        z, errors, distance = self._differences(image)
        return self._score(errors, distance), self._cells(errors) + self._pixels(image, z) * self.per_pixel

    def shapes(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The same by the histograms alone."""
        _, errors, distance = self._differences(image)
        return self._score(errors, distance), self._cells(errors)

    def _differences(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [n, latent], squared errors of histograms [n, size], and distances from the mean [n]."""
        h = self.encoder.hog(image)
        z = self.prior.codes({"z": self.encoder.outputs_of(h)})["z"]
        return z, (h - self.decoder.restore(z)).square(), (h - self.mean).square().sum(1)

    def _score(self, errors: Tensor, distance: Tensor) -> Tensor:
        return errors.sum(1) * self.per_error + distance * self.per_distance

    def _cells(self, errors: Tensor) -> Tensor:
        """The errors of the histograms around each pixel."""
        return (self.encoder.hog.by_cell(errors) @ self.per_cell).reshape(-1, 1, *self.encoder.hog.side)

    def _pixels(self, image: Tensor, z: Tensor) -> Tensor:
        """The errors of the restored image around each pixel."""
        # A sum, as some engines know only the mean of older opsets.
        return F.avg_pool2d((image - self.decoder(z)["image"]).square().sum(1, keepdim=True), 3, stride=1, padding=1)

    def fit(self, training: Tensor, validation: Tensor) -> None:
        """Learn what is usual from normal images alone, of bytes or float32 in [0, 1]: [n, C, H, W], 1 or more of each.

        The validation images are others than those that the model was trained on, which it restores a little better.
        """
        (h,) = _by_part(lambda image: [self.encoder.hog(image)], training)
        self.mean.copy_(h.mean(0))
        z, errors, distance = _by_part(self._differences, validation)
        self.per_error.copy_(1 / (1 + _MEAN_WEIGHT) / errors.sum(1).mean().clamp(min=_TINY))
        self.per_distance.copy_(_MEAN_WEIGHT / (1 + _MEAN_WEIGHT) / distance.mean().clamp(min=_TINY))
        cells = _floored(self.encoder.hog.by_cell(errors).mean(0))
        self.per_cell.copy_(self.encoder.hog.spread() / 2 / cells[:, None])
        pixels = [self._pixels(as_float(x), z) for x, z in zip(validation.split(_PART), z.split(_PART), strict=True)]
        self.per_pixel.copy_(1 / 2 / _floored(torch.cat(pixels).mean(0, keepdim=True)))


class DefectDetector(nn.Module):
    """A detector with a segmenter: what is odd as a whole, and what has something odd somewhere.

    Scores are about 0 for usual images. The map shows what the segmenter sees, and where the histograms are odder than
    they are anywhere in nearly all usual images.
    """

    score_start: Tensor
    per_score: Tensor
    logit_start: Tensor
    per_logit: Tensor
    per_cell: Tensor
    per_pixel: Tensor

    def __init__(self, detector: Detector, segmenter: Segmenter) -> None:
        super().__init__()
        self.detector, self.segmenter = detector, segmenter
        for name in ("score_start", "per_score", "logit_start", "per_logit", "per_cell", "per_pixel"):
            self.register_buffer(name, torch.zeros([]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The score of each image, and where it is odd."""
        (score, cells), (logit, pixels) = self.detector.shapes(image), self.segmenter(image)
        score = torch.maximum(score * self.per_score + self.score_start, logit * self.per_logit + self.logit_start)
        return score, torch.maximum(cells * self.per_cell - 1, F.softplus(pixels) * self.per_pixel)

    def fit(self, training: Tensor, validation: Tensor) -> None:
        """Learn how both compare: of scores, from the images that they were trained on, and of maps from others."""
        (score, _), (logit, _) = _by_part(self.detector.shapes, training), _by_part(self.segmenter, training)
        for values, per, start in (
            (score, self.per_score, self.score_start),
            (logit, self.per_logit, self.logit_start),
        ):
            usual = values.median()
            per.copy_(1 / (values.quantile(_HIGH) - usual).clamp(min=_TINY))
            start.copy_(-usual * per)
        (cells,) = _by_part(lambda image: [greatest(self.detector.shapes(image)[1])], validation)
        (pixels,) = _by_part(lambda image: [greatest(F.softplus(self.segmenter(image)[1]))], validation)
        self.per_cell.copy_(1 / cells.quantile(_HIGH).clamp(min=_TINY))
        self.per_pixel.copy_(1 / pixels.quantile(_HIGH).clamp(min=_TINY))


@torch.no_grad()
def fit_detector(
    model: Autoencoder, training: Tensor, validation: Tensor, segmenter: Segmenter | None = None
) -> Detector | DefectDetector:
    """The detector of a trained model and normal images, as `Detector.fit` takes them, in evaluation mode.

    With a trained `segmenter` it looks for small defects too.

    Raises:
        InvalidRecipe: the model's networks are of another kind.
    """
    detector = Detector(model, training.shape[1:]).eval()
    detector.fit(training, validation)
    if segmenter is None:
        return detector
    both = DefectDetector(detector, segmenter).eval()
    both.fit(training, validation)
    return both


def _by_part(function: Callable[[Tensor], Sequence[Tensor]], images: Tensor) -> list[Tensor]:
    """Each output of a function of many images, of bytes or float32 in [0, 1]."""
    parts = [function(as_float(part)) for part in images.split(_PART)]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _floored(usual: Tensor) -> Tensor:
    return usual + _FLOOR * usual.mean() + _TINY
