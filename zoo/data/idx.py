"""Folders of idx files, as MNIST has them: found here before anything is downloaded, and checked by their md5s."""

import hashlib
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

# md5s of the uncompressed files, in the order of FILES: a re-packed .gz has another md5, its content has not.
CANONICAL: Final = {
    "mnist": (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    "fashion-mnist": (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
}
TORCHVISION: Final = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
LABELS: Final = {
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}


def load(name: str, folder: Path | None) -> Dataset:
    """Load a data set from `folder`, or from the first place that has it, or download it.

    Raises:
        DatasetError: it is nowhere and cannot be downloaded, or a file is damaged or not the canonical one.
    """
    paths = find_dataset(name, folder) or _download(name)
    arrays, md5s = zip(*(_read(path, name, index) for index, path in enumerate(paths)), strict=True)
    train_images, train_labels, test_images, test_labels = (torch.from_numpy(a.copy()) for a in arrays)
    for images, labels, which in ((train_images, train_labels, "train"), (test_images, test_labels, "t10k")):
        if images.ndim != 3 or labels.shape != images.shape[:1] or len(images) == 0:
            raise DatasetError(
                f"{name}: {which} images have shape {list(images.shape)} and labels {list(labels.shape)}, "
                "expected [n, H, W] and [n] with n >= 1"
            )
    classes = int(train_labels.max()) + 1
    return Dataset(
        name=name,
        train_images=train_images[:, None],
        train_labels=train_labels.long(),
        test_images=test_images[:, None],
        test_labels=test_labels.long(),
        label_names=LABELS.get(name, tuple(map(str, range(classes)))),
        md5s=dict(zip(FILES, md5s, strict=True)),
    )


def find_dataset(name: str, folder: Path | None) -> list[Path] | None:
    """The paths of a data set's four files, in the order of FILES, in the first place that has all of them, or None.

    Raises:
        DatasetError: `folder` is given and does not hold them.
    """
    for place in [folder, folder / name] if folder else _places(name):
        paths = [p for file in FILES for p in (place / file, place / f"{file}.gz") if p.is_file()]
        if len({p.name.removesuffix(".gz") for p in paths}) == len(FILES):
            return [next(p for p in paths if p.name.startswith(file)) for file in FILES]
    if folder:
        raise DatasetError(f"{folder} does not hold {name}, expected the files {', '.join(FILES)}, plain or .gz")
    return None


def _places(name: str) -> list[Path]:
    return places(name, torchvision_root() / TORCHVISION[name] / "raw" if name in TORCHVISION else None)


def _download(name: str) -> list[Path]:
    looked = _places(name)
    if name not in TORCHVISION:
        raise DatasetError(f"there is no data set {name} in {', '.join(map(str, looked))}; give its folder with --data")
    import torchvision.datasets  # slow to import, and only a first use needs it

    root = torchvision_root()
    mend = "put its four files in a folder and give it with --data, or set AAE_ZOO_DATA to its parent"
    with download_errors(name, looked, mend):
        getattr(torchvision.datasets, TORCHVISION[name])(root, download=True)
    found = find_dataset(name, root / TORCHVISION[name] / "raw")
    assert found is not None  # noqa: S101 - with a folder given, it returns or raises
    return found


def _read(path: Path, name: str, index: int) -> tuple[NDArray[np.uint8], str]:
    """One file's array, and the md5 of its uncompressed bytes."""
    try:
        array = read_idx(path)
    except InvalidInput as error:
        raise DatasetError(str(error)) from None
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    md5 = hashlib.md5(header + array.tobytes(), usedforsecurity=False).hexdigest()
    if name in CANONICAL and md5 != CANONICAL[name][index]:
        raise DatasetError(f"{path} has md5 {md5} uncompressed, expected {CANONICAL[name][index]}; get the file again")
    return array, md5
