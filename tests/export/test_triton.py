"""The Triton model repository: by Triton's own schema, and true of the graphs in it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import AaeZoo, replace_graph
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

from aae_zoo.runtime import load


def config(folder: Path) -> Any:
    """The configuration of a model, read by Triton's schema: a field that it does not have is an error."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def tensors(described: Any) -> dict[str, list[int]]:
    assert all(tensor.data_type == model_config_pb2.TYPE_FP32 for tensor in described)
    return {tensor.name: list(tensor.dims) for tensor in described}


def sizes(values: Any) -> Iterator[tuple[str, list[int]]]:
    """The inputs or outputs of a graph without their batch, which must be variable."""
    for value in values:
        batch, *others = value.type.tensor_type.shape.dim
        assert batch.dim_param == "batch"
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        yield value.name, [dim.dim_value for dim in others]


@pytest.mark.parametrize("name", ["mnist-gauss8", "mnist-style", "mnist-vae"])
def test_the_repository_is_what_triton_reads(name: str, aae_zoo: AaeZoo, tmp_path: Path) -> None:
    result = aae_zoo("export-triton", name, "-o", tmp_path / "models")
    assert result.status == 0, result.err
    assert f"tritonserver --model-repository={tmp_path / 'models'}" in result.out
    models = {path.name: config(path) for path in (tmp_path / "models").iterdir() if path.is_dir()}
    assert set(models) == {name, f"{name}-encoder", f"{name}-prior", f"{name}-decoder"}
    for folder, described in models.items():
        assert described.name == folder
        assert described.max_batch_size == 256
    for role in ("encoder", "prior", "decoder"):
        described = models[f"{name}-{role}"]
        graph = onnx.load(tmp_path / "models" / f"{name}-{role}" / "1" / "model.onnx").graph
        assert described.backend == "onnxruntime"
        assert described.dynamic_batching.max_queue_delay_microseconds == 500
        assert tensors(described.input) == dict(sizes(graph.input))
        assert tensors(described.output) == dict(sizes(graph.output))


def run_ensemble(repository: Path, name: str, given: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """What Triton does with an ensemble: each step takes tensors by its input map, and names what it gives."""
    ensemble = config(repository / name)
    assert ensemble.platform == "ensemble"
    assert (repository / name / "1").is_dir()
    pool = {tensor.name: given[tensor.name] for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        session = onnxruntime.InferenceSession(repository / step.model_name / "1" / "model.onnx")
        names = list(step.output_map)
        assert set(names) == set(tensors(config(repository / step.model_name).output))
        outputs = session.run(names, {key: pool[value] for key, value in step.input_map.items()})
        pool |= {step.output_map[key]: values for key, values in zip(names, outputs, strict=True)}
    return {tensor.name: pool[tensor.name] for tensor in ensemble.output}


@pytest.mark.parametrize("name", ["mnist-gauss8", "mnist-style"])
@pytest.mark.parametrize("rows", [1, 7])
def test_the_ensemble_draws_what_the_model_draws(name: str, rows: int, aae_zoo: AaeZoo, tmp_path: Path) -> None:
    aae_zoo("export-triton", name, "-o", tmp_path / "models")
    model = load(name)
    u = np.random.default_rng(0).uniform(0.01, 0.99, (rows, model.manifest.noise)).astype(np.float32)
    outputs = run_ensemble(tmp_path / "models", name, {"u": u})
    assert list(outputs) == ["image"]
    assert np.allclose(outputs["image"], model.sample_from(u), atol=1e-5)


def test_no_half_repository(refused: Callable[..., str], bundle: Path, no_leftovers: Path, tmp_path: Path) -> None:
    graph = onnx.load(bundle / "decoder.onnx")
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    replace_graph(bundle, "decoder.onnx", graph.SerializeToString())
    said = refused("export-triton", bundle, "-o", no_leftovers / "models")
    assert re.search(r"has 'z' as tensor\(float\) \[1, 2\], expected z once as tensor\(float\) \['batch', 2\]", said)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert "exists already" in refused("export-triton", bundle, "-o", tmp_path / "taken")
