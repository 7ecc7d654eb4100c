"""Where an image is odd: maps in the size of what was given, and pictures of them."""

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import AaeZoo
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime import Model, Scores, load
from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION, ImageShape, Preparation
from aae_zoo.runtime.drawing.maps import Maps
from aae_zoo.runtime.formats.images import Images
from aae_zoo.runtime.formats.plan import Notices, Plan
from aae_zoo.runtime.formats.preparation import original_of, prepare
from aae_zoo.runtime.latent.maps import local_error

Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def model() -> Model:
    return load("fashion-gauss8")


@pytest.fixture(scope="module")
def clothes(model: Model) -> Array:
    return model.sample(5, seed=3)


def maps_of(scores: Scores) -> list[Array]:
    assert scores.maps is not None
    return list(scores.maps)


def with_hole(images: Array) -> Array:
    """Images whose pixels from row 12 to 15 and from column 12 to 15 are the other way round."""
    changed = images.copy()
    changed[:, :, 12:16, 12:16] = (changed[:, :, 12:16, 12:16] + 0.5) % 1
    return changed


def middle_of(heat: Array) -> tuple[float, float]:
    """Where a map is hot, in shares of its height and width."""
    rows, columns = np.nonzero(heat > 0.5 * heat.max())
    return float((rows.mean() + 0.5) / heat.shape[0]), float((columns.mean() + 0.5) / heat.shape[1])


def pixels_of(path: Path) -> Array:
    with Image.open(path) as picture:
        return np.asarray(picture, np.float32)


class TestLocalError:
    def test_it_keeps_the_error_of_an_image_that_is_wrong_all_over(self) -> None:
        images = np.zeros((2, 3, 9, 7), np.float32)
        assert np.allclose(local_error(images, images + np.float32(0.5)), 0.25)

    @pytest.mark.parametrize("place", [(14, 14), (0, 0), (27, 3)])
    def test_one_wrong_pixel_is_hottest_where_it_is(self, place: tuple[int, int]) -> None:
        again = np.zeros((1, 1, 28, 28), np.float32)
        again[0, 0][place] = 1
        heat = local_error(np.zeros_like(again), again)[0, 0]
        assert np.unravel_index(heat.argmax(), heat.shape) == place
        assert (heat >= 0).all()

    def test_its_blur_grows_with_the_image(self) -> None:
        widths = []
        for side in (28, 56, 112):
            again = np.zeros((1, 1, side, side), np.float32)
            again[0, 0, side // 2, side // 2] = 1
            heat = local_error(np.zeros_like(again), again)[0, 0]
            widths.append(int((heat > heat.max() / 2).sum(1).max()))
        assert widths[0] < widths[1] < widths[2]


class TestScores:
    def test_without_maps_nothing_has_changed(self, model: Model, clothes: Array) -> None:
        plain, mapped = model.score(clothes), model.score(clothes, maps=True)
        assert plain.maps is None
        assert all(np.array_equal(a, b) for a, b in zip(plain, mapped, strict=True))
        assert list(plain._asdict()) == ["score", "reconstruction", "distance", "anomalous", "flat"]
        assert plain.columns().keys() == plain._asdict().keys()

    def test_a_map_is_hot_where_the_image_was_changed(self, model: Model, clothes: Array) -> None:
        before, after = (maps_of(model.score(images, maps=True)) for images in (clothes, with_hole(clothes)))
        for was, heat in zip(before, after, strict=True):
            assert heat.shape == (28, 28)
            assert 12 / 28 <= min(middle_of(heat - was)) <= max(middle_of(heat - was)) <= 16 / 28

    def test_its_mean_is_the_error_that_the_score_is_made_of(self, model: Model, clothes: Array) -> None:
        scores = model.score(clothes, maps=True)
        means = np.array([heat.mean() for heat in maps_of(scores)])
        assert np.corrcoef(means, scores.reconstruction)[0, 1] > 0.99

    def test_colour_has_one_map_too(self, model: Model, clothes: Array) -> None:
        assert maps_of(model.score(np.repeat(clothes, 3, axis=1), maps=True))[0].shape == (28, 28)

    def test_the_class_that_fits_best_makes_the_map(self, labelled_bundle: Callable[..., Path]) -> None:
        images = np.zeros((3, 1, 14, 14))
        images[:, 0, 0, :3] = np.eye(3)
        scores = load(labelled_bundle(encoder_tells=False)).score(images, maps=True)
        assert [heat.max() for heat in maps_of(scores)] == [0, 0, 0]

    def test_of_many_images_one_batch_is_looked_at_at_a_time(self, model: Model, clothes: Array) -> None:
        asked: list[int] = []

        def rows(part: slice) -> Array:
            asked.append(part.stop - part.start)
            return np.broadcast_to(clothes[0], (part.stop - part.start, 1, 28, 28)).copy()

        parts = model.score_batches(Images(range(100_000), rows), maps=True)  # type: ignore[arg-type]
        assert asked == []
        assert maps_of(next(parts))[0].shape == (28, 28)
        assert asked == [model.batch]

    def test_maps_can_be_chosen_and_pickled(self, model: Model, clothes: Array) -> None:
        scores = model.score(clothes, maps=True)
        assert scores.maps is not None
        assert np.array_equal(scores.maps[-1], scores.maps[4])
        assert len(scores.maps[1:3]) == 2
        with pytest.raises(IndexError):
            scores.maps[5]
        again = pickle.loads(pickle.dumps(scores))  # noqa: S301 - our own
        assert all(np.array_equal(a, b) for a, b in zip(again.maps, scores.maps, strict=True))


class TestSizes:
    """Pictures of other sizes: the map lies over the picture as it was given."""

    @pytest.mark.parametrize("size", [(28, 28), (112, 112), (112, 56), (20, 90)])
    @pytest.mark.parametrize("fit", ["crop", "pad", "squash", "digit"])
    def test_a_square_is_found_where_it_is(self, fit: str, size: tuple[int, int]) -> None:
        """The brightness of the prepared picture, put back, is the picture's own."""
        width, height = size
        pixels = np.zeros((height, width), np.uint8)
        pixels[height // 2 - 6 : height // 2 + 6, width // 2 - 4 : width // 2 + 6] = 255
        plan = Plan(ImageShape(1, 28, 28), Preparation(fit, "black", "dark", None), resize=True)
        picture = Image.fromarray(pixels)
        image = prepare(picture, plan, "it", Notices())[0] / np.float32(255)
        original = original_of([picture], plan)
        back = image if original.place is None else original.place.back(image, size)
        assert back.shape == (height, width)
        assert np.abs(np.subtract(middle_of(back), middle_of(pixels.astype(np.float32)))).max() < 0.03

    def test_what_was_cut_off_is_not_odd(self) -> None:
        plan = Plan(ImageShape(1, 28, 28), USUAL_PREPARATION, resize=True)
        place = original_of([Image.new("L", (100, 28))], plan).place
        assert place is not None
        back = place.back(np.ones((28, 28), np.float32), (100, 28))
        assert (back[:, :35] == 0).all()
        assert (back[:, 65:] == 0).all()
        assert (back[5:-5, 40:60] == 1).all()

    def test_pictures_of_every_kind_have_maps_of_their_own_size(
        self, model: Model, clothes: Array, tmp_path: Path
    ) -> None:
        picture = Image.fromarray(np.rint(255 * with_hole(clothes)[0, 0]).astype(np.uint8)).resize((112, 84))
        picture.save(tmp_path / "a.png")
        turned = picture.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        turned.save(tmp_path / "b.jpg", exif=exif, quality=95)
        turned.save(tmp_path / "c.tif", exif=exif)
        given = [model.read_images(tmp_path, resize=True), [tmp_path / "a.png", picture, np.asarray(picture)]]
        for images in given:
            for heat in maps_of(model.score(images, maps=True, resize=True)):
                assert heat.shape == (84, 112)
                assert np.abs(np.subtract(middle_of(heat), 0.5)).max() < 0.2

    def test_an_overlay_takes_little_more_than_the_picture(self, model: Model, clothes: Array) -> None:
        large = np.kron(clothes[:1], np.ones((1, 1, 40, 40), np.float32))
        maps = model.score(large, maps=True, resize=True).maps
        assert isinstance(maps, Maps)
        tracemalloc.start()
        assert maps.overlay(0).size == (1120, 1120)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 20 * 1120 * 1120

    def test_in_every_batch_the_heat_lies_over_its_own_picture(self, model: Model) -> None:
        images = model.sample(600, seed=1)
        *_, last = model.score_batches(images, maps=True)
        assert isinstance(last.maps, Maps)
        assert len(last.maps) < len(images)
        alone = model.score(images[-1:], maps=True).maps
        assert isinstance(alone, Maps)
        found, expected = (
            np.asarray(each, np.float32) for each in (last.maps.overlay(len(last.maps) - 1), alone.overlay(0))
        )
        assert np.abs(found - expected).max() <= 1

    def test_an_array_of_another_size(self, model: Model, clothes: Array) -> None:
        large = np.kron(clothes, np.ones((1, 1, 3, 3), np.float32))
        for images in (large, np.rint(255 * np.repeat(large, 3, axis=1)).astype(np.uint8)):
            heats = maps_of(model.score(images, maps=True, resize=True))
            assert [heat.shape for heat in heats] == [(84, 84)] * 5


class TestCommand:
    @pytest.fixture
    def pictures(self, clothes: Array, tmp_path: Path) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for number, image in enumerate(with_hole(clothes)):
            picture = Image.fromarray(np.rint(255 * image[0]).astype(np.uint8))
            picture.resize((28 + 14 * number, 28 + 14 * number)).save(folder / f"{number}.{'bmp' if number else 'png'}")
        (folder / "3.bmp.png").write_bytes((folder / "0.png").read_bytes())
        (folder / "broken.png").write_bytes(b"no picture")
        return folder

    def test_every_picture_has_a_file_of_its_own_size(self, pictures: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        result = aae_zoo(
            "score", "fashion-gauss8", pictures, "--resize", "--maps", tmp_path / "maps", "-o", tmp_path / "s.csv"
        )
        assert result.status == 1  # of the picture that is broken, which is said
        assert "broken.png cannot be read" in result.err
        assert f"6 maps in {tmp_path / 'maps'}" in result.out
        sizes = {path.name: pixels_of(path).shape[0] for path in (tmp_path / "maps").iterdir()}
        assert sizes == {
            "0.png": 28,
            "1.bmp.png": 42,
            "2.bmp.png": 56,
            "3.bmp.png": 70,
            "4.bmp.png": 84,
            "_3.bmp.png": 28,
        }
        assert len((tmp_path / "s.csv").read_text().splitlines()) == 7

    def test_a_name_that_leaves_no_room_for_a_second_suffix(
        self, pictures: Path, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        long = 251 * "a"
        (pictures / "1.bmp").rename(pictures / f"{long}.bmp")
        aae_zoo("score", "fashion-gauss8", pictures, "--resize", "--maps", tmp_path / "maps")
        assert (tmp_path / "maps" / f"{long}.png").is_file()

    def test_the_heat_is_where_the_picture_is_odd(self, pictures: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        aae_zoo("score", "fashion-gauss8", pictures, "--resize", "--maps", tmp_path / "maps")
        pixels = pixels_of(tmp_path / "maps" / "4.bmp.png")
        colour = pixels.max(2) - pixels.min(2)
        assert colour[36:48, 36:48].mean() > 5 * colour[:20, :20].mean() + 20

    def test_scores_are_those_without_maps(self, pictures: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        plain = aae_zoo("score", "fashion-gauss8", pictures, "--resize").out
        assert aae_zoo("score", "fashion-gauss8", pictures, "--resize", "--maps", tmp_path / "m").out.startswith(plain)

    def test_arrays_are_numbered(self, clothes: Array, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", clothes)
        assert aae_zoo("score", "fashion-gauss8", tmp_path / "x.npy", "--maps", tmp_path / "maps").status == 0
        assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == [f"{n:04}.png" for n in range(5)]

    def test_a_folder_that_is_there_is_left_alone(self, pictures: Path, aae_zoo: AaeZoo) -> None:
        before = sorted(pictures.iterdir())
        result = aae_zoo("score", "fashion-gauss8", pictures, "--resize", "--maps", pictures)
        assert result.status == 1
        assert f"{pictures} exists already; give another output" in result.err
        assert sorted(pictures.iterdir()) == before
