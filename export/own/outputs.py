"""Networks of any habit by our names: what they return becomes z, log_var, y and image."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import torch
from torch import Generator, Tensor, nn

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.zoo.maths.quantile import normal_quantile
from aae_zoo.zoo.measure.measured import Codes, Draws
from aae_zoo.zoo.priors import BasePrior, fitted, one_hot, open_uniform

Names = Mapping[str, str | int]

# What each network gives by our names; the first of them is needed.
GIVES: Final = {"encoder": ("z", "log_var", "y"), "decoder": ("image",), "prior": ("z", "y")}
# The nearest to 0 and 1 that a pixel is taken for where its logit is needed.
_LEAST: Final = 2.0**-24


def by_name(role: str, found: Any, names: Names) -> dict[str, Tensor]:
    """What a network returned, by our names.

    Raises:
        InvalidInput: what is needed is not among it, or is not a tensor.
    """
    first, *_ = GIVES[role]
    if isinstance(found, Tensor):
        return {first: found}
    parts = _parts(role, found)
    if len(parts) == 1:
        names = {first: next(iter(parts)), **names}
    given = {ours: parts[names.get(ours, ours)] for ours in GIVES[role] if names.get(ours, ours) in parts}
    for ours in GIVES[role]:
        if ours not in given and (ours == first or ours in names):
            raise InvalidInput(
                f"the {role} returns {', '.join(map(_described, parts.items())) or 'nothing'}, and none of these is "
                f"said to be {ours}; say which is in outputs={{{ours!r}: ...}}"
            )
    for ours, values in given.items():
        if not isinstance(values, Tensor):
            raise InvalidInput(f"the {role} gives {type(values).__name__} as {ours}, expected a tensor")
    return given


def _described(part: tuple[str | int, Any]) -> str:
    """An output by its key, field or place, with the shape by which people tell it from others."""
    key, values = part
    return f"{key!r} {list(values.shape)}" if isinstance(values, Tensor) else repr(key)


def _parts(role: str, found: Any) -> dict[str | int, Any]:
    """The outputs by their keys, fields or places."""
    if isinstance(found, Mapping):
        return dict(found)
    if is_dataclass(found) and not isinstance(found, type):
        return {field.name: getattr(found, field.name) for field in fields(found)}
    if isinstance(found, tuple):
        named = found._asdict() if hasattr(found, "_asdict") else {}
        return {**dict(enumerate(found)), **named} if named else dict(enumerate(found))
    raise InvalidInput(
        f"the {role} returns a {type(found).__name__}, expected a tensor, or a tuple, dict or dataclass of tensors; "
        "let its forward return one of these"
    )


class OwnEncoder(nn.Module):
    """Images to codes by our names."""

    def __init__(self, module: nn.Module, names: Names) -> None:
        super().__init__()
        self.module, self.names = module, dict(names)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """The codes of images."""
        return by_name("encoder", self.module(image), self.names)


class OwnDecoder(nn.Module):
    """Codes to images in [0, 1] by our names; `logits` says that the module gives them before the sigmoid."""

    def __init__(self, module: nn.Module, names: Names, *, logits: bool, conditional: bool) -> None:
        super().__init__()
        self.module, self.names = module, dict(names)
        self.gives_logits, self.conditional = logits, conditional

    def forward(self, z: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """The image of each code."""
        image = self._outputs(z, y)
        return {"image": image.sigmoid() if self.gives_logits else image}

    def logits(self, codes: Codes) -> Tensor:
        """The images of codes before the sigmoid; of the codes, the decoder takes what it needs."""
        image = self._outputs(codes["z"], codes["y"] if self.conditional else None)
        return image if self.gives_logits else image.logit(eps=_LEAST)

    def _outputs(self, z: Tensor, y: Tensor | None) -> Tensor:
        return by_name("decoder", self.module(z) if y is None else self.module(z, y), self.names)["image"]


class Mixture(fitted.Prior):
    """The fitted prior of few Gaussians in many dimensions: of each row it computes all of them, and no matrix."""

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Codes z [n, size] of noise u [n, size + 1]."""
        chosen, count = self.chosen(u), len(self.means)
        each = (normal_quantile(u[:, :-1]) @ self.factors.flatten(0, 1).T).unflatten(1, (count, self.latent))
        return {"z": chosen @ self.means + (each * chosen[:, :, None]).sum(1)}


class OwnPrior(BasePrior):
    """A module from uniform noise to codes."""

    def __init__(
        self, module: nn.Module, *, noise: int, latent: int, classes: int, label_coordinate: int | None
    ) -> None:
        super().__init__()
        self.module, self.noise, self.latent = module, noise, latent
        self.classes = 0 if label_coordinate is None else classes
        self.label_coordinate = label_coordinate

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """The codes of noise."""
        found = self.module(u)
        in_order = isinstance(found, tuple) and len(found) == len(GIVES["prior"])
        return by_name("prior", found, {name: k for k, name in enumerate(GIVES["prior"])} if in_order else {})


class PriorWithClasses(BasePrior):
    """Another prior's z, and beside it a class y that one more number of the noise chooses, each as often."""

    conditional = True

    def __init__(self, prior: BasePrior, classes: int) -> None:
        super().__init__()
        self.prior, self.latent, self.classes = prior, prior.latent, classes
        self.noise, self.label_coordinate = prior.noise + 1, prior.noise

    @property
    def choices(self) -> tuple[int, ...]:
        """Those of the other prior, and the last coordinate, which chooses the class."""
        return (*self.prior.choices, self.noise - 1)

    def forward(self, u: Tensor) -> dict[str, Tensor]:
        """Codes z [n, latent] and one-hot classes y [n, classes] of noise u [n, noise]."""
        return {**self.prior(u[:, :-1]), "y": one_hot(u[:, -1], self.classes)}


class OwnNetworks:
    """Networks as something that can be measured."""

    def __init__(self, encoder: OwnEncoder, decoder: OwnDecoder, prior: BasePrior) -> None:
        self.encoder, self.decoder, self.prior = encoder, decoder, prior

    def encode(self, image: Tensor) -> Codes:
        """The codes of images."""
        codes: dict[str, Tensor] = self.encoder(image)
        return codes

    def decode(self, codes: Codes) -> Tensor:
        """The images of codes, before the sigmoid."""
        return self.decoder.logits(codes)

    @torch.no_grad()
    def draw(self, count: int, generator: Generator) -> Draws:
        """`count` draws of the prior."""
        u, prior = open_uniform(count, self.prior.noise, generator), self.prior
        return Draws(prior(u), (u[:, prior.label_coordinate] * prior.classes).long() if prior.classes else None)
