"""A one-class detector: trained on a few steps of one class, what its score and its map say."""

from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import batch_of
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from aae_zoo.export.bundling.graphs import to_onnx
from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.runtime.latent.score import limit
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.build import build
from aae_zoo.zoo.detector import Detector, fit_detector
from aae_zoo.zoo.maths.defects import pasted
from aae_zoo.zoo.maths.hog import OrientedGradients
from aae_zoo.zoo.objectives.oneclass import Objective
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.segmenter import Segmenter, SegmenterSettings

SIDE = 16
STEPS = 300


class Trained(NamedTuple):
    """A model of handwritten zeros, its detector, and other zeros and the other digits, [n, 1, SIDE, SIDE] in [0, 1].

    `keen` is its detector with the `segmenter`. The networks were trained on the zeros that are `learned`, and not
    on those that are `held_out`.
    """

    model: Autoencoder
    detector: nn.Module
    keen: nn.Module
    segmenter: Segmenter | None
    learned: Tensor
    held_out: Tensor
    zeros: Tensor
    others: Tensor


@pytest.fixture(scope="module")
def trained() -> Trained:
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float()[:, None]
    images = torch.nn.functional.interpolate(images, SIDE, mode="bilinear")
    zeros, others = images[digits.target == 0], images[digits.target != 0]
    segmenter = "objective.segmenter={channels = [8, 16], learning_rate = 0.01}"
    recipe = load_recipe("mnist-oneclass", ["training.batch=32", "encoder.hidden=64", "decoder.hidden=64", segmenter])
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model, objective = build(recipe, (1, SIDE, SIDE))
    assert isinstance(objective, Objective)
    objective.train()
    for _ in range(STEPS):
        objective.step(batch_of(zeros[torch.randint(100, (32,), generator=generator)]), generator)
    # The digits are in the order of those who wrote them: each wrote some of the held-out and some of the fresh ones.
    detector, keen = (fit_detector(model, zeros[:100], zeros[100::2], each) for each in (None, objective.segmenter))
    return Trained(model, detector, keen, objective.segmenter, zeros[:100], zeros[100:], zeros[101::2], others)


@torch.no_grad()
def scores(detector: nn.Module, images: Tensor) -> Tensor:
    score: Tensor = detector(images)[0]
    return score


def test_other_digits_are_odd(trained: Trained) -> None:
    usual, odd = scores(trained.detector, trained.zeros), scores(trained.detector, trained.others)
    truth = np.repeat([0, 1], [len(usual), len(odd)])
    assert roc_auc_score(truth, torch.cat([usual, odd])) > 0.97


def test_usual_images_score_about_one(trained: Trained) -> None:
    assert float(scores(trained.detector, trained.zeros).mean()) == pytest.approx(1, abs=0.2)


def test_the_map_shows_where(trained: Trained) -> None:
    """A bar across a corner, where zeros have nothing: most of what the map has more of is around it."""
    spoilt = trained.zeros.clone()
    spoilt[:, :, 1:3, 0:4] = 1
    with torch.no_grad():
        more = trained.detector(spoilt)[1] - trained.detector(trained.zeros)[1]
    assert more.shape == spoilt.shape
    assert more[:, :, :5, :6].mean() > 5 * more[:, :, 8:, 8:].abs().mean()


def scratched(images: Tensor) -> Tensor:
    """Images with a gray line through the middle of each."""
    spoilt = images.clone()
    spoilt[:, :, SIDE // 2, 3:-3] = 0.5
    return spoilt


def test_with_a_segmenter_a_small_defect_counts_in_the_score(trained: Trained) -> None:
    def found(detector: nn.Module) -> float:
        usual, odd = scores(detector, trained.zeros), scores(detector, scratched(trained.zeros))
        return float(roc_auc_score(np.repeat([0, 1], [len(usual), len(odd)]), torch.cat([usual, odd])))

    assert found(trained.keen) > max(0.9, found(trained.detector) + 0.2)


def test_with_a_segmenter_the_map_is_sharper(trained: Trained) -> None:
    spoilt = scratched(trained.zeros)
    with torch.no_grad():
        areas = [
            roc_auc_score((spoilt != trained.zeros).flatten(), detector(spoilt)[1].flatten())
            for detector in (trained.keen, trained.detector)
        ]
    assert areas[0] > max(0.9, areas[1])


@pytest.mark.parametrize("kind", ["detector", "keen"])
def test_new_images_are_above_the_limit_no_more_often_than_promised(kind: str, trained: Trained) -> None:
    """On average over how the images fall to validation and to use, whatever few images say what is usual."""
    segmenter = trained.segmenter if kind == "keen" else None
    count, generator, shares = 12, torch.Generator().manual_seed(0), []
    for _ in range(200):
        images = trained.held_out[torch.randperm(len(trained.held_out), generator=generator)]
        detector = fit_detector(trained.model, trained.learned, images[:count], segmenter)
        known, new = scores(detector, images).split([count, len(images) - count])
        shares.append(float((new > limit(known.numpy(), 1 / (count + 1))).float().mean()))
    assert np.mean(shares) < 1.25 / (count + 1)


def test_each_image_is_scored_alone(trained: Trained) -> None:
    together = scores(trained.detector, trained.others[:7])
    alone = torch.cat([scores(trained.detector, image[None]) for image in trained.others[:7]])
    assert torch.allclose(together, alone, rtol=1e-5)


@pytest.mark.parametrize("kind", ["detector", "keen"])
def test_its_graph_is_equal_to_it(kind: str, trained: Trained) -> None:
    detector = getattr(trained, kind)
    images = torch.cat([trained.zeros[:5], trained.others[:5], torch.zeros(1, 1, SIDE, SIDE)])
    names = ["score", "map"]
    session = onnxruntime.InferenceSession(to_onnx(detector, {"image": images}, names, {}))
    with torch.no_grad():
        expected = detector(images)
    for output, values in zip(session.run(names, {"image": images.numpy()}), expected, strict=True):
        assert np.abs(output - values.numpy()).max() < 1e-5 * float(values.abs().max())


@pytest.mark.parametrize("kind", ["detector", "keen"])
def test_of_dark_pictures_all_that_has_an_edge_is_odd(kind: str, trained: Trained) -> None:
    """Their histograms are all the same: no distance from the mean is usual."""
    dark = 1e-3 * torch.rand(16, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    detector = fit_detector(trained.model, dark, dark, trained.segmenter if kind == "keen" else None)
    with torch.no_grad():
        usual, odd = (detector(images)[0] for images in (dark, trained.zeros))
    assert bool(usual.isfinite().all())
    assert float(odd.min()) > float(usual.max())


def test_a_model_of_other_networks_has_no_detector() -> None:
    model, _ = build(load_recipe("mnist-gauss8"), (1, 28, 28))
    with pytest.raises(InvalidRecipe, match="needs a model with encoder.kind and decoder.kind = 'hog'"):
        Detector(model, (1, 28, 28))


class TestPastedDefects:
    IMAGES = torch.rand(200, 3, 24, 40, generator=torch.Generator().manual_seed(0))

    def test_they_change_the_pixels_that_they_say(self) -> None:
        changed, mask = pasted(self.IMAGES, torch.Generator().manual_seed(1))
        assert mask.shape == (200, 1, 24, 40)
        assert float(changed.min()) >= 0
        assert float(changed.max()) <= 1
        difference = (changed - self.IMAGES).abs().amax(1, keepdim=True)
        assert float(difference[mask].mean()) > 0.2
        assert float(difference[~mask].mean()) < 0.02

    def test_they_are_in_most_images_and_small(self) -> None:
        _, mask = pasted(self.IMAGES, torch.Generator().manual_seed(1))
        areas = mask.float().mean((1, 2, 3))
        assert 0.5 < float((areas > 0).float().mean()) < 0.75
        assert 0.01 < float(areas[areas > 0].median()) < 0.1

    def test_what_8_bits_cannot_hold_is_everywhere_not_in_defects_alone(self) -> None:
        """Else it is what they are told by, and every picture that was resized is full of them."""
        changed, mask = pasted((self.IMAGES * 255).round() / 255, torch.Generator().manual_seed(1))
        levels = changed * 255
        apart = (levels - levels.round()).abs().mean(1, keepdim=True)
        assert float(apart[~mask].mean()) == pytest.approx(0.25, abs=0.05)
        assert float(apart[mask].mean()) == pytest.approx(0.25, abs=0.05)

    def test_a_seed_gives_the_same_ones(self) -> None:
        first, again, other = (pasted(self.IMAGES, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


class TestSegmenter:
    def test_a_recipe_can_be_told_to_have_none(self) -> None:
        for overrides, there in (((), True), (("objective.segmenter=false",), False)):
            _, objective = build(load_recipe("detector", overrides), (1, 28, 28))
            assert isinstance(objective, Objective)
            assert (objective.segmenter is not None) == there

    @pytest.mark.parametrize("image", [(1, 28, 28), (3, 64, 64), (1, 130, 33), (2, 9, 7)])
    def test_it_sees_images_of_any_size(self, image: tuple[int, int, int]) -> None:
        segmenter = Segmenter(SegmenterSettings(channels=[4, 6, 8], learning_rate=0.01), image)
        whole, pixels = segmenter(torch.rand(2, *image))
        assert whole.shape == (2,)
        assert pixels.shape == (2, 1, *image[1:])


class TestOrientedGradients:
    @pytest.mark.parametrize("image", [(1, 28, 28), (3, 32, 40), (2, 8, 12), (1, 13, 28), (3, 5, 3), (1, 1, 2)])
    def test_cells_cover_any_image(self, image: tuple[int, int, int]) -> None:
        hog = OrientedGradients(image)
        values = hog(torch.rand(4, *image))
        assert values.shape == (4, hog.size)
        assert ((values >= 0.0099) & (values < 1.74)).all()
        cells = hog.by_cell(torch.ones(1, hog.size))
        assert torch.allclose(cells @ hog.spread(), torch.full((1, image[1] * image[2]), 8.0))

    def test_they_see_the_direction_of_an_edge(self) -> None:
        """From dark to bright: to the right is direction 0, down 2, to the left 4 and up 6."""
        right = torch.zeros(1, 1, 28, 28)
        right[..., 14:] = 1
        down = right.transpose(2, 3)
        edges = torch.cat([right, down, right.flip(3), down.flip(2)])
        inside = OrientedGradients((1, 28, 28))(edges)[:, : 8 * 7 * 7].unflatten(1, (8, 7, 7))[..., 2:5, 2:5]
        assert inside.sum((2, 3)).argmax(1).tolist() == [0, 2, 4, 6]

    def test_an_edge_that_is_too_weak_is_none(self) -> None:
        """Ripples of two levels, as JPEG makes them on flat parts: the root would make much of them."""
        flat, rippled = torch.full((2, 1, 28, 28), 0.5)
        rippled[:, torch.arange(28) % 4 < 2] += 2 / 255
        fine, coarse = (OrientedGradients((1, 28, 28), least_edge=least) for least in (0.001, 0.012))
        both = torch.stack([flat, rippled])
        # Beyond the border all is black, which makes an edge of the picture's own gray.
        inside = [hog(both)[:, : 8 * 7 * 7].unflatten(1, (8, 7, 7))[..., 2:5, 2:5] for hog in (fine, coarse)]
        assert (inside[0][1] - inside[0][0]).abs().max() > 0.1
        assert torch.equal(inside[1][1], inside[1][0])

    def test_contrast_changes_less_than_the_shape(self) -> None:
        hog, (image, other) = OrientedGradients((1, 28, 28)), torch.rand(2, 5, 1, 28, 28)
        pale = (hog(image) - hog(image * 0.7)).square().sum(1)
        assert (pale < 0.1 * (hog(image) - hog(other)).square().sum(1)).all()
