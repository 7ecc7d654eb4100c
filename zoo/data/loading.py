"""Data sets by their names, as recipes ask for them."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from pydantic import ValidationError
from torch import Tensor

from aae_zoo.runtime.errors import DatasetError, InvalidRecipe
from aae_zoo.zoo.data.dataset import Dataset, Declaration, places
from aae_zoo.zoo.data.folder import find_pictures, load_pictures
from aae_zoo.zoo.data.idx import find_idx, read_dataset
from aae_zoo.zoo.parts import kinds, load_part, nearest_first
from aae_zoo.zoo.recipe import DataSettings


def declarations() -> dict[str, Declaration]:
    """What each file of zoo/datasets/ declares, by the name of its data set."""
    found = [cast(Declaration, load_part("datasets", kind)) for kind in kinds("datasets")]
    return {declaration.NAME: declaration for declaration in found}


def load_data(settings: DataSettings, place: Path | None = None) -> Dataset:
    """Load the data set that a recipe names from the folder `place`, or from the first place that has it.

    The places are $AAE_ZOO_DATA/<name>, torchvision's layout in the cache folder and /usr/share/datasets/<name>; what
    is in none of them is downloaded, where the data set's own file says how. A name that no file declares is that of
    a folder of idx files, or with data.size and data.channels of one of pictures. With data.only it is that class.

    Raises:
        DatasetError: it is nowhere and cannot be downloaded, or a file is damaged or not the canonical one.
        InvalidRecipe: size and channels are given for a data set that has its own, or missing for one that needs them;
            or it has no class data.only, or not all of data.attributes.
    """
    dataset = with_attributes(_load_all(settings, place), settings)
    return dataset if settings.only is None else one_class(dataset, settings.only)


def with_attributes(dataset: Dataset, settings: DataSettings) -> Dataset:
    """The data set with the attributes that a recipe names, in that order, where it names any.

    Raises:
        InvalidRecipe: the data set does not have one of them.
    """
    known = [attribute.name for attribute in dataset.attributes]
    if missing := [name for name in settings.attributes if name not in known]:
        has = f"one of {', '.join(nearest_first(missing[0], known))}" if known else "none, as it tells nothing"
        raise InvalidRecipe(f"data.attributes has {missing[0]!r}, which {dataset.name} does not tell, expected {has}")
    if not settings.attributes or dataset.train_attributes is None or dataset.test_attributes is None:
        return dataset
    places = [known.index(name) for name in settings.attributes]
    return replace(
        dataset,
        attributes=tuple(dataset.attributes[place] for place in places),
        train_attributes=dataset.train_attributes[:, places],
        test_attributes=dataset.test_attributes[:, places],
    )


def one_class(dataset: Dataset, label: int) -> Dataset:
    """The images of one class alone, for training and for testing.

    Raises:
        InvalidRecipe: there is no such class, or it has no images.
    """
    training, test = dataset.train_labels == label, dataset.test_labels == label
    others = dataset.test_images[~test]
    if not training.any() or not test.any():
        last = int(dataset.train_labels.max())
        expected = f"expected one from 0 to {last}" if last >= 0 else "whose images have no classes; leave it out"
        raise InvalidRecipe(f"data.only is {label}, a class of which {dataset.name} has no images, {expected}")
    return replace(
        dataset,
        train_images=dataset.train_images[training],
        train_labels=dataset.train_labels[training],
        test_images=dataset.test_images[test],
        test_labels=dataset.test_labels[test],
        left_out=others if len(others) else None,
        train_attributes=None if dataset.train_attributes is None else dataset.train_attributes[training],
        test_attributes=None if dataset.test_attributes is None else dataset.test_attributes[test],
    )


def _load_all(settings: DataSettings, place: Path | None) -> Dataset:
    known, sized = declarations(), settings.size is not None or settings.channels is not None
    if declared := known.get(settings.dataset):
        if declared.IMAGE_SHAPE and sized:
            raise InvalidRecipe(
                f"the images of {settings.dataset} have their own size; remove data.size and data.channels"
            )
        if settings.prepares:
            raise InvalidRecipe(f"{settings.dataset} is prepared in its own way; remove data.fit and data.range")
        dataset = declared.load(settings, place)
        return replace(dataset, licence=declared.LICENCE, preparation=declared.PREPARATION)
    pictures = sized or settings.prepares
    found = _pictures(settings, place) if pictures else _idx(settings, place)
    if found is None:
        raise DatasetError(
            f"there is no data set {settings.dataset} in {', '.join(map(str, places(settings.dataset)))}; "
            f"give its folder with --data, or name one of {', '.join(nearest_first(settings.dataset, known))}"
        )
    return found


def load_dataset(
    name: str, place: Path | None = None, *, size: int | None = None, channels: Literal[1, 3] | None = None
) -> Dataset:
    """Load a data set by its name, as `load_data` does for a recipe.

    Raises:
        DatasetError: as `load_data`, or no data set can have this name.
        InvalidRecipe: as `load_data`.
    """
    try:
        settings = DataSettings(dataset=name, validation=0.1, size=size, channels=channels)
    except ValidationError as error:
        raise DatasetError(f"there is no data set {name!r}: {error.errors()[0]['msg']}") from None
    return load_data(settings, place)


def validation_images(settings: DataSettings, dataset: Dataset) -> Tensor:
    """The last training images, uint8 [n, C, H, W], which a recipe keeps for validation."""
    return dataset.train_images[-settings.validation_count(len(dataset.train_images)) :]


def _pictures(settings: DataSettings, place: Path | None) -> Dataset | None:
    folder = find_pictures(settings.dataset, place)
    return load_pictures(folder, settings) if folder else None


def _idx(settings: DataSettings, place: Path | None) -> Dataset | None:
    paths = find_idx(settings.dataset, place)
    return read_dataset(settings.dataset, paths) if paths else None
