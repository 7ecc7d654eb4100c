"""What an ONNX file is, read from its bytes before ONNX Runtime sees them, so that a hostile one is refused.

Whatever a bundle claims, its graphs can then reach no file, call no code except the standard operators', and ask for
no more memory when they are opened than ten times their own size and 100 MB. What they compute when they run is not
bounded.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, replace
from typing import Final, NamedTuple, final

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_fields import (
    ATTRIBUTE,
    AXES,
    DIMENSION,
    ENTRY,
    GRAPH,
    MODEL,
    NODE_FIELDS,
    NUMBERS,
    OPSET,
    SHAPE,
    TENSOR,
    TENSOR_TYPE,
    TYPE,
    VALUE_FIELDS,
)
from aae_zoo.runtime.bundles.graph_memory import NUMBER, VALUE, Constant, Known, Memory, Node
from aae_zoo.runtime.bundles.graph_operators import GROWING, OPERATORS
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.protobuf import Field, Fields, Value, field, integers, read_message, text
from aae_zoo.runtime.errors import InvalidBundle

# What PyTorch's exporter and the tools that rewrite graphs call values; an operator's optional input has no name.
_NAME: Final = re.compile(r"[A-Za-z0-9_./:-]{0,500}")
# Attributes that say how far a convolution reaches, and any other.
_REACH: Final = ("dilations", "kernel_shape", "output_padding", "pads", "strides")
_MOST_REACH: Final = 256
_MOST_INTEGER: Final = 1 << 16

# Bytes of an element by ONNX's number of its type, and what people call the type.
_SIZES: Final = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8}
_TYPES: Final = {1: "float", 6: "int32", 7: "int64", 10: "float16", 11: "double"}

_MOST_ELEMENTS: Final = 1 << 28
_MOST_GROWTH: Final = 1 << 24
_FEW: Final = 1024
# The inputs and outputs that a graph may have, and those that it must have.
_SIGNATURES: Final = {
    "encoder": (("image",), ("z", "log_var", "y"), ("image", "z")),
    "decoder": (("z", "y"), ("image",), ("z", "image")),
    "prior": (("u",), ("z", "y"), ("u", "z")),
    "detector": (("image",), ("score", "map"), ("image", "score", "map")),
}


class Declared(NamedTuple):
    """An input, output or other value as a graph declares it; a dimension without a number is its name."""

    name: str
    type: str
    shape: list[int | str]


class Head(NamedTuple):
    """What a graph file says of itself: versions, of each operator set by its domain too, its metadata, and its ends.

    `metadata` are pairs, as a file may have a key twice.
    """

    ir_version: int
    opsets: list[tuple[str, int]]
    metadata: list[tuple[str, str]]
    inputs: list[Declared]
    outputs: list[Declared]


# What makes a CheckedGraph: nothing outside this file has it.
_SEAL: Final = object()


@final
@dataclass(frozen=True, slots=True)
class CheckedGraph:
    """The bytes of a graph that `check_graph` let through, which alone makes one, and what is known of it.

    Only such a graph opens a session, is copied, or has its names written into another program's files. `name` is its
    file's, for errors; `inputs` and `outputs` are names in the graph's order, of float32 arrays with a row of the
    manifest's `row_shapes` for each image; `operators` are those that it has. What the outputs `fractions` give comes
    from a sigmoid: from 0 to 1, or not a number.
    """

    content: bytes
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: frozenset[str]
    fractions: frozenset[str]
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a CheckedGraph is made by check_graph alone")


def read_graph(bundle: Bundle, role: str, precision: str = "fp32") -> CheckedGraph:
    """The graph of a role in a precision, read from a bundle and checked.

    Raises:
        InvalidBundle: the bundle has no such graph, its file is not the manifest's, or as for `check_graph`.
    """
    name = bundle.manifest.graph_file(role, precision)
    return check_graph(bundle.read(name), name, role, bundle.manifest)


def check_graph(content: bytes, name: str, role: str, manifest: Manifest) -> CheckedGraph:
    """Refuse the bytes of a graph file, `name` in errors, unless they are a plain graph for its role in a bundle.

    Raises:
        InvalidBundle: the bytes are not an ONNX file or cut short; the graph has external data, operators of other
            domains, functions or subgraphs, sizes that its data does not have or out of all proportion, names twice or
            not plain; or its inputs and outputs are not what the manifest promises.
    """
    _, graph = _messages(content, name)
    memory = Memory(len(content), name)
    memory.take(VALUE * (len(graph["initializer"]) + len(graph["value_info"])))
    inputs, outputs, others = (
        [_declared(_view(v), name) for v in graph[kind]] for kind in ("input", "output", "value_info")
    )
    for value in others:
        if math.prod(size for size in value.shape if isinstance(size, int)) > _MOST_ELEMENTS:
            raise InvalidBundle(f"{name}: {value.name!r} declares the shape {value.shape}; do not trust this bundle")
    constants = {t.name: t for t in (_tensor(_view(t), name, memory) for t in graph["initializer"])}
    if len(constants) != len(graph["initializer"]):
        raise InvalidBundle(f"{name} has two tensors of one name; do not trust this bundle")
    check_interface(role, inputs, outputs, manifest)
    known = Known(memory, constants, {value.name: len(value.shape) for value in inputs})
    givers = _check_nodes(graph["node"], known, frozenset(value.name for value in (*others, *outputs)))
    takes, gives = (tuple(value.name for value in values) for values in (inputs, outputs))
    fractions = frozenset(value for value in gives if givers.get(value) == "Sigmoid")
    return CheckedGraph(content, name, takes, gives, frozenset(givers.values()), fractions, seal=_SEAL)


def only(graph: CheckedGraph, output: str) -> CheckedGraph:
    """A checked graph without the other outputs and the nodes that only those need, which ONNX Runtime would run.

    Raises:
        InvalidBundle: the graph has no such output.
    """
    model, fields = _messages(graph.content, graph.name)
    if output not in graph.outputs:
        raise InvalidBundle(f"{graph.name} has no output {output}; it has {', '.join(graph.outputs)}")
    nodes, needed = list[Value](), {output}
    for data in reversed(fields["node"]):  # each stands behind those whose values it takes
        node = read_message(_view(data), NODE_FIELDS, graph.name)
        if needed.isdisjoint(text([value], graph.name) for value in node["output"]):
            continue
        needed.update(text([value], graph.name) for value in node["input"])
        nodes.insert(0, data)
    ends = [value for value in fields["output"] if _declared(_view(value), graph.name).name == output]
    content = _written({**model, "graph": [_written({**fields, "node": nodes, "output": ends}, GRAPH)]}, MODEL)
    return replace(graph, content=content, outputs=(output,), seal=_SEAL)


def read_head(content: bytes, name: str) -> Head:
    """What the bytes of a graph file, `name` in errors, say of it; nothing is checked but that they can be read.

    Raises:
        InvalidBundle: the bytes are not an ONNX file, cut short, or have fields that no model has a use for.
    """
    model, graph = _messages(content, name)
    opsets = [read_message(_view(each), OPSET, f"{name}: an operator set") for each in model["opset_import"]]
    entries = [read_message(_view(each), ENTRY, f"{name}: its metadata") for each in model["metadata_props"]]
    inputs, outputs = ([_declared(_view(v), name) for v in graph[kind]] for kind in ("input", "output"))
    return Head(
        _number(model["ir_version"]),
        [(text(opset["domain"], name), _number(opset["version"])) for opset in opsets],
        [(text(entry["key"], name), text(entry["value"], name)) for entry in entries],
        inputs,
        outputs,
    )


def _written(message: Mapping[str, Sequence[Value | bytes]], kinds: Mapping[int, Field]) -> bytes:
    """The bytes of a message, of whose fields `kinds` has the numbers."""
    return b"".join(field(number, value) for number, kind in kinds.items() for value in message[kind.name])


def _messages(content: bytes, name: str) -> tuple[Fields, Fields]:
    """The fields of a model, and those of its graph."""
    if content[4:8] == b"ORTM":
        raise InvalidBundle(f"{name} is in ONNX Runtime's own format, expected ONNX; do not trust this bundle")
    model = read_message(memoryview(content), MODEL, name)
    if not model["graph"]:
        raise InvalidBundle(f"{name} is not an ONNX file: it has no graph; get the bundle again")
    return model, read_message(_view(model["graph"][0]), GRAPH, f"{name}: the graph")


def _view(value: Value) -> memoryview:
    assert isinstance(value, memoryview)  # noqa: S101 - the field's wire type is BYTES alone
    return value


def _name(values: list[Value], where: str) -> str:
    """A name in a graph, which is plain: it ends up in errors, pages and other programs' configurations."""
    name = text(values, where)
    if not _NAME.fullmatch(name):
        raise InvalidBundle(
            f"{where} has the name {name[:80]!r}, expected letters, digits and ./:_- alone; do not trust this bundle"
        )
    return name


def _number(values: list[Value]) -> int:
    """The signed number of a field that is there once at most, 0 where it is not."""
    return integers(values, "")[0] if values else 0


def _check_nodes(nodes: list[Value], known: Known, declared: frozenset[str]) -> dict[str, str]:
    """Check every node: the operator that gives each value, by the value's name."""
    names, givers, where = {*known.constants, *known.rows}, dict[str, str](), known.memory.name
    if len(names) != len(known.constants) + len(known.rows):
        raise InvalidBundle(f"{where} has an input and a tensor of one name; do not trust this bundle")
    for data in nodes:
        node = _node(_view(data), known.memory)
        _check_new_names(node, names, where)
        givers |= dict.fromkeys(node.gives, node.operator)
        names.update(node.gives)
        _check_growth(node, known.constants, where)
        known.add(node, declared)
    return givers


def _node(data: memoryview, memory: Memory) -> Node:
    where = memory.name
    node = read_message(data, NODE_FIELDS, f"{where}: a node")
    operator = _operator(node, where)
    attributes = [_attribute(_view(a), f"{where}: {operator}", memory) for a in node["attribute"]]
    if operator not in OPERATORS:
        raise InvalidBundle(f"{where} has the operator {operator}, which a model has no use for")
    takes, gives = ([_name([value], where) for value in node[kind]] for kind in ("input", "output"))
    _name(node["name"], where)
    numbers = {name: numbers for name, numbers, _ in attributes}
    return Node(operator, takes, [name for name in gives if name], numbers, [t for *_, ts in attributes for t in ts])


def _operator(node: Fields, where: str) -> str:
    """The operator of a node, which must be one of ONNX's own."""
    operator, domain = text(node["op_type"], where)[:80], text(node["domain"], where)[:80]
    if domain not in ("", "ai.onnx") or not operator.isidentifier():
        raise InvalidBundle(
            f"{where} has the operator {operator!r} of {domain!r}, expected ONNX's own; do not trust this bundle"
        )
    return operator


def _check_new_names(node: Node, names: set[str], where: str) -> None:
    """Refuse a node that gives a value of a name that is taken."""
    if len(set(node.gives)) != len(node.gives) or names.intersection(node.gives):
        raise InvalidBundle(f"{where} has two values of one name, one of {node.operator}; do not trust this bundle")


def _check_growth(node: Node, constants: Mapping[str, Constant], where: str) -> None:
    """Refuse an operator that a constant tells to make something huge."""
    if node.operator not in GROWING:
        return
    for tensor in (constants[name] for name in node.takes if name in constants):
        if math.prod(max(1, abs(n)) for n in tensor.integers) > _MOST_GROWTH:
            raise InvalidBundle(
                f"{where}: {node.operator} is given the size {tensor.integers[:8]}; do not trust this bundle"
            )


def _attribute(data: memoryview, where: str, memory: Memory) -> tuple[str, list[int], list[Constant]]:
    """Check an attribute: its name, its whole numbers, and its tensors, one of its numbers among them."""
    attribute = read_message(data, ATTRIBUTE, f"{where}: an attribute")
    name = _name(attribute["name"], where)
    most = _MOST_REACH if name in _REACH else _MOST_INTEGER
    numbers = integers(attribute["i"] + attribute["ints"], where, NUMBERS)
    if any(abs(number) > most for number in numbers):
        raise InvalidBundle(f"{where}: {name[:80]!r} is {numbers[:8]}, expected at most {most}")
    count = len(numbers) + _floats(attribute["f"] + attribute["floats"])
    memory.take(VALUE + NUMBER * count)
    own = Constant(name, count, 8, (count,), numbers)
    return name, numbers, [*(_tensor(_view(tensor), where, memory) for tensor in attribute["t"]), own]


def _floats(values: list[Value]) -> int:
    """How many floats a field has, packed or not."""
    return sum(len(value) // 4 for value in values if isinstance(value, memoryview))


def _tensor(data: memoryview, where: str, memory: Memory) -> Constant:
    """Check that a tensor has its data with it, as much as its shape says."""
    tensor = read_message(data, TENSOR, f"{where}: a tensor")
    name, dims = _name(tensor["name"], where), integers(tensor["dims"], where, AXES)
    kind, raw = _number(tensor["data_type"]), tensor["raw_data"]
    if _number(tensor["data_location"]) != 0 or tensor["external_data"]:
        raise InvalidBundle(f"{where}: {name[:80]!r} has its data in another file; do not trust this bundle")
    if kind not in _SIZES or any(size < 0 for size in dims):
        raise InvalidBundle(f"{where}: {name[:80]!r} has the type {kind} and the shape {dims}, expected numbers")
    count, numbers = math.prod(dims), list[int]()
    if raw:
        found, wanted = len(_view(raw[0])), count * _SIZES[kind]
        if kind in (6, 7) and found == wanted and 0 < count <= _FEW:
            numbers = list(_view(raw[0]).cast("i" if kind == 6 else "q"))
    else:
        typed = integers(tensor["int32_data"] + tensor["int64_data"], where, NUMBERS)
        found, wanted = _floats(tensor["float_data"]) + len(typed), count
        memory.take(NUMBER * found)
        numbers = typed if kind in (6, 7) and len(typed) <= _FEW else []  # others may have fewer bits than here
    if found != wanted:
        raise InvalidBundle(
            f"{where}: {name[:80]!r} has {found} of the {wanted} {'bytes' if raw else 'numbers'} of its shape {dims}; "
            "do not trust this bundle"
        )
    return Constant(name, count, _SIZES[kind], tuple(dims), numbers)


def _declared(data: memoryview, where: str) -> Declared:
    value = read_message(data, VALUE_FIELDS, f"{where}: a value")
    name = _name(value["name"], where)
    kind, shape = 0, list[int | str]()
    for type_ in value["type"]:
        for tensor in read_message(_view(type_), TYPE, f"{where}: {name[:80]!r}")["tensor_type"]:
            tensor_type = read_message(_view(tensor), TENSOR_TYPE, f"{where}: {name[:80]!r}")
            kind = _number(tensor_type["elem_type"])
            for dims in tensor_type["shape"]:
                shape += [_dimension(_view(d), where) for d in read_message(_view(dims), SHAPE, where)["dim"]]
    return Declared(name, f"tensor({_TYPES.get(kind, kind)})", shape)


def _dimension(data: memoryview, where: str) -> int | str:
    dimension = read_message(data, DIMENSION, f"{where}: a dimension")
    return _number(dimension["dim_value"]) if dimension["dim_value"] else _name(dimension["dim_param"], where)


def check_interface(role: str, inputs: list[Declared], outputs: list[Declared], manifest: Manifest) -> None:
    """Refuse a graph whose inputs and outputs are not what the manifest promises for its role.

    Raises:
        InvalidBundle: one is missing, not of the role, there twice, or of another type or shape.
    """
    sizes = manifest.row_shapes
    takes, gives, needed = _SIGNATURES[role]
    found = [value.name for value in (*inputs, *outputs)]
    for values, names in ((inputs, takes), (outputs, gives)):
        for name, type_, shape in values:
            first, *rest = shape or [0]
            known = name in names and tuple(rest) == sizes[name] and isinstance(first, str)
            if not known or type_ != "tensor(float)" or found.count(name) > 1:
                expected = " or ".join(f"{n} once as tensor(float) {['batch', *sizes[n]]}" for n in names)
                raise InvalidBundle(
                    f"the {role} of {manifest.name} has {name[:80]!r} as {type_} {shape[:9]}, expected {expected}"
                )
    if missing := [name for name in needed if name not in found]:
        raise InvalidBundle(f"the {role} of {manifest.name} lacks {', '.join(missing)} among its inputs and outputs")
