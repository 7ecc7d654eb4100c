"""A model inside another program: its graphs, an example that draws with them, and how to run it.

The examples are the checkout's folder examples/, which wheels have as aae_zoo.examples. Nothing here needs PyTorch.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from aae_zoo.export.pages.web_runtime import copy_web_runtime
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import CheckedGraph, read_graph
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import markdown, markdown_code
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.store.catalogue import find_model

# The files of examples/ that a language needs; the first one has the line about the model.
LANGUAGES: Final = {
    "python": ("python/draw.py",),
    "node": ("javascript/draw.mjs", "javascript/model.mjs", "javascript/package.json"),
    "browser": ("javascript/index.html", "javascript/model.mjs"),
    "c": ("c/draw.c",),
    "cpp": ("cpp/draw.cpp",),
}
GRAPHS: Final = ("prior", "decoder", "encoder")
_ANY: Final = "Model: any of aae-zoo; what differs between models is read from the graphs."


def embed(name: str, language: str, out: Path, *, node_modules: Path | None = None) -> Manifest:
    """Write the folder `out`: a model's graphs, an example in `language` that draws with them, and a README.

    A page for the browser gets ONNX Runtime's files too, from `node_modules` or as `copy_web_runtime` finds them.

    Raises:
        InvalidInput: there is no example in that language, or `node_modules` lacks onnxruntime-web.
        ModelNotFound, InvalidBundle: the model is not there or damaged.
        MissingBackend: onnxruntime-web cannot be had.
        OutputError: `out` has files already, or cannot be written.
    """
    if language not in LANGUAGES:
        raise InvalidInput(f"the language is {language!r}, expected one of {', '.join(LANGUAGES)}")
    bundle = find_model(name)
    graphs = _graphs(bundle)
    with atomic_folder(out, "embed") as folder:
        for role, graph in graphs.items():
            (folder / f"{role}.onnx").write_bytes(graph.content)
        for number, file in enumerate(LANGUAGES[language]):
            text = example(file)
            (folder / Path(file).name).write_text(_filled(text, bundle.manifest) if number == 0 else text, "utf-8")
        if language == "browser":
            copy_web_runtime(folder / "ort", node_modules)
        (folder / "README.md").write_text(_readme(bundle.manifest, graphs, language), "utf-8")
    return bundle.manifest


def _graphs(bundle: Bundle) -> dict[str, CheckedGraph]:
    """The graphs of a bundle, each of which ONNX Runtime opens."""
    from aae_zoo.runtime.engine.session import open_session  # imports ONNX Runtime

    graphs = {role: read_graph(bundle, role) for role in GRAPHS}
    for graph in graphs.values():
        open_session(graph, device="cpu", threads=1)
    return graphs


def example(file: str) -> str:
    """The text of a file of examples/."""
    return files("aae_zoo.examples").joinpath(file).read_text("utf-8")


def _filled(text: str, manifest: Manifest) -> str:
    classes = f", {len(manifest.labels)} classes" if manifest.label_coordinate is not None else ""
    sizes = f"images {manifest.image}, code [{manifest.latent}], noise [{manifest.noise}]{classes}"
    return text.replace(_ANY, f"Model: {manifest.name} {manifest.version}; {sizes}.")


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
    classes = ", ".join(f"{number} {markdown_code(label)}" for number, label in enumerate(manifest.labels))
    chosen = f"coordinate {manifest.label_coordinate} of `u` chooses one, (number + uniform) / {len(manifest.labels)}"
    paragraphs = [
        f"# {manifest.name} {manifest.version} in your program",
        f"{markdown(manifest.title)}. {markdown(manifest.description)}.",
        f"Licence: {markdown(manifest.licence) or 'not stated'}; data set: {markdown(manifest.dataset)}.",
        how[1].rstrip(),
        "All arrays are float32. Images are in [0, 1], the noise `u` is in the open interval (0, 1).",
        "\n".join(rows),
        *([f"Classes: {classes}; {chosen}."] if manifest.label_coordinate is not None else []),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _tensors(names: tuple[str, ...], manifest: Manifest) -> str:
    return ", ".join(f"`{name}` [{', '.join(map(str, ('batch', *manifest.row_shapes[name])))}]" for name in names)
