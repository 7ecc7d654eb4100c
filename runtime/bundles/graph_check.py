"""What an ONNX file is, read from its bytes before ONNX Runtime sees them, so that a hostile one is refused.

Whatever a bundle claims, its graphs can then reach no file, call no code except the standard operators', and ask for
no more memory when they are loaded than a few times their own size. What they compute when they run is not bounded.
Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from typing import Final, NamedTuple, final

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.protobuf import BYTES, FIXED32, VARINT, Field, Fields, Value, integers, read_message, text
from aae_zoo.runtime.errors import InvalidBundle

# What PyTorch's exporter and the tools that rewrite graphs call values; an operator's optional input has no name.
_NAME: Final = re.compile(r"[A-Za-z0-9_./:-]{0,500}")
_MANY: Final = 10_000
_MOST_ELEMENTS: Final = 1 << 28
# Attributes that say how far a convolution reaches, and any other.
_REACH: Final = ("dilations", "kernel_shape", "output_padding", "pads", "strides")
_MOST_REACH: Final = 256
_MOST_INTEGER: Final = 1 << 16

# Bytes of an element by ONNX's number of its type, and what people call the type.
_SIZES: Final = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8}
_TYPES: Final = {1: "float", 6: "int32", 7: "int64", 10: "float16", 11: "double"}

# Operators that constants alone may feed: their output is at most eight times as large as their input.
_FOLDED: Final = ("Cast", "Constant", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Transpose")
# Operators whose output can be as large as a number among their inputs says.
_GROWING: Final = ("ConstantOfShape", "EyeLike", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample")
_MOST_GROWTH: Final = 1 << 24
_MOST_FOLDED: Final = 8
_FEW: Final = 1024


def _once(name: str, *wires: int) -> Field:
    return Field(name, wires or (BYTES,), once=True)


def _repeated(name: str, *wires: int) -> Field:
    return Field(name, wires or (BYTES,), once=False)


def _never(name: str) -> Field:
    return Field(name, (), once=True)


# What is missing here is refused too: sparse tensors, texts, devices, and anything that ONNX will invent.
_MODEL: Final = {
    1: _once("ir_version", VARINT),
    2: _once("producer_name"),
    3: _once("producer_version"),
    4: _once("domain"),
    5: _once("model_version", VARINT),
    6: _once("doc_string"),
    7: _once("graph"),
    8: _repeated("opset_import"),
    14: _repeated("metadata_props"),
    20: _never("training"),
    25: _never("functions"),
}
_GRAPH: Final = {
    1: _repeated("node"),
    2: _once("name"),
    5: _repeated("initializer"),
    10: _once("doc_string"),
    11: _repeated("input"),
    12: _repeated("output"),
    13: _repeated("value_info"),
    14: _repeated("quantization_annotation"),
    15: _never("sparse tensors"),
    16: _repeated("metadata_props"),
}
_NODE: Final = {
    1: _repeated("input"),
    2: _repeated("output"),
    3: _once("name"),
    4: _once("op_type"),
    5: _repeated("attribute"),
    6: _once("doc_string"),
    7: _once("domain"),
    9: _repeated("metadata_props"),
}
_ATTRIBUTE: Final = {
    1: _once("name"),
    2: _once("f", FIXED32),
    3: _once("i", VARINT),
    4: _once("s"),
    5: _once("t"),
    6: _never("a subgraph"),
    7: _repeated("floats", FIXED32, BYTES),
    8: _repeated("ints", VARINT, BYTES),
    9: _repeated("strings"),
    11: _never("subgraphs"),
    13: _once("doc_string"),
    20: _once("type", VARINT),
}
_TENSOR: Final = {
    1: _repeated("dims", VARINT, BYTES),
    2: _once("data_type", VARINT),
    4: _repeated("float_data", FIXED32, BYTES),
    5: _repeated("int32_data", VARINT, BYTES),
    7: _repeated("int64_data", VARINT, BYTES),
    8: _once("name"),
    9: _once("raw_data"),
    12: _once("doc_string"),
    13: _repeated("external_data"),
    14: _once("data_location", VARINT),
    16: _repeated("metadata_props"),
}
_VALUE: Final = {1: _once("name"), 2: _once("type"), 3: _once("doc_string"), 4: _repeated("metadata_props")}
_TYPE: Final = {1: _once("tensor_type"), 6: _once("denotation")}
_TENSOR_TYPE: Final = {1: _once("elem_type", VARINT), 2: _once("shape")}
_SHAPE: Final = {1: _repeated("dim")}
_DIMENSION: Final = {1: _once("dim_value", VARINT), 2: _once("dim_param"), 3: _once("denotation")}

# The inputs and outputs that a graph may have, and those that it must have.
_SIGNATURES: Final = {
    "encoder": (("image",), ("z", "log_var", "y"), ("image", "z")),
    "decoder": (("z", "y"), ("image",), ("z", "image")),
    "prior": (("u",), ("z", "y"), ("u", "z")),
}


class _Tensor(NamedTuple):
    """A constant: how many numbers it has, and which, where they are few and whole."""

    name: str
    size: int
    integers: list[int]


class _Node(NamedTuple):
    """An operator, the names of what it takes and gives, and the tensors and whole numbers of its attributes."""

    operator: str
    takes: list[str]
    gives: list[str]
    tensors: list[_Tensor]


class _Declared(NamedTuple):
    """An input, output or other value as a graph declares it; a dimension without a number is its name."""

    name: str
    type: str
    shape: list[int | str]


# What makes a CheckedGraph: nothing outside this file has it.
_SEAL: Final = object()


@final
@dataclass(frozen=True, slots=True)
class CheckedGraph:
    """The bytes of a graph that `check_graph` let through, which alone makes one, and what is known of it.

    Only such a graph opens a session, is copied, or has its names written into another program's files. `name` is its
    file's, for errors; `inputs` and `outputs` are names in the graph's order, of float32 arrays with a row of the
    manifest's `row_shapes` for each image; `operators` are those that it has.
    """

    content: bytes
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: frozenset[str]
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
            domains, functions or subgraphs, sizes that its data does not have or out of all proportion, or names twice;
            or its inputs and outputs are not what the manifest promises.
    """
    if content[4:8] == b"ORTM":
        raise InvalidBundle(f"{name} is in ONNX Runtime's own format, expected ONNX; do not trust this bundle")
    model = read_message(memoryview(content), _MODEL, name)
    if not model["graph"]:
        raise InvalidBundle(f"{name} is not an ONNX file: it has no graph; get {manifest.name} again")
    graph = read_message(_view(model["graph"][0]), _GRAPH, f"{name}: the graph")
    if max(len(graph["node"]), len(graph["initializer"]), len(graph["value_info"])) > _MANY:
        raise InvalidBundle(f"{name} has more than {_MANY:,} nodes, tensors or values; do not trust this bundle")
    inputs, outputs, others = (
        [_declared(_view(v), name) for v in graph[kind]] for kind in ("input", "output", "value_info")
    )
    for value in others:
        if math.prod(size for size in value.shape if isinstance(size, int)) > _MOST_ELEMENTS:
            raise InvalidBundle(f"{name}: {value.name!r} declares the shape {value.shape}; do not trust this bundle")
    constants = {t.name: t for t in (_tensor(_view(t), name) for t in graph["initializer"])}
    if len(constants) != len(graph["initializer"]):
        raise InvalidBundle(f"{name} has two tensors of one name; do not trust this bundle")
    operators = _check_nodes(graph, name, constants, {value.name for value in inputs}, _MOST_FOLDED * len(content))
    _check_signature(role, inputs, outputs, manifest)
    takes, gives = (tuple(value.name for value in values) for values in (inputs, outputs))
    return CheckedGraph(content, name, takes, gives, operators, seal=_SEAL)


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


def _number(values: list[Value], default: int = 0) -> int:
    """The signed number of a field that is there once at most."""
    return integers(values, "")[0] if values else default


def _check_nodes(
    graph: Fields, where: str, constants: dict[str, _Tensor], inputs: set[str], most: int
) -> frozenset[str]:
    """Check every node: the operators that the graph has.

    What constants alone feed is a constant too, and is added to `constants`; together those may have `most` numbers.
    """
    names, operators, made = _names_of(constants, inputs, where), set[str](), 0
    for data in graph["node"]:
        node = _node(_view(data), where)
        operators.add(node.operator)
        _check_new_names(node, names, where)
        names.update(node.gives)
        _check_growth(node, constants, where)
        if all(name in constants for name in node.takes if name):  # an optional input has no name where it is left out
            _check_foldable(node, where)
            folded = _fold(node, constants)
            made += sum(tensor.size for tensor in folded)
            constants.update((tensor.name, tensor) for tensor in folded)
    _check_made(made, most, where)
    return frozenset(operators)


def _names_of(constants: Mapping[str, _Tensor], inputs: set[str], where: str) -> set[str]:
    """The names that are given before any node runs, each once."""
    names = {*constants, *inputs}
    if len(names) != len(constants) + len(inputs):
        raise InvalidBundle(f"{where} has an input and a tensor of one name; do not trust this bundle")
    return names


def _node(data: memoryview, where: str) -> _Node:
    node = read_message(data, _NODE, f"{where}: a node")
    operator = _operator(node, where)
    tensors = [t for a in node["attribute"] for t in _check_attribute(_view(a), f"{where}: {operator}")]
    takes, gives = ([_name([value], where) for value in node[kind]] for kind in ("input", "output"))
    _name(node["name"], where)
    return _Node(operator, takes, [name for name in gives if name], tensors)


def _operator(node: Fields, where: str) -> str:
    """The operator of a node, which must be one of ONNX's own."""
    operator, domain = text(node["op_type"], where)[:80], text(node["domain"], where)[:80]
    if domain not in ("", "ai.onnx") or not operator.isidentifier():
        raise InvalidBundle(
            f"{where} has the operator {operator!r} of {domain!r}, expected ONNX's own; do not trust this bundle"
        )
    return operator


def _check_new_names(node: _Node, names: set[str], where: str) -> None:
    """Refuse a node that gives a value of a name that is taken."""
    if len(set(node.gives)) != len(node.gives) or names.intersection(node.gives):
        raise InvalidBundle(f"{where} has two values of one name, one of {node.operator}; do not trust this bundle")


def _check_growth(node: _Node, constants: Mapping[str, _Tensor], where: str) -> None:
    """Refuse an operator that a constant tells to make something huge."""
    if node.operator not in _GROWING:
        return
    for tensor in (constants[name] for name in node.takes if name in constants):
        if math.prod(max(1, abs(n)) for n in tensor.integers) > _MOST_GROWTH:
            raise InvalidBundle(
                f"{where}: {node.operator} is given the size {tensor.integers[:8]}; do not trust this bundle"
            )


def _check_foldable(node: _Node, where: str) -> None:
    """Refuse an operator that constants alone feed, and whose output could be much larger than they are."""
    if node.operator not in _FOLDED:
        raise InvalidBundle(f"{where} has {node.operator} of constants alone, expected one of {', '.join(_FOLDED)}")


def _fold(node: _Node, constants: Mapping[str, _Tensor]) -> list[_Tensor]:
    """What a node of constants alone gives: as large as the largest of them, with the first whole numbers of them."""
    sources = [*(constants[name] for name in node.takes if name in constants), *node.tensors]
    size = max((tensor.size for tensor in sources), default=0)
    numbers = next((tensor.integers for tensor in sources if tensor.integers), [])
    return [_Tensor(name, size, numbers) for name in node.gives]


def _check_made(made: int, most: int, where: str) -> None:
    """Refuse a graph whose nodes make more numbers of constants than its size allows."""
    if made > most:
        raise InvalidBundle(f"{where} makes more constants of its own than its size allows; do not trust this bundle")


def _check_attribute(data: memoryview, where: str) -> list[_Tensor]:
    """Check an attribute: its tensor or its whole numbers, if it has any."""
    attribute = read_message(data, _ATTRIBUTE, f"{where}: an attribute")
    name = _name(attribute["name"], where)
    most = _MOST_REACH if name in _REACH else _MOST_INTEGER
    numbers = integers(attribute["i"] + attribute["ints"], where)
    if any(abs(number) > most for number in numbers):
        raise InvalidBundle(f"{where}: {name[:80]!r} is {numbers[:8]}, expected at most {most}")
    return [*(_tensor(_view(tensor), where) for tensor in attribute["t"]), _Tensor(name, len(numbers), numbers)]


def _tensor(data: memoryview, where: str) -> _Tensor:
    """Check that a tensor has its data with it, as much as its shape says."""
    tensor = read_message(data, _TENSOR, f"{where}: a tensor")
    name, dims = _name(tensor["name"], where), integers(tensor["dims"], where)
    kind, raw = _number(tensor["data_type"]), tensor["raw_data"]
    if _number(tensor["data_location"]) != 0 or tensor["external_data"]:
        raise InvalidBundle(f"{where}: {name[:80]!r} has its data in another file; do not trust this bundle")
    if kind not in _SIZES or len(dims) > 8 or any(size < 0 for size in dims):
        raise InvalidBundle(f"{where}: {name[:80]!r} has the type {kind} and the shape {dims[:9]}, expected numbers")
    count, numbers = math.prod(dims), list[int]()
    if raw:
        found, wanted = len(_view(raw[0])), count * _SIZES[kind]
        if kind in (6, 7) and found == wanted and 0 < count <= _FEW:
            numbers = list(_view(raw[0]).cast("i" if kind == 6 else "q"))
    else:
        floats = sum(len(v) // 4 for v in tensor["float_data"] if isinstance(v, memoryview))
        typed = integers(tensor["int32_data"] + tensor["int64_data"], where)
        found, wanted = floats + len(typed), count
        numbers = typed if len(typed) <= _FEW else []
    if found != wanted:
        raise InvalidBundle(
            f"{where}: {name[:80]!r} has {found} of the {wanted} {'bytes' if raw else 'numbers'} of its shape {dims}; "
            "do not trust this bundle"
        )
    return _Tensor(name, count, numbers)


def _declared(data: memoryview, where: str) -> _Declared:
    value = read_message(data, _VALUE, f"{where}: a value")
    name = _name(value["name"], where)
    kind, shape = 0, list[int | str]()
    for type_ in value["type"]:
        for tensor in read_message(_view(type_), _TYPE, f"{where}: {name[:80]!r}")["tensor_type"]:
            tensor_type = read_message(_view(tensor), _TENSOR_TYPE, f"{where}: {name[:80]!r}")
            kind = _number(tensor_type["elem_type"])
            for dims in tensor_type["shape"]:
                shape += [_dimension(_view(d), where) for d in read_message(_view(dims), _SHAPE, where)["dim"]]
    return _Declared(name, f"tensor({_TYPES.get(kind, kind)})", shape)


def _dimension(data: memoryview, where: str) -> int | str:
    dimension = read_message(data, _DIMENSION, f"{where}: a dimension")
    return _number(dimension["dim_value"]) if dimension["dim_value"] else _name(dimension["dim_param"], where)


def _check_signature(role: str, inputs: list[_Declared], outputs: list[_Declared], manifest: Manifest) -> None:
    """Refuse a graph whose inputs and outputs are not what the manifest promises for its role."""
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
