"""The anomaly score: how badly an image is reconstructed, and how far its code lies from the model's own prior.

    score = reconstruction / R + max(0, distance / D - 1)

with R and D the 99th percentiles on validation images, so that a code counts only where it is further out than the
codes of ordinary images. An image is anomalous where its score is above the 99th percentile of theirs. The prior is
known by its draws alone, so nothing here depends on what it is.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import ScoreLimits
from aae_zoo.runtime.errors import InvalidBundle

DRAWS: Final = 1000
_QUANTILE: Final = 0.99
# A model may rebuild its images exactly, or have every code on a draw of a discrete prior.
_SMALLEST: Final = 1e-6

Figures = NDArray[np.float32]


class Scores(NamedTuple):
    """For each image, all [n]: its score, the two parts of it as they are, and whether it is anomalous.

    `reconstruction` is the squared error per pixel; `distance` is from the code to the nearest draw of the prior,
    in standard deviations of the prior.
    """

    score: Figures
    reconstruction: Figures
    distance: Figures
    anomalous: NDArray[np.bool_]


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


def score_limits(reconstruction: Figures, distance: Figures) -> ScoreLimits:
    """What is usual among validation images [n], for the manifest."""
    error, far = _usual(reconstruction), _usual(distance)
    scores = _combine(reconstruction, distance, error, far)
    return ScoreLimits(reconstruction=error, distance=far, threshold=_usual(scores), images=len(scores))


def judge(reconstruction: Figures, distance: Figures, limits: ScoreLimits) -> Scores:
    """The scores of images [n] from their two parts."""
    scores = _combine(reconstruction, distance, limits.reconstruction, limits.distance)
    return Scores(scores, reconstruction, distance, scores > np.float32(limits.threshold))


def _usual(values: Figures) -> float:
    return max(float(np.quantile(values, _QUANTILE)), _SMALLEST)


def _combine(reconstruction: Figures, distance: Figures, usual_error: float, usual_distance: float) -> Figures:
    beyond = np.maximum(0, distance / np.float32(usual_distance) - np.float32(1))
    return np.asarray(reconstruction / np.float32(usual_error) + beyond, np.float32)
