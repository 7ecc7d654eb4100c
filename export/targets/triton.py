"""A bundle as a model repository of NVIDIA's Triton Inference Server, whose ONNX Runtime backend runs the graphs.

NAME-encoder, NAME-prior and NAME-decoder are the graphs, as is NAME-detector where there is one; NAME is an ensemble,
prior -> decoder, that draws images from uniform noise. The configuration's schema is model_config.proto of the
repository triton-inference-server/common.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import CheckedGraph, read_graph
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.engine.session import open_session
from aae_zoo.runtime.escapes import protobuf_text
from aae_zoo.runtime.files import atomic_folder

# The most rows of one run: Triton joins requests up to that many.
_MAX_BATCH: Final = 256
# How long a request waits for others to join it.
_MAX_DELAY_MICROSECONDS: Final = 500

Names = tuple[str, ...]


def export_triton(bundle: Bundle, output: Path) -> None:
    """Write the model repository of a bundle into the new folder `output`.

    Raises:
        InvalidBundle: a graph is altered, or refused as `load` refuses it.
        OutputError: the folder exists already, or cannot be written.
    """
    manifest = bundle.manifest
    with atomic_folder(output, "triton") as folder:
        graphs = {role: read_graph(bundle, role) for role in manifest.graphs}
        for role, graph in graphs.items():
            open_session(graph, device="cpu", threads=1)  # what ONNX Runtime refuses, Triton would refuse as well
            model = folder / f"{manifest.name}-{role}"
            (model / "1").mkdir(parents=True)
            (model / "1" / "model.onnx").write_bytes(graph.content)
            (model / "config.pbtxt").write_text(_graph_config(model.name, graph, manifest), "utf-8")
        ensemble = folder / manifest.name
        (ensemble / "1").mkdir(parents=True)  # Triton wants a version's folder, though an ensemble has no file in it
        (ensemble / "1" / ".keep").touch()
        (ensemble / "config.pbtxt").write_text(_ensemble_config(graphs, manifest), "utf-8")


def _graph_config(name: str, graph: CheckedGraph, manifest: Manifest) -> str:
    return f"""{_head(name, graph.inputs, graph.outputs, manifest)}
backend: "onnxruntime"
dynamic_batching {{
  max_queue_delay_microseconds: {_MAX_DELAY_MICROSECONDS}
}}
"""


def _ensemble_config(graphs: Mapping[str, CheckedGraph], manifest: Manifest) -> str:
    prior, decoder = graphs["prior"], graphs["decoder"]
    steps = "".join(
        f"""  step {{
    model_name: {protobuf_text(f"{manifest.name}-{role}")}
    model_version: -1
{_map("input_map", graph.inputs)}{_map("output_map", graph.outputs)}  }}
"""
        for role, graph in (("prior", prior), ("decoder", decoder))
    )
    return f"""{_head(manifest.name, prior.inputs, decoder.outputs, manifest)}
platform: "ensemble"
ensemble_scheduling {{
{steps}}}
"""


def _head(name: str, inputs: Names, outputs: Names, manifest: Manifest) -> str:
    tensors = (
        "\n".join(_tensor("input", name, manifest) for name in inputs),
        "\n".join(_tensor("output", name, manifest) for name in outputs),
    )
    return f"""name: {protobuf_text(name)}
max_batch_size: {_MAX_BATCH}
{tensors[0]}
{tensors[1]}"""


def _tensor(kind: str, name: str, manifest: Manifest) -> str:
    """A tensor of a checked graph: float32, its first dimension the batch, which Triton adds itself.

    Triton has no tensors without a dimension besides, and calls one number a row a list of one.
    """
    shape = manifest.row_shapes[name]
    return f"""{kind} {{
  name: {protobuf_text(name)}
  data_type: TYPE_FP32
  dims: {list(shape or (1,))}{"" if shape else " reshape { shape: [] }"}
}}"""


def _map(kind: str, names: Names) -> str:
    """Each tensor keeps its name from step to step: the prior's outputs are the decoder's inputs."""
    return "".join(
        f"""    {kind} {{
      key: {protobuf_text(name)}
      value: {protobuf_text(name)}
    }}
"""
        for name in names
    )
