"""A loaded model: what sample, encode, decode, reconstruct, interpolate and manifold promise."""

import contextlib
import inspect
import subprocess
import sys
import threading
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aae_zoo import runtime
from aae_zoo.runtime import AaeZooError, InvalidInput, Model, load

BATCH = 1024  # what a model of matrix products works on at a time


def test_sample_gives_images_of_the_models_shape(shipped: Model) -> None:
    images = shipped.sample(64, seed=0)
    assert images.shape == (64, 1, 28, 28)
    assert images.dtype == np.float32
    assert 0 <= images.min() <= images.max() <= 1


@pytest.mark.parametrize(("name", "inputs"), [("mnist-plane", {"z"}), ("mnist-style", {"z", "y"})])
def test_the_codes_of_noise_are_those_that_samples_are_decoded_from(name: str, inputs: set[str]) -> None:
    model = load(name)
    noise = np.random.default_rng(0).uniform(0.01, 0.99, (BATCH + 3, model.manifest.noise))
    codes = model.codes_of(noise)
    assert codes.keys() == inputs
    assert np.allclose(model.decode(**codes), model.sample_from(noise), atol=1e-5)
    with pytest.raises(InvalidInput, match=r"u has values from 0 to 0, expected the open interval \(0, 1\)"):
        model.codes_of(np.zeros((1, model.manifest.noise)))


def test_graphs_are_opened_by_their_role(shipped: Model) -> None:
    assert shipped.graph("decoder").inputs == {"z"}
    assert shipped.graph("encoder").outputs == {"z": (2,)}
    assert shipped.graph("prior").session.get_inputs()[0].name == "u"
    with pytest.raises(InvalidInput, match="the role is 'encode', expected one of encoder, decoder, prior"):
        shipped.graph("encode")


def test_the_same_seed_gives_the_same_images(small: Model) -> None:
    assert np.array_equal(small.sample(5, seed=7), small.sample(5, seed=7))
    assert not np.allclose(small.sample(5, seed=7), small.sample(5, seed=8))


@settings(max_examples=25)
@given(count=st.integers(1, 2 * BATCH + 3))
def test_any_number_of_rows_gives_the_same_as_one_at_a_time(small: Model, count: int) -> None:
    images = small.sample(count, seed=3)
    assert images.shape == (count, 1, 14, 14)
    last = small.sample(2 * BATCH + 3, seed=3)[count - 1]
    assert np.allclose(images[-1], last, atol=1e-6)
    codes = small.encode(images)
    assert codes.shape == (count, 2)
    assert np.allclose(codes[-1], small.encode(images[-1:])[0], atol=1e-5)


def test_reconstruct_is_decode_of_encode(shipped: Model, digits: NDArray[np.float32]) -> None:
    again = shipped.reconstruct(digits)
    assert np.array_equal(again, shipped.decode(shipped.encode(digits)))
    assert list(shipped.codes(digits)) == ["z"]


def test_interpolate_walks_from_each_image_to_the_next(shipped: Model, digits: NDArray[np.float32]) -> None:
    walks = shipped.interpolate(digits[:3], steps=5)
    ends = shipped.reconstruct(digits[:3])
    assert walks.shape == (10, 1, 28, 28)
    assert np.allclose(walks[[0, 4, 5, 9]], ends[[0, 1, 1, 2]], atol=1e-5)
    middle = shipped.decode(shipped.encode(digits[:2]).mean(0, keepdims=True))
    assert np.allclose(walks[2], middle[0], atol=1e-5)
    for images, steps in ((digits[:1], 5), (digits[:2], 1)):
        with pytest.raises(InvalidInput, match="expected 2 or more of each"):
            shipped.interpolate(images, steps)


def test_manifold_is_the_priors_percentiles(shipped: Model) -> None:
    images = shipped.manifold(3)
    centre = shipped.decode(np.zeros((1, 2), np.float32))
    assert images.shape == (9, 1, 28, 28)
    assert np.allclose(images[4], centre[0], atol=1e-5)
    with pytest.raises(InvalidInput, match="side of the grid is 0"):
        shipped.manifold(0)


@pytest.mark.parametrize("noise", [[[0.0, 0.5]], [[1.0, 0.5]], [[-0.5, 0.5]], [[float("nan"), 0.5]], [[0.5]]])
def test_noise_outside_its_open_interval_is_refused(small: Model, noise: list[list[float]]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        small.sample_from(np.array(noise))


def test_a_model_without_labels_says_so(small: Model) -> None:
    with pytest.raises(InvalidInput, match="small has no labels to choose from"):
        small.sample(1, label=7)
    with pytest.raises(InvalidInput, match="the decoder of small takes z, given z, y"):
        small.decode(np.zeros((1, 2)), y=np.zeros((1, 0)))


def test_many_threads_get_what_one_gets(small: Model) -> None:
    expected = [small.sample(20, seed=seed) for seed in range(8)]
    results: dict[int, NDArray[np.float32]] = {}

    def work(seed: int) -> None:
        results[seed] = small.sample(20, seed=seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[seed], expected[seed]) for seed in range(8))


@pytest.mark.parametrize(("name", "labels"), [("digits-gauss", ()), ("mnist-style", tuple("0123456789"))])
def test_a_model_says_what_it_is(name: str, labels: tuple[str, ...]) -> None:
    model = load(name)
    assert model.name == name
    assert model.labels == labels
    assert model.sample(1).shape == (1, *model.shape)
    assert 0 < model.metrics["mse"] < 1


def test_repr_tells_what_it_is(small: Model) -> None:
    assert repr(small) == "<Model small 0.1.0: images 1 x 14 x 14, 2-D code, on auto>"


def test_memory_beyond_the_result_is_bounded(small_bundle: Path) -> None:
    """Encoding and scoring 100 times as many images may take no more than their result and a fixed amount more."""
    program = f"""
import resource
import numpy as np
from aae_zoo.runtime import load
model = load({str(small_bundle)!r})
images = np.zeros((1, 1, 14, 14), np.float32).repeat(100_000, 0)
model.encode(images[:1000]); model.decode(np.zeros((1000, 2), np.float32)); model.score(images[:1000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.encode(images); model.score(images)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout)
    assert grown < 16_000  # kB; the images are 78,400


def test_loading_by_path_and_by_name_is_the_same(shipped: Model) -> None:
    from aae_zoo.runtime.store.catalogue import SHIPPED

    assert load(SHIPPED / "mnist-plane").manifest == shipped.manifest


# What is no good for anything, but where None, a number, or one of several is.
WRONG: tuple[Any, ...] = (None, "x", b"x", 2.5, 1j, float("nan"), object(), [1], [None], {}, {"x": object()})
# What is good, by the names of parameters.
RIGHT: dict[str, Any] = {
    "images": (zeros := np.zeros((2, 1, 28, 28), np.float32)),
    "among": zeros,
    "new": zeros,
    "noise": np.full((1, 2), 0.5),
    "z": np.zeros((1, 2)),
    "count": 2,
    "name": "mnist-plane",
    "path": "pictures",
    "role": "prior",
    "work": "sample",
}
METHODS = [name for name, _ in inspect.getmembers(Model, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("name", ["find_model", "grid", "list_models", "load", *METHODS])
def test_what_is_of_a_wrong_type_is_refused_in_a_sentence(shipped: Model, name: str) -> None:
    """Or taken for what it is like; but for yes and no, which everything is."""
    function = getattr(shipped, name, None) or getattr(runtime, name)
    parameters = inspect.signature(function).parameters.values()
    right = {each.name: RIGHT[each.name] for each in parameters if each.default is each.empty and each.name in RIGHT}
    asked = {each.name for each in parameters if each.annotation is not bool}
    asked |= {"range", "invert"} if "how" in asked else set()
    for parameter, wrong in product(asked - {"given", "how", "options"}, WRONG):
        with contextlib.suppress(AaeZooError):
            function(**{**right, parameter: wrong})
