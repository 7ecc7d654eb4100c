"""Graphs with their golden inputs as raw float32 files, which an engine in any language can read.

A folder of cases has `cases.json`, a list of {"name", "graph", "inputs", "outputs"}; inputs and outputs are
{name: {"file", "shape"}}, in the graph's order. An engine writes its outputs, raw too, under the same file names into
a folder of its own.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.bundle import Bundle

Arrays = dict[str, NDArray[np.float32]]
Case = dict[str, Any]


def write_cases(bundles: Iterable[Bundle], folder: Path, rows: int | None = None) -> None:
    """Write the cases of bundles, with every golden row or with about so many of them, evenly taken.

    Graphs of int8 and float16 are none: engines round in their own ways.
    """
    cases: list[Case] = []
    for bundle in bundles:
        with np.load(bundle.folder / "golden.npz", allow_pickle=False) as golden:
            arrays = {name: golden[name] for name in golden.files}
        for role, files in bundle.manifest.graphs.items():
            for precision, key in (("fp32", role), ("lite", f"{role}.lite")):
                if precision in files:
                    path = bundle.folder / files[precision]
                    cases.append(case_of(f"{bundle.manifest.name}/{path.stem}", path, key, arrays, rows, folder))
    write_list(cases, folder)


def write_list(cases: list[Case], folder: Path) -> None:
    """Write which cases a folder has."""
    (folder / "cases.json").write_text(json.dumps(cases, indent=1))


def read_cases(folder: Path) -> list[Case]:
    """The cases of a folder."""
    cases: list[Case] = json.loads((folder / "cases.json").read_text())
    return cases


def case_of(
    name: str, path: Path, key: str, golden: Mapping[str, NDArray[Any]], rows: int | None, folder: Path
) -> Case:
    """A case of a graph, its arrays, which `golden` has as {key}.{name}, written into the folder."""
    graph = onnx.load(path).graph
    case: Case = {"name": name, "graph": str(path.resolve()), "inputs": {}, "outputs": {}}
    for kind, values in (("inputs", graph.input), ("outputs", graph.output)):
        for value in values:
            array = _floats(golden[f"{key}.{value.name}"])
            array = array[:: max(1, len(array) // rows)] if rows else array
            file = f"{name.replace('/', '.')}.{value.name}.f32"
            case[kind][value.name] = {"file": file, "shape": list(array.shape)}
            array.tofile(folder / file)
    return case


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    return (values / np.float32(255) if values.dtype == np.uint8 else values).astype("<f4")


def read(folder: Path, tensors: Mapping[str, Any]) -> Arrays:
    """The inputs of a case, or its outputs, by name."""
    return {n: np.fromfile(folder / t["file"], "<f4").reshape(t["shape"]) for n, t in tensors.items()}


def write(folder: Path, tensors: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write an engine's outputs."""
    for name, tensor in tensors.items():
        if list(arrays[name].shape) != tensor["shape"]:
            raise ValueError(f"{name} is {list(arrays[name].shape)}, expected {tensor['shape']}")
        arrays[name].astype("<f4").tofile(folder / tensor["file"])


def difference(found: Arrays, expected: Arrays) -> float:
    """The parity gate's measure: max|difference| / max(1, max|expected|), the largest over the outputs."""
    return max(
        float(np.abs(found[n].astype(np.float64) - e).max() / max(1.0, np.abs(e).max())) for n, e in expected.items()
    )
