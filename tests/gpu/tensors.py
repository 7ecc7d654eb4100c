"""Tensors of PyTorch, CuPy and JAX that lie on the card, in and out, and sentences for those that cannot be taken."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from right import CLOSE, NAMES
from rows import Measured, Missed, Row, held

from aae_zoo.runtime import AaeZooError, Model, load
from aae_zoo.runtime.checks.parity import relative_error

NAME = "mnist-gauss" if "mnist-gauss" in NAMES else NAMES[0]
COUNT = 65
LIBRARIES = ("torch", "cupy", "jax")


def checks() -> Iterator[Row]:
    for library in LIBRARIES:
        yield Row(f"tensors of {library}, in and out", f"as from the host, <= {CLOSE:g}", partial(both, library))
    for what, make in BAD.items():
        yield Row(f"a tensor that is {what}", "one sentence", partial(refused, make))
    yield Row("tensors of a closed model", "they stay whole", closed)


def on_card(library: str, values: NDArray[np.float32]) -> Any:
    module: Any = importlib.import_module(library)
    if library == "torch":
        return module.from_numpy(values.copy()).cuda()
    return module.asarray(values) if library == "cupy" else module.device_put(values, module.devices("gpu")[0])


def to_host(library: str, values: Any) -> NDArray[Any]:
    """What a library makes of an array of ours, without the host in between, as numpy has it."""
    module: Any = importlib.import_module(library)
    if library == "torch":
        tensor = module.from_dlpack(values)
        assert tensor.is_cuda, f"torch sees it on {tensor.device}"
        return np.asarray(tensor.cpu())
    if library == "cupy":
        return np.asarray(module.from_dlpack(values).get())
    return np.asarray(importlib.import_module("jax.dlpack").from_dlpack(values))


def both(library: str) -> Measured:
    if importlib.util.find_spec(library) is None:
        raise Missed(f"{library} is not installed")
    errors = {}
    host, device = models()
    images = host.sample(COUNT, seed=1)
    calls: dict[str, tuple[NDArray[np.float32], Callable[[Any, Any], Any]]] = {
        "encode": (images, lambda model, given: model.encode(given)),
        "decode": (host.encode(images), lambda model, given: model.decode(given)),
        "reconstruct": (images, lambda model, given: model.reconstruct(given)),
    }
    for what, (given, call) in calls.items():
        expected = call(host, given)
        tensor = on_card(library, given)
        errors[f"{what}, to the host"] = relative_error(np.asarray(call(host, tensor)), expected)
        errors[f"{what}, on the card"] = relative_error(to_host(library, call(device, tensor)), expected)
    scores = host.score(images).score
    errors["score"] = relative_error(np.asarray(host.score(on_card(library, images)).score), scores)
    errors["sample, on the card"] = relative_error(to_host(library, device.sample(COUNT, seed=1)), images)
    largest = max(errors, key=lambda what: errors[what])
    return held(errors[largest] <= CLOSE, f"{errors[largest]:.2g} at most ({largest})", {"errors": errors})


@cache
def models() -> tuple[Model, Any]:
    """A model that gives arrays of numpy, and one that leaves them on the card."""
    return load(NAME, device="cuda"), load(NAME, device="cuda", arrays="device")


def _torch() -> Any:
    import torch

    return torch


BAD: dict[str, Callable[[NDArray[np.float32]], Any]] = {
    "of another size": lambda z: _torch().from_numpy(z).cuda()[:, :-1].contiguous(),
    "float16": lambda z: _torch().from_numpy(z).cuda().half(),
    "not contiguous": lambda z: _torch().from_numpy(np.repeat(z, 2, 1)).cuda()[:, ::2],
    "not finite": lambda z: _torch().from_numpy(z * np.float32(np.nan)).cuda(),
}


def refused(make: Callable[[NDArray[np.float32]], Any]) -> Measured:
    model, _ = models()
    z = model.encode(model.sample(4, seed=1))
    try:
        found = model.decode(make(z))
    except AaeZooError as error:
        return held("\n" not in str(error), f"{type(error).__name__}: {error}")
    raise Missed(f"taken: images {np.asarray(found).shape}")


def closed() -> Measured:
    _, model = models()
    images = model.sample(COUNT, seed=1)
    expected = images.numpy()
    model.close()
    again = model.sample(COUNT, seed=1).numpy()  # what is needed again is opened again
    same = np.array_equal(images.numpy(), expected) and relative_error(again, expected) <= CLOSE
    return held(same, "whole, and a closed model opens again" if same else "they have changed")
