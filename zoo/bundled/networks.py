"""A bundle's networks as PyTorch modules."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.names import OWN_MODULES, ROLES, WEIGHTS
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.checks.parity import golden_of, problem_with, relative_error
from aae_zoo.runtime.checks.verify import GATES
from aae_zoo.runtime.errors import InvalidBundle, InvalidRecipe
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.store.pull import pull
from aae_zoo.zoo.autoencoder import ImageEncoder
from aae_zoo.zoo.build import build
from aae_zoo.zoo.bundled.initialisers import read_initialisers
from aae_zoo.zoo.networks import BaseDecoder
from aae_zoo.zoo.networks.conv import pass_through
from aae_zoo.zoo.priors import BasePrior
from aae_zoo.zoo.recipe import Recipe, parse_toml


@dataclass(frozen=True)
class BundleNetworks:
    """What a bundle's graphs were made from, on the CPU, in float32 and in evaluation mode.

    `encoder` maps images [n, C, H, W] in [0, 1] to codes by name: z [n, latent], and where the model has them log_var
    [n, latent] and y [n, classes]. `decoder` maps z, and y where the prior is conditional, to {"image": [n, C, H, W]}
    in [0, 1]; `prior` maps noise [n, noise] in the open interval (0, 1) to z and y. The judges of an adversarial
    training stay with its run.
    """

    bundle: Bundle
    recipe: Recipe
    encoder: ImageEncoder
    decoder: BaseDecoder
    prior: BasePrior

    def state_dict(self) -> dict[str, Tensor]:
        """All weights, by the names that they have in a bundle's model.safetensors."""
        parts = {"encoder": self.encoder.encoder, "decoder": self.decoder, "prior": self.prior}
        return {f"{p}.{name}": v for p, module in parts.items() for name, v in module.state_dict().items()}


def load_networks(name: str | os.PathLike[str]) -> BundleNetworks:
    """The networks of a model as PyTorch modules, whose outputs were compared with the bundle's golden ones.

    `name` is a catalogue name, bundle folder or Hub repository "org/repo[@revision]", each with a pin or without, as
    for `aae_zoo.runtime.load`; what is not here is pulled. The weights are those of model.safetensors, or where it is
    missing, as in an installed wheel, those of the ONNX graphs, which are the same. Nothing is unpickled, and PyTorch's
    random state stays as it is.

    Raises:
        InvalidInput, ModelNotFound, HubError, OutputError: as for `load`.
        InvalidBundle: a file is missing, altered or hostile; the bundle does not say by which recipe it was made, or
            not by one that this version knows; or its weights are not that recipe's, not finite, or do not give the
            golden outputs.
    """
    bundle = pull(name).bundle
    recipe = recipe_of(bundle.manifest)
    with torch.random.fork_rng([]), torch.device("cpu"):
        try:
            model, _ = build(recipe, bundle.manifest.image.axes)
        except InvalidRecipe as error:
            raise InvalidBundle(f"the recipe of {bundle.manifest.name} makes no networks: {error}") from None
    whole = not bundle.leaves_out(WEIGHTS) and WEIGHTS in bundle.manifest.files
    weights = parse_weights(bundle.read(WEIGHTS), bundle.manifest.name) if whole else read_initialisers(bundle, model)
    state = model.state_dict()
    take_weights(state, state if whole else _of_graphs(model), weights, bundle.manifest.name)
    networks = BundleNetworks(bundle, recipe, ImageEncoder(model).eval(), model.decoder.eval(), model.prior.eval())
    _check_outputs(networks)
    return networks


def _of_graphs(model: nn.Module) -> set[str]:
    """The names of the weights that a model's graphs have.

    Buffers that no graph needs, such as counts, are in none, nor are the batch normalisations, which every export takes
    into the convolutions: they do nothing here.
    """
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    for norm in norms.values():
        pass_through(norm)
    return {name for name, _ in model.named_parameters() if name.rpartition(".")[0] not in norms}


def recipe_of(manifest: Manifest) -> Recipe:
    """The recipe that a bundle was trained by.

    Raises:
        InvalidBundle: it does not say, or not in a way that this version reads.
    """
    name, text = manifest.name, manifest.provenance.get("recipe")
    if manifest.provenance.get("source") == OWN_MODULES:
        raise InvalidBundle(
            f"{name} was exported from modules that aae-zoo has no code of, so that it cannot build them; load the "
            f"weights of its {WEIGHTS} into modules of the same classes yourself"
        )
    if not isinstance(text, str):
        raise InvalidBundle(
            f"{name} does not say by which recipe its networks were made (no provenance.recipe in its manifest), so "
            "that PyTorch cannot have them; take a bundle that aae-zoo export made of a run"
        )
    try:
        return parse_toml(text, f"the recipe of {name}")
    except InvalidRecipe as error:
        raise InvalidBundle(f"{error}; it may be that of another version of aae-zoo") from None


def parse_weights(content: bytes, name: str) -> dict[str, Tensor]:
    """The weights of a model.safetensors, that of `name`, in float32.

    Raises:
        InvalidBundle: it is not a safetensors file.
    """
    try:
        weights = load(content)
    except SafetensorError as error:
        raise InvalidBundle(
            f"{WEIGHTS} of {name} is not a safetensors file ({error}); do not trust this bundle"
        ) from None
    return {name: values.float() if values.is_floating_point() else values for name, values in weights.items()}


@torch.no_grad()
def take_weights(state: Mapping[str, Tensor], needed: Iterable[str], weights: Mapping[str, Tensor], name: str) -> None:
    """Write the weights of the bundle `name` into the tensors of freshly built networks; all that are needed.

    Raises:
        InvalidBundle: weights are missing, of another shape or not finite, or not those of the networks.
    """
    if missing := sorted(set(needed) - weights.keys()):
        raise InvalidBundle(
            f"{name} has no weights {missing[0]}, which its recipe's networks have; do not trust this bundle"
        )
    for key, values in weights.items():
        expected = list(state[key].shape) if key in state else "none"
        if expected != list(values.shape):
            raise InvalidBundle(
                f"{name} has weights {key[:80]} of the shape {list(values.shape)}, expected {expected} by its recipe; "
                "do not trust this bundle"
            )
        if not values.isfinite().all():
            raise InvalidBundle(f"{name} has weights {key[:80]} that are not finite numbers; get it again")
        state[key].copy_(values)


@torch.no_grad()
def _check_outputs(networks: BundleNetworks) -> None:
    """Refuse networks that do not give the golden outputs, as their graphs have to."""
    manifest, golden = networks.bundle.manifest, read_golden(networks.bundle)
    for role in ROLES:
        given, expected = golden_of(role, golden)
        if problem := _difference(getattr(networks, role), given, expected, manifest.widths):
            raise InvalidBundle(
                f"PyTorch's {role} of {manifest.name} is not that of the bundle: {problem}; its recipe or its weights "
                "may be those of another version of aae-zoo"
            )


def _difference(network: nn.Module, given: Arrays, expected: Arrays, widths: Sequence[int]) -> str | None:
    """How a network's outputs differ from the expected ones, if they do."""
    try:
        found = {n: v.numpy() for n, v in network(**{n: torch.from_numpy(v) for n, v in given.items()}).items()}
    except Exception as error:  # PyTorch raises whatever it meets first in inputs of other shapes
        return words_of(error)
    if problem := problem_with(found, expected, widths=widths):
        return problem
    worst = max(relative_error(found[n], reference) for n, reference in expected.items())
    gate = GATES["cpu", "fp32"].limit
    return None if worst <= gate else f"its outputs differ by {worst:.3g} of their size, expected at most {gate:g}"
