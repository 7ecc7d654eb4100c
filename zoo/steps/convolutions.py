"""How a card computes convolutions: what training and measuring ask of cuDNN, each while it lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def repeatable() -> Iterator[None]:
    """By kernels that add in the same order each time. Training then has the same weights each time."""
    cudnn = torch.backends.cudnn
    before, cudnn.deterministic = cudnn.deterministic, True
    try:
        yield
    finally:
        cudnn.deterministic = before


@contextmanager
def full_precision() -> Iterator[None]:
    """In float32. Where nobody says so PyTorch rounds what is multiplied to the ten bits of TF32."""
    convolutions: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before
