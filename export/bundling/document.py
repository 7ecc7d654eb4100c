"""What a bundle says of itself: its manifest."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aae_zoo.export.bundling.source import Source
from aae_zoo.runtime.bundles.manifest import SCHEMA, FileRecord, ImageShape, Manifest
from aae_zoo.runtime.bundles.names import ROLES
from aae_zoo.zoo.measure.measured import Networks
from aae_zoo.zoo.measure.metrics import measure
from aae_zoo.zoo.training.lite import measure_lite
from aae_zoo.zoo.training.provenance import versions


def describe(source: Source) -> Manifest:
    """The manifest without the files, the anomaly score and the metrics that only the graphs can give.

    Its metrics are those of the rounded weights on the test set.
    """
    recipe, prior = source.run.recipe, source.model.prior
    return Manifest(
        schema=SCHEMA,
        name=recipe.name,
        version=recipe.version,
        title=recipe.title,
        description=recipe.description,
        licence=recipe.licence,
        dataset=recipe.data.dataset,
        data_licence=source.dataset.licence,
        image=ImageShape(*source.dataset.image_shape),
        preparation=source.dataset.preparation,
        latent=prior.latent,
        noise=prior.noise,
        labels=_labels(source),
        label_coordinate=prior.label_coordinate,
        choices=prior.choices,
        graphs=_graphs(source),
        files={},
        score=None,
        metrics=_metrics(source),
        provenance={**lasting(source.facts), "recipe": recipe.to_toml(), "export_versions": versions()},
    )


def lasting(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A run's facts without those that another run need not repeat, and without folders of the user's machine."""
    return {name: value for name, value in facts.items() if name not in ("training_seconds", "data")}


def _labels(source: Source) -> tuple[str, ...]:
    """The names of the prior's classes: those of the data set, or numbers if they were found without labels."""
    classes = source.model.prior.classes
    if source.run.recipe.data.labels:
        return tuple(source.dataset.label_names[:classes])
    return tuple(f"cluster {k}" for k in range(classes))


def _graphs(source: Source) -> dict[str, dict[str, str]]:
    graphs = {role: {"fp32": f"{role}.onnx"} for role in ROLES}
    if source.lite:
        graphs["decoder"]["lite"] = "decoder.lite.onnx"
    return graphs


def _metrics(source: Source) -> dict[str, Any]:
    """The figures of the rounded weights on the test set, and those of training."""
    recipe, networks = source.run.recipe, dict(source.objective.named_children())
    lite = source.lite and {"decoder.lite": measure_lite(source.model, source.lite, source.dataset, source.run)}
    return {
        **measure(Networks(source.model), source.dataset, recipe),
        "parameters": {n: count for n, m in networks.items() if (count := sum(p.numel() for p in m.parameters()))},
        **({"paper": recipe.paper.model_dump()} if recipe.paper else {}),
        **({"variants": lite} if lite else {}),
    }


def records(folder: Path) -> dict[str, FileRecord]:
    """The SHA-256 and size of every file in a folder, by name."""
    return {
        path.name: FileRecord(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(folder.iterdir())
    }
