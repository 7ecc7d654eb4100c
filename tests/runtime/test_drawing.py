"""Pictures that compare images: every pixel of the originals and of what the model makes, with captions to read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import AaeZoo
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime import Model
from aae_zoo.runtime.drawing import comparisons
from aae_zoo.runtime.drawing.captions import Row, draw_rows
from aae_zoo.runtime.drawing.grid import to_uint8

Pixels = NDArray[np.uint8]
GAP = 10


def drawn(rows: list[Row]) -> Pixels:
    return np.asarray(draw_rows(rows))


def saved(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture)


def caption(name: str, width: int = 28) -> Pixels:
    """What stands below a black image of this width, and beside it."""
    picture = drawn([Row("", np.zeros((1, 1, 28, width), np.float32), [(name,)])])
    return picture[GAP + 28 * -(-96 // width) :]


def places(picture: Pixels, image: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Where in a picture an image [C, H, W] stands, enlarged as all are."""
    factor = -(-96 // image.shape[2])
    wanted = to_uint8(image[None])[0].repeat(factor, 0).repeat(factor, 1)
    height, width = wanted.shape[:2]
    return [
        (top, left)
        for top in range(GAP, picture.shape[0] - height + 1)
        for left in range(GAP, picture.shape[1] - width + 1)
        if np.array_equal(picture[top, left : left + width], wanted[0])
        and np.array_equal(picture[top : top + height, left : left + width], wanted)
    ]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 40), (3, 7, 5), (1, 130, 100)])
def test_every_pixel_of_the_originals_and_their_reconstructions_is_shown(shape: tuple[int, int, int]) -> None:
    images, again = np.random.default_rng(0).random((2, 2, *shape), np.float32)
    picture = drawn(comparisons.reconstructions(images, again, ["a", "b"]))
    assert picture.ndim == (2 if shape[0] == 1 else 3)
    (a,), (b,), (below_a,), (below_b,) = (places(picture, image) for image in (*images, *again))
    assert a[0] == b[0] < below_a[0] == below_b[0]
    assert a[1] == below_a[1] < b[1] == below_b[1]


def test_a_caption_is_below_its_image_and_no_wider() -> None:
    empty = caption("")
    assert (empty == 255).all()
    for name in ("seven.png", "x" * 300, "W" * 40):
        ink = np.argwhere(caption(name) < 128)
        assert len(ink) > 50
        assert ink[:, 1].min() >= GAP
        assert ink[:, 1].max() < GAP + 112
    assert not np.array_equal(caption("img1.png"), caption("img2.png"))


def test_long_names_are_told_apart_by_their_ends() -> None:
    assert not np.array_equal(caption("a" * 40 + "1.png"), caption("a" * 40 + "2.png"))
    assert not np.array_equal(caption("1" + "a" * 40), caption("2" + "a" * 40))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("七.png", "?.png"),
        ("Ёлка.png", "????.png"),
        ("한글", "??"),
        ("\u05d0\u05d1\u05d2", "???"),
        ("🙂.png", "?.png"),
        ("café.png", "cafe.png"),
        ("ﬁn.png", "fin.png"),
        ("a\nb\t\x1b[31m\x00", "a?b??[31m?"),
        (b"\xe9.png".decode("utf-8", "surrogateescape"), "?.png"),
    ],
)
def test_what_the_font_does_not_have_is_a_question_mark(name: str, shown: str) -> None:
    assert np.array_equal(caption(name), caption(shown))


def test_classes_are_named_below_their_columns() -> None:
    images = np.random.default_rng(0).random((6, 1, 28, 28), np.float32)
    picture, other = (drawn(comparisons.classes(images, labels)) for labels in (["bag", "coat"], ["bag", "boot"]))
    assert [len(places(picture, image)) for image in images] == [1] * 6
    rows, columns = np.nonzero(picture != other)
    assert rows.min() > places(picture, images[5])[0][0] + 112
    assert columns.min() > places(picture, images[5])[0][1]


class TestCommands:
    """The .png of each command is what the model gives, drawn so; arrays have nothing but that."""

    @pytest.fixture
    def folder(self, digits: NDArray[np.float32], tmp_path: Path) -> Path:
        (tmp_path / "digits").mkdir()
        for number, name in enumerate(("7.png", "七.png")):
            Image.fromarray(to_uint8(digits[number : number + 1])[0]).save(tmp_path / "digits" / name)
        return tmp_path / "digits"

    def test_reconstruct(self, shipped: Model, folder: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        output = tmp_path / "again.png"
        assert aae_zoo("reconstruct", "mnist-plane", folder, "-o", output).status == 0
        given = shipped.read_images(folder)
        images = given.rows(slice(0, 2))
        expected = comparisons.reconstructions(images, shipped.reconstruct(images), given.names)
        assert np.array_equal(saved(output), drawn(expected))
        assert [row.caption for row in expected] == ["original", "reconstruction"]
        assert expected[0].below == [("7.png",), ("七.png",)]
        error = np.square(shipped.reconstruct(images[:1]) - images[:1]).mean()
        assert expected[1].below[0] == (f"mse {error:.4f}",)
        assert aae_zoo("reconstruct", "mnist-plane", folder, "-o", output).status == 0  # over its own

    def test_traverse(self, shipped: Model, folder: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        output = tmp_path / "walks.png"
        result = aae_zoo("traverse", "mnist-plane", folder, "--steps", 3, "-o", output)
        assert result.out == f"4 traversals of 3 images in {output}\n"
        given = shipped.read_images(folder)
        images, values = given.rows(slice(0, 2)), shipped.traversed(3)
        expected = comparisons.traversals(images, shipped.traverse(images, 3), values, given.names)
        assert np.array_equal(saved(output), drawn(expected))
        assert [row.caption for row in expected] == ["original", "z[0]", "z[1]"] * 2
        assert expected[5].below == [(f"{value:.2f}",) for value in values[1]]
        assert len(places(saved(output), images[1])) == 1

    def test_nearest(
        self, shipped: Model, digits: NDArray[np.float32], folder: Path, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        output = tmp_path / "near.png"
        np.save(tmp_path / "all.npy", digits)
        result = aae_zoo("nearest", "mnist-plane", folder / "7.png", tmp_path / "all.npy", "-k", 9, "-o", output)
        assert result.out == f"9 neighbours in {output}\n"
        picture, found = saved(output), shipped.nearest(digits[:1], digits, 9)
        numbers = found.numbers.ravel().tolist()
        assert len(places(picture, digits[0])) == 2  # it is its own nearest
        tops = [places(picture, digits[number])[0] for number in numbers[1:]]
        assert tops == sorted(tops)
        below = [
            lines
            for row in comparisons.neighbours(digits[:1], digits[numbers], found, ["7.png"], [*map(str, range(500))])
            for lines in row.below
        ]
        assert below[:2] == [("7.png", "given"), (str(numbers[0]), "distance 0.00")]
        assert [name for name, _ in below[1:]] == [str(number) for number in numbers]

    @pytest.mark.parametrize(
        ("command", "instead"),
        [
            (["reconstruct", "MANY"], "an .npy file"),
            (["traverse", "MANY", "--steps", 9999], "an .npy file"),
            (["nearest", "MANY", "MANY", "-k", 9999], "a .csv file"),
        ],
    )
    def test_a_picture_that_nobody_could_look_at(
        self, command: list[Any], instead: str, refused: Callable[..., str], no_leftovers: Path, tmp_path: Path
    ) -> None:
        np.save(tmp_path / "many.npy", np.random.default_rng(0).integers(0, 126, (60_000, 1, 8, 8), np.uint8))
        name, *rest = [tmp_path / "many.npy" if word == "MANY" else word for word in command]
        message = refused(name, "digits-gauss", *rest, "-o", no_leftovers / "x.png")
        assert f"pixels, expected at most 1073741824; write {instead}\n" in message

    @pytest.mark.parametrize("command", [["traverse", "MANY"], ["interpolate", "MANY"], ["nearest", "MANY", "MANY"]])
    def test_it_is_refused_before_a_folder_is_read(
        self, command: list[Any], refused: Callable[..., str], no_leftovers: Path, tmp_path: Path
    ) -> None:
        """What no picture can be read of would be refused for that."""
        (tmp_path / "many").mkdir()
        for number in range(10):
            (tmp_path / "many" / f"{number}.png").touch()
        name, *rest = [tmp_path / "many" if word == "MANY" else word for word in command]
        steps = ["-k", 99_999] if name == "nearest" else ["--steps", 10_000]
        message = refused(name, "avatars-gauss", *rest, *steps, "-o", no_leftovers / "x.png")
        assert "pixels, expected at most 1073741824" in message
