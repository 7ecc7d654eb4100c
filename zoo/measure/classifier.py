"""A small classifier of a data set, in whose features samples are compared with real images.

    python -m aae_zoo.zoo.measure.classifier mnist [FOLDER]

trains one, in about a minute, and writes it into the folder, by default zoo/measure/classifiers/ of this package.
Features of networks trained on photographs say little about digits and clothes.
"""

import hashlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from aae_zoo.runtime.files import atomic_file
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.data.loading import load_dataset

CLASSIFIERS: Final = Path(__file__).resolve().parent / "classifiers"
FEATURES: Final = 64
_EPOCHS: Final = 6
_BATCH: Final = 250
_VALIDATION: Final = 1 / 6


class Classifier(nn.Module):
    """Two convolutions, 64 features, and the logits of the classes, for images (C, H, W) of at least 4 x 4."""

    def __init__(self, image: Sequence[int], classes: int) -> None:
        super().__init__()
        channels, height, width = image
        self.convolutions = nn.Sequential(
            *(nn.Conv2d(channels, 32, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(32, 64, 5, stride=2, padding=2), nn.ReLU(), nn.Flatten()),
        )
        self.dense = nn.Linear(64 * math.ceil(height / 4) * math.ceil(width / 4), FEATURES)
        self.output = nn.Linear(FEATURES, classes)

    def features(self, image: Tensor) -> Tensor:
        """Features [n, 64] of images [n, C, H, W] in [0, 1]."""
        features: Tensor = self.dense(self.convolutions(image)).relu()
        return features

    def forward(self, image: Tensor) -> Tensor:
        """Logits [n, classes]."""
        logits: Tensor = self.output(self.features(image))
        return logits


def load_classifier(name: str) -> tuple[Classifier, dict[str, Any]] | None:
    """The classifier of a data set and what is known of it (accuracy on the test set, sha256), or None."""
    path = CLASSIFIERS / f"{name}.safetensors"
    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    classifier = Classifier(facts["image"], facts["classes"])
    classifier.load_state_dict(weights)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return classifier.eval(), {"accuracy": facts["accuracy"], "sha256": sha256}


def train_classifier(dataset: Dataset, folder: Path) -> float:
    """Train the classifier of a data set, on all but its validation images, and write it: its test accuracy."""
    torch.manual_seed(0)
    classes = len(dataset.label_names)
    classifier = Classifier(dataset.image_shape, classes)
    kept = len(dataset.train_images) - int(len(dataset.train_images) * _VALIDATION)
    images, labels = dataset.train_images[:kept], dataset.train_labels[:kept]
    steps = _EPOCHS * (len(images) // _BATCH)
    optimiser = torch.optim.Adam(classifier.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for epoch in range(_EPOCHS):
        for some in torch.randperm(len(images))[: steps // _EPOCHS * _BATCH].split(_BATCH):
            loss = F.cross_entropy(classifier(to_float(images[some])), labels[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        sys.stderr.write(f"epoch {epoch + 1}/{_EPOCHS}  loss {float(loss.detach()):.4f}\n")
    accuracy = _accuracy(classifier.eval(), dataset)
    facts = {"dataset": dataset.name, "image": dataset.image_shape, "classes": classes, "accuracy": accuracy}
    with atomic_file(folder / f"{dataset.name}.safetensors") as temporary:
        temporary.write_bytes(save(classifier.state_dict(), {"facts": json.dumps(facts)}))
    return accuracy


@torch.no_grad()
def _accuracy(classifier: Classifier, dataset: Dataset) -> float:
    batches = zip(dataset.test_images.split(1000), dataset.test_labels.split(1000), strict=True)
    right = sum(int((classifier(to_float(image)).argmax(1) == label).sum()) for image, label in batches)
    return right / len(dataset.test_labels)


if __name__ == "__main__":
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else CLASSIFIERS
    sys.stdout.write(f"{train_classifier(load_dataset(sys.argv[1]), target):.4f}\n")
