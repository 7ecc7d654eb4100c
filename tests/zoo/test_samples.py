"""The metrics of samples: each is its definition, and tells good samples from bad ones."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aae_zoo.zoo.data.dataset import Attribute, Dataset, to_float
from aae_zoo.zoo.data.loading import declarations, load_dataset
from aae_zoo.zoo.measure import classifier as classifiers
from aae_zoo.zoo.measure.classifier import load_classifier, train_classifier
from aae_zoo.zoo.measure.samples import batch_size, frechet_distance, parzen_log_likelihood


class TestFrechetDistance:
    def test_of_a_sample_and_itself_is_zero(self) -> None:
        a = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
        assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)

    def test_of_gaussians_is_the_closed_form(self) -> None:
        """Diagonal covariances s and t: |difference of means|^2 + sum (sqrt s - sqrt t)^2."""
        generator = torch.Generator().manual_seed(0)
        a = torch.randn(400_000, 3, generator=generator) * torch.tensor([1.0, 2.0, 3.0])
        b = torch.randn(400_000, 3, generator=generator) * torch.tensor([2.0, 2.0, 1.0]) + 1
        assert frechet_distance(a, b) == pytest.approx(3 + 1 + 0 + 4, rel=0.02)

    def test_is_symmetric_and_takes_constant_features(self) -> None:
        generator = torch.Generator().manual_seed(0)
        a, b = torch.rand(300, 5, generator=generator), torch.rand(300, 5, generator=generator)
        a[:, 2] = 0
        assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)


class TestParzen:
    def test_of_one_bandwidth_is_the_density(self) -> None:
        samples, test = torch.zeros(1, 1, 1, 2), torch.tensor([[0.0, 0.0], [0.3, 0.4]]).reshape(2, 1, 1, 2)
        mean, error = parzen_log_likelihood([samples], test, test, [0.5])
        at_zero = -math.log(2 * math.pi * 0.25)
        assert mean == pytest.approx((at_zero + at_zero - 0.25 / (2 * 0.25)) / 2, rel=1e-5)
        assert error == pytest.approx(0.5 / 2, rel=1e-5)  # of two values that are 0.5 apart

    def test_the_bandwidth_is_chosen_on_validation(self) -> None:
        generator = torch.Generator().manual_seed(0)
        samples, validation, test = (torch.randn(400, 1, 1, 2, generator=generator) for _ in range(3))
        chosen = parzen_log_likelihood([samples], validation, test)[0]
        alone = [parzen_log_likelihood([samples], validation, test, [s])[0] for s in (0.1, 0.4, 1.0)]
        assert chosen >= max(alone) - 0.05

    def test_it_is_better_for_better_samples(self) -> None:
        generator = torch.Generator().manual_seed(0)
        validation, test = (torch.rand(200, 1, 2, 2, generator=generator) for _ in range(2))
        good, bad = torch.rand(500, 1, 2, 2, generator=generator), torch.full((500, 1, 2, 2), 0.5)
        assert parzen_log_likelihood([good], validation, test)[0] > parzen_log_likelihood([bad], validation, test)[0]


class TestClassifier:
    @torch.no_grad()
    def test_its_accuracy_is_what_it_says(self, mnist: Dataset) -> None:
        found = load_classifier("mnist")
        assert found
        classifier, facts = found
        predicted = torch.cat([classifier(to_float(x)).argmax(1) for x in mnist.test_images.split(1000)])
        accuracy = float((predicted == mnist.test_labels).float().mean())
        assert accuracy == pytest.approx(facts["accuracy"], abs=1e-6)
        assert accuracy > 0.985

    @torch.no_grad()
    def test_its_features_tell_real_images_from_noise(self, mnist: Dataset) -> None:
        found = load_classifier("mnist")
        assert found
        a, b = (found[0].features(to_float(x)) for x in (mnist.test_images[:2000], mnist.train_images[:2000]))
        noise = found[0].features(torch.rand(2000, 1, 28, 28))
        assert frechet_distance(a, b) < 0.05 * frechet_distance(a, noise)

    def test_one_is_trained_for_any_data_set(self, small_data: Path, tmp_path: Path) -> None:
        dataset = load_dataset("small", small_data)
        assert 0.1 < train_classifier(dataset, tmp_path) <= 1
        assert (tmp_path / "small.safetensors").exists()
        assert load_classifier("nothing") is None

    def test_it_tells_each_attribute(self, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of digits: which it is, and whether it is odd."""
        dataset = load_dataset("small", small_data)
        told = replace(
            dataset,
            name="told",
            attributes=(Attribute("digit", tuple("0123456789")), Attribute("odd", ("no", "yes"))),
            train_attributes=torch.stack([dataset.train_labels, dataset.train_labels % 2], 1),
            test_attributes=torch.stack([dataset.test_labels, dataset.test_labels % 2], 1),
        )
        mean = train_classifier(told, tmp_path, epochs=60)
        monkeypatch.setattr(classifiers, "CLASSIFIERS", tmp_path)
        found = load_classifier("told")
        assert found
        classifier, facts = found
        assert classifier.attributes == told.attributes
        with torch.no_grad():
            logits = classifier.logits(classifier.features(to_float(told.test_images)))
        right = {
            name: float((logits[name].argmax(1) == truth).double().mean())
            for name, truth in (("digit", told.test_labels), ("odd", told.test_labels % 2))
        }
        assert facts["accuracies"] == pytest.approx(right)
        assert facts["accuracy"] == mean == pytest.approx(sum(right.values()) / 2)
        assert right["digit"] > 0.8 and right["odd"] > 0.8
        assert torch.equal(classifier(to_float(told.test_images)).detach(), logits["digit"])

    @pytest.mark.parametrize("name", sorted(path.stem for path in classifiers.CLASSIFIERS.iterdir()))
    def test_those_that_come_with_the_package_know_what_their_data_sets_declare(self, name: str) -> None:
        found = load_classifier(name)
        assert found
        declared = declarations()[name]
        assert found[0].features(torch.zeros(1, *declared.IMAGE_SHAPE or ())).shape == (1, classifiers.FEATURES)
        assert found[0].attributes == getattr(declared, "ATTRIBUTES", found[0].attributes)
        assert (classifiers.CLASSIFIERS / f"{name}.safetensors").stat().st_size < 1.1e6


def test_parzen_keeps_a_part_of_large_images_in_memory_at_a_time() -> None:
    """The value is that of all at once; what is worked on at a time shrinks as images grow."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(50, 3, 8, 8, generator=generator)
    images = torch.randint(256, (40, 3, 8, 8), generator=generator, dtype=torch.uint8)
    whole = parzen_log_likelihood([samples], images, images)
    assert parzen_log_likelihood(samples.split(7), images, images) == pytest.approx(whole, rel=1e-4)
    sizes = [batch_size(torch.empty(1, 3, side, side)) for side in (8, 64, 256, 4096)]
    assert sizes == [1000, 341, 21, 1]
