"""Training that begins with a bundle's weights: the layers that fit are taken, the others begin anew."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.bundled.networks import BundleNetworks
from aae_zoo.zoo.recipe import Recipe


@torch.no_grad()
def begin_with(networks: BundleNetworks, recipe: Recipe, model: Autoencoder) -> dict[str, Any]:
    """Write into an autoencoder of `recipe` all layers of a bundle's networks that fit; where they came from.

    That is the bundle's name, version and manifest's SHA-256, and the names of the layers that were taken and of those
    that stay as they are. A layer fits if all its weights have the shapes of the bundle's.

    Raises:
        InvalidInput: the bundle's networks are of another kind than the recipe's, or no layer of them fits.
    """
    manifest = networks.bundle.manifest
    _check_kinds(networks, recipe)
    weights, state = networks.state_dict(), model.state_dict()
    fits = _layers_that_fit(weights, state)
    if not any(fit and layer.startswith(("encoder.", "decoder.")) for layer, fit in fits.items()):
        raise InvalidInput(
            f"no layer of the encoder and the decoder of {manifest.name} fits those of {recipe.name}; make the "
            f"recipe's [encoder] and [decoder] like those of {manifest.name}, or leave out --from"
        )
    for name, values in state.items():
        if fits[_layer(name)]:
            values.copy_(weights[name])
    return {
        "name": manifest.name,
        "version": manifest.version,
        "manifest_sha256": networks.bundle.manifest_sha256,
        "layers": [layer for layer, fit in fits.items() if fit],
        "new": [layer for layer, fit in fits.items() if not fit],
    }


def _check_kinds(networks: BundleNetworks, recipe: Recipe) -> None:
    for part in ("encoder", "decoder"):
        found, expected = getattr(networks.recipe, part).kind, getattr(recipe, part).kind
        if found != expected:
            raise InvalidInput(
                f"the {part} of {networks.bundle.manifest.name} is of the kind {found}, expected {expected}, that of "
                f"{recipe.name}; set {part}.kind to {found} in the recipe, or leave out --from"
            )


def _layer(name: str) -> str:
    """The layer that has the weights `name`: encoder.layers.0 has encoder.layers.0.bias."""
    return name.rpartition(".")[0]


def _layers_that_fit(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, bool]:
    """Whether each layer of `state` has in `weights` all of its own, in their shapes."""
    fits: dict[str, bool] = {}
    for name, values in state.items():
        fit = name in weights and weights[name].shape == values.shape
        fits[_layer(name)] = fits.get(_layer(name), True) and fit
    return fits
