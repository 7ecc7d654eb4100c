"""Hostile bundles: whatever a bundle claims, loading it reads nothing outside it and takes no memory to speak of."""

import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import Change, replace_graph, rewrite
from fuzzing.graphs import graphs
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from aae_zoo.runtime import InvalidBundle, load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.graph_check import check_graph
from aae_zoo.runtime.checks.golden import read_golden


def external(model: ModelProto) -> None:
    """The weights are said to be in a file outside the bundle."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def external_without_saying_so(model: ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def in_memory(model: ModelProto) -> None:
    """ONNX Runtime's own mark for data at an address of this process."""
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*")


def external_constant(model: ModelProto) -> None:
    value = TensorProto(name="x", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    value.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["x"], value=value))


def custom_operator(model: ModelProto) -> None:
    model.graph.node[0].domain = "evil.domain"
    model.opset_import.add(domain="evil.domain", version=1)


def own_function(model: ModelProto) -> None:
    model.functions.add(name="f", domain="f")


def subgraph(model: ModelProto) -> None:
    """A loop, which may run for ever."""
    body = AttributeProto(name="body", type=AttributeProto.GRAPH)
    body.g.CopyFrom(model.graph)
    model.graph.node.add(op_type="Loop", output=["forever"]).attribute.append(body)


def gigantic_tensor(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]


def negative_size(model: ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1]


def gigantic_constant(model: ModelProto) -> None:
    """Nothing is declared: a small number asks for a large constant, which ONNX Runtime would make when it loads."""
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["large"]))


def outer_product(model: ModelProto) -> None:
    for name, dims in (("row", [1, 1 << 18]), ("column", [1 << 18, 1])):
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(dims, np.float16), name))
    model.graph.node.append(helper.make_node("Add", ["row", "column"], ["large"]))


def gathered_by_itself(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((40, 40), np.int64), "table"))
    model.graph.node.append(helper.make_node("Gather", ["table", "table"], ["large"]))


def joined_with_itself(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(500, np.int64), "x"))
    model.graph.node.append(helper.make_node("Concat", ["x", "x", "x"], ["large"], axis=0))


def slice_of_nothing(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2000, np.int64), "x"))
    model.graph.node.append(helper.make_node("Slice", ["", "x", "x"], ["large"]))


def many_copies(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1 << 16, np.float16), "x"))
    model.graph.node.extend(helper.make_node("Cast", ["x"], [f"x{k}"], to=TensorProto.DOUBLE) for k in range(500))


def gigantic_expansion(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 20, 1 << 20]), "shape"))
    model.graph.node.append(helper.make_node("Expand", ["u", "shape"], ["large"]))


def gigantic_expansion_in_disguise(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["a"], value_ints=[1 << 16, 1 << 16]))
    model.graph.node.append(helper.make_node("Identity", ["a"], ["shape"]))
    model.graph.node.append(helper.make_node("Expand", ["u", "shape"], ["large"]))


def gigantic_padding(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("MaxPool", ["u"], ["large"], kernel_shape=[1], pads=[1 << 30, 0]))


def gigantic_cropping(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("MaxPool", ["u"], ["large"], kernel_shape=[1], pads=[-(1 << 30), 0]))


def gigantic_side_of_nothing(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 1 << 40]), "shape"))
    model.graph.node.append(helper.make_node("Expand", ["u", "shape"], ["large"]))


def more_than_its_shape(model: ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="x", data_type=TensorProto.FLOAT, dims=[1], raw_data=bytes(8)))


def gigantic_value(model: ModelProto) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1 << 20, 1 << 20]))


def undeclared_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["batch", 2]))


def undeclared_output(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["batch", 2]))


def missing_output(model: ModelProto) -> None:
    del model.graph.output[:]


def output_twice(model: ModelProto) -> None:
    model.graph.output.append(model.graph.output[0])


def other_type(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def baked_batch(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def tensor_twice(model: ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def tensor_named_as_the_input(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "u"))


def value_twice(model: ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def one_node_gives_a_value_twice(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Split", ["u"], ["half", "half"], axis=1))


def too_many_nodes(model: ModelProto) -> None:
    model.graph.node.extend(helper.make_node("Identity", ["u"], [f"u{k}"]) for k in range(10_001))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "has its data in another file"),
        (external_without_saying_so, "has its data in another file"),
        (in_memory, "has its data in another file"),
        (external_constant, "'x' has its data in another file"),
        (custom_operator, "has the operator '.*' of 'evil.domain', expected ONNX's own"),
        (own_function, "has functions, which a model has no use for"),
        (subgraph, "has a subgraph, which a model has no use for"),
        (gigantic_tensor, r"has .* of the .* of its shape \[1099511627776, 1099511627776\]"),
        (more_than_its_shape, "'x' has 8 of the 4 bytes of its shape"),
        (negative_size, r"the shape \[-1\], expected numbers"),
        (gigantic_constant, "ConstantOfShape is given the size"),
        (outer_product, "has Add of constants alone"),
        (gathered_by_itself, "has Gather of constants alone"),
        (joined_with_itself, "has Concat of constants alone"),
        (slice_of_nothing, "has Slice of constants alone"),
        (many_copies, "would take more than .* MB of memory when it is opened"),
        (gigantic_expansion, "Expand is given the size"),
        (gigantic_expansion_in_disguise, "Expand is given the size"),
        (gigantic_side_of_nothing, "Expand is given the size"),
        (gigantic_padding, "'pads' is .*, expected at most 256"),
        (gigantic_cropping, "'pads' is .*, expected at most 256"),
        (gigantic_value, "'x' declares the shape"),
        (undeclared_input, r"has 'v' as tensor\(float\) \['batch', 2\], expected u once"),
        (undeclared_output, r"has 'v' as tensor\(float\) \['batch', 2\], expected z once"),
        (missing_output, "lacks z among its inputs and outputs"),
        (output_twice, "has 'z' as .*, expected z once"),
        (other_type, r"has 'z' as tensor\(double\)"),
        (baked_batch, r"has 'u' as tensor\(float\) \[1, 2\], expected u once as tensor\(float\) \['batch', 2\]"),
        (tensor_twice, "has two tensors of one name"),
        (tensor_named_as_the_input, "has an input and a tensor of one name"),
        (value_twice, "has two values of one name"),
        (one_node_gives_a_value_twice, "has two values of one name, one of Split"),
        (too_many_nodes, "has node more than 10,000 times"),
    ],
)
def test_hostile_graphs_are_refused_before_onnx_runtime_sees_them(
    bundle: Path, change: Callable[[ModelProto], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(bundle / "prior.onnx", load_external_data=False)
    change(model)
    replace_graph(bundle, "prior.onnx", model.SerializeToString())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # the first use of it would be another error
    with pytest.raises(InvalidBundle, match=message):
        load(bundle).sample(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no graph"),
        (b"not a graph", "not an ONNX file: it has a field of the wire type"),
        (b"\x08\x08\x3a\xff\xff\xff\xff\x7f", "is cut short"),
        (b"\x08" + b"\xff" * 11, "a number of more than 64 bits"),
        (b"\x08\x08\x12\x04ORTM" + b"\x00" * 100, "ONNX Runtime's own format"),
        (b"\x12\x08ABORTMxx", "ONNX Runtime's own format"),
    ],
)
def test_bytes_that_are_no_onnx(bundle: Path, content: bytes, message: str) -> None:
    replace_graph(bundle, "prior.onnx", content)
    with pytest.raises(InvalidBundle, match=message):
        load(bundle).sample(1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_graphs_with_a_manifest_that_agrees(bundle: Path, share: float) -> None:
    content = (bundle / "decoder.onnx").read_bytes()
    replace_graph(bundle, "decoder.onnx", content[: int(share * len(content))])
    with pytest.raises(InvalidBundle, match=r"decoder.onnx"):
        load(bundle).sample(1)


def test_two_graphs_in_one_file(bundle: Path) -> None:
    """Protobuf would put the two together: what the first lacks the second has."""
    content = (bundle / "prior.onnx").read_bytes()
    replace_graph(bundle, "prior.onnx", content + content)
    with pytest.raises(InvalidBundle, match="has .* twice"):
        load(bundle).sample(1)


@pytest.mark.parametrize("name", ["prior.onnx", "manifest.json"])
def test_links(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidBundle, match=rf"{name} is a link, expected a file of the bundle itself"):
        load(bundle).sample(1)


def test_pipes_are_no_files(bundle: Path) -> None:
    """Reading one would never end."""
    (bundle / "prior.onnx").unlink()
    os.mkfifo(bundle / "prior.onnx")
    with pytest.raises(InvalidBundle, match=r"prior.onnx cannot be read \(it is not a plain file\)"):
        load(bundle).sample(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["files"].update({"PRIOR.ONNX": d["files"]["prior.onnx"]}), "one name twice, apart from capitals"),
        (lambda d: d["graphs"]["prior"].update(fp32="/etc/passwd"), "is not among the manifest's files"),
        (lambda d: d.update(title="\x1b]0;yours\x07"), "title is .*, expected a line of text"),
        (lambda d: d.update(title="\ud800"), "is not JSON .*surrogates not allowed"),
        (lambda d: d.update(labels=["\x1b[2J"]), "labels is .*, expected a list of texts"),
    ],
)
def test_hostile_manifests_are_refused(bundle: Path, change: Change, message: str) -> None:
    rewrite(bundle, change)
    with pytest.raises(InvalidBundle, match=message):
        load(bundle)


def test_a_name_twice_in_the_manifest(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text.replace('"latent": 2', '"latent": 2, "latent": 3'))
    with pytest.raises(InvalidBundle, match="the name 'latent' occurs twice"):
        load(bundle)


def test_gigantic_claims_cost_neither_memory_nor_time(bundle: Path) -> None:
    """100 MB of JSON, and a graph that would make 4 TB."""
    program = f"""
import resource
import onnxruntime
from pathlib import Path
from aae_zoo.runtime import InvalidBundle, load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in ("large", "claims"):
    try:
        load(Path({str(bundle.parent)!r}) / name).sample(1)
    except InvalidBundle as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    for name in ("large", "claims"):
        shutil.copytree(bundle, bundle.parent / name)
    with (bundle.parent / "large" / "manifest.json").open("wb") as stream:
        stream.write(b'{"schema": 1, "x": [')
        stream.write(b"0, " * 35_000_000)
    model = onnx.load(bundle / "prior.onnx")
    gigantic_expansion(model)
    replace_graph(bundle.parent / "claims", "prior.onnx", model.SerializeToString())
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    large, claims, megabytes = output.splitlines()
    assert "a manifest has at most 1048576" in large
    assert "Expand is given the size" in claims
    assert int(megabytes) < 50


def replace_golden(bundle: Path, content: bytes) -> None:
    replace_graph(bundle, "golden.npz", content)


def npz(**arrays: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "is not a file of arrays"),
        (
            npz(a=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}\n")),
            "promises float32 .1099511627776., but 0 bytes follow",
        ),
        (npz(a=npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", b"\x80")), "is not a file of arrays"),
        (npz(a=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}\n", b"\x80")), "is not a file of arrays"),
        (npz(a=b"\x00" * (1 << 24), b=b"0"), "its arrays have 16777217 bytes, expected at most 819200"),
        (npz(a=npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n", b"1234")), "lacks inputs or outputs"),
    ],
    ids=["no zip", "a gigantic shape", "pickles", "a negative shape", "a bomb", "others"],
)
def test_hostile_golden_files(bundle: Path, content: bytes, message: str) -> None:
    replace_golden(bundle, content)
    with pytest.raises(InvalidBundle, match=message):
        read_golden(open_bundle(bundle))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(content: bytes) -> None:
    manifest, _, _ = graphs()[0]
    with pytest.raises(InvalidBundle):
        check_graph(content, "prior.onnx", "prior", manifest)
