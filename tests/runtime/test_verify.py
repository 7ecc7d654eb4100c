"""aae-zoo verify: golden outputs replayed without PyTorch, and written for other runners."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import AaeZoo, replace_graph, rewrite
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.base import Backend, BackendRep
from onnx.backend.test import runner
from onnx.backend.test.case.test_case import TestCase
from onnx.reference import ReferenceEvaluator

from aae_zoo.export.proof.golden import save_npz
from aae_zoo.runtime import InvalidBundle
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.names import PRECISIONS
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.checks.parity import COMPARED_BATCHES, golden_of, problem_with, psnr, replay
from aae_zoo.runtime.checks.testdata import write_test_data
from aae_zoo.runtime.checks.verify import GATES, NO_TF32, verify
from aae_zoo.runtime.engine.devices import PROVIDERS


def add_to_output(bundle: Path, role: str, amount: float, name: str | None = None) -> None:
    """Make a graph, or another one beside it, whose first output is off by an amount, in the unit of the gates.

    That is the larger of 1 and the largest golden output, which training decides.
    """
    model = onnx.load(bundle / f"{role}.onnx")
    output = model.graph.output[0].name
    amount *= max(1.0, float(np.abs(golden_of(role, read_golden(open_bundle(bundle)))[1][output]).max()))
    for node in model.graph.node:
        node.output[:] = ["inner" if o == output else o for o in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.array(amount, np.float32), "amount"))
    model.graph.node.append(helper.make_node("Add", ["inner", "amount"], [output]))
    replace_graph(bundle, name or f"{role}.onnx", model.SerializeToString())


def add_precision(bundle: Path, precision: str, amount: float) -> None:
    """Give the encoder another precision, off by an amount."""
    add_to_output(bundle, "encoder", amount, f"encoder.{precision}.onnx")
    rewrite(bundle, lambda d: d["graphs"]["encoder"].update({precision: f"encoder.{precision}.onnx"}))


class TestVerify:
    def test_a_table_by_graph_batch_and_gate(self, small_bundle: Path, aae_zoo: AaeZoo) -> None:
        result = aae_zoo("verify", small_bundle)
        assert (result.status, result.err) == (0, "")
        *table, verdict = result.out.splitlines()
        assert verdict == f"verified: 3 of 3 graphs of {small_bundle} agree with PyTorch within their gates"
        header, *rows = [line.split() for line in table]
        assert header == ["graph", "precision", "device", "batch", "measure", "value", "gate"]
        assert [(row[0], int(row[3])) for row in rows] == [
            (role, batch) for role in ("encoder", "decoder", "prior") for batch in COMPARED_BATCHES
        ]
        assert all(row[1:3] == ["fp32", "cpu"] and row[-3:] == ["<=", "1e-05", "ok"] for row in rows)

    def test_json(self, small_bundle: Path, aae_zoo: AaeZoo) -> None:
        rows = json.loads(aae_zoo("verify", small_bundle, "--json", "--device", "cpu").out)
        assert len(rows) == 3 * len(COMPARED_BATCHES)
        assert all(row["passed"] and row["value"] <= row["gate"] == 1e-5 and row["problem"] is None for row in rows)

    def test_a_graph_that_is_a_little_off(self, bundle: Path, aae_zoo: AaeZoo) -> None:
        add_to_output(bundle, "encoder", 1e-3)
        result = aae_zoo("verify", bundle)
        assert result.status == 1
        assert result.out.count("FAILED") == len(COMPARED_BATCHES)
        assert "verified" not in result.out
        assert result.err == (
            "error: 6 of 18 comparisons with PyTorch failed, of encoder fp32; aae-zoo doctor shows what is used\n"
        )

    def test_values_out_of_their_range(self, bundle: Path, aae_zoo: AaeZoo) -> None:
        add_to_output(bundle, "decoder", 1.0)
        assert "FAILED: image has values from " in aae_zoo("verify", bundle).out

    def test_a_batch_that_a_graph_cannot_run(self, bundle: Path) -> None:
        model = onnx.load(bundle / "prior.onnx")
        model.graph.initializer.append(numpy_helper.from_array(np.array([7, 2]), "rows"))
        last = model.graph.node[-1]
        name, last.output[0] = last.output[0], "inner"
        model.graph.node.append(helper.make_node("Reshape", ["inner", "rows"], [name]))
        replace_graph(bundle, "prior.onnx", model.SerializeToString())
        found = {c.batch: c for c in verify(str(bundle)) if c.graph == "prior"}
        assert {batch for batch, c in found.items() if c.passed} == {7}
        assert "Reshape" in str(found[1].problem)

    def test_a_run_that_fails_without_a_word(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As where memory ends."""

        class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
            def run(self, *_: object) -> None:
                raise MemoryError

        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        assert {(c.passed, c.found) for c in verify(str(bundle))} == {(False, "MemoryError")}

    @pytest.mark.parametrize(
        ("precision", "amount", "passed"),
        [("fp16", 1e-3, True), ("fp16", 1.0, False), ("int8", 5e-2, True), ("int8", 9.0, False)],
    )
    def test_other_precisions_have_their_own_gates(
        self, bundle: Path, precision: str, amount: float, passed: bool
    ) -> None:
        add_precision(bundle, precision, amount)
        found = verify(str(bundle), precision=precision)
        assert [(c.graph, c.precision, c.passed) for c in found] == [("encoder", precision, passed)] * len(
            COMPARED_BATCHES
        )
        assert {(c.measure, c.gate) for c in found} == {GATES["cpu", precision][:2]}
        assert len(verify(str(bundle))) == 4 * len(COMPARED_BATCHES)

    def test_every_device_has_a_gate_for_every_precision(self) -> None:
        assert {(device, precision) for device in PROVIDERS for precision in PRECISIONS} <= set(GATES)

    def test_cuda_runs_without_tf32_and_with_it(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A GPU wheel, as far as it can be had on any machine: sessions on the CPU that say they are on CUDA."""
        asked = []

        class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
            def __init__(self, graph: bytes, options: Any, providers: list[Any], **fallback: int) -> None:
                asked.append(providers[0])
                super().__init__(graph, options, providers=["CPUExecutionProvider"])

            def get_providers(self) -> list[str]:
                return ["CUDAExecutionProvider", "CPUExecutionProvider"]

            def get_provider_options(self) -> dict[str, dict[str, str]]:
                return {name: {} for name in self.get_providers()}

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        add_to_output(bundle, "encoder", 2e-3)
        rewrite(bundle, lambda document: document.pop("tf32"))
        found = [c for c in verify(str(bundle), device="cuda", precision="fp32") if c.graph == "encoder"]
        without = [c for c in found if c.device == NO_TF32]
        assert [(c.gate, c.passed) for c in without] == [(1e-4, False)] * len(COMPARED_BATCHES)
        assert [(c.gate, c.passed) for c in found if c.device == "cuda"] == [(5e-3, True)] * len(COMPARED_BATCHES)
        assert {options["use_tf32"] for provider, options in asked if provider == "CUDAExecutionProvider"} == {"0", "1"}

    def test_precisions_that_there_are_not(self, small_bundle: Path, refused: Callable[..., str]) -> None:
        message = refused("verify", small_bundle, "--precision", "int8")
        assert "small has no int8 graph; it has encoder fp32, decoder fp32, prior fp32" in message
        assert "precision is 'x', expected one of fp32, fp16, int8" in refused(
            "verify", small_bundle, "--precision", "x"
        )

    def test_a_bundle_without_golden_file_or_with_half_of_one(self, bundle: Path, refused: Callable[..., str]) -> None:
        golden = read_golden(open_bundle(bundle))
        save_npz(bundle / "golden.npz", {k: v for k, v in golden.items() if not k.startswith("prior.")})
        replace_graph(bundle, "golden.npz", (bundle / "golden.npz").read_bytes())
        assert "golden.npz of small lacks inputs or outputs of the prior" in refused("verify", bundle)
        (bundle / "golden.npz").unlink()
        assert "golden.npz is missing" in refused("verify", bundle)

    def test_it_loads_neither_torch_nor_onnx(self, small_bundle: Path, tmp_path: Path) -> None:
        program = f"""
import sys
from aae_zoo.cli.main import main
sys.argv = ["aae-zoo", "verify", {str(small_bundle)!r}, "--json", "--test-data", {str(tmp_path / "data")!r}]
try:
    main()
finally:
    print(sorted({{"torch", "onnx", "huggingface_hub", "pydantic"}} & set(sys.modules)))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
        assert done.stdout.splitlines()[-1] == "[]"


class Prepared(BackendRep):
    """A model as ONNX's runner wants it."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session

    def run(self, inputs: list[Any], **options: Any) -> tuple[Any, ...]:
        names = [value.name for value in self.session.get_inputs()]
        return tuple(self.session.run(None, dict(zip(names, inputs, strict=True))))


class Engine(Backend):
    """ONNX Runtime as ONNX's runner wants it."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> Prepared:
        return Prepared(onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]))


@pytest.fixture(scope="module")
def folder(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle's test data."""
    folder = tmp_path_factory.mktemp("test") / "data"
    assert write_test_data(str(small_bundle), folder) == ["encoder", "decoder", "prior"]
    return folder


class TestTestData:
    def test_onnx_reads_the_golden_arrays(self, folder: Path, small_bundle: Path) -> None:
        golden = read_golden(open_bundle(small_bundle))
        for graph, inputs, outputs in (("encoder", "image", "z"), ("decoder", "z", "image"), ("prior", "u", "z")):
            assert (folder / graph / "model.onnx").read_bytes() == (small_bundle / f"{graph}.onnx").read_bytes()
            for file, name in (("input_0.pb", inputs), ("output_0.pb", outputs)):
                tensor = TensorProto.FromString((folder / graph / "test_data_set_0" / file).read_bytes())
                assert (tensor.name, tensor.data_type) == (name, TensorProto.FLOAT)
                assert np.array_equal(numpy_helper.to_array(tensor), golden[f"{graph}.{name}"])

    @pytest.mark.parametrize("graph", ["encoder", "decoder", "prior"])
    def test_onnxs_own_runner_replays_it(self, folder: Path, graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runner, "load_model_tests", lambda kind: [])  # ONNX's own models
        case = TestCase(f"test_{graph}", graph, None, str(folder / graph), None, None, "real", rtol=1e-4, atol=1e-5)
        tests = runner.Runner(Engine)
        tests._add_model_test(case, "Real")
        replay = tests._test_items["RealModel"][f"test_{graph}_cpu"].func
        replay(None)
        path = folder / graph / "test_data_set_0" / "output_0.pb"
        content = path.read_bytes()
        path.write_bytes(content[:-4] + np.float32(7).tobytes())
        with pytest.raises(AssertionError):
            replay(None)
        path.write_bytes(content)

    def test_the_reference_implementation_agrees(self, folder: Path) -> None:
        data = folder / "prior" / "test_data_set_0"
        given, expected = (
            numpy_helper.to_array(TensorProto.FromString((data / f"{kind}_0.pb").read_bytes()))
            for kind in ("input", "output")
        )
        (found,) = ReferenceEvaluator(str(folder / "prior" / "model.onnx")).run(None, {"u": given})
        assert np.abs(found - expected).max() < 1e-5

    def test_graphs_with_several_inputs_and_of_one_precision(
        self, labelled_bundle: Callable[..., Path], aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        bundle = labelled_bundle()
        rows, generator = 9, np.random.default_rng(0)
        u = generator.random((rows, 3), np.float32)
        y = np.eye(3, dtype=np.float32)[(u[:, 2] * 3).astype(int)]
        z = u[:, :2]
        image = np.zeros((rows, 1, 14, 14), np.float32)
        image[:, 0, 0, :3], image[:, 0, 0, 3:5] = y, z
        golden = {"encoder.image": image, "encoder.z": z, "encoder.y": y, "decoder.z": z, "decoder.y": y}
        golden |= {"decoder.image": image, "prior.u": u, "prior.z": z, "prior.y": y}
        save_npz(bundle / "golden.npz", golden)
        replace_graph(bundle, "golden.npz", (bundle / "golden.npz").read_bytes())
        result = aae_zoo("verify", bundle, "--precision", "fp32", "--test-data", tmp_path / "data")
        assert result.status == 0
        assert result.err == f"test data of encoder, decoder, prior in {tmp_path / 'data'}\n"
        names = {p.name for p in (tmp_path / "data" / "decoder" / "test_data_set_0").iterdir()}
        assert names == {"input_0.pb", "input_1.pb", "output_0.pb"}

    def test_it_overwrites_nothing(self, small_bundle: Path, folder: Path, aae_zoo: AaeZoo) -> None:
        result = aae_zoo("verify", small_bundle, "--test-data", folder)
        assert result.status == 1
        assert "exists already; give another output, or move it away" in result.err


def test_rows_begin_again_to_fill_a_batch() -> None:
    rows = np.arange(5, dtype=np.float32)[:, None]
    seen = []

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        seen.append(inputs["u"][:, 0].tolist())
        return {"z": 2 * inputs["u"]}

    found = replay(run, {"u": rows}, 3)
    assert seen == [[0, 1, 2], [3, 4, 0]]
    assert not isinstance(found, str)
    assert np.array_equal(found["z"], 2 * rows)
    assert replay(lambda inputs: {"z": inputs["u"][:1]}, {"u": rows}, 3) == "z has the shape [1, 1] for 3 rows"


def test_a_network_of_its_own_has_golden_arrays_of_its_own() -> None:
    z, image = np.zeros((2, 2)), np.zeros((2, 1, 4, 4))
    arrays = {"decoder.z": z, "decoder.image": image, "decoder.other.z": z[:1], "decoder.other.image": image[:1]}
    for precision, rows in (("fp32", 2), ("int8", 2), ("other", 1)):
        given, expected = golden_of("decoder", arrays, precision)
        assert {name: len(values) for name, values in (given | expected).items()} == {"z": rows, "image": rows}


def test_a_map_below_0_is_a_problem() -> None:
    found = {"map": np.full((2, 1, 3, 3), -0.1, np.float32)}
    assert problem_with(found, found) == "map has values from -0.1, expected none below 0"


def test_psnr_is_that_of_the_span() -> None:
    reference = np.array([0.0, 2.0])
    assert psnr(reference + 0.2, reference) == pytest.approx(20)
    assert psnr(reference, reference) == np.inf


def test_a_golden_file_that_was_altered(bundle: Path) -> None:
    (bundle / "golden.npz").write_bytes((bundle / "golden.npz").read_bytes()[:-1] + b"x")
    with pytest.raises(InvalidBundle, match=r"golden.npz has SHA-256"):
        verify(str(bundle))
