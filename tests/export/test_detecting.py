"""A folder of pictures becomes a detector: what is read, what is learned from, what is promised, and what is shown."""

import base64
import io
import json
import math
import re
import shlex
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import ROOT, AaeZoo, Result
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from aae_zoo.export.detecting import detector
from aae_zoo.export.detecting.given import Places, read_both
from aae_zoo.export.detecting.pictures import as_dataset, kept, look, read
from aae_zoo.export.detecting.promise import alarms, enough_for, parse_share
from aae_zoo.export.pages.report import Card, Report, Section, thumbnail, write_report
from aae_zoo.runtime import InvalidInput, load
from aae_zoo.runtime.latent.score import limit
from aae_zoo.zoo.objectives import Batch
from aae_zoo.zoo.objectives.oneclass import Objective
from aae_zoo.zoo.recipe import DataSettings

QUICK = [
    *("--set", "data.size=16", "--set", "encoder.hidden=32", "--set", "decoder.hidden=32"),
    *("--set", "training.epochs=2", "--set", "training.passes=4", "--set", "training.batch=30"),
]
SETTINGS = DataSettings(dataset="pictures", validation=0.25, size=16, channels=1)
EVIL = "<img src=x onerror=alert(1)>&'\".png"


def digits(label: int, count: int) -> list[NDArray[np.uint8]]:
    """Pictures of a digit, [8, 8]."""
    images, labels = load_digits(return_X_y=True)
    return [(15.9 * image.reshape(8, 8)).astype(np.uint8) for image in images[labels == label][:count]]


def save(pixels: NDArray[np.uint8], path: Path, size: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST).save(path)


def write(folder: Path, label: int, count: int) -> Path:
    """A folder of pictures of a digit in four sizes, half of them in a folder within it."""
    for number, pixels in enumerate(digits(label, count)):
        save(pixels, folder / ("more" if number % 2 else "") / f"{number:03}.png", (8, 16, 24, 40)[number % 4])
    return folder


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and fifty zeros, and what may go wrong: one that is broken, one in another format too, one odd one."""
    folder = write(tmp_path_factory.mktemp("pictures") / "zeros", 0, 150)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("of the camera")
    shutil.copy(folder / "000.png", folder / EVIL)
    Image.open(folder / "000.png").save(folder / "again.bmp")
    save(digits(4, 1)[0], folder / "four.png", 8)
    return folder


@pytest.fixture(scope="module")
def fours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pictures") / "fours", 4, 40)


class TestPictures:
    def test_colours_and_sizes_are_as_the_pictures_are(self, zeros: Path, tmp_path: Path) -> None:
        assert look([*zeros.rglob("*.png")]) == (32, 1)
        for number in range(20):
            Image.new("RGB", (200, 300), (number, 60, 90)).save(tmp_path / f"{number}.png")
        assert look([*tmp_path.iterdir()]) == (64, 3)

    @pytest.mark.parametrize(
        ("sizes", "size"),
        [
            ([(28, 28)] * 3, 28),
            ([(64, 64)], 64),
            ([(20, 20)], 32),
            ([(28, 28), (28, 40)], 32),
            ([(28, 28), (30, 30)], 32),
            ([(60, 50)], 64),
            ([(65, 65)], 64),
        ],
    )
    def test_squares_of_one_small_size_stay_as_they_are(
        self, tmp_path: Path, sizes: list[tuple[int, int]], size: int
    ) -> None:
        for number, each in enumerate(sizes):
            Image.new("L", each, 90).save(tmp_path / f"{number}.png")
        assert look([*tmp_path.iterdir()], range(24, 65)) == (size, 1)
        assert look([*tmp_path.iterdir()])[0] in (32, 64)

    @pytest.mark.parametrize(("side", "size"), [(40, 32), (100, 64), (400, 64)])
    def test_a_jpeg_file_is_as_large_as_the_picture_in_it(self, tmp_path: Path, side: int, size: int) -> None:
        """Though it is decoded smaller for a small image."""
        Image.new("RGB", (side, side), (90, 60, 0)).save(tmp_path / "one.jpg")
        assert look([tmp_path / "one.jpg"]) == (size, 3)

    def test_copies_count_once_and_are_never_on_two_sides(self, zeros: Path) -> None:
        found = read(zeros, SETTINGS)
        assert {path.name for path in found.copies} == {EVIL, "again.bmp"} or EVIL in {p.name for p in found.files}
        assert len(found.copies) == 2
        dataset = as_dataset(found, SETTINGS, kept(len(found.files)))
        parts = [{image.numpy().tobytes() for image in part} for part in (dataset.train_images, dataset.test_images)]
        assert len(parts[0]) + len(parts[1]) == len(found.files)
        assert not parts[0] & parts[1]

    def test_the_same_pictures_are_split_alike_whatever_they_are_called(self, zeros: Path, tmp_path: Path) -> None:
        for number, path in enumerate(sorted(zeros.rglob("*.png"), reverse=True)):
            if path.name != "broken.png":
                shutil.copy(path, tmp_path / f"{number}.png")
        ours, theirs = (as_dataset(read(folder, SETTINGS), SETTINGS, 30) for folder in (zeros, tmp_path))
        assert ours.md5s == theirs.md5s
        assert torch.equal(ours.test_images, theirs.test_images)

    def test_odd_pictures_are_never_among_the_normal_ones(self, zeros: Path, fours: Path, tmp_path: Path) -> None:
        normal, odd, warnings = read_both(Places(zeros, fours, tmp_path / "out"), SETTINGS)
        assert odd
        assert not set(normal.digests) & set(odd.digests)
        assert not {"four.png", "broken.png"} & {path.name for path in normal.files}
        assert len(odd.files) == 39
        both = f"left out, as both folders have the same: 1 picture: four.png of {zeros}, 000.png of {fours}"
        assert both in warnings
        assert [w for w in warnings if "as unreadable: 1 picture of" in w and "broken.png" in w]
        assert [w for w in warnings if "as a copy of another one: 2 pictures of" in w]
        assert [w for w in warnings if w.endswith("1 file is left out: 1 .txt")]

    def test_a_folder_of_odd_ones_within_is_not_normal(self, zeros: Path, fours: Path, tmp_path: Path) -> None:
        everything = Path(shutil.copytree(zeros, tmp_path / "all"))
        shutil.copytree(fours, everything / "odd")
        (everything / "link.png").symlink_to(everything / "odd" / "000.png")
        (tmp_path / "odd").symlink_to(everything / "odd")
        for place in (everything / "odd", tmp_path / "odd"):
            normal, odd, _ = read_both(Places(everything, place, tmp_path / "out"), SETTINGS)
            assert odd
            assert len(odd.files) == 39
            assert not [path for path in normal.files if "odd" in path.parts or path.name == "link.png"]

    def test_what_has_another_ground_is_not_inverted_to_be_normal(self, zeros: Path) -> None:
        assert as_dataset(read(zeros, SETTINGS), SETTINGS, 30).preparation.polarity == "any"


class TestPromise:
    @pytest.mark.parametrize(("share", "count"), [(0.005, 598), (0.01, 299), (0.05, 59)])
    def test_how_many_pictures_it_takes(self, share: float, count: int) -> None:
        assert enough_for(share) == count
        assert (1 - share) ** count <= 0.05 < (1 - share) ** (count - 1)
        assert alarms(0, count).high <= 1.25 * share  # two-sided, which is a little more

    def test_the_documented_table_is_of_these_numbers(self) -> None:
        text = (ROOT / "docs" / "detector.md").read_text("utf-8")
        rows = re.findall(r"^\| ([0-9.]+ %) \| ([0-9,]+) \| ([0-9,]+) \|$", text, re.MULTILINE)
        assert len(rows) >= 4
        for share, held_out, every in rows:
            enough = enough_for(parse_share(share))
            assert (held_out, every) == (f"{enough:,}", f"{5 * enough:,}")

    @given(of=st.integers(1, 400), data=st.data())
    def test_the_interval_is_that_of_clopper_and_pearson(self, of: int, data: st.DataObject) -> None:
        found = data.draw(st.integers(0, of))
        bounds = alarms(found, of)

        def at_most(k: int, share: float) -> float:
            return sum(math.comb(of, i) * share**i * (1 - share) ** (of - i) for i in range(k + 1))

        assert 0 <= bounds.low <= bounds.share <= bounds.high <= 1
        if found < of:
            assert at_most(found, bounds.high) == pytest.approx(0.025, abs=1e-6)
        if found:
            assert 1 - at_most(found - 1, bounds.low) == pytest.approx(0.025, abs=1e-6)

    @given(count=st.integers(1, 300), share=st.floats(0.001, 0.5), seed=st.integers(0, 99))
    def test_new_scores_are_above_the_limit_in_no_greater_share(self, count: int, share: float, seed: int) -> None:
        scores = np.random.default_rng(seed).permutation(count).astype(np.float32)
        above = int((scores > limit(scores, share)).sum())
        if (count + 1) * share >= 1:  # a new one has each of count + 1 places alike
            assert (above + 1) / (count + 1) <= share + 1e-9
            assert (above + 2) / (count + 1) > share - 1e-9
        else:
            assert above == 0

    @pytest.mark.parametrize(("text", "share"), [("0.5%", 0.005), ("0.005", 0.005), (" 1 % ", 0.01), ("50%", 0.5)])
    def test_shares(self, text: str, share: float) -> None:
        assert parse_share(text) == pytest.approx(share)

    @pytest.mark.parametrize(
        "text", ["0", "0%", "-1%", "51%", "2", "nan", "nan%", "inf", "", "%", "1%%", "half", "1e400"]
    )
    def test_no_shares(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="the share of false alarms is .*, expected more than 0 and at most 50%"):
            parse_share(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("detector")


@pytest.fixture(scope="module")
def command(zeros: Path, fours: Path, place: Path) -> list[str]:
    return ["detector", str(zeros), "-o", str(place / "zeros"), "--odd", str(fours), "--false-alarms", "5%", *QUICK]


@pytest.fixture(scope="module")
def attempts(command: list[str], place: Path, aae_zoo: AaeZoo) -> list[Result]:
    """What the command says when it is interrupted after the first epoch and before its page, and when it ends."""
    step = Objective.step

    def interrupted(self: Objective, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        if (place / "zeros-run" / "resume.pt").exists():
            raise KeyboardInterrupt
        return step(self, batch, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "step", interrupted)
        first = aae_zoo(*command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "write_page", mock.Mock(side_effect=KeyboardInterrupt))
        second = aae_zoo(*command)
    return [first, second, aae_zoo(*command)]


@pytest.fixture(scope="module")
def page(attempts: list[Result], place: Path) -> str:
    assert attempts[-1].status == 0
    return (place / "zeros-page" / "index.html").read_text("utf-8")


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


class TestCommand:
    def test_it_says_beforehand_what_it_will_take(self, attempts: list[Result]) -> None:
        said = attempts[0].err
        assert "150 pictures as 1 x 16 x 16: 90 to learn from, 30 to set the limit, 30 held out to measure it" in said
        assert "training takes about " in said
        assert " GB of memory" in said

    def test_an_interruption_leaves_what_the_same_command_goes_on_with(self, attempts: list[Result]) -> None:
        first, second, third = attempts
        assert first.status == second.status == 130
        assert first.out == ""
        assert "error: interrupted in epoch 2; give the same command to go on" in first.err
        assert "epoch 1/2" in first.err
        assert "epoch 2/2" in second.err
        assert "epoch 1/2" not in second.err
        assert "error: interrupted; give the same command to go on after the training, in " in second.err
        assert third.status == 0
        assert "has ended already" in third.err

    def test_it_ends_with_the_command_that_uses_it(self, attempts: list[Result], fours: Path, aae_zoo: AaeZoo) -> None:
        name, false, found, where, following = attempts[-1].out.splitlines()
        assert name.startswith("zeros: a detector, ")
        assert false.startswith("false alarms: ")
        assert "of 30 held-out pictures" in false
        assert "of 39 are found" in found
        assert where.endswith("zeros-page/index.html")
        words = shlex.split(following.removeprefix("next: aae-zoo "))
        scored = aae_zoo(*[str(fours) if word == "new/" else word for word in words])
        assert scored.status == 0
        assert "as 5 % of 30 validation images are" in scored.out

    def test_the_figures_are_the_bundles_own(
        self, attempts: list[Result], place: Path, zeros: Path, fours: Path
    ) -> None:
        manifest = load(place / "zeros").manifest
        assert manifest.score
        assert (manifest.score.false_alarms, manifest.score.images) == (0.05, 30)
        assert manifest.metrics["anomaly_dataset"] == "fours"
        normal, odd, _ = read_both(Places(zeros, fours, place / "other"), SETTINGS.model_copy(update={"fit": "pad"}))
        assert odd
        with load(place / "zeros") as model:
            assert model.score(odd.pixels.numpy()).anomalous.mean() == manifest.metrics["anomalies_found"]
            held_out = model.score(normal.pixels[-kept(len(normal.files)) :].numpy())
            assert held_out.anomalous.mean() == manifest.metrics["false_alarms"]
            assert f"false alarms: {held_out.anomalous.sum()} of 30 " in attempts[-1].out

    def test_the_bundle_holds_to_its_format_and_tells_nothing_of_this_machine(
        self, attempts: list[Result], place: Path, zeros: Path, aae_zoo: AaeZoo
    ) -> None:
        assert aae_zoo("check", place / "zeros").status == 0
        for path in (place / "zeros").iterdir():
            content = path.read_bytes()
            assert str(place).encode() not in content
            assert str(zeros.parent).encode() not in content

    def test_another_share_takes_no_training(
        self, attempts: list[Result], command: list[str], place: Path, aae_zoo: AaeZoo
    ) -> None:
        bundle, pages = ((place / name).read_bytes() for name in ("zeros/manifest.json", "zeros-page/index.html"))
        assert "exists already" in aae_zoo(*command).err
        result = aae_zoo(*command, "--false-alarms", "0.5%", "--replace", "--json")
        assert result.status == 0
        assert "has ended already" in result.err
        assert "epoch 1/2" not in result.err
        made = json.loads(result.out)
        assert made["promised"] == 0.005
        assert made["pictures"] == {
            "learned": 90,
            "validation": 30,
            "held_out": 30,
            "odd": 39,
            "copies": 2,
            "unreadable": 1,
        }
        assert made["false_alarms"]["of"] == 30
        assert made["found"]["of"] == 39
        assert 0 <= made["auroc"] <= 1
        few, unsure = [warning for warning in made["warnings"] if "too few" in warning]
        assert few.startswith("30 pictures are too few to set a limit for 0.5 % of false alarms, expected 199 or more")
        assert "30 held-out pictures are too few to promise 0.5 %" in unsure
        assert "takes 598 without one (a fifth of 2,990)" in unsure
        assert (place / "zeros" / "manifest.json").read_bytes() != bundle
        assert (place / "zeros-page" / "index.html").read_bytes() != pages

    def test_a_training_of_other_pictures_is_not_gone_on_with(
        self,
        attempts: list[Result],
        zeros: Path,
        place: Path,
        tmp_path: Path,
        refused: Callable[..., str],
        aae_zoo: AaeZoo,
    ) -> None:
        fewer = Path(shutil.copytree(zeros, tmp_path / "zeros"))
        (fewer / "002.png").unlink()
        save(digits(0, 170)[-1], fewer / "new.png")
        shutil.copytree(place / "zeros-run", tmp_path / "out-run")
        result = aae_zoo("detector", fewer, "-o", tmp_path / "out", *QUICK)
        assert result.status == 1
        assert "was trained on other data than pictures is now" in result.err
        assert result.err.strip().endswith(f"or remove {tmp_path / 'out-run'} to begin again")
        assert not (tmp_path / "out").exists()


class TestPage:
    def test_it_asks_nobody_for_anything(self, page: str) -> None:
        tags = Page(page).tags
        assert "script" not in {tag for tag, _ in tags}
        for _, attributes in tags:
            assert not {"href", "onerror", "onclick"} & attributes.keys()
            assert (attributes.get("src") or "data:image/").startswith("data:image/")
        assert "://" not in page

    def test_names_of_files_are_text(self, zeros: Path, page: str) -> None:
        """The page shows all of so few pictures but the middle ones: one with this name is made to be shown."""
        evil = Card(thumbnail(zeros / EVIL), EVIL, 1.5, is_odd=True, where=thumbnail(zeros / EVIL))
        out = zeros.parent / "page"
        scores, sections = {EVIL: np.ones(3, np.float32)}, [Section(EVIL, EVIL, [evil])]
        report = Report(EVIL, EVIL, [(EVIL, EVIL)], [EVIL], scores, 1.0, sections, [EVIL])
        write_report(report, out, "page", replace=False)
        shown = Page((out / "index.html").read_text("utf-8"))
        assert [attributes["src"][:11] for tag, attributes in shown.tags if tag == "img"] == 2 * ["data:image/"]  # type: ignore[index]
        assert shown.text.count("<img src=x onerror=alert(1)>") >= 8

    def test_everybody_can_read_it(self, page: str) -> None:
        tags = Page(page).tags
        pictures = [attributes for tag, attributes in tags if tag == "img"]
        texts = [attributes["alt"] or "" for attributes in pictures]
        assert len(texts) == 5 * 12 * 2
        assert all(text.endswith((", normal", ", odd")) for text in texts[::2])
        assert all(text.startswith("Where ") and text.endswith(".png is odd") for text in texts[1::2])
        (chart,) = [attributes for tag, attributes in tags if tag == "svg"]
        assert chart["role"] == "img"
        assert "odd: 39," in (chart["aria-label"] or "")
        assert "prefers-color-scheme: dark" in page
        assert ("html", {"lang": "en"}) in tags

    def test_it_says_what_to_expect(self, page: str, place: Path) -> None:
        text = Page(page).text
        assert "of 30 held-out pictures" in text
        assert "of 39 are found" in text
        assert "The least usual" in text
        assert "unreadable: 1 picture" in text
        assert "copies: 2, unreadable: 1" in text
        assert f"aae-zoo score {place / 'zeros'} new/ --resize" in text


def test_the_chart_shows_how_scores_spread(tmp_path: Path) -> None:
    """To three times the limit: what is beyond is in the last bar. The tallest bar leaves room for the limit's name."""
    scores = {"normal": np.array([0, 0.5, 0.5, 1], np.float32), "odd": np.array([2, 9], np.float32)}
    write_report(Report("", "", [], [], scores, 1.0, [], []), tmp_path / "page", "page", replace=False)
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    chart = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])  # noqa: S314 - ours
    bars = [[(float(bar.attrib["x"]), float(bar.attrib["height"])) for bar in group] for group in chart.findall("g")]
    width = 640 / 48
    assert np.allclose(bars[0], [(0, 90), (8 * width, 180), (16 * width, 90)], atol=0.1)
    assert np.allclose(bars[1], [(32 * width, 180), (47 * width, 180)], atol=0.1)
    limit = chart.find("line")
    assert limit is not None
    assert limit.attrib["x1"] == limit.attrib["x2"] == "213.3"
    assert [text.text for text in chart.findall("text")] == ["limit 1", "0", "3 and more"]
    assert "normal: 4, 0 above the limit; odd: 2, 2 above the limit" in page


def test_pictures_of_twelve_bits_are_shown_as_they_are_learned(tmp_path: Path, aae_zoo: AaeZoo) -> None:
    for number, pixels in enumerate(digits(0, 110)):
        save(np.round(pixels / 255 * 4095).astype(np.uint16), tmp_path / "zeros" / f"{number}.png")
    quick = [*QUICK, "--set", "training.epochs=1", "--set", "data.range=[0,4095]"]
    made = aae_zoo("detector", tmp_path / "zeros", "-o", tmp_path / "out", *quick)
    assert made.status == 0
    assert "is read as such" not in made.err
    page = Page((tmp_path / "out-page" / "index.html").read_text("utf-8"))
    source = next(attributes["src"] for tag, attributes in page.tags if tag == "img")
    assert source
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as shown:
        assert np.asarray(shown).max() > 200


def same(folder: Path) -> Path:
    for number in range(120):
        save(digits(0, 1)[0], folder / f"{number}.png")
    return folder


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nowhere": (lambda folder: folder / "nowhere", "there is no folder of pictures "),
    "empty": (lambda folder: folder, "holds no pictures, expected files with the suffixes .png, "),
    "one": (lambda folder: write(folder, 0, 1), "there is 1 normal picture in "),
    "few": (lambda folder: write(folder, 0, 99), "there are 99 normal pictures in "),
    "the same": (same, "are all the same, expected 100 or more that differ"),
}


@pytest.mark.parametrize("what", BAD)
def test_folders_that_nothing_can_be_learned_from(what: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    make, sentence = BAD[what]
    (tmp_path / "in").mkdir()
    assert sentence in refused("detector", make(tmp_path / "in"), "-o", tmp_path / "out", *QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_pictures_none_of_which_can_be_read(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"x")
    assert "none of the pictures in " in refused("detector", tmp_path / "in", "-o", tmp_path / "out", *QUICK)


def test_outputs_and_folders_in_each_other(
    zeros: Path, fours: Path, tmp_path: Path, refused: Callable[..., str], aae_zoo: AaeZoo
) -> None:
    out = tmp_path / "out"
    assert "all of which is read; give an output elsewhere" in refused("detector", zeros, "-o", zeros / "out")
    assert "all of which is read; give an output elsewhere" in refused("detector", zeros, "-o", fours, "--odd", fours)
    assert "all of which is odd; give another folder" in refused("detector", zeros, "-o", out, "--odd", zeros)
    assert "the share of false alarms is 'nan'" in refused("detector", zeros, "-o", out, "--false-alarms", "nan")
    (tmp_path / "out-page").mkdir()
    (tmp_path / "out-page" / "mine.txt").touch()
    assert "out-page exists already" in refused("detector", zeros, "-o", out)
    assert "mine.txt may be somebody's" in refused("detector", zeros, "-o", out, "--replace")
    copies = Path(shutil.copytree(zeros / "more", tmp_path / "copies"))
    said = aae_zoo("detector", zeros, "-o", out / "new", "--odd", copies, *QUICK).err
    assert said.endswith(f"error: every picture of {copies} is in {zeros} too; give others as odd ones\n")
