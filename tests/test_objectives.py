"""Objectives and networks of every kind: each trains, and does what its paper says."""

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RECIPE

from aae_zoo.export.bundle import export_bundle
from aae_zoo.runtime import load
from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.objectives.vae import gaussian_kl
from aae_zoo.zoo.recipe import Recipe, parse_recipe
from aae_zoo.zoo.training import build, train

OBJECTIVES: dict[str, dict[str, Any]] = {
    "aae": tomllib.loads(RECIPE)["objective"],
    "vae": {"kind": "vae", "reconstruction": "bce"},
    "wae": {"kind": "wae", "reconstruction": "mse", "mmd_weight": 200.0},
}
CONV = {"kind": "conv", "channels": [4, 8], "hidden": 16}


def recipe(objective: str, size: int = 2, network: dict[str, Any] | None = None) -> Recipe:
    document = tomllib.loads(RECIPE)
    document["objective"] = OBJECTIVES[objective]
    document["prior"]["size"] = size
    if network:
        document["encoder"] = document["decoder"] = network
    return parse_recipe(document, "recipe.toml")


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("network", [None, CONV], ids=["mlp", "conv"])
def test_every_objective_learns_with_every_network(objective: str, network: dict[str, Any] | None) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    _, trained = build(recipe(objective, 3, network), (1, 12, 12))
    x = torch.rand(4, 1, 12, 12, generator=generator).round().repeat(16, 1, 1, 1)
    trained.train()
    losses = [float(trained.step(x, generator)["reconstruction"]) for _ in range(150)]
    assert all(math.isfinite(loss) for loss in losses)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


@pytest.mark.parametrize("objective", ["vae", "wae"])
def test_from_recipe_to_samples(objective: str, small_data: Path, tmp_path: Path) -> None:
    """Train, export through the gate, load and sample: the encoder of a VAE has its log_var."""
    train(recipe(objective, size=3), tmp_path / "run", data=small_data)
    export_bundle(tmp_path / "run", tmp_path / "bundle", data=small_data)
    model = load(tmp_path / "bundle")
    images = model.sample(5, seed=1)
    assert images.shape == (5, 1, 14, 14)
    assert list(model.codes(images)) == (["z", "log_var"] if objective == "vae" else ["z"])
    assert model.reconstruct(images).shape == images.shape
    assert not (tmp_path / "bundle" / "manifold.png").exists()  # a 3-D code has no plane
    parity = json.loads((tmp_path / "bundle" / "parity.json").read_text())
    assert parity["passed"]


class TestVae:
    def test_the_kl_is_that_of_torch(self) -> None:
        mean, log_var = torch.randn(5, 3), torch.randn(5, 3)
        posterior = torch.distributions.Normal(mean, (log_var / 2).exp())
        for std in (1.0, 5.0):
            expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, std)).sum(1).mean()
            assert torch.allclose(gaussian_kl(mean, log_var, std), expected)

    def test_the_kl_of_the_prior_itself_is_zero(self) -> None:
        kl = gaussian_kl(torch.zeros(2, 3), torch.full((2, 3), 2 * math.log(5.0)), 5.0)
        assert float(kl) == pytest.approx(0, abs=1e-6)


class TestConvolutions:
    def test_images_that_cannot_be_halved(self) -> None:
        with pytest.raises(InvalidRecipe, match="images of 14 x 14 cannot be halved 2 times"):
            build(recipe("aae", network=CONV), (1, 14, 14))

    @pytest.mark.parametrize("image", [(1, 28, 28), (3, 32, 32), (2, 8, 12)])
    def test_shapes(self, image: tuple[int, int, int]) -> None:
        model, _ = build(recipe("vae", 5, CONV), image)
        codes = model.encoder(torch.rand(7, *image))
        assert {name: tuple(values.shape) for name, values in codes.items()} == {"z": (7, 5), "log_var": (7, 5)}
        assert model.decoder(codes["z"])["image"].shape == (7, *image)
