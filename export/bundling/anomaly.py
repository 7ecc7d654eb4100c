"""The anomaly score, measured through the exported graphs: what is usual, and what it finds on test images."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from torch import Tensor

from aae_zoo.runtime.bundles.manifest import ScoreLimits
from aae_zoo.runtime.latent.score import score_limits
from aae_zoo.runtime.model import Model, load
from aae_zoo.zoo.bundled.networks import recipe_of
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.loading import declarations, load_data, load_dataset


def usual(model: Model, validation: Tensor) -> ScoreLimits:
    """What the manifest calls usual, from validation images, uint8 [n, C, H, W]."""
    return score_limits(*model.score_parts(validation.numpy()))


def anomaly_metrics(model: Model, dataset: Dataset) -> dict[str, Any]:
    """What the score says of the test images of the model's data set and of others.

    `false_alarms` is the share of the model's own data set that is called anomalous. `anomaly_dataset` names the
    others, which are the classes that were left out, or the data set's counterpart if it has one; `anomalies_found` is
    the share of them that is called anomalous, and `anomaly_auroc` is the area under the receiver operating
    characteristic: how often one of them scores higher than one of the model's own data set.

    Raises:
        DatasetError: the counterpart is missing and cannot be downloaded, or damaged.
    """
    own = model.score(dataset.test_images.numpy())
    metrics: dict[str, Any] = {"false_alarms": float(own.anomalous.mean())}
    if found := _others(dataset):
        metrics["anomaly_dataset"], images = found
        others = model.score(images.numpy())
        truth = np.repeat([0, 1], [len(own.score), len(others.score)])
        metrics["anomalies_found"] = float(others.anomalous.mean())
        metrics["anomaly_auroc"] = float(roc_auc_score(truth, np.concatenate([own.score, others.score])))
    return metrics


def _others(dataset: Dataset) -> tuple[str, Tensor] | None:
    """What anomalies to a model of a data set are called, and images of them; None where there are none."""
    if dataset.left_out is not None:
        return f"other classes of {dataset.name}", dataset.left_out
    declared = declarations().get(dataset.name)
    if declared and declared.COUNTERPART:
        return declared.COUNTERPART, load_dataset(declared.COUNTERPART).test_images
    return None


def evaluate_model(name: str, *, data: Path | None = None) -> dict[str, Any]:
    """`anomaly_metrics` of a model by catalogue name or bundle folder; `data` is where its data set is.

    Raises:
        InvalidInput: the bundle does not say what is usual.
        InvalidBundle: it does not say in a way that this version reads what it was trained on.
        DatasetError: a data set is missing or damaged.
    """
    model = load(name)
    trained = "recipe" in model.manifest.provenance
    dataset = load_data(recipe_of(model.manifest).data, data) if trained else load_dataset(model.manifest.dataset, data)
    return anomaly_metrics(model, dataset)
