"""What a card and a page show of a model: pictures and codes, made with the exported graphs themselves."""

from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from aae_zoo.export.proof.golden import References, save_npz
from aae_zoo.runtime.bundles.manifest import Attribute
from aae_zoo.runtime.drawing import comparisons
from aae_zoo.runtime.drawing.captions import draw_rows
from aae_zoo.runtime.drawing.grid import grid
from aae_zoo.runtime.engine.kept import CODES_FILE
from aae_zoo.runtime.latent.noise import choose_label, uniform_noise
from aae_zoo.runtime.model import Model
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.training.pictures import CODES, PRIOR_DRAWS, code_scatter

_RECONSTRUCTIONS: Final = 10


def write_pictures(folder: Path, model: Model, dataset: Dataset, prior: BasePrior) -> None:
    """Draw the card's pictures with the exported graphs themselves."""
    grid(model.sample(64, seed=0)).save(folder / "samples.png", optimize=True)
    images = to_float(_one_of_each(dataset)).numpy()
    both = np.concatenate([images, model.reconstruct(images)])
    grid(both, len(images)).save(folder / "reconstructions.png", optimize=True)
    if model.manifest.noise == 2:
        _shades(grid(model.manifold(20), gap=0), 12).save(folder / "manifold.png", optimize=True)
    if model.manifest.label_coordinate is not None:
        rows = comparisons.classes(_every_value(model, *model.manifest.asked, rows=8), model.manifest.labels)
        _shades(draw_rows(rows)).save(folder / "labels.png", optimize=True)
    if attributes := [each for each in model.manifest.attributes if each.coordinate is not None]:
        each = [comparisons.classes(_every_value(model, a, rows=3), a.labels, a.name) for a in attributes]
        _shades(draw_rows([*chain.from_iterable(each)])).save(folder / "attributes.png", optimize=True)
    if model.manifest.latent == 2:
        _codes(model, dataset, prior).quantize(32).save(folder / "codes.png", optimize=True)


def _shades(picture: Image, count: int = 16) -> Image:
    """A gray picture in a few shades, which halves the largest pictures of a bundle."""
    step = 255 / (count - 1)
    if picture.mode != "L":
        return picture
    return picture.point(lambda value: round(round(value / step) * step)).quantize(count)


def _every_value(model: Model, attribute: Attribute, *, rows: int) -> NDArray[np.float32]:
    """Samples with every value of an attribute along a row; those of a row have all other noise in common."""
    coordinate, count = attribute.coordinate, len(attribute.labels)
    assert coordinate is not None  # noqa: S101 - as the caller looked
    noise = uniform_noise(rows, model.manifest.noise, seed=0).repeat(count, axis=0)
    for k in range(count):
        choose_label(noise[k::count], coordinate, k, count)
    return model.sample_from(noise)


def _codes(model: Model, dataset: Dataset, prior: BasePrior) -> Image:
    """The plane of the test images' codes, before draws of the prior."""
    z = model.encode(dataset.test_images[:CODES].numpy())
    with torch.no_grad():
        draws = prior.draw(PRIOR_DRAWS, torch.Generator().manual_seed(0))["z"].numpy()
    return code_scatter(z, dataset.test_labels[:CODES].numpy(), dataset.label_names, draws)


def write_codes(folder: Path, model: Model, dataset: Dataset, most: int = 1000) -> None:
    """Write what the model makes of test images, chosen at random: for drift, and for pages of a 2-D code."""
    order = uniform_noise(len(dataset.test_images), 1, seed=0)[:, 0].argsort(kind="stable")
    rows = np.sort(order[:most])
    images = dataset.test_images[rows].numpy()
    error, distance, contrast = model.score_parts(images)
    kept: References = {
        "z": model.encode(images),
        "error": error,
        "distance": distance,
        "contrast": contrast,
        "brightness": (images.mean((1, 2, 3)) / 255).astype(np.float32),
        "label": dataset.test_labels[rows[: len(rows) if dataset.label_names else 0]].numpy().astype(np.uint16),
        "names": np.array(dataset.label_names, dtype=np.str_),
    }
    save_npz(folder / CODES_FILE, kept)


def _one_of_each(dataset: Dataset) -> torch.Tensor:
    """The first test image of each class, at most ten, or the first ten images if there are no classes or several."""
    if not dataset.label_names or dataset.attributes:
        return dataset.test_images[:_RECONSTRUCTIONS]
    first = [int((dataset.test_labels == label).nonzero()[0]) for label in dataset.test_labels.unique()]
    return dataset.test_images[first[:_RECONSTRUCTIONS]]
