"""Hostile graphs and manifests without end, made from real ones by seeded changes.

    python tests/support/fuzz.py --cases 1000000 [--seed 0]

feeds half of the cases to the check of graphs and half to that of manifests. Each must be refused with InvalidBundle,
or be harmless: of what the check of graphs lets through, the protobuf of the package onnx must say so too. The case of
a number and a seed is always the same, so a failure is found again by `--first NUMBER --cases 1`.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter
from functools import cache
from random import Random
from typing import Any, Final, NamedTuple

import onnx
from google.protobuf.message import DecodeError

from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.graph_check import check_graph
from aae_zoo.runtime.bundles.manifest import MAX_FILE_BYTES, Manifest, is_plain_name, parse_manifest
from aae_zoo.runtime.bundles.protobuf import field, varint
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.store.catalogue import SHIPPED

GRAPHS: Final = ("mnist-bits", "mnist-swissroll")
NUMBERS: Final = (0, 1, 2, 3, 7, 8, 13, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
NAMES: Final = ("", ".", "..", "../x", "/etc/passwd", "C:\\x", "a/b", "u", "z", "prior.onnx", "PRIOR.ONNX", "\x1b[2J")
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


def change_bytes(data: bytes, random: Random) -> bytes:
    """The bytes with some turned over, cut off, left out, or put in."""
    start, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    kind = random.randrange(4)
    if kind == 0:
        changed = bytearray(data)
        for _ in range(random.randrange(1, 9)):
            changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
        return bytes(changed)
    if kind == 1:
        return data[:end]
    if kind == 2:
        return data[:start] + data[end:]
    return data[:start] + random.randbytes(random.randrange(1, 20)) + data[start:]


@cache
def graphs() -> list[tuple[Manifest, bytes, list[Node]]]:
    """The graphs that cases are made from, with their manifests: the smallest, in which changes hit more often."""
    bundles = [open_bundle(SHIPPED / name) for name in GRAPHS]
    contents = [(bundle.manifest, bundle.read("prior.onnx")) for bundle in bundles]
    return [(manifest, content, parse(content)) for manifest, content in contents]


def graph_case(random: Random) -> str:
    """One graph: how it was refused, or "accepted".

    Raises:
        AssertionError: it was let through and is not harmless.
    """
    manifest, content, nodes = random.choice(graphs())
    content = change_message(nodes, random) if random.random() < 0.8 else change_bytes(content, random)
    if random.random() < 0.3:
        content = change_bytes(content, random)
    try:
        check_graph(content, "prior.onnx", "prior", manifest)
    except InvalidBundle as error:
        return outcome(error)
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError:
        return "accepted, but no protobuf"
    assert harmless(model, manifest), content
    return "accepted"


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


@cache
def manifest_text() -> str:
    """The manifest that cases are made from, without its long texts."""
    document = json.loads((SHIPPED / "mnist-bits" / "manifest.json").read_text("utf-8"))
    return json.dumps(document | {"metrics": {}, "provenance": {}})


def change_document(value: Any, random: Random) -> Any:
    """The document with one value, here or further inside, replaced, left out or put under another name."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        changed = {k: v for k, v in value.items() if k != key}
        if random.random() < 0.7:
            return changed | {key: change_document(value[key], random)}
        return changed if random.random() < 0.3 else changed | {random.choice(NAMES): value[key]}
    others: list[Any] = [None, True, [], {}, [[[]]] * 5, 1e400, math.nan, -1, "0" * 64, 10**30, *NAMES, *NUMBERS]
    return random.choice([*others, [value], {"x": value}])


def manifest_case(random: Random) -> str:
    """One manifest: how it was refused, or "accepted".

    Raises:
        AssertionError: it was let through and is not harmless.
    """
    text = manifest_text()
    if random.random() < 0.8:
        document = json.loads(text)
        for _ in range(random.randrange(1, 3)):
            document = change_document(document, random)
        text = json.dumps(document)
    content = text.encode()
    if random.random() < 0.3 or text == manifest_text():
        content = change_bytes(content, random)
    try:
        found = parse_manifest(content, "manifest.json")
    except InvalidBundle as error:
        return outcome(error)
    assert all(is_plain_name(name) and "/" not in name and name != ".." for name in found.files), content
    assert all(0 <= record.size <= MAX_FILE_BYTES for record in found.files.values()), content
    assert all(name in found.files for graph in found.graphs.values() for name in graph.values()), content
    assert not any("\x1b" in text for text in (found.name, found.title, *found.labels)), content
    assert 1 <= min(found.latent, found.noise) <= max(found.latent, found.noise) <= 1 << 16, content
    return "accepted"


def outcome(error: InvalidBundle) -> str:
    """The kind of a refusal: its words without names and numbers."""
    words = str(error).split(";")[0].split(": ")[-1].split()
    return "refused: " + " ".join(word for word in words if word.isalpha())[:50]


def run(first: int, cases: int, seed: int) -> Counter[str]:
    """Run the cases of these numbers: how many ended in which way.

    Raises:
        AssertionError: one did not end well; the message has its number.
    """
    outcomes: Counter[str] = Counter()
    for number in range(first, first + cases):
        random = Random(f"{seed}:{number}")  # noqa: S311 - no secrets
        case = graph_case if number % 2 else manifest_case
        try:
            outcomes[f"{case.__name__} {case(random)}"] += 1
        except Exception as error:
            raise AssertionError(f"case {number} of seed {seed}: {error!r}") from error
    return outcomes


def main() -> None:
    """The command: prints how the cases ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("cases", 1_000_000), ("first", 0), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    start = time.monotonic()
    outcomes = run(options.first, options.cases, options.seed)
    for words, count in outcomes.most_common(40):
        sys.stdout.write(f"{count:>9,}  {words}\n")
    sys.stdout.write(
        f"{options.cases:,} cases in {(time.monotonic() - start) / 60:.1f} minutes, none ended otherwise\n"
    )


if __name__ == "__main__":
    main()
