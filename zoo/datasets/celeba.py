"""CelebA: 202,599 photographs of faces (Liu et al., "Deep learning face attributes in the wild", ICCV 2015)."""

from pathlib import Path
from typing import Final

import torch

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.pictures import read_pictures
from aae_zoo.zoo.data.torchvision import open_torchvision
from aae_zoo.zoo.recipe import DataSettings

NAME: Final = "celeba"
HUB_NAME: Final = None
COUNTERPART: Final = None
IMAGE_SHAPE: Final = None
LICENCE: Final = "non-commercial research only"
PREPARATION: Final = USUAL_PREPARATION


def load(settings: DataSettings, place: Path | None) -> Dataset:
    """The aligned faces, cut to their central square, as [n, channels, size, size], without labels.

    Its own validation images are the last 19,867 of the training images: a recipe that keeps so many keeps those.

    Raises:
        DatasetError: as `open_torchvision`, or a picture is damaged.
        InvalidRecipe: data.size or data.channels is not given.
    """
    from torchvision.datasets import CelebA  # slow to import, and only colour data sets need it

    size, channels = settings.cut
    parts = open_torchvision(
        NAME,
        place,
        CelebA.base_folder,
        lambda root, download: [
            CelebA(root, split, target_type=[], download=download) for split in ("train", "valid", "test")
        ],
    )
    folder = Path(parts[0].root) / CelebA.base_folder / "img_align_celeba"
    train, validation, test = ([folder / name for name in part.filename] for part in parts)
    return Dataset(
        name=NAME,
        train_images=read_pictures([*train, *validation], size, channels),
        train_labels=torch.full((len(train) + len(validation),), -1),
        test_images=read_pictures(test, size, channels),
        test_labels=torch.full((len(test),), -1),
        label_names=(),
        md5s={name: md5 for _, md5, name in CelebA.file_list if name.endswith(".txt")},
    )
