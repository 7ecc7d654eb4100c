"""Folders of idx files, as MNIST has them: found here before anything is downloaded, and checked by their md5s."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from aae_zoo.runtime.errors import DatasetError, InvalidInput
from aae_zoo.runtime.formats.idx import read_idx
from aae_zoo.zoo.data.dataset import Dataset, download_errors, places, torchvision_root

FILES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def load_canonical(
    name: str, place: Path | None, *, torchvision: str, label_names: Sequence[str], md5s: Mapping[str, str]
) -> Dataset:
    """Load a data set that torchvision downloads, by the name of its class there, from where it is or after that.

    `md5s` are those of the uncompressed files, by the names in FILES: a file that is compressed again has another
    md5, but not its content.

    Raises:
        DatasetError: `place` does not hold it, it is nowhere and cannot be downloaded, or a file is damaged or not
            the canonical one.
    """
    cached = torchvision_root() / torchvision / "raw"
    paths = find_idx(name, place, cached)
    if paths is None:
        paths = _download(name, torchvision, cached)
    return read_dataset(name, paths, label_names=label_names, md5s=md5s)


def find_idx(name: str, place: Path | None, cached: Path | None = None) -> list[Path] | None:
    """The paths of a data set's four files, in the order of FILES, in the first place that has all of them, or None.

    The places are `place`, or without it those of `places`.

    Raises:
        DatasetError: `place` is given and does not hold them.
    """
    for folder in [place, place / name] if place else places(name, cached):
        paths = [path for file in FILES if (path := _find(folder, file))]
        if len(paths) == len(FILES):
            return paths
    if place:
        raise DatasetError(f"{place} does not hold {name}, expected the files {', '.join(FILES)}, plain or .gz")
    return None


def _find(folder: Path, file: str) -> Path | None:
    """A file by its name, or as Kaggle has it: with a dot before idx, or in a folder of its own name; plain or .gz."""
    names = [name + suffix for name in (file, file.replace("-idx", ".idx")) for suffix in ("", ".gz")]
    places = [place for name in names for place in (folder / name, folder / name / name)]
    return next((place for place in places if os.path.isfile(place)), None)


def read_dataset(
    name: str, paths: Sequence[Path], *, label_names: Sequence[str] = (), md5s: Mapping[str, str] | None = None
) -> Dataset:
    """Read the four files at `paths`, in the order of FILES; without `label_names` the labels are their own names.

    Raises:
        DatasetError: a file is damaged or has another md5 than in `md5s`, or images and labels do not fit.
    """
    arrays, found = zip(*map(_read, paths), strict=True)
    for path, file, md5 in zip(paths, FILES, found, strict=True):
        if md5s and md5 != md5s[file]:
            raise DatasetError(f"{path} has md5 {md5} uncompressed, expected {md5s[file]}; get the file again")
    train_images, train_labels, test_images, test_labels = (torch.from_numpy(a.copy()) for a in arrays)
    for images, labels, which in ((train_images, train_labels, "train"), (test_images, test_labels, "t10k")):
        if images.ndim != 3 or labels.shape != images.shape[:1] or len(images) == 0:
            raise DatasetError(
                f"{name}: {which} images have shape {list(images.shape)} and labels {list(labels.shape)}, "
                "expected [n, H, W] and [n] with n >= 1"
            )
    return Dataset(
        name=name,
        train_images=train_images[:, None],
        train_labels=train_labels.long(),
        test_images=test_images[:, None],
        test_labels=test_labels.long(),
        label_names=tuple(label_names) or tuple(map(str, range(int(train_labels.max()) + 1))),
        md5s=dict(zip(FILES, found, strict=True)),
    )


def _download(name: str, torchvision: str, cached: Path) -> list[Path]:
    import torchvision.datasets as classes  # slow to import, and only a first use needs it

    mend = "put its four files in a folder and give it with --data, or set AAE_ZOO_DATA to its parent"
    with download_errors(name, places(name, cached), mend):
        getattr(classes, torchvision)(torchvision_root(), download=True)
    found = find_idx(name, cached)
    assert found is not None  # noqa: S101 - with a place given, it returns or raises
    return found


def _read(path: Path) -> tuple[NDArray[np.uint8], str]:
    """One file's array, and the md5 of its uncompressed bytes."""
    try:
        array = read_idx(path)
    except InvalidInput as error:
        raise DatasetError(str(error)) from None
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return array, hashlib.md5(header + array.tobytes(), usedforsecurity=False).hexdigest()
