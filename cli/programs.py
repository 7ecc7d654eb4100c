"""aae-zoo explore, embed, serve and export-triton: a model in a page, in another program, or in a service."""

import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from aae_zoo.cli import completion
from aae_zoo.cli.options import Device, Isolate, Name, NodeModules, Threads
from aae_zoo.cli.printing import say
from aae_zoo.runtime.errors import MissingBackend
from aae_zoo.runtime.escapes import note
from aae_zoo.runtime.words import counted


def embed(
    name: Name,
    lang: Annotated[str, typer.Option(help="python, node, browser, c or cpp.", autocompletion=completion.languages)],
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
        typer.Argument(
            metavar="[NAME]",
            help="A model; without --all [default: mnist-gauss].",
            autocompletion=completion.models,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The site's folder.")] = Path("site"),
    all_: Annotated[bool, typer.Option("--all", help="A page for each model of the catalogue.")] = False,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="The address it will have, so that links to it show a picture.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", "--open", help="Serve it on this machine and open the browser.")
    ] = False,
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
        count = len(explore_all(output, url=url, node_modules=node_modules, replace=replace))
        say(f"pages of {counted(count, 'model')} in {output.resolve()}; any static server shows them")
    else:
        manifest = write(name or "mnist-gauss", output, url=url, node_modules=node_modules, replace=replace)
        say(f"a page of {manifest.name} in {output.resolve()}; any static server shows it")
    if serve:
        _serve_pages(output)
    elif url is None:
        note(
            "for links to it to show a picture everywhere, give the address it will have: --url https://example.org/zoo/"
        )


def serve(
    name: Name,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)] = 8000,
    requests: Annotated[int, typer.Option(help="Requests in work at once; more are told to try again.", min=1)] = 128,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name that the service is called, beside its address; * for any.")
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="A site whose pages may ask, such as https://example.org."),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    isolate: Isolate = False,
) -> None:
    """Serve a model over HTTP.

    To sample, encode, decode, reconstruct and score, and for the Open Inference Protocol.
    """
    # Before what takes long: without a handler the first process of a container is not even sent the signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    # What a terminal sends when it closes, unless nohup is there: whatever SIGTERM does by then.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    from aae_zoo.runtime import load

    model = load(name, device=device, threads=threads, isolate=isolate)
    try:
        from aae_zoo.runtime.serving import server
    except ModuleNotFoundError as error:
        raise MissingBackend(f"{error.name} is not installed; pip install 'aae-zoo[cpu,serve]'") from None
    server.serve(
        model,
        host=host,
        port=port,
        requests=requests,
        hosts=allow_host or (),
        origins=cors or (),
        announce=lambda url: say(f"serving {model.manifest.name} on {url} (its pages: {url}/docs)", flush=True),
    )


def export_triton(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="The new folder of the model repository.")],
) -> None:
    """Write a model repository for NVIDIA's Triton server."""
    from aae_zoo.export.targets.triton import export_triton as export
    from aae_zoo.runtime.store.catalogue import find_model

    bundle = find_model(name)
    export(bundle, output)
    say(f"{bundle.manifest.name} for Triton in {output.resolve()}; tritonserver --model-repository={output.resolve()}")


def _serve_pages(folder: Path) -> None:
    import webbrowser

    from aae_zoo.export.pages.explore import serve

    with serve(folder) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        note(f"serving {url} until Ctrl-C")
        webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
