"""What a bundle is made from: a finished run with its data, and its networks with their weights rounded."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aae_zoo.export.bundling.graphs import round_weights
from aae_zoo.runtime.errors import DatasetError
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.loading import load_data
from aae_zoo.zoo.objectives import BaseObjective
from aae_zoo.zoo.training.lite import LiteDecoder, load_lite
from aae_zoo.zoo.training.run import Run, load_model


@dataclass(frozen=True)
class Source:
    """What a bundle is made from."""

    run: Run
    facts: Mapping[str, Any]
    dataset: Dataset
    model: Autoencoder
    objective: BaseObjective
    lite: LiteDecoder | None


def open_source(run: Run, data: Path | None) -> Source:
    """A finished run with the data that it was trained on, and its networks with their weights rounded.

    Raises:
        CheckpointError: the run is unfinished or damaged, or holds weights that float16 cannot hold.
        DatasetError: the data set is missing or damaged, or is not the one that the run was trained on.
    """
    facts = run.read_json("run.json")
    dataset = load_data(run.recipe.data, run.data(data))
    if dataset.md5s != facts["dataset_md5"]:
        raise DatasetError(
            f"{dataset.name} is not the data that {run.folder} was trained on: its files have the md5s "
            f"{', '.join(dataset.md5s.values())}, expected {', '.join(facts['dataset_md5'].values())}; "
            "give it with --data"
        )
    model, objective = load_model(run, dataset.image_shape)
    round_weights(objective)
    if lite := load_lite(run, dataset.image_shape):
        round_weights(lite)
    return Source(run, facts, dataset, model, objective, lite)


def say(what: str) -> None:
    """Say on stderr what is being done: an export takes half a minute."""
    sys.stderr.write(f"export: {what}\n")
