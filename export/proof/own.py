"""Sessions for graphs that the export has just made itself, before there is a bundle to check them against.

Every other session is that of a checked graph (`aae_zoo.runtime.engine.session`).
"""

import onnxruntime as ort

from aae_zoo.runtime.engine.session import FATAL


def open_own(
    graph: bytes, level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
) -> ort.InferenceSession:
    """A session on the CPU, optimised as far as `level`, that says nothing on stderr: what is wrong is raised."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = FATAL
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
