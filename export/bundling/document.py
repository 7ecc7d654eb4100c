"""What a bundle says of itself: its manifest."""

import hashlib
from pathlib import Path
from typing import Any, Final

from aae_zoo.export.bundling.source import Source
from aae_zoo.runtime.bundles.manifest import SCHEMA, Attribute, FileRecord, ImageShape, Manifest
from aae_zoo.zoo.measure.metrics import measure
from aae_zoo.zoo.training.provenance import versions

# Of codes with more numbers, the manifest has no covariances: it has at most a megabyte.
_MOST_MOMENTS: Final = 128


def describe(source: Source) -> Manifest:
    """The manifest without the files, the anomaly score, TF32's errors and the metrics that only the graphs can give.

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
        attributes=_attributes(source),
        choices=prior.choices,
        graphs=_graphs(source),
        files={},
        score=None,
        detector=source.detector,
        tf32=(),
        metrics=_metrics(source),
        provenance={**source.provenance, "export_versions": versions()},
    )


def _attributes(source: Source) -> tuple[Attribute, ...]:
    """What the prior chooses, where it has several attributes: those of the data set."""
    coordinates = source.prior.coordinates
    return tuple(
        Attribute(attribute.name, attribute.labels, coordinate)
        for attribute, coordinate in zip(source.dataset.attributes if coordinates else (), coordinates, strict=True)
    )


def _graphs(source: Source) -> dict[str, dict[str, str]]:
    graphs = {role: {"fp32": f"{role}.onnx"} for role in source.networks}
    if source.lite:
        graphs["decoder"]["lite"] = "decoder.lite.onnx"
    return graphs


def _metrics(source: Source) -> dict[str, Any]:
    """The figures of the rounded weights on the test set, and those of training."""
    networks = dict(source.whole.named_children())
    found = measure(source.measured, source.dataset, source.settings)
    if source.prior.latent > _MOST_MOMENTS:
        del found["code_covariance"], found["prior_covariance"]
    return {
        **found,
        "parameters": {n: count for n, m in networks.items() if (count := sum(p.numel() for p in m.parameters()))},
        **source.figures,
    }


def records(folder: Path) -> dict[str, FileRecord]:
    """The SHA-256 and size of every file in a folder, by name."""
    return {
        path.name: FileRecord(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(folder.iterdir())
    }
