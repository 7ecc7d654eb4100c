"""A run to a bundle: rounded weights, graphs, the gate, golden outputs, pictures, card and manifest, all or nothing."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save

from aae_zoo.export.bundling.anomaly import anomaly_metrics, usual
from aae_zoo.export.bundling.document import describe, records
from aae_zoo.export.bundling.pictures import write_codes, write_pictures
from aae_zoo.export.bundling.prove import networks_of, write_graphs
from aae_zoo.export.bundling.seeds import over_seeds
from aae_zoo.export.bundling.source import Source, open_source, say
from aae_zoo.export.bundling.variants import ROLES as VARIANT_ROLES
from aae_zoo.export.bundling.variants import calibration, check_precisions, make_variant, quality, speedups, verdict
from aae_zoo.export.card.card import model_card
from aae_zoo.export.proof.metrics import compare_metrics
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.manifest import WEIGHTS, Manifest, ScoreLimits, parse_manifest
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.model import Model
from aae_zoo.zoo.data.loading import validation_images
from aae_zoo.zoo.training.run import LABELS, Run


def export_bundle(
    run_folder: Path,
    out: Path,
    *,
    data: Path | None = None,
    replace: bool = False,
    seeds: Sequence[Path] = (),
    variants: Sequence[str] = (),
) -> Manifest:
    """Export a finished run to the bundle folder `out`, which appears whole or not at all.

    `seeds` are runs of the same recipe with other seeds, whose figures are given beside those of this one. `variants`
    are precisions, of `variants.PRECISIONS`, whose graphs are added where they win something. A run with a lite
    decoder gives a bundle with it.

    Raises:
        CheckpointError: a run is missing, unfinished or damaged, or one of `seeds` is of another recipe.
        InvalidInput: one of `variants` is none that there is.
        DatasetError: a data set that the exported model is measured on is missing or damaged, or is not the one that
            the run was trained on.
        ParityError: an exported graph does not equal the PyTorch model.
        OutputError: `out` exists and `replace` is false, or cannot be written.
    """
    check_precisions(variants)
    run = Run.open(run_folder)
    others = {"over_seeds": over_seeds(run, seeds)} if seeds else {}
    source = open_source(run, data)
    dataset, model = source.dataset, source.model
    with atomic_folder(out, replace=replace) as folder:
        say(f"measuring {run.recipe.name} on {len(dataset.test_images)} test images")
        document = describe(source)
        networks = networks_of(source)
        parity = write_graphs(folder, source, networks, document)
        say("measuring the graphs")
        parity["metrics"] = compare_metrics(model, networks, folder, dataset, run.recipe, document["metrics"])
        document["files"] = records(folder)
        if variants:
            say("making and measuring variants")
            _write_variants(folder, source, document, variants)
        exported = _exported(folder, document)
        say("drawing pictures")
        write_pictures(folder, exported, dataset, model.prior)
        write_codes(folder, exported, dataset)
        say("scoring anomalies")
        document["score"] = usual(exported, validation_images(run.recipe.data, dataset))
        exported.manifest = dataclasses.replace(exported.manifest, score=ScoreLimits(**document["score"]))
        document["metrics"] |= anomaly_metrics(exported, dataset) | others
        return _complete(folder, source, document, parity, out)


def _complete(folder: Path, source: Source, document: dict[str, Any], parity: Mapping[str, Any], out: Path) -> Manifest:
    """Write what is left of a bundle, the manifest last, since it names all other files; the manifest as it is read."""
    _write_weights(folder, source)
    # On one line: a report of all comparisons is for programs, and the card has what people look for.
    _write_json(folder / "parity.json", parity, indent=None)
    document["files"] = records(folder)
    (folder / "README.md").write_text(model_card(document, parity), "utf-8")
    document["files"] = records(folder)
    _write_json(folder / "manifest.json", document)
    return parse_manifest((folder / "manifest.json").read_bytes(), str(out))


def _write_weights(folder: Path, source: Source) -> None:
    """Write PyTorch's weights, to fine-tune from, and which labels they know."""
    run, state = source.run, source.objective.state_dict()
    weights = {name: (v.half() if v.is_floating_point() else v).contiguous() for name, v in state.items()}
    (folder / WEIGHTS).write_bytes(save(weights, {"recipe_sha256": run.recipe.sha256}))
    if (run.folder / LABELS).exists():
        (folder / LABELS).write_text(json.dumps(run.read_json(LABELS)) + "\n", "utf-8")


def _write_variants(folder: Path, source: Source, document: dict[str, Any], precisions: Sequence[str]) -> None:
    """Write the graphs of other precisions that win something, and tell of all of them."""
    plain = _exported(folder, document)
    was = quality(plain, source.dataset)
    given = calibration(plain, source.dataset.train_images.numpy())
    for precision, role in itertools.product(precisions, VARIANT_ROLES):
        content, path = (folder / f"{role}.onnx").read_bytes(), folder / f"{role}.{precision}.onnx"
        path.write_bytes(make_variant(content, precision, given[role]))
        # Judged together with what of that precision is published already, as it will be used.
        graphs = {**document["graphs"], role: {**document["graphs"][role], precision: path.name}}
        with_it = {**document, "graphs": graphs, "files": records(folder)}
        found = quality(_exported(folder, with_it, precision), source.dataset)
        faster = {} if precision == "fp16" else speedups(content, path.read_bytes(), given[role])
        said = verdict(path.stat().st_size / len(content), faster, found, was)
        say(f"{path.name}: {said}")
        if said.startswith("published"):
            document["graphs"][role][precision] = path.name
            document["metrics"].setdefault("variants", {})[path.stem] = {**found, "float32": was}
        else:
            path.unlink()
    document["files"] = records(folder)


def _exported(folder: Path, document: Mapping[str, Any], precision: str = "fp32") -> Model:
    """The model that a bundle becomes, as far as it is written: its own graphs draw and measure."""
    manifest = parse_manifest(json.dumps(document).encode(), str(folder))
    return Model(Bundle(folder, manifest, ""), device="cpu", threads=None, precision=precision)


def _write_json(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    path.write_text(json.dumps(content, indent=indent) + "\n", "utf-8")
