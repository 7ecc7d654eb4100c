"""aae-zoo serve and export-triton: a model for others to ask over a network."""

from pathlib import Path
from typing import Annotated

import typer

from aae_zoo.cli.options import Device, Isolate, Name, Threads
from aae_zoo.cli.printing import say
from aae_zoo.runtime.errors import MissingBackend


def serve(
    name: Name,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)] = 8000,
    requests: Annotated[int, typer.Option(help="Requests in work at once; more are told to try again.", min=1)] = 128,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name that the service is called, beside its address; * for any.")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="A site whose pages may ask, as https://example.org.")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    isolate: Isolate = False,
) -> None:
    """Serve a model over HTTP.

    To sample, encode and decode, and for the Open Inference Protocol.
    """
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
