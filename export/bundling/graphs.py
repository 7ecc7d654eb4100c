"""PyTorch modules to ONNX graphs by the graph contract.

One self-contained file each: opset 18, IR 8, a dynamic first axis called batch, float32 at every boundary, the
metadata that a program needs to embed it, and nothing about the machine that wrote it.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from aae_zoo.export.bundling.untraceable import check_traced, quiet, why_not
from aae_zoo.runtime.bundles.graph_metadata import METADATA_PREFIX
from aae_zoo.runtime.bundles.graph_operators import COPIES
from aae_zoo.runtime.checks.clauses import IR_VERSION, OPSET
from aae_zoo.runtime.errors import CheckpointError
from aae_zoo.zoo.networks.conv import pass_through

# Below this many elements a float16 copy and its Cast cost more than they save.
_FLOAT16_FROM: Final = 1024


def round_weights(module: nn.Module) -> None:
    """Round all weights, in place, to values that float16 holds, so that files of half the size lose nothing.

    Variances of normalisations stay as they are: rounded, one that does nothing would change what goes through it.

    Raises:
        CheckpointError: a weight is not finite, or lies outside the range of float16, ±65504.
    """
    with torch.no_grad():
        for name, parameter in module.state_dict(keep_vars=True).items():
            if not parameter.is_floating_point() or name.endswith("running_var"):
                continue  # the former is a count
            rounded = parameter.half().float()
            if not rounded.isfinite().all():
                raise CheckpointError(
                    f"{name} holds {parameter.abs().max():g}, expected finite weights of at most 65504, where float16 "
                    "ends; train again with a lower training.learning_rate"
                )
            parameter.copy_(rounded)


@torch.no_grad()
def fold_normalisations(module: nn.Module) -> None:
    """Take batch normalisations into the convolutions before them, and have them do nothing any more.

    Whoever makes the graph would do so, and it would then round differently from PyTorch: where a channel hardly
    varies, the normalisation magnifies that beyond what the gate lets through.
    """
    for layers in [each for each in module.modules() if isinstance(each, nn.Sequential)]:
        for convolution, norm in pairwise(layers):
            if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(convolution, norm)


def _fold(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # noqa: S101 - ours track them
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        mean,
        variance,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose=isinstance(convolution, nn.ConvTranspose2d),
    )
    convolution.weight.copy_(weight)
    if convolution.bias is not None:
        convolution.bias.copy_(bias)
    pass_through(norm)


def to_onnx(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], metadata: Mapping[str, str]
) -> bytes:
    """Export a module, as it stands, to the bytes of an ONNX graph.

    `inputs` are examples [2 or more, ...] by name; the module returns its `outputs` by name. `metadata` is
    written under the prefix "aae_zoo."; its `role` is what the module is called in errors.

    Raises:
        InvalidInput: the module cannot become a graph of a bundle.
        MissingBackend: onnxscript is older than PyTorch.
    """
    role, shapes = metadata.get("role", "network"), {name: {0: torch.export.Dim("batch")} for name in inputs}
    with quiet():
        try:
            program = torch.onnx.export(
                module,
                kwargs=dict(inputs),
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=shapes,
                verbose=False,
            )
        except Exception as error:  # whatever PyTorch's compiler met
            raise why_not(role, module, inputs, shapes, error) from None
    assert program is not None  # noqa: S101 - the exporter returns None only for its old path
    model = program.model_proto
    check_traced(role, model)
    _strip(model)
    _compute_constants(model)
    _plain_reshapes(model)
    _store_small(model)
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {METADATA_PREFIX + key: value for key, value in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _strip(model: ModelProto) -> None:
    """Remove what the exporter wrote about this machine: source paths, stack traces and its own notes."""
    model.producer_name, model.producer_version, model.doc_string = "aae-zoo", "", ""
    graph = model.graph
    graph.name, graph.doc_string = "main", ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]


def _compute_constants(model: ModelProto) -> None:
    """Replace what nodes of weights alone compute, such as a normalised weight, by the result.

    A graph whose weights are copied at most stays as it is.
    """
    graph, weights = model.graph, {tensor.name for tensor in model.graph.initializer}
    alone, others = list[NodeProto](), list[NodeProto]()
    for node in graph.node:
        if weights.issuperset(filter(None, node.input)):
            weights.update(node.output)
            alone.append(node)
        else:
            others.append(node)
    if all(node.op_type in COPIES for node in alone):
        return
    used = {name for node in others for name in node.input}
    made = [name for node in alone for name in node.output if name in used]
    part = helper.make_graph(alone, "main", [], [ValueInfoProto(name=name) for name in made], graph.initializer)
    values = ReferenceEvaluator(helper.make_model(part, opset_imports=model.opset_import)).run(None, {})
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    computed = [numpy_helper.from_array(np.asarray(value), name) for name, value in zip(made, values, strict=True)]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(others)
    graph.initializer.extend([*kept, *computed])


def _plain_reshapes(model: ModelProto) -> None:
    """Leave allowzero out where no size is 0: it changes nothing there, and some engines refuse it."""
    sizes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[1] in sizes and sizes[node.input[1]].all():
            kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)


def _store_small(model: ModelProto) -> None:
    """Store large weights as int8 or float16, where that is exact, with a Cast that runtimes fold when they load."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        small = _smaller(values)
        if values.size < _FLOAT16_FROM or small is None:
            continue
        name, stored = tensor.name, f"{tensor.name}.{small.dtype}"
        tensor.CopyFrom(numpy_helper.from_array(small, stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _smaller(values: NDArray[np.float32]) -> NDArray[np.generic] | None:
    """The same values in the smaller type that holds them exactly, or None."""
    with np.errstate(invalid="ignore", over="ignore"):  # values that a type cannot hold become other numbers
        candidates = (values.astype(np.int8), values.astype(np.float16))
    return next((small for small in candidates if np.array_equal(small.astype(np.float32), values)), None)
