"""What each graph says of itself, so that one file is enough for a program that embeds it."""

import json
from typing import Final

from aae_zoo.runtime.bundles.manifest import Manifest

# Of the keys in a graph's metadata_props.
METADATA_PREFIX: Final = "aae_zoo."


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
