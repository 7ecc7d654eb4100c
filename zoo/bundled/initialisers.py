"""The weights of a bundle's networks out of its graphs, which hold the same numbers as PyTorch's own file."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.names import DETECTOR
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.escapes import words_of
from aae_zoo.zoo.autoencoder import Autoencoder

# What an export appends to the name of a weight that it stores in a smaller type, which holds it exactly.
_STORED: Final = re.compile(r"\.(int8|float16)$")
_WEIGHTS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8)

Arrays = dict[str, NDArray[np.float32]]


def read_initialisers(bundle: Bundle, model: Autoencoder) -> dict[str, Tensor]:
    """The encoder's, decoder's and prior's weights, float32 by their names in `model`, as far as the graphs have them.

    A graph calls most weights as the model does. The exporter folds what comes before the first input: it may store a
    view or all rows but the last under a name of its own, and leaves out what no output depends on. So what has no
    name of its own is, in the model's order, the first array of its network's graph that can be it.

    Raises:
        InvalidBundle: a graph is missing, altered or hostile, as for `read_graph`.
    """
    graphs = {role: _initialisers(bundle, role) for role in bundle.manifest.graphs}
    named = {name: array for arrays in graphs.values() for name, array in arrays.items()}
    state, found = model.state_dict(), dict[str, Tensor]()
    for name, values in state.items():
        if name in named and named[name].shape == values.shape:
            found[name] = torch.from_numpy(named[name])
    for role, arrays in graphs.items():
        unclaimed = [array for name, array in arrays.items() if name not in found and array.ndim]
        wanted = {n: v for n, v in state.items() if n.startswith(f"{role}.") and n not in found}
        found |= _in_order(wanted, unclaimed)
    return found


def _initialisers(bundle: Bundle, role: str) -> Arrays:
    """The graph's arrays of weights in its order, by the names that an autoencoder has for them."""
    graph = read_graph(bundle, role)
    try:
        return {
            _name(role, tensor.name): numpy_helper.to_array(tensor).astype(np.float32)
            for tensor in onnx.load_model_from_string(graph.content).graph.initializer
            if tensor.data_type in _WEIGHTS
        }
    except Exception as error:  # of what `read_graph` does not look at, onnx raises whatever it meets first
        reason = words_of(error)
        raise InvalidBundle(f"{graph.name} of {bundle.manifest.name} is damaged ({reason}); get it again") from None


def _name(role: str, name: str) -> str:
    """An autoencoder's name for a weight: the encoder's and detector's graphs have it, the others those of parts."""
    name = _STORED.sub("", name)
    whole = {"encoder": "model.", DETECTOR: "detector."}.get(role, "")
    return name.removeprefix(whole) if whole and name.startswith(whole) else f"{role}.{name}"


def _in_order(wanted: Mapping[str, Tensor], arrays: Sequence[NDArray[np.float32]]) -> dict[str, Tensor]:
    """Each wanted tensor that is floating with the first of the arrays, behind the last one taken, that can be it."""
    found, begin = dict[str, Tensor](), 0
    for name, values in wanted.items():
        if not values.is_floating_point() or not values.ndim:
            continue
        for place, array in enumerate(arrays[begin:], begin):
            if (same := _unfolded(array, values)) is not None:
                found[name], begin = same, place + 1
                break
    return found


def _unfolded(array: NDArray[np.float32], values: Tensor) -> Tensor | None:
    """An array of a graph as a tensor of the shape of `values`, where it is one, its view or its rows but the last."""
    rows, *others = values.shape
    if array.shape in (values.shape, (rows, math.prod(others))):
        return torch.from_numpy(array).reshape(values.shape)
    if array.shape == (rows - 1, *others):
        return torch.cat([torch.from_numpy(array), values[-1:]])  # no output depends on the last
    return None
