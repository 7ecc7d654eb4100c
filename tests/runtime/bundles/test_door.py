"""One door: only what `check_graph` let through is opened, copied, or named in another program's files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from conftest import replace_graph
from onnx import ModelProto, TensorProto, helper

from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.graph_check import CheckedGraph, read_graph
from aae_zoo.runtime.store.catalogue import SHIPPED


def change_graph(bundle: Path, role: str, change: Callable[[ModelProto], object]) -> None:
    model = onnx.load(bundle / f"{role}.onnx")
    change(model)
    replace_graph(bundle, f"{role}.onnx", model.SerializeToString())


def rename(model: ModelProto, old: str, new: str) -> None:
    """Give a value another name wherever it occurs."""
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def library(model: ModelProto) -> None:
    """In config.pbtxt this would end the tensor's name, and have Triton load a library."""
    rename(model, "z", 'z" }\nmodel_operations { op_library_filename: "/tmp/evil.so" }\n#')


def subgraph(model: ModelProto) -> None:
    body = onnx.AttributeProto(name="body", type=onnx.AttributeProto.GRAPH)
    body.g.CopyFrom(model.graph)
    model.graph.node.add(op_type="Loop", output=["forever"]).attribute.append(body)


def external(model: ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def baked_batch(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def unknown_to_onnx_runtime(model: ModelProto) -> None:
    """Nothing that the check minds; ONNX Runtime finds no such value."""
    model.graph.node.append(helper.make_node("Relu", ["nowhere"], ["lost"]))


def of_another_type(model: ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


ATTACKS = (library, subgraph, external, baked_batch, unknown_to_onnx_runtime, of_another_type)
COMMANDS = {
    "sample": ["-n", "1", "-o"],
    "export-triton": ["-o"],
    "embed": ["--lang", "python", "-o"],
    "explore": ["-o"],
}


@pytest.mark.parametrize(
    ("command", "attack"),
    [
        *((command, attack) for command in ("sample", "export-triton", "embed") for attack in ATTACKS),
        *(("explore", attack) for attack in (library, unknown_to_onnx_runtime)),  # it writes 30 MB first
    ],
)
def test_every_command_refuses_what_load_refuses(
    digits_bundle: Path, command: str, attack: Callable[[ModelProto], None], refused: Callable[..., str], tmp_path: Path
) -> None:
    change_graph(digits_bundle, "prior", attack)
    out = tmp_path / "out" / ("x.png" if command == "sample" else "folder")
    out.parent.mkdir()
    sentence = refused(command, digits_bundle, *COMMANDS[command], out)
    assert "prior" in sentence
    assert list(out.parent.iterdir()) == []


def test_no_call_site_makes_a_checked_graph_by_itself() -> None:
    graph = read_graph(open_bundle(SHIPPED / "digits-gauss"), "prior")
    facts = {name: getattr(graph, name) for name in ("name", "inputs", "outputs", "operators", "fractions")}
    with pytest.raises(TypeError, match="made by check_graph alone"):
        CheckedGraph(b"anything", **facts, seal=object())
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(graph, content=b"anything")  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.content = b"anything"  # type: ignore[misc]
