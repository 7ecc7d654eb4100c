"""Pictures and arrays as people have them become the same images everywhere, or one sentence says why not."""

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inputs
import numpy as np
import pytest
from conftest import ROOT, AaeZoo
from numpy.typing import NDArray
from PIL import Image, ImageOps
from programs import node, served
from tables import with_table

from aae_zoo.runtime import InvalidInput, Model, load
from aae_zoo.runtime.bundles.manifest import FITS, USUAL_PREPARATION, ImageShape, Preparation
from aae_zoo.runtime.errors import DatasetError
from aae_zoo.runtime.formats.folders import list_pictures
from aae_zoo.runtime.formats.images import as_images, check_images
from aae_zoo.runtime.formats.pictures import read_picture
from aae_zoo.runtime.formats.plan import Invert, Notices, Plan, on_light, parse_range
from aae_zoo.runtime.formats.preparation import digit_share, prepare
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.data.pictures import polarity, read_pictures

DIGIT = Preparation(fit="digit", ground="black", polarity="dark", range=None)
PLAIN = inputs.PLAIN / np.float32(255)


@pytest.fixture(scope="module")
def model() -> Model:
    return load(inputs.MODEL)


@pytest.mark.parametrize("case", inputs.CASES, ids=lambda case: case.name)
def test_a_digit_is_the_same_in_every_kind_of_input(case: inputs.Case, tmp_path: Path) -> None:
    images, said = inputs.read(case, tmp_path)
    assert (images is None) == case.refused
    assert said.count("\n") == 0
    if images is None:
        assert said
    elif not case.other:
        assert np.abs(images - PLAIN).max() <= case.far
    else:
        assert np.abs(images - PLAIN).max() > 0.5


def test_the_table_of_inputs_is_what_they_give() -> None:
    text = with_table(inputs.DOCUMENT, inputs.BEGIN, inputs.END, [inputs.table()])
    assert text == inputs.DOCUMENT.read_text("utf-8"), "python tests/support/inputs.py writes it again"


class TestGrounds:
    def test_a_light_ground_is_said_once_and_turned(self, model: Model) -> None:
        dark = Image.fromarray(255 - inputs.PLAIN)
        with pytest.warns(RuntimeWarning, match="picture 0 is on a light ground.*are inverted") as caught:
            assert model.classify([dark] * 3, invert="auto").names == ["7"] * 3
        assert len(caught) == 1

    def test_python_warns_and_changes_nothing(self, model: Model) -> None:
        for given in (Image.fromarray(255 - inputs.PLAIN), 255 - inputs.PLAIN[None], (1 - PLAIN)[None, None]):
            with pytest.warns(RuntimeWarning, match="invert='auto' inverts such images"):
                codes = model.encode(given)
            assert np.array_equal(codes, model.encode(given, invert="no"))
            assert np.allclose(model.encode(given, invert="yes"), model.encode(PLAIN[None]), atol=1e-5)

    def test_each_image_of_an_array_is_looked_at_by_itself(self, model: Model) -> None:
        images = np.repeat(inputs.PLAIN[None], 300, 0)
        images[290] = 255 - inputs.PLAIN
        with pytest.warns(RuntimeWarning, match="image 290 is on a light ground"):
            codes = model.encode(images, invert="auto")
        assert np.allclose(codes, codes[0], atol=1e-5)

    def test_nothing_is_said_of_the_models_own_images(self, model: Model) -> None:
        model.encode(model.sample(300))
        model.encode((model.sample(300) * 255).astype(np.uint8), invert="auto")

    @pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
    def test_no_image_of_the_data_is_taken_for_the_other_polarity(self, name: str) -> None:
        images = load_dataset(name).test_images
        assert not on_light(images[:, 0].numpy() / 255).any()
        assert polarity(images) == "dark"
        assert polarity(255 - images) == "light"

    def test_a_light_polarity_turns_the_others(self) -> None:
        plan = Plan(ImageShape(1, 28, 28), DIGIT._replace(polarity="light"), invert="auto")
        with pytest.warns(RuntimeWarning, match="is on a dark ground, and the model's images are on a light one"):
            assert np.array_equal(check_images(inputs.PLAIN[None], plan)[0, 0], 1 - PLAIN)
        assert np.array_equal(check_images(255 - inputs.PLAIN[None], plan)[0, 0], 1 - PLAIN)

    def test_ink_on_a_light_ground_is_a_fifth_darker(self) -> None:
        assert on_light(0.9 - 0.25 * PLAIN[None]).all()
        assert not on_light(0.9 - 0.15 * PLAIN[None]).any()

    def test_noise_and_blank_pictures_have_none(self) -> None:
        noise = np.random.default_rng(0).random((50, 28, 28))
        assert not on_light(noise).any()
        assert not on_light(np.ones((2, 28, 28))).any()
        assert not on_light(np.zeros((2, 28, 28))).any()

    @pytest.mark.parametrize(
        ("how", "message"),
        [
            ({"invert": "maybe"}, "expected auto, yes or no"),
            *[
                ({"range": no}, "the smaller one first")
                for no in ((9, 3), [1], (0, 1, 2), (0, 9.5), (0, 2**64), {0: 1, 9: 2}, "09", 9)
            ],
        ],
    )
    def test_options_that_are_none(self, model: Model, how: Any, message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            model.encode(inputs.PLAIN[None], **how)

    @pytest.mark.parametrize("pair", [[0, 4095], np.array([0, 4095], np.uint16), range(0, 8190, 4095)])
    def test_any_pair_of_whole_numbers_is_a_range(self, model: Model, pair: Any) -> None:
        images = 16 * inputs.PLAIN[None].astype(np.uint16)
        assert np.array_equal(model.encode(images, range=pair), model.encode(images, range=(0, 4095)))

    def test_ranges_in_words(self) -> None:
        assert parse_range("0..4095") == (0, 4095)
        for text in ("4095", "9..3", "a..b", "-1..5", "", "0.." + "9" * 5000):
            with pytest.raises(InvalidInput, match="expected the values of black and white such as 0"):
                parse_range(text)

    @pytest.mark.parametrize(("low", "high", "asked"), [(0, 4, "0..7"), (200, 220, "200..220")])
    def test_of_a_dim_picture_it_is_said_which_range_to_ask_for(self, low: int, high: int, asked: str) -> None:
        plan, notices = Plan(ImageShape(1, 16, 16)), Notices(quiet=True)
        picture = Image.fromarray(np.linspace(low, high, 256).astype(np.uint8).reshape(16, 16))
        prepare(picture, plan, "it", notices)
        assert f"(--range {asked}, " in notices.sentences["range"]

    def test_of_a_picture_of_one_gray_nothing_is_said(self) -> None:
        notices = Notices(quiet=True)
        prepare(Image.new("L", (16, 16), 7), Plan(ImageShape(1, 16, 16)), "it", notices)
        assert notices.sentences == {}


class TestSizes:
    def read(self, picture: Image.Image, fit: str, side: int = 16) -> NDArray[np.uint8]:
        plan = Plan(ImageShape(1, side, side), USUAL_PREPARATION._replace(fit=fit), resize=True)
        return np.asarray(prepare(picture, plan, "it", Notices())[0])

    def test_each_fit(self) -> None:
        """A tall picture with a white disc in its central square."""
        y, x = np.mgrid[:96, :48]
        tall = Image.fromarray(np.where(np.hypot(x - 23.5, y - 47.5) < 12, np.uint8(255), np.uint8(0)))
        cut = ImageOps.fit(tall, (16, 16), Image.Resampling.LANCZOS)
        assert np.array_equal(self.read(tall, "crop"), np.asarray(cut))
        squashed = tall.resize((16, 16), Image.Resampling.LANCZOS)
        assert np.array_equal(self.read(tall, "squash"), np.asarray(squashed))
        padded = self.read(tall, "pad")
        assert (padded[:, :4] == 255).all()
        assert (padded[:, 12:] == 255).all()
        assert np.array_equal(padded[:, 4:12], np.asarray(tall.resize((8, 16), Image.Resampling.LANCZOS)))

    @pytest.mark.parametrize(("ground", "around"), [("black", 0), ("white", 255)])
    def test_around_a_picture_that_is_inverted_is_the_models_ground(self, ground: Any, around: int) -> None:
        plan = Plan(ImageShape(1, 16, 16), DIGIT._replace(fit="pad", ground=ground), resize=True, invert="yes")
        image = prepare(Image.new("L", (24, 48), 100), plan, "it", Notices())[0]
        assert (image[:, 4:12] == 155).all()
        assert (image[:, [*range(4), *range(12, 16)]] == around).all()

    @pytest.mark.parametrize("corner", [(0, 0), (90, 10), (40, 150)])
    @pytest.mark.parametrize("light", [False, True])
    def test_a_digit_fills_its_part_and_its_mass_is_in_the_middle(self, corner: tuple[int, int], light: bool) -> None:
        sheet = Image.new("L", (220, 280))
        sheet.paste(Image.fromarray(inputs.seven(112)), corner)
        given = ImageOps.invert(sheet) if light else sheet
        plan = Plan(ImageShape(1, 28, 28), DIGIT, resize=True, invert="auto")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            image = prepare(given, plan, "it", Notices())[0].astype(float)
        rows, columns = np.nonzero(image > 127)
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
        centre = [(image * axis).sum() / image.sum() for axis in np.mgrid[:28, :28]]
        assert np.abs(np.array(centre) - 13.5).max() <= 0.5

    def test_in_a_small_image_a_digit_has_no_margin(self) -> None:
        square = Image.new("L", (100, 100))
        square.paste(255, (10, 20, 50, 60))
        plan = Plan(ImageShape(1, 8, 8), DIGIT, resize=True)
        assert (prepare(square, plan, "it", Notices()) > 200).all()

    def test_what_is_hardly_seen_is_no_digit(self) -> None:
        faint = Image.fromarray(inputs.seven(112) // 12)
        plans = [Plan(ImageShape(1, 16, 16), DIGIT._replace(fit=fit), resize=True) for fit in ("digit", "crop")]
        digit, crop = (prepare(faint, plan, "it", Notices(quiet=True)) for plan in plans)
        assert np.array_equal(digit, crop)

    def test_what_has_the_models_size_stays(self) -> None:
        plan = Plan(ImageShape(1, 28, 28), DIGIT, resize=True)
        moved = np.roll(inputs.PLAIN, 3, axis=1)
        assert np.array_equal(prepare(Image.fromarray(moved), plan, "it", Notices())[0], moved)
        assert digit_share(ImageShape(1, 8, 8)) == 1  # scikit-learn's digits have no margin

    def test_training_sees_what_commands_see(self, tmp_path: Path) -> None:
        """Tall pictures, of every format that training takes."""
        rng = np.random.default_rng(0)
        picture = Image.fromarray(rng.integers(0, 256, (96, 48, 3), np.uint8))
        for suffix in (".png", ".tif", ".tiff", ".pgm", ".ppm", ".jfif", ".webp", ".bmp", ".gif", ".JPG"):
            gray = picture.convert("L") if suffix == ".pgm" else picture
            gray.save(tmp_path / f"x{suffix}", {".jfif": "JPEG", ".JPG": "JPEG"}.get(suffix))
        paths = list_pictures(tmp_path).pictures
        assert len(paths) == 10
        plan = Plan(ImageShape(3, 16, 16), resize=True)
        trained = read_pictures(paths, 16, 3).numpy()
        assert np.array_equal(trained, [read_picture(path, plan, Notices()) for path in paths])
        assert np.array_equal(check_images(tmp_path, plan), trained / np.float32(255))


class TestFolders:
    def test_only_dim_pictures_alone_are_said_to_be_dim(self, tmp_path: Path) -> None:
        """A night among days is dark; masks of 0 and 1, of which one is empty, are not meant to be black."""
        for name, white in (("0", 1), ("1", 0), ("2", 1)):
            Image.fromarray(np.eye(16, dtype=np.uint8) * np.uint8(white)).save(tmp_path / f"{name}.png")
        plan = Plan(ImageShape(1, 16, 16))

        def said() -> list[str]:
            paths = list_pictures(tmp_path).pictures
            with warnings.catch_warnings(record=True, action="always") as caught:
                check_images(tmp_path, plan)
                read_pictures(paths, 16, 1)
                listed = as_images([*map(Image.open, paths)], plan)
                for number in 2 * [*range(len(listed))]:  # batch by batch, and again
                    listed.rows(slice(number, number + 1))
            return [str(warning.message) for warning in caught]

        sentences = said()
        assert len(sentences) == 3
        for name, sentence in zip(("0.png", "0.png", "picture 0"), sentences, strict=True):
            assert f"{name} has values from 0 to 1 of the 0 to 255 that it can hold" in sentence
        Image.fromarray(np.eye(16, dtype=np.uint8) * np.uint8(255)).save(tmp_path / "3.png")
        assert said() == []

    @pytest.fixture
    def mac(self, tmp_path: Path) -> Path:
        """Nine good pictures, one cut short, and what macOS leaves."""
        folder = tmp_path / "mac"
        folder.mkdir()
        for number in range(9):
            Image.fromarray(np.roll(inputs.PLAIN, number - 4, axis=1)).save(folder / f"img{number + 2}.png")
        (folder / "img1.png").write_bytes((folder / "img9.png").read_bytes()[:60])
        (folder / "._img2.png").write_bytes(bytes.fromhex("00051607000200004d6163204f532058") + bytes(66))
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "Thumbs.db").write_bytes(b"")
        (folder / "notes.txt").write_text("no picture")
        return folder

    def test_one_bad_file_costs_one_row(self, mac: Path, model: Model) -> None:
        images = model.read_images(mac)
        assert images.names == [f"img{number}.png" for number in range(2, 11)]
        assert list(images.failed) == ["img1.png"]
        assert "cannot be read as a picture (" in images.failed["img1.png"]
        assert images.left_out == "4 files are left out: 3 hidden, 1 .txt"
        assert model.encode(images).shape == (9, model.manifest.latent)
        with pytest.raises(InvalidInput, match=r"img1\.png cannot be read"):
            model.encode(mac)

    @pytest.mark.parametrize("command", ["encode", "reconstruct", "score", "nearest"])
    def test_commands_say_so(self, command: str, mac: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        among = [mac] if command == "nearest" else []
        output = tmp_path / f"x.{'npz' if command != 'reconstruct' else 'npy'}"
        result = aae_zoo(command, inputs.MODEL, mac, *among, "-o", output)
        assert result.status == 1
        assert output.exists()
        assert f"note: in {mac}, 4 files are left out: 3 hidden, 1 .txt\n" in result.err
        assert result.err.count("error: ") == 1
        assert f"error: {mac / 'img1.png'} cannot be read as a picture (" in result.err
        strict = aae_zoo(command, inputs.MODEL, mac, *among, "-o", tmp_path / "other.npz", "--strict")
        assert (strict.status, strict.err.count("error: ")) == (1, 1)
        assert not (tmp_path / "other.npz").exists()

    def test_nothing_can_be_read(self, mac: Path, model: Model) -> None:
        for path in mac.glob("img?*.png"):
            path.write_bytes(b"")
        with pytest.raises(InvalidInput, match=r"none of the pictures in .* \(10\) can be read: .*img1.png cannot be"):
            model.read_images(mac)

    def test_one_folder_too_high(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        cats = tmp_path / "set" / "train" / "cats"
        cats.mkdir(parents=True)
        for number in range(60):
            Image.new("L", (28, 28), number).save(cats / f"{number}.png")
        said = refused("train", "folder-gauss", "--data", tmp_path / "set", "--out", tmp_path / "run")
        assert said == (
            f"error: the pictures in {tmp_path / 'set'} are all in subfolders of {tmp_path / 'set' / 'train'}; give "
            "that folder\n"
        )
        assert f"but {cats} does; give that" in refused("encode", "mnist-ae", tmp_path, "-o", tmp_path / "z.npy")
        shutil.copytree(cats, cats.with_name("dogs"))
        said = refused("score", "mnist-ae", tmp_path)
        assert said.endswith(f"holds no picture, but 2 folders in it do; give one of them at a time, first {cats}\n")

    def test_empty_classes_are_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rng = np.random.default_rng(0)
        for name in ("10", "2"):
            (tmp_path / name).mkdir()
            for number in range(40):
                Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).save(tmp_path / name / f"{number}.png")
        for name in ("dogs", "@eaDir", ".cache"):
            (tmp_path / name).mkdir()
        assert load_dataset("mine", tmp_path, size=8, channels=1).label_names == ("2", "10")
        assert capsys.readouterr().err == f"note: dogs in {tmp_path} holds no pictures and is no class\n"


def run(*arguments: str | Path) -> str:
    """What a command that succeeds says on stderr."""
    command = [Path(sys.executable).with_name("aae-zoo"), *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stderr


class TestCommands:
    def test_a_black_seven_on_white_is_drawn_as_a_seven(self, tmp_path: Path) -> None:
        inputs.LARGE.save(tmp_path / "seven.png")
        command = ("reconstruct", "mnist-gauss8", tmp_path / "seven.png", "--resize", "-o", tmp_path / "x.npy")
        said = run(*command)
        assert "seven.png is on a light ground, and the model's images are on a dark one: such images are inv" in said
        assert said.count("\n") == 1
        drawn = np.load(tmp_path / "x.npy")
        assert load(inputs.MODEL).classify(drawn).names == ["7"]
        assert np.abs(drawn[0, 0, 0]).max() < 0.1  # on black
        assert run(*command, "--invert", "no", "--force") == ""
        assert not np.allclose(np.load(tmp_path / "x.npy"), drawn, atol=0.1)

    def test_the_range_of_twelve_bits(self, tmp_path: Path) -> None:
        (tmp_path / "b12").mkdir()
        for number in range(3):
            inputs.TWELVE_BITS.save(tmp_path / "b12" / f"{number}.png")
        said = run("score", inputs.MODEL, tmp_path / "b12", "-o", tmp_path / "x.npz")
        assert said.count("0.png has values from 0 to 4095 of the 0 to 65535 that it can hold") == 1
        assert (said.count("\n"), said.count("--range 0..4095")) == (1, 1)
        assert run("score", inputs.MODEL, tmp_path / "b12", "--range", "0..4095", "-o", tmp_path / "y.npz") == ""
        assert np.allclose(np.load(tmp_path / "y.npz")["score"], load(inputs.MODEL).score(inputs.PLAIN[None]).score)

    def test_a_range_that_a_file_cannot_have(self, refused: Callable[..., str], tmp_path: Path) -> None:
        inputs.PICTURE.save(tmp_path / "x.png")
        said = refused("encode", inputs.MODEL, tmp_path / "x.png", "--range", "0..4095", "-o", tmp_path / "z.npy")
        assert "x.png has 8 bits, values from 0 to 255, of which the range 0..4095 says nothing" in said


def test_clothes_of_16_bits_are_classified_and_scored_as_those_of_8(tmp_path: Path) -> None:
    """500 test pictures of Fashion-MNIST, of which fashion-style knows 88.8 % and finds one anomalous."""
    fashion, model = load_dataset("fashion-mnist"), load("fashion-style")
    pixels, labels = fashion.test_images[:500, 0].numpy(), fashion.test_labels[:500].numpy()
    kinds = {"8.png": pixels, "16.png": pixels.astype(np.uint16) * 257, "16.tif": pixels.astype(np.uint16) * 257}
    found = []
    for kind, arrays in kinds.items():
        (tmp_path / kind).mkdir()
        for number, array in enumerate(arrays):
            Image.fromarray(array).save(tmp_path / kind / f"{number}.{kind[-3:]}")
        images = model.read_images(tmp_path / kind)
        found.append((model.classify(images), model.score(images)))
    classes, scores = found[0]
    right = [name == fashion.label_names[label] for name, label in zip(classes.names, labels, strict=True)]
    assert np.mean(right) > 0.88
    assert scores.anomalous.mean() < 0.01
    for other_classes, other_scores in found[1:]:
        assert other_classes.names == classes.names
        assert np.array_equal(other_scores.score, scores.score)


def test_training_records_how_it_prepared(tmp_path: Path) -> None:
    for number in range(60):
        picture = np.roll(inputs.PLAIN, number % 9 - 4, axis=1).astype(np.uint32) * 4095 // 255
        picture[0, 0] = number  # each is another file
        Image.fromarray(picture.astype(np.uint16)).save(tmp_path / f"{number}.png")
    from aae_zoo.zoo.data.loading import load_data
    from aae_zoo.zoo.recipe import load_recipe

    settings = load_recipe("folder-gauss", ["data.channels=1", "data.fit=pad", "data.range=[0,4095]"]).data
    dataset = load_data(settings, tmp_path)
    assert dataset.preparation == Preparation(fit="pad", ground="white", polarity="dark", range=(0, 4095))
    assert int(dataset.train_images.max()) == 255
    with pytest.warns(RuntimeWarning, match=r"in a recipe data\.range = \[0, 4095\]") as said:
        assert int(load_dataset("mine", tmp_path, size=28, channels=1).train_images.max()) == 16
    assert len(said) == 1
    with pytest.raises(DatasetError, match="there is no folder of pictures"):
        load_data(settings, tmp_path / "nowhere")


# ---- the page's JavaScript


def of_the_page(folder: Path) -> dict[str, Image.Image]:
    """Pictures that a browser reads too, by name; the JPEGs as cameras save them."""
    y, x = np.mgrid[:300, :200]
    shade = (100 + 100 * np.sin(x / 20) * np.cos(y / 30)).astype(np.uint8)
    colours = Image.fromarray(np.stack([shade, shade.T.repeat(2, 0)[:300, :200], 255 - shade], -1))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "light.png": inputs.LARGE,
        "dark.png": ImageOps.invert(inputs.LARGE),
        "same.png": inputs.PICTURE,
        "black_ink.png": BLACK_LARGE,
        "white_ink.png": Image.merge("LA", [Image.new("L", BLACK_LARGE.size, 255), BLACK_LARGE.getchannel("A")]),
        "palette.png": inputs.LARGE.convert("P"),
        "tall.png": colours,
        "wide.png": colours.transpose(Image.Transpose.ROTATE_90),
        "small.png": colours.resize((9, 14)),
        "clear.png": Image.merge("RGBA", [*colours.split(), Image.fromarray(shade)]),
    }
    for name, picture in files.items():
        picture.save(folder / name)
    inputs.LARGE.rotate(90, expand=True).save(folder / "turned.jpg", quality=98, exif=exif)
    colours.save(folder / "photo.jpg", quality=98, exif=exif, subsampling=0)
    return files


BLACK_LARGE = Image.merge("LA", [Image.new("L", inputs.LARGE.size), ImageOps.invert(inputs.LARGE)])
INVERTS: tuple[Invert, ...] = ("auto", "yes", "no")


@pytest.mark.filterwarnings("ignore:.* ground:RuntimeWarning")
def test_the_page_prepares_pictures_as_the_runtime_does(tmp_path: Path) -> None:
    of_the_page(tmp_path)
    site = ROOT / "export" / "pages" / "site"
    shutil.copy(site / "preparation.js", tmp_path)
    (tmp_path / "index.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    asked: list[list[Any]] = []
    plans = []
    for path in sorted(tmp_path.glob("*.[pj]*g")):
        # For the smallest images a JPEG is decoded at so few pixels here that its proportions are others.
        shapes = [shape for shape in SHAPES if path.suffix == ".png" or shape.height > 8]
        for number, (shape, kind) in enumerate((s, k) for s in shapes for k in FITS):
            polarity_ = ("dark", "light", "any")[number % 3]
            preparation = Preparation(kind, ("black", "white")[number % 2], polarity_, None)
            invert = INVERTS[number % 4 % 3]
            facts = {**preparation._asdict(), "share": digit_share(shape)}
            asked.append([path.name, {"image": shape.axes, "preparation": facts}, invert])
            plans.append(Plan(shape, preparation, resize=True, invert=invert))
    with served(tmp_path) as url:
        found = node("preparation.mjs", url, json.dumps(asked))
    assert found["faults"] == []
    for (name, *_), plan, (image, _) in zip(asked, plans, found["prepared"], strict=True):
        expected = read_picture(tmp_path / name, plan, Notices())
        off = np.abs(np.array(image).reshape(plan.shape.axes) * 255 - expected)
        # A large JPEG is decoded at a part of its size here, and the browser keeps few digits of what is nearly clear.
        loose = name.endswith(".jpg") or name == "clear.png"
        assert off.max() <= (30 if loose else 2), (name, plan, off.max())
        assert off.mean() <= (0.7 if loose else 0.3), (name, plan, off.mean())


SHAPES = (ImageShape(1, 28, 28), ImageShape(3, 32, 32), ImageShape(1, 8, 8))
