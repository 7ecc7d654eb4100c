"""Variants of a graph in other precisions: int8 for CPUs with integer instructions, float16 for GPUs.

A variant is published if it is asked for, wins something and loses next to nothing (`verdict`). The graphs of float32
already keep their weights as float16, so a float16 variant is no smaller, and on CPUs it is no faster.
"""

import logging
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import Generator

from aae_zoo.export.proof.metrics import Graphs
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import CheckedGraph, read_graph
from aae_zoo.runtime.checks.clauses import OPSET
from aae_zoo.runtime.engine.session import open_session
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.files import scratch_folder
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.model import Model
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.measure.class_error import attribute_errors, percent_wrong, probabilities
from aae_zoo.zoo.measure.measured import Draws
from aae_zoo.zoo.measure.metrics import match, measure
from aae_zoo.zoo.measure.samples import in_features
from aae_zoo.zoo.recipe import DataSettings

VARIANT_PRECISIONS: Final = ("fp16", "int8")
VARIANT_ROLES: Final = ("encoder", "decoder")
FASTER: Final = 1.2
SMALLER: Final = 0.5
LOSS: Final = 0.02
LITE_LOSS: Final = 0.05
# Percentage points: so small a difference among 10,000 test images is luck.
ERROR_SLACK: Final = 0.1
SPEED_PAIRS: Final = 15
_CALIBRATION: Final = 1000
_BATCH: Final = 100
# Which images are for validation, and whose the classes are, decides none of the figures of variants.
_ANY: Final = DataSettings(dataset="any", validation=2)


def check_precisions(precisions: Sequence[str]) -> None:
    """Check that variants can be made in these precisions.

    Raises:
        InvalidInput: one is not in `VARIANT_PRECISIONS`.
    """
    for precision in precisions:
        if precision not in VARIANT_PRECISIONS:
            raise InvalidInput(f"the variant is {precision!r}, expected one of {', '.join(VARIANT_PRECISIONS)}")


def calibration(model: Model, images: NDArray[np.uint8]) -> dict[str, Arrays]:
    """Ordinary inputs of the encoder and the decoder: training images, uint8 [n, C, H, W], their codes, prior draws."""
    some = images[:_CALIBRATION].astype(np.float32) / np.float32(255)
    draws = model.codes_of(uniform_noise(_CALIBRATION, model.manifest.noise, 0))
    codes = model.codes(some)
    if draws.keys() <= codes.keys():
        draws = {n: np.concatenate([values[::2], codes[n][1::2]]) for n, values in draws.items()}
    return {"encoder": {"image": some}, "decoder": draws}


def make_variant(content: bytes, precision: str, inputs: Arrays) -> bytes:
    """The graph in another precision, float32 at its boundary; int8 is calibrated on the inputs."""
    variant = _float16(content) if precision == "fp16" else _int8(content, inputs)
    onnx.checker.check_model(variant, full_check=True)
    data: bytes = variant.SerializeToString(deterministic=True)
    return data


class _AsSampled(Graphs):
    """Graphs whose draws of the prior are those of `Model.sample`."""

    def draw(self, count: int, _: Generator) -> Draws:
        """The first `count` draws of seed 0."""
        return Draws(self.run("prior", {"u": torch.from_numpy(uniform_noise(count, self.noise, seed=0))}), None)


def quality(bundle: Bundle, dataset: Dataset, precision: str = "fp32") -> dict[str, float]:
    """The test metrics of a bundle's graphs in a precision: `mse`, and `error` and `frechet` if it has them."""
    manifest = bundle.manifest
    graphs = _AsSampled({r: read_graph(bundle, r, manifest.precision_of(r, precision)) for r in manifest.graphs})
    found = measure(graphs, dataset, _ANY, (match, in_features))
    if manifest.attributes:
        found["error"] = statistics.mean(attribute_errors(graphs, dataset).values())
    elif "error" in manifest.metrics:
        # With the clusters' published classes, not those that this precision would give them.
        classes = torch.tensor(manifest.metrics.get("clusters", range(len(manifest.labels))))
        found["error"] = percent_wrong(
            classes[probabilities(graphs, dataset.test_images).argmax(1)], dataset.test_labels
        )
    return {name: found[name] for name in ("mse", "error", "frechet") if name in found}


def verdict(
    ratio: float,
    faster: Mapping[int, float],
    found: Mapping[str, float],
    was: Mapping[str, float],
    loss: float = LOSS,
) -> str:
    """Why a variant is not published, or what it wins.

    `ratio` is its bytes over float32's, `faster` is how many times as fast it is at each batch size, `found` and `was`
    are the test metrics with it and without. No metric may be worse by more than the share `loss`, and an error by
    0.1 points more than that. The variant must be at least 1.2 times as fast at some batch size or have at most half
    the bytes. A variant of float16 is not timed, as it wins on GPUs only: for it `faster` is empty.
    """
    for name, value in was.items():
        if found[name] > value * (1 + loss) + (ERROR_SLACK if name == "error" else 0):
            return f"not published: {name} {found[name]:.4g} instead of {value:.4g}"
    if not faster:
        return "published: for GPUs, not timed on one"
    best = max(faster.values())
    if best >= FASTER:
        return f"published: {best:.1f} times as fast"
    if ratio <= SMALLER:
        return f"published: {ratio:.0%} of the bytes"
    return f"not published: at most {best:.2f} times as fast, {ratio:.0%} of the bytes"


def speedups(plain: CheckedGraph, variant: CheckedGraph, inputs: Arrays) -> dict[int, float]:
    """How many times as fast the variant is as the plain graph, on one thread, at batches of 1 and 64.

    Both are measured in turn; the figure is the median of the pairs' ratios.
    """
    sessions = [open_session(graph, device="cpu", threads=1) for graph in (plain, variant)]
    found = {}
    for batch, repeat in ((1, 100), (64, 10)):
        given = {name: values[:batch] for name, values in inputs.items()}
        ratios = []
        for _ in range(SPEED_PAIRS):
            a, b = (_seconds(session, given, repeat) for session in sessions)
            ratios.append(a / b)
        found[batch] = statistics.median(ratios)
    return found


def _seconds(session: Any, inputs: Arrays, repeat: int) -> float:
    session.run(None, inputs)
    started = time.perf_counter()
    for _ in range(repeat):
        session.run(None, inputs)
    return time.perf_counter() - started


def _plain(content: bytes) -> ModelProto:
    """The graph with its weights stored as float32, as tools that rewrite graphs want them."""
    model = onnx.load_from_string(content)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
            stored[node.input[0]].CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _float16(content: bytes) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = _plain(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights too small for float16 become zeros
        variant = convert_float_to_float16(model, keep_io_types=True)
    # The converter puts the casts of the inputs after the nodes that take them.
    nodes = sorted(variant.graph.node, key=lambda node: not node.name.startswith("graph_input_cast"))
    del variant.graph.node[:]
    variant.graph.node.extend(nodes)
    return _tidy(variant, model)


def _int8(content: bytes, inputs: Arrays) -> ModelProto:
    """Static quantisation (QDQ): weights in int8 by channel, activations in uint8 between their extremes."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it comes without types
        """The inputs in batches."""

        def __init__(self) -> None:
            self.batches = _batches(inputs)

        def get_next(self) -> Arrays | None:
            return next(self.batches, None)

    model = _plain(content)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends a preparation that changes nothing here
    try:
        with scratch_folder() as folder:
            source, target = folder / "plain.onnx", folder / "int8.onnx"
            onnx.save(model, source)
            quantize_static(
                source,
                target,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return _tidy(onnx.load(target), model)
    finally:
        logging.disable(disabled)


def _batches(inputs: Arrays) -> Iterator[Arrays]:
    for start in range(0, len(next(iter(inputs.values()))), _BATCH):
        yield {name: values[start : start + _BATCH] for name, values in inputs.items()}


def _tidy(variant: ModelProto, model: ModelProto) -> ModelProto:
    """A rewritten graph without the rewriter's name and notes, its metadata and opset as they were."""
    variant.producer_name, variant.producer_version, variant.doc_string = model.producer_name, "", ""
    variant.ir_version = model.ir_version
    del variant.metadata_props[:], variant.graph.value_info[:]
    variant.metadata_props.extend(model.metadata_props)
    kept = [(entry.domain, entry.version) for entry in variant.opset_import if entry.domain in ("", "ai.onnx")]
    assert kept == [("", OPSET)]  # noqa: S101 - the rewriters keep the opset
    del variant.opset_import[:]
    variant.opset_import.extend(model.opset_import)
    return variant
