"""The pictures of the README, drawn by the shipped models: the banner, and a few samples of each."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from aae_zoo.runtime import load
from aae_zoo.runtime.drawing.grid import grid

# The banner in tiles: the project's name in clothes, on digits.
_ROWS, _COLUMNS = 11, 46
_DIGITS, _CLOTHES = "mnist-gauss", "fashion-gauss8"
_SEED, _TEMPERATURE = 1, 0.7
_SIDE: Final = 28
# Another processor may round a gray level the other way, which its colour follows.
_ROUNDING: Final = 4


def pictures(models: Path, names: list[str]) -> dict[str, Image.Image]:
    """The pictures by the names of their files: one of each model, and the banner where its two models are."""
    drawn = {f"{name}.png": _samples(models / name) for name in names}
    if {_DIGITS, _CLOTHES} <= set(names):
        drawn["banner.png"] = _banner(models)
    return drawn


def is_drawn(path: Path, picture: Image.Image) -> bool:
    """Whether the file holds the picture, but for the rounding of the machine that drew it."""
    if not path.exists():
        return False
    with Image.open(path) as file:
        if (file.size, file.mode) != (picture.size, picture.mode):
            return False
        return bool(np.abs(np.asarray(file).astype(int) - np.asarray(picture)).max() <= _ROUNDING)


def _samples(folder: Path) -> Image.Image:
    """Eight samples in two rows."""
    with load(str(folder)) as model:
        samples = grid(model.sample(8, seed=0), columns=4, gap=0)
    return samples.resize((4 * _SIDE, 2 * _SIDE), Image.Resampling.NEAREST)


def _banner(models: Path) -> Image.Image:
    """Samples of two models, those of one where the project's name is written: each of them once, none a photograph."""
    letters = _letters()[..., None, None]
    tiles = np.where(letters, _tiles(models / _CLOTHES), _tiles(models / _DIGITS) * 0.4)
    value = Image.fromarray(np.round(255 * _mosaic(tiles)).astype(np.uint8))
    hue = np.linspace(0, 230, value.width).astype(np.uint8)
    colour = np.where(_mosaic(np.broadcast_to(letters, tiles.shape)), 150, 0).astype(np.uint8)
    bands = (Image.fromarray(np.broadcast_to(hue, colour.shape).copy()), Image.fromarray(colour), value)
    return Image.merge("HSV", bands).convert("RGB")


def _tiles(folder: Path) -> NDArray[np.float32]:
    """As many samples as the banner has tiles, each as bright as can be, [rows, columns, 28, 28]."""
    with load(str(folder)) as model:
        images = model.sample(_ROWS * _COLUMNS, seed=_SEED, temperature=_TEMPERATURE)[:, 0]
    bright: NDArray[np.float32] = images / images.max((1, 2), keepdims=True)
    return bright.reshape(_ROWS, _COLUMNS, _SIDE, _SIDE)


def _letters() -> NDArray[np.bool_]:
    """Which tiles are part of a letter, [rows, columns]."""
    paper = Image.new("1", (_COLUMNS, _ROWS))
    ImageDraw.Draw(paper).text((2, 0), "AAE-ZOO", fill=1, font=ImageFont.load_default_imagefont())
    return np.asarray(paper)


def _mosaic(tiles: NDArray[Any]) -> NDArray[Any]:
    """[rows, columns, height, width] as one picture."""
    rows, columns, height, width = tiles.shape
    return tiles.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
