"""Collects the pictures of `emoji` from two packages of the npm registry, which is a matter of seconds."""

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime.files import check_space, scratch_folder
from aae_zoo.runtime.store.npm import Package, fetch_packages
from aae_zoo.zoo.bars import bar
from aae_zoo.zoo.data.stored import Contents, store
from aae_zoo.zoo.datasets.emoji import GROUPS, MD5S, SKINS

# One for each vendor, in the order of the attribute's labels.
_PACKAGES: Final = {
    "google": Package(
        "emoji-datasource-google",
        "16.0.0",
        "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A==",
    ),
    "twitter": Package(
        "emoji-datasource-twitter",
        "16.0.0",
        "7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ==",
    ),
}
_MEND: Final = "install Node.js, which brings npm, from https://nodejs.org, and try again with a network"
_SPACE: Final = 50_000_000


class _Emoji(NamedTuple):
    """An emoji: that of all its skins (by which it is for testing or not), its picture's name, its group and skin."""

    family: str
    picture: str
    group: int
    skin: int

    @property
    def place(self) -> tuple[bool, str, str]:
        """What orders emoji: those for testing, about a tenth, come last; families are mixed, each stays together."""
        digest = hashlib.sha256(self.family.encode()).hexdigest()
        return int(digest[:8], 16) >= 0.9 * 2**32, digest, self.picture


def build(path: Path, *, md5s: Mapping[str, str] = MD5S) -> None:
    """Store at `path` every emoji that both vendors drew.

    Raises:
        DatasetError: the pictures have other md5s.
        MissingBackend: npm is missing or fails.
        OutputError: the file cannot be written.
    """
    check_space(path, _SPACE)
    with scratch_folder() as scratch:
        archives = fetch_packages(list(_PACKAGES.values()), scratch / "archives", _MEND)
        emoji = sorted(_read_list(archives[0]), key=lambda one: one.place)
        names = {one.picture for one in emoji}
        drawn = [
            _pictures(archive, f"package/img/{v}/64/", names) for v, archive in zip(_PACKAGES, archives, strict=True)
        ]
    store(path, _contents(emoji, drawn), md5s)


def _read_list(archive: Path) -> list[_Emoji]:
    """Every emoji in each of its skins; the swatches of the skins alone are none."""
    with tarfile.open(archive) as package:
        content = package.extractfile("package/emoji.json")
        assert content is not None  # noqa: S101 - the archive is the one whose files are known
        listed = json.load(content)
    groups, skins = list(GROUPS), [*SKINS, "mixed"]
    return [
        _Emoji(one["unified"], variant["image"], groups.index(one["category"]), skins.index(skin))
        for one in listed
        if one["category"] in GROUPS
        for skin, variant in _variants(one)
    ]


def _variants(emoji: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """An emoji itself and in its skins, each with the code of its skin; of two people it may be "mixed"."""
    coded = [(set(codes.split("-")), one) for codes, one in emoji.get("skin_variations", {}).items()]
    return [("", emoji), *((codes.pop() if len(codes) == 1 else "mixed", one) for codes, one in coded)]


def _pictures(archive: Path, folder: str, names: set[str]) -> dict[str, NDArray[np.uint8]]:
    """The named pictures of a package on white, [64, 64, 3] each."""
    found = {}
    with tarfile.open(archive) as package, bar(total=len(names), unit="picture") as shown:
        for member in package:
            name = member.name.removeprefix(folder)
            if member.name != name and name in names:
                stream = package.extractfile(member)
                assert stream is not None  # noqa: S101 - as above
                with Image.open(stream) as picture:
                    found[name] = _on_white(np.asarray(picture.convert("RGBA")))
                shown.update()
    return found


def _on_white(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H, W, 4] to [H, W, 3], in whole numbers: the same on every machine."""
    colours, opacity = picture[..., :3].astype(np.int32), picture[..., 3:].astype(np.int32)
    return ((colours * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def _contents(emoji: Sequence[_Emoji], drawn: Sequence[Mapping[str, NDArray[np.uint8]]]) -> dict[str, Contents]:
    contents = {}
    for split, is_test in (("train", False), ("test", True)):
        chosen = [one for one in emoji if one.place[0] is is_test]
        images = [pictures[one.picture][None] for one in chosen for pictures in drawn]
        attributes = np.array([[o.group, vendor, o.skin] for o in chosen for vendor in range(len(drawn))], np.uint8)
        contents[f"{split}_images"] = Contents((len(images), 64, 64, 3), images)
        contents[f"{split}_attributes"] = Contents(attributes.shape, [attributes])
    return contents
