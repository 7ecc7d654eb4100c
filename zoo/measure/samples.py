"""How good samples are: Fréchet distance and score in a classifier's features, and Parzen log-likelihood."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, Final

import torch
from torch import Tensor

from aae_zoo.zoo.data.dataset import Attribute, Dataset, as_float
from aae_zoo.zoo.data.loading import validation_images
from aae_zoo.zoo.measure.classifier import Classifier, load_classifier
from aae_zoo.zoo.measure.likeness import likeness
from aae_zoo.zoo.measure.measured import Measured
from aae_zoo.zoo.recipe import DataSettings

_SAMPLES: Final = 10_000
_PARZEN_VALIDATION: Final = 1000
_BANDWIDTHS: Final = tuple(10 ** (step / 9 - 1) for step in range(10))  # 0.1 to 1, as the protocol has it


def batch_size(images: Tensor) -> int:
    """How many images [n, ...] to work on at a time: 1,000 small ones, fewer large ones, so that memory is bounded."""
    return max(1, min(1000, 2**22 // images[0].numel()))


class Samples:
    """The same `count` images each time they are asked for, batches [size, C, H, W] in [0, 1], drawn anew, not kept."""

    def __init__(self, model: Measured, size: int, count: int = _SAMPLES) -> None:
        self.model, self.size, self.count = model, size, count
        self.draws = model.draw(count, torch.Generator().manual_seed(0))

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, self.count, self.size):
            codes = {name: values[start : start + self.size] for name, values in self.draws.codes.items()}
            yield self.model.decode(codes).sigmoid()


@torch.no_grad()
def likelihood(model: Measured, dataset: Dataset, settings: DataSettings) -> dict[str, Any]:
    """`parzen`, the log-likelihood of the test images under 10,000 samples in nats, and `parzen_error`, its error."""
    validation = validation_images(settings, dataset)[-_PARZEN_VALIDATION:]
    samples = Samples(model, batch_size(dataset.test_images))
    mean, error = parzen_log_likelihood(samples, validation, dataset.test_images)
    return {"parzen": mean, "parzen_error": error}


@torch.no_grad()
def in_features(model: Measured, dataset: Dataset, settings: DataSettings) -> dict[str, Any]:
    """The metrics of 10,000 samples in the features of a classifier, where the package has one of the data set.

    `frechet` is the distance from the test images; `classifier_score`, from 1 to the number of classes (of several
    attributes, the values of the first); `class_entropy`, of the classes drawn, in nats; `precision` and `recall` as
    `likeness` has them, of as many samples as there are test images; `classifier`, which one it was; and where the
    prior's classes are the data set's, `label_agreement`, the share of samples that the classifier finds to be of the
    class they were drawn for. Of a model of several attributes `attribute_agreement` has that share of each by its
    name, and `label_agreement` is their mean.
    """
    loaded = load_classifier(dataset.name)
    if loaded is None:
        return {}
    classifier, facts = loaded[0].to(dataset.test_images.device), loaded[1]
    samples = Samples(model, batch_size(dataset.test_images))
    features = torch.cat([classifier.features(images) for images in samples])
    real = features_of(classifier, dataset.test_images)
    near = likeness(real[:_SAMPLES], features[: len(real)])
    metrics = {
        **quality(classifier, features, real),
        "precision": near.precision,
        "recall": near.recall,
        "classifier": facts,
    }
    if settings.labels and samples.draws.label is not None:
        found = classifier.classes(features).argmax(1)
        metrics["label_agreement"] = float((found == samples.draws.label).float().mean())
    if settings.attributes:
        shares = _agreement(classifier.logits(features), samples.draws.codes["y"], dataset.attributes)
        metrics |= {"label_agreement": mean(shares.values()), "attribute_agreement": shares}
    return metrics


def _agreement(found: Mapping[str, Tensor], y: Tensor, attributes: Sequence[Attribute]) -> dict[str, float]:
    """How often the classifier's logits [n, labels] of each attribute are greatest for the value that y [n] has."""
    parts = zip(attributes, y.split([len(attribute.labels) for attribute in attributes], 1), strict=True)
    return {a.name: float((found[a.name].argmax(1) == part.argmax(1)).float().mean()) for a, part in parts}


def features_of(classifier: Classifier, images: Tensor) -> Tensor:
    """The features [n, 64] of images [n, C, H, W], bytes or in [0, 1]."""
    return torch.cat([classifier.features(as_float(part)) for part in images.split(batch_size(images))])


def quality(classifier: Classifier, features: Tensor, real: Tensor) -> dict[str, float]:
    """`frechet`, `classifier_score` and `class_entropy` of samples by their features [m, 64] and those of real images.

    See `in_features`.
    """
    probabilities = classifier.classes(features).double().softmax(1)
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
    # The eigenvalues of small matrices are the CPU's affair: a card takes longer to load what finds them.
    covariance_a, covariance_b = torch.cov(a.T).cpu(), torch.cov(b.T).cpu()
    values, vectors = torch.linalg.eigh(covariance_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0)
    trace = covariance_a.trace() + covariance_b.trace() - 2 * product.sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum().cpu() + trace)


def parzen_log_likelihood(
    samples: Iterable[Tensor], validation: Tensor, test: Tensor, bandwidths: Sequence[float] = _BANDWIDTHS
) -> tuple[float, float]:
    """The mean log-likelihood of test images in nats and its standard error, by a Gaussian Parzen window on samples.

    The protocol of Goodfellow et al. (arXiv 1406.2661, section 5), which the paper's table follows: the bandwidth
    is the one that is best on validation images. Samples are batches [m, C, H, W] in [0, 1], which are asked for
    twice; validation and test are [n, C, H, W], bytes or in [0, 1].
    """
    on_validation = [float(values.mean()) for values in _parzen(samples, validation, bandwidths)]
    best = bandwidths[on_validation.index(max(on_validation))]
    (values,) = _parzen(samples, test, [best])
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def _parzen(samples: Iterable[Tensor], images: Tensor, bandwidths: Sequence[float]) -> list[Tensor]:
    """For each bandwidth, the log-likelihood [n] of each image: one batch of samples at a time, in float64."""
    count, rows = 0, batch_size(images)
    sums = torch.full((len(bandwidths), len(images)), -math.inf, dtype=torch.float64, device=images.device)
    for batch in samples:
        count += len(batch)
        for start, part in zip(range(0, len(images), rows), images.split(rows), strict=True):
            squared = torch.cdist(as_float(part).flatten(1), batch.flatten(1)).square().double()
            for total, s in zip(sums[:, start : start + rows], bandwidths, strict=True):
                torch.logaddexp(total, torch.logsumexp(-squared / (2 * s * s), 1), out=total)
    size = images[0].numel()
    normalisers = [math.log(count) + size * math.log(s * math.sqrt(2 * math.pi)) for s in bandwidths]
    return [total - normaliser for total, normaliser in zip(sums, normalisers, strict=True)]
