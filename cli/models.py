"""aae-zoo list, info, check and doctor: what there is, and whether it is as it should be.

Only check and doctor import ONNX Runtime.
"""

from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from aae_zoo.cli.options import Json, Name
from aae_zoo.cli.printing import note, print_json, print_table, say
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.manifest import Preparation, metric_text
from aae_zoo.runtime.errors import ModelNotFound
from aae_zoo.runtime.store.catalogue import find_model, list_models, place_of, where

if TYPE_CHECKING:
    from aae_zoo.runtime.checks.check import Verdict


def list_(
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help="Only those of such names, as 'mnist-*'.")
    ] = None,
    json: Json = False,
) -> None:
    """List the models of the catalogue."""
    entries = [entry for entry in list_models() if fnmatchcase(entry.name, "*" if pattern is None else pattern)]
    if not entries:
        raise ModelNotFound(f"no model of the catalogue is called {pattern!r}; aae-zoo list shows all")
    if json:
        print_json([asdict(entry) for entry in entries])
        return
    rows = [[e.name, place_of(e), f"{e.size / 1e6:.1f} MB", f"{e.metrics['mse']:.4f}", e.description] for e in entries]
    print_table(["name", "where", "size", "mse", "description"], rows)


def info(name: Name, json: Json = False) -> None:
    """Show what a model is: shapes, metrics, files, and where it came from."""
    bundle = find_model(name)
    manifest = bundle.manifest
    if json:
        print_json({"folder": str(bundle.folder), **asdict(manifest)})
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
        "labels": ", ".join(manifest.labels) or "none",
        **metrics,
        "trained by": str(manifest.provenance.get("command")),
        "at commit": str(manifest.provenance.get("commit")),
        **{f"file {file}": _file_text(bundle, file) for file in manifest.files},
    }
    for key, value in facts.items():
        say(f"{key:<26}{value}")


def check(name: Name, json: Json = False) -> None:
    """Tell for each clause of the specification of bundles (docs/bundle.md) whether it holds for one."""
    from aae_zoo.runtime.checks.check import check as look

    verdicts = look(name)
    if json:
        print_json([asdict(verdict) for verdict in verdicts])
    else:
        for verdict in verdicts:
            for row in _verdict_rows(verdict):
                say(row)
    failures = [verdict.id for verdict in verdicts if verdict.state == "fails"]
    if failures:
        note(f"error: {name} is no bundle as docs/bundle.md has it: {', '.join(failures)}")
        raise typer.Exit(1)


def doctor(json: Json = False) -> None:
    """Show what is installed and would be used, and for each fault what mends it."""
    from aae_zoo.runtime.checks.doctor import diagnose

    findings = diagnose()
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            say(f"{'FAULT' if finding.mend else 'ok':<7}{finding.name:<22}{finding.found}")
            if finding.mend:
                say(f"{'':<7}{'':<22}mend: {finding.mend}")
    if any(finding.mend for finding in findings):
        raise typer.Exit(1)


def _verdict_rows(verdict: "Verdict") -> list[str]:
    """A line for a clause, with what it says if it fails, and then one for each fault."""
    begin = f"{verdict.state:<13}{verdict.id:<18}"
    if verdict.state == "fails":
        return [begin + verdict.text.replace("`", ""), *(f"{'':<31}found: {found}" for found in verdict.found)]
    return [f"{begin}needs {', '.join(verdict.found)}" if verdict.found else begin.rstrip()]


def _preparation_text(preparation: Preparation) -> str:
    range_ = "all values of a file" if preparation.range is None else "values {} to {}".format(*preparation.range)
    return f"{preparation.fit} to size, on {preparation.ground}, {preparation.polarity} ground, {range_}"


def _file_text(bundle: Bundle, name: str) -> str:
    return f"{bundle.manifest.files[name].size:,} bytes{'' if (bundle.folder / name).exists() else ', left out here'}"
