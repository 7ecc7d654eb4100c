"""Priors: uniform noise becomes codes, in training and in the graph alike."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.maths.mixtures import expectation_maximisation, fit_mixture
from aae_zoo.zoo.maths.quantile import normal_quantile
from aae_zoo.zoo.parts import kinds
from aae_zoo.zoo.priors import (
    BasePrior,
    attributes,
    bits,
    categorical,
    fitted,
    heads,
    mixture,
    one_hot,
    open_uniform,
    swissroll,
)
from aae_zoo.zoo.priors.gaussian import Prior, Settings


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


def test_normalised_codes_have_the_priors_moments_from_the_first_batch_on() -> None:
    prior = Prior(Settings(kind="gaussian", size=3, std=2.0, normalised=True))
    outputs = torch.tensor([0.01, 1.0, 50.0]) * torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) + 7
    codes = prior.codes({"z": outputs, "log_var": outputs})
    assert codes["z"].mean(0).abs().max() < 1e-3
    assert torch.allclose(codes["z"].std(0, correction=0), torch.full((3,), 2.0), atol=0.1)
    assert codes["log_var"] is outputs
    one = prior.eval().codes({"z": outputs[:1]})["z"]  # by what training has seen, not by what it comes with
    assert torch.equal(one, prior.codes({"z": outputs})["z"][:1])


def test_normalised_styles_of_attributes_have_them_too_and_leave_the_attributes_alone() -> None:
    settings = {"kind": "attributes", "size": 3, "classes": (2, 3), "std": 2.0}
    plain, normalised = (
        attributes.Prior(attributes.Settings.model_validate({**settings, "normalised": flag})) for flag in (False, True)
    )
    outputs = {"z": 7 + 50 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), "y": torch.randn(500, 5)}
    codes = normalised.codes(outputs)
    assert codes["z"].mean(0).abs().max() < 1e-3
    assert torch.allclose(codes["z"].std(0, correction=0), torch.full((3,), 2.0), atol=0.1)
    assert torch.equal(codes["y"], plain.codes(outputs)["y"])
    assert plain.codes(outputs)["z"] is outputs["z"]


CLASSES = 10
COUNT = 50_000


def of_classes() -> dict[str, BasePrior]:
    """Every prior that knows classes."""
    torch.manual_seed(0)
    size: Literal[2] = 2
    return {
        "mixture": mixture.Prior(
            mixture.Settings(kind="mixture", size=size, classes=CLASSES, radius=2.0, std_outwards=0.5, std_sideways=0.2)
        ),
        "swissroll": swissroll.Prior(
            swissroll.Settings(
                kind="swissroll", size=size, classes=CLASSES, first_turn=0.5, turns=1.5, radius=3.0, width=0.5
            )
        ),
        "categorical": categorical.Prior(categorical.Settings(kind="categorical", size=size, classes=CLASSES)),
        "heads": heads.Prior(heads.Settings(kind="heads", size=size, classes=CLASSES, std=0.1, distance=6.0)),
    }


def of_every_kind() -> dict[str, BasePrior]:
    return {
        **of_classes(),
        "gaussian": Prior(Settings(kind="gaussian", size=3)),
        "attributes": attributes.Prior(attributes.Settings(kind="attributes", size=2, classes=(2, 3))),
        "bits": bits.Prior(bits.Settings(kind="bits", size=8)),
        "fitted": fitted.Prior(fitted.Settings(kind="fitted", size=2, components=3)),
    }


@pytest.mark.parametrize("kind", kinds("priors"))
def test_every_kind_turns_all_noise_into_finite_codes(kind: str) -> None:
    """Out to the borders of the open interval; what its draws are like is tested for each kind by itself."""
    priors = of_every_kind()
    assert kind in priors, f"add the prior {kind} to of_every_kind, or to of_classes, and test what its draws are like"
    prior = priors[kind]
    ends = torch.tensor([2.0**-24, 0.5, 1 - 2.0**-24])
    u = torch.cartesian_prod(*[ends] * prior.noise).reshape(-1, prior.noise)
    with torch.no_grad():
        codes = prior(u)
    assert codes["z"].shape == (len(u), prior.latent)
    assert list(codes) == (["z", "y"] if prior.conditional else ["z"])
    assert all(values.dtype == torch.float32 and values.isfinite().all() for values in codes.values())


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@given(st.integers(0, CLASSES - 1), st.integers(16, (1 << 23) - 17))
def test_a_coordinate_of_the_noise_chooses_the_class(k: int, n: int) -> None:
    """Class k is (k + uniform) / classes, for uniform numbers that float32 can tell from 0 and 1 beside k."""
    uniform = torch.tensor([(2 * n + 1) / 2.0**24])
    assert one_hot((k + uniform) / CLASSES, CLASSES).argmax(1).item() == k


@pytest.mark.parametrize("kind", ["mixture", "swissroll", "categorical", "heads"])
def test_draws_of_a_class_are_of_that_class_and_others_of_all(kind: str, generator: torch.Generator) -> None:
    prior = of_classes()[kind]
    label = torch.arange(COUNT) % (CLASSES + 1) - 1
    with torch.no_grad():
        drawn = prior.draw(COUNT, generator, label)
    found = drawn["y"].argmax(1) if kind == "categorical" else class_of(prior, drawn["z"])
    known = label >= 0
    wrong = float((found[known] != label[known]).float().mean())
    assert wrong <= (0.02 if kind == "mixture" else 0)  # the feet of neighbouring rays touch
    shares = found[~known].bincount(minlength=CLASSES) / int((~known).sum())
    assert float((shares - 1 / CLASSES).abs().max()) < 0.025


@given(st.lists(st.integers(2, 9), min_size=1, max_size=4), st.data())
def test_each_attribute_has_a_coordinate_that_chooses_its_value(widths: list[int], data: st.DataObject) -> None:
    """Its one-hot part of y stands after those of the attributes before it, and no other coordinate changes it."""
    prior = attributes.Prior(attributes.Settings(kind="attributes", size=2, classes=tuple(widths), std=1.5))
    chosen = [data.draw(st.integers(0, width - 1)) for width in widths]
    u = open_uniform(64, prior.noise, torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    style = u[:, :2]
    for coordinate, k, width in zip(prior.choices, chosen, widths, strict=True):
        u[:, coordinate] = (k + u[:, coordinate]) / width
    drawn = prior(u)
    assert torch.equal(drawn["z"], 1.5 * normal_quantile(style))
    assert [part.argmax(1).unique().tolist() for part in drawn["y"].split(widths, 1)] == [[k] for k in chosen]
    assert torch.equal(drawn["y"].sum(1), torch.full((64,), float(len(widths))))


def test_attributes_are_drawn_alike_and_independently(generator: torch.Generator) -> None:
    prior = attributes.Prior(attributes.Settings(kind="attributes", size=1, classes=(2, 3)))
    first, second = (part.argmax(1) for part in prior.draw(COUNT, generator)["y"].split([2, 3], 1))
    shares = (3 * first + second).bincount(minlength=6) / COUNT
    assert float((shares - 1 / 6).abs().max()) < 0.01


def class_of(prior: BasePrior, z: torch.Tensor) -> torch.Tensor:
    """The class whose part of the plane a code is in, found from the picture, not from the formula."""
    if isinstance(prior, heads.Prior):
        return torch.cdist(z, prior.heads_of_classes.detach()).argmin(1)
    angle = torch.atan2(z[:, 1], z[:, 0])
    if isinstance(prior, mixture.Prior):
        return (angle / (2 * math.pi / CLASSES)).round().long() % CLASSES
    assert isinstance(prior, swissroll.Prior)  # turns of the spiral are further apart than the band is wide
    turns = torch.arange(3)[None] * 2 * math.pi + angle[:, None]
    nearest = (3.0 * turns / prior.last - z.norm(dim=1, keepdim=True)).abs().argmin(1)
    t = turns.gather(1, nearest[:, None]).squeeze(1)
    share = (t.square() - prior.first**2) / (prior.last**2 - prior.first**2)
    return (share * CLASSES).floor().clamp(0, CLASSES - 1).long()


def test_the_swiss_roll_is_uniform_along_its_arc(generator: torch.Generator) -> None:
    """As many draws in every stretch of the same length, to the few percent by which a spiral's arc is no parabola."""
    prior = of_classes()["swissroll"]
    u = torch.full((1000, 2), 0.5)
    u[:, 0] = (torch.arange(1000) + 0.5) / 1000
    steps = prior(u)["z"].diff(dim=0).norm(dim=1)
    assert float(steps.max() / steps.min()) < 1.06


def test_a_gaussian_of_the_mixture_turns_with_its_class() -> None:
    """More noise is further out, and further to the left of who looks outwards."""
    prior = of_classes()["mixture"]
    middles, outer, left = (
        torch.tensor([[(k + 0.5) / CLASSES, along, across] for k in range(CLASSES)])
        for along, across in ((0.5, 0.5), (0.9, 0.5), (0.5, 0.9))
    )
    angles = torch.arange(CLASSES) * 2 * math.pi / CLASSES
    outwards, leftwards = (torch.stack([turned.cos(), turned.sin()], 1) for turned in (angles, angles + math.pi / 2))
    quantile = 1.2815516  # of a normal distribution at 0.9
    for noise, expected in (
        (middles, 2 * outwards),
        (outer, (2 + 0.5 * quantile) * outwards),
        (left, 2 * outwards + 0.2 * quantile * leftwards),
    ):
        torch.testing.assert_close(prior(noise)["z"], expected, rtol=0, atol=1e-5)


def test_bits_are_fair_and_independent(generator: torch.Generator) -> None:
    z = bits.Prior(bits.Settings(kind="bits", size=8)).draw(COUNT, generator)["z"]
    assert set(z.unique().tolist()) == {-1.0, 1.0}
    assert float((z.T @ z / COUNT - torch.eye(8)).abs().max()) < 0.03


def test_codes_are_cut_to_bits_with_a_gradient_in_training() -> None:
    prior = bits.Prior(bits.Settings(kind="bits", size=2))
    outputs = torch.tensor([[-3.0, 0.5], [20.0, -20.0]], requires_grad=True)
    trained = prior.codes({"z": outputs})["z"]
    assert torch.equal(trained.detach()[1], torch.tensor([1.0, -1.0]))  # of these it is sure
    trained.sum().backward()
    assert outputs.grad is not None
    assert torch.allclose(outputs.grad, 1 - outputs.detach().tanh().square())
    prior.eval()
    assert torch.equal(prior.codes({"z": outputs})["z"], torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))


def test_in_training_a_bit_is_drawn_by_how_sure_the_encoder_is_of_it() -> None:
    prior = bits.Prior(bits.Settings(kind="bits", size=3))
    torch.manual_seed(0)
    ones = (prior.codes({"z": torch.tensor([-0.5, 0.0, 0.5]).expand(COUNT, 3)})["z"] > 0).float().mean(0)
    expected = torch.tensor([0.26894, 0.5, 0.73106])  # (1 + tanh z) / 2
    torch.testing.assert_close(ones, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize(("size", "count"), [(1, 2), (2, 5), (8, 20)])
def test_a_mixture_fitted_on_a_card_is_the_one_fitted_on_a_cpu(size: int, count: int) -> None:
    generator = torch.Generator().manual_seed(size)
    centres = 2 * torch.randn(count, size, generator=generator)
    chosen = torch.randint(count, (2000,), generator=generator)
    points = centres[chosen] + torch.randn(2000, size, generator=generator)
    expected = fit_mixture(points, count, seed=3)
    found = expectation_maximisation(points, count, seed=3)
    assert found.means.dtype == torch.float64
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.double(), rtol=0, atol=1e-4)


def test_a_fitted_mixture_has_the_moments_of_what_it_was_fitted_to(generator: torch.Generator) -> None:
    prior = fitted.Prior(fitted.Settings(kind="fitted", size=2, components=3))
    centres = torch.tensor([[4.0, 0.0], [-4.0, 1.0], [0.0, 5.0]])
    chosen = torch.randint(3, (6000,), generator=generator)
    z = centres[chosen] + torch.randn(6000, 2, generator=generator) @ torch.tensor([[0.5, 0.2], [0.0, 0.3]])
    prior.fit(z, seed=0)
    drawn = prior.draw(COUNT, generator)["z"]
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=0.08)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(z.T), atol=0.3)
    nearest = torch.cdist(drawn, centres).amin(1)
    assert float(nearest.quantile(0.99)) < 2  # nothing is drawn between the three


def test_a_mixture_has_no_more_gaussians_than_codes() -> None:
    prior = fitted.Prior(fitted.Settings(kind="fitted", size=2, components=3))
    with pytest.raises(InvalidRecipe, match="prior.components is 3, expected at most 2"):
        prior.fit(torch.randn(2, 2), seed=0)


def test_cluster_heads_are_pushed_apart() -> None:
    prior = of_classes()["heads"]
    assert isinstance(prior, heads.Prior)
    with torch.no_grad():
        prior.heads_of_classes.mul_(0.1)
    optimiser = torch.optim.Adam(prior.parameters(), 0.2)
    for _ in range(300):
        optimiser.zero_grad()
        loss = prior.penalty()
        loss.backward()
        optimiser.step()
    assert float(torch.nn.functional.pdist(prior.heads_of_classes.detach()).min()) > 0.9 * 6.0


def test_normalised_heads_keep_the_style_at_its_prior() -> None:
    """In training over the batch; afterwards by what training saw, so that an image's code is its own alone."""
    settings = categorical.Settings(kind="categorical", size=3, classes=4, std=2.0, scale=1.5)
    prior = categorical.Prior(settings)
    outputs = {"z": 5 + 3 * torch.randn(400, 3, generator=torch.Generator().manual_seed(0)), "y": torch.randn(400, 4)}
    for _ in range(200):
        z = prior.codes(outputs)["z"]
    assert z.mean(0).abs().max() < 1e-4
    assert (z.std(0) - 2).abs().max() < 0.01
    prior.eval()
    assert (prior.codes({k: v[:1] for k, v in outputs.items()})["z"] - z[:1]).abs().max() < 0.02


def test_the_classes_are_those_of_the_sub_head_that_is_best_for_long() -> None:
    """One batch on which another was better changes nothing; fifty do."""
    prior = categorical.Prior(categorical.Settings(kind="categorical", size=1, classes=2, subheads=3))
    outputs = {"z": torch.zeros(5, 1), "y": torch.randn(5, 6, generator=torch.Generator().manual_seed(0))}
    first, second, third = (part.softmax(1) for part in outputs["y"].split(2, 1))
    assert torch.equal(prior.guesses(outputs["y"]), torch.stack([first, second, third], 1))
    for best, batches, chosen in ((1, 50, second), (2, 1, second), (2, 50, third)):
        for _ in range(batches):
            prior.judge(torch.eye(3)[best])
        assert torch.equal(prior.codes(outputs)["y"], chosen)
    for _ in range(200):  # one that is hardly better is not worth other numbers for the same classes
        prior.judge(torch.tensor([0.0, 1.01, 1.0]))
    assert torch.equal(prior.codes(outputs)["y"], third)
