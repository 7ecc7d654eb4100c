"""What the messages of an ONNX file may have: the fields by number, and how many of each.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from typing import Final

from aae_zoo.runtime.bundles.protobuf import BYTES, FIXED32, VARINT, Field

# Of what a graph has most; a model that people use has some hundred.
MANY: Final = 10_000
_SOME: Final = 256
# Numbers that are not in one piece of bytes.
NUMBERS: Final = 4096
# The axes of a tensor.
AXES: Final = 8


def _once(name: str, *wires: int) -> Field:
    return Field(name, wires or (BYTES,), most=1)


def _repeated(name: str, most: int, *wires: int) -> Field:
    return Field(name, wires or (BYTES,), most)


def _never(name: str) -> Field:
    return Field(name, (), most=0)


# What is missing here is refused too: sparse tensors, texts, devices, and anything that ONNX will invent.
MODEL: Final = {
    1: _once("ir_version", VARINT),
    2: _once("producer_name"),
    3: _once("producer_version"),
    4: _once("domain"),
    5: _once("model_version", VARINT),
    6: _once("doc_string"),
    7: _once("graph"),
    8: _repeated("opset_import", 8),
    14: _repeated("metadata_props", _SOME),
    20: _never("training"),
    25: _never("functions"),
}
OPSET: Final = {1: _once("domain"), 2: _once("version", VARINT)}
ENTRY: Final = {1: _once("key"), 2: _once("value")}
GRAPH: Final = {
    1: _repeated("node", MANY),
    2: _once("name"),
    5: _repeated("initializer", MANY),
    10: _once("doc_string"),
    11: _repeated("input", _SOME),
    12: _repeated("output", _SOME),
    13: _repeated("value_info", MANY),
    14: _never("annotations of quantisation"),
    15: _never("sparse tensors"),
    16: _repeated("metadata_props", _SOME),
}
NODE_FIELDS: Final = {
    1: _repeated("input", _SOME),
    2: _repeated("output", _SOME),
    3: _once("name"),
    4: _once("op_type"),
    5: _repeated("attribute", 32),
    6: _once("doc_string"),
    7: _once("domain"),
    9: _repeated("metadata_props", _SOME),
}
ATTRIBUTE: Final = {
    1: _once("name"),
    2: _once("f", FIXED32),
    3: _once("i", VARINT),
    4: _once("s"),
    5: _once("t"),
    6: _never("a subgraph"),
    7: _repeated("floats", NUMBERS, FIXED32, BYTES),
    8: _repeated("ints", NUMBERS, VARINT, BYTES),
    9: _repeated("strings", _SOME),
    11: _never("subgraphs"),
    13: _once("doc_string"),
    20: _once("type", VARINT),
}
TENSOR: Final = {
    1: _repeated("dims", AXES, VARINT, BYTES),
    2: _once("data_type", VARINT),
    4: _repeated("float_data", NUMBERS, FIXED32, BYTES),
    5: _repeated("int32_data", NUMBERS, VARINT, BYTES),
    7: _repeated("int64_data", NUMBERS, VARINT, BYTES),
    8: _once("name"),
    9: _once("raw_data"),
    12: _once("doc_string"),
    13: _repeated("external_data", _SOME),
    14: _once("data_location", VARINT),
    16: _repeated("metadata_props", _SOME),
}
VALUE_FIELDS: Final = {
    1: _once("name"),
    2: _once("type"),
    3: _once("doc_string"),
    4: _repeated("metadata_props", _SOME),
}
TYPE: Final = {1: _once("tensor_type"), 6: _once("denotation")}
TENSOR_TYPE: Final = {1: _once("elem_type", VARINT), 2: _once("shape")}
SHAPE: Final = {1: _repeated("dim", AXES)}
DIMENSION: Final = {1: _once("dim_value", VARINT), 2: _once("dim_param"), 3: _once("denotation")}
