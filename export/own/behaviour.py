"""What someone's networks do: run on the export's own inputs before any graph is made of them.

Each fault is one sentence that says which network and, where that can be seen, which of its layers.
"""

import copy
import math
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Final

import torch
from torch import Tensor, nn

from aae_zoo.export.own.outputs import OwnDecoder, OwnEncoder
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.words import counted
from aae_zoo.zoo.priors import BasePrior

Inputs = Mapping[str, Tensor]

# How far outputs may be apart that are the same but for rounding, relative to the larger of 1 and the largest.
_SAME: Final = 1e-4
_FEW: Final = (2, 3, 1)
# Numbers of rows that people write into networks.
_BATCHES: Final = (1, 2, 4, 8, 10, 16, 32, 50, 64, 100, 128, 200, 256, 500, 512)


def check_shapes(encoder: OwnEncoder, decoder: OwnDecoder, image: Tensor) -> tuple[int, int]:
    """The sizes of z and of y, 0 where there is none, of networks whose images and codes fit each other.

    `image` are a few images [2 or more, C, H, W].

    Raises:
        InvalidInput: they do not.
    """
    shape, count = list(image.shape[1:]), len(image)
    codes = _run("encoder", encoder, {"image": image}, f"images {shape}")
    for name, values in codes.items():
        if list(values.shape) == [count, *shape]:
            raise InvalidInput(
                f"the encoder gives {name} of the images' shape, {shape}, as a whole autoencoder does; give the part "
                "that gives codes, or a module whose forward calls its encode"
            )
        _check_vectors("encoder", name, values, count)
    if "log_var" in codes and codes["log_var"].shape != codes["z"].shape:
        raise InvalidInput(
            f"the encoder's log_var is {list(codes['log_var'].shape)} and its z {list(codes['z'].shape)}, expected the "
            "same size"
        )
    if decoder.conditional and "y" not in codes:
        raise InvalidInput(
            "the decoder takes y and the encoder gives none; let it give the probabilities of the classes"
        )
    latent, classes = codes["z"].shape[1], codes["y"].shape[1] if "y" in codes else 0
    given = {name: codes[name] for name in ("z", "y")[: 1 + decoder.conditional]}
    found = _run("decoder", decoder, given, f"codes of {counted(latent, 'number')}")["image"]
    if list(found.shape) == [count, math.prod(shape)]:
        raise InvalidInput(
            f"the decoder makes rows of {counted(found.shape[1], 'number')}, expected images {shape}; end it with "
            f"unflatten(1, {tuple(shape)})"
        )
    if list(found.shape) != [count, *shape]:
        raise InvalidInput(
            f"the decoder makes {list(found.shape)} of {count} codes, and the images are {[count, *shape]}; give "
            "images of the size that it makes, and let it return them as [n, C, H, W]"
        )
    return latent, classes


def check_prior(prior: BasePrior, decoder: OwnDecoder) -> None:
    """Refuse a prior that does not give what the decoder takes.

    Raises:
        InvalidInput: it does not.
    """
    u = torch.full((2, prior.noise), 0.25)
    codes = _run("prior", prior, {"u": u}, f"noise [n, {prior.noise}]")
    for name, values in codes.items():
        _check_vectors("prior", name, values, len(u))
    if codes["z"].shape[1] != prior.latent:
        raise InvalidInput(
            f"the prior's codes have {counted(codes['z'].shape[1], 'number')} and the encoder's {prior.latent}; give a "
            "prior of the same size"
        )
    if ("y" in codes) != decoder.conditional:
        takes, gives = ("z and y", "z alone") if decoder.conditional else ("z alone", "z and y")
        raise InvalidInput(f"the decoder takes {takes} and the prior gives {gives}; let the prior give what it takes")


def _run(role: str, network: nn.Module, inputs: Inputs, what: str) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = network(**inputs)
    except InvalidInput:
        raise
    except Exception as error:  # of other people's code
        if count := _only_batch(network, inputs):
            raise _baked(role, f"takes {counted(count, 'row')} and not {len(next(iter(inputs.values())))}") from None
        reason = words_of(error)
        raise InvalidInput(f"the {role} cannot take {what} ({reason}); give what it was made for") from None
    return found


def _only_batch(network: nn.Module, inputs: Inputs) -> int | None:
    """A number of rows with which a network that fails with another does not."""
    for count in _BATCHES:
        with suppress(Exception):
            network(**{name: values[torch.arange(count) % len(values)] for name, values in inputs.items()})
            return count
    return None


def _baked(role: str, found: str) -> InvalidInput:
    return InvalidInput(
        f"the {role} {found}: the size of a batch is baked in; write -1 or x.shape[0] for it in its forward"
    )


def _check_vectors(role: str, name: str, values: Tensor, count: int) -> None:
    _check_dtype(role, name, values)
    if values.dim() > 2 and len(values) == count:
        raise InvalidInput(
            f"the {role}'s {name} is a map {list(values.shape)}, expected a vector [n, size] for each row; end it "
            "with flatten(1), and begin the decoder with an unflatten"
        )
    if values.dim() != 2 or len(values) != count:
        raise InvalidInput(f"the {role}'s {name} is {list(values.shape)} for {count} rows, expected [{count}, size]")


def check_behaviour(role: str, network: nn.Module, inputs: Inputs) -> None:
    """Refuse a network whose outputs are not decided by each row alone, or not in their ranges.

    `inputs` are rows by name, ordinary and extreme.

    Raises:
        InvalidInput: they are not.
    """
    rows, given = len(next(iter(inputs.values()))), {name: values.clone() for name, values in inputs.items()}
    whole = _run(role, network, given, f"{rows} rows")
    if not all(torch.equal(given[name], inputs[name]) for name in inputs):
        raise InvalidInput(f"the {role} changes what it is given; let it write x = x - 1, say, and not x -= 1")
    for name, values in whole.items():
        if len(values) != rows:
            raise _baked(role, f"gives {counted(len(values), 'row')} of {name} for {rows}")
        _check_values(role, name, values)
    if not _same(network(**inputs), whole):
        raise InvalidInput(
            f"the {role} gives other outputs each time that it runs{_first_layer(network, inputs, inputs)}; leave out "
            "dropout and noise at inference, as F.dropout(x, training=self.training) does, and give the mean of "
            "a distribution, not a sample of it"
        )
    for count in _FEW:
        few = {name: values[:count] for name, values in inputs.items()}
        found = _run(role, network, few, counted(count, "row"))
        _check_axes(role, found, whole, count)
        if not _same(found, {name: values[:count] for name, values in whole.items()}):
            raise InvalidInput(
                f"the {role} gives other outputs for a row where other rows are in its batch"
                f"{_first_layer(network, few, inputs)}; use no statistics of the batch at inference, such as "
                "F.batch_norm with training=True, and do not ask for its size"
            )
    _check_float64(role, network, inputs)


def _check_axes(role: str, found: Mapping[str, Tensor], whole: Mapping[str, Tensor], count: int) -> None:
    """Refuse outputs of few rows that have other axes than those of many, as squeeze() makes of one row."""
    for name, values in found.items():
        if name in whole and values.dim() != whole[name].dim():
            raise InvalidInput(
                f"the {role} gives {name} {list(values.shape)} for {counted(count, 'row')}, expected "
                f"{[count, *whole[name].shape[1:]]}; let its forward say which axis it squeezes, and not that of rows"
            )


def _check_values(role: str, name: str, values: Tensor) -> None:
    _check_dtype(role, name, values)
    if not values.isfinite().all():
        raise InvalidInput(f"the {role}'s {name} holds numbers that are not finite for some inputs; train it again")
    low, high = float(values.min()), float(values.max())
    if name == "image" and not (low >= 0 and high <= 1):
        mend = (
            "map [-1, 1] to [0, 1] by (image + 1) / 2"
            if low >= -1 and high <= 1
            else "say logits=True if it has no sigmoid"
        )
        raise InvalidInput(f"the {role}'s images have values from {low:g} to {high:g}, expected [0, 1]; {mend}")
    if name == "y" and not (low >= 0 and high <= 1 and ((values.sum(1) - 1).abs() < 1e-3).all()):
        raise InvalidInput(
            f"the {role}'s y has values from {low:g} to {high:g} and rows that sum to {float(values[0].sum()):.3g}, "
            "expected probabilities that sum to 1; end it with softmax(1)"
        )


def _check_dtype(role: str, name: str, values: Tensor) -> None:
    if values.dtype != torch.float32:
        found, floating = str(values.dtype).removeprefix("torch."), values.is_floating_point()
        mend = "" if floating else ", or if these number the vectors of a codebook, give the vectors"
        raise InvalidInput(f"the {role}'s {name} is {found}, expected float32; end its forward with .float(){mend}")


def _check_float64(role: str, network: nn.Module, inputs: Inputs) -> None:
    """Refuse a network that fails in float64, in which its graph is judged."""
    try:
        copy.deepcopy(network).double()(**{name: values.double() for name, values in inputs.items()})
    except Exception as error:  # of other people's code
        raise InvalidInput(
            f"the {role} fails in float64, to which its graph is compared ({words_of(error)}); "
            "let what its forward makes take the dtype of its input, as torch.zeros_like does, and leave out .float()"
        ) from None


def _same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(_equal(found[name], expected[name]) for name in expected)


def _equal(a: Tensor, b: Tensor) -> bool:
    size = max(1.0, float(b.detach().abs().max()))
    return a.shape == b.shape and float((a - b).detach().abs().max()) <= _SAME * size


def _first_layer(network: nn.Module, few: Inputs, more: Inputs) -> str:
    """The first layer that gives others for the rows of `few` than in `more`, ", first in ..."; empty if none does."""
    rows = len(next(iter(few.values())))
    for (name, a), (_, b) in zip(_layers(network, few), _layers(network, more), strict=False):
        if not _equal(a[:rows], b[:rows]):
            return f", first in its layer {name.removeprefix('module.')}"
    return ""


def _layers(network: nn.Module, inputs: Inputs) -> list[tuple[str, Tensor]]:
    """The outputs of the layers that have no layers of their own, in the order in which they ran."""
    outputs: list[tuple[str, Tensor]] = []

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.dim():
            outputs.append((name, output))

    with ExitStack() as stack:
        for name, layer in network.named_modules():
            if name != "module" and not list(layer.children()):
                hook = layer.register_forward_hook(lambda _m, _i, output, name=name: note(name, output))
                stack.callback(hook.remove)
        network(**inputs)
    return outputs
