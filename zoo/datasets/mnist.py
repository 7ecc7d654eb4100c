"""MNIST: 28 x 28 gray handwritten digits.

Y. LeCun et al., "Gradient-based learning applied to document recognition", Proceedings of the IEEE 86, 1998.
"""

from pathlib import Path
from typing import Final

from aae_zoo.runtime.bundles.manifest import Preparation
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.idx import load_canonical
from aae_zoo.zoo.recipe import DataSettings

NAME: Final = "mnist"
HUB_NAME: Final = "ylecun/mnist"
COUNTERPART: Final = "fashion-mnist"
IMAGE_SHAPE: Final = (1, 28, 28)
LICENCE: Final = "CC BY-SA 3.0"
PREPARATION: Final = Preparation(fit="digit", ground="black", polarity="dark", range=None)
LABEL_NAMES: Final = tuple("0123456789")
MD5S: Final = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load(_settings: DataSettings, place: Path | None) -> Dataset:
    """The 60,000 training and 10,000 test images.

    Raises:
        DatasetError: as `load_canonical`.
    """
    return load_canonical(NAME, place, torchvision="MNIST", label_names=LABEL_NAMES, md5s=MD5S)
