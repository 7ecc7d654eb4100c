"""Where an exported graph begins to differ from its PyTorch module: the layer, for the message of a refused export."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from aae_zoo.export.proof.gate import float64_gate
from aae_zoo.export.proof.own import open_own
from aae_zoo.runtime.escapes import words_of

_OF_WEIGHTS: Final = ("t", "detach")


class _Step(NamedTuple):
    """One operator that PyTorch ran: the layer that it belongs to, its name, and its output [n, ...]."""

    layer: str
    operator: str
    output: NDArray[Any]

    def __str__(self) -> str:
        return f"{self.layer} ({self.operator})" if self.layer else self.operator


class _Trace(TorchDispatchMode):
    """Notes every operator whose output has a row for each of `rows` inputs."""

    def __init__(self, rows: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows, self.layers, self.steps = rows, [""], list[_Step]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        for tensor in output if isinstance(output, (tuple, list)) else [output]:
            has_rows = isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.shape[:1] == (self.rows,)
            if has_rows and name not in _OF_WEIGHTS:
                self.steps.append(_Step(self.layers[-1], name, tensor.detach().clone().numpy()))
        return output


@contextmanager
def _layers_noted(network: nn.Module, trace: _Trace) -> Iterator[None]:
    """Keep `trace.layers` the stack of the modules that are running."""
    with ExitStack() as stack:
        for name, module in network.named_modules():
            before = module.register_forward_pre_hook(lambda _m, _i, name=name: trace.layers.append(name))
            after = module.register_forward_hook(lambda _m, _i, _o: trace.layers.pop() and None)
            stack.callback(before.remove)
            stack.callback(after.remove)
        yield


def first_difference(network: nn.Module, inputs: Mapping[str, Tensor], graph: bytes) -> str:
    """Where the graph, not optimised, first lacks a value that the module has: one sentence, without its full stop.

    The output of each of PyTorch's operators is looked for among all tensors of the graph, whatever their names, as
    near to float64 as the gate demands. The two differ from the operator after the last one whose output is found.
    """
    steps = _steps(network, inputs)
    exact = _steps(copy.deepcopy(network).double(), {name: values.double() for name, values in inputs.items()})
    try:
        tensors, consumers = _tensors(graph, {name: values.numpy() for name, values in inputs.items()})
    except Exception as error:  # whatever is wrong with the graph, it cannot say where
        return f"its layers cannot be compared ({words_of(error)})"
    equals = [_equal(a.output, b.output, tensors) for a, b in zip(steps, exact, strict=True)]
    last = max(k for k, name in enumerate(equals) if name is not None)
    node = consumers.get(str(equals[last]))
    if last < len(steps) - 1:
        goes_on = f"goes on with {node}" if node else "ends"
        return f"the difference first appears in {steps[last + 1]}: after {steps[last]} the graph {goes_on}"
    if node:
        return f"every layer has its equal in the graph, which after {steps[last]} goes on with {node}"
    return "every layer has its equal in the graph: it is the names of its outputs, or ONNX Runtime's optimisation"


def _steps(network: nn.Module, inputs: Mapping[str, Tensor]) -> list[_Step]:
    """The inputs, and what PyTorch computes of them."""
    trace = _Trace(len(next(iter(inputs.values()))))
    with torch.no_grad(), _layers_noted(network, trace), trace:
        network(**inputs)
    return [*(_Step("", f"the input {name}", values.numpy()) for name, values in inputs.items()), *trace.steps]


def _tensors(graph: bytes, inputs: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """All tensors of a graph by name, in its order, and for each the node that takes it."""
    model = onnx.load_from_string(graph)
    given = {output.name for output in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    session = open_own(model.SerializeToString(), ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    tensors = {**inputs, **dict(zip(names, session.run(names, dict(inputs)), strict=True))}
    consumers = {name: f"{n.op_type} {n.name}".strip() for n in reversed(model.graph.node) for name in n.input}
    return tensors, consumers


def _equal(values: NDArray[Any], exact: NDArray[Any], tensors: Mapping[str, NDArray[Any]]) -> str | None:
    """The name of the last tensor that holds these values, row by row and however they are shaped."""
    allowed = float64_gate(values, exact)
    for name in reversed(list(tensors)):
        found = tensors[name]
        alike = found.dtype == np.float32 and found.shape[:1] == exact.shape[:1] and found.size == exact.size
        if alike and np.abs(found.reshape(exact.shape) - exact).max() <= allowed:
            return name
    return None
