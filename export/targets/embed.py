"""A model inside another program: its graphs, an example that draws with them, and how to run it.

The examples are the checkout's folder examples/, which wheels have as aae_zoo.examples. Nothing here needs PyTorch.
"""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from aae_zoo.export.pages.web_runtime import copy_web_runtime
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.errors import InvalidInput
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
    with atomic_folder(out, "embed") as folder:
        for role in GRAPHS:
            (folder / f"{role}.onnx").write_bytes(bundle.read(bundle.manifest.graph_file(role)))
        for number, file in enumerate(LANGUAGES[language]):
            text = example(file)
            (folder / Path(file).name).write_text(_filled(text, bundle.manifest) if number == 0 else text, "utf-8")
        if language == "browser":
            copy_web_runtime(folder / "ort", node_modules)
        (folder / "README.md").write_text(_readme(bundle, language), "utf-8")
    return bundle.manifest


def example(file: str) -> str:
    """The text of a file of examples/."""
    return files("aae_zoo.examples").joinpath(file).read_text("utf-8")


def _filled(text: str, manifest: Manifest) -> str:
    classes = f", {len(manifest.labels)} classes" if manifest.label_coordinate is not None else ""
    sizes = f"images {manifest.image}, code [{manifest.latent}], noise [{manifest.noise}]{classes}"
    return text.replace(_ANY, f"Model: {manifest.name} {manifest.version}; {sizes}.")


def _readme(bundle: Bundle, language: str) -> str:
    manifest = bundle.manifest
    how = re.search(rf"^## {language}\n\n(.*?)(?=^## |\Z)", example("README.md"), re.DOTALL | re.MULTILINE)
    assert how is not None  # noqa: S101 - examples/README.md has a section for each language
    rows = [
        "| graph | inputs | outputs |",
        "| --- | --- | --- |",
        *(f"| `{role}.onnx` | {ins} | {outs} |" for role, (ins, outs) in _signatures(bundle).items()),
    ]
    classes = ", ".join(f"{number} `{label}`" for number, label in enumerate(manifest.labels))
    chosen = f"coordinate {manifest.label_coordinate} of `u` chooses one, (number + uniform) / {len(manifest.labels)}"
    paragraphs = [
        f"# {manifest.name} {manifest.version} in your program",
        f"{manifest.title}. {manifest.description}.",
        f"Licence: {manifest.licence or 'not stated'}; data set: {manifest.dataset}.",
        how[1].rstrip(),
        "All arrays are float32. Images are in [0, 1], the noise `u` is in the open interval (0, 1).",
        "\n".join(rows),
        *([f"Classes: {classes}; {chosen}."] if manifest.label_coordinate is not None else []),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _signatures(bundle: Bundle) -> dict[str, tuple[str, str]]:
    """What each graph takes and gives, as its own session tells."""
    from aae_zoo.runtime.engine.session import open_session  # imports ONNX Runtime

    told = {}
    for role in GRAPHS:
        session = open_session(bundle.read(bundle.manifest.graph_file(role)), role, device="cpu", threads=1)
        told[role] = (_nodes(session.get_inputs()), _nodes(session.get_outputs()))
    return told


def _nodes(nodes: Sequence[Any]) -> str:
    return ", ".join(f"`{node.name}` [{', '.join(map(str, ['batch', *node.shape[1:]]))}]" for node in nodes)
