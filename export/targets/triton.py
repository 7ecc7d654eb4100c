"""A bundle as a model repository of NVIDIA's Triton Inference Server, whose ONNX Runtime backend runs the graphs.

NAME-encoder, NAME-prior and NAME-decoder are the graphs; NAME is an ensemble, prior -> decoder, that draws images from
uniform noise. The configuration's schema is model_config.proto of the repository triton-inference-server/common.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.manifest import ROLES
from aae_zoo.runtime.engine.session import open_session
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.files import atomic_folder

if TYPE_CHECKING:
    from onnxruntime import NodeArg

# The most rows of one run: Triton joins requests up to that many.
_MAX_BATCH: Final = 256
# How long a request waits for others to join it.
_MAX_DELAY_MICROSECONDS: Final = 500

Nodes = Sequence["NodeArg"]


def export_triton(bundle: Bundle, output: Path) -> None:
    """Write the model repository of a bundle into the new folder `output`.

    Raises:
        InvalidBundle: a graph is altered, is refused by ONNX Runtime, or has no variable batch.
        OutputError: the folder exists already, or cannot be written.
    """
    name = bundle.manifest.name
    with atomic_folder(output, "triton") as folder:
        signatures = {}
        for role in ROLES:
            file = bundle.manifest.graph_file(role)
            graph = bundle.read(file)
            session = open_session(graph, file, device="cpu", threads=1)
            signatures[role] = session.get_inputs(), session.get_outputs()
            model = folder / f"{name}-{role}"
            (model / "1").mkdir(parents=True)
            (model / "1" / "model.onnx").write_bytes(graph)
            (model / "config.pbtxt").write_text(_graph_config(model.name, *signatures[role]), "utf-8")
        ensemble = folder / name
        (ensemble / "1").mkdir(parents=True)  # Triton wants a version's folder, though an ensemble has no file in it
        (ensemble / "1" / ".keep").touch()
        (ensemble / "config.pbtxt").write_text(
            _ensemble_config(name, signatures["prior"], signatures["decoder"]), "utf-8"
        )


def _graph_config(name: str, inputs: Nodes, outputs: Nodes) -> str:
    return f"""{_head(name, inputs, outputs)}
backend: "onnxruntime"
dynamic_batching {{
  max_queue_delay_microseconds: {_MAX_DELAY_MICROSECONDS}
}}
"""


def _ensemble_config(name: str, prior: tuple[Nodes, Nodes], decoder: tuple[Nodes, Nodes]) -> str:
    steps = "".join(
        f"""  step {{
    model_name: "{name}-{role}"
    model_version: -1
{_map("input_map", inputs)}{_map("output_map", outputs)}  }}
"""
        for role, (inputs, outputs) in (("prior", prior), ("decoder", decoder))
    )
    return f"""{_head(name, prior[0], decoder[1])}
platform: "ensemble"
ensemble_scheduling {{
{steps}}}
"""


def _head(name: str, inputs: Nodes, outputs: Nodes) -> str:
    tensors = (
        "\n".join(_tensor("input", node) for node in inputs),
        "\n".join(_tensor("output", node) for node in outputs),
    )
    return f"""name: "{name}"
max_batch_size: {_MAX_BATCH}
{tensors[0]}
{tensors[1]}"""


def _tensor(kind: str, node: "NodeArg") -> str:
    batch, *sizes = node.shape
    if isinstance(batch, int) or node.type != "tensor(float)" or not all(isinstance(size, int) for size in sizes):
        raise InvalidBundle(
            f"{node.name} is {node.type} {node.shape}, expected tensor(float) with a variable batch alone"
        )
    return f"""{kind} {{
  name: "{node.name}"
  data_type: TYPE_FP32
  dims: {sizes}
}}"""


def _map(kind: str, nodes: Nodes) -> str:
    """Each tensor keeps its name from step to step: the prior's outputs are the decoder's inputs."""
    return "".join(
        f"""    {kind} {{
      key: "{node.name}"
      value: "{node.name}"
    }}
"""
        for node in nodes
    )
