"""CIFAR-10: 32 x 32 colour photographs of ten classes (A. Krizhevsky, "Learning multiple layers of features", 2009)."""

from pathlib import Path
from typing import Final

import torch

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.torchvision import open_torchvision
from aae_zoo.zoo.recipe import DataSettings

NAME: Final = "cifar10"
HUB_NAME: Final = "uoft-cs/cifar10"
COUNTERPART: Final = None
IMAGE_SHAPE: Final = (3, 32, 32)
LICENCE: Final = ""
PREPARATION: Final = USUAL_PREPARATION


def load(_settings: DataSettings, place: Path | None) -> Dataset:
    """The 50,000 training and 10,000 test images.

    Raises:
        DatasetError: as `open_torchvision`.
    """
    from torchvision.datasets import CIFAR10  # slow to import, and only colour data sets need it

    train, test = open_torchvision(
        NAME,
        place,
        CIFAR10.base_folder,
        lambda root, download: [CIFAR10(root, train=part, download=download) for part in (True, False)],
    )
    return Dataset(
        name=NAME,
        train_images=torch.from_numpy(train.data).permute(0, 3, 1, 2).contiguous(),
        train_labels=torch.tensor(train.targets),
        test_images=torch.from_numpy(test.data).permute(0, 3, 1, 2).contiguous(),
        test_labels=torch.tensor(test.targets),
        label_names=tuple(train.classes),
        md5s=dict([*CIFAR10.train_list, *CIFAR10.test_list]),
    )
