"""What is generated: from the shipped bundles cards, catalogue, tables, gallery and pictures; and the format's own.

    python -m aae_zoo.export.release.generated [--check]

run from the root of a checkout, rewrites them, or with --check only says whether they are up to date.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from PIL import Image

from aae_zoo.export.card.card import describing_files
from aae_zoo.export.card.figures import FIGURES, METRIC_NAMES, PICTURES, spread
from aae_zoo.export.release.marked import with_part
from aae_zoo.export.release.pictures import is_drawn, pictures
from aae_zoo.export.release.specification import specification
from aae_zoo.export.release.timing import training_times
from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.manifest import FileRecord, Manifest
from aae_zoo.runtime.bundles.names import MANIFEST, metric_text
from aae_zoo.runtime.documents import parse_document
from aae_zoo.runtime.errors import AaeZooError, InvalidBundle
from aae_zoo.runtime.files import atomic_file
from aae_zoo.runtime.words import counted

_GALLERY = "Written by `make generated` from the shipped bundles; the figures are those of the test images."
_HEADLINE = ("mse", "mmd2", "frechet", "parzen")

Column = Callable[[Bundle], str]


def generate(root: Path) -> dict[Path, str]:
    """The generated texts of a checkout and what they must hold.

    Raises:
        InvalidBundle: a shipped bundle is damaged, somebody else wrote a file that this would write over, or a
            document lacks the markers of what is generated.
    """
    found = _shipped(root)
    for bundle in found:
        bundle.check_files()
    described = [describe(bundle) for bundle in found]
    bundles = [bundle for bundle, _ in described]
    exhibited = root / "docs" / "gallery.md"
    if exhibited.exists() and _GALLERY not in exhibited.read_text("utf-8"):
        raise InvalidBundle(f"{exhibited} was not written by make generated; move it away, it would be written over")
    listed = root / "runtime" / "models" / "catalogue.json"
    before = _listed(listed) if listed.exists() else {}
    tables = {root / name: with_table((root / name).read_text("utf-8"), name, bundles) for name in _TABLES}
    return {
        **{bundle.folder / name: text for bundle, texts in described for name, text in texts.items()},
        listed: catalogue(bundles, before),
        **tables,
        exhibited: gallery(bundles),
        **specification(root),
    }


def generate_pictures(root: Path) -> dict[Path, Image.Image]:
    """The pictures of the README and what they must show."""
    names = [bundle.manifest.name for bundle in _shipped(root)]
    return {root / "docs" / "pictures" / name: p for name, p in pictures(root / "runtime" / "models", names).items()}


def _shipped(root: Path) -> list[Bundle]:
    return [open_bundle(path) for path in sorted((root / "runtime" / "models").iterdir()) if path.is_dir()]


def describe(bundle: Bundle) -> tuple[Bundle, dict[str, str]]:
    """A bundle as it is with today's card and config.json, and the texts of these and of its manifest, by name."""
    texts = describing_files(bundle.manifest, parse_document(bundle.read("parity.json")))
    files = {**bundle.manifest.files, **{name: _record(text) for name, text in texts.items()}}
    manifest = bundle.manifest._replace(files=dict(sorted(files.items())))
    text = _text(manifest)
    return Bundle(bundle.folder, manifest, _record(text).sha256), {**texts, MANIFEST: text}


def _text(manifest: Manifest) -> str:
    """The text of a manifest, in ASCII."""
    return json.dumps(manifest.to_document(), indent=2) + "\n"


def _record(text: str) -> FileRecord:
    content = text.encode()
    return FileRecord(hashlib.sha256(content).hexdigest(), len(content))


def _listed(path: Path) -> dict[str, dict[str, Any]]:
    """The models of a catalogue with their pins, which must not be lost."""
    try:
        models: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))["models"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidBundle(f"{path} is damaged ({error}); git checkout {path}") from None
    return models


def catalogue(bundles: list[Bundle], before: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The text of catalogue.json; pins of the models `before` stay, and so do models that are only on the Hub."""
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
    return "\n\n".join([f"## {manifest.name}", f"**{manifest.title}**", about, *shown])


def _name(bundle: Bundle) -> str:
    return f"`{bundle.manifest.name}`"


def _exhibited(bundle: Bundle) -> str:
    """The name, which leads to the model in the gallery, and the title below it, for the README."""
    name = bundle.manifest.name
    return f"[{name}](docs/gallery.md#{name})<br>{bundle.manifest.title}"


def _picture(bundle: Bundle) -> str:
    return f"![samples of {bundle.manifest.name}](docs/pictures/{bundle.manifest.name}.png)"


def _title(bundle: Bundle) -> str:
    return bundle.manifest.title


def _figure(key: str, text: Callable[[Any], str]) -> Column:
    """A column of one of the metrics, with a dash for a model without it."""

    def cell(bundle: Bundle) -> str:
        metrics = bundle.manifest.metrics
        return text(metrics[key]) if key in metrics else "-"

    return cell


def _metrics(text: Callable[[Mapping[str, Any]], str]) -> Column:
    """A column made of several metrics."""
    return lambda bundle: text(bundle.manifest.metrics)


def _parzen(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['parzen']:.0f} ± {metrics['parzen_error']:.0f}"


def _paper_compares(metrics: Mapping[str, Any]) -> str:
    return METRIC_NAMES[metrics["paper"]["metric"]]


def _as_shipped(metrics: Mapping[str, Any]) -> str:
    return metric_text(metrics[metrics["paper"]["metric"]])


def _trained_anew(metrics: Mapping[str, Any]) -> str:
    return spread(metrics, metrics["paper"]["metric"]) or "-"


def _training(bundle: Bundle) -> str:
    time = training_times(bundle.folder.parent).get(bundle.manifest.name)
    if time is None:
        return "-"
    return f"{time.seconds / 60:.1f} min on {counted(time.threads, 'thread')}"


def _parameters(counts: Mapping[str, int]) -> str:
    return f"{sum(counts.values()):,}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _megabytes(bundle: Bundle) -> str:
    return f"{_bytes(bundle) / 1e6:.1f}"


def _bytes(bundle: Bundle) -> int:
    return bundle.manifest.size + len(_text(bundle.manifest))


# The documents with a table of the models: its name, the metric without which a model has no row, and the columns.
_TABLES: Final[dict[str, tuple[str, str, dict[str, Column]]]] = {
    "README.md": (
        "models",
        "mse",
        {
            "draws": _picture,
            "model": _exhibited,
            "MSE": _figure("mse", "{:.4f}".format),
            "Fréchet": _figure("frechet", "{:.1f}".format),
            "precision": _figure("precision", "{:.2f}".format),
            "recall": _figure("recall", "{:.2f}".format),
            "error, %": _figure("error", "{:.2f}".format),
            "AUROC": _figure("anomaly_auroc", "{:.3f}".format),
            "MB": _megabytes,
        },
    ),
    "docs/models.md": (
        "models",
        "mse",
        {
            "name": _name,
            "model": _title,
            "MSE per pixel": _figure("mse", "{:.4f}".format),
            "MMD²": _figure("mmd2", "{:.4f}".format),
            "Fréchet": _figure("frechet", "{:.1f}".format),
            "precision": _figure("precision", "{:.3f}".format),
            "recall": _figure("recall", "{:.3f}".format),
            "error": _figure("error", "{:.2f} %".format),
            "as asked": _figure("label_agreement", _percent),
            "Parzen, nats": _metrics(_parzen),
            "training": _training,
            "parameters": _figure("parameters", _parameters),
            "bundle, MB": _megabytes,
        },
    ),
    "docs/paper.md": (
        "papers",
        "paper",
        {
            "name": _name,
            "figure": _metrics(_paper_compares),
            "ours, as shipped": _metrics(_as_shipped),
            "ours, trained anew": _metrics(_trained_anew),
            "the paper's": _figure("paper", itemgetter("figure")),
            "what differs": _figure("paper", itemgetter("differs")),
        },
    ),
    "docs/anomalies.md": (
        "anomalies",
        "anomaly_auroc",
        {
            "name": _name,
            "false alarms": _figure("false_alarms", _percent),
            "to find": _figure("anomaly_dataset", str),
            "found": _figure("anomalies_found", _percent),
            "AUROC": _figure("anomaly_auroc", "{:.3f}".format),
        },
    ),
}


def with_table(text: str, document: str, bundles: list[Bundle]) -> str:
    """The text of a document, such as docs/models.md, with its table between two markers.

    Raises:
        InvalidBundle: the text lacks the markers.
    """
    name, metric, columns = _TABLES[document]
    rows = [[cell(bundle) for cell in columns.values()] for bundle in bundles if metric in bundle.manifest.metrics]
    lines = [list(columns), ["---"] * len(columns), *rows]
    return with_part(text, document, name, "\n".join(f"| {' | '.join(line)} |" for line in lines))


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


def _write(path: Path, content: str | Image.Image) -> None:
    with atomic_file(path) as temporary:
        if isinstance(content, str):
            temporary.write_text(content, "utf-8")
        else:
            content.save(temporary, "PNG", optimize=True)


def _main() -> int:
    stale: dict[Path, str | Image.Image] = {}
    try:
        texts, images = generate(Path()), generate_pictures(Path())
    except AaeZooError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    stale |= {path: text for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text}
    stale |= {path: picture for path, picture in images.items() if not is_drawn(path, picture)}
    for path, content in stale.items():
        if "--check" in sys.argv:
            sys.stderr.write(f"{path} is out of date; run make generated\n")
        else:
            _write(path, content)
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(_main())
