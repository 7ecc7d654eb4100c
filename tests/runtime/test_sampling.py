"""How samples are drawn: quasi-random noise, temperature and truncation, of priors of every kind."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from aae_zoo.runtime import InvalidInput, Model, load
from aae_zoo.runtime.latent.draw import Draw
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.latent.sobol import MOST_COORDINATES, _directions, sobol_noise


@pytest.fixture(scope="module")
def mixture() -> Model:
    return load("mnist-mixture")


def test_the_points_are_those_of_scipy() -> None:
    numbers = np.arange(1000, dtype=np.uint32)
    points = np.zeros((1000, MOST_COORDINATES), np.uint32)
    for bit, directions in enumerate(_directions(MOST_COORDINATES)):
        points ^= ((numbers ^ numbers >> 1) >> np.uint32(bit) & 1)[:, None].astype(np.uint32) * directions
    sobol = qmc.Sobol(MOST_COORDINATES, scramble=False, bits=32)
    assert np.array_equal(points / 2**32, np.concatenate([sobol.random(512), sobol.random(488)]))


@given(
    power=st.integers(1, 9),
    size=st.integers(1, MOST_COORDINATES),
    seed=st.integers(0, 2**64 - 1),
    at=st.integers(0, 99),
)
def test_each_coordinate_has_one_point_in_each_cell(power: int, size: int, seed: int, at: int) -> None:
    count = 2**power
    noise = sobol_noise(count, size, seed)
    assert noise.shape == (count, size)
    assert noise.dtype == np.float32
    assert 0 < noise.min() <= noise.max() < 1
    cells = np.sort(np.floor(noise * count).astype(int), axis=0)
    assert (cells == np.arange(count)[:, None]).all()
    assert np.array_equal(sobol_noise(count, size, seed, at), sobol_noise(count + at, size, seed)[at:])


def test_they_fill_a_plane_more_evenly_than_chance() -> None:
    for seed in range(5):
        quasi, chance = (draw(256, 8, seed).astype(np.float64) for draw in (sobol_noise, uniform_noise))
        assert qmc.discrepancy(quasi) < 0.25 * qmc.discrepancy(chance)


def test_seeds_give_other_points_and_there_is_an_end() -> None:
    assert not np.allclose(sobol_noise(8, 2, 0), sobol_noise(8, 2, 1))
    with pytest.raises(InvalidInput, match=f"has {MOST_COORDINATES + 1} coordinates, quasi-random noise has at most"):
        sobol_noise(8, MOST_COORDINATES + 1, 0)
    with pytest.raises(InvalidInput, match="the number of samples is 0"):
        sobol_noise(0, 2, 0)


@given(count=st.integers(1, 50), size=st.integers(1, 9), start=st.integers(0, 50), seed=st.integers(0, 9))
def test_noise_from_the_middle_is_the_middle_of_the_noise(count: int, size: int, start: int, seed: int) -> None:
    assert np.array_equal(uniform_noise(count, size, seed, start), uniform_noise(start + count, size, seed)[start:])


@settings(max_examples=20)
@given(share=st.floats(0.01, 1), quasi=st.booleans())
def test_truncation_keeps_the_central_share(shipped: Model, share: float, quasi: bool) -> None:
    draw = Draw(shipped.manifest, 512, seed=3, truncation=share, quasi=quasi)
    noise = draw.noise(slice(0, 512))
    assert noise.min() >= np.float32((1 - share) / 2)
    assert noise.max() <= np.float32((1 + share) / 2)
    assert noise.max() - noise.min() > 0.9 * share


def test_truncated_codes_are_those_of_a_truncated_gaussian(shipped: Model) -> None:
    draw = Draw(shipped.manifest, 4096, truncation=0.6827, quasi=True)
    codes = shipped.codes_of(draw.noise(slice(0, 4096)))["z"]
    spread = codes.std() / shipped.codes_of(uniform_noise(1000, 2, 0))["z"].std()
    assert np.abs(codes).max() / codes.std() < 1.86  # one standard deviation is 1.853 of what remains
    assert abs(spread - 0.5396) < 0.02


def test_temperature_scales_the_code(shipped: Model) -> None:
    u = uniform_noise(40, 2, 5)
    codes = shipped.codes_of(u)["z"]
    for temperature in (0.0, 0.5, 2.0):
        images = shipped.sample(40, seed=5, temperature=temperature)
        assert np.allclose(images, shipped.decode(np.float32(temperature) * codes), atol=1e-5)


def test_choices_stay_as_they_were_drawn(mixture: Model) -> None:
    """At temperature 0, and truncated to nothing, what remains of a mixture is the middles of its components."""
    middles = [mixture.sample(1, label=label, temperature=0)[0] for label in range(10)]
    choices: list[dict[str, Any]] = [{"temperature": 0.0}, {"truncation": 1e-6}]
    for options in choices:
        drawn = mixture.sample(200, seed=1, **options)
        distances = np.abs(drawn[:, None] - np.stack(middles)).max((2, 3, 4))
        assert distances.min(1).max() < 1e-3
        assert set(distances.argmin(1)) == set(range(10))


def test_a_label_with_all_the_rest(mixture: Model) -> None:
    options: dict[str, Any] = {"label": 7, "temperature": 0.5, "truncation": 0.9, "quasi": True}
    images = mixture.sample(300, seed=2, **options)
    assert images.shape == (300, 1, 28, 28)
    assert np.allclose(mixture.sample(260, seed=2, **options), images[:260], atol=1e-6)


def test_a_discrete_prior_has_neither(shipped: Model) -> None:
    discrete = shipped.manifest._replace(choices=(0, 1))
    for options in ({"temperature": 0.5}, {"truncation": 0.5}):
        with pytest.raises(InvalidInput, match="mnist-plane has a discrete prior, all of whose noise chooses"):
            Draw(discrete, 4, **options)  # type: ignore[arg-type]
    assert Draw(discrete, 4).noise(slice(0, 4)).shape == (4, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1, expected 0 to 10"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": "0.5"}, "temperature is '0.5', expected a number"),
        ({"truncation": None}, "truncation is None, expected a number"),
        ({"truncation": 0}, "truncation is 0, expected more than 0 and at most 1"),
        ({"truncation": 1.1}, "truncation is 1.1"),
        ({"seed": -1}, "the seed is -1"),
        ({"label": "seven"}, "has no labels to choose from"),
    ],
)
def test_what_is_out_of_range(shipped: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        shipped.sample(4, **options)
    with pytest.raises(InvalidInput, match=message):
        shipped.stream("sample", 4, **options)


def test_without_a_seed_each_draw_is_another(mixture: Model) -> None:
    assert not np.array_equal(mixture.sample(4, seed=None), mixture.sample(4, seed=None))
    drawn = mixture.stream("sample", 4, seed=None)
    assert np.array_equal(np.concatenate(list(drawn)), np.concatenate(list(drawn)))
    assert np.array_equal(mixture.sample(4), mixture.sample(4, seed=0))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", np.array([1, 2])])
def test_seeds_that_are_none(mixture: Model, seed: Any) -> None:
    with pytest.raises(InvalidInput, match=r"the seed is .*, expected a whole number"):
        mixture.sample(2, seed=seed)


@pytest.mark.parametrize("count", [0, -3, 2**31 + 1, 2.0, None, "2"])
def test_numbers_of_samples_that_are_none(mixture: Model, count: Any) -> None:
    with pytest.raises(InvalidInput, match="the number of samples is"):
        mixture.sample(count)


def test_a_number_of_samples_may_be_a_small_integer_of_numpys(mixture: Model) -> None:
    small: Any = np.uint8(200)
    assert np.array_equal(mixture.sample(small), mixture.sample(200))


@pytest.mark.parametrize("label", ["²", "٣", "10", "-1", "7.0", 7.0, "9" * 5000, True])
def test_labels_that_are_none(mixture: Model, label: Any) -> None:
    with pytest.raises(InvalidInput, match="has no label"):
        mixture.sample(2, label=label)


@pytest.mark.parametrize("label", [7, "7", np.int64(7)])
def test_labels_by_their_numbers(mixture: Model, label: int | str | np.int64) -> None:
    assert np.array_equal(mixture.sample(2, label=label), mixture.sample(2, label="7"))


@pytest.mark.parametrize("quasi", [False, True])
def test_a_label_for_each_image(mixture: Model, quasi: bool) -> None:
    count = 1100  # more than one batch
    numbers = np.random.default_rng(0).integers(0, 10, count)
    images = mixture.sample(count, seed=4, label=numbers, quasi=quasi, temperature=0.7)
    for label in (0, 7):
        alone = mixture.sample(count, seed=4, label=label, quasi=quasi, temperature=0.7)
        assert np.array_equal(images[numbers == label], alone[numbers == label])
    assert np.array_equal(
        np.concatenate(list(mixture.stream("sample", 10, label=range(10)))), mixture.sample(10, label=range(10))
    )
    names = [mixture.manifest.labels[number] for number in numbers]
    for labels in (names, tuple(numbers.tolist()), [*names[:7], *numbers.tolist()[7:]]):
        again = mixture.sample(count, seed=4, label=labels, quasi=quasi, temperature=0.7)
        assert np.array_equal(again, images)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (range(9), "label has 9 entries, expected one, or one for each of 10 images"),
        ([], "label has 0 entries"),
        ([*range(9), 10], "mnist-mixture has no label 10, expected one of 0, 1, 2"),
        ([*range(9), None], "has no label None"),
        ([1, True, *range(8)], "has no label True"),
        ([[0]] * 10, r"has no label \[0\]"),
    ],
)
def test_labels_that_are_not_those_of_the_images(mixture: Model, labels: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        mixture.sample(10, label=labels)


def test_a_model_without_labels_takes_no_list_of_them_either(shipped: Model) -> None:
    with pytest.raises(InvalidInput, match="mnist-plane has no labels to choose from; sample it without one"):
        shipped.sample(2, label=["1", "2"])
