"""What a bundle is made from: networks with their weights rounded, and the data that they are measured on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from aae_zoo.export.bundling.detector import scaled
from aae_zoo.export.bundling.graphs import fold_normalisations, round_weights
from aae_zoo.runtime.bundles.manifest import FALSE_ALARMS, DetectorLimits
from aae_zoo.runtime.bundles.names import DETECTOR
from aae_zoo.runtime.errors import DatasetError
from aae_zoo.runtime.escapes import note
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.loading import load_data, validation_images, with_attributes
from aae_zoo.zoo.measure.measured import Measured, Networks
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.recipe import DataSettings, Recipe
from aae_zoo.zoo.training.lite import LiteDecoder, load_lite, measure_lite
from aae_zoo.zoo.training.run import LABELS, Run, load_model

# Facts of a run that another run need not repeat, or that are of the user's machine.
_PASSING: Final = ("training_seconds", "data")


@dataclass(frozen=True)
class Words:
    """What the manifest says of a model in words."""

    name: str
    version: str
    title: str
    description: str
    licence: str


@dataclass(frozen=True)
class Source:
    """What a bundle is made from, whatever trained it; networks are in evaluation mode, their weights rounded.

    settings    which of the data set's images are for validation, and whether its labels are the classes
    labels      the names of the classes that the encoder tells or the prior draws; none where those are attributes
    networks    what each graph is made from, by its role: from inputs by name to outputs by name
    measured    the same, as its figures are measured
    whole       all networks of the training by name; model.safetensors has those of the graphs, with `whole_of`
    figures     figures that are known beside those of the networks
    provenance  what made the model
    known       the labels that training knew, where it knew some
    detector    what the detector promises, where `networks` has one
    """

    words: Words
    settings: DataSettings
    dataset: Dataset
    labels: tuple[str, ...]
    networks: Mapping[str, nn.Module]
    measured: Measured
    prior: BasePrior
    whole: nn.Module
    whole_of: Mapping[str, str]
    provenance: Mapping[str, Any]
    figures: Mapping[str, Any]
    known: Mapping[str, Any] | None = None
    lite: LiteDecoder | None = None
    detector: DetectorLimits | None = None


def open_source(run: Run, data: Path | Dataset | None, false_alarms: float | None = None) -> Source:
    """A finished run with the data that it was trained on, and its networks with their weights rounded.

    Raises:
        CheckpointError: the run is unfinished or damaged, or holds weights that float16 cannot hold.
        DatasetError: the data set is missing or damaged, or is not the one that the run was trained on.
    """
    recipe, facts = run.recipe, run.read_json("run.json")
    dataset = _trained_on(run, facts, data)
    model, objective = load_model(run, dataset.image_shape)
    fold_normalisations(objective)
    round_weights(objective)
    if lite := load_lite(run, dataset.image_shape):
        round_weights(lite)
    networks: dict[str, nn.Module] = {
        "encoder": _Encoder(model).eval(),
        "decoder": model.decoder.eval(),
        "prior": model.prior.eval(),
    }
    validation = validation_images(recipe.data, dataset)
    limits = None
    if detector := objective.detector(model, dataset.train_images[: -len(validation)], validation):
        networks[DETECTOR], limits = _scaled(detector, validation, false_alarms)
    return Source(
        words=Words(recipe.name, recipe.version, recipe.title, recipe.description, recipe.licence),
        settings=recipe.data,
        dataset=dataset,
        labels=() if model.prior.widths else _labels(recipe, dataset, model.prior.classes),
        networks=networks,
        detector=limits,
        measured=Networks(model),
        prior=model.prior,
        whole=objective,
        whole_of={"recipe_sha256": recipe.sha256},
        provenance={**lasting(facts), "recipe": recipe.to_toml()},
        figures={
            **({"paper": recipe.paper.model_dump()} if recipe.paper else {}),
            **({"variants": {"decoder.lite": measure_lite(model, lite, dataset, run)}} if lite else {}),
        },
        known=run.read_json(LABELS) if (run.folder / LABELS).exists() else None,
        lite=lite,
    )


def _trained_on(run: Run, facts: Mapping[str, Any], data: Path | Dataset | None) -> Dataset:
    """The data set of a run, or refuse another one."""
    dataset = data if isinstance(data, Dataset) else load_data(run.recipe.data, run.data(data))
    dataset = with_attributes(dataset, run.recipe.data)
    if dataset.md5s != facts["dataset_md5"]:
        raise DatasetError(
            f"{dataset.name} is not the data that {run.folder} was trained on: its files have the md5s "
            f"{', '.join(dataset.md5s.values())}, expected {', '.join(facts['dataset_md5'].values())}; "
            "give it with --data"
        )
    return dataset


def _scaled(detector: nn.Module, validation: Tensor, false_alarms: float | None) -> tuple[nn.Module, DetectorLimits]:
    """A detector with its scale, and a warning where there are too few images for the share of false alarms."""
    share = FALSE_ALARMS if false_alarms is None else false_alarms
    network, limits = scaled(detector, validation, false_alarms=share)
    if limits.false_alarms > share:
        say(
            f"warning: {limits.images} validation images promise no less than {100 * limits.false_alarms:.2g} % of "
            f"false alarms; {100 * share:g} % take {math.ceil(1 / share) - 1}"
        )
    return network, limits


class _Encoder(nn.Module):
    """Images to codes by name: what the encoder's graph computes."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.model.encode(image)


def lasting(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A run's facts without those that another run need not repeat, and without folders of the user's machine."""
    return {name: value for name, value in facts.items() if name not in _PASSING}


def _labels(recipe: Recipe, dataset: Dataset, classes: int) -> tuple[str, ...]:
    """The names of the prior's classes: those of the data set, or numbers if they were found without labels."""
    if recipe.data.labels:
        return tuple(dataset.label_names[:classes])
    return tuple(f"cluster {k}" for k in range(classes))


def say(what: str) -> None:
    """Say on stderr what is being done: an export takes half a minute."""
    note(f"export: {what}")
