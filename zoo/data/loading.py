"""Data sets by their names, as recipes ask for them."""

from pathlib import Path
from typing import Final

from torch import Tensor

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.data import folder, idx
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.idx import CANONICAL, FILES, TORCHVISION, find_dataset
from aae_zoo.zoo.datasets import celeba, cifar10, digits, svhn
from aae_zoo.zoo.recipe import DataSettings

__all__ = [
    "CANONICAL",
    "FILES",
    "TORCHVISION",
    "find_dataset",
    "load_data",
    "load_dataset",
    "validation_images",
]

_OF_ONE_SIZE: Final = {"digits": digits.load, "cifar10": cifar10.load, "svhn": svhn.load}


def load_data(settings: DataSettings, place: Path | None = None) -> Dataset:
    """Load the data set that a recipe names, as `load_dataset` does.

    Raises:
        DatasetError: as `load_dataset`.
        InvalidRecipe: as `load_dataset`.
    """
    return load_dataset(settings.dataset, place, size=settings.size, channels=settings.channels)


def load_dataset(
    name: str, place: Path | None = None, *, size: int | None = None, channels: int | None = None
) -> Dataset:
    """Load a data set from the folder `place`, or from the first place that has it, or download it.

    The places are $AAE_ZOO_DATA/<name>, torchvision's layout in the cache folder and /usr/share/datasets/<name>.
    A name that is not known is that of a folder of idx files, or with `size` and `channels` of one of pictures.

    Raises:
        DatasetError: it is nowhere and cannot be downloaded, or a file is damaged or not the canonical one.
        InvalidRecipe: size and channels are given for a data set that has its own, or lack for one that has not.
    """
    if size is None and channels is None and name != "celeba":
        return _OF_ONE_SIZE[name](place) if name in _OF_ONE_SIZE else idx.load(name, place)
    if name in _OF_ONE_SIZE or name in CANONICAL:
        raise InvalidRecipe(f"the images of {name} have their own size; remove data.size and data.channels")
    if size is None or channels is None:
        raise InvalidRecipe(
            f"data.size is {size} and data.channels {channels}, expected both: the pictures of {name} are cut to them"
        )
    if name == "celeba":
        return celeba.load(place, size, channels)
    return folder.load(name, place, size, channels)


def validation_images(settings: DataSettings, dataset: Dataset) -> Tensor:
    """The last training images, uint8 [n, C, H, W], which a recipe keeps for validation."""
    return dataset.train_images[-settings.validation_count(len(dataset.train_images)) :]
