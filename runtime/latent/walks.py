"""Walks through code space: lines and arcs between codes, and one coordinate at a time."""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.float32]

_PARALLEL: Final = 1e-6
_ENDS: Final = (0.01, 0.99)


def lines(codes: Codes, steps: int) -> Codes:
    """Straight lines from each row [n, size] to the next, `steps` points each, both ends among them."""
    t = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    return np.concatenate([(1 - t) * a + t * b for a, b in pairwise(codes)])


def arcs(codes: Codes, steps: int) -> Codes:
    """Great arcs from each row [n, size] to the next, `steps` points each.

    The angular speed is constant between codes that are as far out as each other, else greater beside the nearer one.
    Points between two codes of a high-dimensional Gaussian then are about as far out as the codes are (K. Shoemake,
    "Animating rotation with quaternion curves", SIGGRAPH 1985; T. White, "Sampling generative networks",
    arXiv 1609.04468). Codes on one line through the origin have no single arc between them, and get the straight line.
    """
    return np.concatenate([_arc(a.astype(np.float64), b.astype(np.float64), steps) for a, b in pairwise(codes)])


def _arc(a: NDArray[np.float64], b: NDArray[np.float64], steps: int) -> Codes:
    t = np.linspace(0, 1, steps)[:, None]
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = np.clip(a @ b / lengths, -1, 1) if lengths > 0 else 1.0
    angle = np.arccos(cosine)
    if np.sin(angle) < _PARALLEL:
        return ((1 - t) * a + t * b).astype(np.float32)
    return ((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)).astype(np.float32)


def traversed(draws: Codes, steps: int) -> Codes:
    """The values of each coordinate in even steps from its first to its 99th percentile: [latent, steps].

    The percentiles are those of the prior's draws [m, latent].
    """
    low, high = np.quantile(draws, _ENDS, axis=0).astype(np.float32)
    return np.linspace(low, high, steps, dtype=np.float32, axis=1)


def traversals(codes: Codes, values: Codes) -> Codes:
    """Each row [n, latent] with one coordinate at a time moved through its values: [n * latent * steps, latent].

    `values` are [latent, steps].
    """
    size, steps = values.shape
    walks = np.repeat(codes, size * steps, axis=0).reshape(len(codes), size, steps, size)
    for i in range(size):
        walks[:, i, :, i] = values[i]
    return walks.reshape(-1, size)
