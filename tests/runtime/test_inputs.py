"""What a model takes as images: arrays of any library, layout and colour, and pictures, all to the same effect."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime import InvalidInput, Model
from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.formats.arrays import as_array, check_codes
from aae_zoo.runtime.formats.images import Images, check_images

GRAY = ImageShape(1, 6, 5)
COLOUR = ImageShape(3, 6, 5)

Bytes = NDArray[np.uint8]
gray_bytes = arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(1), st.just(6), st.just(5)))
colour_bytes = arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(3), st.just(6), st.just(5)))


class DLPackOnly:
    """An array of a library that numpy knows nothing of."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@given(images=gray_bytes | colour_bytes)
def test_every_kind_of_array_gives_the_same(images: Bytes) -> None:
    shape = GRAY if images.shape[1] == 1 else COLOUR
    expected = images.astype(np.float32) / 255
    last = np.moveaxis(images, 1, -1)
    pictures = [Image.fromarray(image.squeeze(-1) if shape is GRAY else image) for image in last]
    kinds: list[Any] = [
        *(images, last, np.ascontiguousarray(last), images / 255.0, (images / 255).astype(np.float32)[::1]),
        *(torch.from_numpy(images), torch.from_numpy(images / 255.0).requires_grad_(), DLPackOnly(images)),
        *(list(images), list(torch.from_numpy(images)), pictures),
    ]
    for kind in kinds:
        checked = check_images(kind, shape)
        assert checked.dtype == np.float32
        assert checked.flags.c_contiguous
        assert np.allclose(checked, expected, atol=1e-7)


@given(images=colour_bytes)
def test_colour_becomes_gray_as_pictures_do(images: Bytes) -> None:
    pictures = [Image.fromarray(np.moveaxis(i, 0, -1)) for i in images]
    expected = np.stack([np.asarray(picture.convert("L")) for picture in pictures])[:, None] / np.float32(255)
    assert np.array_equal(check_images(pictures, GRAY), expected)
    assert np.array_equal(check_images(images, GRAY), expected)
    assert np.array_equal(check_images(np.moveaxis(images, 1, -1), GRAY), expected)
    assert np.allclose(check_images(images / 255.0, GRAY), expected, atol=1.01 / 255)


@given(images=gray_bytes)
def test_gray_becomes_colour_by_repeating_it(images: Bytes) -> None:
    expected = np.repeat(images, 3, axis=1) / np.float32(255)
    for kind in (images, images.transpose(0, 2, 3, 1), [Image.fromarray(i[0]) for i in images]):
        assert np.array_equal(check_images(kind, COLOUR), expected)


@given(
    size=st.tuples(st.integers(4, 20), st.integers(4, 20)),
    channels=st.sampled_from([1, 3]),
    shape=st.sampled_from([GRAY, COLOUR]),
    seed=st.integers(0, 99),
)
def test_resizing_an_array_is_resizing_its_picture(
    size: tuple[int, int], channels: int, shape: ImageShape, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, channels, *size), np.uint8)
    pictures = [Image.fromarray(i[0] if channels == 1 else np.moveaxis(i, 0, -1)) for i in images]
    expected = check_images(pictures, shape, resize=True)
    assert expected.shape == (2, *shape.axes)
    assert np.array_equal(check_images(images, shape, resize=True), expected)
    floats = check_images(images / 255.0, shape, resize=True)
    assert 0 <= floats.min() <= floats.max() <= 1
    assert np.abs(floats - expected).max() < 0.2  # Pillow cuts overshoots of bytes between its two passes too
    assert np.abs(floats - expected).mean() < 0.01


def test_pictures_of_several_sizes_are_resized_and_refused_without() -> None:
    pictures = [Image.new("RGB", (9, 4), (255, 0, 0)), Image.new("LA", (5, 6), (77, 128))]
    assert check_images(pictures, COLOUR, resize=True).shape == (2, 3, 6, 5)
    with pytest.raises(InvalidInput, match=r"picture 0 is 9 x 4 pixels, expected 5 x 6; .* resize=True"):
        check_images(pictures, COLOUR)
    assert check_images(pictures[1], GRAY)[0, 0, 0, 0] == np.float32(77) / 255


def test_a_picture_that_lies_on_its_side_is_turned() -> None:
    picture = Image.fromarray(np.arange(30, dtype=np.uint8).reshape(5, 6))
    picture.getexif()[0x0112] = 6  # to be turned by 90 degrees
    assert np.array_equal(check_images([picture], GRAY)[0, 0] * 255, np.rot90(np.arange(30).reshape(5, 6), -1))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 6, 5)), r"shape \[2, 6, 5\], expected \[n, 3, 6, 5\]"),  # as well one image as two gray ones
        (np.zeros((2, 4, 6, 5)), r"shape \[2, 4, 6, 5\]"),
        (np.zeros((2, 3, 6, 6)), "or resize=True for another size"),
        ([np.zeros((3, 6, 5)), np.zeros((3, 5, 5))], "the images cannot be made an array"),
        ([], r"shape \[0\]"),
        (None, r"shape \[\]"),
        (torch.zeros(2, 3, 6, 5, dtype=torch.bfloat16), "the images cannot be made an array .*; give a numpy array"),
        (np.array([["a"]]), r"shape \[1, 1\]"),
        (np.full((1, 3, 6, 5), 1e300), "values from inf to inf"),
    ],
)
def test_images_that_are_refused(images: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_images(images, COLOUR)


def test_images_are_converted_some_at_a_time() -> None:
    """Bytes of a large set never become floats all at once: a mistake further on is not met before its rows."""
    images = np.zeros((10, 1, 6, 5))
    images[7] = 2
    given = Images(images, GRAY)
    assert given.rows(slice(0, 7)).shape == (7, 1, 6, 5)
    with pytest.raises(InvalidInput, match="values from 0 to 2"):
        given.rows(slice(6, 9))


def test_an_array_that_is_right_already_is_not_copied() -> None:
    images = np.random.default_rng(0).random((4, 1, 6, 5), np.float32)
    assert np.shares_memory(Images(images, GRAY).rows(slice(1, 3)), images)
    assert np.shares_memory(as_array(torch.from_numpy(images), "x"), images)


def test_codes_may_be_tensors_too(small: Model) -> None:
    z = torch.randn(5, 2, generator=torch.manual_seed(0)).requires_grad_()
    assert np.array_equal(check_codes(z, 2, "z"), z.detach().numpy())
    assert np.array_equal(small.decode(z), small.decode(z.detach().numpy()))


def test_tensors_are_taken_without_importing_torch(small_bundle: Path) -> None:
    program = f"""
import sys
import numpy as np
from aae_zoo.runtime import load
class Tensor:
    def detach(self): return self
    def cpu(self): return self
    def __array__(self, dtype=None, copy=None): return np.zeros((2, 14, 14), np.float32)
assert load({str(small_bundle)!r}).encode(Tensor()).shape == (2, 2)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_method_takes_them(small: Model) -> None:
    large = np.random.default_rng(0).integers(0, 256, (3, 30, 20, 3), np.uint8)
    pictures = [Image.fromarray(image) for image in large]
    codes = small.encode(large, resize=True)
    assert np.allclose(small.encode(pictures, resize=True), codes, atol=1e-6)
    assert np.allclose(small.codes(pictures, resize=True)["z"], codes, atol=1e-6)
    assert np.allclose(small.reconstruct(large, resize=True), small.decode(codes), atol=1e-6)
    assert small.interpolate(large, 3, resize=True).shape == (6, 1, 14, 14)
    assert small.traverse(large, 3, resize=True).shape == (3 * 2 * 3, 1, 14, 14)
    assert small.nearest(large, pictures, resize=True).numbers.ravel().tolist() == [0, 1, 2]
    assert len(small.score(large, resize=True).score) == 3
    assert np.array_equal(np.concatenate(list(small.stream("encode", large, resize=True))), codes)
