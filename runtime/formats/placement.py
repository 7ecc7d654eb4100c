"""How a picture fits into a model's image: which part of it, how large and where, and whether it is inverted then."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.formats.plan import Names, Notices, Plan, on_light, turned

# A ground is seen as well in a picture of at most this many pixels a side.
_LOOK: Final = 128
# The least contrast, of 255, of what is ink.
_VISIBLE: Final = 26


class Place(NamedTuple):
    """The part of a picture that is scaled to `size` and put at `corner`; `around` it is this gray, of 255."""

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    around: int = 0

    def back(self, values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Values [H, W] of an image's pixels where they lie in the picture, whose width and height are `size`.

        They are [height, width], and 0 where the image does not show the picture.
        """
        left, top, right, bottom = self.box
        across, down = self.size[0] / (right - left), self.size[1] / (bottom - top)
        inverse = (across, 0, self.corner[0] - left * across, 0, down, self.corner[1] - top * down)
        plane = Image.fromarray(np.ascontiguousarray(values, np.float32))
        return np.asarray(plane.transform(size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR))


def fit(planes: Sequence[Image.Image], plan: Plan, name: str, notices: Notices) -> tuple[list[Image.Image], bool]:
    """Planes of one picture, of modes L, RGB or F in [0, 1], in the model's size, and whether to invert them then."""
    place, inverted = placement(planes, plan, name, notices)
    target = (plan.shape.width, plan.shape.height)
    return list(planes) if place is None else [_placed(plane, place, target) for plane in planes], inverted


def placement(planes: Sequence[Image.Image], plan: Plan, name: str, notices: Notices) -> tuple[Place | None, bool]:
    """Where `fit` puts which part of a picture, None where it has the model's size, and whether to invert it."""
    size, target = planes[0].size, (plan.shape.width, plan.shape.height)
    seen = _crop_box(size, target) if plan.preparation.fit == "crop" else (0, 0, *size)
    look = _look(planes, seen)
    gray = look[None] / 255
    inverted = bool(turned(gray, plan, notices, Names(name=name))[0])
    if size == target:
        return None, inverted
    is_light = bool(on_light(gray)[0] or (plan.preparation.polarity == "light" and not on_light(1 - gray)[0]))
    return _place(planes, look, target, plan, is_light=is_light, inverted=inverted), inverted


def _place(
    planes: Sequence[Image.Image],
    look: NDArray[Any],
    target: tuple[int, int],
    plan: Plan,
    *,
    is_light: bool,
    inverted: bool,
) -> Place:
    size, kind = planes[0].size, plan.preparation.fit
    if kind == "squash":
        return Place((0, 0, *size), target)
    if kind == "pad":
        scale = min(target[0] / size[0], target[1] / size[1])
        width, height = (max(1, _round(side * scale)) for side in size)
        corner = ((target[0] - width) // 2, (target[1] - height) // 2)
        is_white = (plan.preparation.ground == "white") != inverted
        return Place((0, 0, *size), (width, height), corner, 255 * is_white)
    if kind == "digit":
        place = _place_digit(gray_of(planes), look, target, is_light=is_light)
        if place:
            return place
    return Place(_crop_box(size, target), target)


def digit_share(shape: ImageShape) -> float:
    """Which share of an image's side a digit fills: 20 of 28 pixels, as in MNIST; small images have no margin."""
    return 20 / 28 if min(shape.width, shape.height) >= 28 else 1.0


def _place_digit(gray: Image.Image, look: NDArray[Any], target: tuple[int, int], *, is_light: bool) -> Place | None:
    """MNIST's own way: the ink's box fills its share of the image, with its centre of mass in the middle."""
    low, high = span_of(gray)
    ground = _border_median(look)
    sign, ink = (-1, low) if is_light else (1, high)
    contrast = sign * (ink - ground)
    if contrast < _VISIBLE:
        return None
    is_ink = [255 * (4 * sign * (value - ground) >= contrast) for value in range(256)]
    box = gray.point(is_ink).getbbox() or (0, 0, *gray.size)
    share = digit_share(ImageShape(1, target[1], target[0]))
    scale = share * min(target) / max(box[2] - box[0], box[3] - box[1])
    size = (max(1, _round((box[2] - box[0]) * scale)), max(1, _round((box[3] - box[1]) * scale)))
    scaled = np.asarray(gray.resize(size, Image.Resampling.LANCZOS, box=box), np.float64)
    mass = (sign * (scaled - ground)).clip(0)
    x = (mass.sum(0) * (np.arange(size[0]) + 0.5)).sum() / mass.sum()
    y = (mass.sum(1) * (np.arange(size[1]) + 0.5)).sum() / mass.sum()
    return Place(box, size, (_round(target[0] / 2 - x), _round(target[1] / 2 - y)), ground)


def _placed(plane: Image.Image, place: Place, target: tuple[int, int]) -> Image.Image:
    scaled = plane.resize(place.size, Image.Resampling.LANCZOS, box=place.box)
    if place.size == target and place.corner == (0, 0):
        return scaled
    around: Any = {"L": place.around, "F": place.around / 255, "RGB": (place.around,) * 3}[plane.mode]
    canvas = Image.new(plane.mode, target, around)
    canvas.paste(scaled, place.corner)
    return canvas


def _crop_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest part in the middle of a picture that has the model's proportions."""
    width = min(size[0], size[1] * target[0] / target[1])
    height = min(size[1], size[0] * target[1] / target[0])
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return (left, top, left + width, top + height)


def _look(planes: Sequence[Image.Image], box: tuple[float, float, float, float]) -> NDArray[Any]:
    """The part of a picture in `box` as gray [height, width] of 255, small."""
    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = max(left + 1, math.floor(box[2])), max(top + 1, math.floor(box[3]))
    factors = (math.ceil((right - left) / _LOOK), math.ceil((bottom - top) / _LOOK))
    return np.asarray(gray_of([plane.reduce(factors, (left, top, right, bottom)) for plane in planes]))


def gray_of(planes: Sequence[Image.Image]) -> Image.Image:
    """Planes as one gray picture of bytes."""
    if planes[0].mode != "F":
        return planes[0].convert("L") if len(planes) == 1 else Image.merge("RGB", planes).convert("L")
    bytes_ = [Image.fromarray(np.rint(np.asarray(p).clip(0, 1) * 255).astype(np.uint8)) for p in planes]
    return gray_of(bytes_)


def span_of(picture: Image.Image) -> tuple[int, int]:
    """The smallest and the largest value of a picture of bytes."""
    bands = np.array(picture.getextrema()).reshape(-1, 2)
    return int(bands[:, 0].min()), int(bands[:, 1].max())


def _border_median(look: NDArray[Any]) -> int:
    return int(np.median(np.concatenate([look[0], look[-1], look[1:-1, 0], look[1:-1, -1]])))


def _round(value: float) -> int:
    """Halves up, as JavaScript does."""
    return math.floor(value + 0.5)
