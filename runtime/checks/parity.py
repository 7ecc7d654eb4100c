"""How a graph's outputs are compared with PyTorch's golden ones: the same for the export's gate and for `verify`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.formats.arrays import Arrays

COMPARED_BATCHES: Final = (1, 2, 3, 7, 64, 65)
# What each graph takes; all other arrays that the golden file has for it are what it must give.
INPUTS: Final = {"encoder": ("image",), "decoder": ("z", "y"), "prior": ("u",), "detector": ("image",)}
# ONNX Runtime's sigmoid is above 1 by one rounding for a few logits near 18, which are white.
_ROUNDING: Final = 2.0**-23

Array = NDArray[Any]
Run = Callable[[Arrays], Mapping[str, Array]]


def golden_of(role: str, arrays: Mapping[str, Array], precision: str = "fp32") -> tuple[Arrays, Arrays]:
    """The inputs and the expected outputs of a graph, by name, from arrays named "<role>.<name>".

    A precision that is a network of its own has its own arrays, "<role>.<precision>.<name>".
    """
    own = f"{role}.{precision}."
    prefix = own if any(key.startswith(own) for key in arrays) else f"{role}."
    named = {key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)}
    inputs = {name: values for name, values in named.items() if name in INPUTS[role]}
    return inputs, {n: v for n, v in named.items() if n not in INPUTS[role] and "." not in n}


def replay(run: Run, inputs: Arrays, batch: int) -> Arrays | str:
    """The outputs for all rows, run in batches of one size, or what is wrong with their number of rows.

    The rows begin again where the last batch is not full: 33 rows give one batch of 64, or two of 32.
    """
    rows = len(next(iter(inputs.values())))
    order = np.arange(math.ceil(rows / batch) * batch) % rows
    parts = [run({n: v[some] for n, v in inputs.items()}) for some in order.reshape(-1, batch)]
    for part in parts:
        for name, values in part.items():
            if values.ndim == 0 or len(values) != batch:
                return f"{name} has the shape {list(values.shape)} for {batch} rows"
    return {name: np.concatenate([part[name] for part in parts])[:rows] for name in parts[0]}


def problem_with(
    found: Mapping[str, Array], expected: Mapping[str, Array], slack: float = 0.0, widths: Sequence[int] = ()
) -> str | None:
    """What is wrong with outputs apart from their values: names, shapes, dtypes, ranges; None if nothing is.

    `slack` is how far rounding may carry an image or a probability out of its range. `widths` are how many numbers of
    y, whose sum is 1, each attribute has, by default all.
    """
    most = 1 + max(slack, _ROUNDING)
    if sorted(found) != sorted(expected):
        return f"its outputs are {sorted(found)}, expected {sorted(expected)}"
    for name, reference in expected.items():
        values = found[name]
        if values.shape != reference.shape or values.dtype != np.float32:
            return f"{name} is {values.dtype} {list(values.shape)}, expected float32 {list(reference.shape)}"
        if not np.isfinite(values).all():
            return f"{name} holds numbers that are not finite"
        if name in ("image", "y") and not (values.min() >= -slack and values.max() <= most):
            return f"{name} has values from {values.min():g} to {values.max():g}, expected [0, 1]"
        if name == "map" and not values.min() >= -slack:
            return f"{name} has values from {values.min():g}, expected none below 0"
        if name == "y" and (worst := _off(values, widths)) > 1e-3 + 10 * slack:
            return f"{name} has rows whose sum is {worst:.3g} off, expected probabilities that sum to 1"
    return None


def _off(y: Array, widths: Sequence[int]) -> float:
    """How far from 1 the probabilities y [n, classes] of an attribute sum at most."""
    parts = np.split(y, np.cumsum(widths[:-1], dtype=np.intp), axis=1)
    return max(float(np.abs(part.sum(1, dtype=np.float64) - 1).max()) for part in parts)


def relative_error(found: Array, reference: Array) -> float:
    """The largest difference, relative to the larger of 1 and the largest reference."""
    return float(np.abs(found.astype(np.float64) - reference).max()) / _size(reference)


def relative_rms(found: Array, reference: Array) -> float:
    """The root mean square of the differences, relative as in `relative_error`."""
    return math.sqrt(float(np.square(found.astype(np.float64) - reference).mean())) / _size(reference)


def _size(reference: Array) -> float:
    return max(1.0, float(np.abs(reference).max()))


def psnr(found: Array, reference: Array) -> float:
    """The peak signal-to-noise ratio in dB; the peak is the span of the reference's values."""
    span = float(np.ptp(reference)) or 1.0
    mean = float(np.square(found.astype(np.float64) - reference).mean())
    return math.inf if mean == 0 else 10 * math.log10(span * span / mean)
