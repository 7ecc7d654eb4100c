"""The golden file as ONNX's own test data, which any runner of its backend tests replays."""

from pathlib import Path
from typing import Final

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.protobuf import field
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.checks.parity import Array, golden_of
from aae_zoo.runtime.checks.verify import graphs_of
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.store.catalogue import find_model

_FLOAT: Final = 1


def write_test_data(name: str, folder: Path, *, precision: str | None = None) -> list[str]:
    """Write for each graph <graph>/model.onnx and test_data_set_0/input_0.pb ... output_0.pb: the graphs' names.

    Inputs and outputs are TensorProto messages, in the order in which the graph has them; <graph> is the graph's file
    without its suffix. The folder appears whole or not at all.

    Raises:
        ModelNotFound: there is no such model on this machine.
        InvalidBundle: a file is damaged, or no graph has that precision.
        OutputError: the folder exists already, or cannot be written.
    """
    bundle = find_model(name)
    golden = read_golden(bundle)
    graphs = graphs_of(bundle, precision)
    with atomic_folder(folder, "test-data") as temporary:
        return [_write_graph(temporary, bundle, role, which, *golden_of(role, golden, which)) for role, which in graphs]


def _write_graph(folder: Path, bundle: Bundle, role: str, precision: str, given: Arrays, expected: Arrays) -> str:
    checked = read_graph(bundle, role, precision)
    graph = folder / Path(checked.name).stem
    data = graph / "test_data_set_0"
    data.mkdir(parents=True)
    (graph / "model.onnx").write_bytes(checked.content)
    for kind, names, arrays in (("input", checked.inputs, given), ("output", checked.outputs, expected)):
        for place, name in enumerate(names):
            if name not in arrays:
                raise InvalidBundle(f"the golden file of {bundle.manifest.name} lacks {name} of the {role}")
            (data / f"{kind}_{place}.pb").write_bytes(_tensor(name, arrays[name]))
    return graph.name


def _tensor(name: str, values: Array) -> bytes:
    """A TensorProto of float32 numbers: dims 1, data_type 2, name 8, raw_data 9 (onnx.proto)."""
    dims = b"".join(field(1, size) for size in values.shape)
    raw = values.astype("<f4").tobytes()
    return dims + field(2, _FLOAT) + field(8, name.encode()) + field(9, raw)
