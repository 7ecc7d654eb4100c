"""The images that the command line's --data names, read as those of every other command are."""

from pathlib import Path
from typing import Any, Final, Literal, cast

from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.errors import DatasetError, InvalidInput
from aae_zoo.runtime.formats.folders import list_pictures
from aae_zoo.runtime.formats.idx import is_idx, read_idx
from aae_zoo.runtime.formats.images import check_images
from aae_zoo.runtime.formats.pictures import read_array, read_labels
from aae_zoo.runtime.formats.plan import Plan
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.folder import load_pictures
from aae_zoo.zoo.data.idx import FILES, find_idx, read_dataset
from aae_zoo.zoo.recipe import DataSettings, plain

Shape = tuple[int, int, int]
_CHANNELS: Final = 4  # at most


def read_data(place: Path | None, image: Shape | None) -> tuple[Any, Any]:
    """Images as `export_modules` takes them, and labels or None; with `image` made to fit (C, H, W).

    Raises:
        InvalidInput: there is no such place, or it cannot be read.
        DatasetError: a folder of pictures or idx files cannot be read.
    """
    if place is None:
        raise InvalidInput("networks of your own need images; give a folder of pictures or an .npz file with --data")
    if place.is_dir():
        return _folder(place, image)
    if image is not None:
        return check_images(place, Plan(ImageShape(*image), resize=True)), _labels(place)
    if place.suffix.lower() in (".npy", ".npz"):
        return _channels_first(read_array(place, ("images", "image"))), _labels(place)
    if place.is_file() and is_idx(place):
        return read_idx(place), None
    if not place.exists():
        raise InvalidInput(f"there is no {place}; give a folder of pictures or an .npz file with --data")
    if place.suffix.lower() == ".csv":
        raise InvalidInput(
            f"{place} does not say which shape its images have; let the function return image: (C, H, W) too"
        )
    raise InvalidInput(
        f"{place} is not a file of images that aae-zoo reads; give a folder of pictures, or an .npz file with an array "
        "images and maybe labels, with --data"
    )


def _channels_first(images: NDArray[Any]) -> NDArray[Any]:
    """Images [n, C, H, W], of [n, H, W, C] too, as most programs keep them, where that is certain."""
    shape = images.shape
    is_last = len(shape) == len("NHWC") and shape[1] > _CHANNELS and 1 <= shape[3] <= _CHANNELS
    return images.transpose(0, 3, 1, 2) if is_last else images


def _labels(path: Path) -> Any:
    """The labels of a file that has some beside its images; those in a column, as some keep them, as a row."""
    if path.suffix.lower() not in (".npy", ".npz") or (labels := read_labels(path)) is None:
        return None
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _folder(place: Path, image: Shape | None) -> tuple[Any, Any]:
    name = plain(place.resolve().name) or "own-images"
    if any(place.glob(f"{FILES[0].partition('-idx')[0]}*")) and (paths := find_idx(name, place)):
        return read_dataset(name, paths), None
    channels, height, width = image or _common_shape(place)
    if height != width or channels not in (1, 3):
        return check_images(place, Plan(ImageShape(channels, height, width), resize=True)), None
    settings = DataSettings(dataset=name, validation=2, size=height, channels=cast(Literal[1, 3], channels))
    dataset: Dataset = load_pictures(place, settings)
    return dataset, None


def _common_shape(place: Path) -> Shape:
    """The shape that all pictures of a folder have: gray where all are."""
    found = {_shape(path) for path in list_pictures(place, place.rglob("*")).pictures} - {None}
    sizes = {(shape[1], shape[2]) for shape in found if shape}
    if len(sizes) > 1:
        raise InvalidInput(
            f"the pictures in {place} have {len(sizes)} sizes; let the function return image: (C, H, W) too, and they "
            "are made to fit"
        )
    if not sizes:
        raise DatasetError(f"{place} holds no pictures; give the folder of your pictures with --data")
    ((height, width),) = sizes
    return max(shape[0] for shape in found if shape), height, width


def _shape(path: Path) -> Shape | None:
    """The shape of a picture, or None where it cannot be read, which is said when it is."""
    if not path.is_file():  # to open a pipe would wait for ever
        return None
    try:
        with Image.open(path) as picture:
            return (1 if picture.mode in ("1", "L", "I;16", "I", "F") else 3, picture.height, picture.width)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
