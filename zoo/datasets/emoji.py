"""Emoji: 7,562 drawings, 64 x 64 in colour on white, each emoji by two vendors; `aae-zoo data emoji` builds it.

Those of Google (Noto Emoji) are under the Apache License 2.0, those of Twitter (Twemoji) under CC BY 4.0, copyright
Twitter, Inc and other contributors.
"""

from pathlib import Path
from typing import Final

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION
from aae_zoo.zoo.data.dataset import Attribute, Dataset
from aae_zoo.zoo.data.stored import load_stored
from aae_zoo.zoo.recipe import DataSettings

NAME: Final = "emoji"
HUB_NAME: Final = None
COUNTERPART: Final = None
IMAGE_SHAPE: Final = (3, 64, 64)
LICENCE: Final = "Apache 2.0 (Noto Emoji), CC BY 4.0 (Twemoji, copyright Twitter, Inc and other contributors)"
PREPARATION: Final = USUAL_PREPARATION
# The groups, by Unicode's names for them.
GROUPS: Final = {
    "Smileys & Emotion": "smileys",
    "People & Body": "people",
    "Animals & Nature": "animals",
    "Food & Drink": "food",
    "Travel & Places": "travel",
    "Activities": "activities",
    "Objects": "objects",
    "Symbols": "symbols",
    "Flags": "flags",
}
# The skins, by the codes of Unicode's modifiers; people of different ones in one emoji are "mixed".
SKINS: Final = {
    "": "none",
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}
ATTRIBUTES: Final = (
    Attribute("group", tuple(GROUPS.values())),
    Attribute("vendor", ("google", "twitter")),
    Attribute("skin", (*SKINS.values(), "mixed")),
)
MD5S: Final = {
    "train_images": "f4646f7783d4197478451e164d00f65a",
    "train_attributes": "58c9d72424de2d1c596c89ee0a890ea9",
    "test_images": "96bdca4bbd41c3890acd200a9ad711dc",
    "test_attributes": "b02fb1527fa79905e365caba150200e7",
}


def load(_settings: DataSettings, place: Path | None) -> Dataset:
    """All but about a tenth for training, and no emoji on both sides, whatever vendor and skin; the label is the group.

    Raises:
        DatasetError: as `load_stored`.
    """
    return load_stored(NAME, place, ATTRIBUTES, MD5S)
