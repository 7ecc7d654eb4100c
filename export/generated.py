"""What is generated from the shipped bundles: the catalogue, the README's tables and the gallery.

    python -m aae_zoo.export.generated [--check]

run from the root of a checkout, rewrites them, or with --check only says whether they are up to date.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aae_zoo.export.card import METRIC_NAMES, PICTURES
from aae_zoo.export.seeds import FIGURES, spread
from aae_zoo.runtime.bundle import Bundle, open_bundle
from aae_zoo.runtime.errors import AaeZooError, InvalidBundle
from aae_zoo.runtime.files import atomic_file
from aae_zoo.runtime.manifest import metric_text

_GALLERY = "Written by `make generated` from the shipped bundles; the figures are those of the test images."
_HEADLINE = ("mse", "mmd2", "frechet", "parzen")

Columns = dict[str, Callable[[Bundle], str]]

_MODELS: Columns = {
    "name": lambda b: f"`{b.manifest.name}`",
    "model": lambda b: b.manifest.title,
    "MSE per pixel": lambda b: f"{b.manifest.metrics['mse']:.4f}",
    "MMD²": lambda b: f"{b.manifest.metrics['mmd2']:.4f}",
    "Fréchet": lambda b: f"{b.manifest.metrics['frechet']:.1f}" if "frechet" in b.manifest.metrics else "-",
    "error": lambda b: f"{b.manifest.metrics['error']:.2f} %" if "error" in b.manifest.metrics else "-",
    "as asked": lambda b: _percent(m["label_agreement"]) if "label_agreement" in (m := b.manifest.metrics) else "-",
    "Parzen, nats": lambda b: f"{b.manifest.metrics['parzen']:.0f} ± {b.manifest.metrics['parzen_error']:.0f}",
    "training": lambda b: f"{b.manifest.metrics['training_seconds'] / 60:.1f} min on {_threads(b)}",
    "parameters": lambda b: f"{sum(b.manifest.metrics['parameters'].values()):,}",
    "bundle": lambda b: f"{_bytes(b) / 1e6:.1f} MB",
}
_PAPERS: Columns = {
    "name": lambda b: f"`{b.manifest.name}`",
    "figure": lambda b: METRIC_NAMES[b.manifest.metrics["paper"]["metric"]],
    "ours, as shipped": lambda b: metric_text(b.manifest.metrics[b.manifest.metrics["paper"]["metric"]]),
    "ours, trained anew": lambda b: spread(b.manifest.metrics, b.manifest.metrics["paper"]["metric"]) or "-",
    "the paper's": lambda b: b.manifest.metrics["paper"]["figure"],
    "what differs": lambda b: b.manifest.metrics["paper"]["differs"],
}
_ANOMALIES: Columns = {
    "name": lambda b: f"`{b.manifest.name}`",
    "false alarms": lambda b: _percent(b.manifest.metrics["false_alarms"]),
    "to find": lambda b: str(b.manifest.metrics["anomaly_dataset"]),
    "found": lambda b: _percent(b.manifest.metrics["anomalies_found"]),
    "AUROC": lambda b: f"{b.manifest.metrics['anomaly_auroc']:.3f}",
}


def generate(root: Path) -> dict[Path, str]:
    """The generated files of a checkout and what they must hold.

    Raises:
        InvalidBundle: a shipped bundle is damaged, or somebody else wrote a file that this would write over.
    """
    bundles = [open_bundle(p) for p in sorted((root / "runtime" / "models").iterdir()) if p.is_dir()]
    for bundle in bundles:
        bundle.check_files()
    exhibited = root / "docs" / "gallery.md"
    if exhibited.exists() and _GALLERY not in exhibited.read_text("utf-8"):
        raise InvalidBundle(f"{exhibited} was not written by make generated; move it away, it would be written over")
    readme, listed = root / "README.md", root / "runtime" / "models" / "catalogue.json"
    before = _listed(listed) if listed.exists() else {}
    return {
        listed: catalogue(bundles, before),
        readme: with_tables(readme.read_text("utf-8"), bundles),
        exhibited: gallery(bundles),
    }


def _listed(path: Path) -> dict[str, dict[str, Any]]:
    """The models of a catalogue, whose pins must not be lost."""
    try:
        models: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))["models"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidBundle(f"{path} is damaged ({error}); git checkout {path}") from None
    return models


def catalogue(bundles: list[Bundle], before: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The text of catalogue.json; of the models `before`, pins stay, and so do models that are on the Hub alone."""
    before = before or {}
    models = {bundle.manifest.name: _entry(bundle) for bundle in bundles}
    for name, entry in before.items():
        if name not in models and entry["revision"]:
            models[name] = {**entry, "shipped": False}
        elif name in models:
            pinned = entry["sha256"] == models[name]["sha256"]  # another manifest has not been published yet
            models[name] |= {"repository": entry["repository"], "revision": entry["revision"] if pinned else None}
    return json.dumps({"models": dict(sorted(models.items()))}, indent=2) + "\n"


def gallery(bundles: list[Bundle]) -> str:
    """The text of docs/gallery.md: what each model is, its main figures and its pictures."""
    return "\n\n".join(["# The models' pictures", _GALLERY, *map(_exhibit, bundles)]) + "\n"


def _exhibit(bundle: Bundle) -> str:
    manifest = bundle.manifest
    folder = f"../runtime/models/{manifest.name}"
    named = [(METRIC_NAMES[key], manifest.metrics[key]) for key in FIGURES if key in manifest.metrics]
    figures = "; ".join(f"{name}: {metric_text(value)}" for name, value in named)
    about = f"{manifest.description}: [its card]({folder}/README.md). {figures[0].upper()}{figures[1:]}."
    pictures = [name for name in PICTURES if f"{name}.png" in manifest.files]
    shown = [f"{PICTURES[name]}:\n\n![{name} of {manifest.name}]({folder}/{name}.png)" for name in pictures]
    return "\n\n".join([f"## {manifest.title}: `{manifest.name}`", about, *shown])


def with_tables(readme: str, bundles: list[Bundle]) -> str:
    """The README with its tables, each between its two markers.

    Raises:
        InvalidBundle: the README lacks a pair of markers.
    """
    for name, columns, metric in (
        ("models", _MODELS, "mse"),
        ("papers", _PAPERS, "paper"),
        ("anomalies", _ANOMALIES, "anomaly_auroc"),
    ):
        readme = _with_table(readme, name, columns, [b for b in bundles if metric in b.manifest.metrics])
    return readme


def _with_table(readme: str, name: str, columns: Columns, bundles: list[Bundle]) -> str:
    begin, end = f"<!-- {name}: generated by make generated -->", f"<!-- {name}: end -->"
    rows = [[cell(bundle) for cell in columns.values()] for bundle in bundles]
    lines = [list(columns), ["---"] * len(columns), *rows]
    table = "\n".join([begin, *(f"| {' | '.join(line)} |" for line in lines), end])
    text, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: table, readme, flags=re.DOTALL)
    if count != 1:
        raise InvalidBundle(f"README.md has {count} tables of {name}, expected one between {begin} and {end}")
    return text


def _threads(bundle: Bundle) -> str:
    threads = bundle.manifest.provenance["threads"]
    return f"{threads} thread{'s' if threads > 1 else ''}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _entry(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "description": manifest.description,
        "shipped": True,
        "repository": None,
        "revision": None,
        "sha256": bundle.manifest_sha256,
        "size": _bytes(bundle),
        "metrics": {key: manifest.metrics[key] for key in _HEADLINE if key in manifest.metrics},
    }


def _bytes(bundle: Bundle) -> int:
    return bundle.manifest.size + (bundle.folder / "manifest.json").stat().st_size


def _main() -> int:
    try:
        stale = {p: text for p, text in generate(Path()).items() if not p.exists() or p.read_text("utf-8") != text}
    except AaeZooError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for path, text in stale.items():
        if "--check" in sys.argv:
            sys.stderr.write(f"{path} is out of date; run make generated\n")
        else:
            with atomic_file(path) as temporary:
                temporary.write_text(text, "utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(_main())
