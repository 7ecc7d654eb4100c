"""aae-zoo train, evaluate, distil and export: from a recipe to a bundle. These need the extra `train`."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from aae_zoo.cli.options import Json
from aae_zoo.cli.printing import print_json, print_table, say
from aae_zoo.runtime.bundles.manifest import metric_text
from aae_zoo.runtime.store.catalogue import names_model

Data = Annotated[Path | None, typer.Option(help="The data set's folder [default: looked for, then downloaded].")]


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe that comes with aae-zoo, or a .toml file.")],
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder [default: runs/<name>].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
    json: Json = False,
) -> None:
    """Train a recipe into a run folder, and measure the result on the test set."""
    from aae_zoo.zoo.processes import Processes
    from aae_zoo.zoo.recipe import load_recipe

    with Processes().agree():
        checked = load_recipe(recipe, set_ or ())
    from aae_zoo.zoo.training.trainer import train as train_recipe

    folder = out or Path("runs") / checked.name
    metrics = train_recipe(checked, folder, data=data, resume=resume)
    if metrics is None:  # this is not the main process; threads of torch.distributed may abort an orderly exit
        os._exit(0)
    _print_metrics(metrics, json)
    if not json:
        say(f"the run is in {folder}; next: aae-zoo export {folder} -o {checked.name}")


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or the NAME of a model or its bundle.")],
    data: Data = None,
    json: Json = False,
) -> None:
    """Measure on the test set a run's weights, or an exported model's anomaly score."""
    if names_model(run):
        from aae_zoo.export.bundling.anomaly import evaluate_model

        _print_metrics(evaluate_model(run, data=data), json)
    else:
        from aae_zoo.zoo.training.trainer import evaluate_run

        _print_metrics(evaluate_run(Path(run), data=data), json)


def distil(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    data: Data = None,
    json: Json = False,
) -> None:
    """Teach a smaller decoder what a run's decoder draws; an export of the run then has both."""
    from aae_zoo.zoo.training.lite import distil as distil_run

    _print_metrics(distil_run(run, data=data), json)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="BUNDLE", help="The bundle's folder, made new.")],
    data: Data = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a bundle that is there, if aae-zoo wrote all of it.")
    ] = False,
    seed_run: Annotated[
        list[Path] | None,
        typer.Option(help="A run of the same recipe with another seed, for figures over seeds; may be repeated."),
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="int8 or fp16: graphs beside float32's, where they win; may be repeated.")
    ] = None,
) -> None:
    """Export a run to a bundle, if every graph equals its PyTorch model."""
    from aae_zoo.export.bundling.bundle import export_bundle

    manifest = export_bundle(run, output, data=data, replace=replace, seeds=seed_run or (), variants=variant or ())
    say(f"{manifest.name} {manifest.version}, {manifest.size / 1e6:.1f} MB, in {output}; next: aae-zoo sample {output}")


def _print_metrics(metrics: dict[str, Any], json: bool) -> None:
    if json:
        print_json(metrics)
    else:
        print_table(["metric", "value"], [[name, metric_text(value)] for name, value in metrics.items()])


COMMANDS = (train, evaluate, distil, export)
