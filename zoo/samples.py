"""How good samples are: Fréchet distance and score in a classifier's features, and Parzen log-likelihood."""

import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.classifier import Classifier, load_classifier
from aae_zoo.zoo.data import Dataset, to_float

_SAMPLES: Final = 10_000
_BATCH: Final = 1000
_PARZEN_VALIDATION: Final = 1000
_BANDWIDTHS: Final = tuple(10 ** (step / 9 - 1) for step in range(10))  # 0.1 to 1, as the protocol has it


@torch.no_grad()
def sample_quality(model: Autoencoder, dataset: Dataset) -> dict[str, Any]:
    """The metrics of 10,000 samples against the test set, by name.

    `parzen` is the log-likelihood of the test images in nats, and `parzen_error` its standard error. Where the
    package has a classifier of the data set: `frechet`, the distance in its features; `classifier_score`, from 1
    to the number of classes; `class_entropy`, of the classes drawn, in nats; and `classifier`, which one it was.
    """
    model.eval()
    generator = torch.Generator().manual_seed(0)
    codes = model.prior.draw(_SAMPLES, generator)
    parts = [{name: values[i : i + _BATCH] for name, values in codes.items()} for i in range(0, _SAMPLES, _BATCH)]
    samples = torch.cat([model.logits(part).sigmoid() for part in parts])
    test = to_float(dataset.test_images)
    validation = to_float(dataset.train_images[-_PARZEN_VALIDATION:])
    mean, error = parzen_log_likelihood(samples, validation, test)
    metrics: dict[str, Any] = {"parzen": mean, "parzen_error": error}
    if found := load_classifier(dataset.name):
        classifier, facts = found
        metrics |= _in_features(classifier, samples, test) | {"classifier": facts}
    return metrics


def _in_features(classifier: Classifier, samples: Tensor, test: Tensor) -> dict[str, float]:
    features, real = (torch.cat([classifier.features(x) for x in images.split(_BATCH)]) for images in (samples, test))
    probabilities = classifier.output(features).double().softmax(1)
    marginal = probabilities.mean(0)
    divergence = (probabilities * (probabilities.clamp(min=1e-30) / marginal).log()).sum(1).mean()
    return {
        "frechet": frechet_distance(features, real),
        "classifier_score": float(divergence.exp()),
        "class_entropy": float(-(marginal * marginal.log()).sum()),
    }


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The squared Fréchet distance of two samples [n, d] taken as Gaussians, in float64.

    Heusel et al., "GANs trained by a two time-scale update rule" (NeurIPS 2017), equation 6. The trace of the square
    root of the covariances' product is the sum of the square roots of the eigenvalues of a symmetric matrix.
    """
    a, b = a.double(), b.double()
    covariance_a, covariance_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0)
    trace = covariance_a.trace() + covariance_b.trace() - 2 * product.sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + trace)


def parzen_log_likelihood(
    samples: Tensor, validation: Tensor, test: Tensor, bandwidths: Sequence[float] = _BANDWIDTHS
) -> tuple[float, float]:
    """The mean log-likelihood of test images in nats and its standard error, by a Gaussian Parzen window on samples.

    The protocol of Goodfellow et al. (arXiv 1406.2661, section 5), which the paper's table follows: the bandwidth
    is the one that is best on validation images.
    """
    on_validation = [float(values.mean()) for values in _parzen(samples, validation, bandwidths)]
    best = bandwidths[on_validation.index(max(on_validation))]
    (values,) = _parzen(samples, test, [best])
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def _parzen(samples: Tensor, images: Tensor, bandwidths: Sequence[float]) -> list[Tensor]:
    """For each bandwidth, the log-likelihood [n] of each image."""
    flat = samples.flatten(1)
    results: list[list[Tensor]] = [[] for _ in bandwidths]
    for part in images.flatten(1).split(_BATCH):
        squared = torch.cdist(part, flat).square().double()
        for result, s in zip(results, bandwidths, strict=True):
            normaliser = math.log(len(flat)) + flat.shape[1] * math.log(s * math.sqrt(2 * math.pi))
            result.append(torch.logsumexp(-squared / (2 * s * s), 1) - normaliser)
    return [torch.cat(result) for result in results]
