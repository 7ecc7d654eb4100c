"""What a bundle says of itself: its manifest."""

import hashlib
from pathlib import Path
from typing import Any

from aae_zoo.export.bundling.source import Source
from aae_zoo.runtime.bundles.manifest import SCHEMA, FileRecord, ImageShape, Manifest
from aae_zoo.zoo.measure.metrics import measure
from aae_zoo.zoo.training.provenance import versions


def describe(source: Source) -> Manifest:
    """The manifest without the files, the anomaly score and the metrics that only the graphs can give.

    Its metrics are those of the rounded weights on the test set.
    """
    words, prior = source.words, source.prior
    return Manifest(
        schema=SCHEMA,
        name=words.name,
        version=words.version,
        title=words.title,
        description=words.description,
        licence=words.licence,
        dataset=source.dataset.name,
        data_licence=source.dataset.licence,
        image=ImageShape(*source.dataset.image_shape),
        preparation=source.dataset.preparation,
        latent=prior.latent,
        noise=prior.noise,
        labels=source.labels,
        label_coordinate=prior.label_coordinate,
        choices=prior.choices,
        graphs=_graphs(source),
        files={},
        score=None,
        detector=source.detector,
        metrics=_metrics(source),
        provenance={**source.provenance, "export_versions": versions()},
    )


def _graphs(source: Source) -> dict[str, dict[str, str]]:
    graphs = {role: {"fp32": f"{role}.onnx"} for role in source.networks}
    if source.lite:
        graphs["decoder"]["lite"] = "decoder.lite.onnx"
    return graphs


def _metrics(source: Source) -> dict[str, Any]:
    """The figures of the rounded weights on the test set, and those of training."""
    networks = dict(source.whole.named_children())
    return {
        **measure(source.measured, source.dataset, source.settings),
        "parameters": {n: count for n, m in networks.items() if (count := sum(p.numel() for p in m.parameters()))},
        **source.figures,
    }


def records(folder: Path) -> dict[str, FileRecord]:
    """The SHA-256 and size of every file in a folder, by name."""
    return {
        path.name: FileRecord(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(folder.iterdir())
    }
