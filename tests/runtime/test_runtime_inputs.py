"""What a model takes and refuses: images, codes, noise, labels, pictures and arrays on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import AaeZoo, write_idx
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime import InvalidInput, Model
from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.formats.arrays import check_codes
from aae_zoo.runtime.formats.images import check_images
from aae_zoo.runtime.formats.pictures import grid, read_images, to_uint8
from aae_zoo.runtime.latent.noise import choose_label, percentile_grid, uniform_noise

GRAY = ImageShape(1, 14, 14)
COLOUR = ImageShape(3, 5, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_size_become_float32(dtype: type) -> None:
    images: NDArray[Any] = np.linspace(0, 1, 3 * 196).reshape(3, 1, 14, 14).astype(dtype)
    checked = check_images(images, GRAY)
    assert checked.dtype == np.float32
    assert np.allclose(checked, images)


def test_bytes_become_floats_and_gray_images_need_no_channel() -> None:
    images = np.arange(196, dtype=np.uint8).reshape(1, 14, 14)
    assert np.allclose(check_images(images, GRAY) * 255, images[:, None])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 14, 14), np.int64), "dtype int64, expected uint8 or floats"),
        (np.zeros((1, 14, 14), bool), "dtype bool"),
        (np.zeros((14, 14)), r"shape \[14, 14\], expected \[n, 1, 14, 14\]"),
        (np.zeros((1, 1, 14, 13)), r"shape \[1, 1, 14, 13\], expected \[n, 1, 14, 14\]"),
        (np.zeros((0, 1, 14, 14)), r"shape \[0, 1, 14, 14\], expected .* n >= 1"),
        (np.full((1, 1, 14, 14), 255.0), "values from 255 to 255, expected .* divide"),
        (np.full((1, 1, 14, 14), -0.1), "values from -0.1 to -0.1"),
        (np.full((1, 1, 14, 14), np.nan), "have NaN, expected"),
        (np.full((1, 1, 14, 14), np.inf), "values from inf to inf"),
        ("seven", r"shape \[\], expected"),
    ],
)
def test_images_that_are_refused(images: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_images(images, GRAY)


def test_minus_zero_is_zero() -> None:
    assert check_images(np.full((1, 1, 14, 14), -0.0), GRAY).max() == 0


@given(st.floats(width=32))
def test_exactly_the_floats_from_0_to_1_are_taken(value: float) -> None:
    images = np.full((1, 14, 14), 0.5, np.float32)
    images[0, 3, 3] = value
    if 0 <= value <= 1:
        assert check_images(images, GRAY)[0, 0, 3, 3] == np.float32(value)
    else:
        with pytest.raises(InvalidInput, match=r"expected \[0, 1\]"):
            check_images(images, GRAY)


def test_colour_images_need_their_channels() -> None:
    assert check_images(np.zeros((2, 3, 5, 4)), COLOUR).shape == (2, 3, 5, 4)
    with pytest.raises(InvalidInput, match=r"expected \[n, 3, 5, 4\]"):
        check_images(np.zeros((2, 5, 4)), COLOUR)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros(2), r"z has shape \[2\], expected \[n, 2\]"),
        (np.zeros((4, 3)), r"z has shape \[4, 3\], expected \[n, 2\]"),
        (np.zeros((0, 2)), "n >= 1"),
        (np.zeros((4, 2), np.int32), "z has dtype int32, expected finite floats"),
        (np.array([[0, np.nan]]), "z holds nan"),
        (np.array([[0, -np.inf]]), "z holds -inf"),
    ],
)
def test_codes_that_are_refused(codes: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_codes(codes, 2, "z")


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


def test_pictures_become_what_the_model_needs(tmp_path: Path) -> None:
    gradient = np.arange(20, dtype=np.uint8).reshape(5, 4) * 12
    Image.fromarray(gradient).save(tmp_path / "gray.png")
    Image.fromarray(np.stack([gradient] * 3, -1)).save(tmp_path / "colour.png")
    gray = read_images(tmp_path / "colour.png", ImageShape(1, 5, 4))
    colour = read_images(tmp_path / "gray.png", COLOUR)
    assert np.array_equal(gray, gradient[None, None])
    assert np.array_equal(colour, np.stack([gradient] * 3)[None])
    assert read_images(tmp_path, COLOUR).shape == (2, 3, 5, 4)


def test_resize_is_asked_for(tmp_path: Path) -> None:
    Image.new("L", (30, 40), 200).save(tmp_path / "large.jpg")
    with pytest.raises(InvalidInput, match=r"large\.jpg is 30 x 40 pixels, expected 14 x 14; .*--resize"):
        read_images(tmp_path / "large.jpg", GRAY)
    assert read_images(tmp_path / "large.jpg", GRAY, resize=True).shape == (1, 1, 14, 14)


def test_grid_keeps_every_pixel() -> None:
    images = np.random.default_rng(0).random((5, 1, 14, 14), np.float32)
    picture = np.asarray(grid(images, 3))
    factor = picture.shape[1] // (3 * 16 - 2)
    assert np.array_equal(picture[: 14 * factor : factor, 16 * factor : 30 * factor : factor], to_uint8(images)[1])


class TestCommandLineInputs:
    """Each bad input through the command line: one sentence, status 1, and nothing written."""

    @pytest.fixture
    def encode_refused(self, small_bundle: Path, refused: Callable[..., str], no_leftovers: Path) -> Callable[..., str]:
        return lambda path: refused("encode", small_bundle, path, "-o", no_leftovers / "codes.npy")

    def test_no_file(self, encode_refused: Callable[..., str]) -> None:
        assert "there is no file /nowhere.png" in encode_refused("/nowhere.png")

    def test_an_empty_folder(self, encode_refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert "holds no picture" in encode_refused(tmp_path / "empty")

    @pytest.mark.parametrize("name", ["text.png", "text.jpg", "text.txt"])
    def test_a_file_that_is_no_picture(self, encode_refused: Callable[..., str], tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("not a picture")
        assert f"{name} cannot be read as a picture" in encode_refused(tmp_path / name)

    def test_a_truncated_picture(self, encode_refused: Callable[..., str], tmp_path: Path) -> None:
        path = tmp_path / "cut.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (14, 14), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:-80])
        assert "cannot be read as a picture" in encode_refused(path)

    def test_a_pickled_array(self, encode_refused: Callable[..., str], tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
        assert "cannot be read as an array" in encode_refused(tmp_path / "x.npy")

    def test_a_truncated_array(self, encode_refused: Callable[..., str], tmp_path: Path) -> None:
        for name, save in (("x.npy", np.save), ("x.npz", np.savez)):
            save(tmp_path / name, np.zeros((3, 14, 14)))
            (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:200])
            assert "cannot be read as an array" in encode_refused(tmp_path / name)

    def test_an_archive_without_images(self, encode_refused: Callable[..., str], tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", a=np.zeros(3), b=np.zeros(3))
        assert "holds the arrays ['a', 'b'], expected one called image" in encode_refused(tmp_path / "x.npz")

    def test_wrong_values(self, encode_refused: Callable[..., str], tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.full((3, 14, 14), 7.0))
        assert "values from 7 to 7" in encode_refused(tmp_path / "x.npy")

    def test_wrong_codes(self, small_bundle: Path, refused: Callable[..., str], tmp_path: Path) -> None:
        np.save(tmp_path / "z.npy", np.zeros((3, 5)))
        message = refused("decode", small_bundle, tmp_path / "z.npy", "-o", tmp_path / "x.png")
        assert "z has shape [3, 5], expected [n, 2]" in message


def test_every_kind_of_input_gives_the_same_codes(
    small: Model, small_bundle: Path, mnist: Any, aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    pixels: NDArray[np.uint8] = mnist.test_images[:3, 0, ::2, ::2].numpy()
    np.save(tmp_path / "images.npy", pixels)
    np.savez(tmp_path / "images.npz", image=pixels[:, None] / 255.0)
    write_idx(tmp_path / "images-idx3-ubyte", pixels)
    write_idx(tmp_path / "images-idx3-ubyte.gz", pixels)
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "folder" / f"{number}.png")
    expected = small.encode(pixels)
    for name in ("images.npy", "images.npz", "images-idx3-ubyte", "images-idx3-ubyte.gz", "folder"):
        output = tmp_path / f"{name}.codes.npy"
        assert aae_zoo("encode", small_bundle, tmp_path / name, "-o", output).status == 0
        assert np.allclose(np.load(output), expected, atol=1e-6)
