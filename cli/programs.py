"""aae-zoo embed and explore: a model in another program, or in a page."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from aae_zoo.cli.options import Name
from aae_zoo.cli.printing import note, say

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
    """Write the graphs and an example for a program of yours.

    It holds all that a program needs to draw with a model, and runs as it is.
    """
    from aae_zoo.export.targets.embed import embed as write

    manifest = write(name, lang, output, node_modules=node_modules)
    say(f"{manifest.name} {manifest.version} for {lang} in {output.resolve()}; its README.md says how to run it")


def explore(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A model; without --all [default: mnist-gauss]."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The site's folder.")] = Path("site"),
    all_: Annotated[bool, typer.Option("--all", help="A page for each model of the catalogue.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Serve it on this machine and open the browser.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a site that is there, if aae-zoo wrote all of it.")
    ] = False,
    node_modules: NodeModules = None,
) -> None:
    """Write a static page that decodes a model in the browser."""
    if name and all_:
        raise typer.BadParameter(f"give either the model {name} or --all")
    from aae_zoo.export.pages.explore import explore as write
    from aae_zoo.export.pages.explore import explore_all

    if all_:
        count = len(explore_all(output, node_modules=node_modules, replace=replace))
        say(f"pages of {count} models in {output.resolve()}; any static server shows them")
    else:
        manifest = write(name or "mnist-gauss", output, node_modules=node_modules, replace=replace)
        say(f"a page of {manifest.name} in {output.resolve()}; any static server shows it")
    if serve:
        _serve(output)


def _serve(folder: Path) -> None:
    import webbrowser

    from aae_zoo.export.pages.explore import serve

    with serve(folder) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        note(f"serving {url} until Ctrl-C")
        webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
