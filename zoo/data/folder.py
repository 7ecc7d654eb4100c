"""Anyone's own pictures: a folder of image files, or of one subfolder of them for each class."""

import hashlib
import sys
from pathlib import Path

import torch
from torch import Tensor

from aae_zoo.runtime.errors import DatasetError
from aae_zoo.zoo.data.dataset import Dataset, places
from aae_zoo.zoo.data.pictures import DATASET_SUFFIXES, progress, read_pictures


def find_pictures(name: str, place: Path | None) -> Path | None:
    """The folder `place`, or without it the first of the places of `name` that is there, or None.

    Raises:
        DatasetError: `place` is given and is not a folder.
    """
    if place and not place.is_dir():
        raise DatasetError(f"there is no folder of pictures {place}; give the folder of your pictures with --data")
    return place or next((folder for folder in places(name) if folder.is_dir()), None)


def load_pictures(name: str, root: Path, size: int, channels: int) -> Dataset:
    """All pictures of a folder, cut to their central square, as [n, channels, size, size].

    About a tenth of them are the test set. The SHA-256 of a file's content alone decides which, so that a picture
    never changes sides when others are added or removed. Their order is that of the hashes, so that the
    last training images, those for validation, are of all classes.

    Raises:
        DatasetError: the folder is empty or mixed, or a picture is damaged; the message names it.
    """
    paths = _pictures(root)
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in progress(paths, "hashes")}
    ordered = sorted(paths, key=lambda path: hashes[path])
    train = [path for path in ordered if not _is_test(hashes[path])]
    test = [path for path in ordered if _is_test(hashes[path])]
    if min(len(train), len(test)) < 2:
        raise DatasetError(
            f"of the {len(paths)} pictures in {root}, {len(test)} are in the test set, which takes about "
            "a tenth of them, expected 2 or more; give more pictures"
        )
    classes = sorted({path.parent.name for path in paths if path.parent != root})
    return Dataset(
        name=name,
        train_images=read_pictures(train, size, channels),
        train_labels=_labels(train, classes),
        test_images=read_pictures(test, size, channels),
        test_labels=_labels(test, classes),
        label_names=tuple(classes),
        md5s={"names and contents": _md5({path.relative_to(root).as_posix(): hashes[path] for path in paths})},
    )


def _pictures(root: Path) -> list[Path]:
    """The picture files, by name: all in the folder itself, or all in subfolders, each of which is a class."""
    files = sorted((path for path in root.rglob("*") if path.is_file()), key=Path.as_posix)
    paths = [path for path in files if _is_picture(path.relative_to(root))]
    if not paths:
        raise DatasetError(f"{root} holds no pictures, expected files with the suffixes {', '.join(DATASET_SUFFIXES)}")
    top = paths[0].parent == root
    for path in paths:
        if (path.parent if top else path.parent.parent) != root:
            raise DatasetError(
                f"{path} and {paths[0]} are at different depths; put all pictures in {root} itself, or all in "
                "subfolders of it, one for each class"
            )
    if len(paths) < len(files):
        sys.stderr.write(f"note: {len(files) - len(paths)} files in {root} are not pictures and are left out\n")
    return paths


def _is_picture(path: Path) -> bool:
    """Whether a file has a picture's suffix, and is neither hidden nor in a hidden folder."""
    return path.suffix.lower() in DATASET_SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _is_test(sha256: str) -> bool:
    """Whether a hash, read as a fraction of the largest one, is in its last tenth."""
    return int(sha256[:8], 16) >= 0.9 * 2**32


def _labels(paths: list[Path], classes: list[str]) -> Tensor:
    return torch.tensor([classes.index(path.parent.name) if classes else -1 for path in paths])


def _md5(hashes: dict[str, str]) -> str:
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in hashes.items())
    return hashlib.md5(lines.encode(), usedforsecurity=False).hexdigest()
