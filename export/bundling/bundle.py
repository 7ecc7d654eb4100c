"""A run to a bundle: rounded weights, graphs, the gate, golden outputs, pictures, card and manifest, all or nothing."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from aae_zoo.export.bundling.anomaly import Odd, anomaly_metrics, usual
from aae_zoo.export.bundling.document import describe, records
from aae_zoo.export.bundling.pictures import write_codes, write_pictures
from aae_zoo.export.bundling.prove import write_graphs
from aae_zoo.export.bundling.seeds import over_seeds
from aae_zoo.export.bundling.source import Source, open_source, say
from aae_zoo.export.bundling.variants import (
    VARIANT_ROLES,
    calibration,
    check_precisions,
    make_variant,
    quality,
    speedups,
    verdict,
)
from aae_zoo.export.card.card import describing_files
from aae_zoo.export.proof.metrics import compare_metrics
from aae_zoo.export.proof.tf32 import tf32_errors
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.manifest import Manifest, Tf32Error, parse_manifest
from aae_zoo.runtime.bundles.names import MANIFEST, ROLES, WEIGHTS
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.engine.engine import Engine
from aae_zoo.runtime.errors import CheckpointError
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.model import Model
from aae_zoo.runtime.ownership import BUNDLE
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.loading import validation_images
from aae_zoo.zoo.measure.health import problems
from aae_zoo.zoo.training.run import LABELS, Run


def export_bundle(
    run_folder: Path,
    out: Path,
    *,
    data: Path | Dataset | None = None,
    replace: bool = False,
    seeds: Sequence[Path] = (),
    variants: Sequence[str] = (),
    anyway: bool = False,
    false_alarms: float | None = None,
    odd: Odd | None = None,
) -> Manifest:
    """Export a finished run to the bundle folder `out`, which appears whole or not at all.

    `seeds` are runs of the same recipe with other seeds, whose figures are given beside those of this one. `variants`
    are precisions, of `variants.VARIANT_PRECISIONS`, whose graphs are added if they win something. If the run has a
    lite decoder, so has the bundle. A run whose training failed is exported only with `anyway`; without `data`, its
    folder or the data set itself, the data are those that it was trained with. The anomaly score is set for a share of
    `false_alarms`, else as `score_limits` does without one, and measured on `odd` images.

    Raises:
        CheckpointError: a run is missing, unfinished or damaged, or its training failed, or one of `seeds` is of
            another recipe.
        InvalidInput: one of `variants` is not such a precision.
        DatasetError: a data set that the exported model is measured on is missing or damaged, or is not the one that
            the run was trained on.
        ParityError: an exported graph does not equal the PyTorch model.
        OutputError: `out` exists and `replace` is false, or holds anything but a bundle as aae-zoo wrote it, or cannot
            be written.
    """
    check_precisions(variants)
    run = Run.open(run_folder)
    others = {"over_seeds": over_seeds(run, seeds)} if seeds else {}
    source = open_source(run, data, false_alarms)

    def check(metrics: Mapping[str, Any]) -> None:
        if not anyway and (found := problems(metrics)):
            raise CheckpointError(
                f"the training of {run.folder} failed, export it with --anyway only: {'; '.join(found)}"
            )

    return write_bundle(
        source, out, check, variants=variants, replace=replace, others=others, false_alarms=false_alarms, odd=odd
    )


def write_bundle(
    source: Source,
    out: Path,
    check: Callable[[Mapping[str, Any]], None],
    *,
    variants: Sequence[str],
    replace: bool,
    others: Mapping[str, Any],
    false_alarms: float | None = None,
    odd: Odd | None = None,
) -> Manifest:
    """Write the bundle `out` of a source, as `export_bundle` does of a run.

    `check` raises where the networks' figures are too bad for a bundle, `others` are figures that go with theirs.

    Raises:
        ParityError, OutputError: as for `export_bundle`, and what `check` raises.
    """
    dataset = source.dataset
    with atomic_folder(out, BUNDLE, replace=replace) as folder:
        say(f"measuring {source.words.name} on {len(dataset.test_images)} test images")
        manifest = describe(source)
        check(manifest.metrics)
        parity = write_graphs(folder, source, manifest)
        manifest = manifest._replace(tf32=_tf32(folder, source, manifest))
        say("measuring the graphs")
        parity["metrics"] = compare_metrics(source.networks, folder, dataset, source.settings, manifest)
        if variants:
            say("making and measuring variants")
            manifest = _with_variants(folder, source, manifest, variants)
        exported = _exported(folder, manifest)
        say("drawing pictures")
        write_pictures(folder, exported, dataset, source.prior)
        write_codes(folder, exported, dataset)
        say("scoring anomalies")
        limits = usual(exported, validation_images(source.settings, dataset), false_alarms)
        manifest = manifest._replace(score=limits)
        metrics = {**manifest.metrics, **anomaly_metrics(_exported(folder, manifest), dataset, odd), **others}
        return _complete(folder, source, manifest._replace(metrics=metrics), parity, out)


def _complete(folder: Path, source: Source, manifest: Manifest, parity: Mapping[str, Any], out: Path) -> Manifest:
    """Write the rest of a bundle, the manifest last, as it names all other files; return it as it is read back."""
    _write_weights(folder, source)
    # On one line: a report of all comparisons is for programs, and the card has what people look for.
    _write_json(folder / "parity.json", parity, indent=None)
    described = manifest._replace(files=records(folder))
    for name, text in describing_files(described, parity).items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    whole = manifest._replace(files=records(folder))
    _write_json(folder / MANIFEST, whole.to_document())
    return parse_manifest((folder / MANIFEST).read_bytes(), str(out))


def _tf32(folder: Path, source: Source, manifest: Manifest) -> tuple[Tf32Error, ...]:
    """What TF32 does to each of the graphs in float32, by their networks."""
    networks: dict[tuple[str, str], nn.Module] = {(role, "fp32"): each for role, each in source.networks.items()}
    if source.lite:
        networks["decoder", "lite"] = source.lite
    return tf32_errors(networks, read_golden(_bundle(folder, manifest)))


def _write_weights(folder: Path, source: Source) -> None:
    """Write PyTorch's weights, to fine-tune from, and which labels they know; what judged them stays with the run."""
    state = {name: v for name, v in source.whole.state_dict().items() if name.partition(".")[0] in ROLES}
    weights = {name: _half(v).contiguous() for name, v in state.items()}
    (folder / WEIGHTS).write_bytes(save(weights, dict(source.whole_of)))
    if source.known is not None:
        (folder / LABELS).write_text(json.dumps(source.known) + "\n", "utf-8", newline="\n")


def _half(values: Tensor) -> Tensor:
    """The same values in float16, where they are floating and it holds them exactly, as it does rounded weights."""
    half = values.half() if values.is_floating_point() else values
    return half if torch.equal(half.to(values.dtype), values) else values


def _with_variants(folder: Path, source: Source, manifest: Manifest, precisions: Sequence[str]) -> Manifest:
    """Write the graphs of other precisions, say what each wins, and keep the good ones: the manifest with them."""
    was = quality(_bundle(folder, manifest), source.dataset)
    given = calibration(_exported(folder, manifest), source.dataset.train_images.numpy())
    for precision, role in itertools.product(precisions, VARIANT_ROLES):
        content, path = (folder / f"{role}.onnx").read_bytes(), folder / f"{role}.{precision}.onnx"
        path.write_bytes(make_variant(content, precision, given[role]))
        # Judged together with the graph of that precision that is published already, as they will be used together.
        graphs = {**manifest.graphs, role: {**manifest.graphs[role], precision: path.name}}
        with_it = manifest._replace(graphs=graphs)
        bundle = _bundle(folder, with_it)
        found = quality(bundle, source.dataset, precision)
        plain, variant = (read_graph(bundle, role, which) for which in ("fp32", precision))
        faster = {} if precision == "fp16" else speedups(plain, variant, given[role])
        said = verdict(path.stat().st_size / len(content), faster, found, was)
        say(f"{path.name}: {said}")
        if said.startswith("published"):
            figures = {**manifest.metrics.get("variants", {}), path.stem: {**found, "float32": was}}
            manifest = with_it._replace(metrics={**manifest.metrics, "variants": figures})
        else:
            path.unlink()
    return manifest


def _bundle(folder: Path, manifest: Manifest) -> Bundle:
    """The bundle as far as it has been written."""
    return Bundle(folder, manifest._replace(files=records(folder)), "")


def _exported(folder: Path, manifest: Manifest) -> Model:
    """The model of the bundle as far as it has been written, so that its own graphs draw and measure."""
    return Model(Engine(_bundle(folder, manifest), device="cpu"))


def _write_json(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    path.write_text(json.dumps(content, indent=indent) + "\n", "utf-8", newline="\n")
