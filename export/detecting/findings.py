"""What a detector makes of the pictures, and what that promises."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aae_zoo.export.detecting.pictures import Pictures
from aae_zoo.export.detecting.promise import Alarms, alarms, enough_for, percent
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.model import Model
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.measure.health import BETTER

Figures = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """The scores of the pictures that were learned from, set the limit and were held out, and of odd ones if any."""

    learned: Figures
    validation: Figures
    held_out: Figures
    odd: Figures | None
    threshold: float

    @classmethod
    def by(cls, model: Model, dataset: Dataset, validation: int, odd: Pictures | None) -> Self:
        """The scores of a data set, the last training images of which are for validation."""

        def score(images: Tensor) -> Figures:
            return model.score(images.numpy()).score

        known = score(dataset.train_images)
        return cls(
            learned=known[:-validation],
            validation=known[-validation:],
            held_out=score(dataset.test_images),
            odd=None if odd is None else score(odd.pixels),
            threshold=model.threshold,
        )

    def alarms(self, scores: Figures) -> Alarms:
        """How many of some pictures are odd."""
        return alarms(int((scores > self.threshold).sum()), len(scores))


@dataclass(frozen=True)
class Detector:
    """What `make_detector` has made: its folders, its manifest, and figures.

    `bundle`, `page` and `run` are folders: the model, the page of what it thinks, and what training keeps, which took
    `seconds`. `pictures` counts what was `learned` from, what set the limit (`validation`), what was `held_out`
    to measure it, what is `odd`, and what was left out as `copies` or `unreadable`. A picture is odd whose score is
    above the `threshold`, which was set for a share of `promised` false alarms. `false_alarms` are those among the
    held-out pictures, `found` those among the odd ones, and `auroc` is how often one of these scores higher than a
    held-out one: None without odd pictures. `warnings` are sentences.
    """

    bundle: Path
    page: Path
    run: Path
    manifest: Manifest
    seconds: float
    pictures: dict[str, int]
    threshold: float
    promised: float
    false_alarms: Alarms
    found: Alarms | None
    auroc: float | None
    warnings: list[str]

    def to_document(self) -> dict[str, Any]:
        """All of it as JSON has it, and of the manifest the name."""
        document = {name: value for name, value in vars(self).items() if name != "manifest"}
        folders = {name: str(document[name]) for name in ("bundle", "page", "run")}
        shares = {name: value and asdict(value) for name, value in document.items() if isinstance(value, Alarms)}
        return {"name": self.manifest.name, **document, **folders, **shares}


def doubts(held_out: Alarms, validation: int, promised: float) -> list[str]:
    """Why the share of false alarms that was asked for cannot be promised, in numbers; nothing where it can."""
    found, least, enough = [], int(np.ceil(1 / promised)) - 1, enough_for(promised)
    if validation < least:
        found.append(
            f"{validation:,} pictures are too few to set a limit for {percent(promised)} of false alarms, expected "
            f"{least:,} or more: the limit is their highest score"
        )
    if held_out.of < enough:
        found.append(
            f"{held_out.of:,} held-out pictures are too few to promise {percent(promised)} of false alarms, which "
            f"takes {enough:,} without one (a fifth of {5 * enough:,}): up to {percent(held_out.high)} is possible"
        )
    elif held_out.low > promised:
        found.append(
            f"false alarms are more than the {percent(promised)} that was asked for: {percent(held_out.share)} of "
            f"{held_out.of:,} held-out pictures"
        )
    return found


def learned_nothing(manifest: Manifest) -> list[str]:
    """What is to be said where reconstructions are no better than the mean picture."""
    error, of_mean = manifest.metrics["mse"], manifest.metrics["mean_image_mse"]
    if error <= BETTER * of_mean:
        return []
    return [
        f"the model has learned little: its squared error per pixel is {error:.2g}, that of the mean picture "
        f"{of_mean:.2g}; give more pictures, or --set training.epochs=100"
    ]
