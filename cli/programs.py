"""aae-zoo embed and explore: a model in another program, or in a page."""

from pathlib import Path
from typing import Annotated

import typer

from aae_zoo.cli.models import Name

NodeModules = Annotated[
    Path | None,
    typer.Option(help="A node_modules folder with onnxruntime-web [default: fetched once with npm, then cached]."),
]


def embed(
    name: Name,
    lang: Annotated[str, typer.Option(help="python, node, browser, c or cpp.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder, made new.")],
    node_modules: NodeModules = None,
) -> None:
    """Write what a program needs to draw with a model: its graphs and an example that runs as it is."""
    from aae_zoo.export.embed import embed as write

    manifest = write(name, lang, output, node_modules=node_modules)
    print(f"{manifest.name} {manifest.version} for {lang} in {output.resolve()}; its README.md says how to run it")


COMMANDS = (embed,)
