"""The parity gate: the final bytes of the graphs against PyTorch's saved outputs, in a process without PyTorch.

    python -m aae_zoo.export.proof.gate FOLDER REFERENCES.npz

prints the report as JSON; `passed` in it says whether every comparison held. With e = max|difference| /
max(1, max|reference|), every output at every batch size and at both extremes of ONNX Runtime's optimisation must
have e <= 1e-5, and be no further from float64 than ten times PyTorch itself, plus 1e-7. `onnx.reference`, which
shares no code with ONNX Runtime, must agree too.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator

from aae_zoo.export.proof.own import open_own
from aae_zoo.runtime.bundles.names import ALL_ROLES, ROLES
from aae_zoo.runtime.checks.parity import COMPARED_BATCHES, Array, Run, golden_of, problem_with, relative_error, replay
from aae_zoo.runtime.formats.arrays import Arrays

GATE: Final = 1e-5
FLOAT64_FACTOR: Final = 10.0
FLOAT64_SLACK: Final = 1e-7

# The shapes of a graph's inputs and outputs by name, as it declares them, and what runs it.
Engine = tuple[Mapping[str, Sequence[int | str]], Run]


def check_graphs(folder: Path, references: Mapping[str, Array], widths: Sequence[int] = ()) -> dict[str, Any]:
    """Compare the graphs <role>.onnx of a folder with references as `export.proof.golden` makes them: the report.

    `widths` are those of the attributes in y, as `problem_with` has them.
    """
    roles = [role for role in ALL_ROLES if role in ROLES or f"{role}.image" in references]
    rows = [row for role in roles for row in _check_graph(folder / f"{role}.onnx", role, references, widths)]
    return {
        "passed": all(row["passed"] for row in rows),
        "gates": {"float32": GATE, "float64": f"{FLOAT64_FACTOR:g} x |torch - float64| + {FLOAT64_SLACK:g}"},
        "versions": {"onnxruntime": ort.__version__, "onnx": onnx.__version__, "numpy": np.__version__},
        "worst": {role: _worst(rows, role) for role in roles},
        "outputs": {role: _outputs(role, references) for role in roles},
        "rows": rows,
    }


def _worst(rows: list[dict[str, Any]], role: str) -> float | None:
    """The largest error of a graph, or None where nothing could be compared."""
    return max((row["error"] for row in rows if row["graph"] == role and row["error"] is not None), default=None)


def float64_gate(reference: Array, exact: Array) -> float:
    """How far from float64 a graph may be where PyTorch's float32 is `reference`."""
    return FLOAT64_FACTOR * float(np.abs(reference - exact).max()) + FLOAT64_SLACK


def failures(report: Mapping[str, Any]) -> list[str]:
    """One line for every comparison of a report that did not hold."""
    return [
        f"{row['graph']} ({row['engine']}, batch {row['batch']}): {row['problem']}"
        for row in report["rows"]
        if not row["passed"]
    ]


def _outputs(role: str, references: Mapping[str, Array]) -> dict[str, Any]:
    """What PyTorch gives: the shape of every output but for its rows, and the range of its values."""
    return {
        name: {"shape": list(values.shape[1:]), "low": float(values.min()), "high": float(values.max())}
        for name, values in golden_of(role, references)[1].items()
    }


def _check_graph(
    path: Path, role: str, references: Mapping[str, Array], widths: Sequence[int]
) -> Iterator[dict[str, Any]]:
    given, expected = golden_of(role, references)
    exact = {name: references[f"{role}.{name}.float64"] for name in expected}
    for name, batches, open_engine in _engines(path):
        for batch in batches:
            row = {"graph": role, "engine": name, "batch": batch}
            try:
                declared, run = open_engine()
                problem = _undeclared(declared, {**given, **expected})
                found = problem or replay(run, given, batch)
            except Exception as error:  # whatever an engine raises, the graph does not run there
                found = f"{type(error).__name__}: {str(error)[:300]}"
            yield row | (_failed(found) if isinstance(found, str) else _compare(found, expected, exact, widths))


def _undeclared(declared: Mapping[str, Sequence[int | str]], wanted: Mapping[str, Array]) -> str | None:
    """What is wrong with the inputs and outputs that a graph declares, if anything."""
    shapes = {name: ["batch", *values.shape[1:]] for name, values in wanted.items()}
    found = {name: list(shape) for name, shape in declared.items()}
    return None if found == shapes else f"it declares {found}, expected {shapes}"


def _engines(path: Path) -> list[tuple[str, tuple[int, ...], Callable[[], Engine]]]:
    """Each engine's name, the batch sizes to try in it, and what opens the graph there."""
    levels = ort.GraphOptimizationLevel
    return [
        ("ONNX Runtime, not optimised", COMPARED_BATCHES, lambda: _onnxruntime(path, levels.ORT_DISABLE_ALL)),
        ("ONNX Runtime, optimised", COMPARED_BATCHES, lambda: _onnxruntime(path, levels.ORT_ENABLE_ALL)),
        ("onnx.reference", COMPARED_BATCHES[-1:], lambda: _reference(path)),
    ]


def _onnxruntime(path: Path, level: ort.GraphOptimizationLevel) -> Engine:
    session = open_own(path.read_bytes(), level)
    names = [o.name for o in session.get_outputs()]
    declared = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
    return declared, lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _reference(path: Path) -> Engine:
    evaluator = ReferenceEvaluator(str(path))
    names = evaluator.output_names
    declared = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*evaluator.proto_.graph.input, *evaluator.proto_.graph.output)
    }
    return declared, lambda inputs: dict(zip(names, evaluator.run(names, inputs), strict=True))


def _compare(found: Arrays, expected: Arrays, exact: Mapping[str, Array], widths: Sequence[int]) -> dict[str, Any]:
    """The largest error and distance from float64 over the outputs, and one that is too large, if any is."""
    if problem := problem_with(found, expected, widths=widths):
        return _failed(problem)
    row: dict[str, Any] = {"error": 0.0, "float64": 0.0, "float64_allowed": 0.0, "passed": True}
    for name, reference in expected.items():
        error = relative_error(found[name], reference)
        distance = float(np.abs(found[name] - exact[name]).max())
        allowed = float64_gate(reference, exact[name])
        row["error"] = max(row["error"], error)
        if distance >= row["float64"]:
            row |= {"float64": distance, "float64_allowed": allowed}
        if not error <= GATE:
            problem = f"{name} differs from PyTorch by {error:.3g} of its size, expected at most {GATE:g}"
        elif not distance <= allowed:
            problem = f"{name} differs from float64 by {distance:.3g}, expected at most {allowed:.3g}"
    return row | ({"passed": False, "problem": problem} if problem else {})


def _failed(problem: str) -> dict[str, Any]:
    return {"error": None, "passed": False, "problem": problem}


if __name__ == "__main__":
    with np.load(sys.argv[2], allow_pickle=False) as saved:
        result = check_graphs(Path(sys.argv[1]), dict(saved), [*map(int, sys.argv[3:])])
    result["without_torch"] = "torch" not in sys.modules
    sys.stdout.write(json.dumps(result))
