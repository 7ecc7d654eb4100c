"""What a bundle says of itself: its manifest as it comes to be, and the metadata of its graphs."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aae_zoo.export.bundling.source import Source
from aae_zoo.runtime.bundles.manifest import ROLES, SCHEMA
from aae_zoo.zoo.measure.metrics import measure
from aae_zoo.zoo.training.lite import LiteDecoder, measure_lite
from aae_zoo.zoo.training.provenance import versions


def describe(source: Source) -> dict[str, Any]:
    """The manifest without its files. The metrics are those of the rounded weights, on the test set."""
    recipe, prior = source.run.recipe, source.model.prior
    channels, height, width = source.dataset.image_shape
    networks = dict(source.objective.named_children())
    return {
        "schema": SCHEMA,
        "name": recipe.name,
        "version": recipe.version,
        "title": recipe.title,
        "description": recipe.description,
        "licence": recipe.licence,
        "dataset": recipe.data.dataset,
        "image": {"channels": channels, "height": height, "width": width},
        "latent": prior.latent,
        "noise": prior.noise,
        "labels": _labels(source),
        "label_coordinate": prior.label_coordinate,
        "choices": list(prior.choices),
        "graphs": {
            **{role: {"fp32": f"{role}.onnx"} for role in ROLES},
            **({"decoder": {"fp32": "decoder.onnx", "lite": "decoder.lite.onnx"}} if source.lite else {}),
        },
        "files": {},
        "metrics": {
            **measure(source.model, source.dataset, recipe),
            "parameters": {n: count for n, m in networks.items() if (count := sum(p.numel() for p in m.parameters()))},
            "training_seconds": source.facts["training_seconds"],
            **({"paper": recipe.paper.model_dump()} if recipe.paper else {}),
            **({"variants": _lite_metrics(source, source.lite)} if source.lite else {}),
        },
        "provenance": {**source.facts, "recipe": recipe.to_toml(), "export_versions": versions()},
    }


def _labels(source: Source) -> list[str]:
    """The names of the prior's classes: the data set's, or where they were found without labels, their numbers."""
    classes = source.model.prior.classes
    if source.run.recipe.data.labels:
        return list(source.dataset.label_names)[:classes]
    return [f"cluster {k}" for k in range(classes)]


def _lite_metrics(source: Source, lite: LiteDecoder) -> dict[str, Any]:
    return {"decoder.lite": measure_lite(source.model, lite, source.dataset, source.run)}


def metadata(document: Mapping[str, Any], role: str) -> dict[str, str]:
    """What one graph alone must tell a program that embeds it; a list is JSON, nothing is an empty text."""
    coordinate = document["label_coordinate"]
    return {
        "name": document["name"],
        "version": document["version"],
        "role": role,
        "image_shape": json.dumps(list(document["image"].values())),
        "latent": str(document["latent"]),
        "noise": str(document["noise"]),
        "classes": str(len(document["labels"])),
        "labels": json.dumps(document["labels"]),
        "label_coordinate": "" if coordinate is None else str(coordinate),
        "dataset": document["dataset"],
        "licence": document["licence"],
    }


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """The SHA-256 and the size of every file of a folder, by name."""
    return {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
