"""How often the encoder's most probable class is wrong, where the classes were learnt or found."""

from statistics import mean
from typing import Any

import torch
from torch import Tensor

from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.data.loading import validation_images
from aae_zoo.zoo.measure.measured import Measured
from aae_zoo.zoo.measure.samples import batch_size
from aae_zoo.zoo.recipe import DataSettings


def class_error(model: Measured, dataset: Dataset, settings: DataSettings) -> dict[str, Any]:
    """`error`, the share of test images with a wrong class in percent; with `clusters`, the class of each cluster.

    Without labels the classes of y are clusters. Each takes the label of the validation image that is most certainly
    in it (Makhzani et al., arXiv 1511.05644, section 6), and errors are counted on the test set. A model that tells no
    classes has neither figure. Of several attributes `error` is the mean, and `attribute_errors` has each by its name.
    """
    if settings.attributes:
        errors = attribute_errors(model, dataset)
        return {"error": mean(errors.values()), "attribute_errors": errors}
    if not (dataset.label_names and _tells_classes(model, dataset.test_images)):
        return {}
    found = probabilities(model, dataset.test_images).argmax(1)
    if settings.labels:
        return {"error": percent_wrong(found, dataset.test_labels)}
    images = validation_images(settings, dataset)
    clusters = clusters_of(probabilities(model, images), dataset.train_labels[-len(images) :])
    return {"error": percent_wrong(clusters[found], dataset.test_labels), "clusters": clusters.tolist()}


def attribute_errors(model: Measured, dataset: Dataset) -> dict[str, float]:
    """The share of test images of which the most probable value is wrong, in percent, by the attribute's name."""
    assert dataset.test_attributes is not None  # noqa: S101 - those of its attributes
    parts = probabilities(model, dataset.test_images).split([len(a.labels) for a in dataset.attributes], 1)
    return {
        attribute.name: percent_wrong(part.argmax(1), truth)
        for attribute, part, truth in zip(dataset.attributes, parts, dataset.test_attributes.unbind(1), strict=True)
    }


def clusters_of(y: Tensor, labels: Tensor) -> Tensor:
    """The class of each cluster: the label [n] of the image that y [n, clusters] puts most certainly into it."""
    return labels[y.argmax(0)]


@torch.no_grad()
def _tells_classes(model: Measured, images: Tensor) -> bool:
    return "y" in model.encode(to_float(images[:1]))


@torch.no_grad()
def probabilities(model: Measured, images: Tensor) -> Tensor:
    """The probabilities y [n, classes] of images, uint8 [n, C, H, W]."""
    return torch.cat([model.encode(to_float(batch))["y"] for batch in images.split(batch_size(images))])


def percent_wrong(found: Tensor, labels: Tensor) -> float:
    """The share of `found` that differs from `labels`, in percent."""
    return 100 * float((found != labels).double().mean())
