"""A run to a bundle: rounded weights, graphs, the gate, golden outputs, pictures, card and manifest, all or nothing."""

import copy
import dataclasses
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save
from torch import nn

from aae_zoo.export.anomaly import anomaly_metrics, usual
from aae_zoo.export.card import model_card
from aae_zoo.export.gate import failures
from aae_zoo.export.golden import References, golden_file, golden_inputs, references, save_npz
from aae_zoo.export.graphs import round_weights, to_onnx
from aae_zoo.export.layers import first_difference
from aae_zoo.export.pictures import write_codes, write_pictures
from aae_zoo.export.search import worst_input
from aae_zoo.export.seeds import over_seeds
from aae_zoo.export.through import compare_metrics
from aae_zoo.export.variants import ROLES as VARIANT_ROLES
from aae_zoo.export.variants import calibration, check_precisions, make_variant, quality, speedups, verdict
from aae_zoo.runtime.bundle import Bundle
from aae_zoo.runtime.errors import DatasetError, ParityError
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.manifest import ROLES, SCHEMA, WEIGHTS, Manifest, ScoreLimits, parse_manifest
from aae_zoo.runtime.model import Model
from aae_zoo.runtime.ownership import BUNDLE
from aae_zoo.runtime.parity import golden_of
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data import Dataset, load_data, validation_images
from aae_zoo.zoo.lite import LiteDecoder, load_lite, measure_lite
from aae_zoo.zoo.metrics import measure
from aae_zoo.zoo.objectives import BaseObjective
from aae_zoo.zoo.provenance import versions
from aae_zoo.zoo.run import LABELS, Run
from aae_zoo.zoo.training import load_model

# Of the golden rows the lite decoder keeps every eighth: a bundle has a budget.
_LITE_ROWS: Final = 8


@dataclass(frozen=True)
class _Source:
    """What a bundle is made from."""

    run: Run
    facts: Mapping[str, Any]
    dataset: Dataset
    model: Autoencoder
    objective: BaseObjective
    lite: LiteDecoder | None


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
        OutputError: `out` exists and `replace` is false, or holds anything but a bundle as aae-zoo wrote it, or cannot
            be written.
    """
    check_precisions(variants)
    run = Run.open(run_folder)
    others = {"over_seeds": over_seeds(run, seeds)} if seeds else {}
    source = _source(run, data)
    dataset, model = source.dataset, source.model
    with atomic_folder(out, BUNDLE, replace=replace) as folder:
        _say(f"measuring {run.recipe.name} on {len(dataset.test_images)} test images")
        document = _document(source)
        networks = _networks(source)
        parity = _write_graphs(folder, source, networks, document)
        _say("measuring the graphs")
        parity["metrics"] = compare_metrics(model, networks, folder, dataset, run.recipe, document["metrics"])
        document["files"] = _records(folder)
        if variants:
            _say("making and measuring variants")
            _write_variants(folder, source, document, variants)
        exported = _exported(folder, document)
        _say("drawing pictures")
        write_pictures(folder, exported, dataset, model.prior)
        write_codes(folder, exported, dataset)
        _say("scoring anomalies")
        document["score"] = usual(exported, validation_images(run.recipe.data, dataset))
        exported.manifest = dataclasses.replace(exported.manifest, score=ScoreLimits(**document["score"]))
        document["metrics"] |= anomaly_metrics(exported, dataset) | others
        return _complete(folder, source, document, parity, out)


def _complete(
    folder: Path, source: _Source, document: dict[str, Any], parity: Mapping[str, Any], out: Path
) -> Manifest:
    """Write what is left of a bundle, the manifest last, since it names all other files; the manifest as it is read."""
    _write_weights(folder, source)
    # On one line: a report of all comparisons is for programs, and the card has what people look for.
    _write_json(folder / "parity.json", parity, indent=None)
    document["files"] = _records(folder)
    (folder / "README.md").write_text(model_card(document, parity), "utf-8")
    document["files"] = _records(folder)
    _write_json(folder / "manifest.json", document)
    return parse_manifest((folder / "manifest.json").read_bytes(), str(out))


def _write_weights(folder: Path, source: _Source) -> None:
    """Write PyTorch's weights, to fine-tune from, and which labels they know."""
    run, state = source.run, source.objective.state_dict()
    weights = {name: (v.half() if v.is_floating_point() else v).contiguous() for name, v in state.items()}
    (folder / WEIGHTS).write_bytes(save(weights, {"recipe_sha256": run.recipe.sha256}))
    if (run.folder / LABELS).exists():
        (folder / LABELS).write_text(json.dumps(run.read_json(LABELS)) + "\n", "utf-8")


def _source(run: Run, data: Path | None) -> _Source:
    """A finished run with the data that it was trained on, and its networks with their weights rounded."""
    facts, dataset = run.read_json("run.json"), load_data(run.recipe.data, data)
    if dataset.md5s != facts["dataset_md5"]:
        raise DatasetError(
            f"{dataset.name} is not the data that {run.folder} was trained on: its files have the md5s "
            f"{', '.join(dataset.md5s.values())}, expected {', '.join(facts['dataset_md5'].values())}; "
            "give it with --data"
        )
    model, objective = load_model(run, dataset.image_shape)
    round_weights(objective)
    if lite := load_lite(run, dataset.image_shape):
        round_weights(lite)
    return _Source(run, facts, dataset, model, objective, lite)


def _say(what: str) -> None:
    """What is done now, on stderr: all of it takes half a minute."""
    sys.stderr.write(f"export: {what}\n")


def gate(folder: Path, expected: References, networks: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Run the parity gate on a folder of graphs in a process without PyTorch: its report.

    Raises:
        ParityError: a comparison did not hold, or the process failed. It names the layer of the network, in
            `networks`, at which the first graph that failed begins to differ.
    """
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "references.npz"
        save_npz(saved, expected)
        command = [sys.executable, "-m", "aae_zoo.export.gate", str(folder), str(saved)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        raise ParityError(f"the parity gate could not run: {(result.stderr.splitlines() or ['no message'])[-1]}")
    report: dict[str, Any] = json.loads(result.stdout)
    if problems := failures(report):
        role = next(row["graph"] for row in report["rows"] if not row["passed"])
        inputs = {name: torch.from_numpy(values) for name, values in golden_of(role, expected)[0].items()}
        path = folder / f"{role}.onnx"
        where = first_difference(networks[role], inputs, path.read_bytes()) if path.exists() else "there is no graph"
        raise ParityError(
            f"{len(problems)} of {len(report['rows'])} comparisons with PyTorch failed, no bundle was written; "
            f"the first: {problems[0]}; {where}"
        )
    return report


def _document(source: _Source) -> dict[str, Any]:
    """The manifest without its files. The metrics are those of the rounded weights, on the test set."""
    recipe, prior = source.run.recipe, source.model.prior
    channels, height, width = source.dataset.image_shape
    networks = dict(source.objective.named_children())
    return {
        "schema": SCHEMA,
        "name": recipe.name,
        "version": recipe.version,
        "title": recipe.title,
        "description": recipe.description,
        "licence": recipe.licence,
        "dataset": recipe.data.dataset,
        "image": {"channels": channels, "height": height, "width": width},
        "latent": prior.latent,
        "noise": prior.noise,
        "labels": _labels(source),
        "label_coordinate": prior.label_coordinate,
        "choices": list(prior.choices),
        "graphs": {
            **{role: {"fp32": f"{role}.onnx"} for role in ROLES},
            **({"decoder": {"fp32": "decoder.onnx", "lite": "decoder.lite.onnx"}} if source.lite else {}),
        },
        "files": {},
        "metrics": {
            **measure(source.model, source.dataset, recipe),
            "parameters": {n: count for n, m in networks.items() if (count := sum(p.numel() for p in m.parameters()))},
            "training_seconds": source.facts["training_seconds"],
            **({"paper": recipe.paper.model_dump()} if recipe.paper else {}),
            **({"variants": _lite_metrics(source, source.lite)} if source.lite else {}),
        },
        "provenance": {**source.facts, "recipe": recipe.to_toml(), "export_versions": versions()},
    }


class _Encoder(nn.Module):
    """Images to codes by name: what the encoder's graph computes."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.model.encode(image)


def _labels(source: _Source) -> list[str]:
    """The names of the prior's classes: the data set's, or where they were found without labels, their numbers."""
    classes = source.model.prior.classes
    if source.run.recipe.data.labels:
        return list(source.dataset.label_names)[:classes]
    return [f"cluster {k}" for k in range(classes)]


def _networks(source: _Source) -> dict[str, nn.Module]:
    """What each graph is made from, by its role."""
    model = source.model
    networks: dict[str, nn.Module] = {"encoder": _Encoder(model), "decoder": model.decoder, "prior": model.prior}
    return {role: network.eval() for role, network in networks.items()}


def _write_graphs(
    folder: Path, source: _Source, networks: Mapping[str, nn.Module], document: Mapping[str, Any]
) -> dict[str, Any]:
    """Write graphs and golden outputs, and pass them through the gate: its report."""
    inputs = golden_inputs(source.model, source.dataset.test_images)
    _say("writing graphs")
    search = {}
    for role, network in networks.items():
        with torch.no_grad():
            outputs = list(network(**inputs[role]))
        # The exporter gets a copy: were it to change the module, it would change what it is compared with.
        content = to_onnx(copy.deepcopy(network), inputs[role], outputs, _metadata(document, role))
        (folder / f"{role}.onnx").write_bytes(content)
        worst = worst_input(network, content, inputs[role])
        inputs[role] = {name: torch.cat([values, worst.inputs[name]]) for name, values in inputs[role].items()}
        search[role] = {"error": worst.error, "inputs": worst.tried}
    _say("comparing them with PyTorch")
    expected = references(networks, inputs)
    report = gate(folder, expected, networks)
    kept = golden_file(expected)
    if source.lite:
        kept |= _write_lite(folder, source.lite.eval(), networks, inputs, document, report)
    save_npz(folder / "golden.npz", kept)
    return {**report, "search": search}


def _write_lite(
    folder: Path,
    lite: LiteDecoder,
    networks: Mapping[str, nn.Module],
    inputs: Mapping[str, Mapping[str, torch.Tensor]],
    document: Mapping[str, Any],
    report: dict[str, Any],
) -> References:
    """Write the lite decoder's graph, passed through the gate in the decoder's place: some of its golden outputs."""
    with tempfile.TemporaryDirectory() as scratch:
        for role in ("encoder", "prior"):
            shutil.copy(folder / f"{role}.onnx", scratch)
        content = to_onnx(lite, inputs["decoder"], ["image"], _metadata(document, "decoder") | {"precision": "lite"})
        (Path(scratch) / "decoder.onnx").write_bytes(content)
        with_lite = {**networks, "decoder": lite}
        expected = references(with_lite, inputs)
        rows = gate(Path(scratch), expected, with_lite)["rows"]
    report["rows"] += [{**row, "graph": "decoder.lite"} for row in rows if row["graph"] == "decoder"]
    (folder / "decoder.lite.onnx").write_bytes(content)
    names = (*inputs["decoder"], "image")
    return {f"decoder.lite.{name}": expected[f"decoder.{name}"][::_LITE_ROWS] for name in names}


def _lite_metrics(source: _Source, lite: LiteDecoder) -> dict[str, Any]:
    return {"decoder.lite": measure_lite(source.model, lite, source.dataset, source.run)}


def _write_variants(folder: Path, source: _Source, document: dict[str, Any], precisions: Sequence[str]) -> None:
    """Write the graphs of other precisions that win something, and tell of all of them."""
    plain = _exported(folder, document)
    was = quality(plain, source.dataset)
    given = calibration(plain, source.dataset.train_images.numpy())
    for precision, role in itertools.product(precisions, VARIANT_ROLES):
        content, path = (folder / f"{role}.onnx").read_bytes(), folder / f"{role}.{precision}.onnx"
        path.write_bytes(make_variant(content, precision, given[role]))
        # Judged together with what of that precision is published already, as it will be used.
        graphs = {**document["graphs"], role: {**document["graphs"][role], precision: path.name}}
        with_it = {**document, "graphs": graphs, "files": _records(folder)}
        found = quality(_exported(folder, with_it, precision), source.dataset)
        faster = {} if precision == "fp16" else speedups(content, path.read_bytes(), given[role])
        said = verdict(path.stat().st_size / len(content), faster, found, was)
        _say(f"{path.name}: {said}")
        if said.startswith("published"):
            document["graphs"][role][precision] = path.name
            document["metrics"].setdefault("variants", {})[path.stem] = {**found, "float32": was}
        else:
            path.unlink()
    document["files"] = _records(folder)


def _metadata(document: Mapping[str, Any], role: str) -> dict[str, str]:
    """What one graph alone must tell a program that embeds it; a list is JSON, nothing is an empty text."""
    coordinate = document["label_coordinate"]
    return {
        "name": document["name"],
        "version": document["version"],
        "role": role,
        "image_shape": json.dumps(list(document["image"].values())),
        "latent": str(document["latent"]),
        "noise": str(document["noise"]),
        "classes": str(len(document["labels"])),
        "labels": json.dumps(document["labels"]),
        "label_coordinate": "" if coordinate is None else str(coordinate),
        "dataset": document["dataset"],
        "licence": document["licence"],
    }


def _exported(folder: Path, document: Mapping[str, Any], precision: str = "fp32") -> Model:
    """The model that a bundle becomes, as far as it is written: its own graphs draw and measure."""
    manifest = parse_manifest(json.dumps(document).encode(), str(folder))
    return Model(Bundle(folder, manifest, ""), device="cpu", threads=None, precision=precision)


def _records(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }


def _write_json(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    path.write_text(json.dumps(content, indent=indent) + "\n", "utf-8")
