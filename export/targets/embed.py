"""A model inside another program: its graphs, modules that draw, encode and decode with them, and how to use these.

The modules are the checkout's folder examples/, which wheels have as aae_zoo.examples. Nothing here needs PyTorch.
"""

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from aae_zoo.export.pages.web_runtime import copy_web_runtime
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import CheckedGraph, read_graph, read_head
from aae_zoo.runtime.bundles.graph_metadata import metadata_faults
from aae_zoo.runtime.bundles.manifest import Attribute, Manifest
from aae_zoo.runtime.bundles.names import DETECTOR
from aae_zoo.runtime.errors import InvalidBundle, InvalidInput
from aae_zoo.runtime.escapes import markdown, markdown_code
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.store.catalogue import find_model

# The files of examples/ that a language needs; the first one has the line about the model.
LANGUAGES: Final = {
    "python": ("python/model.py", "python/draw.py"),
    "node": (
        "javascript/index.js",
        "javascript/index.d.ts",
        "javascript/node.js",
        "javascript/web.js",
        "javascript/package.json",
        "javascript/report.js",
        "javascript/draw.js",
    ),
    "browser": ("javascript/index.html", "javascript/index.js", "javascript/web.js", "javascript/report.js"),
    "c": ("c/model.h", "c/model.c", "c/asked.h", "c/png.h", "c/draw.c"),
    "cpp": ("cpp/model.hpp", "cpp/model.cpp", "c/asked.h", "c/png.h", "cpp/draw.cpp"),
}
GRAPHS: Final = ("prior", "decoder", "encoder", DETECTOR)
_ANY: Final = re.compile(r"Model: any of aae-zoo; what differs between models is .*\.(?= -->|$)", re.MULTILINE)
_SEMANTIC: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def embed(name: str, language: str, out: Path, *, node_modules: Path | None = None) -> Manifest:
    """Write the folder `out`: a model's graphs, modules and a program in `language` that use them, and a README.

    A page for the browser gets ONNX Runtime's files too, from `node_modules` or as `copy_web_runtime` finds them.

    Raises:
        InvalidInput: there is no example in that language, or `node_modules` lacks onnxruntime-web.
        ModelNotFound, InvalidBundle: the model is not there or damaged.
        MissingBackend: onnxruntime-web is not available.
        OutputError: `out` has files already, or cannot be written.
    """
    if language not in LANGUAGES:
        raise InvalidInput(f"the language is {language!r}, expected one of {', '.join(LANGUAGES)}")
    bundle = find_model(name)
    graphs = _graphs(bundle)
    with atomic_folder(out, "embed") as folder:
        for role, graph in graphs.items():
            (folder / f"{role}.onnx").write_bytes(graph.content)
        for file, text in _modules(bundle.manifest, graphs, language).items():
            (folder / file).write_text(text, "utf-8")
        if language == "browser":
            copy_web_runtime(folder / "ort", node_modules, webgpu=True)
        (folder / "README.md").write_text(_readme(bundle.manifest, graphs, language), "utf-8")
    return bundle.manifest


def _graphs(bundle: Bundle) -> dict[str, CheckedGraph]:
    """The graphs of a bundle, each of which ONNX Runtime opens, and says of itself what programs take its word for."""
    from aae_zoo.runtime.engine.session import open_session  # imports ONNX Runtime

    graphs = {role: read_graph(bundle, role) for role in GRAPHS if role in bundle.manifest.graphs}
    for role, graph in graphs.items():
        open_session(graph, device="cpu", threads=1)
        for fault in metadata_faults(read_head(graph.content, graph.name).metadata, graph.name, role, bundle.manifest):
            raise InvalidBundle(f"{fault}; programs rely on it: get the bundle again, or export it anew")
    return graphs


def example(file: str) -> str:
    """The text of a file of examples/."""
    return files("aae_zoo.examples").joinpath(file).read_text("utf-8")


def _modules(manifest: Manifest, graphs: Mapping[str, CheckedGraph], language: str) -> dict[str, str]:
    """The files in a language by name: those of examples/, and what is made for this model."""
    first, *others = LANGUAGES[language]
    texts = {first: _ANY.sub(_sizes(manifest), example(first)), **{file: example(file) for file in others}}
    modules = {Path(file).name: text for file, text in texts.items()}
    if language == "python":
        imports = 'from .model import Model, png\n\n__all__ = ["Model", "png"]\n'
        modules["__init__.py"] = f'"""{_sizes(manifest)}"""\n\n{imports}'
    if language in ("node", "browser"):
        url = f'new URL("./{DETECTOR}.onnx", import.meta.url)' if DETECTOR in graphs else "null"
        facts = _facts(manifest, graphs["decoder"])
        modules["facts.js"] = f"// {_sizes(manifest)}\nexport default {facts};\n\nexport const detector = {url};\n"
    if language == "node":
        modules["facts.d.ts"] = _asked(manifest)
        modules["package.json"] = _package(manifest, modules["package.json"])
    return modules


def _sizes(manifest: Manifest) -> str:
    classes = f", {len(manifest.labels)} classes" if manifest.label_coordinate is not None else ""
    sizes = f"images {manifest.image}, code [{manifest.latent}], noise [{manifest.noise}]{classes}"
    return f"Model: {manifest.name} {manifest.version}; {sizes}."


def _facts(manifest: Manifest, decoder: CheckedGraph) -> str:
    """What JavaScript must know of a model, whose ONNX Runtime does not give a graph's metadata; as index.d.ts says."""
    facts = {
        "name": manifest.name,
        "version": manifest.version,
        "licence": manifest.licence,
        "dataset": manifest.dataset,
        "channels": manifest.image.channels,
        "height": manifest.image.height,
        "width": manifest.image.width,
        "noise": manifest.noise,
        "code": {name: manifest.row_shapes[name][0] for name in decoder.inputs},
        "labels": manifest.labels,
        "labelCoordinate": manifest.label_coordinate,
        "attributes": [each._asdict() for each in manifest.asked],
        "detects": DETECTOR in manifest.graphs,
    }
    return json.dumps(facts, indent=2)


def _asked(manifest: Manifest) -> str:
    """The type of what TypeScript can ask for: values by their names, or by any number."""
    fields = [
        f"{json.dumps(each.name)}?: {' | '.join(map(json.dumps, each.labels))} | number | undefined;"
        for each in manifest.asked
    ]
    lines = [f"  {field}" for field in fields or ["[name: string]: never;"]]
    return "\n".join(["/** What can be asked of pictures. */", "export interface Asked {", *lines, "}", ""])


def _package(manifest: Manifest, text: str) -> str:
    """package.json, with what npm is to know: its names have small letters, and its versions three numbers."""
    about = {
        "name": manifest.name.lower(),
        "version": manifest.version if _SEMANTIC.fullmatch(manifest.version) else "0.0.0",
        "description": f"{manifest.title}. {manifest.description}.",
        **({"license": manifest.licence} if manifest.licence else {}),
    }
    return json.dumps({**json.loads(text), **about}, indent=2) + "\n"


def _readme(manifest: Manifest, graphs: Mapping[str, CheckedGraph], language: str) -> str:
    how = re.search(rf"^## {language}\n\n(.*?)(?=^## |\Z)", example("README.md"), re.DOTALL | re.MULTILINE)
    assert how is not None  # noqa: S101 - examples/README.md has a section for each language
    rows = [
        "| graph | inputs | outputs |",
        "| --- | --- | --- |",
        *(
            f"| `{role}.onnx` | {_tensors(graph.inputs, manifest)} | {_tensors(graph.outputs, manifest)} |"
            for role, graph in graphs.items()
        ),
    ]
    paragraphs = [
        f"# {manifest.name} {manifest.version} in your program",
        f"{markdown(manifest.title)}. {markdown(manifest.description)}.",
        f"Licence: {markdown(manifest.licence) or 'not stated'}; data set: {markdown(manifest.dataset)}.",
        how[1].rstrip(),
        "All arrays are float32. Images are in [0, 1], the noise `u` is in the open interval (0, 1).",
        "\n".join(rows),
        *[_choice(each, manifest) for each in manifest.asked if each.coordinate is not None],
    ]
    return "\n\n".join(paragraphs) + "\n"


def _choice(attribute: Attribute, manifest: Manifest) -> str:
    """How a class, or an attribute's value, is chosen."""
    name = markdown(attribute.name) if manifest.attributes else "Classes"
    values = ", ".join(f"{number} {markdown_code(label)}" for number, label in enumerate(attribute.labels))
    chosen = f"coordinate {attribute.coordinate} of `u` chooses one, (number + uniform) / {len(attribute.labels)}"
    return f"{name}: {values}; {chosen}."


def _tensors(names: tuple[str, ...], manifest: Manifest) -> str:
    return ", ".join(f"`{name}` [{', '.join(map(str, ('batch', *manifest.row_shapes[name])))}]" for name in names)
