"""The 8 x 8 digits that come with scikit-learn: 1,797 of them, to train on in seconds without a download.

E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI machine learning repository, 1998.
"""

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import torch

from aae_zoo.runtime.bundles.manifest import Preparation
from aae_zoo.runtime.errors import DatasetError
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.recipe import DataSettings

NAME: Final = "digits"
HUB_NAME: Final = None
COUNTERPART: Final = None
IMAGE_SHAPE: Final = (1, 8, 8)
LICENCE: Final = "CC BY 4.0"
PREPARATION: Final = Preparation(fit="digit", ground="black", polarity="dark", range=None)
_TRAINING: Final = 1437  # four fifths, in the order in which the digits were collected


def load(_settings: DataSettings, place: Path | None) -> Dataset:
    """The first 1,437 digits for training and the last 360 for the test, their values 0 .. 16 as bytes 0 .. 255.

    Raises:
        DatasetError: a folder is given, which these digits are not read from.
    """
    if place:
        raise DatasetError(f"digits comes with scikit-learn and is not read from {place}; leave --data out")
    from sklearn.datasets import load_digits  # slow to import, and only these digits need it

    content = load_digits()
    values = np.rint(content.images * (255 / 16)).astype(np.uint8)
    images, labels = torch.from_numpy(values)[:, None], torch.from_numpy(content.target).long()
    return Dataset(
        name=NAME,
        train_images=images[:_TRAINING],
        train_labels=labels[:_TRAINING],
        test_images=images[_TRAINING:],
        test_labels=labels[_TRAINING:],
        label_names=tuple(map(str, range(10))),
        md5s={"images": _md5(values), "labels": _md5(content.target.astype(np.uint8))},
    )


def _md5(values: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> str:
    return hashlib.md5(values.tobytes(), usedforsecurity=False).hexdigest()
