"""Static pages that decode in the browser: one for a model, or a catalogue with one for each. No PyTorch is needed.

The pages are templates in export/pages/site/; onnxruntime-web comes from where `copy_web_runtime` finds it, so that a
page asks no other host for anything. Its WebAssembly is kept packed, since not every static server packs what it sends,
and the page unpacks it. A folder of pages is a static Space of the Hugging Face Hub as it is.
"""

import gzip
import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.export.card.figures import METRIC_NAMES
from aae_zoo.export.pages import atlas
from aae_zoo.export.pages.address import link_tags, site_address
from aae_zoo.export.pages.web_runtime import copy_web_runtime
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.names import metric_text
from aae_zoo.runtime.checks.golden import GOLDEN, read_golden
from aae_zoo.runtime.engine.engine import Engine
from aae_zoo.runtime.engine.kept import read_kept_codes
from aae_zoo.runtime.errors import ModelNotFound
from aae_zoo.runtime.escapes import html_text, markdown
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.formats.preparation import digit_share
from aae_zoo.runtime.latent.attributes import parts_of
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.latent.score import DRAWS, distance_from_prior
from aae_zoo.runtime.model import Model
from aae_zoo.runtime.ownership import SITE
from aae_zoo.runtime.store.catalogue import find_model, list_models

_DRAWS: Final = 2000
# What is drawn for a model that knows no digits nearly fills the image.
_DRAWN: Final = 0.95
_PICTURES: Final = 10
_QUANTILES: Final = (0.01, 0.25, 0.5, 0.75, 0.99)
# The float32 codes [DRAWS, latent] that the anomaly score measures distances from, little-endian, row by row.
_PRIOR_FILE: Final = "draws.bin"
# The one script that is no module, since browsers load none from a disk.
_NO_MODULE: Final = "no-start.js"
_JPEG: Final[dict[str, Any]] = {"quality": 80, "optimize": True}


def explore(
    name: str, out: Path, *, url: str | None = None, node_modules: Path | None = None, replace: bool = False
) -> Manifest:
    """Write the page of one model into the folder `out`, which will be published at the address `url`.

    Raises:
        ModelNotFound, InvalidBundle: the model is not there or damaged.
        InvalidInput: `url` is not the address of a folder on a web server.
        InvalidInput, MissingBackend: onnxruntime-web is not available.
        OutputError: `out` has files and `replace` is false, or anything but a site as aae-zoo wrote it, or cannot be
            written.
    """
    address = site_address(url)
    bundle = find_model(name)
    with atomic_folder(out, SITE, replace=replace) as folder:
        _write_page(folder, bundle, "", _write_assets(folder, node_modules), address)
        _write_space(folder, bundle.manifest.title, bundle.manifest.licence)
    return bundle.manifest


def explore_all(
    out: Path, *, url: str | None = None, node_modules: Path | None = None, replace: bool = False
) -> list[Manifest]:
    """Write a catalogue page into the folder `out`, and a page for each model of the catalogue that is on this machine.

    Raises:
        ModelNotFound: no model of the catalogue is on this machine.
        Others: as for `explore`.
    """
    address = site_address(url)
    bundles = list(_at_hand())
    if not bundles:
        raise ModelNotFound("no model of the catalogue is on this machine; aae-zoo pull NAME gets one")
    with atomic_folder(out, SITE, replace=replace) as folder:
        runtime = _write_assets(folder, node_modules)
        models = []
        for bundle in bundles:
            name = bundle.manifest.name
            (folder / name).mkdir()
            models.append(_write_page(folder / name, bundle, "../", runtime, address and f"{address}{name}/"))
        models.sort(key=lambda facts: (not facts["conditional"], facts["latent"] != 2))  # the most to do comes first
        cards = "\n".join(map(_card, models))
        first = models[0]["name"]
        links = link_tags(address, f"{first}/share.jpg")
        page = _template("catalogue.html").substitute(cards=cards, first=first, links=links)
        (folder / "index.html").write_text(page, "utf-8")
        _write_space(folder, "The models of aae-zoo", "MIT")
    return [bundle.manifest for bundle in bundles]


def serve(folder: Path) -> ThreadingHTTPServer:
    """A static server of `folder` on loopback, at any free port; the caller runs and closes it."""
    return ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))


class _Handler(SimpleHTTPRequestHandler):
    """Serves the types that browsers insist on, whatever the system's own table has, and logs no requests."""

    extensions_map = {  # noqa: RUF012 - as in the base class
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
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


def _write_assets(folder: Path, node_modules: Path | None) -> int:
    """Write what all pages share: the bytes of ONNX Runtime that a page loads before it decodes."""
    (folder / "assets").mkdir()
    for asset in _site_files(".css", ".js"):
        (folder / "assets" / asset.name).write_bytes(asset.read_bytes())
    copy_web_runtime(folder / "assets" / "ort", node_modules)
    (wasm,) = (folder / "assets" / "ort").glob("*.wasm")
    packed = gzip.compress(wasm.read_bytes(), 6, mtime=0)
    wasm.with_name(f"{wasm.name}.gz").write_bytes(packed)
    wasm.unlink()
    return len(packed)


def _site_files(*endings: str) -> list[Traversable]:
    site = files("aae_zoo.export.pages").joinpath("site")
    return sorted((path for path in site.iterdir() if path.name.endswith(endings)), key=lambda path: path.name)


def _write_page(folder: Path, bundle: Bundle, root: str, runtime: int, address: str | None) -> dict[str, Any]:
    """Write a model's page, graphs and facts, which are returned; `root` leads from it to the site's own folder.

    `runtime` is how many bytes ONNX Runtime takes, `address` where the page will be, if that is known.
    """
    manifest = bundle.manifest
    precision = "lite" if "lite" in manifest.graphs["decoder"] else "fp32"
    roles = manifest.graphs
    graphs = {role: read_graph(bundle, role, manifest.precision_of(role, precision)).content for role in roles}
    for role, content in graphs.items():
        (folder / f"{role}.onnx").write_bytes(content)
    with Model(Engine(bundle, device="cpu", precision=precision)) as model:
        # Drawing and encoding refuse graphs that are not what the manifest says, before a page has them.
        facts = page_facts(bundle, model) | _write_pictures(folder, bundle, model)
        if manifest.latent == 2:
            facts["plane"] |= _write_plane(folder, model, facts)
        if manifest.score:
            (folder / _PRIOR_FILE).write_bytes(_prior(model, seed=0).astype("<f4").tobytes())
    facts["bytes"] = runtime + len(graphs["prior"]) + len(graphs["decoder"])
    (folder / "model.json").write_text(json.dumps(facts), "utf-8")
    (folder / "index.html").write_text(_page(manifest, root, facts, address), "utf-8")
    return facts


def _write_pictures(folder: Path, bundle: Bundle, model: Model) -> dict[str, Any]:
    """Write samples and pictures to encode: the facts of the wall of samples."""
    samples = atlas.choose_samples(model)
    atlas.wall(samples).save(folder / "wall.jpg", **_JPEG)
    atlas.share_picture(samples).save(folder / "share.jpg", **_JPEG)
    atlas.icon(samples).save(folder / "icon.png", optimize=True)
    pictures = _test_pictures(bundle, model)
    model.encode(pictures)
    atlas.sheet(pictures, len(pictures)).save(folder / "pictures.png", optimize=True)
    label = None if samples.label is None else samples.label.tolist()
    z = np.round(samples.z.astype(np.float64), 4).tolist()
    return {"wall": {"rows": atlas.ROWS, "columns": atlas.COLUMNS, "z": z, "label": label}}


def _write_plane(folder: Path, model: Model, facts: dict[str, Any]) -> dict[str, int]:
    """Write the pictures of the plane, those of the first sample's classes where there are some: its facts."""
    label = facts["wall"]["label"]
    picture, cells = atlas.plane(model, facts["plane"]["high"], label and label[0])
    picture.save(folder / "plane.jpg", **_JPEG)
    return {"cells": cells}


def _page(manifest: Manifest, root: str, facts: dict[str, Any], address: str | None) -> str:
    """The page's HTML."""
    board = _template("plane.html" if manifest.latent == 2 else "code.html").substitute()
    modules = (script.name for script in _site_files(".js") if script.name != _NO_MODULE)
    preloads = (f'<link rel="modulepreload" href="{root}assets/{module}">' for module in modules)
    return _template("model.html").substitute(
        {key: html_text(value) for key, value in _words(manifest).items()},
        root=root,
        links=link_tags(address, "share.jpg"),
        kind="plane" if manifest.latent == 2 else "code",
        back='<p><a href="../index.html">All models</a></p>' if root else "",
        width=manifest.image.width * atlas.COLUMNS,
        height=manifest.image.height * atlas.ROWS,
        megabytes=f"{facts['bytes'] / 1e6:.1f}",
        board=board,
        redraws="With every value of each attribute" if manifest.attributes else "In the same hand, with every label",
        preloads="\n  ".join(preloads),
        facts="".join(map(_row, figures(manifest))),
    )


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
        "preparation": {**manifest.preparation._asdict(), "share": _share(manifest)},
        "latent": manifest.latent,
        "noise": manifest.noise,
        "attributes": [{**attribute._asdict(), "first": part.start} for attribute, part in parts_of(manifest)],
        "conditional": model.conditional,
        "score": _score(model),
        "detector": manifest.detector and manifest.detector._asdict(),
    }
    draws = atlas.draw_codes(model, _DRAWS)["z"]
    if manifest.latent != 2:
        quantiles = np.quantile(draws, _QUANTILES, axis=0).T
        quantiles[:, -1] = np.maximum(quantiles[:, -1], quantiles[:, 0] + 1e-3)  # a constant needs a range too
        return facts | {"quantiles": _rounded(quantiles), "switches": atlas.two_values(draws)}
    codes = _codes(bundle) or _codes_of_prior(manifest, draws)
    every = np.concatenate([draws, np.array(codes["z"], np.float32).reshape(-1, 2)])
    reach = 1.05 * float(np.quantile(np.abs(every), 0.985))
    return facts | {"plane": {"low": -round(reach, 2), "high": round(reach, 2)}, "codes": codes}


def _share(manifest: Manifest) -> float:
    """Which share of an image's side a drawing fills."""
    return digit_share(manifest.image) if manifest.preparation.fit == "digit" else _DRAWN


def _score(model: Model) -> dict[str, Any] | None:
    """What the anomaly score measures against, and the percentiles 0 to 100 of the distance of draws of the prior."""
    if model.manifest.score is None:
        return None
    distances = distance_from_prior(_prior(model, seed=1), _prior(model, seed=0))
    percentiles = np.quantile(distances, np.linspace(0, 1, 101))
    return model.manifest.score._asdict() | {"distances": _rounded(percentiles)}


def _prior(model: Model, seed: int) -> NDArray[np.float32]:
    """Draws of the prior [DRAWS, latent]: with the seed 0 those from which the anomaly score measures distances."""
    return model.codes_of(uniform_noise(DRAWS, model.manifest.noise, seed))["z"]


def _codes_of_prior(manifest: Manifest, draws: NDArray[np.float32]) -> dict[str, Any]:
    """The prior's own draws, for a bundle without codes of test images."""
    count = len(manifest.labels) if manifest.label_coordinate is not None else 0
    label = [i % count for i in range(len(draws))] if count else []
    return {"of": "draws of the prior", "z": _rounded(draws), "label": label, "names": manifest.labels if count else []}


def _codes(bundle: Bundle) -> dict[str, Any] | None:
    """The codes of test images that a bundle keeps, at most as many as prior draws, or None.

    Raises:
        InvalidBundle: the file is damaged.
    """
    kept, some = read_kept_codes(bundle), slice(_DRAWS)
    if kept is None:
        return None
    codes = {"z": _rounded(kept.parts["z"][some]), "label": kept.label[some].tolist(), "names": kept.names}
    return {"of": "codes of test images", **codes}


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


def _card(facts: dict[str, Any]) -> str:
    """A model on the catalogue's page."""
    words = {key: html_text(facts[key]) for key in ("name", "title", "description")}
    return (
        f'<li class="card"><img src="{words["name"]}/wall.jpg" alt="" loading="lazy"><div>'
        f'<h2><a href="{words["name"]}/index.html">{words["description"]}</a></h2>'
        f'<p>{_invitation(facts)}</p><p class="quiet">{words["title"]}. <code>{words["name"]}</code></p></div></li>'
    )


def _invitation(facts: dict[str, Any]) -> str:
    """What there is to do on a model's page."""
    if len(facts["attributes"]) > 1 and facts["conditional"]:
        return "Open a picture, and see it redrawn with what you ask for."
    if facts["conditional"]:
        return "Draw something, and see it redrawn with every label in your own hand."
    if facts["latent"] == 2:
        return "Drag a point over a map of pictures, and see one become another."
    if all(facts["switches"]):
        return "Flip switches, and see what each of them changes."
    return "Move sliders, and see what each of them changes."


def _write_space(folder: Path, title: str, licence: str) -> None:
    """Write the README.md that makes the folder a static Space."""
    matter = {"title": title, "sdk": "static", "app_file": "index.html", "license": licence.lower()}
    lines = [f"{key}: {json.dumps(value)}" for key, value in matter.items() if value]
    front = "\n".join(["---", *lines, "---"])
    text = "A page that decodes in the browser, made with aae-zoo; any static server shows it: `index.html`."
    (folder / "README.md").write_text(f"{front}\n\n# {markdown(title)}\n\n{text}\n", "utf-8")
