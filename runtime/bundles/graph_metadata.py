"""What each graph says of itself, so that one file is enough for a program that embeds it."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from aae_zoo.runtime.bundles.manifest import Manifest

# Of the keys in a graph's metadata_props.
METADATA_PREFIX: Final = "aae_zoo."
# The keys whose values are JSON, in which blanks say nothing.
_JSON: Final = ("image_shape", "labels", "attributes")


def graph_metadata(manifest: Manifest, role: str) -> dict[str, str]:
    """What a graph of a role says of itself, by key; lists are JSON, and None is an empty text."""
    coordinate = manifest.label_coordinate
    return {
        "name": manifest.name,
        "version": manifest.version,
        "role": role,
        "image_shape": json.dumps(manifest.image.axes),
        "latent": str(manifest.latent),
        "noise": str(manifest.noise),
        "classes": str(manifest.classes),
        "labels": json.dumps(manifest.labels),
        "label_coordinate": "" if coordinate is None else str(coordinate),
        "dataset": manifest.dataset,
        "licence": manifest.licence,
        **({"attributes": json.dumps([each._asdict() for each in manifest.attributes])} if manifest.attributes else {}),
    }


def metadata_faults(metadata: Sequence[tuple[str, str]], name: str, role: str, manifest: Manifest) -> Iterator[str]:
    """Where the metadata of a graph, `name` in sentences, do not say what the manifest says."""
    found = dict(metadata)
    if len(found) < len(metadata):
        yield f"{name} has a key of its metadata twice"
    for key, expected in graph_metadata(manifest, role).items():
        value = found.get(METADATA_PREFIX + key)
        if value is None or _read(key, value) != _read(key, expected):
            said = "missing" if value is None else repr(value)[:80]
            yield f"{name}: {METADATA_PREFIX}{key} is {said}, expected {expected!r:.80}"


def _read(key: str, value: str) -> object:
    """A value of a graph's metadata."""
    if key not in _JSON:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
