"""A small classifier of a data set, in whose features samples are compared with real images.

    python -m aae_zoo.zoo.measure.classifier mnist [FOLDER [EPOCHS]]

trains one, in some minutes, and writes it into the folder, by default zoo/measure/classifiers/ of this package.
Features of networks trained on photographs say little about digits and clothes.
"""

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, Final

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from aae_zoo.runtime.files import atomic_file
from aae_zoo.zoo.data.dataset import Attribute, Dataset, to_float
from aae_zoo.zoo.data.loading import load_dataset

CLASSIFIERS: Final = Path(__file__).resolve().parent / "classifiers"
FEATURES: Final = 64
# The largest side of an image for which two convolutions are enough.
_SMALL: Final = 32
# What the classes are called that are a data set's only attribute.
_CLASS: Final = "class"
_EPOCHS: Final = 6
_BATCH: Final = 250
_VALIDATION: Final = 1 / 6


class Classifier(nn.Module):
    """Convolutions, 64 features, and the logits of each attribute, for images (C, H, W) of at least 4 x 4.

    The classes of a data set are one attribute; where it has several, the first is its classes.
    """

    def __init__(self, image: Sequence[int], attributes: Sequence[Attribute]) -> None:
        super().__init__()
        channels, height, width = image
        layers: list[nn.Module] = []
        sizes = (32, 64) if max(height, width) <= _SMALL else (16, 32, 32)
        for before, after in pairwise((channels, *sizes)):
            layers += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        step = 2 ** len(sizes)
        self.dense = nn.Linear(sizes[-1] * math.ceil(height / step) * math.ceil(width / step), FEATURES)
        self.output = nn.Linear(FEATURES, sum(len(attribute.labels) for attribute in attributes))
        self.attributes = tuple(attributes)

    def features(self, image: Tensor) -> Tensor:
        """Features [n, 64] of images [n, C, H, W] in [0, 1]."""
        features: Tensor = self.dense(self.convolutions(image)).relu()
        return features

    def logits(self, features: Tensor) -> dict[str, Tensor]:
        """Of features [n, 64], the logits [n, labels] of each attribute, by its name."""
        parts = self.output(features).split([len(attribute.labels) for attribute in self.attributes], 1)
        return {attribute.name: part for attribute, part in zip(self.attributes, parts, strict=True)}

    def classes(self, features: Tensor) -> Tensor:
        """Of features [n, 64], the logits [n, classes] of the first attribute."""
        return self.logits(features)[self.attributes[0].name]

    def forward(self, image: Tensor) -> Tensor:
        """The logits [n, classes] of images."""
        return self.classes(self.features(image))


def load_classifier(name: str) -> tuple[Classifier, dict[str, Any]] | None:
    """The classifier of a data set and what is known of it (accuracies on the test set, sha256), or None."""
    path = CLASSIFIERS / f"{name}.safetensors"
    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    classifier = Classifier(facts["image"], _attributes(facts))
    classifier.load_state_dict(weights)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {key: facts[key] for key in ("accuracy", "accuracies") if key in facts}
    return classifier.eval(), {**known, "sha256": sha256}


def _attributes(facts: Mapping[str, Any]) -> list[Attribute]:
    """Those that a file has by their names, or the one that are classes."""
    named = facts.get("attributes") or {_CLASS: range(facts["classes"])}
    return [Attribute(name, tuple(map(str, labels))) for name, labels in named.items()]


def train_classifier(dataset: Dataset, folder: Path, epochs: int = _EPOCHS) -> float:
    """Train the classifier of a data set, on all but its validation images, and write it: its test accuracy.

    Of several attributes that is the mean; the file has each.
    """
    torch.manual_seed(0)
    classes: dict[str, Any] = {"attributes": {one.name: one.labels for one in dataset.attributes}}
    if not dataset.attributes:
        classes = {"classes": len(dataset.label_names)}
    classifier = Classifier(dataset.image_shape, _attributes(classes))
    _train(classifier, dataset, epochs)
    accuracies = _accuracies(classifier.eval(), dataset)
    accuracy = mean(accuracies.values())
    facts = {"dataset": dataset.name, "image": dataset.image_shape, **classes, "accuracy": accuracy}
    if dataset.attributes:
        facts["accuracies"] = accuracies
    with atomic_file(folder / f"{dataset.name}.safetensors") as temporary:
        temporary.write_bytes(save(classifier.state_dict(), {"facts": json.dumps(facts)}))
    return accuracy


def _train(classifier: Classifier, dataset: Dataset, epochs: int) -> None:
    kept = len(dataset.train_images) - int(len(dataset.train_images) * _VALIDATION)
    images, truths = dataset.train_images[:kept], _truths(dataset.train_labels, dataset.train_attributes)[:kept]
    steps = epochs * (len(images) // _BATCH)
    optimiser = torch.optim.Adam(classifier.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for epoch in range(epochs):
        for some in torch.randperm(len(images))[: steps // epochs * _BATCH].split(_BATCH):
            told = classifier.logits(classifier.features(to_float(images[some]))).values()
            pairs = zip(told, truths[some].unbind(1), strict=True)
            loss = torch.stack([F.cross_entropy(logits, truth) for logits, truth in pairs]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        sys.stderr.write(f"epoch {epoch + 1}/{epochs}  loss {float(loss.detach()):.4f}\n")


def _truths(labels: Tensor, attributes: Tensor | None) -> Tensor:
    """int64 [n, attributes]."""
    return labels[:, None] if attributes is None else attributes


@torch.no_grad()
def _accuracies(classifier: Classifier, dataset: Dataset) -> dict[str, float]:
    """The share of test images for which each attribute is told correctly."""
    parts = [classifier.features(to_float(part)) for part in dataset.test_images.split(1000)]
    told = classifier.logits(torch.cat(parts))
    truths = _truths(dataset.test_labels, dataset.test_attributes).unbind(1)
    return {
        name: int((logits.argmax(1) == truth).sum()) / len(truth)
        for (name, logits), truth in zip(told.items(), truths, strict=True)
    }


if __name__ == "__main__":
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else CLASSIFIERS
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else _EPOCHS
    sys.stdout.write(f"{train_classifier(load_dataset(sys.argv[1]), target, rounds):.4f}\n")
