"""The anomaly score: how badly an image is reconstructed, and how far its code lies from the model's own prior.

    score = reconstruction / R + max(0, distance / D - 1)

with R and D the 99th percentiles on validation images, so that a code counts where it is further out than those of
ordinary images are. An image is anomalous where its score is above T, the 99th percentile of theirs. The prior is known
by its draws alone, so nothing here depends on what it is.

A picture of nothing is easy to rebuild, and its code lies where the prior is dense. So whatever is flatter than every
validation image, by the standard deviation of its pixels, has T (2 - contrast / smallest contrast) added: it is
anomalous, and the more so the flatter it is.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import ScoreLimits
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.notebook import table
from aae_zoo.runtime.words import agreeing, counted

DRAWS: Final = 1000
_QUANTILE: Final = 0.99
# A model may rebuild its images exactly, or have every code on a draw of a discrete prior.
_SMALLEST: Final = 1e-6
# Of the smallest contrast of validation images: one ordinary image in n + 1 has less than n of them.
CLEARLY_FLAT: Final = 0.5
_NAN: Final = np.float32(np.nan)
# How far sums and squares of float32 in [0, 1] may be off, for each that is added: four halves of a last place.
_ROUNDING: Final = 2.0**-22
# What is said of one image: a copy takes a tenth as long as an operator of numpy's.
_NONE: Final = np.full(1, _NAN)
_TRUTH: Final = (np.zeros(1, np.bool_), np.ones(1, np.bool_))
# How many rows a notebook shows.
_SHOWN: Final = 20

Figures = NDArray[np.float32]


class _Columns(NamedTuple):
    score: Figures
    reconstruction: Figures
    distance: Figures
    anomalous: NDArray[np.bool_]
    flat: NDArray[np.bool_]


class Scores(_Columns):
    """For each image, all [n]: its score, the two parts of it as they are, and whether it is anomalous.

    `reconstruction` is the squared error per pixel; `distance` that of the code to the nearest draw of the prior,
    in standard deviations of the prior; `flat` says that an image has less contrast than any validation image. A
    detector's score has no such parts: both are NaN then. `maps`, where they were asked for, has for each image where
    it is odd, [height, width] in its own size.
    """

    maps: Sequence[Figures] | None = None

    def __repr__(self) -> str:
        return f"<Scores [{len(self.score)}]: {int(self.anomalous.sum())} anomalous>"

    @property
    def verdict(self) -> str:
        """How many of the images are anomalous, in words."""
        found = int(self.anomalous.sum())
        of = counted(len(self.score), "image")
        return f"{found} of {of} {agreeing(found, 'is', 'are')} anomalous"

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of a table by name, without those that a detector's score does not have."""
        return {name: values for name, values in self._asdict().items() if not np.isnan(values).all()}

    def _repr_html_(self) -> str:
        """What a notebook shows: a row for each image, or of many those with the highest scores."""
        count = len(self.score)
        rows = np.arange(count) if count <= _SHOWN else np.argsort(-self.score, kind="stable")[:_SHOWN]
        some = f"; the {_SHOWN} highest scores" if count > _SHOWN else ""
        columns: dict[str, list[str]] = {"image": [str(row) for row in rows]}
        for name, values in self.columns().items():
            columns[name] = [("yes" if v else "no") if v.dtype == bool else f"{v:.4g}" for v in values[rows]]
        return table(f"{self.verdict}{some}", columns)


def distance_from_prior(z: NDArray[np.float32], draws: NDArray[np.float32]) -> Figures:
    """The distances [n] of codes z [n, latent] to the nearest of the prior's draws [m, latent].

    The unit is the draws' standard deviation, the root mean square over the coordinates. Takes n x m numbers of memory.

    Raises:
        InvalidBundle: the draws are all the same, or not finite.
    """
    a, b = z.astype(np.float64), draws.astype(np.float64)
    scale = float(np.sqrt(b.var(axis=0).mean()))
    if not 0 < scale < np.inf:
        raise InvalidBundle(f"the prior's draws have a standard deviation of {scale}, expected a finite one above 0")
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squared.min(1), 0)) / scale, np.float32)


def contrast_of(images: Figures) -> Figures:
    """The standard deviations [n] of the pixels of images [n, C, H, W]: 0 for a flat one."""
    pixels = images.reshape(len(images), -1)
    # As numpy's std, which takes a quarter as long as to score an image.
    shares = _shares(pixels.shape[1])
    apart = pixels - (pixels @ shares)[:, None]
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", apart, apart) * shares[0]))


def may_be_flat(image: Figures, smallest: float) -> bool:
    """Whether an image [1, C, H, W] in [0, 1] may have less contrast than the smallest; if so, `contrast_of` tells.

    Two sums, which take a tenth as long; false where these are above it by more than both can be off.
    """
    pixels = image.ravel()
    mean, square = float(pixels.dot(_shares(pixels.size))), float(pixels.dot(pixels)) / pixels.size
    return square - mean * mean <= smallest * smallest + pixels.size * _ROUNDING


@cache
def _shares(size: int) -> Figures:
    """What each of `size` values counts for in their mean."""
    return np.full(size, 1 / size, np.float32)


def score_limits(
    reconstruction: Figures, distance: Figures, contrast: Figures, false_alarms: float | None = None
) -> ScoreLimits:
    """What is usual among validation images [n], for the manifest.

    With `false_alarms` new ordinary images are anomalous in that share at most, on average: the threshold is then one
    of the scores, and no image is anomalous that is only a little flatter than all of these.
    """
    error, far = _usual(reconstruction), _usual(distance)
    scores, flattest = _combine(reconstruction, distance, error, far), float(contrast.min())
    if false_alarms is None:
        return ScoreLimits(error, far, _usual(scores), images=len(scores), contrast=flattest)
    threshold = max(limit(scores, false_alarms), _SMALLEST)
    return ScoreLimits(error, far, threshold, len(scores), CLEARLY_FLAT * flattest, false_alarms)


def limit(scores: Figures, false_alarms: float) -> float:
    """The score [n] that new ones exceed in that share at most, on average: the highest one where they are too few.

    It is the one at place (n + 1) (1 - share), rounded up: split conformal prediction (Papadopoulos et al., "Inductive
    confidence machines for regression", ECML 2002).
    """
    place = min(len(scores), math.ceil((len(scores) + 1) * (1 - false_alarms)))
    return float(np.sort(scores)[place - 1])


def judge(reconstruction: Figures, distance: Figures, contrast: Figures, limits: ScoreLimits) -> Scores:
    """The scores of images [n] from the parts."""
    scores = _combine(reconstruction, distance, limits.reconstruction, limits.distance)
    threshold, smallest = np.float32(limits.threshold), np.float32(max(limits.contrast, _SMALLEST))
    flat = contrast < smallest
    scores = np.where(flat, scores + threshold * (2 - contrast / smallest), scores)
    return Scores(scores, reconstruction, distance, scores > threshold, flat)


def judge_detected(score: Figures, contrast: Figures, limits: ScoreLimits | None) -> Scores:
    """The scores of images [n] that a detector gives, above 1 of which they are anomalous.

    Of the limits only the contrast counts; without any, no image is flat but one of a single value.
    """
    none = score * _NAN
    return Scores(score, none, none, score > 1, _is_flat(contrast, _least_contrast(limits)))


def judge_detected_one(score: Figures, image: Figures, limits: ScoreLimits | None) -> Scores:
    """The same of one image [1, C, H, W], whose contrast is only worked out where that could matter.

    Contrast and `judge_detected` would be a third of what the score takes.
    """
    smallest = _least_contrast(limits)
    flat = may_be_flat(image, smallest) and bool(_is_flat(contrast_of(image), smallest)[0])
    none = _NONE.copy()
    return Scores(score, none, none, _TRUTH[score.item() > 1].copy(), _TRUTH[flat].copy())


def _least_contrast(limits: ScoreLimits | None) -> float:
    return limits.contrast if limits else 0.0


def _is_flat(contrast: Figures, smallest: float) -> NDArray[np.bool_]:
    return contrast < np.float32(max(smallest, _SMALLEST))


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several parts, one after the other, without maps."""
    return Scores(*map(np.concatenate, zip(*parts, strict=True)))


def _usual(values: Figures) -> float:
    return max(float(np.quantile(values, _QUANTILE)), _SMALLEST)


def _combine(reconstruction: Figures, distance: Figures, usual_error: float, usual_distance: float) -> Figures:
    beyond = np.maximum(0, distance / np.float32(usual_distance) - np.float32(1))
    return np.asarray(reconstruction / np.float32(usual_error) + beyond, np.float32)
