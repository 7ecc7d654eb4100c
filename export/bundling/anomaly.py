"""The anomaly score, measured through the exported graphs: what is usual, and what it finds on test images."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Odd:
    """Images uint8 [n, C, H, W] that a score should find, and what they are called."""

    name: str
    images: Tensor


def usual(model: Model, validation: Tensor, false_alarms: float | None) -> ScoreLimits:
    """What the manifest calls usual, from validation images, uint8 [n, C, H, W]."""
    return score_limits(*model.score_parts(validation.numpy()), false_alarms)


def anomaly_metrics(model: Model, dataset: Dataset, odd: Odd | None = None) -> dict[str, Any]:
    """What the score says of the test images of the model's data set and of `odd` ones.

    Without them those are the classes that were left out of the data set, or its counterpart, if there are any.
    `false_alarms` is the share of the model's own data set that is called anomalous, `anomaly_dataset` what the odd
    images are called, `anomalies_found` the share of them that is called anomalous, and `anomaly_auroc` the area under
    the receiver operating characteristic: how often one of them scores higher than one of the model's own data set.

    Raises:
        DatasetError: the counterpart is missing and cannot be downloaded, or damaged.
    """
    own = model.score(dataset.test_images.numpy())
    metrics: dict[str, Any] = {"false_alarms": float(own.anomalous.mean())}
    if odd := odd or _odd(dataset):
        others = model.score(odd.images.numpy())
        truth = np.repeat([0, 1], [len(own.score), len(others.score)])
        metrics["anomaly_dataset"] = odd.name
        metrics["anomalies_found"] = float(others.anomalous.mean())
        metrics["anomaly_auroc"] = float(roc_auc_score(truth, np.concatenate([own.score, others.score])))
    return metrics


def _odd(dataset: Dataset) -> Odd | None:
    """Images that are anomalies to a model of a data set; None where there are none."""
    if dataset.left_out is not None:
        return Odd(f"other classes of {dataset.name}", dataset.left_out)
    declared = declarations().get(dataset.name)
    if declared and declared.COUNTERPART:
        return Odd(declared.COUNTERPART, load_dataset(declared.COUNTERPART).test_images)
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
