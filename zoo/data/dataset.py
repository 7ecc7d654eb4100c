"""What every data set declares, what it is once it is loaded, and the places on this machine where it is looked for."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION, Preparation
from aae_zoo.runtime.errors import DatasetError
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.store.cache import cache_folder
from aae_zoo.zoo.recipe import DataSettings


@dataclass(frozen=True)
class Attribute:
    """One thing that is said of every image, such as its hair's colour, and the values that it has."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """Images as uint8 [n, C, H, W] and labels as int64 [n], in memory, with the md5 of each file they came from.

    A data set without labels has no `label_names`, and every label is -1. `licence` is empty where nobody has said;
    `preparation` is how a picture becomes an image like those here. Of one class alone, `left_out` are the test images
    of the others, if there are any. `train_attributes` and `test_attributes` are int64 [n, len(attributes)]: which of
    its labels each attribute has on each image.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    label_names: tuple[str, ...]
    md5s: dict[str, str]
    licence: str = ""
    preparation: Preparation = USUAL_PREPARATION
    left_out: Tensor | None = None
    attributes: tuple[Attribute, ...] = ()
    train_attributes: Tensor | None = None
    test_attributes: Tensor | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        c, h, w = self.train_images.shape[1:]
        return (c, h, w)


class Declaration(Protocol):
    """What a file of zoo/datasets/ declares of its data set.

    NAME         what recipes call it
    HUB_NAME     its name on the Hugging Face Hub, for model cards; None where the Hub does not have it
    COUNTERPART  the data set of the same image shape whose images are anomalies to a model of this one, or None
    IMAGE_SHAPE  (C, H, W) of its images; None where they are pictures that data.size and data.channels cut
    LICENCE      that of the data, empty where its makers have not said
    PREPARATION  how a picture of any kind becomes an image like those of it
    """

    NAME: str
    HUB_NAME: str | None
    COUNTERPART: str | None
    IMAGE_SHAPE: tuple[int, int, int] | None
    LICENCE: str
    PREPARATION: Preparation

    def load(self, settings: DataSettings, place: Path | None) -> Dataset:
        """Load it from the folder `place`, or from the first of its places that has it, or download it.

        Raises:
            DatasetError: it is nowhere and cannot be downloaded, or damaged.
        """
        ...


def to_float(images: Tensor) -> Tensor:
    """Bytes as float32 in [0, 1]."""
    return images.float() / 255


def as_float(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1], of bytes or of what is that already."""
    return images if images.is_floating_point() else to_float(images)


def places(name: str, cached: Path | None = None) -> list[Path]:
    """Where a data set may be: $AAE_ZOO_DATA/<name>, `cached` of the user's cache, /usr/share/datasets/<name>."""
    environment = os.environ.get("AAE_ZOO_DATA")
    found = [Path(environment) / name if environment else None, cached, Path("/usr/share/datasets") / name]
    return [place for place in found if place]


def torchvision_root() -> Path:
    """Where torchvision looks for data sets and downloads them to: a folder of the user's cache."""
    return cache_folder() / "datasets"


@contextmanager
def download_errors(name: str, looked: Iterable[Path], mend: str) -> Iterator[None]:
    """Turn any error of a download into one of ours; what it prints is progress, so it goes to stderr.

    Raises:
        DatasetError: the data set is in none of the places that were looked at, and cannot be downloaded.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Exception as error:  # of the network, of archives, of the download's own tools
        reason = words_of(error)
        where = ", ".join(map(str, looked))
        raise DatasetError(f"{name} is not in {where}, and cannot be downloaded ({reason}); {mend}") from None
