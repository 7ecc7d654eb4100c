"""Anyone's own pictures: a folder of image files, or of one subfolder of them for each class."""

import hashlib
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION
from aae_zoo.runtime.errors import DatasetError, InvalidInput
from aae_zoo.runtime.escapes import note
from aae_zoo.runtime.formats.folders import (
    PICTURE_SUFFIXES,
    check_file,
    is_hidden,
    list_pictures,
    natural,
    none_readable,
)
from aae_zoo.runtime.formats.pictures import picture_errors
from aae_zoo.zoo.data.dataset import Dataset, places
from aae_zoo.zoo.data.pictures import polarity, progress, read_pictures
from aae_zoo.zoo.recipe import DataSettings

# How many of the files that cannot be read are named.
_LISTED: Final = 20


def find_pictures(name: str, place: Path | None) -> Path | None:
    """The folder `place`, or without it the first of the places of `name` that is there, or None.

    Raises:
        DatasetError: `place` is given and is not a folder.
    """
    if place and not os.path.isdir(place):
        raise DatasetError(f"there is no folder of pictures {place}; give the folder of your pictures with --data")
    return place or next((folder for folder in places(name) if os.path.isdir(folder)), None)


def load_pictures(root: Path, settings: DataSettings) -> Dataset:
    """All pictures of a folder as the recipe's [data] wants them, [n, channels, size, size].

    About a tenth of them are the test set. The SHA-256 of a file's content alone decides which, so that a picture
    never changes sides when others are added or removed. Their order is that of the hashes, so that the
    last training images, those for validation, are of all classes. Files that cannot be read are left out, and listed
    on stderr.

    Raises:
        DatasetError: the folder is empty or mixed, or too few of its pictures can be read.
    """
    size, channels = settings.cut
    paths = _pictures(root)
    failed: dict[Path, str] = {}
    hashes = _hashes(paths, failed)
    preparation = USUAL_PREPARATION._replace(fit=settings.fit, range=settings.range)
    ordered = sorted(hashes, key=lambda path: (_is_test(hashes[path]), hashes[path]))
    images = read_pictures(ordered, size, channels, preparation, failed)
    paths, images = _without(failed, root, ordered, images)
    first = sum(not _is_test(hashes[path]) for path in paths)
    train, test = paths[:first], paths[first:]
    if min(len(train), len(test)) < 2:
        raise DatasetError(
            f"the test set takes about a tenth of the pictures in {root}, {len(test)} of {len(paths)}, expected 2 or "
            "more; give more pictures"
        )
    classes = sorted({_class(path) for path in paths if path.parent != root}, key=natural)
    train_images, test_images = images[:first], images[first:]
    return Dataset(
        name=settings.dataset,
        train_images=train_images,
        train_labels=_labels(train, classes),
        test_images=test_images,
        test_labels=_labels(test, classes),
        label_names=tuple(classes),
        md5s={"names and contents": _md5({path.relative_to(root).as_posix(): hashes[path] for path in paths})},
        preparation=preparation._replace(polarity=polarity(train_images)),
    )


def _hashes(paths: list[Path], failed: dict[Path, str]) -> dict[Path, str]:
    """The SHA-256 of each file's content; what is no file that can be read goes into `failed`, with why."""
    hashes = {}
    for path in progress(paths, "hashes"):
        try:
            with picture_errors(str(path)):
                check_file(path, "a PNG or JPEG file")
                hashes[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        except InvalidInput as error:
            failed[path] = str(error)
    return hashes


def _without(failed: Mapping[Path, str], root: Path, paths: list[Path], images: Tensor) -> tuple[list[Path], Tensor]:
    """The files that could be read, and their images; the others are named on stderr."""
    if not failed:
        return paths, images
    count = len({*paths, *failed})
    if len(failed) == count:
        raise DatasetError(none_readable(root, failed))
    for reason in list(failed.values())[:_LISTED]:
        note(f"error: {reason}")
    note(f"note: left out, as unreadable: {len(failed)} of the {count} pictures in {root}")
    return [path for path in paths if path not in failed], images[[path not in failed for path in paths]]


def _pictures(root: Path) -> list[Path]:
    """The picture files, by name: all in the folder itself, or all in subfolders, each of which is a class."""
    paths, _ = listing = list_pictures(root, root.rglob("*"))
    if not paths:
        expected = f"expected files with the suffixes {', '.join(PICTURE_SUFFIXES)}"
        raise DatasetError("; ".join(filter(None, [f"{root} holds no pictures, {expected}", listing.note])))
    depths = {len(path.relative_to(root).parts) for path in paths}
    if depths != {1} and depths != {2}:
        raise _wrong_depth(root, paths)
    if listing.left_out:
        note(f"note: in {root}, {listing.note}")
    if depths == {2} and (empty := _empty_classes(root, {path.parent for path in paths})):
        said = "holds no pictures and is no class" if len(empty) == 1 else "hold no pictures and are no classes"
        note(f"note: {', '.join(empty)} in {root} {said}")
    return paths


def _empty_classes(root: Path, classes: set[Path]) -> list[str]:
    found = [path for path in root.iterdir() if path.is_dir() and path not in classes and not is_hidden(path.name)]
    return sorted((path.name for path in found), key=natural)


def _wrong_depth(root: Path, paths: list[Path]) -> DatasetError:
    """Why pictures that are neither all in a folder itself nor all in its subfolders are refused."""
    parts = [path.relative_to(root).parts for path in paths]
    if len({len(names) for names in parts}) == 1 and len({names[:-2] for names in parts}) == 1:
        return DatasetError(f"the pictures in {root} are all in subfolders of {paths[0].parents[1]}; give that folder")
    deepest, first = max(paths, key=lambda path: len(path.parts)), min(paths, key=lambda path: len(path.parts))
    same = len(deepest.parts) == len(first.parts)
    found = f"{deepest} is in a folder within a folder" if same else f"{deepest} and {first} are at different depths"
    return DatasetError(f"{found}; put all pictures in {root} itself, or all in subfolders of it, one for each class")


def _is_test(sha256: str) -> bool:
    """Whether a hash, read as a fraction of the largest one, is in its last tenth."""
    return int(sha256[:8], 16) >= 0.9 * 2**32


def _labels(paths: list[Path], classes: list[str]) -> Tensor:
    numbers = {name: number for number, name in enumerate(classes)}
    return torch.tensor([numbers[_class(path)] if classes else -1 for path in paths])


def _class(path: Path) -> str:
    """The class of a picture, in the characters that people type: file systems of macOS take letters apart."""
    return unicodedata.normalize("NFC", path.parent.name)


def _md5(hashes: dict[str, str]) -> str:
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(hashes.items()))
    return hashlib.md5(lines.encode(), usedforsecurity=False).hexdigest()
