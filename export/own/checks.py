"""What can be said of someone's networks before they run: each fault in one sentence that says what to change."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from aae_zoo.export.own.modules import Facts, Modules
from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.bundles.names import PLAIN_NAME
from aae_zoo.runtime.bundles.rules import MOST_TEXT, rules_of
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import is_line
from aae_zoo.zoo.priors import BasePrior

_LARGEST: Final = 65504  # where float16 ends
# What wraps modules, and where it has them.
_AROUND: Final = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
_BATCH_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_DROPOUTS: Final = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_EXPECTED: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "noise": ("a whole number from 1", lambda value: _is_count(value) and value > 0),
    "label_coordinate": ("a whole number from 0", lambda value: _is_count(value)),
    "logits": ("True or False", lambda value: isinstance(value, bool)),
    "conditional": ("True or False", lambda value: isinstance(value, bool)),
    "outputs": ('a dict of our names, such as {"z": "mu"}', lambda value: isinstance(value, Mapping)),
    "classes": ("a list of names", lambda value: isinstance(value, list | tuple) and all(map(_is_name, value))),
    "image": ("three whole numbers, (C, H, W)", lambda value: _is_shape(value)),
}
_NAMES: Final = ("name", "version", "dataset")
PRIORS: Final = ("gaussian", "fitted")


def check_modules(given: Modules) -> None:
    """Refuse what is not a description of networks, and networks whose weights or mode cannot be exported.

    Raises:
        InvalidInput: with what to change.
    """
    if unknown := sorted(given.keys() - get_type_hints(Modules).keys()):
        raise InvalidInput(f"there is no {unknown[0]!r} of networks, expected {', '.join(get_type_hints(Modules))}")
    for key, (expected, fits) in _EXPECTED.items():
        if key in given and not fits(given[key]):  # type: ignore[literal-required]
            raise InvalidInput(f"{key} is {given[key]!r:.80}, expected {expected}")  # type: ignore[literal-required]
    for role, module in networks(given):
        if not isinstance(module, nn.Module):
            raise InvalidInput(f"the {role} is {_no_module(role, module)}")
        _check_kind(role, module)
        _check_state(role, module)
        for name, values in (*module.named_parameters(), *module.named_buffers()):
            _check_weight(role, f"{name} of the {role}", values)
        for name, layer in module.named_modules():
            _check_layer(role, name or type(layer).__name__, layer)
    if given["encoder"] is given["decoder"]:
        raise InvalidInput(
            f"the encoder and the decoder are one {type(given['encoder']).__name__}; give its two parts, or two "
            "modules whose forwards call its encode and its decode"
        )
    _check_prior(given)


def _no_module(role: str, found: object) -> str:
    """What is given in place of a module, and what to give."""
    if found is None:
        return "missing, expected a torch.nn.Module"
    if isinstance(found, type):
        return f"the class {found.__name__}, expected a torch.nn.Module; make one of it, {found.__name__}(...)"
    if isinstance(found, Mapping):
        return (
            f"a {type(found).__name__}, expected a torch.nn.Module; make it of its class and load the weights by "
            "load_state_dict"
        )
    wrap = f"; give a module whose forward calls it, with the {role}'s layers in it" if callable(found) else ""
    return f"a {type(found).__name__}, expected a torch.nn.Module{wrap}"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and is_line(value) and len(value) <= MOST_TEXT


def _is_shape(value: object) -> bool:
    rules = rules_of(ImageShape).values()
    return (
        isinstance(value, list | tuple)
        and len(value) == len(rules)
        and all(_is_count(size) and rule.low <= size <= rule.high for size, rule in zip(value, rules, strict=True))
    )


def check_facts(name: str, facts: Facts) -> Facts:
    """The facts, if they and the name can stand in a manifest.

    Raises:
        InvalidInput: they cannot.
    """
    if not isinstance(facts, Mapping):
        raise InvalidInput(f"the facts are a {type(facts).__name__}, expected a dict with title, licence and others")
    known = get_type_hints(Facts)
    if unknown := sorted(facts.keys() - known.keys()):
        raise InvalidInput(f"there is no fact {unknown[0]!r}, expected {', '.join(known)}")
    for key, value in {"name": name, **facts}.items():
        if not isinstance(value, str) or not is_line(value) or len(value) > MOST_TEXT:
            raise InvalidInput(
                f"the {key} is {value!r:.80}, expected one line of text of at most {MOST_TEXT} characters"
            )
        if key in _NAMES and not re.fullmatch(PLAIN_NAME, value):
            raise InvalidInput(f"the {key} is {value!r:.80}, expected a plain name of letters, digits and ._-")
    return facts


def networks(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The networks that are given, by their roles."""
    yield "encoder", given.get("encoder")
    yield "decoder", given.get("decoder")
    if not isinstance(given.get("prior", "fitted"), str):
        yield "prior", given["prior"]


def _check_kind(role: str, module: nn.Module) -> None:
    for name, layer in module.named_modules():
        what = f"the layer {name} of the {role}" if name else f"the {role}"
        where = f"{role}.{name}" if name else role
        kind = type(layer).__name__
        if inner := _AROUND.get(kind):
            raise InvalidInput(f"{what} is a {kind} around a module; give {where}.{inner} in its place")
        if isinstance(layer, torch.jit.ScriptModule):
            raise InvalidInput(f"{what} is a TorchScript module, expected an nn.Module of Python; give that")


def _check_state(role: str, module: nn.Module) -> None:
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise InvalidInput(
                f"{name} in the state dict of the {role} is a {type(value).__name__}, expected tensors alone; give the "
                f"{role} as it was before it was quantised, or without extra state"
            )


def _check_weight(role: str, what: str, values: Tensor) -> None:
    if is_lazy(values):
        raise InvalidInput(f"{what} has no shape yet; call the {role} once on a batch of images or codes")
    if values.device.type == "meta":
        raise InvalidInput(f"{what} is on the device meta and has no numbers; load the weights of the {role}")
    if values.device.type != "cpu":
        raise InvalidInput(f"{what} is on the device {values.device}, expected cpu; give {role}.cpu()")
    if values.is_complex() or (values.is_floating_point() and values.dtype != torch.float32):
        found = str(values.dtype).removeprefix("torch.")
        mend = "keep its real and its imaginary part as two" if values.is_complex() else f"give {role}.float()"
        raise InvalidInput(f"{what} is {found}, expected float32; {mend}")
    if values.is_floating_point() and not (values.abs() <= _LARGEST).all():
        bad = values[~(values.abs() <= _LARGEST)][0]
        raise InvalidInput(
            f"{what} holds {bad.item():g}, expected finite numbers of at most {_LARGEST}, where float16 ends; train "
            f"the {role} again, with a lower learning rate"
        )


def _check_layer(role: str, name: str, layer: nn.Module) -> None:
    kind = type(layer).__name__
    if isinstance(layer, _BATCH_NORMS) and not layer.track_running_stats:
        raise InvalidInput(
            f"the layer {name} of the {role}, a {kind}, has no running statistics, so that an image's code would "
            "depend on the others of its batch; train it with track_running_stats=True, or use GroupNorm"
        )
    if layer.training and isinstance(layer, (*_BATCH_NORMS, *_DROPOUTS)):
        raise InvalidInput(
            f"the layer {name} of the {role}, a {kind}, is in training mode, in which it does not do what it does at "
            f"inference; call {role}.eval() first"
        )


def _check_prior(given: Modules) -> None:
    prior = given.get("prior", "fitted")
    if isinstance(prior, str):
        if prior not in PRIORS:
            raise InvalidInput(f"the prior is {prior!r}, expected {', '.join(PRIORS)} or a module")
        for key in ("noise", "label_coordinate"):
            if key in given:
                raise InvalidInput(
                    f"{key} is given and the prior is {prior!r}; leave it out, it is only for priors that are modules"
                )
        return
    if isinstance(prior, BasePrior):
        return
    noise, coordinate = given.get("noise"), given.get("label_coordinate")
    if noise is None:
        raise InvalidInput("noise is missing, expected how many uniform numbers the prior takes for one code")
    if coordinate is not None and coordinate >= noise:
        raise InvalidInput(f"label_coordinate is {coordinate!r}, expected one of the prior's {noise} numbers, from 0")
