"""Static pages that decode in the browser: one for a model, or a catalogue with one for each. No PyTorch is needed.

The pages are templates in export/pages/site/; onnxruntime-web comes from where `copy_web_runtime` finds it, so that a
page asks no other host for anything. A folder of pages is a static Space of the Hugging Face Hub as it is.
"""

import io
import json
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.export.card.figures import METRIC_NAMES
from aae_zoo.export.pages.web_runtime import copy_web_runtime
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.manifest import ROLES, Manifest, metric_text
from aae_zoo.runtime.checks.golden import GOLDEN, read_golden
from aae_zoo.runtime.drawing.grid import to_uint8
from aae_zoo.runtime.errors import InvalidBundle, ModelNotFound
from aae_zoo.runtime.escapes import html_text, markdown
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.formats.decoded import reason
from aae_zoo.runtime.formats.npz import Npz
from aae_zoo.runtime.formats.preparation import digit_share
from aae_zoo.runtime.latent.noise import choose_label, uniform_noise
from aae_zoo.runtime.model import Model
from aae_zoo.runtime.store.catalogue import find_model, list_models

# Codes of test images, written by the export of a model with a 2-D code: z [n, 2], label [n], names of the classes.
CODES_FILE: Final = "codes.npz"
# What export writes takes 10 kB, and the names of the classes.
_MOST_CODES: Final = 1 << 22
_DRAWS: Final = 2000
# What is drawn for a model that knows no digits nearly fills the image.
_DRAWN: Final = 0.95
_PICTURES: Final = 10
_QUANTILES: Final = (0.01, 0.25, 0.5, 0.75, 0.99)


def explore(name: str, out: Path, *, node_modules: Path | None = None, replace: bool = False) -> Manifest:
    """Write the page of one model into the folder `out`.

    Raises:
        ModelNotFound, InvalidBundle: the model is not there or damaged.
        InvalidInput, MissingBackend: onnxruntime-web cannot be had.
        OutputError: `out` has files and `replace` is false, or anything but a site as aae-zoo wrote it, or cannot be
            written.
    """
    bundle = find_model(name)
    with atomic_folder(out, "site", replace=replace) as folder:
        _write_assets(folder, node_modules)
        _write_page(folder, bundle, root="")
        _write_space(folder, bundle.manifest.title, bundle.manifest.licence)
    return bundle.manifest


def explore_all(out: Path, *, node_modules: Path | None = None, replace: bool = False) -> list[Manifest]:
    """Write a catalogue page into the folder `out`, and a page for each model of the catalogue that is on this machine.

    Raises:
        ModelNotFound: no model of the catalogue is on this machine.
        Others: as for `explore`.
    """
    bundles = list(_at_hand())
    if not bundles:
        raise ModelNotFound("no model of the catalogue is on this machine; aae-zoo pull NAME gets one")
    with atomic_folder(out, "site", replace=replace) as folder:
        _write_assets(folder, node_modules)
        for bundle in bundles:
            (folder / bundle.manifest.name).mkdir()
            _write_page(folder / bundle.manifest.name, bundle, root="../")
        cards = "\n".join(_card(bundle, folder / bundle.manifest.name) for bundle in bundles)
        (folder / "index.html").write_text(_template("catalogue.html").substitute(cards=cards), "utf-8")
        _write_space(folder, "The models of aae-zoo", "MIT")
    return [bundle.manifest for bundle in bundles]


def serve(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A static server of `folder` on loopback, at any free port; the caller runs and closes it."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(folder)))


class _Handler(SimpleHTTPRequestHandler):
    """Serves the types that browsers insist on, whatever the system's own table has, and logs no requests."""

    extensions_map = {  # noqa: RUF012 - as in the base class
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: object) -> None:
        pass


def _at_hand() -> list[Bundle]:
    bundles = []
    for entry in list_models():
        try:
            bundles.append(find_model(entry.name))
        except ModelNotFound:
            continue
    return bundles


def _template(name: str) -> Template:
    return Template(files("aae_zoo.export.pages").joinpath("site", name).read_text("utf-8"))


def _write_assets(folder: Path, node_modules: Path | None) -> None:
    (folder / "assets").mkdir()
    copy_web_runtime(folder / "assets" / "ort", node_modules)
    for name in ("style.css", "explore.mjs", "preparation.mjs", "from-disk.js"):
        (folder / "assets" / name).write_bytes(files("aae_zoo.export.pages").joinpath("site", name).read_bytes())


def _write_page(folder: Path, bundle: Bundle, root: str) -> None:
    """Write a model's page, graphs and facts; `root` leads from it to the site's own folder."""
    manifest = bundle.manifest
    for role in ROLES:
        (folder / f"{role}.onnx").write_bytes(read_graph(bundle, role).content)
    model = Model(bundle, device="cpu", threads=None, precision="fp32")
    model.sample(1)  # refuses graphs that are not what the manifest says, before a page has them
    (folder / "model.json").write_text(json.dumps(page_facts(bundle, model)), "utf-8")
    pictures = _test_pictures(bundle, model)
    model.encode(pictures)
    strip = np.concatenate(list(to_uint8(pictures)), axis=1)
    Image.fromarray(strip).save(folder / "pictures.png", optimize=True)
    wasm = sum(path.stat().st_size for path in (folder / root / "assets" / "ort").iterdir())
    page = _template("model.html").substitute(
        {key: html_text(value) for key, value in _words(manifest).items()},
        root=root,
        back='<p><a href="../index.html">All models</a></p>' if root else "",
        size=f"{(wasm + (folder / 'decoder.onnx').stat().st_size) / 1e6:.0f}",
        facts="".join(map(_row, figures(manifest))),
    )
    (folder / "index.html").write_text(page, "utf-8")


def _row(figure: tuple[str, str]) -> str:
    name, value = map(html_text, figure)
    return f"<div><dt>{name}</dt><dd>{value}</dd></div>"


def _words(manifest: Manifest) -> dict[str, str]:
    return {key: getattr(manifest, key) for key in ("name", "version", "title", "description")}


def figures(manifest: Manifest) -> list[tuple[str, str]]:
    """What a page says of its model as (name, value): figures on the test images, sizes, data set and licence."""
    metrics = manifest.metrics
    named = [(name, metric_text(metrics[key])) for key, name in METRIC_NAMES.items() if key in metrics]
    return [
        *((name, value) for name, value in named if len(value) <= 60),
        ("images", f"{manifest.image}, {manifest.dataset}"),
        ("code", f"{manifest.latent}-D, from {manifest.noise}-D noise"),
        ("licence", manifest.licence or "not stated"),
    ]


def page_facts(bundle: Bundle, model: Model) -> dict[str, Any]:
    """What the page's program needs to know of a model: model.json."""
    manifest = bundle.manifest
    facts = {
        **_words(manifest),
        "dataset": manifest.dataset,
        "image": manifest.image.axes,
        "preparation": {**asdict(manifest.preparation), "share": _share(manifest)},
        "latent": manifest.latent,
        "noise": manifest.noise,
        "labels": manifest.labels,
        "label_coordinate": manifest.label_coordinate,
    }
    draws = _prior_draws(model)
    if manifest.latent != 2:
        quantiles = np.quantile(draws, _QUANTILES, axis=0).T
        quantiles[:, -1] = np.maximum(quantiles[:, -1], quantiles[:, 0] + 1e-3)  # a constant needs a range too
        return facts | {"quantiles": _rounded(quantiles)}
    codes = _codes(bundle) or _codes_of_prior(manifest, draws)
    every = np.concatenate([draws, np.array(codes["z"], np.float32).reshape(-1, 2)])
    reach = 1.05 * float(np.quantile(np.abs(every), 0.985))
    return facts | {"plane": {"low": -round(reach, 2), "high": round(reach, 2)}, "codes": codes}


def _share(manifest: Manifest) -> float:
    """Which share of an image's side a drawing fills."""
    return digit_share(manifest.image) if manifest.preparation.fit == "digit" else _DRAWN


def _prior_draws(model: Model) -> NDArray[np.float32]:
    """Codes that the prior draws [n, latent], class after class in turn where it has classes."""
    manifest = model.manifest
    noise = uniform_noise(_DRAWS, manifest.noise, seed=0)
    if manifest.label_coordinate is not None:
        count = len(manifest.labels)
        for k in range(count):
            choose_label(noise[k::count], manifest.label_coordinate, k, count)
    return model.codes_of(noise)["z"]


def _codes_of_prior(manifest: Manifest, draws: NDArray[np.float32]) -> dict[str, Any]:
    """The prior's own draws, for a bundle without codes of test images."""
    count = len(manifest.labels) if manifest.label_coordinate is not None else 0
    label = [i % count for i in range(len(draws))] if count else []
    return {"of": "draws of the prior", "z": _rounded(draws), "label": label, "names": manifest.labels if count else []}


def _codes(bundle: Bundle) -> dict[str, Any] | None:
    """The codes of test images that a bundle has, at most as many as prior draws, or None.

    Raises:
        InvalidBundle: the file is damaged.
    """
    if CODES_FILE not in bundle.manifest.files:
        return None
    try:
        saved = Npz(io.BytesIO(bundle.read(CODES_FILE, _MOST_CODES)), _MOST_CODES)
        z, label, names = (saved.read(key) for key in ("z", "label", "names"))
        known = label.dtype.kind in "iu" and set(np.unique(label)) <= set(range(len(names)))
        if z.shape[1:] != (2,) or not np.isfinite(z).all() or label.shape not in ((0,), z.shape[:1]) or not known:
            raise ValueError(f"z {z.shape}, label {label.shape}, names {names.shape}")
        some = slice(_DRAWS)
        return {
            "of": "codes of test images",
            "z": _rounded(z[some]),
            "label": label[some].tolist(),
            "names": [str(name).encode().decode() for name in names],  # raises where there is half a character
        }
    except InvalidBundle:
        raise
    except Exception as error:  # a damaged file raises whatever its reader meets first
        raise InvalidBundle(
            f"{CODES_FILE} of {bundle.manifest.name} is damaged ({reason(error)}); export the model again"
        ) from None


def _rounded(values: NDArray[np.floating[Any]]) -> list[Any]:
    """As many digits as a page can show; rows of two are laid flat."""
    flat = values.ravel() if values.shape[-1] == 2 else values
    rounded: list[Any] = np.round(flat.astype(np.float64), 4).tolist()
    return rounded


def _test_pictures(bundle: Bundle, model: Model) -> NDArray[np.float32]:
    """A few images to encode: the golden file's real ones, which come first in it, or else samples."""
    if GOLDEN not in bundle.manifest.files:
        return model.sample(_PICTURES)
    return read_golden(bundle)["encoder.image"][:_PICTURES]


def _card(bundle: Bundle, folder: Path) -> str:
    """A model on the catalogue's page."""
    manifest = bundle.manifest
    (folder / "samples.png").write_bytes(bundle.read("samples.png"))
    words = {key: html_text(value) for key, value in _words(manifest).items()}
    return (
        f'<li class="card"><img src="{manifest.name}/samples.png" alt="" loading="lazy"><div>'
        f'<h2><a href="{manifest.name}/index.html">{words["title"]}</a></h2>'
        f'<p class="quiet">{words["description"]}. <code>{words["name"]}</code></p></div></li>'
    )


def _write_space(folder: Path, title: str, licence: str) -> None:
    """Write the README.md that makes the folder a static Space."""
    matter = {"title": title, "sdk": "static", "app_file": "index.html", "license": licence.lower()}
    lines = [f"{key}: {json.dumps(value)}" for key, value in matter.items() if value]
    front = "\n".join(["---", *lines, "---"])
    text = "A page that decodes in the browser, made with aae-zoo; any static server shows it: `index.html`."
    (folder / "README.md").write_text(f"{front}\n\n# {markdown(title)}\n\n{text}\n", "utf-8")
