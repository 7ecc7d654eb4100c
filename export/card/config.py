"""config.json of a bundle: what the model is, in a few lines. The Hub counts requests for it as downloads."""

import json
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from aae_zoo.runtime.bundles.manifest import Manifest

LIBRARY: Final = "aae-zoo"
_PARTS: Final = ("encoder", "decoder", "prior", "objective")


def config(manifest: Manifest) -> str:
    """The text of config.json, from a manifest; which kinds of parts there are is the recipe's."""
    parts = recipe(manifest)
    content = {
        "library_name": LIBRARY,
        "format": "aae-zoo bundle",
        "format_version": manifest.schema,
        "name": manifest.name,
        "version": manifest.version,
        "model_type": "autoencoder",
        "architecture": {name: parts[name] for name in _PARTS if name in parts},
        "image": manifest.image._asdict(),
        "latent": manifest.latent,
        "noise": manifest.noise,
        "labels": manifest.labels,
        **({"attributes": {each.name: each.labels for each in manifest.attributes}} if manifest.attributes else {}),
        "graphs": manifest.graphs,
    }
    return json.dumps(content, indent=2) + "\n"


def objective(manifest: Manifest) -> str | None:
    """The kind of objective that a model was trained with, such as "aae"; None where its recipe does not tell."""
    kind = recipe(manifest).get("objective", {}).get("kind")
    return kind if isinstance(kind, str) else None


def recipe(manifest: Manifest) -> Mapping[str, Any]:
    """The tables of the recipe that a manifest keeps; none where it is not a recipe."""
    try:
        return tomllib.loads(str(manifest.provenance.get("recipe", "")))
    except tomllib.TOMLDecodeError:
        return {}
