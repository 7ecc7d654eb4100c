"""How like two sets of pictures are, told by points of theirs: precision and recall, density and coverage, and copies.

A point is what stands for a picture: its features, or its pixels. All distances are Euclidean.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

_ROWS: Final = 1000  # of distances at a time: 80 MB beside 10,000 points


class Likeness(NamedTuple):
    """How like fake points are to real ones, each a share of 1; a density may be above.

    precision  the fake points that lie among real ones: what is drawn looks real
    recall     the real points that lie among fake ones: what is real is drawn
    density    among how many neighbourhoods of real points a fake one lies, of as many as a real one would
    coverage   the real points in whose neighbourhood there is a fake one
    """

    precision: float
    recall: float
    density: float
    coverage: float


def likeness(real: Tensor, fake: Tensor, neighbours: int = 5) -> Likeness:
    """How like fake points [m, d] are to real ones [n, d], more than `neighbours` each.

    A neighbourhood is the ball around a point that reaches to its k-th nearest neighbour in its own set, k being
    `neighbours`. Precision and recall are those of Kynkäänniemi et al., "Improved precision and recall metric for
    assessing generative models" (arXiv 1904.06991, equations 1 and 2); density and coverage those of Naeem et al.,
    "Reliable fidelity and diversity metrics for generative models" (arXiv 2002.09797, equations 3 and 4).
    """
    around_real, around_fake = radii(real, neighbours), radii(fake, neighbours)
    among_real = torch.zeros(len(fake), device=real.device)
    covered, among_fake = torch.zeros(2, len(real), dtype=torch.bool, device=real.device)
    for start in range(0, len(real), _ROWS):
        part = slice(start, start + _ROWS)
        distances = _exact(real[part], fake)
        within = distances <= around_real[part, None]
        among_real += within.sum(0)
        covered[part] = within.any(1)
        among_fake[part] = (distances <= around_fake).any(1)
    return Likeness(
        precision=float((among_real > 0).float().mean()),
        recall=float(among_fake.float().mean()),
        density=float(among_real.mean() / neighbours),
        coverage=float(covered.float().mean()),
    )


def radii(points: Tensor, neighbours: int) -> Tensor:
    """The distance [n] from each of the points [n, d] to its k-th nearest neighbour, k being `neighbours`."""
    nearest = [_exact(part, points).topk(neighbours + 1, largest=False).values for part in points.split(_ROWS)]
    return torch.cat(nearest)[:, -1]  # the first is the point itself


def _exact(a: Tensor, b: Tensor) -> Tensor:
    """Distances in float64: a radius is compared with the distance that it is made of."""
    return torch.cdist(a.double(), b.double())


def nearest_distances(points: Tensor, others: Tensor) -> Tensor:
    """How far from each of the points [n, d] the nearest of the others [m, d] is, [n]."""
    nearest = torch.full((len(points),), torch.inf)
    for part in others.split(_ROWS):
        torch.minimum(nearest, torch.cdist(points, part).amin(1), out=nearest)
    return nearest
