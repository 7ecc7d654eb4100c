"""Run all cases of a folder in one engine that has a Python interface, in a process of its own.

    python python_engines.py ENGINE CASES OUT

writes the outputs into the folder OUT and prints JSON: the engine's version, and what failed, by case.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cases
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Run = Callable[[Mapping[str, Array], list[str]], Mapping[str, Array]]


def reference(path: str) -> Run:
    """ONNX's own evaluator."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(path)
    return lambda inputs, names: dict(zip(names, evaluator.run(names, dict(inputs)), strict=True))


def opencv(path: str) -> Run:
    """OpenCV's dnn module."""
    import cv2

    net: Any = cv2.dnn.readNetFromONNX(path)

    def run(inputs: Mapping[str, Array], names: list[str]) -> Mapping[str, Array]:
        for name, value in inputs.items():
            net.setInput(value, name)
        return dict(zip(names, net.forward(names), strict=True))

    return run


def tract(path: str) -> Run:
    """Sonos' tract, written in Rust."""
    import tract

    runnable = tract.onnx().load(path).into_model().into_runnable()

    def run(inputs: Mapping[str, Array], names: list[str]) -> Mapping[str, Array]:
        results = runnable.run(list(inputs.values()))
        return {name: result.to_numpy() for name, result in zip(names, results, strict=True)}

    return run


def openvino(path: str) -> Run:
    """Intel's OpenVINO on the CPU, told not to lower the precision."""
    from openvino import Core

    compiled: Any = Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Mapping[str, Array], names: list[str]) -> Mapping[str, Array]:
        results = compiled(dict(inputs))
        return {name: results[name] for name in names}

    return run


def onnx2torch(path: str) -> Run:
    """The graph as a PyTorch module again, its weights cast to float32 beforehand: it wants those of Conv stored."""
    import onnx2torch
    import onnxruntime as ort
    import torch

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/folded.onnx"
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        module = onnx2torch.convert(options.optimized_model_filepath).eval()

    def run(inputs: Mapping[str, Array], names: list[str]) -> Mapping[str, Array]:
        with torch.no_grad():
            results = module(*map(torch.from_numpy, inputs.values()))
        results = [results] if isinstance(results, torch.Tensor) else results
        return {name: result.numpy() for name, result in zip(names, results, strict=True)}

    return run


ENGINES: dict[str, tuple[Callable[[str], Run], str]] = {
    "onnx.reference": (reference, "onnx"),
    "OpenCV": (opencv, "opencv-python-headless"),
    "tract": (tract, "tract"),
    "OpenVINO": (openvino, "openvino"),
    "onnx2torch": (onnx2torch, "onnx2torch"),
}


def main() -> None:
    """Run all cases; what an engine refuses does not stop the others."""
    open_graph, package = ENGINES[sys.argv[1]]
    folder, out = Path(sys.argv[2]), Path(sys.argv[3])
    failed = {}
    warnings.simplefilter("ignore")
    for case in cases.read_cases(folder):
        try:
            run = open_graph(case["graph"])
            cases.write(out, case["outputs"], run(cases.read(folder, case["inputs"]), list(case["outputs"])))
        except Exception as error:  # whatever it is, the graph does not run there
            failed[case["name"]] = f"{type(error).__name__}: {str(error)[:300]}"
    print(json.dumps({"version": version(package), "failed": failed}))


if __name__ == "__main__":
    main()
