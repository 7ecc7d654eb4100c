"""The inverse normal CDF, for which ONNX has no operator, made of plain ones."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

# M. J. Wichura, "Algorithm AS 241: The percentage points of the normal distribution" (Applied Statistics 37,
# 1988), routine PPND7: a ratio of two polynomials, highest power first, for each of three regions. Unlike Giles'
# single-precision erfinv, whose tail ends at u = 3e-8, it holds over all of float32.
_CENTRE: Final = (
    (59.109374720, 159.29113202, 50.434271938, 3.3871327179),
    (67.187563600, 78.757757664, 17.895169469, 1.0),
)
_TAIL: Final = (
    (0.17023821103, 1.3067284816, 2.7568153900, 1.4234372777),
    (0.12021132975, 0.73700164250, 1.0),
)
_FAR_TAIL: Final = (
    (0.017337203997, 0.42868294337, 3.0812263860, 6.6579051150),
    (0.012258202635, 0.24197894225, 1.0),
)


def normal_quantile(u: Tensor) -> Tensor:
    """The standard normal's quantile of u in the open interval (0, 1), of any shape, to 5e-7 of max(1, |z|)."""
    q = u - 0.5
    centre = q * _ratio(_CENTRE, 0.180625 - q * q)
    # The distance from the nearer border is taken from u itself, so that a small u loses nothing.
    r = torch.sqrt(-torch.log(torch.minimum(u, 1 - u)))
    # Only > and <: some engines know only the <= and >= of older opsets.
    tail = torch.where(r > 5, _ratio(_FAR_TAIL, r - 5), _ratio(_TAIL, r - 1.6)) * torch.sign(q)
    return torch.where(q.abs() > 0.425, tail, centre)


def _ratio(polynomials: tuple[Sequence[float], Sequence[float]], x: Tensor) -> Tensor:
    return _polynomial(polynomials[0], x) / _polynomial(polynomials[1], x)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Horner's scheme, highest power first."""
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value
