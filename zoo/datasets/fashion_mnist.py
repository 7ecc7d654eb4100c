"""Fashion-MNIST: 28 x 28 gray photographs of clothes, in MNIST's format (Xiao et al., arXiv 1708.07747)."""

from pathlib import Path
from typing import Final

from aae_zoo.runtime.bundles.manifest import Preparation
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.idx import load_canonical
from aae_zoo.zoo.recipe import DataSettings

NAME: Final = "fashion-mnist"
HUB_NAME: Final = "zalando-datasets/fashion_mnist"
COUNTERPART: Final = "mnist"
IMAGE_SHAPE: Final = (1, 28, 28)
LICENCE: Final = "MIT"
PREPARATION: Final = Preparation(fit="pad", ground="black", polarity="dark", range=None)
LABEL_NAMES: Final = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
MD5S: Final = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


def load(_settings: DataSettings, place: Path | None) -> Dataset:
    """The 60,000 training and 10,000 test images.

    Raises:
        DatasetError: as `load_canonical`.
    """
    return load_canonical(NAME, place, torchvision="FashionMNIST", label_names=LABEL_NAMES, md5s=MD5S)
