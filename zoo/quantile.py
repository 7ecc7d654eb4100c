"""The inverse normal CDF in plain operators, which ONNX has no operator for."""

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

# M. Giles, "Approximating the erfinv function" (GPU Computing Gems, Jade edition, 2011), single precision:
# erfinv(x) = x * p(w) with w = -log(1 - x^2), one polynomial for the centre (w < 5), one for the tails.
_CENTRE: Final = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_TAIL: Final = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)


def normal_quantile(u: Tensor) -> Tensor:
    """The standard normal's quantile of u in the open interval (0, 1), of any shape.

    With x = 2 u - 1, 1 - x^2 is 4 u (1 - u): taken straight from u, small u loses nothing.
    """
    w = -torch.log(4 * u * (1 - u))
    centre = _polynomial(_CENTRE, w - 2.5)
    tail = _polynomial(_TAIL, torch.sqrt(w) - 3)
    return math.sqrt(2) * torch.where(w < 5, centre, tail) * (2 * u - 1)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Horner's scheme, highest power first."""
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value
