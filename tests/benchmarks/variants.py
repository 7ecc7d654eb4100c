"""Make every variant of the shipped models, measure its speed, size and quality, and write the table.

    python tests/benchmarks/variants.py docs/variants.md [NAMES...]

Speed is the median of ratios of calls taken in turn, on one thread; quality is the test metrics through ONNX Runtime.
Needs the models' data sets where aae-zoo train finds them.
"""

import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from aae_zoo.export.bundling.variants import (
    ERROR_SLACK,
    FASTER,
    LITE_LOSS,
    LOSS,
    SMALLER,
    SPEED_PAIRS,
    VARIANT_PRECISIONS,
    VARIANT_ROLES,
    calibration,
    make_variant,
    quality,
    speedups,
    verdict,
)
from aae_zoo.runtime import Model, list_models
from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.names import MAX_FILE_BYTES
from aae_zoo.runtime.engine.engine import Engine
from aae_zoo.runtime.files import atomic_file
from aae_zoo.runtime.store.catalogue import SHIPPED
from aae_zoo.zoo.bundled.networks import recipe_of
from aae_zoo.zoo.data.loading import load_data


@dataclass(frozen=True, kw_only=True)
class Candidate(Bundle):
    """A shipped bundle with one graph more, `content`, in the place of a file."""

    name: str
    content: bytes

    def read(self, name: str, most: int = MAX_FILE_BYTES) -> bytes:
        return self.content if name == self.name else super().read(name, most)


def measure(bundle: Bundle) -> Iterator[str]:
    """The lines of one model's table, each printed as soon as it is measured."""
    dataset = load_data(recipe_of(bundle.manifest).data)  # with the attributes or the one class that it names
    was, given = quality(bundle, dataset), calibration(model_of(bundle), dataset.train_images.numpy())
    for role in VARIANT_ROLES:
        content = bundle.read(bundle.manifest.graph_file(role))
        yield line(bundle, role, len(content), "", {}, was, "")
        for precision, variant in variants(bundle, role, content, given):
            candidate = add(bundle, role, precision, variant)
            found = quality(candidate, dataset, precision)
            faster = speedups(read_graph(bundle, role), read_graph(candidate, role, precision), given[role])
            ratio = len(variant) / len(content)
            judged = {} if precision == "fp16" else faster
            said = verdict(ratio, judged, found, was, loss=LITE_LOSS if precision == "lite" else LOSS)
            graph = f"{role}.{precision}" + (", shipped" if precision in bundle.manifest.graphs[role] else "")
            yield line(bundle, graph, len(variant), f"{ratio:.0%}", faster, found, said)


def variants(bundle: Bundle, role: str, content: bytes, given: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The variants of a graph: made anew, but for a lite one, which is the bundle's."""
    if lite := bundle.manifest.graphs[role].get("lite"):
        yield "lite", bundle.read(lite)
    for precision in VARIANT_PRECISIONS:
        yield precision, make_variant(content, precision, given[role])


def add(bundle: Bundle, role: str, precision: str, content: bytes) -> Candidate:
    """The bundle with one graph of another precision alone."""
    name, graphs = f"{role}.{precision}.onnx", {r: {"fp32": f["fp32"]} for r, f in bundle.manifest.graphs.items()}
    manifest = bundle.manifest._replace(graphs={**graphs, role: {**graphs[role], precision: name}})
    return Candidate(bundle.folder, manifest, "", name=name, content=content)


def model_of(bundle: Bundle) -> Model:
    return Model(Engine(bundle, device="cpu"))


def line(
    bundle: Bundle,
    graph: str,
    size: int,
    ratio: str,
    faster: Mapping[int, float],
    found: Mapping[str, float],
    said: str,
) -> str:
    speeds = [f"{faster[batch]:.2f} x" if faster else "" for batch in (1, 64)]
    figures = [f"{found[name]:.4g}" if name in found else "-" for name in ("mse", "error", "frechet")]
    cells = [f"`{bundle.manifest.name}`", graph, f"{size:,}", ratio, *speeds, *figures, said]
    text = f"| {' | '.join(cells)} |"
    print(text, flush=True)
    return text


def main() -> None:
    """Measure all models, or those that are named, and write the table."""
    target, names = Path(sys.argv[1]), sys.argv[2:] or [entry.name for entry in list_models() if entry.shipped]
    lines = [text for name in names for text in measure(open_bundle(SHIPPED / name))]
    which = "some of the shipped models" if sys.argv[2:] else "the shipped models"
    text = f"""# Variants

Written by `make variants`: the graphs of {which} in other precisions, and the lite decoders. Speed is how
many times as fast as float32 the variant is, the median of {SPEED_PAIRS} pairs of measurements taken in turn on one \
thread;
MSE, error and Fréchet distance are those of the test images through ONNX Runtime, with this one graph in the place of
float32's. This table: {platform.machine()}, ONNX Runtime {ort.__version__}.

`aae-zoo export RUN -o BUNDLE --variant int8 --variant fp16` makes any of them, and publishes in the bundle those of
which no figure is more than {100 * LOSS:g} % worse, an error's by more than that and {ERROR_SLACK:g} points (a lite
decoder may lose {100 * LITE_LOSS:g} %), and which are {FASTER:g} times as fast at batch 1 or 64, or have at most
{SMALLER:.0%} of the bytes. The graphs of float32 keep their weights as float16 already, so that one of float16 is no
smaller, and on CPUs no faster, as ONNX Runtime computes most of it in float32 there: it is for GPUs, on none of which
it was timed, and is published if it is no worse. What says "shipped" comes with the package, which has room for few.

| model | graph | bytes | of float32's | speed, batch 1 | batch 64 | MSE | error | Fréchet | verdict |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}
"""
    with atomic_file(target) as temporary:
        temporary.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
