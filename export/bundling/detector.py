"""A detector's scale: its score is above 1 where an image is anomalous, and so is its map where that is.

The numbers of the scale are measured on validation images, on none of which the networks were trained, and become a
part of the graph: whoever runs it needs no threshold.
"""

from typing import Final

import torch
from torch import Tensor, nn

from aae_zoo.runtime.bundles.manifest import FALSE_ALARMS, DetectorLimits
from aae_zoo.runtime.latent.score import CLEARLY_FLAT, limit
from aae_zoo.zoo.data.dataset import to_float
from aae_zoo.zoo.measure.samples import batch_size

# How fast the score rises above 1 where an image gets clearly flatter than all validation images.
_STEEPNESS: Final = 8.0
_SMALLEST: Final = 1e-6


class Scaled(nn.Module):
    """A detector with its scale. From images [n, C, H, W] to `score` [n] and `map` [n, 1, H, W] by name.

    The score is 0 for the median of the validation images, and 1 where it begins to be anomalous; the map reaches 1
    somewhere in as many of them as have a score above 1. What is clearly flatter than all of them has a score above 1.
    """

    start: Tensor
    slope: Tensor
    per_heat: Tensor
    per_contrast: Tensor

    def __init__(self, detector: nn.Module, *, usual: float, width: float, heat: float, contrast: float) -> None:
        super().__init__()
        self.detector = detector
        # As few operations for the graph as can be.
        for name, value in {
            "start": -usual / width,
            "slope": 1 / width,
            "per_heat": 1 / heat,
            "per_contrast": _STEEPNESS / contrast,
        }.items():
            self.register_buffer(name, torch.tensor(value))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The score [n] and the map [n, 1, H, W] of images [n, C, H, W] in [0, 1]."""
        score, heat = self.detector(image)
        flatness = 1 + _STEEPNESS - _contrast(image) * self.per_contrast
        return {"score": torch.maximum(score * self.slope + self.start, flatness), "map": heat * self.per_heat}


def _contrast(image: Tensor) -> Tensor:
    """The standard deviation [n] of the pixels of images."""
    rows = image.flatten(1, 2)
    # Sums and a size instead of means, as some engines know only those of older opsets.
    size = rows.shape[1] * rows.shape[2]
    # Row by row: some engines add numbers up one after the other, and of a thousand the rounding would show.
    apart = rows - rows.sum(2, keepdim=True).sum(1, keepdim=True) / size
    return (apart.square().sum(2).sum(1) / size).sqrt()


@torch.no_grad()
def scaled(
    detector: nn.Module, validation: Tensor, *, false_alarms: float = FALSE_ALARMS
) -> tuple[Scaled, DetectorLimits]:
    """A detector with the scale of validation images, uint8 [n, C, H, W], of which that share may be anomalous.

    The detector is as an objective's `detector` makes it. For new images of the same kind the share is that of false
    alarms on average, by `limit`. Fewer than 1 / share - 1 images promise no less than 1 / (n + 1).
    """
    count = len(validation)
    parts = [_figures(detector, to_float(part)) for part in validation.split(batch_size(validation))]
    score, heat, contrast = (torch.cat(column) for column in zip(*parts, strict=True))
    usual = float(score.median())
    scale = {
        "usual": usual,
        "width": max(limit(score.numpy(), false_alarms) - usual, _SMALLEST),
        "heat": max(limit(heat.numpy(), false_alarms), _SMALLEST),
        "contrast": max(float(contrast.min()) * CLEARLY_FLAT, _SMALLEST),
    }
    return Scaled(detector, **scale).eval(), DetectorLimits(max(false_alarms, 1 / (count + 1)), images=count)


def _figures(detector: nn.Module, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each image its score, the greatest value of its map, and its contrast: all [n]."""
    score, heat = detector(image)
    return score, heat.flatten(1).amax(1), image.flatten(1).std(1, correction=0)
