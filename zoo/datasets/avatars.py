"""Avatars: 60,000 drawn faces, 64 x 64 in colour, in two styles that DiceBear draws; `aae-zoo data avatars` builds it.

The styles are Pixel Art by DiceBear and Lorelei by Lisa Wischofsky, both CC0 1.0.
"""

from pathlib import Path
from typing import Final

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION
from aae_zoo.zoo.data.dataset import Attribute, Dataset
from aae_zoo.zoo.data.stored import load_stored
from aae_zoo.zoo.recipe import DataSettings

NAME: Final = "avatars"
HUB_NAME: Final = None
COUNTERPART: Final = None
IMAGE_SHAPE: Final = (3, 64, 64)
LICENCE: Final = "CC0 1.0"
PREPARATION: Final = USUAL_PREPARATION
# The colours, which both styles draw with, as red, green and blue.
HAIR: Final = {
    "black": "1f1a17",
    "brown": "6b3e1f",
    "blond": "d9a441",
    "red": "c0392b",
    "gray": "8e8e8e",
    "purple": "7d3cb5",
    "blue": "2d6cdf",
    "pink": "e86fb0",
}
SKIN: Final = {"light": "fde0cd", "beige": "f0b98d", "tan": "c98a5a", "brown": "8d5a34", "dark": "5a3620"}
BACKGROUND: Final = {
    "white": "ffffff",
    "blue": "bfe3f5",
    "green": "c9efc4",
    "yellow": "fff0b0",
    "pink": "f7c9d4",
    "lilac": "d9cff2",
}
ATTRIBUTES: Final = (
    Attribute("style", ("pixel-art", "lorelei")),
    Attribute("glasses", ("no", "yes")),
    Attribute("hair", tuple(HAIR)),
    Attribute("skin", tuple(SKIN)),
    Attribute("background", tuple(BACKGROUND)),
    Attribute("mouth", ("happy", "sad")),
)
MD5S: Final = {
    "train_images": "0a8e1e574670c5d9573fb14ea3a77d9c",
    "train_attributes": "c875978462c35f6c0f5d1656d73df9e2",
    "test_images": "b9b48198649ecf3a1218a27fe690f8a5",
    "test_attributes": "4bc492ecea2366d560e31fc5aced5f0c",
}


def load(_settings: DataSettings, place: Path | None) -> Dataset:
    """The 50,000 training and 10,000 test images; the label is the style.

    Raises:
        DatasetError: as `load_stored`.
    """
    return load_stored(NAME, place, ATTRIBUTES, MD5S)
