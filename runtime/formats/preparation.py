"""The one way from a picture to an image of a model, in training and in use: whatever its mode, ground and size.

The page of aae-zoo explore does the same in JavaScript, export/pages/site/preparation.js, which a test holds to this.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.plan import Names, Notices, Plan, on_light, turned

# EXIF's tag of how a picture is held, and what turns each value but 1, upright, into that (Pillow's Transpose).
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
# Numbers of more than 8 bits are looked at in blocks, for which there is always memory.
_BLOCK: Final = 256
# What a file of that depth can hold, of 255.
_DEEP: Final = 65535
_ROUNDING: Final = 1e-5
# A picture whose values fill less than this share of what it can hold was hardly meant so.
_FILLED: Final = 8
# A ground is seen as well in a picture of at most this many pixels a side.
_LOOK: Final = 128
# The least contrast, of 255, of what is ink.
_VISIBLE: Final = 26


class Loose(NamedTuple):
    """A picture in gray or colour as the model needs it, its transparency beside it, and how it is still to be turned.

    What is left to do takes less memory, least where the caller has let go of the picture that was given. `scaled`
    says whether its range was seen to, which is done before there are only 8 bits.
    """

    picture: Image.Image
    turn: int | None
    alpha: Image.Image | None = None
    scaled: bool = False


def prepare(picture: Image.Image, plan: Plan, name: str, notices: Notices) -> NDArray[np.uint8]:
    """A picture of any mode as uint8 [C, H, W]; `name` is what it is called in sentences.

    Upright; on the plan's ground where it is transparent, or on the other where it would not be seen on that; numbers
    of 16 bits scaled; gray or colour; then inverted where it is to be, and made to fit.

    Raises:
        InvalidInput: it is of another size than the model's and is not to be resized, or its values are out of range.
    """
    return finish(loosen(picture, plan, name, notices), plan, name, notices)


def loosen(picture: Image.Image, plan: Plan, name: str, notices: Notices) -> Loose:
    """The first half of `prepare`, after which the given picture is not needed any more.

    Raises:
        InvalidInput: its values are out of range.
    """
    picture.load()  # which turns TIFF files, and leaves nothing to turn
    turn = _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    mode = "L" if plan.shape.channels == 1 else "RGB"
    if picture.mode[0] in "IF":
        return Loose(_in_bytes(picture, plan, name, notices).convert(mode), turn, scaled=True)
    if not picture.has_transparency_data:
        return Loose(picture if picture.mode == mode else picture.convert(mode), turn)
    whole = picture if picture.mode in ("LA", "RGBA") else picture.convert("RGBA")
    return Loose(whole.convert(mode), turn, whole.getchannel("A"))


def finish(loose: Loose, plan: Plan, name: str, notices: Notices) -> NDArray[np.uint8]:
    """The second half of `prepare`.

    Raises:
        InvalidInput: as for `prepare`.
    """
    picture = upright(loose, plan, name, notices)
    del loose  # with what is not needed any more
    if not plan.resize:
        check_size(picture.size, plan.shape, name)
    [fitted], inverted = fit([picture], plan, name, notices)
    pixels = np.asarray(fitted)
    pixels = ~pixels if inverted else pixels
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def upright(loose: Loose, plan: Plan, name: str, notices: Notices) -> Image.Image:
    """A picture in its own size, as people see it: upright, on a ground, its range spread over 8 bits.

    Raises:
        InvalidInput: its values are out of range.
    """
    picture, turn, scaled = _on_ground(loose, plan), loose.turn, loose.scaled
    del loose
    if turn is not None:
        picture = picture.transpose(Image.Transpose(turn))
    return picture if scaled else _in_range(picture, plan, name, notices)


class Original(NamedTuple):
    """A picture as it was given, in gray or colour as the model needs it, and what became of it.

    `place` is None where it had the model's size.
    """

    picture: Image.Image
    place: "Place | None"


def original_of_picture(picture: Image.Image, plan: Plan) -> Original:
    """A picture of any mode that `prepare` has taken."""
    quiet = Notices(quiet=True)
    return original_of([upright(loosen(picture, plan, "", quiet), plan, "", quiet)], plan)


def original_of(planes: Sequence[Image.Image], plan: Plan) -> Original:
    """The planes of a picture that `fit` has taken."""
    picture = planes[0] if planes[0].mode == "RGB" else _gray(planes)
    return Original(picture, placement(planes, plan, "", Notices(quiet=True))[0])


def check_size(size: tuple[int, int], shape: ImageShape, name: str, *, turned: bool = False) -> None:
    """Refuse a picture of another width and height than the model's; `turned` may be the other way round.

    Raises:
        InvalidInput: it is of another size.
    """
    expected = (shape.width, shape.height)
    if size != expected and not (turned and size == expected[::-1]):
        raise InvalidInput(
            f"{name} is {size[0]} x {size[1]} pixels, expected {expected[0]} x {expected[1]}; "
            "resize it, or ask for it (--resize, in Python resize=True, over HTTP resize=true)"
        )


# ---- what values mean


def _in_bytes(picture: Image.Image, plan: Plan, name: str, notices: Notices) -> Image.Image:
    """A gray picture of 16 bits, of whole or of floating-point numbers, as one of 8 bits."""
    low, high = _extrema(picture)
    chosen = plan.range or plan.preparation.range
    most = 1 if picture.mode == "F" else _DEEP
    if chosen is None and not (low >= -_ROUNDING and high <= most + _ROUNDING):
        raise InvalidInput(
            f"{name} has values from {low:g} to {high:g}, expected 0 to {most}; say which are black and white, "
            "in whole numbers (--range LOW..HIGH, in Python range=(LOW, HIGH), over HTTP range=LOW..HIGH)"
        )
    if chosen is None and picture.mode != "F":
        _say_if_dim(int(low), int(high), most, name, notices)
    black, white = chosen or (0, most)
    bytes_ = Image.new("L", picture.size)
    for corner, block in _blocks(picture):
        scaled = (block.astype(np.float64) - black) * (255 / (white - black))
        bytes_.paste(Image.fromarray(np.floor(scaled.clip(0, 255) + 0.5).astype(np.uint8)), corner)
    return bytes_


def _in_range(picture: Image.Image, plan: Plan, name: str, notices: Notices) -> Image.Image:
    """A picture of 8 bits with the chosen range spread over all of them."""
    chosen = plan.range or plan.preparation.range
    if plan.range and plan.range[1] > 255:
        raise InvalidInput(
            f"{name} has 8 bits, values from 0 to 255, of which the range {plan.range[0]}..{plan.range[1]} says "
            "nothing; leave the range out, or give one of up to 255"
        )
    if chosen is None or chosen[1] > 255:  # the manifest's range is that of deeper files
        low, high = _span(picture)
        _say_if_dim(low, high, 255, name, notices)
        return picture
    black, white = chosen
    spread = [min(255, max(0, math.floor((v - black) * 255 / (white - black) + 0.5))) for v in range(256)]
    return picture.point(spread * len(picture.getbands()))


def _say_if_dim(low: int, high: int, most: int, name: str, notices: Notices) -> None:
    if high - low >= most / _FILLED:
        notices.filled = True
    if notices.filled or high == low:
        return
    full = (1 << high.bit_length()) - 1
    black, white = (0, full) if full < most else (low, high)
    notices.say(
        "range",
        f"{name} has values from {low} to {high} of the 0 to {most} that it can hold, and is read as such; if "
        f"{white} is white, say so (--range {black}..{white}, in Python range=({black}, {white}), over HTTP "
        f"range={black}..{white}, in a recipe data.range = [{black}, {white}])",
    )


def _extrema(picture: Image.Image) -> tuple[float, float]:
    found = [(block.min(), block.max()) for _, block in _blocks(picture)]
    lows, highs = zip(*found, strict=True)
    return float(np.min(lows)), float(np.max(highs))  # NaN if there is any, unlike min and max


def _blocks(picture: Image.Image) -> Iterator[tuple[tuple[int, int], NDArray[Any]]]:
    """The numbers of a picture, block by block, with the left and upper edge of each."""
    width, height = picture.size
    for top in range(0, height, _BLOCK):
        for left in range(0, width, _BLOCK):
            box = (left, top, min(width, left + _BLOCK), min(height, top + _BLOCK))
            yield (left, top), np.asarray(picture.crop(box))


def _span(picture: Image.Image) -> tuple[int, int]:
    """The smallest and the largest value of a picture of bytes."""
    bands = np.array(picture.getextrema()).reshape(-1, 2)
    return int(bands[:, 0].min()), int(bands[:, 1].max())


# ---- transparency


def _on_ground(loose: Loose, plan: Plan) -> Image.Image:
    """The picture on the plan's ground; on the other one where it would not be seen on that: black ink on black."""
    if loose.alpha is None:
        return loose.picture
    usual = plan.preparation.ground
    other = "black" if usual == "white" else "white"
    for ground in (usual, other):
        low, high = _span(picture := _composed(loose, ground))
        if high - low >= 256 / _FILLED:
            return picture
        del picture
    return _composed(loose, usual)


def _composed(loose: Loose, ground: str) -> Image.Image:
    canvas = Image.new(loose.picture.mode, loose.picture.size, ground)
    canvas.paste(loose.picture, mask=loose.alpha)
    return canvas


# ---- the model's size


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
        place = _place_digit(_gray(planes), look, target, is_light=is_light)
        if place:
            return place
    return Place(_crop_box(size, target), target)


def digit_share(shape: ImageShape) -> float:
    """Which share of an image's side a digit fills: 20 of 28 pixels, as in MNIST; small images have no margin."""
    return 20 / 28 if min(shape.width, shape.height) >= 28 else 1.0


def _place_digit(gray: Image.Image, look: NDArray[Any], target: tuple[int, int], *, is_light: bool) -> Place | None:
    """MNIST's own way: the ink's box fills its share of the image, with its centre of mass in the middle."""
    low, high = _span(gray)
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
    return np.asarray(_gray([plane.reduce(factors, (left, top, right, bottom)) for plane in planes]))


def _gray(planes: Sequence[Image.Image]) -> Image.Image:
    """Planes as one gray picture of bytes."""
    if planes[0].mode != "F":
        return planes[0].convert("L") if len(planes) == 1 else Image.merge("RGB", planes).convert("L")
    bytes_ = [Image.fromarray(np.rint(np.asarray(p).clip(0, 1) * 255).astype(np.uint8)) for p in planes]
    return _gray(bytes_)


def _border_median(look: NDArray[Any]) -> int:
    return int(np.median(np.concatenate([look[0], look[-1], look[1:-1, 0], look[1:-1, -1]])))


def _round(value: float) -> int:
    """Halves up, as JavaScript does."""
    return math.floor(value + 0.5)
