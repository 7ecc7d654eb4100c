"""Priors: uniform noise becomes codes, in training and in the graph alike."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from aae_zoo.zoo.priors import open_uniform
from aae_zoo.zoo.priors.gaussian import Prior, Settings
from aae_zoo.zoo.quantile import normal_quantile


def relative_error(u: torch.Tensor) -> float:
    exact = torch.special.ndtri(u.double())
    return float(((normal_quantile(u).double() - exact).abs() / exact.abs().clamp(min=1)).max())


def test_the_quantile_equals_ndtri_out_to_five_standard_deviations() -> None:
    u = torch.special.ndtr(torch.linspace(-5, 5, 200_001, dtype=torch.float64)).float()
    assert relative_error(u) < 5e-7


def test_the_quantile_equals_ndtri_over_all_of_float32() -> None:
    low = np.geomspace(2.0**-126, 0.5, 200_000).astype(np.float32)
    high = np.linspace(0.5, 1 - 2.0**-24, 200_000).astype(np.float32)
    assert relative_error(torch.from_numpy(low)) < 5e-7
    assert relative_error(torch.from_numpy(high)) < 5e-7


@given(st.floats(2.0**-24, 1 - 2.0**-24, width=32))
def test_the_quantile_is_odd_about_one_half(u: float) -> None:
    pair = normal_quantile(torch.tensor([u, 1 - u], dtype=torch.float64))
    assert abs(float(pair.sum())) < 1e-6


def test_open_uniform_noise_never_touches_its_borders() -> None:
    noise = open_uniform(200_000, 2, torch.Generator().manual_seed(0))
    assert noise.dtype == torch.float32
    assert 0 < float(noise.min()) < 1e-4
    assert 1 - 1e-4 < float(noise.max()) < 1
    # Kolmogorov-Smirnov at a level of about 1e-6
    ordered = noise.flatten().sort().values
    ranks = torch.arange(1, len(ordered) + 1) / len(ordered)
    assert float((ordered - ranks).abs().max()) < 2.7 / math.sqrt(len(ordered))


def test_gaussian_draws_have_its_moments() -> None:
    prior = Prior(Settings(kind="gaussian", size=3, std=2.0))
    z = prior.draw(200_000, torch.Generator().manual_seed(1))["z"]
    assert z.shape == (200_000, 3)
    assert float(z.mean(0).abs().max()) < 0.02
    assert torch.allclose(torch.cov(z.T), 4 * torch.eye(3), atol=0.06)
