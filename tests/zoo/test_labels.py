"""Which labels training may know, and how errors of classes are counted."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import RECIPE

from aae_zoo.runtime.errors import InvalidRecipe, TrainingError
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.known_labels import known_labels
from aae_zoo.zoo.measure.class_error import clusters_of, percent_wrong
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.recipe import Recipe, load_recipe
from aae_zoo.zoo.training.trainer import Trainer

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def recipe(tmp_path: Path) -> MakeRecipe:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace('dataset = "small"', 'dataset = "mnist"'))
    return lambda *overrides: load_recipe(str(path), overrides)


def test_known_labels_are_of_every_class_as_many(mnist: Dataset, recipe: MakeRecipe) -> None:
    known = known_labels(mnist, recipe("data.labels=100", "data.validation=10000"))
    assert known.unique().tolist() == known.tolist()
    assert int(known.max()) < 50_000  # none is kept for validation
    assert mnist.train_labels[known].bincount().tolist() == [10] * 10


def test_known_labels_are_the_seed_s(mnist: Dataset, recipe: MakeRecipe) -> None:
    first, again, other = (
        known_labels(mnist, recipe("data.labels=100", f"training.seed={seed}")).tolist() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_none_and_all(mnist: Dataset, recipe: MakeRecipe) -> None:
    assert len(known_labels(mnist, recipe("data.labels=0"))) == 0
    assert len(known_labels(mnist, recipe("data.labels=-1", "data.validation=10000"))) == 50_000


@pytest.mark.parametrize("labels", [5, 101, 59_000])
def test_labels_that_cannot_be_shared_out(mnist: Dataset, recipe: MakeRecipe, labels: int) -> None:
    with pytest.raises(TrainingError, match=f"data.labels is {labels}, expected a multiple of the 10 classes of mnist"):
        known_labels(mnist, recipe(f"data.labels={labels}"))


def test_images_without_labels_tell_none(mnist: Dataset, recipe: MakeRecipe) -> None:
    unlabelled = replace(mnist, train_labels=torch.full_like(mnist.train_labels, -1), label_names=())
    assert len(known_labels(unlabelled, recipe("data.labels=0"))) == 0
    for labels in (-1, 10):
        with pytest.raises(TrainingError, match=f"data.labels is {labels}, but the images of mnist have no labels"):
            known_labels(unlabelled, recipe(f"data.labels={labels}"))


def test_each_class_has_an_image_to_learn_from(mnist: Dataset, recipe: MakeRecipe) -> None:
    labels = mnist.train_labels.clone()
    labels[:-1][labels[:-1] == 7] = 1  # the last image is kept for validation
    labels[-1] = 7
    few = replace(mnist, train_labels=labels)
    with pytest.raises(TrainingError, match="mnist has no training image of the class '7'"):
        known_labels(few, recipe("data.labels=-1"))
    assert len(known_labels(few, recipe("data.labels=0"))) == 0


@pytest.mark.parametrize(
    ("packaged", "override", "message"),
    [
        ("mnist-style", "data.labels=100", "labels of all 50000 training images, and knows those of 100"),
        ("mnist-semi100", "data.labels=-1", "labels of some training images, and knows those of all 50000"),
        ("mnist-semi100", "data.labels=0", "objective.label_weight is 50, and training knows 0 labels; set"),
        ("mnist-semi100", "objective.label_weight=0.0", "objective.label_weight is 0, and training knows 100 labels"),
        ("mnist-style", "prior.classes=8", "prior.classes is 8, but mnist has 10 classes"),
        ("mnist-style", "prior.classes=12", "prior.classes is 12, but mnist has 10 classes; set prior.classes to 10"),
        ("mnist-mixture", "prior.classes=8", "prior.classes is 8, but mnist has 10 classes"),
    ],
)
def test_labels_that_an_objective_or_a_prior_is_not_for(
    mnist: Dataset, tmp_path: Path, packaged: str, override: str, message: str
) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        Trainer(load_recipe(packaged, [override]), mnist, tmp_path / "run", Processes())


@pytest.mark.parametrize("name", ["batch", "labelled_batch"])
def test_a_batch_has_two_images_or_more(mnist: Dataset, tmp_path: Path, name: str) -> None:
    """One alone cannot be normalised over the batch."""
    wanted = load_recipe("mnist-semi100", [f"training.{name}=1"])
    with pytest.raises(TrainingError, match=f"training.{name} is 1, expected 2 or more"):
        Trainer(wanted, mnist, tmp_path / "run", Processes())


def test_training_sees_no_other_label(mnist: Dataset, recipe: MakeRecipe, tmp_path: Path) -> None:
    """What a batch holds: -1 where the label is not known, and beside it a batch of those that are."""
    trainer = Trainer(recipe("data.labels=20", "training.labelled_batch=7"), mnist, tmp_path / "run", Processes())
    trainer.start(resume=False)
    known = set(trainer.known.tolist())
    batch = next(trainer.batches())
    assert int((trainer.labels >= 0).sum()) == 20
    assert batch.known_label.shape == (7,)
    assert int(batch.known_label.min()) >= 0
    images = {tuple(image.flatten().tolist()) for image in batch.known_image}
    allowed = {tuple((mnist.train_images[i].flatten().float() / 255).tolist()) for i in known}
    assert images <= allowed
    unknown = batch.label < 0
    assert int(unknown.sum()) >= len(batch.label) - 20
    assert torch.equal(batch.label[~unknown], batch.label[~unknown].clamp(0, 9))


def test_clusters_take_the_label_of_their_most_certain_member() -> None:
    """Ten images, two clusters: 0 holds zeros and one stray one, 1 holds ones."""
    y = torch.tensor([[0.9, 0.1], [0.99, 0.01], [0.6, 0.4], [0.2, 0.8], [0.05, 0.95]])
    labels = torch.tensor([1, 0, 0, 0, 1])
    clusters = clusters_of(y, labels)
    assert clusters.tolist() == [0, 1]
    assert percent_wrong(clusters[y.argmax(1)], labels) == pytest.approx(40.0)
