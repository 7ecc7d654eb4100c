"""What a graph gives is checked each time it runs: rows, shapes, and whether numbers are finite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import AaeZoo, replace_graph
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from aae_zoo.runtime import InvalidBundle, Model, load


def behind(output: str, *nodes: NodeProto, **tensors: object) -> Callable[[ModelProto], None]:
    """Puts nodes behind an output of a graph: they take it as `was`, and give it."""

    def change(model: ModelProto) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = ["was" if name == output else name for name in names]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(numpy_helper.from_array(np.array(v), name) for name, v in tensors.items())

    return change


def node(operator: str, takes: list[str], gives: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, takes, [gives], **attributes)


def twice(output: str) -> Callable[[ModelProto], None]:
    return behind(output, node("Concat", ["was", "was"], output, axis=0))


def first_row(output: str) -> Callable[[ModelProto], None]:
    return behind(output, node("Slice", ["was", "zero", "one", "zero"], output), zero=[0], one=[1])


def none(output: str) -> Callable[[ModelProto], None]:
    return behind(output, node("Slice", ["was", "zero", "zero", "zero"], output), zero=[0])


def not_a_number(output: str) -> Callable[[ModelProto], None]:
    """The logarithm of a negative number."""
    nodes = [node("Abs", ["was"], "a"), node("Sub", ["zero", "a"], "b"), node("Sub", ["b", "one"], "c")]
    return behind(output, *nodes, node("Log", ["c"], output), zero=np.float32(0), one=np.float32(1))


def infinite(output: str) -> Callable[[ModelProto], None]:
    nodes = [node("Abs", ["was"], "a"), node("Add", ["a", "one"], "b"), node("Mul", ["b", "huge"], "c")]
    return behind(output, *nodes, node("Mul", ["c", "huge"], output), one=np.float32(1), huge=np.float32(1e30))


def failing(output: str) -> Callable[[ModelProto], None]:
    """ONNX Runtime finds out when it runs it that the shapes do not fit."""
    return behind(output, node("Reshape", ["was", "shape"], output), shape=[-1, 7, 11, 13])


def out_of_range(output: str) -> Callable[[ModelProto], None]:
    nodes = [node("Cast", ["was"], "i", to=TensorProto.INT64), node("Add", ["i", "far"], "far_out")]
    nodes += [node("GatherElements", ["was", "far_out"], output, axis=1)]
    return behind(output, *nodes, far=np.int64(1 << 40))


SHAPES = {
    twice: r"gives {} of the shape \[8, .*\] for 4 rows, expected \[4, ",
    first_row: r"gives {} of the shape \[1, .*\] for 4 rows, expected \[4, ",
    none: r"gives {} of the shape \[0, .*\] for 4 rows, expected \[4, ",
}
NUMBERS = {
    not_a_number: "gives numbers for {} that are not finite",
    infinite: "gives numbers for {} that are not finite",
}
FAILURES = {failing: "ONNX Runtime cannot run .*Reshape", out_of_range: "ONNX Runtime cannot run .*GatherElements"}
ATTACKS = {**SHAPES, **NUMBERS, **FAILURES}
OUTPUTS = {"encoder": "z", "decoder": "image", "prior": "z"}


def change_graph(bundle: Path, role: str, change: Callable[[ModelProto], None]) -> Path:
    model = onnx.load(bundle / f"{role}.onnx")
    change(model)
    replace_graph(bundle, f"{role}.onnx", model.SerializeToString())
    return bundle


IMAGES = np.full((4, 1, 8, 8), 0.5, np.float32)
CODES = np.zeros((4, 2), np.float32)
NOISE = np.full((4, 2), 0.5, np.float32)

CALLS: dict[str, dict[str, Callable[[Model], object]]] = {
    "encoder": {
        "encode": lambda model: model.encode(IMAGES),
        "encode bytes": lambda model: model.encode((IMAGES * 255).astype(np.uint8)),
        "reconstruct": lambda model: model.reconstruct(IMAGES),
        "score": lambda model: model.score(IMAGES),
        "stream": lambda model: list(model.stream("encode", IMAGES)),
        "interpolate": lambda model: model.interpolate(IMAGES),
        "nearest": lambda model: model.nearest(IMAGES, IMAGES),
    },
    "decoder": {
        "sample": lambda model: model.sample(4),
        "sample at a temperature": lambda model: model.sample(4, temperature=0.5),
        "sample_from": lambda model: model.sample_from(NOISE),
        "decode": lambda model: model.decode(CODES),
        "decode into": lambda model: model.decode(CODES, out=np.empty((4, 1, 8, 8), np.float32)),
        "reconstruct": lambda model: model.reconstruct(IMAGES),
        "score": lambda model: model.score(IMAGES),
        "stream": lambda model: list(model.stream("sample", 4)),
    },
    "prior": {
        "sample": lambda model: model.sample(4),
        "sample at a temperature": lambda model: model.sample(4, temperature=0.5),
        "codes_of": lambda model: model.codes_of(NOISE),
    },
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("role", CALLS)
def test_every_call_refuses_what_a_graph_should_not_give(
    digits_bundle: Path, role: str, attack: Callable[[str], Callable[[ModelProto], None]]
) -> None:
    model = load(change_graph(digits_bundle, role, attack(OUTPUTS[role])), device="cpu")
    for name, call in CALLS[role].items():
        with pytest.raises(InvalidBundle) as caught:
            call(model)
        assert f"{role}.onnx of digits-gauss" in str(caught.value), name
        assert str(caught.value).endswith("do not trust this bundle"), name


@pytest.mark.parametrize(("attack", "message"), ATTACKS.items())
def test_each_fault_is_said(
    digits_bundle: Path, attack: Callable[[str], Callable[[ModelProto], None]], message: str
) -> None:
    model = load(change_graph(digits_bundle, "decoder", attack("image")), device="cpu")
    with pytest.raises(InvalidBundle, match=message.format("image")):
        model.decode(CODES)


@pytest.mark.parametrize("rows", [1, 4, 1000])
@pytest.mark.parametrize("pixel", [(0, 0), (3, 5), (7, 7)])
def test_one_pixel_that_a_sigmoid_makes_no_number_is_found(
    digits_bundle: Path, pixel: tuple[int, int], rows: int
) -> None:
    """Of what a sigmoid gives only NaN is looked for: it is from 0 to 1 otherwise."""
    spot = np.zeros((8, 8), np.float32)
    spot[pixel] = np.nan

    def change(model: ModelProto) -> None:
        last = model.graph.node[-1]
        assert last.op_type == "Sigmoid"
        model.graph.node.insert(len(model.graph.node) - 1, node("Add", [last.input[0], "spot"], "spotted"))
        last.input[:] = ["spotted"]
        model.graph.initializer.append(numpy_helper.from_array(spot, "spot"))

    model = load(change_graph(digits_bundle, "decoder", change), device="cpu")
    with pytest.raises(InvalidBundle, match="gives numbers for image that are not finite"):
        model.decode(np.zeros((rows, 2), np.float32))


def test_nothing_is_written_of_a_stream_that_is_refused(digits_bundle: Path, tmp_path: Path) -> None:
    model = load(change_graph(digits_bundle, "decoder", twice("image")))
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidBundle):
        model.stream("sample", 4).save(tmp_path / "out" / "x.npy")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_commands_end_with_one_sentence(
    digits_bundle: Path,
    attack: Callable[[str], Callable[[ModelProto], None]],
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    change_graph(digits_bundle, "decoder", attack("image"))
    (tmp_path / "out").mkdir()
    assert "decoder.onnx of digits-gauss" in refused(
        "sample", digits_bundle, "-n", "4", "-o", tmp_path / "out" / "x.png"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_codes_that_overflow_are_refused(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    """Nobody else is to blame, but no picture is made of it."""
    with pytest.raises(InvalidBundle, match="gives numbers for image that are not finite; give inputs such as"):
        load("digits-gauss").decode(np.full((1, 2), 3e38, np.float32))


def test_verify_says_what_is_wrong(digits_bundle: Path, aae_zoo: AaeZoo) -> None:
    change_graph(digits_bundle, "decoder", not_a_number("image"))
    result = aae_zoo("verify", digits_bundle)
    assert result.status == 1
    assert "FAILED: image holds numbers that are not finite" in result.out
