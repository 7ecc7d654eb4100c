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
from aae_zoo.runtime.formats.placement import Place, fit, gray_of, placement, span_of
from aae_zoo.runtime.formats.plan import Notices, Plan

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
    place: Place | None


def original_of_picture(picture: Image.Image, plan: Plan) -> Original:
    """A picture of any mode that `prepare` has taken."""
    quiet = Notices(quiet=True)
    return original_of([upright(loosen(picture, plan, "", quiet), plan, "", quiet)], plan)


def original_of(planes: Sequence[Image.Image], plan: Plan) -> Original:
    """The planes of a picture that `fit` has taken."""
    picture = planes[0] if planes[0].mode == "RGB" else gray_of(planes)
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
        low, high = span_of(picture)
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


def _on_ground(loose: Loose, plan: Plan) -> Image.Image:
    """The picture on the plan's ground; on the other one where it would not be seen on that: black ink on black."""
    if loose.alpha is None:
        return loose.picture
    usual = plan.preparation.ground
    other = "black" if usual == "white" else "white"
    for ground in (usual, other):
        low, high = span_of(picture := _composed(loose, ground))
        if high - low >= 256 / _FILLED:
            return picture
        del picture
    return _composed(loose, usual)


def _composed(loose: Loose, ground: str) -> Image.Image:
    canvas = Image.new(loose.picture.mode, loose.picture.size, ground)
    canvas.paste(loose.picture, mask=loose.alpha)
    return canvas
