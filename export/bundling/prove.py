"""The graphs of a bundle: written, searched for their worst inputs, and passed through the parity gate."""

import copy
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from aae_zoo.export.bundling.graphs import to_onnx
from aae_zoo.export.bundling.source import Source, say
from aae_zoo.export.proof.gate import failures
from aae_zoo.export.proof.golden import References, golden_file, golden_inputs, references, save_npz
from aae_zoo.export.proof.layers import first_difference
from aae_zoo.export.proof.search import worst_input
from aae_zoo.runtime.bundles.graph_check import check_graph
from aae_zoo.runtime.bundles.graph_metadata import graph_metadata
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.names import DETECTOR
from aae_zoo.runtime.checks.parity import golden_of
from aae_zoo.runtime.errors import InvalidBundle, InvalidInput, ParityError, python_for
from aae_zoo.runtime.files import scratch_folder
from aae_zoo.zoo.training.lite import LiteDecoder

# The lite decoder keeps every eighth golden row: a bundle has a budget.
_LITE_ROWS: Final = 8


def write_graphs(folder: Path, source: Source, manifest: Manifest) -> dict[str, Any]:
    """Write graphs and golden outputs, and pass them through the gate; return its report."""
    networks, inputs = source.networks, golden_inputs(source.prior, source.dataset.test_images)
    inputs = {role: inputs["encoder" if role == DETECTOR else role] for role in networks}
    say("writing graphs")
    search = {}
    for role, network in networks.items():
        with torch.no_grad():
            outputs = list(network(**inputs[role]))
        # The exporter gets a copy: if it changed the module, it would change what the graph is compared with.
        content = to_onnx(copy.deepcopy(network), inputs[role], outputs, graph_metadata(manifest, role))
        _check(content, role, manifest)
        (folder / f"{role}.onnx").write_bytes(content)
        worst = worst_input(network, content, inputs[role], widths=manifest.widths)
        inputs[role] = {name: torch.cat([values, worst.inputs[name]]) for name, values in inputs[role].items()}
        search[role] = {"error": worst.error, "inputs": worst.tried}
    say("comparing them with PyTorch")
    expected = references(networks, inputs)
    report = gate(folder, expected, networks, manifest.widths)
    kept = golden_file(expected)
    if source.lite:
        kept |= _write_lite(folder, source.lite.eval(), networks, inputs, manifest, report)
    save_npz(folder / "golden.npz", kept)
    return {**report, "search": search}


def _check(content: bytes, role: str, manifest: Manifest) -> None:
    """Refuse, before it is proven, a graph that no bundle may have.

    Raises:
        InvalidInput: no bundle may have it.
    """
    try:
        check_graph(content, f"{role}.onnx", role, manifest)
    except InvalidBundle as error:
        reason = str(error).removesuffix("; do not trust this bundle")
        raise InvalidInput(
            f"the {role} becomes a graph that no bundle may have ({reason}); compute it in another way"
        ) from None


def _write_lite(
    folder: Path,
    lite: LiteDecoder,
    networks: Mapping[str, nn.Module],
    inputs: Mapping[str, Mapping[str, torch.Tensor]],
    manifest: Manifest,
    report: dict[str, Any],
) -> References:
    """Write the lite decoder's graph after the gate passed it in the decoder's place; return some golden outputs."""
    with scratch_folder() as scratch:
        for role in networks.keys() - {"decoder"}:
            shutil.copy(folder / f"{role}.onnx", scratch)
        content = to_onnx(
            lite, inputs["decoder"], ["image"], graph_metadata(manifest, "decoder") | {"precision": "lite"}
        )
        (scratch / "decoder.onnx").write_bytes(content)
        with_lite = {**networks, "decoder": lite}
        expected = references(with_lite, inputs)
        rows = gate(scratch, expected, with_lite, manifest.widths)["rows"]
    report["rows"] += [{**row, "graph": "decoder.lite"} for row in rows if row["graph"] == "decoder"]
    (folder / "decoder.lite.onnx").write_bytes(content)
    names = (*inputs["decoder"], "image")
    return {f"decoder.lite.{name}": expected[f"decoder.{name}"][::_LITE_ROWS] for name in names}


def gate(
    folder: Path, expected: References, networks: Mapping[str, nn.Module], widths: Sequence[int] = ()
) -> dict[str, Any]:
    """Run the parity gate on a folder of graphs in a process without PyTorch; return its report.

    `widths` are those of the attributes in y, as `problem_with` has them.

    Raises:
        ParityError: a comparison did not hold, or the process failed. It names the layer of the network, in
            `networks`, at which the first graph that failed begins to differ.
    """
    with scratch_folder() as scratch:
        saved = scratch / "references.npz"
        save_npz(saved, expected)
        program = [*python_for("export a model"), "-m", "aae_zoo.export.proof.gate"]
        command = [*program, str(folder), str(saved), *map(str, widths)]
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
