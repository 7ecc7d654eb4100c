"""Data sets in torchvision's layouts, which torchvision itself finds whole, checks by its md5s, and downloads."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from aae_zoo.runtime.errors import DatasetError
from aae_zoo.zoo.data.dataset import download_errors, places, torchvision_root

Opened = TypeVar("Opened")


def open_torchvision(name: str, folder: Path | None, mark: str, open_at: Callable[[Path, bool], Opened]) -> Opened:
    """Open torchvision's data set with `open_at`, which is given a root, and whether it may download it there first.

    `mark` is the file or folder at the root that shows that the data set is there. It is looked for in `folder`, or
    in the places of `name`, and only then in the cache, into which torchvision downloads what is missing.

    Raises:
        DatasetError: `folder` does not hold it, it is damaged, or it is nowhere and cannot be downloaded.
    """
    looked = [folder, folder / name] if folder else places(name)
    for place in looked:
        root = place.parent if place.name == mark and not os.path.exists(place / mark) else place
        if os.path.exists(root / mark):
            return _open(name, root, mark, open_at)
    if folder:
        raise DatasetError(f"{folder} does not hold {name}, expected {mark} in it, as torchvision lays it out")
    mend = f"put {mark} in a folder, as torchvision lays it out, and give it with --data"
    with download_errors(name, places(name, torchvision_root()), mend):
        return open_at(torchvision_root(), True)


def _open(name: str, root: Path, mark: str, open_at: Callable[[Path, bool], Opened]) -> Opened:
    try:
        return open_at(root, False)
    except (OSError, RuntimeError) as error:
        raise DatasetError(
            f"{name} in {root / mark} lacks files, or one does not have its canonical md5 ({error}); "
            "get them again, or move them away to have them downloaded"
        ) from None
