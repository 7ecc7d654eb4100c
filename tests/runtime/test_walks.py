"""Walks and neighbours in code space."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from aae_zoo.runtime import InvalidInput, Model
from aae_zoo.runtime.latent.neighbours import nearest_codes
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.latent.score import DRAWS
from aae_zoo.runtime.latent.walks import arcs, lines, traversals

Codes = NDArray[np.float32]
codes = arrays.arrays(
    np.float32, st.tuples(st.integers(2, 5), st.integers(1, 6)), elements=st.floats(-3, 3, width=32).filter(bool)
)


@given(codes=codes, steps=st.integers(2, 9))
def test_both_kinds_of_walk_go_from_each_code_to_the_next(codes: Codes, steps: int) -> None:
    for walk in (lines, arcs):
        points = walk(codes, steps)
        assert points.dtype == np.float32
        assert points.shape == ((len(codes) - 1) * steps, codes.shape[1])
        assert np.allclose(points[::steps], codes[:-1], atol=1e-4)
        assert np.allclose(points[steps - 1 :: steps], codes[1:], atol=1e-4)
        assert np.isfinite(points).all()


def test_arcs_keep_their_distance_from_the_middle() -> None:
    ends = np.array([[3, 0], [0, 3]], np.float32)
    assert np.allclose(np.linalg.norm(arcs(ends, 7), axis=1), 3)
    assert np.allclose(np.linalg.norm(arcs(ends / np.float32(10), 7), axis=1), 0.3)
    near = np.array([[3, 0], [3 * np.cos(0.05), 3 * np.sin(0.05)]], np.float32)
    assert np.allclose(np.linalg.norm(arcs(near, 7), axis=1), 3, atol=1e-6)
    assert np.allclose(arcs(ends, 3)[1], [3 / np.sqrt(2)] * 2)
    assert np.linalg.norm(lines(ends, 3)[1]) < 2.2


@pytest.mark.parametrize("ends", [[[1, 2], [2, 4]], [[1, 2], [-1, -2]], [[0, 0], [1, 2]], [[1, 1], [1, 1]]])
def test_where_there_is_no_one_arc_it_is_the_line(ends: list[list[float]]) -> None:
    array = np.array(ends, np.float32)
    assert np.allclose(arcs(array, 5), lines(array, 5))


def test_interpolations_of_a_model(shipped: Model, digits: NDArray[np.float32]) -> None:
    codes = shipped.encode(digits[:3])
    walks = shipped.interpolate(digits[:3], 5, spherical=True)
    assert np.allclose(walks, shipped.decode(arcs(codes, 5)), atol=1e-5)
    assert not np.allclose(walks, shipped.interpolate(digits[:3], 5), atol=1e-2)


def test_a_traversal_moves_one_coordinate_through_the_prior(shipped: Model, digits: NDArray[np.float32]) -> None:
    images = shipped.traverse(digits[:2], 5)
    assert images.shape == (2 * 2 * 5, 1, 28, 28)
    codes, draws = shipped.encode(digits[:2]), shipped.codes_of(uniform_noise(DRAWS, 2, 0))["z"]
    values = shipped.traversed(5)
    walks = traversals(codes, values).reshape(2, 2, 5, 2)
    assert np.allclose(images, shipped.decode(walks.reshape(-1, 2)), atol=1e-5)
    assert (walks[:, 0, :, 1] == codes[:, 1:]).all()
    assert (walks[:, 1, :, 0] == codes[:, :1]).all()
    assert np.array_equal(walks[1, 1, :, 1], values[1])
    assert np.allclose(values[:, [0, -1]].T, np.quantile(draws, [0.01, 0.99], axis=0), atol=1e-5)
    assert np.allclose(np.diff(values), np.diff(values)[:, :1], atol=1e-5)
    with pytest.raises(InvalidInput, match="traverse has 1 step, expected 2 or more"):
        shipped.traverse(digits[:1], 1)


@pytest.mark.parametrize("number", [2.5, "2", None, [2], float("nan")])
def test_what_is_no_whole_number_is_refused(shipped: Model, digits: NDArray[np.float32], number: Any) -> None:
    said = "expected a whole number"
    for walk in (shipped.interpolate, shipped.traverse):
        with pytest.raises(InvalidInput, match=f"the number of steps is .*, {said}"):
            walk(digits[:2], number)
    with pytest.raises(InvalidInput, match=f"the side of the grid is .*, {said}"):
        shipped.manifold(number)
    with pytest.raises(InvalidInput, match=f"k is .*, {said}"):
        shipped.nearest(digits[:2], digits, number)


@given(seed=st.integers(0, 99), rows=st.integers(1, 30), among=st.integers(1, 40), data=st.data())
def test_neighbours_are_the_nearest_in_order(seed: int, rows: int, among: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, among))
    random = np.random.default_rng(seed)
    a, b = (random.standard_normal((n, 3)).astype(np.float32) for n in (rows, among))
    found = nearest_codes(a, b, k)
    distances = np.linalg.norm(a[:, None].astype(float) - b, axis=2)
    assert np.allclose(found.distances, np.sort(distances, axis=1)[:, :k], atol=1e-5)
    assert np.allclose(np.take_along_axis(distances, found.numbers, 1), found.distances, atol=1e-5)
    assert found.distances.dtype == np.float32


def test_many_neighbours_take_little_memory() -> None:
    codes = np.random.default_rng(0).standard_normal((600, 64)).astype(np.float32)
    tracemalloc.start()
    nearest_codes(codes, codes, 600)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50e6


def test_neighbours_that_lie_close_together_far_out_are_told_apart() -> None:
    among = np.array([[3e4, 0.004], [3e4, 0.002], [3e4, 0.001], [3e4, 0.002]], np.float32)
    found = nearest_codes(np.array([[3e4, 0]], np.float32), among, 4)
    assert found.numbers.tolist() == [[2, 1, 3, 0]]
    assert found.distances[0].tolist() == pytest.approx([0.001, 0.002, 0.002, 0.004], rel=1e-5)


def test_of_neighbours_at_one_distance_the_first_in_the_set_comes_first() -> None:
    near, far = [1.0, 0.0], [3.0, 0.0]
    among = np.array([far, near] * 10, np.float32)
    found = nearest_codes(np.zeros((1, 2), np.float32), among, 20)
    assert found.numbers.tolist() == [[*range(1, 20, 2), *range(0, 20, 2)]]


def test_nearest_takes_images_or_codes(shipped: Model, digits: NDArray[np.float32]) -> None:
    codes = shipped.encode(digits)
    found = shipped.nearest(digits[5:8], digits, k=3)
    assert found.numbers[:, 0].tolist() == [5, 6, 7]
    assert np.allclose(found.distances[:, 0], 0, atol=1e-4)
    for given_, among in ((codes[5:8], digits), (digits[5:8], codes), (codes[5:8], codes)):
        assert np.array_equal(shipped.nearest(given_, among, k=3).numbers, found.numbers)
    for k in (0, 301):
        with pytest.raises(InvalidInput, match=f"k is {k}, expected 1 to 300"):
            shipped.nearest(codes, codes, k)
