"""Graphs with changed, moved, renumbered and foreign fields, given to the check of graphs.

What it lets through must be harmless by the word of the package onnx too.
"""

import math
from functools import cache
from random import Random
from typing import Final, NamedTuple

import onnx
from google.protobuf.message import DecodeError

from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.graph_check import check_graph
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.protobuf import field, varint
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.store.catalogue import SHIPPED
from fuzzing.changes import NAMES, NUMBERS, change_bytes
from fuzzing.memory import at_most

REFUSAL: Final = InvalidBundle
MEGABYTE: Final = 1 << 20
GRAPHS: Final = ("mnist-bits", "mnist-swissroll")
MESSAGES: Final = (
    b"",
    b"\xff" * 12,
    field(13, field(1, b"location") + field(2, b"/etc/passwd")) + field(14, 1),
    field(4, b"Custom") + field(7, b"evil.domain"),
    field(4, b"ConstantOfShape") + field(1, b"u") + field(2, b"z"),
    field(1, 1 << 40) + field(2, 1) + field(8, b"big") + field(9, b"1234"),
    field(5, field(1, b"body") + field(6, field(2, b"subgraph"))),
)


class Node(NamedTuple):
    """A field of a message: its number, its bytes with their key, and what is in it if it is a message too."""

    number: int
    raw: bytes
    children: list["Node"]


def parse(data: bytes, depth: int = 0) -> list[Node]:
    """The fields of a message, and theirs. Texts may be taken for messages: they are changed all the same."""
    place, nodes = 0, []
    while place < len(data):
        start = place
        key, place = _number(data, place)
        if key & 7 == 2:
            width, place = _number(data, place)
            content = data[place : place + width]
            place += width
            children = parse(content, depth + 1) if depth < 5 and len(content) < 1000 else []
        elif key & 7 == 0:
            _, place = _number(data, place)
            children = []
        elif key & 7 == 5:
            place, children = place + 4, []
        else:
            return []
        if place > len(data) or not key >> 3:
            return []
        nodes.append(Node(key >> 3, data[start:place], children))
    return nodes


def _number(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data):
        value |= (data[place] & 127) << shift
        place += 1
        if data[place - 1] < 128:
            break
        shift += 7
    return value, place


def change_message(nodes: list[Node], random: Random) -> bytes:
    """The message with one field, here or further inside, left out, doubled, moved, renumbered or replaced."""
    place = random.randrange(len(nodes))
    node, before, after = nodes[place], nodes[:place], nodes[place + 1 :]
    if node.children and random.random() < 0.85:
        middle = field(node.number, change_message(node.children, random))
    else:
        middle = random.choice(
            [
                b"",
                node.raw * 2,
                node.raw + random.choice(nodes).raw,
                field(random.randrange(1, 30), random.choice(MESSAGES)),
                field(node.number, random.choice(MESSAGES)),
                field(node.number, random.choice(NUMBERS)),
                field(node.number, random.choice(NAMES).encode()),
                varint(random.choice(NUMBERS) << 3 & (1 << 64) - 1 | random.randrange(8)) + node.raw[1:],
            ]
        )
    return b"".join(n.raw for n in before) + middle + b"".join(n.raw for n in after)


@cache
def graphs() -> list[tuple[Manifest, bytes, list[Node]]]:
    """The graphs that cases are made from, with their manifests: the smallest, in which changes hit more often."""
    bundles = [open_bundle(SHIPPED / name) for name in GRAPHS]
    contents = [(bundle.manifest, bundle.read("prior.onnx")) for bundle in bundles]
    return [(manifest, content, parse(content)) for manifest, content in contents]


def case(random: Random) -> None:
    """One graph.

    Raises:
        InvalidBundle: it was refused.
        AssertionError: it was let through and is not harmless.
    """
    manifest, content, nodes = random.choice(graphs())
    content = change_message(nodes, random) if random.random() < 0.8 else change_bytes(content, random)
    if random.random() < 0.3:
        content = change_bytes(content, random)
    with at_most(10 * len(content) + 32 * MEGABYTE):
        check_graph(content, "prior.onnx", "prior", manifest)
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError:  # ONNX Runtime refuses it too
        return
    assert harmless(model, manifest), content


def harmless(model: onnx.ModelProto, manifest: Manifest) -> bool:
    """Whether the package onnx, too, finds nothing in a model that the check is there to refuse."""
    graph = model.graph
    tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
    values = [*graph.input, *graph.output]
    sizes = {"u": manifest.noise, "z": manifest.latent, "y": len(manifest.labels)}
    names = [*(t.name for t in graph.initializer), *(v.name for v in graph.input)]
    names += [name for node in graph.node for name in node.output if name]
    return (
        not (model.functions or model.training_info or graph.sparse_initializer)
        and all(node.domain in ("", "ai.onnx") for node in graph.node)
        and not any(a.HasField("g") or a.graphs or a.tensors for node in graph.node for a in node.attribute)
        and not any(t.external_data or t.data_location or t.string_data for t in tensors)
        and all(math.prod(t.dims) <= 8 * len(t.SerializeToString()) for t in tensors)
        and [v.name for v in graph.input] == ["u"]
        and all([d.dim_value for d in v.type.tensor_type.shape.dim] == [0, sizes[v.name]] for v in values)
        and len(set(names)) == len(names)
    )
