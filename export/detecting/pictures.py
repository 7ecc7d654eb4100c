"""Folders of pictures as the data of a detector: what is normal, in three parts, and what is odd.

Which picture goes where is decided by the SHA-256 of its pixels, as the model sees them. Copies, in whatever format,
are the same picture: one of them is taken, so that none is on both sides.
"""

import hashlib
import statistics
import warnings
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION, ImageShape
from aae_zoo.runtime.errors import DatasetError, InvalidInput
from aae_zoo.runtime.formats.folders import PICTURE_SUFFIXES, list_pictures, none_readable
from aae_zoo.runtime.formats.pictures import measure
from aae_zoo.runtime.formats.plan import Plan
from aae_zoo.runtime.words import agreeing, counted
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.pictures import read_pictures
from aae_zoo.zoo.recipe import DataSettings, plain

# A fifth of the pictures sets the limit, and a fifth is held out to measure it; more than so many say no more.
_SHARE: Final = 5
_MOST: Final = 10_000
# How many pictures are looked at for their size and colours, and how far a gray one's channels may lie apart.
_LOOKED_AT: Final = 100
_GRAY: Final = 8
# Pictures whose shorter side is mostly below this lose nothing at the smaller of the two sizes.
_SMALL: Final = 48
_SIZES: Final = (32, 64)


class Need(NamedTuple):
    """How many pictures it takes at least, what these and who learns from them are called, and what is better."""

    least: int
    what: str
    who: str
    better: str


NORMAL: Final = Need(
    100,
    "normal picture",
    "a detector",
    "better some hundreds: three fifths are learned from, a fifth sets the limit and a fifth measures it",
)


@dataclass(frozen=True)
class Pictures:
    """Pictures of a folder that differ: their files, in the order of their digests, and pixels uint8 [n, C, H, W].

    `failed` says why files cannot be read, `copies` are the files of pictures that others have too; `note` says what
    in the folder is not a picture.
    """

    root: Path
    files: list[Path]
    digests: list[str]
    pixels: Tensor
    failed: Mapping[Path, str] = field(default_factory=dict)
    copies: list[Path] = field(default_factory=list)
    note: str = ""

    @property
    def called(self) -> str:
        """What they are called in a manifest: as their folder is."""
        return plain(self.root.resolve().name) or "pictures"

    def without(self, others: "Pictures") -> "Pictures":
        """Those that `others` do not have."""
        known = set(others.digests)
        rows = [row for row, digest in enumerate(self.digests) if digest not in known]
        files, digests = [self.files[row] for row in rows], [self.digests[row] for row in rows]
        return replace(self, files=files, digests=digests, pixels=self.pixels[rows])

    def name(self, row: int) -> str:
        """The path of a picture in the folder."""
        return self.files[row].relative_to(self.root).as_posix()


def find(root: Path, besides: Path | None = None) -> tuple[list[Path], str]:
    """The picture files of a folder and of all that are in it, but of the folder `besides`; and what is left out.

    Raises:
        DatasetError: there is no such folder, or it holds no pictures.
    """
    if not root.is_dir():
        raise DatasetError(f"there is no folder of pictures {root}; give the folder of your pictures")
    listing = list_pictures(root, root.rglob("*"))
    paths = _outside(besides, listing.pictures) if besides else listing.pictures
    if not paths:
        expected = f"expected files with the suffixes {', '.join(PICTURE_SUFFIXES)}"
        raise DatasetError("; ".join(filter(None, [f"{root} holds no pictures, {expected}", listing.note])))
    return paths, listing.note


def _outside(folder: Path, paths: list[Path]) -> list[Path]:
    """The paths that do not lead into a folder; each of their own folders is resolved once, which takes its time."""
    real = folder.resolve()
    inside = {around: around.resolve().is_relative_to(real) for around in {path.parent for path in paths}}
    return [
        path
        for path in paths
        if not (path.resolve().is_relative_to(real) if path.is_symlink() else inside[path.parent])
    ]


def look(paths: list[Path], keep: Container[int] = ()) -> tuple[int, int]:
    """What suits pictures: the size and channels to be cut to, 1 if all are gray.

    It looks at some of them. What cannot be read says nothing here. Squares of one size stay as they are, if that is
    one of those to `keep`.
    """
    some = paths[:: -(-len(paths) // _LOOKED_AT)]
    # A JPEG file is measured as it is decoded for that many pixels.
    plan, sizes = Plan(ImageShape(3, _SIZES[1], _SIZES[1]), resize=True), []
    for path in some:
        try:
            decoding = measure(path, plan)
            sizes.append((decoding.width, decoding.height))
        except InvalidInput:
            continue
    failed: dict[Path, str] = {}
    with warnings.catch_warnings(action="ignore"):  # data.range, of what is to be said, is known to `read` alone
        pixels = read_pictures(some, _SIZES[0], 3, failed=failed).int()
    is_gray = bool((pixels.amax(1) - pixels.amin(1) <= _GRAY).all())
    return _side(sizes, keep), 1 if is_gray else 3


def _side(sizes: list[tuple[int, int]], keep: Container[int]) -> int:
    """What pictures of these widths and heights are cut to."""
    sides = [min(size) for size in sizes] or [0]
    if {side for size in sizes for side in size} == {sides[0]} and sides[0] in keep:
        return sides[0]
    return _SIZES[statistics.median(sides) >= _SMALL]


def read(root: Path, settings: DataSettings, besides: Path | None = None) -> Pictures:
    """All pictures of a folder that differ, prepared as the recipe's [data] says.

    Raises:
        DatasetError: there is no such folder, or it holds no pictures that can be read.
    """
    paths, note = find(root, besides)
    failed: dict[Path, str] = {}
    size, channels = settings.cut
    preparation = USUAL_PREPARATION._replace(fit=settings.fit, range=settings.range)
    pixels = read_pictures(paths, size, channels, preparation, failed)
    if len(failed) == len(paths):
        raise DatasetError(none_readable(root, failed))
    rows: dict[str, int] = {}
    copies = []
    for row, path in enumerate(paths):
        if path in failed:
            continue
        digest = hashlib.sha256(pixels[row].numpy().tobytes()).hexdigest()
        if rows.setdefault(digest, row) != row:
            copies.append(path)
    digests = sorted(rows)
    order = [rows[digest] for digest in digests]
    return Pictures(root, [paths[row] for row in order], digests, pixels[order], failed, copies, note)


def check_enough(pictures: Pictures, need: Need) -> None:
    """Refuse too few pictures to learn from, or nothing but copies of one.

    Raises:
        DatasetError: they are fewer than is needed.
    """
    count, files, least = len(pictures.files), len(pictures.files) + len(pictures.copies), need.least
    if count == 1 and files > 1:
        raise DatasetError(
            f"the {files} pictures in {pictures.root} are all the same, expected {least} or more that differ: how "
            f"{need.what}s differ is what {need.who} learns"
        )
    if count < least:
        differ = f" that differ, of {files}" if pictures.copies else ""
        raise DatasetError(
            f"there {agreeing(count, 'is', 'are')} {counted(count, need.what)} in "
            f"{pictures.root}{differ}, expected {least} or more, {need.better}"
        )


def kept(count: int) -> int:
    """How many of `count` pictures set the limit, and how many are held out."""
    return min(count // _SHARE, _MOST)


def as_dataset(pictures: Pictures, settings: DataSettings, held_out: int) -> Dataset:
    """Pictures as a data set: the last ones are held out, as its test images.

    Their ground is left open, so that pictures on another one are not inverted to be like them.
    """
    labels = torch.full((len(pictures.files),), -1)
    contents = "\n".join(pictures.digests).encode()
    return Dataset(
        name=settings.dataset,
        train_images=pictures.pixels[:-held_out],
        train_labels=labels[:-held_out],
        test_images=pictures.pixels[-held_out:],
        test_labels=labels[-held_out:],
        label_names=(),
        md5s={"pixels": hashlib.md5(contents, usedforsecurity=False).hexdigest()},
        preparation=USUAL_PREPARATION._replace(fit=settings.fit, range=settings.range),
    )


def apart(normal: Pictures, odd: Pictures) -> tuple[Pictures, Pictures, list[list[str]]]:
    """Normal and odd pictures without those that are both, and the names of these in each of the two folders."""
    both = set(normal.digests) & set(odd.digests)
    names = [[each.name(row) for row, digest in enumerate(each.digests) if digest in both] for each in (normal, odd)]
    return normal.without(odd), odd.without(normal), names
