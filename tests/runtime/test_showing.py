"""How results show themselves: a grid of images, short texts at a prompt, tables and pictures in a notebook."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import rewrite
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import aae_zoo
from aae_zoo.runtime import InvalidInput, Model
from aae_zoo.runtime.store.catalogue import SHIPPED


class TestGrid:
    @settings(max_examples=30)
    @given(
        count=st.integers(1, 12),
        channels=st.sampled_from([1, 3]),
        columns=st.integers(1, 15),
        scale=st.integers(1, 4),
        seed=st.integers(0, 99),
    )
    def test_every_image_is_where_it_belongs(
        self, count: int, channels: int, columns: int, scale: int, seed: int
    ) -> None:
        images = np.random.default_rng(seed).random((count, channels, 5, 7), np.float32)
        picture = aae_zoo.grid(images, columns, scale=scale)
        across = min(columns, count)
        assert picture.mode == ("L" if channels == 1 else "RGB")
        assert picture.size == ((across * 9 - 2) * scale, (-(-count // across) * 7 - 2) * scale)
        pixels = np.asarray(picture).reshape(picture.height, picture.width, channels)
        for number, image in enumerate(images):
            top, left = number // across * 7 * scale, number % across * 9 * scale
            part = pixels[top : top + 5 * scale, left : left + 7 * scale]
            assert np.array_equal(part, np.rint(image * 255).transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1))

    def test_small_images_are_enlarged_and_laid_out_as_a_square(self, shipped: Model) -> None:
        picture = aae_zoo.grid(shipped.sample(9))
        assert picture.width == picture.height == (3 * 30 - 2) * 5

    def test_tensors_and_lists_are_images_too(self) -> None:
        images = np.random.default_rng(0).random((4, 1, 6, 6), np.float32)
        expected = np.asarray(aae_zoo.grid(images))
        for given_ in (torch.from_numpy(images).requires_grad_(), list(images), images.astype(np.float16)):
            assert np.abs(np.asarray(aae_zoo.grid(given_)).astype(int) - expected).max() <= 1

    @pytest.mark.parametrize(
        ("images", "options", "message"),
        [
            (np.zeros((28, 28)), {}, r"have shape \[28, 28\], expected \[n, C, H, W\]"),
            (np.zeros((0, 1, 8, 8)), {}, r"have shape \[0, 1, 8, 8\], expected .* n >= 1"),
            (np.zeros((2, 8, 8, 3)), {}, r"have shape \[2, 8, 8, 3\], expected .* C 1 \(gray\) or 3 \(colour\)"),
            (
                np.zeros((1, 1, 8, 8), np.uint8),
                {},
                r"have dtype uint8, expected floats in \[0, 1\]; divide bytes by 255",
            ),
            (np.full((1, 1, 8, 8), 255.0), {}, r"have values from 255 to 255, expected \[0, 1\]; divide by"),
            (np.full((1, 1, 8, 8), np.nan), {}, "have NaN"),
            (np.zeros((1, 1, 8, 8)), {"columns": 0}, "columns is 0, expected a whole number, 1 or more"),
            (np.zeros((1, 1, 8, 8)), {"columns": 2.0}, "columns is 2.0, expected a whole number"),
            (np.zeros((1, 1, 8, 8)), {"scale": "4"}, "scale is '4', expected a whole number"),
            (np.zeros((1, 1, 8, 8)), {"scale": 10**6}, "a picture of 1 image has 64000000000000 pixels, expected at"),
            (np.zeros((60_000, 1, 8, 8)), {"columns": 1}, "a picture of 60000 images has .* pixels, expected at most"),
            ("digits.png", {}, r"have shape \[\], expected"),
        ],
    )
    def test_what_is_no_grid(self, images: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            aae_zoo.grid(images, **options)


class Page(HTMLParser):
    """What a browser finds in a piece of HTML: its tags with their attributes, and the texts of its cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)
        if tag in ("td", "th", "caption"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells[-1] += data


class TestNotebook:
    def test_a_model_shows_samples_and_what_it_is(self) -> None:
        model = aae_zoo.load("mnist-style")
        page = Page(model._repr_html_())
        ((_, image),) = [tag for tag in page.tags if tag[0] == "img"]
        assert image["alt"] == "16 samples of mnist-style"
        kind, _, content = str(image["src"]).partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(aae_zoo.grid(model.sample(16), 8)))
        shown = dict(zip(page.cells[::2], page.cells[1::2], strict=True))
        assert shown["name"] == "mnist-style 1.0.0"
        assert shown["title"] == model.manifest.title
        assert shown["images"] == "1 x 28 x 28, mnist"
        assert shown["code"] == "8-D"
        assert shown["labels"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
        assert shown["squared error per pixel"] == f"{model.metrics['mse']:.4g}"
        assert shown["licence"] == "MIT"
        assert shown["licence of the data"] == "CC BY-SA 3.0"

    def test_what_a_manifest_says_is_text_and_nothing_else(self, tmp_path: Path) -> None:
        bundle = Path(shutil.copytree(SHIPPED / "digits-gauss", tmp_path / "bundle"))
        evil = '</td><script>alert("1")</script><img src=x onerror=alert(1)>'
        texts = dict.fromkeys(("title", "description", "dataset", "licence", "data_licence"), evil)
        rewrite(bundle, lambda d: d.update(**texts, labels=[evil] * 20, metrics={"mse": evil, "frechet": 2.5}))
        page = Page(aae_zoo.load(bundle)._repr_html_())
        assert {tag for tag, _ in page.tags} == {"div", "img", "table", "tr", "th", "td"}
        assert [set(attributes) for tag, attributes in page.tags if tag == "img"] == [{"alt", "src"}]
        shown = dict(zip(page.cells[::2], page.cells[1::2], strict=True))
        assert shown["title"] == shown["licence of the data"] == evil
        assert shown["labels"] == ", ".join([evil] * 12) + " and 8 more"
        assert shown["Fréchet distance of samples"] == "2.5"
        assert "squared error per pixel" not in shown  # a text is no figure

    def test_scores_are_a_table(self, shipped: Model) -> None:
        images = np.concatenate([shipped.sample(3), np.random.default_rng(0).random((2, 1, 28, 28), np.float32)])
        scores = shipped.score(images)
        caption, *cells = Page(scores._repr_html_()).cells
        assert caption == f"{scores.anomalous.sum()} of 5 images are anomalous"
        header, *rows = [cells[start : start + 6] for start in range(0, len(cells), 6)]
        assert header == ["image", "score", "reconstruction", "distance", "anomalous", "flat"]
        assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
        assert [row[1] for row in rows] == [f"{score:.4g}" for score in scores.score]
        assert [row[4] for row in rows] == ["yes" if anomalous else "no" for anomalous in scores.anomalous]

    def test_of_many_scores_the_highest_are_shown(self, shipped: Model) -> None:
        scores = shipped.score(shipped.sample(300, seed=2, temperature=1.5))
        caption, *cells = Page(scores._repr_html_()).cells
        assert caption == f"{scores.anomalous.sum()} of 300 images are anomalous; the 20 highest scores"
        assert [int(image) for image in cells[6::6]] == np.argsort(-scores.score, kind="stable")[:20].tolist()


def test_results_are_short_at_a_prompt(shipped: Model, tmp_path: Path) -> None:
    images = shipped.sample(300, seed=1)
    style = aae_zoo.load("mnist-style")
    for number in range(3):
        Image.fromarray(np.rint(images[number, 0] * 255).astype(np.uint8)).save(tmp_path / f"{number}\x1b[2J.png")
    (tmp_path / "bad.png").write_text("no picture")
    scores = shipped.score(images)
    names = ", ".join(style.classify(images[:3]).names)
    assert repr(scores) == f"<Scores [300]: {scores.anomalous.sum()} anomalous>"
    assert repr(shipped.nearest(images[:2], images, k=3)) == "<Neighbours [2, 3]>"
    assert repr(style.classify(images[:3])) == f"<Classes [3]: {names}>"
    assert re.fullmatch(r"<Classes \[300\]: (\d, ){8}\.\.\.>", repr(style.classify(images)))
    assert repr(shipped.read_images(tmp_path)) == r"<Images [3]: 0\x1b[2J.png to 2\x1b[2J.png, 1 failed>"
