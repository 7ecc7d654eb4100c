"""The parity gate: the final bytes of the graphs against PyTorch's saved outputs, in a process without PyTorch.

    python -m aae_zoo.export.gate FOLDER REFERENCES.npz

prints the report as JSON; `passed` in it says whether every comparison held. With e = max|difference| /
max(1, max|reference|), every output at every batch size and at both extremes of ONNX Runtime's optimisation must
have e <= 1e-5, and be no further from float64 than ten times PyTorch itself, plus 1e-7. `onnx.reference`, which
shares no code with ONNX Runtime, must agree too.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aae_zoo.runtime.manifest import ROLES

GATE: Final = 1e-5
FLOAT64_FACTOR: Final = 10.0
FLOAT64_SLACK: Final = 1e-7
BATCHES: Final = (1, 2, 3, 7, 64, 65)

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
Engine = tuple[list[str], Run]  # the names of a graph's inputs, and what runs it


def check_graphs(folder: Path, references: Mapping[str, Array]) -> dict[str, Any]:
    """Compare the graphs <role>.onnx of a folder with references as `export.golden` makes them: the report."""
    rows = [row for role in ROLES for row in _check_graph(folder / f"{role}.onnx", role, references)]
    import onnx

    return {
        "passed": all(row["passed"] for row in rows),
        "gates": {"float32": GATE, "float64": f"{FLOAT64_FACTOR:g} x |torch - float64| + {FLOAT64_SLACK:g}"},
        "versions": {"onnxruntime": ort.__version__, "onnx": onnx.__version__, "numpy": np.__version__},
        "worst": {role: _worst(rows, role) for role in ROLES},
        "rows": rows,
    }


def _worst(rows: list[dict[str, Any]], role: str) -> float | None:
    """The largest error of a graph, or None where nothing could be compared."""
    return max((row["error"] for row in rows if row["graph"] == role and row["error"] is not None), default=None)


def failures(report: Mapping[str, Any]) -> list[str]:
    """One line for every comparison of a report that did not hold."""
    return [
        f"{row['graph']} ({row['engine']}, batch {row['batch']}): {row['problem']}"
        for row in report["rows"]
        if not row["passed"]
    ]


def _check_graph(path: Path, role: str, references: Mapping[str, Array]) -> Iterator[dict[str, Any]]:
    for name, batches, open_engine in _engines(path):
        for batch in batches:
            row = {"graph": role, "engine": name, "batch": batch}
            try:
                inputs, run = open_engine()
                yield row | _compare(role, inputs, run, batch, references)
            except Exception as error:  # whatever an engine raises, the graph does not run there
                yield row | _failed(f"{type(error).__name__}: {str(error)[:300]}")


def _engines(path: Path) -> list[tuple[str, tuple[int, ...], Callable[[], Engine]]]:
    """Each engine's name, the batch sizes to try in it, and what opens the graph there."""
    levels = ort.GraphOptimizationLevel
    return [
        ("ONNX Runtime, not optimised", BATCHES, lambda: _onnxruntime(path, levels.ORT_DISABLE_ALL)),
        ("ONNX Runtime, optimised", BATCHES, lambda: _onnxruntime(path, levels.ORT_ENABLE_ALL)),
        ("onnx.reference", BATCHES[-1:], lambda: _reference(path)),
    ]


def _onnxruntime(path: Path, level: ort.GraphOptimizationLevel) -> Engine:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return [i.name for i in session.get_inputs()], lambda inputs: dict(
        zip(names, session.run(names, inputs), strict=True)
    )


def _reference(path: Path) -> Engine:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    names = evaluator.output_names
    return evaluator.input_names, lambda inputs: dict(zip(names, evaluator.run(names, inputs), strict=True))


def _compare(role: str, inputs: list[str], run: Run, batch: int, references: Mapping[str, Array]) -> dict[str, Any]:
    """Run all rows in batches of one size and compare every output."""
    expected = _outputs(role, inputs, references)
    given = {name: references[f"{role}.{name}"] for name in inputs}
    rows = len(next(iter(given.values())))
    parts = [run({n: v[start : start + batch] for n, v in given.items()}) for start in range(0, rows, batch)]
    if sorted(parts[0]) != sorted(expected):
        return _failed(f"its outputs are {sorted(parts[0])}, expected {sorted(expected)}")
    worst = 0.0
    for name, reference in expected.items():
        sizes = [len(part[name]) for part in parts]
        wanted = [min(batch, rows - start) for start in range(0, rows, batch)]
        if sizes != wanted:
            return _failed(f"{name} has {sizes} rows, expected {wanted}")
        found = np.concatenate([part[name] for part in parts])
        problem, error = _problem(name, found, reference, references[f"{role}.{name}.float64"])
        worst = max(worst, error)
        if problem:
            return _failed(problem, worst)
    return {"error": worst, "passed": True}


def _outputs(role: str, inputs: list[str], references: Mapping[str, Array]) -> dict[str, Array]:
    """The reference outputs of a graph: what has a float64 twin."""
    names = [key.removeprefix(f"{role}.") for key in references if key.startswith(f"{role}.")]
    return {n: references[f"{role}.{n}"] for n in names if f"{n}.float64" in names and n not in inputs}


def _problem(name: str, found: Array, reference: Array, exact: Array) -> tuple[str | None, float]:
    """What is wrong with an output, if anything, and its error relative to the reference's size."""
    if found.shape != reference.shape or found.dtype != np.float32:
        return f"{name} is {found.dtype} {list(found.shape)}, expected float32 {list(reference.shape)}", math.inf
    if not np.isfinite(found).all():
        return f"{name} holds numbers that are not finite", math.inf
    if name == "image" and not (found.min() >= 0 and found.max() <= 1):
        return f"{name} has values from {found.min():g} to {found.max():g}, expected [0, 1]", math.inf
    error = float(np.abs(found.astype(np.float64) - reference).max() / max(1.0, np.abs(reference).max()))
    if not error <= GATE:
        return f"{name} differs from PyTorch by {error:.3g} of its size, expected at most {GATE:g}", error
    ours = float(np.abs(found - exact).max())
    allowed = FLOAT64_FACTOR * float(np.abs(reference - exact).max()) + FLOAT64_SLACK
    if not ours <= allowed:
        return f"{name} differs from float64 by {ours:.3g}, expected at most {allowed:.3g}", error
    return None, error


def _failed(problem: str, error: float = math.inf) -> dict[str, Any]:
    return {"error": error if math.isfinite(error) else None, "passed": False, "problem": problem}


if __name__ == "__main__":
    with np.load(sys.argv[2], allow_pickle=False) as saved:
        result = check_graphs(Path(sys.argv[1]), dict(saved))
    result["without_torch"] = "torch" not in sys.modules
    sys.stdout.write(json.dumps(result))
