"""The networks of a bundle as one module, saved and loaded in the way that the Hub's PyTorch models are."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from torch import Tensor

from aae_zoo.runtime.bundles.bundle import has_manifest
from aae_zoo.runtime.bundles.names import CONFIG, MAX_FILE_BYTES, WEIGHTS
from aae_zoo.runtime.documents import parse_document
from aae_zoo.runtime.errors import InvalidBundle, InvalidRecipe, path_text
from aae_zoo.runtime.files import open_plain
from aae_zoo.runtime.store.hub import endpoint, hub_errors
from aae_zoo.zoo.autoencoder import HasEncoder
from aae_zoo.zoo.build import build
from aae_zoo.zoo.bundled.networks import load_networks, parse_weights, take_weights
from aae_zoo.zoo.recipe import parse_toml

_REPOSITORY: Final = re.compile(r"[^/@#.][^/@#]*/[^/@#]+")
_MOST_CONFIG: Final = 1 << 20
_MOST_SIDE: Final = 1024
_MEND: Final = "give a folder or repository that save_pretrained wrote, or a bundle"


class PretrainedAutoencoder(
    HasEncoder,
    PyTorchModelHubMixin,
    library_name="aae-zoo",
    paper_url="https://arxiv.org/abs/1511.05644",
    tags=["autoencoder"],
):
    """The encoder, decoder and prior of a recipe, in TOML, for images (C, H, W), with `save_pretrained`, `push_to_hub`.

    These are the mixin's: `config.json` has the recipe and the shape, `model.safetensors` the weights by the names that
    a bundle has for them. `from_pretrained` reads a folder or repository of these two files, or any bundle.

    Raises:
        InvalidRecipe: the recipe has mistakes, or the images are of no shape (C, H, W).
    """

    def __init__(self, recipe: str, image: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(recipe, str):
            raise InvalidRecipe(f"the recipe is {type(recipe).__name__}, expected a text in TOML")
        self.recipe = parse_toml(recipe, "the recipe")
        with torch.random.fork_rng([]), torch.device("cpu"):
            model, _ = build(self.recipe, _shape(image))
        self.encoder, self.decoder, self.prior = model.encoder, model.decoder, model.prior
        self.noisy = model.noisy
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """The reconstructions [n, C, H, W] of images [n, C, H, W], both in [0, 1]; `encode` gives codes by name."""
        codes = self.encode(image)
        decoded: dict[str, Tensor] = self.decoder(codes["z"], codes["y"] if self.prior.conditional else None)
        return decoded["image"]

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the Hub's client has its other options from the environment
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *, revision: str | None = None
    ) -> Self:
        """The networks of a folder or Hub repository ORG/NAME of these two files, or of a bundle as `load_networks`.

        They are on the CPU, in float32 and in evaluation mode. Nothing is unpickled.

        Raises:
            InvalidBundle: a file is missing or hostile, or the weights are not finite or not those of the recipe.
            Others: as for `load_networks`.
        """
        name = path_text(pretrained_model_name_or_path, "the name")
        where = name if revision is None else f"{name}@{revision}"
        if _is_bundle(name) or (config := _config(_read(name, revision, CONFIG, _MOST_CONFIG), where)) is None:
            return cls._of_bundle(where)
        try:
            networks = cls(**config)
        except InvalidRecipe as error:
            raise InvalidBundle(f"{CONFIG} of {where} makes no networks: {error}") from None
        state = networks.state_dict()
        weights = parse_weights(_read(name, revision, WEIGHTS, MAX_FILE_BYTES), where)
        take_weights(state, state, weights, where)
        return networks

    @classmethod
    def _of_bundle(cls, name: str) -> Self:
        found = load_networks(name)
        manifest, weights = found.bundle.manifest, found.state_dict()
        networks = cls(manifest.provenance["recipe"], list(manifest.image.axes))
        networks.load_state_dict({name: weights[name] for name in networks.state_dict()})
        return networks


def _is_bundle(name: str) -> bool:
    """Whether a name is that of a bundle, as far as that can be told without asking the Hub."""
    return has_manifest(Path(name)) if os.path.isdir(name) else not _REPOSITORY.fullmatch(name)


def _config(content: bytes, where: str) -> dict[str, Any] | None:
    """What `PretrainedAutoencoder` is made with, or None if a config.json is a bundle's."""
    try:
        config = parse_document(content)
    except ValueError as error:
        raise InvalidBundle(f"{CONFIG} of {where} {error}; {_MEND}") from None
    if "format" in config:
        return None
    if config.keys() != {"recipe", "image"}:
        found = ", ".join(config)[:80] or "nothing"
        raise InvalidBundle(f"{CONFIG} of {where} has {found}, expected recipe and image; {_MEND}")
    return config


def _shape(image: Sequence[int]) -> tuple[int, int, int]:
    match image:
        case [1 | 3 as channels, int() as height, int() as width] if all(1 <= n <= _MOST_SIDE for n in (height, width)):
            return channels, height, width
    raise InvalidRecipe(
        f"the shape of the images is {repr(image)[:80]}, expected channels (1 or 3), height and "
        f"width (1 to {_MOST_SIDE})"
    )


def _read(name: str, revision: str | None, file: str, most: int) -> bytes:
    """A file of a folder or of a repository, of at most `most` bytes."""
    path = Path(name, file)
    if not os.path.isdir(name):
        with hub_errors(name if revision is None else f"{name}@{revision}"):
            path = Path(hf_hub_download(name, file, revision=revision, endpoint=endpoint()))
    try:
        with open_plain(path, links=True) as opened:
            content = opened.read(most + 1)
    except OSError as error:
        raise InvalidBundle(f"{path} cannot be read ({error.strerror}); {_MEND}") from None
    if len(content) > most:
        raise InvalidBundle(f"{path} has more than {most:,} bytes; {_MEND}")
    return content
