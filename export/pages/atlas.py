"""The pictures that a page shows before its decoder has come: samples worth looking at, and the plane of a 2-D code."""

from collections.abc import Sequence
from math import prod
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime.drawing.grid import to_uint8
from aae_zoo.runtime.latent.attributes import told
from aae_zoo.runtime.latent.noise import choose_label, uniform_noise
from aae_zoo.runtime.model import Model

# A wall of samples is wider than any page shows at once, so that it can drift.
ROWS: Final = 3
COLUMNS: Final = 32
# Among how many draws the wall's samples are chosen, and from which share of them, the clearest.
_CANDIDATES: Final = 960
_CLEAR: Final = 1 / 3
# How many pixels the candidates have together at most, where they are not too few for it.
_MOST_PIXELS: Final = 1 << 26
# How large a picture on the wall is at most; how wide the plane of pictures is, and how many there are in a row.
_TILE: Final = 56
_PLANE: Final = 672
_CELLS: Final = (8, 24)
# What services that show links expect of a picture, width and height.
_SHARED: Final = (1200, 630)
_ICON: Final = 96
_BOARD: Final = (13, 15, 21)  # --board of style.css

Figures = NDArray[np.float32]


class Samples(NamedTuple):
    """Samples with their codes: images [n, C, H, W], codes z [n, latent], label [n, attributes] or None.

    The label is the number of the value of each attribute, or of the class, which the decoder takes.
    """

    images: Figures
    z: Figures
    label: NDArray[np.int64] | None


def draw_codes(model: Model, count: int) -> dict[str, Figures]:
    """Codes that the prior draws, z [count, latent] and y, class after class in turn where it has classes."""
    manifest = model.manifest
    noise = uniform_noise(count, manifest.noise, seed=0)
    if manifest.label_coordinate is not None:
        classes = len(manifest.labels)
        for k in range(classes):
            choose_label(noise[k::classes], manifest.label_coordinate, k, classes)
    return model.codes_of(noise)


def choose_samples(model: Model) -> Samples:
    """Clear samples that are unlike each other, ROWS * COLUMNS of them, the clearest first.

    Of the clearest third of many draws, each next one is the farthest from those chosen before, in squared distance
    of the pixels (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985). All classes are among
    the draws alike.
    """
    count = max(round(ROWS * COLUMNS / _CLEAR), min(_CANDIDATES, _MOST_PIXELS // prod(model.manifest.image.axes)))
    codes = draw_codes(model, count)
    y = codes.get("y") if model.conditional else None
    images = model.decode(codes["z"], y)
    clear = np.argsort(-clearness(images), kind="stable")[: round(_CLEAR * count)]
    first, *others = clear[_farthest(images[clear].reshape(len(clear), -1), ROWS * COLUMNS)]
    order = np.array([first, *np.random.default_rng(0).permutation(others)])
    label = None if y is None else np.stack([found.numbers for found in told(y[order], model.manifest).values()], 1)
    return Samples(images[order], codes["z"][order], label)


def clearness(images: Figures) -> Figures:
    """How near each image [n, C, H, W] in [0, 1] is to black and white without gray: 0 where it is flat, at most 1."""
    mean, variance = images.mean(axis=(1, 2, 3)), images.var(axis=(1, 2, 3))
    return np.asarray(variance / np.maximum(mean * (1 - mean), 1e-6), np.float32)


def _farthest(points: Figures, count: int) -> list[int]:
    """The numbers of `count` of the points [n, size], the first and then each the farthest from those before it."""
    chosen = [0]
    nearest = np.full(len(points), np.inf, np.float32)
    while len(chosen) < count:
        nearest = np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(1))
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen


def wall(samples: Samples) -> Image.Image:
    """The samples as one picture, ROWS rows of COLUMNS."""
    return sheet(samples.images, COLUMNS, most=_TILE)


def sheet(images: Figures, columns: int, most: int | None = None) -> Image.Image:
    """Images side by side without gaps, row after row of `columns`, each at most `most` pixels wide and high."""
    pictures = to_uint8(images)  # [n, H, W] or [n, H, W, 3]
    rows = [np.concatenate(list(pictures[i : i + columns]), axis=1) for i in range(0, len(pictures), columns)]
    picture = Image.fromarray(np.concatenate(rows))
    if most is None or max(images.shape[2:]) <= most:
        return picture
    height, width = (max(1, side * most // max(images.shape[2:])) for side in images.shape[2:])
    return picture.resize((width * columns, height * len(rows)), Image.Resampling.LANCZOS)


def plane(model: Model, reach: float, label: Sequence[int] | None) -> tuple[Image.Image, int]:
    """The pictures of a regular grid over the square from -reach to reach of a 2-D code, and how many are in a row."""
    cells = min(_CELLS[1], max(_CELLS[0], _PLANE // max(model.manifest.image.axes[1:])))
    centres = ((np.arange(cells) + 0.5) / cells * 2 - 1) * reach
    z = np.stack(np.meshgrid(centres, -centres), axis=-1).reshape(-1, 2).astype(np.float32)
    y = None if label is None else np.tile(label, (len(z), 1))
    return sheet(model.decode(z, y), cells, most=_PLANE // cells), cells


def icon(samples: Samples) -> Image.Image:
    """The clearest sample, large enough for an icon."""
    picture = sheet(samples.images[:1], 1)
    return _enlarged(picture, max(1, -(-_ICON // min(picture.size))))


def share_picture(samples: Samples) -> Image.Image:
    """Samples as a picture for links to the page."""
    height, width = samples.images.shape[2:]
    scale = max(1, _SHARED[1] // (5 * height))
    columns, rows = (max(1, side // (scale * length)) for side, length in zip(_SHARED, (width, height), strict=True))
    shown = samples.images[: columns * min(rows, len(samples.images) // columns)]
    pictures = _enlarged(sheet(shown, columns), scale)
    canvas = Image.new("RGB", _SHARED, _BOARD)
    canvas.paste(pictures, ((canvas.width - pictures.width) // 2, (canvas.height - pictures.height) // 2))
    return canvas


def _enlarged(picture: Image.Image, scale: int) -> Image.Image:
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def two_values(draws: Figures) -> list[list[float] | None]:
    """For each coordinate of the prior's draws [n, latent]: its two values where it has but two, for a switch."""
    values: list[list[float] | None] = []
    for column in draws.T:
        found = np.unique(column)
        values.append([float(value) for value in found] if len(found) == 2 else None)
    return values
