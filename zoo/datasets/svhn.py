"""SVHN: 32 x 32 photographs of house numbers' digits (Netzer et al., "Reading digits in natural images", 2011)."""

from pathlib import Path
from typing import Final

import numpy as np
import torch

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.torchvision import open_torchvision
from aae_zoo.zoo.recipe import DataSettings

NAME: Final = "svhn"
HUB_NAME: Final = "ufldl-stanford/svhn"
COUNTERPART: Final = None
IMAGE_SHAPE: Final = (3, 32, 32)
LICENCE: Final = "non-commercial use only"
PREPARATION: Final = USUAL_PREPARATION


def load(_settings: DataSettings, place: Path | None) -> Dataset:
    """The 73,257 training and 26,032 test images; the 531,131 easier extra ones are left out.

    Raises:
        DatasetError: as `open_torchvision`.
    """
    from torchvision.datasets import SVHN  # slow to import, and only colour data sets need it

    train, test = open_torchvision(
        NAME,
        place,
        SVHN.split_list["train"][1],
        lambda root, download: [SVHN(root, split=split, download=download) for split in ("train", "test")],
    )
    return Dataset(
        name=NAME,
        train_images=torch.from_numpy(np.ascontiguousarray(train.data)),
        train_labels=torch.from_numpy(train.labels),
        test_images=torch.from_numpy(np.ascontiguousarray(test.data)),
        test_labels=torch.from_numpy(test.labels),
        label_names=tuple(map(str, range(10))),
        md5s={SVHN.split_list[split][1]: SVHN.split_list[split][2] for split in ("train", "test")},
    )
