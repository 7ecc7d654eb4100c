"""Opening a graph takes at most ten times its file and 100 MB, whoever wrote it: measured in a process of its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import replace_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper, numpy_helper

from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.graph_check import check_graph, read_graph
from aae_zoo.runtime.bundles.protobuf import field
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.store.catalogue import SHIPPED

# The children open graph after graph of the list that they are given, and say of each how it ended and what it took.
# Linux resets the peak for a process that writes 5 there (proc(5)).
CHILD = """
import gc, json, re, sys
from pathlib import Path
import onnxruntime
from aae_zoo.runtime import AaeZooError, load

def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

load(sys.argv[1]).graph("decoder")
for folder in sys.stdin.read().split("\\n"):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    try:
        load(folder).graph("prior")
        ended = "opened"
    except AaeZooError as error:
        ended = str(error)
    print(json.dumps([memory("VmHWM") - before, ended]), flush=True)
"""
TIMES, MOST = 10, 100_000_000

Nodes = Sequence[NodeProto]
Tensors = Sequence[TensorProto]


def node(operator: str, takes: Sequence[str], gives: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, takes, [gives], **attributes)


def tensor(values: Any, name: str) -> TensorProto:
    return numpy_helper.from_array(np.array(values), name)


def prior(nodes: Nodes, tensors: Tensors = (), *, kept: bool = True) -> bytes:
    """A graph from u to z that needs all of the nodes, so that ONNX Runtime leaves none of them out."""
    used = {name for each in nodes for name in each.input}
    ends = [name for each in nodes for name in each.output if name not in used]
    sums = [node("ReduceSum", [name], f"sum{k}", keepdims=0) for k, name in enumerate(ends) if kept]
    total = [node("Sum", [each.output[0] for each in sums], "total"), node("Add", ["u", "total"], "z")]
    graph = helper.make_graph(
        [*nodes, *sums, *(total if sums else [node("Identity", ["u"], "z")])],
        "prior",
        [helper.make_tensor_value_info("u", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 2])],
        list(tensors),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[bytes]], list[tuple[int, str]]]:
    """Gives the peak of memory that opening each graph took, and how it ended, in one process for all of them."""
    folder = tmp_path_factory.mktemp("graphs")

    def measure(contents: list[bytes]) -> list[tuple[int, str]]:
        for number, content in enumerate(contents):
            bundle = folder / str(number)
            if not bundle.exists():
                shutil.copytree(SHIPPED / "digits-gauss", bundle)
            replace_graph(bundle, "prior.onnx", content)
        folders = "\n".join(str(folder / str(number)) for number in range(len(contents)))
        command = [sys.executable, "-c", CHILD, "digits-gauss"]
        result = subprocess.run(command, input=folders, capture_output=True, check=False, text=True)
        assert result.returncode == 0, result.stderr[-1000:]
        return [tuple(json.loads(line)) for line in result.stdout.splitlines()]

    return measure


def allowed(content: bytes) -> int:
    return TIMES * len(content) + MOST


ONE = tensor([1], "one")
# ONNX Runtime 1.32 folds what has at most 1 GiB, as all that is made of this has: Pad makes twice as many rows and
# columns, Range numbers of 8 bytes.
HUGE = tensor([8000, 8000], "huge")


def times_8100(number: str, gives: str) -> Iterator[NodeProto]:
    yield node("Mul", [number, "many"], "product")
    yield node("Mul", ["product", "many"], gives)


def sizes_from(source: str) -> Iterator[NodeProto]:
    """A large size that no constant names: some 8,000 squared from one of the ways to tell a shape."""
    if source == "reshaped":
        yield node("Reshape", ["u", "huge"], "r")
        yield node("Shape", ["r"], "size")
    elif source == "size":
        yield node("Size", ["one_row"], "s")
        yield node("Reshape", ["s", "one"], "s0")
        yield from times_8100("s0", "s1")
        yield node("Concat", ["s1", "s1"], "size", axis=0)
    elif source == "expanded":
        yield node("Expand", ["one_row", "huge"], "r")
        yield node("Shape", ["r"], "size")
    elif source == "multiplied":
        yield node("Shape", ["one_row"], "s")
        yield from times_8100("s", "size")
    elif source == "joined":
        yield node("Reshape", ["u", "huge"], "r")
        yield node("Shape", ["r"], "s", end=1)
        yield node("Concat", ["s", "s"], "size", axis=0)
    elif source == "cast":
        yield node("Cast", ["huge"], "f", to=TensorProto.FLOAT)
        yield node("Cast", ["f"], "size", to=TensorProto.INT64)
    elif source == "declared":
        yield node("ReduceMax", ["u"], "m")
        yield node("Reshape", ["m", "minus"], "m1")
        yield node("Tile", ["m1", "large"], "r")
        yield node("Shape", ["r"], "size")


SOURCES = ("reshaped", "size", "expanded", "multiplied", "joined", "cast", "declared")
GROWERS: dict[str, Callable[[], list[NodeProto]]] = {
    "ConstantOfShape": lambda: [node("ConstantOfShape", ["size"], "large_")],
    "Expand": lambda: [node("Expand", ["one_row", "size"], "large_")],
    "Tile": lambda: [node("Tile", ["one_row", "size"], "large_")],
    "Range": lambda: [
        node("ReduceProd", ["size"], "all", keepdims=0),
        node("Range", ["zero", "all", "step"], "numbers"),
        node("Cast", ["numbers"], "large_", to=TensorProto.FLOAT),
    ],
    "Pad": lambda: [
        node("Concat", ["size", "size"], "pads", axis=0),
        node("Pad", ["one_row", "pads"], "large_"),
    ],
    "OneHot": lambda: [
        node("ReduceProd", ["size"], "all", keepdims=0),
        node("OneHot", ["one", "all", "values"], "large_"),
    ],
    "Resize": lambda: [node("Resize", ["one_row", "", "", "size"], "large_", mode="nearest")],
    "EyeLike": lambda: [
        node("ConstantOfShape", ["size"], "zeros"),
        node("EyeLike", ["zeros"], "large_"),
    ],
    "MatMul": lambda: [
        node("ConstantOfShape", ["size"], "zeros"),
        node("MatMul", ["zeros", "zeros"], "large_"),
    ],
}
TENSORS = (
    ONE,
    HUGE,
    tensor(np.ones((1, 1), np.float32), "one_row"),
    tensor(np.int64(90), "many"),
    tensor([-1], "minus"),
    tensor([1 << 26], "large"),
    tensor(np.int64(0), "zero"),
    tensor(np.int64(1), "step"),
    tensor(np.array([0, 1], np.float32), "values"),
)


def test_sizes_that_are_known_only_when_a_graph_is_opened(
    measured: Callable[[list[bytes]], list[tuple[int, str]]],
) -> None:
    """Each way to know a size with each operator that makes something so large: 4 kB that would take 500 MB or more."""
    cases = {
        f"{source} to {grower}": prior([*sizes_from(source), *GROWERS[grower]()], TENSORS)
        for source in SOURCES
        for grower in GROWERS
    }
    for (name, content), (peak, ended) in zip(cases.items(), measured(list(cases.values())), strict=True):
        assert peak <= allowed(content), f"{name}: {peak:,} bytes, {ended}"
    assert len(content) < 4096


def typed(kind: int, numbers: Sequence[int], name: str) -> TensorProto:
    """A tensor whose numbers stand in a list of 32 bits each, whatever its type has."""
    return TensorProto(name=name, data_type=kind, dims=[len(numbers)], int32_data=numbers)


ONES = np.ones(2, np.float32)
# Nodes of which "r" looks as if its rows were the batch, and has as many whatever the batch is.
FIXED_ROWS: dict[str, Nodes] = {
    "no rows, allowed": [node("Reshape", ["u", "no_rows"], "r", allowzero=1)],
    "a mean of rows": [helper.make_node("LayerNormalization", ["u", "ones"], ["y", "r"], axis=0)],
    "a mean of batches": [
        helper.make_node("BatchNormalization", ["u", "ones", "ones", "ones", "ones"], ["y", "r", "v"], training_mode=1)
    ],
    "a turned row": [node("Transpose", ["row"], "column"), node("Add", ["u", "column"], "r")],
    "a slope": [node("PRelu", ["row", "u"], "r")],
    "a wide scale": [node("DequantizeLinear", ["bytes", "wide"], "column"), node("Add", ["u", "column"], "r")],
    "truth": [
        node("Cast", ["minus_one"], "true", to=TensorProto.BOOL),
        node("Cast", ["true"], "shape", to=TensorProto.INT64),
        node("Reshape", ["u", "shape"], "r"),
    ],
    "a byte below zero": [
        node("Cast", ["below_zero"], "shape", to=TensorProto.INT64),
        node("Reshape", ["u", "shape"], "r"),
    ],
    "a zero point": [
        node("QuantizeLinear", ["seven", "ones", "zero_point"], "quantized", axis=0),
        node("Cast", ["quantized"], "shape", to=TensorProto.INT64),
        node("Reshape", ["u", "shape"], "r"),
    ],
}
FIXED_TENSORS = (
    tensor([0, 1], "no_rows"),
    tensor(ONES, "ones"),
    tensor(ONES[None], "row"),
    tensor(np.ones((2, 1), np.int8), "bytes"),
    tensor(np.ones((1, 3), np.float32), "wide"),
    tensor([-1, 1], "minus_one"),
    typed(TensorProto.UINT8, [-1, 1], "below_zero"),
    tensor(7 * ONES, "seven"),
    typed(TensorProto.INT8, [0, 1], "zero_point"),
)


def shape_made_large() -> Nodes:
    """Nodes that make 20,000,000 numbers or more for each number in a shape."""
    return [
        node("ReduceSum", ["shape_"], "sum_", keepdims=1),
        node("Add", ["sum_", "one"], "more_"),
        node("Mul", ["more_", "many_"], "size_"),
        node("ConstantOfShape", ["size_"], "large_"),
        node("ReduceSum", ["large_"], "kept_", keepdims=0),
    ]


@pytest.mark.parametrize("name", FIXED_ROWS)
def test_rows_that_only_look_like_the_batch(
    name: str, measured: Callable[[list[bytes]], list[tuple[int, str]]]
) -> None:
    """Graphs of 600 bytes or less that ONNX Runtime knows more of than it seems, and would take 300 MB to open."""
    tensors = (*FIXED_TENSORS, ONE, tensor([20_000_000], "many_"))
    content = prior([*FIXED_ROWS[name], node("Shape", ["r"], "shape_"), *shape_made_large()], tensors)
    [(peak, ended)] = measured([content])
    assert peak <= allowed(content), f"{peak:,} bytes of {allowed(content):,}, {ended}"
    assert "of constants alone" in ended


@pytest.mark.parametrize("part", [{"end": 0}, {"end": -2}, {"start": 1}], ids=str)
def test_a_shape_without_the_batch_is_known(part: dict[str, int]) -> None:
    nodes = [node("Shape", ["u"], "shape_", **part), *shape_made_large()]
    assert not let_through(prior(nodes, [ONE, tensor([20_000_000], "many_")]))


@pytest.mark.parametrize(
    "made",
    [
        node("MatMul", ["u", "matrices"], "r"),
        node("Gemm", ["u", "u"], "r", transA=1),
        node("Concat", ["u", "column"], "r", axis=1),
    ],
    ids=lambda made: made.op_type,
)
def test_a_first_axis_that_is_not_the_batch_is_known(made: NodeProto) -> None:
    """Three matrices make three products, a turned batch has as many rows as it had columns, and three rows stay so."""
    tensors = [tensor(np.ones((3, 2, 2), np.float32), "matrices"), tensor(np.ones((3, 1), np.float32), "column"), ONE]
    nodes = [made, node("Shape", ["r"], "shape_", end=1), *shape_made_large()]
    assert not let_through(prior(nodes, [*tensors, tensor([20_000_000], "many_")]))


def weights(shape: Sequence[int], kind: type[np.generic] = np.float16) -> TensorProto:
    return tensor(np.zeros(shape, kind), "w")


def multiplied(operator: str, weight: TensorProto, times: int, shape: Sequence[int], **attributes: Any) -> bytes:
    """One weight that so many products share, each of which may keep a copy in an order of its own."""
    nodes = [node("Cast", ["w"], "wf", to=TensorProto.FLOAT), node("Reshape", ["u", "shape"], "v")]
    nodes += [node("Mul", ["v", f"k{i}"], f"v{i}") for i in range(times)]
    nodes += [node(operator, [f"v{i}", "wf"], f"y{i}", **attributes) for i in range(times)]
    factors = [tensor(np.float32(i + 2), f"k{i}") for i in range(times)]
    return prior(nodes, [weight, tensor(shape, "shape"), *factors])


def integer_data(count: int) -> bytes:
    """Numbers of one byte each, which protobuf keeps in eight."""
    numbers = TensorProto(name="w", data_type=TensorProto.INT64, dims=[count])
    numbers.int64_data.extend([1] * count)
    return prior([node("Cast", ["w"], "f", to=TensorProto.FLOAT)], [numbers])


def into_graph(content: bytes) -> bytes:
    """A model whose graph has these fields before a graph that is right."""
    model = onnx.ModelProto.FromString(prior([node("Relu", ["u"], "y")]))
    graph = content + model.graph.SerializeToString()
    model.ClearField("graph")
    return bytes(model.SerializeToString()) + field(7, graph)


MANY = 10_000_000
FLOODS: dict[str, Callable[[], bytes]] = {
    "empty nodes": lambda: into_graph(b"\x0a\x00" * MANY),
    "empty tensors": lambda: into_graph(b"\x2a\x00" * MANY),
    "empty inputs": lambda: into_graph(b"\x5a\x00" * MANY),
    "empty values": lambda: into_graph(b"\x6a\x00" * MANY),
    "annotations": lambda: into_graph(b"\x72\x00" * MANY),
    "metadata": lambda: prior([node("Relu", ["u"], "y")]) + b"\x72\x00" * MANY,
    "opsets": lambda: prior([node("Relu", ["u"], "y")]) + b"\x42\x00" * MANY,
    "a node of inputs": lambda: into_graph(field(1, field(4, b"Sum") + b"\x0a\x00" * MANY)),
    "a node of attributes": lambda: into_graph(field(1, field(4, b"Sum") + b"\x2a\x00" * MANY)),
    "an attribute of numbers": lambda: prior([node("Constant", [], "x", value_ints=[1] * 2_000_000)]),
    "an attribute of texts": lambda: into_graph(
        field(1, field(4, b"Sum") + field(5, field(1, b"a") + b"\x4a\x00" * MANY))
    ),
    "a long attribute": lambda: into_graph(
        field(1, field(4, b"Sum") + field(5, field(1, b"a") + field(4, b"x" * MANY)))
    ),
    "a tensor of axes": lambda: into_graph(field(5, field(8, b"t") + field(1, b"\x01" * MANY))),
    "a shape of axes": lambda: into_graph(field(13, field(2, field(1, field(2, b"\x0a\x00" * MANY))))),
    "unpacked numbers": lambda: into_graph(field(5, field(8, b"t") + b"\x25\x00\x00\x80\x3f" * 4_000_000)),
    "packed numbers": lambda: integer_data(2_000_000),
    "notes": lambda: prior([node("Relu", ["u"], "y", doc_string="x" * 20_000_000)]),
    "nodes": lambda: prior([node("Relu", ["u"], f"a{i}") for i in range(4000)]),
    "a chain": lambda: prior([node("Sin", [f"a{i - 1}" if i else "u"], f"a{i}") for i in range(7000)]),
    "inputs of nodes": lambda: prior([node("Sum", ["u"] * 200, f"a{i}") for i in range(2000)]),
    "tensors": lambda: prior(
        [node("Add", ["u", f"t{i}"], f"a{i}") for i in range(3000)],
        [tensor(np.float32(i), f"t{i}") for i in range(3000)],
    ),
    "long names": lambda: prior([node("Relu", ["u"], f"a{i:0500}") for i in range(4000)]),
    "a narrow weight": lambda: multiplied("MatMul", weights((1 << 22, 1)), 1, [-1, 1 << 22]),
    "a shared narrow weight": lambda: multiplied("MatMul", weights((1 << 20, 2)), 20, [-1, 1 << 20]),
    "a shared weight": lambda: multiplied("MatMul", weights((2048, 2048)), 40, [-1, 2048]),
    "a shared weight of Gemm": lambda: multiplied("Gemm", weights((2048, 2048)), 40, [-1, 2048], transB=1),
    "a shared weight of Add": lambda: multiplied("Add", weights((2048, 2048)), 40, [-1, 2048]),
    "a shared weight of Conv": lambda: multiplied("Conv", weights((1024, 1024, 1, 1)), 40, [-1, 1024, 4, 4]),
    "a shared weight of ConvTranspose": lambda: multiplied(
        "ConvTranspose", weights((1024, 1024, 1, 1)), 40, [-1, 1024, 4, 4]
    ),
    "nested casts": lambda: prior(
        [node("Cast", [f"c{i - 1}" if i else "w"], f"c{i}", to=(11, 7)[i % 2]) for i in range(100)]
        + [node("Cast", ["c99"], "f", to=1)],
        [weights((1 << 20,), np.int8)],
    ),
    "many casts": lambda: prior(
        [node("Cast", ["w"], f"c{i}", to=TensorProto.DOUBLE) for i in range(100)]
        + [node("ReduceMax", [f"c{i}"], f"m{i}") for i in range(100)]
        + [node("Cast", [f"m{i}"], f"f{i}", to=TensorProto.FLOAT) for i in range(100)],
        [weights((1 << 18,))],
    ),
    "transposes": lambda: prior(
        [node("Cast", ["w"], "wf", to=TensorProto.FLOAT), node("Reshape", ["u", "shape"], "v")]
        + [node("Transpose", ["wf"], f"t{i}", perm=[1, 0]) for i in range(40)]
        + [node("MatMul", ["v", f"t{i}"], f"y{i}") for i in range(40)],
        [weights((1024, 1024)), tensor([-1, 1024], "shape")],
    ),
    "quantised and turned": lambda: prior(
        [node("DequantizeLinear", ["w", "scale", "zero"], "wf"), node("Reshape", ["u", "shape"], "v")]
        + [node("Transpose", ["wf"], f"t{i}") for i in range(4)]
        + [node("MatMul", ["v", f"t{i}"], f"y{i}") for i in range(4)],
        [
            weights((4096, 4096), np.int8),
            tensor(np.float32(0.1), "scale"),
            tensor(np.int8(0), "zero"),
            tensor([-1, 4096], "shape"),
        ],
    ),
    "a recurrent weight": lambda: prior(
        [node("Reshape", ["u", "shape"], "v"), node("LSTM", ["v", "w", "r"], "y", hidden_size=1)],
        [
            weights((1, 4, 1 << 21), np.float32),
            tensor(np.zeros((1, 4, 1), np.float32), "r"),
            tensor([1, -1, 1 << 21], "shape"),
        ],
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_of_fields_and_copies_of_weights(
    name: str, measured: Callable[[list[bytes]], list[tuple[int, str]]]
) -> None:
    content = FLOODS[name]()
    [(peak, ended)] = measured([content])
    assert peak <= allowed(content), f"{peak:,} bytes of {allowed(content):,}, {ended}"


def let_through(content: bytes) -> bool:
    try:
        check_graph(content, "prior.onnx", "prior", open_bundle(SHIPPED / "digits-gauss").manifest)
    except InvalidBundle:
        return False
    return True


SQUARE = weights((2048, 2048))
SHARED: dict[str, Callable[[int], bytes]] = {
    "MatMul": lambda times: multiplied("MatMul", SQUARE, times, [-1, 2048]),
    "Gemm": lambda times: multiplied("Gemm", SQUARE, times, [-1, 2048], transB=1),
    "Add": lambda times: multiplied("Add", SQUARE, times, [-1, 2048]),
    "Conv": lambda times: multiplied("Conv", weights((2048, 2048, 1, 1)), times, [-1, 2048, 4, 4]),
    "a narrow MatMul": lambda times: multiplied("MatMul", weights((1 << 18, 1)), times, [-1, 1 << 18]),
    "chains": lambda times: prior([node("Sin", [f"a{i - 1}" if i else "u"], f"a{i}") for i in range(200 * times)]),
}


@pytest.mark.parametrize("kind", SHARED)
def test_as_much_as_is_let_through(kind: str, measured: Callable[[list[bytes]], list[tuple[int, str]]]) -> None:
    """The largest graph of a kind that the check does not refuse is opened, and takes no more than it may."""
    most = next(times for times in range(40, 0, -1) if let_through(SHARED[kind](times)))
    content = SHARED[kind](most)
    [(peak, ended)] = measured([content])
    assert ended == "opened"
    assert peak <= allowed(content)


def random_graph(random: Random) -> bytes:
    """A graph of a few nodes that tell, change and use sizes, of values that are there so far."""
    nodes: list[NodeProto] = []
    numbers, floats = ["one", "huge", "many", "minus", "large", "zero", "step"], ["u", "one_row", "values"]
    for k in range(random.randrange(3, 25)):
        kind, name = random.randrange(8), f"x{k}"
        a, b, f, g = random.choice(numbers), random.choice(numbers), random.choice(floats), random.choice(floats)
        if kind == 0:
            nodes.append(node(random.choice(["Shape", "Size"]), [f], name))
        elif kind == 1:
            nodes.append(node(random.choice(["Mul", "Add", "Max", "Div"]), [a, b], name))
        elif kind == 2:
            nodes.append(node("Concat", random.choices(numbers, k=random.randrange(1, 4)), name, axis=0))
        elif kind == 3:
            nodes.append(
                node(random.choice(["Reshape", "Unsqueeze", "Expand"]), [a, random.choice(["one", "minus"])], name)
            )
        elif kind == 4:
            nodes.append(node(random.choice(["Expand", "Tile", "Reshape", "Resize"]), [f, a], name))
        elif kind == 5:
            nodes.append(node("ConstantOfShape", [a], name))
        elif kind == 6:
            nodes.append(node(random.choice(["Add", "Mul", "MatMul", "Concat"]), [f, g], name))
            if nodes[-1].op_type == "Concat":
                nodes[-1].attribute.append(helper.make_attribute("axis", 0))
        else:
            nodes.append(node(random.choice(["Relu", "Transpose", "ReduceMax", "Identity"]), [f], name))
        (numbers if kind in (0, 1, 2, 3) else floats).append(name)
    return prior(nodes, TENSORS)


@given(st.integers(0, 1 << 62))
@settings(max_examples=10)
def test_any_graph_of_sizes(measured: Callable[[list[bytes]], list[tuple[int, str]]], seed: int) -> None:
    contents = [random_graph(Random(seed + k)) for k in range(100)]  # noqa: S311 - no secrets
    found = measured(contents)
    for k, (content, (peak, ended)) in enumerate(zip(contents, found, strict=True)):
        assert peak <= allowed(content), f"{seed + k}: {peak:,} bytes, {ended}"


@pytest.mark.parametrize("folder", [path for path in sorted(SHIPPED.iterdir()) if path.is_dir()], ids=lambda p: p.name)
def test_what_is_shipped_is_let_through(folder: Path) -> None:
    bundle = open_bundle(folder)
    for role, graphs in bundle.manifest.graphs.items():
        for precision in graphs:
            assert read_graph(bundle, role, precision).operators
