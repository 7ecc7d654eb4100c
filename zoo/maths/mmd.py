"""The maximum mean discrepancy: how far two samples are from coming from one distribution."""

from typing import Final

import torch
from torch import Tensor

_SCALES: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10)


def mmd2(a: Tensor, b: Tensor, variance: float) -> Tensor:
    """The unbiased squared maximum mean discrepancy of two samples [n, d] and [m, d]: a scalar, differentiable.

    Gretton et al., "A kernel two-sample test" (JMLR 2012), equation 3, with a sum of inverse multiquadratic
    kernels C / (C + |a - b|^2), C = 2 d v s over seven scales s, where v is the variance that the codes should have
    (Tolstikhin et al., "Wasserstein auto-encoders", ICLR 2018).
    """
    scales = [2 * a.shape[1] * variance * s for s in _SCALES]

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = x.square().sum(1)[:, None] + y.square().sum(1)[None] - 2 * x @ y.T
        squared = squared.clamp(min=0)
        return sum((c / (c + squared) for c in scales), torch.zeros_like(squared))

    def off_diagonal_mean(k: Tensor) -> Tensor:
        return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))

    return off_diagonal_mean(kernel(a, a)) + off_diagonal_mean(kernel(b, b)) - 2 * kernel(a, b).mean()
