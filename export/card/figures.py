"""The full names of a model's figures and pictures, and a figure's spread over seeds."""

from collections.abc import Mapping
from statistics import mean, stdev
from typing import Any, Final

METRIC_NAMES: Final = {
    "mse": "squared error per pixel",
    "bce": "cross-entropy per image, nats",
    "mmd2": "MMD² of codes and prior",
    "mmd2_prior": "MMD² of two sets of prior draws, for scale",
    "mean_image_mse": "squared error per pixel of the mean training image, for scale",
    "sample_spread": "variance of samples, as a share of that of the test images",
    "sample_sharpness": "how strong the edges of samples are, as a share of those of the test images",
    "error": "test images with a wrong class, percent",
    "clusters": "the class of each cluster, that of its most certain validation image",
    "parzen": "Parzen log-likelihood of the test images, nats",
    "parzen_error": "its standard error",
    "frechet": "Fréchet distance of samples, in a classifier's features",
    "classifier_score": "classifier score of samples",
    "class_entropy": "entropy of the samples' classes, nats",
    "precision": "share of samples among the test images, in the classifier's features",
    "recall": "share of the test images among samples",
    "label_agreement": "share of samples that the classifier finds to be what they were drawn for",
    "classifier": "the classifier",
    "false_alarms": "share of the test images that the anomaly score calls anomalous",
    "anomaly_dataset": "images to find by the anomaly score",
    "anomalies_found": "share of their test images that it calls anomalous",
    "anomaly_auroc": "AUROC of the score, the test images against theirs",
}

VARIANT_METRICS: Final = ("mse", "error", "frechet", "parzen")

PICTURES: Final = {
    "samples": "64 samples",
    "labels": "Samples of every class, class by class along a row; those of a row have all other noise in common",
    "manifold": "The prior's percentiles, from low to high to the right and upwards",
    "codes": "The codes of test images by class, before draws of the prior in gray",
    "reconstructions": "Test images, and below them their reconstructions",
}

# The figures that say most: the gallery shows them, and runs with other seeds are compared by them.
FIGURES: Final = ("error", "mse", "mmd2", "frechet", "parzen")


def spread(metrics: Mapping[str, Any], name: str) -> str | None:
    """A figure's mean and standard deviation over the seeds it was measured for, as text, or None."""
    values = metrics.get("over_seeds", {}).get(name, [])
    return f"{mean(values):.2f} ± {stdev(values):.2f} over {len(values)} seeds" if len(values) > 1 else None
