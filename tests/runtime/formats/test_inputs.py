"""What a model takes and refuses: arrays of any library, layout and colour, codes, and files of pictures and arrays."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import AaeZoo, write_idx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime import InvalidInput, Model, load
from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION, ImageShape
from aae_zoo.runtime.drawing.grid import grid, to_uint8
from aae_zoo.runtime.formats.arrays import as_array, check_codes, is_finite
from aae_zoo.runtime.formats.images import as_images, check_images, read_images
from aae_zoo.runtime.formats.plan import Plan

SQUASH = USUAL_PREPARATION._replace(fit="squash")
SIZE = ImageShape(1, 6, 5)
GRAY = Plan(SIZE)
COLOUR = Plan(ImageShape(3, 6, 5))
ANY_GRAY = Plan(SIZE, SQUASH, resize=True)
ANY_COLOUR = Plan(ImageShape(3, 6, 5), SQUASH, resize=True)

Bytes = NDArray[np.uint8]
# Bytes of 0 and 1 alone are refused, and pictures of few values warned of: other tests see to that.
DIM = pytest.mark.filterwarnings("ignore:.* has values from:RuntimeWarning")
gray_bytes = arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(1), st.just(6), st.just(5))).filter(
    lambda images: images.max() != 1
)
colour_bytes = arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(3), st.just(6), st.just(5))).filter(
    lambda images: images.max() != 1
)


class DLPackOnly:
    """An array of a library that numpy knows nothing of."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_size_become_float32(dtype: type) -> None:
    images: NDArray[Any] = np.linspace(0, 1, 3 * 30).reshape(3, 1, 6, 5).astype(dtype)
    checked = check_images(images, GRAY)
    assert checked.dtype == np.float32
    assert np.allclose(checked, images)


def test_bytes_become_floats_and_gray_images_need_no_channel() -> None:
    images = np.arange(30, dtype=np.uint8).reshape(1, 6, 5)
    assert np.allclose(check_images(images, GRAY) * 255, images[:, None])


@DIM
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


@DIM
@given(images=colour_bytes)
def test_colour_becomes_gray_as_pictures_do(images: Bytes) -> None:
    pictures = [Image.fromarray(np.moveaxis(i, 0, -1)) for i in images]
    expected = np.stack([np.asarray(picture.convert("L")) for picture in pictures])[:, None] / np.float32(255)
    assert np.array_equal(check_images(pictures, GRAY), expected)
    assert np.array_equal(check_images(images, GRAY), expected)
    assert np.array_equal(check_images(np.moveaxis(images, 1, -1), GRAY), expected)
    assert np.allclose(check_images(images / 255.0, GRAY), expected, atol=1.01 / 255)


@DIM
@given(images=gray_bytes)
def test_gray_becomes_colour_by_repeating_it(images: Bytes) -> None:
    expected = np.repeat(images, 3, axis=1) / np.float32(255)
    for kind in (images, images.transpose(0, 2, 3, 1), [Image.fromarray(i[0]) for i in images]):
        assert np.array_equal(check_images(kind, COLOUR), expected)


@given(
    size=st.tuples(st.integers(4, 20), st.integers(4, 20)),
    channels=st.sampled_from([1, 3]),
    plan=st.sampled_from([ANY_GRAY, ANY_COLOUR]),
    seed=st.integers(0, 99),
)
def test_resizing_an_array_is_resizing_its_picture(size: tuple[int, int], channels: int, plan: Plan, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, channels, *size), np.uint8)
    pictures = [Image.fromarray(i[0] if channels == 1 else np.moveaxis(i, 0, -1)) for i in images]
    expected = check_images(pictures, plan)
    assert expected.shape == (2, *plan.shape.axes)
    assert np.array_equal(check_images(images, plan), expected)
    floats = check_images(images / 255.0, plan)
    assert 0 <= floats.min() <= floats.max() <= 1
    assert np.abs(floats - expected).max() < 0.2  # Pillow cuts overshoots of bytes between its two passes too
    assert np.abs(floats - expected).mean() < 0.01


@pytest.mark.parametrize(("plan", "channels"), [(ANY_GRAY, 1), (ANY_COLOUR, 3)])
def test_of_two_layouts_that_fit_the_channels_are_first(plan: Plan, channels: int) -> None:
    """Images [n, channels, height, channels] can be either."""
    images = np.random.default_rng(0).integers(0, 256, (2, channels, 9, channels), np.uint8)
    pictures = [Image.fromarray(image[0] if channels == 1 else np.moveaxis(image, 0, -1)) for image in images]
    assert np.array_equal(check_images(images, plan), check_images(pictures, plan))


def test_pictures_of_several_sizes_are_resized_and_refused_without() -> None:
    pictures = [Image.new("RGB", (9, 4), (255, 0, 0)), Image.new("LA", (5, 6), (77, 128))]
    assert check_images(pictures, ANY_COLOUR).shape == (2, 3, 6, 5)
    with pytest.raises(InvalidInput, match=r"picture 0 is 9 x 4 pixels, expected 5 x 6; .* resize=True"):
        check_images(pictures, COLOUR)
    assert check_images(pictures[1], GRAY)[0, 0, 0, 0] == np.float32(166) / 255  # half transparent, on white


def test_a_picture_that_lies_on_its_side_is_turned() -> None:
    picture = Image.fromarray(np.arange(0, 240, 8, dtype=np.uint8).reshape(5, 6))
    picture.getexif()[0x0112] = 6  # to be turned by 90 degrees
    assert np.array_equal(check_images([picture], GRAY)[0, 0] * 255, np.rot90(np.arange(0, 240, 8).reshape(5, 6), -1))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_file_that_lies_on_its_side_is_turned_once(tmp_path: Path, compression: str | None) -> None:
    """Pillow turns it too, when it decodes it, and would scramble one that is not packed if it had its name."""
    pixels, exif, path = np.arange(0, 240, 8, dtype=np.uint8).reshape(5, 6), Image.Exif(), tmp_path / "sideways.tif"
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(pixels).save(path, exif=exif, compression=compression)
    with path.open("rb") as stream, Image.open(stream) as not_decoded_yet:
        for given in (path, [path], not_decoded_yet):
            assert np.array_equal(check_images(given, GRAY)[0, 0] * 255, np.rot90(pixels, -1))


def test_minus_zero_is_zero() -> None:
    assert check_images(np.full((1, 1, 6, 5), -0.0), GRAY).max() == 0


@given(st.floats(width=32))
def test_exactly_the_floats_from_0_to_1_are_taken(value: float) -> None:
    images = np.full((1, 6, 5), 0.5, np.float32)
    images[0, 3, 3] = value
    if -1e-5 <= value <= 1 + 1e-5:  # sums are a rounding beside what they should be
        assert check_images(images, GRAY)[0, 0, 3, 3] == np.float32(min(1, max(0, value)))
    else:
        with pytest.raises(InvalidInput, match=r"expected \[0, 1\]"):
            check_images(images, GRAY)


@pytest.mark.parametrize(
    ("plan", "images", "message"),
    [
        (GRAY, np.zeros((1, 6, 5), np.int64), "dtype int64, expected uint8, bool, or floats"),
        (GRAY, np.eye(6, 5, dtype=np.uint8)[None], r"no value above 1, .*\(images \* 255\), or give booleans"),
        (GRAY, np.zeros((6, 5)), r"shape \[6, 5\], expected \[n, 1, 6, 5\]"),
        (GRAY, np.zeros((1, 1, 6, 4)), r"shape \[1, 1, 6, 4\], expected \[n, 1, 6, 5\]"),
        (GRAY, np.zeros((0, 1, 6, 5)), r"shape \[0, 1, 6, 5\], expected .* n >= 1"),
        (GRAY, np.full((1, 1, 6, 5), 255.0), "values from 255 to 255, expected .* divide"),
        (GRAY, np.full((1, 1, 6, 5), -0.1), "values from -0.1 to -0.1, .*look normalised: undo the mean"),
        (GRAY, np.full((1, 1, 6, 5), np.nan), "have NaN, expected"),
        (GRAY, np.full((1, 1, 6, 5), np.inf), "values from inf to inf"),
        (GRAY, "seven", "there is no file seven"),
        (GRAY, ["seven"], "there is no file seven"),
        (
            COLOUR,
            np.zeros((2, 6, 5)),
            r"shape \[2, 6, 5\], expected \[n, 3, 6, 5\]",
        ),  # as well one image as two gray ones
        (COLOUR, np.zeros((2, 4, 6, 5)), r"shape \[2, 4, 6, 5\]"),
        (COLOUR, np.zeros((2, 3, 6, 6)), "or resize=True for another size"),
        (COLOUR, [np.zeros((3, 6, 5)), np.zeros((3, 5, 5))], r"picture 1: the images have shape \[1, 3, 5, 5\]"),
        (COLOUR, [], r"shape \[0\]"),
        (COLOUR, None, "the images are NoneType, expected an array, a Pillow image, the path of one, or a list of"),
        (COLOUR, io.BytesIO(b"GIF89a"), "the images are BytesIO, expected an array"),
        (COLOUR, (np.zeros((3, 6, 5)) for _ in range(2)), "the images are generator, expected an array"),
        (GRAY, Image.new("LAB", (5, 6)), "picture 0 cannot be read as a picture .*LAB"),
        (
            COLOUR,
            torch.zeros(2, 3, 6, 5, dtype=torch.bfloat16),
            "cannot be made an array .*; give a numpy array",
        ),
        (COLOUR, np.array([["a"]]), r"shape \[1, 1\]"),
        (COLOUR, np.full((1, 3, 6, 5), 1e300), "values from inf to inf"),
    ],
)
def test_images_that_are_refused(plan: Plan, images: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_images(images, plan)


def test_a_picture_of_pillows_that_is_cut_off_is_refused() -> None:
    Image.effect_noise((5, 6), 50).save(whole := io.BytesIO(), "PNG")
    pictures = [Image.new("L", (5, 6)), Image.open(io.BytesIO(whole.getvalue()[:-30]))]
    with pytest.raises(InvalidInput, match="picture 1 cannot be read as a picture"):
        check_images(pictures, GRAY)


def test_images_that_were_read_for_another_model(tmp_path: Path) -> None:
    Image.new("L", (5, 6)).save(tmp_path / "a.png")
    with pytest.raises(InvalidInput, match=r"read for a model of \[1, 6, 5\], expected \[3, 6, 5\]; read them with"):
        check_images(read_images(tmp_path, GRAY), COLOUR)


@pytest.mark.parametrize("late", [Plan(SIZE, invert="yes"), Plan(SIZE, invert="auto"), Plan(SIZE, range=(0, 4))])
def test_images_that_were_read_are_not_read_in_another_way(tmp_path: Path, late: Plan) -> None:
    Image.new("L", (5, 6)).save(tmp_path / "a.png")
    images = read_images(tmp_path, late)
    assert check_images(images, Plan(SIZE, invert="no")).shape == (1, 1, 6, 5)
    with pytest.raises(InvalidInput, match=r"^(invert|range)=.* comes too late .*; give it to read_images$"):
        check_images(images, late)


def test_images_are_converted_some_at_a_time() -> None:
    """Bytes of a large set never become floats all at once: a mistake further on is not met before its rows."""
    images = np.zeros((10, 1, 6, 5))
    images[7] = 2
    given = as_images(images, GRAY)
    assert given.rows(slice(0, 7)).shape == (7, 1, 6, 5)
    with pytest.raises(InvalidInput, match="values from 0 to 2"):
        given.rows(slice(6, 9))


def test_an_array_that_is_right_already_is_not_copied() -> None:
    images = np.random.default_rng(0).random((4, 1, 6, 5), np.float32)
    assert np.shares_memory(as_images(images, GRAY).rows(slice(1, 3)), images)
    assert np.shares_memory(as_array(torch.from_numpy(images), "x"), images)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros(2), r"z has shape \[2\], expected \[n, 2\]"),
        (np.zeros((4, 3)), r"z has shape \[4, 3\], expected \[n, 2\]"),
        (np.zeros((0, 2)), "n >= 1"),
        (np.zeros((4, 2), complex), "z has dtype complex128, expected finite floats"),
        ([["0", "1"]], "z has dtype <U1, expected finite floats"),
        (np.array([[0, np.nan]]), "z holds nan"),
        (np.array([[0, -np.inf]]), "z holds -inf"),
    ],
)
def test_codes_that_are_refused(codes: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_codes(codes, 2, "z")


@pytest.mark.parametrize(
    "codes",
    [
        [[1.0, -2.0], [0.0, 1.0]],
        [[1, -2], [0, 1]],
        ((1, -2.0), (False, True)),
        np.array([[1, -2], [0, 1]], np.int8),
        np.array([[1, -2], [0, 1]], np.float64, order="F"),
    ],
)
def test_codes_may_be_lists_and_whole_numbers(codes: Any) -> None:
    model = load("mnist-plane")
    assert np.array_equal(model.decode(codes), model.decode(np.array([[1, -2], [0, 1]], np.float32)))


def test_codes_of_bits_may_be_booleans_and_classes_numbers() -> None:
    bits, labels = load("mnist-bits"), load("mnist-style")
    codes = bits.codes_of(np.linspace(0.01, 0.99, 2 * bits.manifest.noise).reshape(2, -1))["z"]
    assert np.array_equal(bits.decode(codes > 0.5), bits.decode((codes > 0.5).astype(np.float32)))
    z = [[0] * labels.manifest.latent]
    assert np.array_equal(labels.decode(z, [7]), labels.decode(z, np.eye(10, dtype=int)[[7]]))


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


def test_lists_may_hold_every_kind_of_one_image(tmp_path: Path, shipped: Model) -> None:
    pixels = np.rint(shipped.sample(5, seed=1) * 255).astype(np.uint8)
    pictures = [Image.fromarray(image[0]) for image in pixels]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    paths = sorted(tmp_path.iterdir())
    mixed = [paths[0], str(paths[1]), pictures[2], pixels[3], torch.from_numpy(pixels[4, 0])]
    expected = shipped.encode(pixels)
    for images in (tmp_path, str(tmp_path), paths, tuple(map(str, paths)), pictures, list(pixels), mixed):
        assert np.allclose(shipped.encode(images), expected, atol=1e-6)
    assert np.allclose(shipped.encode(paths[0]), expected[:1], atol=1e-6)
    assert np.allclose(shipped.encode(pictures[1]), expected[1:2], atol=1e-6)


def test_lists_may_hold_arrays_of_several_sizes(shipped: Model) -> None:
    images = [np.random.default_rng(0).random((size, 30), np.float32) for size in (28, 40)]
    codes = shipped.encode(images, resize=True)
    for image, code in zip(images, codes, strict=True):
        assert np.allclose(shipped.encode(image[None], resize=True)[0], code, atol=1e-6)
    with pytest.raises(
        InvalidInput,
        match=r"picture 0: the images have shape \[1, 1, 28, 30\], expected .* or resize=True for another size",
    ):
        shipped.encode(images)


@DIM
@given(images=gray_bytes)
def test_lists_of_gray_arrays_are_no_image_in_colour(images: Bytes) -> None:
    expected = check_images(images, COLOUR)
    for grays in (list(images[:, 0]), [torch.from_numpy(image[0]) for image in images]):
        assert np.array_equal(check_images(grays, COLOUR), expected)
        assert np.array_equal(check_images(grays, GRAY), expected[:, :1])


def test_pictures_become_what_the_model_needs(tmp_path: Path) -> None:
    gradient = np.arange(30, dtype=np.uint8).reshape(6, 5) * 8
    Image.fromarray(gradient).save(tmp_path / "gray.png")
    Image.fromarray(np.stack([gradient] * 3, -1)).save(tmp_path / "colour.png")
    gray = read_images(tmp_path / "colour.png", GRAY).rows(slice(None)) * 255
    colour = read_images(tmp_path / "gray.png", COLOUR).rows(slice(None)) * 255
    assert np.array_equal(gray, gradient[None, None])
    assert np.array_equal(colour, np.stack([gradient] * 3)[None])
    assert read_images(tmp_path, COLOUR).names == ["colour.png", "gray.png"]


def test_resize_is_asked_for(tmp_path: Path) -> None:
    Image.new("L", (30, 40), 200).save(tmp_path / "large.jpg")
    with pytest.raises(InvalidInput, match=r"large\.jpg is 30 x 40 pixels, expected 5 x 6; .*--resize"):
        read_images(tmp_path / "large.jpg", GRAY)
    assert read_images(tmp_path / "large.jpg", ANY_GRAY).rows(slice(1)).shape == (1, 1, 6, 5)


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
        assert "cannot be read as an array (it has Python objects, which" in encode_refused(tmp_path / "x.npy")

    def test_a_truncated_array(self, encode_refused: Callable[..., str], tmp_path: Path) -> None:
        for name, save in (("x.npy", np.save), ("x.npz", np.savez)):
            save(tmp_path / name, np.zeros((3, 14, 14)))
            (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:200])
            assert "cannot be read as an array" in encode_refused(tmp_path / name)

    def test_headers_that_no_parser_reads(self, encode_refused: Callable[..., str], tmp_path: Path) -> None:
        for shape in (b"(" * 200, b"9" * 5000, b"(1, '", b"\xff" * 3000):
            text = b"{'descr': '<f4', 'fortran_order': False, 'shape': %b}" % shape
            content = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text
            (tmp_path / "x.npy").write_bytes(content)
            said = encode_refused(tmp_path / "x.npy")
            assert "cannot be read as an array" in said
            assert len(said) < 600

    def test_what_readers_say_of_long_texts_is_cut_short(
        self, encode_refused: Callable[..., str], tmp_path: Path
    ) -> None:
        (tmp_path / "x.csv").write_text("x" * 5000)
        assert len(encode_refused(tmp_path / "x.csv")) < 600
        (tmp_path / "x.idx").write_bytes(b"\0\0\x08\xff" + b"\xff" * 4 * 255)
        assert "begins with 000008ff, expected 000008 and a rank of at most 4" in encode_refused(tmp_path / "x.idx")

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


# Around where the bits of finite numbers end, of either sign, and any others.
EDGES = [sign + bits for sign in (0, 1 << 31) for bits in (0, 1, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FFFFFFF)]


@given(st.lists(st.sampled_from(EDGES) | st.integers(0, 2**32 - 1), min_size=1, max_size=5))
def test_what_is_finite_is_told_by_the_bits(bits: list[int]) -> None:
    values = np.array(bits, np.uint32).view(np.float32)
    assert is_finite(values) == np.isfinite(values).all()
