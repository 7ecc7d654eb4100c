"""What a recipe asks of its data set and of the processes that train: enough images, the same classes, equal shares."""

from collections.abc import Sequence

from aae_zoo.runtime.errors import InvalidRecipe, TrainingError
from aae_zoo.runtime.words import counted
from aae_zoo.zoo.data.dataset import Attribute, Dataset
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.recipe import TrainingSettings


def check_enough(dataset: Dataset, settings: TrainingSettings, kept: int) -> None:
    """Of an epoch's training images, less the `kept` ones for validation, there has to be one batch.

    One test image alone is not a sample, which has a variance and can be compared with the prior.

    Raises:
        TrainingError: there are too few.
    """
    total = len(dataset.train_images)
    if total <= kept or not settings.steps_per_epoch(total - kept):
        raise TrainingError(
            f"{dataset.name} has {total} training images, of which {kept} are for validation: "
            f"too few for a batch of {settings.batch}; set data.validation or training.batch lower"
        )
    if len(dataset.test_images) < 2:
        raise TrainingError(
            f"{dataset.name} has {counted(len(dataset.test_images), 'test image')}, expected 2 or more "
            "to measure the model on; give more"
        )


def check_attributes(prior: BasePrior, told: Sequence[Attribute]) -> None:
    """The prior has to choose among as many values as each attribute has that training is told.

    Raises:
        InvalidRecipe: it does not.
    """
    counts = [len(attribute.labels) for attribute in told]
    if counts != [*prior.widths]:
        mend = f"set prior.kind = 'attributes' and prior.classes = {counts}" if told else "name them there"
        raise InvalidRecipe(
            f"the prior has attributes with {[*prior.widths]} values, but those that data.attributes "
            f"names have {counts}; {mend}"
        )


def check_classes(prior: BasePrior, dataset: Dataset) -> None:
    """A prior that has classes has to have one for each label, where training knows any.

    Raises:
        InvalidRecipe: it does not.
    """
    classes, names = prior.classes, dataset.label_names
    if classes not in (0, len(names)) and not prior.widths:
        raise InvalidRecipe(
            f"prior.classes is {classes}, but {dataset.name} has {len(names)} classes; "
            f"set prior.classes to {len(names)}"
        )


def check_shares(settings: TrainingSettings, processes: int, *, some_known: bool) -> None:
    """Gradients are averaged over the processes, so that each has to have as many images as every other.

    One image alone has no variance to be normalised by, and is not a sample to compare with the prior.

    Raises:
        TrainingError: a batch cannot be shared so.
    """
    sizes = {"batch": settings.batch, "labelled_batch": settings.labelled_batch if some_known else 0}
    for name, size in sizes.items():
        if size % processes:
            raise TrainingError(
                f"training.{name} is {size}, expected a multiple of the {processes} processes; "
                f"give another --num_processes, or --set training.{name}"
            )
        if size == processes:
            raise TrainingError(
                f"training.{name} is {size}, expected {2 * size} or more, so that each process has two images; "
                f"give --set training.{name}={2 * size}"
            )
