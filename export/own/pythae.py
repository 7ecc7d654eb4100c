"""Models that pythae trained, read without pythae, and without unpickling anything."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from aae_zoo.export.own.modules import Modules
from aae_zoo.export.own.pythae_networks import DefaultDecoder, DefaultEncoder
from aae_zoo.runtime.errors import CheckpointError, InvalidInput
from aae_zoo.runtime.files import open_plain
from aae_zoo.zoo.training.stored import parse_json, read_saved

# The models by their names in model_config.json: training draws their codes to N(0, I), or leaves them where they are.
_PRIORS: Final[Mapping[str, Literal["gaussian", "fitted"]]] = {
    "AEConfig": "fitted",
    "RAE_L2_Config": "fitted",
    "WAE_MMD_Config": "gaussian",
    "VAEConfig": "gaussian",
    "BetaVAEConfig": "gaussian",
    "Adversarial_AE_Config": "gaussian",
    "VAEGANConfig": "gaussian",
}
# Those whose encoders give variances too.
_VARIATIONAL: Final = ("VAEConfig", "BetaVAEConfig", "Adversarial_AE_Config", "VAEGANConfig")
# pythae's own have less than a thousand.
_CONFIG_BYTES: Final = 1 << 20
_NOTHING: Final = "nothing"
_NO_TENSOR: Final = "no plain tensor"
_FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class _Config(BaseModel):
    """What of model_config.json decides about the networks."""

    model_config = ConfigDict(strict=True)
    name: str
    latent_dim: Annotated[int, Field(ge=1, le=65536)]
    input_dim: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(max_length=8)] | None = None
    uses_default_encoder: bool = True
    uses_default_decoder: bool = True
    deterministic_posterior: bool = False

    @property
    def variational(self) -> bool:
        return self.name in _VARIATIONAL

    @property
    def image(self) -> tuple[int, int, int] | None:
        """The shape (C, H, W) of an image, if the data have one of images."""
        match self.input_dim:
            case [channels, height, width]:
                return channels, height, width
        return None


def from_pythae(
    folder: str | os.PathLike[str],
    *,
    encoder: nn.Module | type[nn.Module] | None = None,
    decoder: nn.Module | type[nn.Module] | None = None,
) -> Modules:
    """What `export_modules` needs of a model that pythae trained: `export_modules("mine", **from_pythae(folder), ...)`.

    `folder` is one that `model.save` or a trainer of pythae wrote (its `final_model`), of an AE, VAE, BetaVAE, WAE_MMD,
    RAE_L2, Adversarial_AE or VAEGAN of images [n, C, H, W] in [0, 1]. `encoder` and `decoder` are needed where it was
    trained with networks of its own: modules as pythae takes them, or their classes, which are made without arguments.
    They are given the weights of the folder; its pickles are never read, and pythae need not be installed. The prior
    is "gaussian", or of an AE and RAE_L2, which leave the codes where they are, "fitted".

    Raises:
        CheckpointError: the folder is not of such a model, or is damaged, or its weights do not fit the networks.
        InvalidInput: `encoder` or `decoder` is missing, or is not a module.
    """
    place = Path(folder)
    config = _read_config(place / "model_config.json")
    weights = _read_weights(place / "model.pt")
    networks = {
        role: _default(role, config, place) if given is None else _instance(role, given)
        for role, given in (("encoder", encoder), ("decoder", decoder))
    }
    for role, network in networks.items():
        _load(role, network, weights, place / "model.pt")
    outputs = {"z": "embedding", "image": "reconstruction"}
    if config.variational and not config.deterministic_posterior:
        outputs["log_var"] = "log_covariance"
    modules = Modules(
        encoder=networks["encoder"], decoder=networks["decoder"], prior=_PRIORS[config.name], outputs=outputs
    )
    if (shape := config.image) is not None:
        modules["image"] = shape
    return modules


def _read_config(path: Path) -> _Config:
    try:
        with open_plain(path, links=True) as stream:
            config = parse_json(_Config, stream.read(_CONFIG_BYTES))  # cut there, a longer one is not JSON
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not as pythae writes it ({error}); save the model again") from None
    if config.name not in _PRIORS:
        raise CheckpointError(
            f"{path} is a {config.name[:40]!r}, expected one of {', '.join(_PRIORS)}; give "
            "export_modules the networks themselves of another"
        )
    return config


def _read_weights(path: Path) -> dict[str, Any]:
    """The state dict, whose values may still be anything."""
    try:
        saved = read_saved(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not a state dict as pythae writes it, and nothing else is unpickled ({error}); save it again"
        ) from None
    weights = saved.get("model_state_dict") if isinstance(saved, dict) else None
    if not isinstance(weights, dict) or any(getattr(values, "is_meta", False) for values in weights.values()):
        raise CheckpointError(f"{path} has no weights called model_state_dict; save the model again")
    return {str(name): values for name, values in weights.items()}


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read ({error.strerror or error}); give a folder that pythae's model.save wrote, or the "
        "final_model of a training"
    )


def _default(role: str, config: _Config, place: Path) -> nn.Module:
    """A default network, whose weights have no memory yet: the file alone says how much there is to hold."""
    if not getattr(config, f"uses_default_{role}") or (place / f"{role}.pkl").exists():
        raise InvalidInput(
            f"{place} was trained with its own {role}, which pythae pickles, and pickles are not read; give the module "
            f"or its class: from_pythae(..., {role}=My{role.capitalize()}())"
        )
    if config.image is None:
        raise CheckpointError(
            f"{place} has input_dim {config.input_dim}, expected [channels, height, width]; take a model of images"
        )
    with torch.device("meta"):
        if role == "decoder":
            return DefaultDecoder(config.image, config.latent_dim)
        return DefaultEncoder(config.image, config.latent_dim, variational=config.variational)


def _instance(role: str, given: nn.Module | type[nn.Module]) -> nn.Module:
    try:
        network = given() if isinstance(given, type) else given
    except TypeError as error:
        raise InvalidInput(f"the {role}'s class is not made without arguments ({error}); give an instance") from None
    if not isinstance(network, nn.Module):
        raise InvalidInput(f"{role} is a {type(network).__name__}, expected a torch.nn.Module or its class")
    return network


def _load(role: str, network: nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    """Give a network its part of the weights, in float32, and leave it in evaluation mode."""
    prefix = f"{role}."
    own = {name[len(prefix) :]: values for name, values in weights.items() if name.startswith(prefix)}
    needed = network.state_dict()
    for name in sorted(needed.keys() | own.keys()):
        found, expected = _kind(own.get(name)), _kind(needed.get(name))
        if found != expected or found in (_NOTHING, _NO_TENSOR):
            raise CheckpointError(
                f"{path} has {found} called {prefix}{name[:80]}, expected {expected}; give the {role} that was trained"
            )
    floats = {name: values.float() if values.is_floating_point() else values for name, values in own.items()}
    network.load_state_dict(floats, assign=True)
    network.eval()


def _kind(values: object) -> str:
    """What a weight is, in words; where they are the same for two tensors, one can take the place of the other."""
    if values is None:
        return _NOTHING
    if isinstance(values, Tensor) and is_lazy(values):
        return "one that has no shape before the first images"
    if not isinstance(values, Tensor) or values.is_nested or values.layout != torch.strided or _stretched(values):
        return _NO_TENSOR
    return f"{'numbers' if values.dtype in _FLOATS else values.dtype} {list(values.shape)}"


def _stretched(values: Tensor) -> bool:
    """Whether it is larger than what is stored of it: a row that is repeated without end takes no place in a file."""
    return values.numel() * values.element_size() > values.untyped_storage().nbytes()
