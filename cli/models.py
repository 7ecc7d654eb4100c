"""aae-zoo list, info and doctor: what there is, and whether it is as it should be.

Only doctor imports ONNX Runtime.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aae_zoo.cli.options import Json, Name
from aae_zoo.cli.printing import print_json, print_rows, print_table
from aae_zoo.runtime.bundles.names import OWN_MODULES, metric_text
from aae_zoo.runtime.documents import as_document
from aae_zoo.runtime.errors import ModelNotFound
from aae_zoo.runtime.store.catalogue import CatalogueEntry, find_model, list_models, place_of, where

if TYPE_CHECKING:
    from aae_zoo.runtime.bundles.bundle import Bundle
    from aae_zoo.runtime.bundles.manifest import Preparation
    from aae_zoo.runtime.checks.doctor import Finding


def list_(
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help="Only models whose names match this, such as 'mnist-*'.")
    ] = None,
    json: Json = False,
) -> None:
    """List the models of the catalogue."""
    entries = list_models("*" if pattern is None else pattern)
    if not entries:
        raise ModelNotFound(f"no model of the catalogue is called {pattern!r}; aae-zoo list shows all")
    if json:
        print_json([entry._asdict() for entry in entries])
        return
    print_table(["name", "where", "size", "mse", "frechet", "description"], list(map(_entry_row, entries)))


def info(name: Name, json: Json = False) -> None:
    """Show what a model is: its shapes, metrics, files and origin."""
    bundle = find_model(name)
    manifest = bundle.manifest
    if json:
        print_json({"folder": str(bundle.folder), **as_document(manifest)})
        return
    metrics = {f"metric {key}": metric_text(value) for key, value in manifest.metrics.items()}
    facts = {
        "name": f"{manifest.name} {manifest.version}",
        "title": manifest.title,
        "description": manifest.description,
        "folder": f"{bundle.folder} ({where(bundle)})",
        "licence": manifest.licence or "not stated",
        "data set": f"{manifest.dataset} (licence: {manifest.data_licence or 'not stated'})",
        "pictures": _preparation_text(manifest.preparation),
        "image": str(manifest.image),
        "latent code": f"{manifest.latent}-D, from {manifest.noise}-D noise",
        **{f"attribute {each.name}": ", ".join(each.labels) for each in manifest.attributes},
        **({} if manifest.attributes else {"labels": ", ".join(manifest.labels) or "none"}),
        **metrics,
        **_origin(manifest.provenance),
        **{f"file {file}": _file_text(bundle, file) for file in manifest.files},
    }
    print_rows(list(facts.items()))


def doctor(json: Json = False) -> None:
    """Show what is installed, and what mends each fault."""
    from aae_zoo.runtime.checks.doctor import diagnose

    findings = diagnose()
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_rows([row for finding in findings for row in _finding_rows(finding)])
    if any(finding.mend for finding in findings):
        raise typer.Exit(1)


def _entry_row(entry: CatalogueEntry) -> list[str]:
    frechet = metric_text(entry.metrics["frechet"]) if "frechet" in entry.metrics else ""
    size, mse = f"{entry.size / 1e6:.1f} MB", f"{entry.metrics['mse']:.4f}"
    return [entry.name, place_of(entry), size, mse, frechet, entry.description]


def _finding_rows(finding: "Finding") -> list[list[str]]:
    if finding.mend is None:
        return [["ok", finding.name, finding.found]]
    return [["FAULT", finding.name, finding.found], ["", "", f"mend: {finding.mend}"]]


def _preparation_text(preparation: "Preparation") -> str:
    range_ = "all values of a file" if preparation.range is None else "values {} to {}".format(*preparation.range)
    return f"{preparation.fit} to size, on {preparation.ground}, {preparation.polarity} ground, {range_}"


def _origin(provenance: Mapping[str, Any]) -> dict[str, str]:
    if provenance.get("source") == OWN_MODULES:
        return {"made of": OWN_MODULES, "from": str(provenance.get("origin") or "not stated")}
    commit = provenance.get("commit")  # None where aae-zoo ran from no checkout
    return {"trained by": str(provenance.get("command"))} | ({"at commit": str(commit)} if commit else {})


def _file_text(bundle: "Bundle", name: str) -> str:
    return f"{bundle.manifest.files[name].size:,} bytes{'' if (bundle.folder / name).exists() else ', left out here'}"
