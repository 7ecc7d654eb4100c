"""CelebA: 202,599 photographs of faces (Liu et al., "Deep learning face attributes in the wild", ICCV 2015)."""

from pathlib import Path

import torch

from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.pictures import read_pictures
from aae_zoo.zoo.data.torchvision import open_torchvision


def load(folder: Path | None, size: int, channels: int) -> Dataset:
    """The aligned faces, cut to their central square, as [n, channels, size, size], without labels.

    Its own validation images are the last 19,867 of the training images: a recipe that keeps so many keeps those.

    Raises:
        DatasetError: as `open_torchvision`, or a picture is damaged.
    """
    from torchvision.datasets import CelebA  # slow to import, and only colour data sets need it

    parts = open_torchvision(
        "celeba",
        folder,
        CelebA.base_folder,
        lambda root, download: [
            CelebA(root, split, target_type=[], download=download) for split in ("train", "valid", "test")
        ],
    )
    place = Path(parts[0].root) / CelebA.base_folder / "img_align_celeba"
    train, validation, test = ([place / name for name in part.filename] for part in parts)
    return Dataset(
        name="celeba",
        train_images=read_pictures([*train, *validation], size, channels),
        train_labels=torch.full((len(train) + len(validation),), -1),
        test_images=read_pictures(test, size, channels),
        test_labels=torch.full((len(test),), -1),
        label_names=(),
        md5s={name: md5 for _, md5, name in CelebA.file_list if name.endswith(".txt")},
    )
