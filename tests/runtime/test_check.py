"""aae-zoo check: every clause of docs/bundle.md holds for good bundles, and fails for each fault that it is about.

The bundle is the one that the program in docs/bundle.md writes without this package.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import ROOT, AaeZoo, replace_graph, rewrite
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hub import Hub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from service import serving

from aae_zoo.runtime import load
from aae_zoo.runtime.checks.check import check
from aae_zoo.runtime.checks.clauses import CLAUSES
from aae_zoo.runtime.checks.verify import verify
from aae_zoo.runtime.store.catalogue import list_models

GRAPHS = ("encoder.onnx", "decoder.onnx", "prior.onnx")
NAMES = [entry.name for entry in list_models() if entry.shipped]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that the specification's own program writes, where aae_zoo cannot be imported."""
    folder = tmp_path_factory.mktemp("written")
    _, section = (ROOT / "docs" / "bundle.md").read_text("utf-8").split("## A bundle written from nothing\n")
    program = section.split("```python\n")[1].split("```")[0]
    without = "import sys; sys.modules['aae_zoo'] = None; exec(sys.stdin.read())"
    subprocess.run([sys.executable, "-c", without], input=program, cwd=folder, check=True, text=True)
    return folder / "from-nothing"


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(written, tmp_path / "from-nothing"))


def failures(folder: Path) -> dict[str, str]:
    return {verdict.id: "; ".join(verdict.found) for verdict in check(folder) if verdict.state == "fails"}


@pytest.mark.parametrize("name", NAMES)
def test_every_clause_holds_for_a_shipped_model(name: str) -> None:
    assert [verdict.id for verdict in check(name) if verdict.state != "holds"] == []


class TestABundleWrittenWithoutThisPackage:
    def test_every_clause_holds(self, written: Path) -> None:
        verdicts = check(written)
        assert [verdict.id for verdict in verdicts] == [clause.id for clause in CLAUSES]
        assert {(verdict.state, verdict.found) for verdict in verdicts} == {("holds", ())}

    def test_it_is_loaded_and_verified(self, written: Path) -> None:
        assert all(comparison.passed for comparison in verify(str(written), device="cpu"))
        with load(written, device="cpu") as model:
            images = model.sample(30, label="light")
            assert images.shape == (30, 1, 8, 8)
            noise = np.full((3, 2), 0.5, np.float32)
            noise[:, 1] = [0.1, 0.5, 0.9]
            assert np.array_equal(model.codes_of(noise)["y"], np.eye(3))
            assert model.classify(model.sample_from(noise)).names[0] in model.labels

    def test_every_command_takes_it(self, written: Path, hub: Hub, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        images, codes, key = tmp_path / "images.npy", tmp_path / "codes.npz", tmp_path / "key.pem"
        signed = shutil.copytree(written, tmp_path / "signed")
        private = ec.generate_private_key(ec.SECP256R1())
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        commands: dict[str, list[Any]] = {
            "info": [],
            "check": [],
            "verify": [],
            "bench": [],
            "sample": ["-n", 24, "-o", images],
            "encode": [images, "-o", codes],
            "decode": [codes, "-o", tmp_path / "decoded.png"],
            "reconstruct": [images, "-o", tmp_path / "reconstructed.png"],
            "interpolate": [images, "-o", tmp_path / "interpolated.png"],
            "traverse": [images, "-o", tmp_path / "traversed.png"],
            "manifold": ["-o", tmp_path / "manifold.png"],
            "nearest": [images, images, "-o", tmp_path / "nearest.csv"],
            "score": [images],
            "embed": ["--lang", "python", "-o", tmp_path / "program"],
            "explore": ["-o", tmp_path / "page", "--url", "https://example.org/"],
            "export-triton": ["-o", tmp_path / "triton"],
        }
        for command, arguments in commands.items():
            result = aae_zoo(command, written, *arguments)
            assert (result.status, result.err) == (0, ""), (command, result)
        assert aae_zoo("drift", written, images, "--reference", images).status == 0
        assert aae_zoo("sign", signed, "--key", key).status == 0
        assert aae_zoo("check", signed).status == 0
        assert aae_zoo("publish", signed, "--repo", "org/from-nothing").status == 0
        assert aae_zoo("pull", "org/from-nothing").status == 0
        assert aae_zoo("sample", "org/from-nothing", "-o", tmp_path / "pulled.png").status == 0
        with serving(written) as server:
            assert server.ask("/v2/models/from-nothing").status == 200
        others = {"drift", "sign", "publish", "pull", "serve", "cache", "list", "doctor"}
        makes = {"make", "data", "train", "evaluate", "judge", "distil", "export", "detector"}
        assert {*commands, *others, *makes} == every_command(aae_zoo)


def every_command(aae_zoo: AaeZoo) -> set[str]:
    return set(re.findall(r"^  ([a-z][a-z-]*) {2,}", aae_zoo("--help").out, re.MULTILINE))


def edit(role: str, change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], object]:
    """Changes a graph, in a bundle whose manifest agrees to it."""

    def edited(bundle: Path) -> None:
        model = onnx.load(bundle / f"{role}.onnx")
        change(model)
        replace_graph(bundle, f"{role}.onnx", model.SerializeToString())

    return edited


def constant(role: str, name: str, value: Any) -> Callable[[Path], object]:
    """Puts another number or array into a graph."""

    def change(model: onnx.ModelProto) -> None:
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), name))

    return edit(role, change)


def golden(**arrays: Any) -> Callable[[Path], object]:
    """Replaces arrays of the golden file; None takes one away."""

    def change(bundle: Path) -> None:
        with np.load(bundle / "golden.npz") as old:
            new = {**old, **{name.replace("_", "."): values for name, values in arrays.items()}}
        np.savez(bundle / "new.npz", **{name: values for name, values in new.items() if values is not None})
        replace_graph(bundle, "golden.npz", (bundle / "new.npz").read_bytes())
        (bundle / "new.npz").unlink()

    return change


def manifest(**changes: Any) -> Callable[[Path], object]:
    return lambda bundle: rewrite(bundle, lambda document: document.update(changes))


def text(change: Callable[[str], str]) -> Callable[[Path], object]:
    """Changes the bytes of the manifest."""
    return lambda bundle: (bundle / "manifest.json").write_text(change((bundle / "manifest.json").read_text()))


def report(**changes: Any) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        document = json.loads((bundle / "parity.json").read_text()) | changes
        replace_graph(bundle, "parity.json", json.dumps(document).encode())

    return change


def linked(name: str) -> Callable[[Path], object]:
    def link(bundle: Path) -> None:
        (bundle / name).rename(bundle.parent / "elsewhere")
        (bundle / name).symlink_to(bundle.parent / "elsewhere")

    return link


def unsigned_file(bundle: Path) -> None:
    (bundle / "model.sig").write_text("{}")


def renamed_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"


def no_class(model: onnx.ModelProto) -> None:
    del model.graph.input[1:]
    model.graph.initializer.append(numpy_helper.from_array(np.full((1, 3), 1 / 3, np.float32), "fixed"))
    model.graph.node.insert(0, helper.make_node("Mul", ["z", "fixed"], ["y"]))


def beyond(model: onnx.ModelProto) -> None:
    """Images above 1 where no golden code lies, at the far end of the prior."""
    (node,) = (node for node in model.graph.node if node.op_type == "Reshape")
    node.output[0] = "inside"
    for name, number in {"edge": 0.9995, "ten": 10.0}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 1, 1, 1]), "pixel"))
    model.graph.node.extend(
        [
            helper.make_node("Greater", ["z", "edge"], ["far"]),
            helper.make_node("Cast", ["far"], ["one"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["one", "ten"], ["more"]),
            helper.make_node("Reshape", ["more", "pixel"], ["added"]),
            helper.make_node("Add", ["inside", "added"], ["image"]),
        ]
    )


# For each clause what breaks it, with what is found then.
FAULTS: dict[str, list[tuple[Callable[[Path], object], str]]] = {
    "manifest-file": [
        (lambda bundle: (bundle / "manifest.json").unlink(), "it has no manifest.json"),
        (linked("manifest.json"), "is a link"),
        (text(lambda old: old + " " * (1 << 20)), "has over 1048576 bytes"),
    ],
    "manifest-json": [
        (text(lambda old: old[:-5]), "is not JSON"),
        (text(lambda old: "[1]"), "expected a JSON object"),
        (text(lambda old: old.replace('"metrics": {}', '"metrics": {"a": 1, "a": 2}')), "'a' occurs twice"),
        (text(lambda old: old.replace('"metrics": {}', '"metrics": {"mse": NaN}')), "it has NaN"),
        (text(lambda old: "\ufeff" + old), "BOM"),
    ],
    "manifest-version": [
        (manifest(schema=2), "schema is 2, expected 1"),
        (manifest(schema=True), "schema is True, expected 1"),
    ],
    "manifest-fields": [
        (manifest(latent=0), "latent is 0, expected a whole number from 1 to 65536"),
        (manifest(label_coordinate=2), "label_coordinate is 2, expected a whole number from 0 to 1"),
        (lambda bundle: rewrite(bundle, lambda d: d["graphs"]["prior"].clear()), "fp32 is missing"),
    ],
    "labels": [
        (manifest(labels=["a", "a", "b"]), "labels has 'a' more than once"),
        (manifest(labels=[]), "label_coordinate is 1, but labels has no names"),
        (manifest(choices=[0]), "label_coordinate is 1, which is not among choices"),
    ],
    "files-there": [
        (lambda bundle: (bundle / "README.md").unlink(), "README.md is missing"),
        (linked("README.md"), "README.md is not a file of the bundle itself"),
    ],
    "files-whole": [
        (lambda bundle: (bundle / "README.md").write_text("x"), "has 1 bytes, expected"),
        (lambda bundle: (bundle / "decoder.onnx").write_bytes(bytes(9)), "has 9 bytes, expected"),
    ],
    "files-others": [(lambda bundle: (bundle / "notes.txt").touch(), "'notes.txt' is not in the manifest")],
    "signature": [(unsigned_file, "is damaged")],
    "graph-version": [
        (edit("encoder", lambda model: setattr(model, "ir_version", 10)), "has IR version 10, expected 8"),
        (
            edit("prior", lambda model: setattr(model.opset_import[0], "version", 21)),
            "prior.onnx has the operator sets ai.onnx 21, expected ai.onnx 18",
        ),
        (edit("prior", lambda model: model.opset_import.add(domain="x", version=1)), "ai.onnx 18, x 1"),
        (lambda bundle: replace_graph(bundle, "encoder.onnx", b""), "is not an ONNX file"),
    ],
    "graph-interface": [
        (manifest(latent=3), "expected"),
        (edit("decoder", renamed_batch), "the first axis of z is ['n'], expected batch"),
    ],
    "graph-plain": [
        (
            edit("decoder", lambda model: setattr(model.graph.node[0], "domain", "mine")),
            "has the operator 'Concat' of 'mine'",
        )
    ],
    "graph-metadata": [
        (edit("prior", lambda model: model.ClearField("metadata_props")), "aae_zoo.name is missing"),
        (manifest(version="2.0.0"), "aae_zoo.version is '1.0.0', expected '2.0.0'"),
        (manifest(labels=["a", "b", "c"]), "aae_zoo.labels is"),
        (edit("prior", lambda model: model.metadata_props.add(key="aae_zoo.name", value="x")), "twice"),
    ],
    "graph-chain": [(edit("decoder", no_class), "prior.onnx gives y, z, but decoder.onnx takes z")],
    "graph-draws": [(edit("decoder", beyond), "the decoder: image has values from")],
    "graph-classes": [(constant("prior", "all", np.array([[0, 2, 1]], np.float32)), "does not give class 'gray'")],
    "golden-file": [
        (lambda bundle: replace_graph(bundle, "golden.npz", b"x"), "is not a file of arrays"),
        (golden(prior_u=None), "lacks inputs or outputs of the prior"),
    ],
    "golden-arrays": [
        (golden(encoder_y=None), "for encoder.onnx it has image, z, expected image, y, z"),
        (golden(prior_u=np.zeros((65, 2), np.float32)), "u has values from 0 to 0, expected (0, 1)"),
        (golden(encoder_z=np.zeros((65, 2), np.float32)), "z has rows of [2], expected [1]"),
    ],
    "golden-replayed": [(golden(encoder_z=np.ones((65, 1), np.float32)), "the encoder in fp32 at batch 1")],
    "parity": [
        (report(passed=False), "comparisons with PyTorch that failed"),
        (report(rows=[]), "no comparison of the decoder"),
    ],
}


def test_every_clause_has_a_fault() -> None:
    assert list(FAULTS) == [clause.id for clause in CLAUSES]


@pytest.mark.parametrize(
    ("clause", "fault", "found"), [(clause, *fault) for clause, faults in FAULTS.items() for fault in faults]
)
def test_a_fault_breaks_its_clause(clause: str, fault: Callable[[Path], object], found: str, bundle: Path) -> None:
    fault(bundle)
    assert found in failures(bundle)[clause]


def test_a_signature_over_other_files(bundle: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert aae_zoo("sign", bundle, "--key", key).status == 0
    rewrite(bundle, lambda document: document.update(title="Another"))
    assert failures(bundle) == {"signature": "model.sig is over other files (altered: manifest.json)"}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*GRAPHS, "golden.npz", "parity.json", "README.md"]), st.floats(0, 1), st.binary(min_size=1))
def test_damage_is_a_verdict(written: Path, name: str, place: float, damage: bytes) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(shutil.copytree(written, Path(scratch) / "bundle"))
        content = (bundle / name).read_bytes()
        start = int(place * len(content))
        replace_graph(bundle, name, content[:start] + damage + content[start + len(damage) :])
        assert [verdict.id for verdict in check(bundle)] == [clause.id for clause in CLAUSES]


class TestCommand:
    def test_a_fault_is_told_and_ends_with_status_1(self, bundle: Path, aae_zoo: AaeZoo) -> None:
        (bundle / "README.md").unlink()
        replace_graph(bundle, "decoder.onnx", b"")
        result = aae_zoo("check", bundle)
        assert result.status == 1
        said = "is not a bundle as docs/bundle.md describes it: files-there, graph-version"
        assert result.err == f"error: {bundle} {said}\n"
        assert "fails        files-there       Every file of files is in the folder, a plain file" in result.out
        assert "found: README.md is missing\n" in result.out
        assert "holds        files-whole\n" in result.out
        assert "not checked  graph-interface   needs graph-version\n" in result.out

    def test_json_has_every_clause(self, bundle: Path, aae_zoo: AaeZoo) -> None:
        (bundle / "notes.txt").touch()
        result = aae_zoo("check", bundle, "--json")
        assert result.status == 1
        verdicts = {verdict["id"]: verdict for verdict in json.loads(result.out)}
        assert list(verdicts) == [clause.id for clause in CLAUSES]
        assert verdicts["files-others"]["state"] == "fails"
        assert verdicts["files-others"]["found"] == ["'notes.txt' is not in the manifest"]
        assert verdicts["parity"] == {"id": "parity", "text": CLAUSES[-1].text, "state": "holds", "found": []}

    def test_a_repository_is_pulled_whole(self, written: Path, hub: Hub, aae_zoo: AaeZoo) -> None:
        hub.add("org/from-nothing", written)
        assert aae_zoo("pull", "org/from-nothing", "--only", "prior").status == 0
        result = aae_zoo("check", "org/from-nothing")
        assert (result.status, result.err) == (0, "")
        assert {line.split()[0] for line in result.out.splitlines()} == {"holds"}

    def test_what_is_no_model(self, refused: Callable[..., str], tmp_path: Path) -> None:
        assert "there is no model 'mnist-gaus'" in refused("check", "mnist-gaus")
        assert list(failures(tmp_path)) == ["manifest-file"]
