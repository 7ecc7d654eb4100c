"""The noise that samples are drawn with: the same in any language, uniform, and with a class where one is chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aae_zoo.runtime import InvalidInput
from aae_zoo.runtime.latent.noise import choose_label, percentile_grid, uniform_noise


def philox(seed: int, block: int) -> list[int]:
    """Philox4x64-10 as the paper gives it, in Python's own integers: four 64-bit numbers of a block, from 1."""
    counter, key = [block, 0, 0, 0], [seed, 0]
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * counter[0], 1 << 64)
        high1, low1 = divmod(0xCA5A826395121157 * counter[2], 1 << 64)
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
        key = [(key[0] + 0x9E3779B97F4A7C15) % (1 << 64), (key[1] + 0xBB67AE8584CAA73B) % (1 << 64)]
    return counter


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_noise_is_the_papers_philox_and_so_the_same_in_any_language(seed: int) -> None:
    expected = [((number >> 41) * 2 + 1) / 2**24 for block in (1, 2, 3) for number in philox(seed, block)]
    assert uniform_noise(6, 2, seed).ravel().tolist() == expected


@given(count=st.integers(1, 300), size=st.integers(1, 9), seed=st.integers(0, 2**64 - 1))
def test_noise_is_open_uniform_and_a_prefix_of_itself(count: int, size: int, seed: int) -> None:
    noise = uniform_noise(count, size, seed)
    assert noise.shape == (count, size)
    assert noise.dtype == np.float32
    assert noise.min() > 0
    assert noise.max() < 1
    assert np.array_equal(uniform_noise(count + 5, size, seed)[:count], noise)


def test_noise_fills_its_interval() -> None:
    ordered = np.sort(uniform_noise(100_000, 1, seed=1).ravel())
    ranks = np.arange(1, 100_001) / 100_000
    assert np.abs(ordered - ranks).max() < 2.7 / np.sqrt(100_000)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (2**40, 0), (1, -1), (1, 2**64)])
def test_counts_and_seeds_out_of_range(count: int, seed: int) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        uniform_noise(count, 2, seed)


@given(classes=st.integers(1, 1000), data=st.data())
def test_a_chosen_label_stays_in_its_interval(classes: int, data: st.DataObject) -> None:
    label = data.draw(st.integers(0, classes - 1))
    ends = [2.0**-24, 0.5, 1 - 2.0**-24, data.draw(st.floats(2.0**-24, 1 - 2.0**-24, width=32))]
    noise = np.stack([np.full(4, 0.25, np.float32), np.array(ends, np.float32)], axis=1)
    choose_label(noise, 1, label, classes)
    assert (np.floor(noise[:, 1] * np.float32(classes)) == label).all()
    assert noise[:, 1].min() > 0
    assert noise[:, 1].max() < 1
    assert (noise[:, 0] == 0.25).all()


def test_percentile_grid_is_laid_out_as_a_plot() -> None:
    points = percentile_grid(2).tolist()
    assert points == [[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25]]
