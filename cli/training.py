"""aae-zoo make to export: from a folder of pictures, or a recipe, to a bundle. These need the extra `train`."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aae_zoo.cli.options import ImagesIn, Invert, Json, NodeModules, Range, Resize, Threads
from aae_zoo.cli.printing import print_json, print_table, say
from aae_zoo.runtime.bundles.names import metric_text
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import note
from aae_zoo.runtime.store.catalogue import as_name, names_model
from aae_zoo.runtime.words import counted

if TYPE_CHECKING:
    from aae_zoo.zoo.training.run import Run

Data = Annotated[Path | None, typer.Option(help="The data set's folder [default: looked for, then downloaded].")]
DataOfRun = Annotated[Path | None, typer.Option(help="The data set's folder [default: as the run was trained with].")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of its recipe.")
]
BundleOut = Annotated[Path, typer.Option("--output", "-o", metavar="BUNDLE", help="The bundle's folder, made new.")]


def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="avatars or emoji.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Its folder [default: where it is looked for, in the cache]."
        ),
    ] = None,
) -> None:
    """Build a data set of drawings in colour.

    It is made of packages that npm fetches: avatars are 60,000 drawn faces, which need Node.js and some minutes, and
    emoji are those of two vendors. What was interrupted goes on.
    """
    from aae_zoo.zoo.drawings.building import build

    path = build(name, output)
    say(f"{name}, {path.stat().st_size / 1e6:.0f} MB, in {path}")


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe that comes with aae-zoo, or a .toml file.")],
    data: Data = None,
    name: Annotated[
        str | None, typer.Option(help="What the model is called [default: the recipe's name, or that of your data].")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="The licence of the weights [default: the recipe's].")] = None,
    out: Annotated[
        Path | None, typer.Option("--output", "-o", "--out", help="The run's folder [default: runs/<name>].")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="Begin with a model's weights, as many layers as fit.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")] = None,
    threads: Threads = None,
    tracker: Annotated[
        str, typer.Option(help="What shows losses and pictures meanwhile: tensorboard, wandb, mlflow or none.")
    ] = "tensorboard",
    json: Json = False,
) -> None:
    """Train a recipe into a run, and measure it on the test set."""
    from aae_zoo.zoo.processes import Processes
    from aae_zoo.zoo.recipe import load_recipe

    with Processes().agree():
        checked = load_recipe(recipe, set_ or ()).for_data(data, name=name, licence=licence)
    from aae_zoo.zoo.training.run import Run
    from aae_zoo.zoo.training.trainer import train as train_recipe

    folder = out or Path("runs") / checked.name
    metrics = train_recipe(checked, folder, data=data, resume=resume, threads=threads, tracker=tracker, begin=from_)
    if metrics is None:  # this is not the main process; threads of torch.distributed may abort an orderly exit
        os._exit(0)
    _print_result(Run(folder, checked), metrics, json)


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or the NAME of a model or its bundle.")],
    data: DataOfRun = None,
    json: Json = False,
) -> None:
    """Measure a run, or a model's anomaly score, on the test set."""
    if names_model(run):
        from aae_zoo.export.bundling.anomaly import evaluate_model

        _print_metrics(evaluate_model(run, data=data), json)
    else:
        from aae_zoo.zoo.training.run import Run
        from aae_zoo.zoo.training.trainer import evaluate_run

        _print_result(Run.open(Path(run)), evaluate_run(Path(run), data=data), json)


def judge(
    samples: ImagesIn,
    dataset: Annotated[str, typer.Option(help="The data set that they should be like.")],
    data: Data = None,
    resize: Resize = False,
    invert: Invert = "auto",
    range: Range = None,  # noqa: A002 - the option's name
    json: Json = False,
) -> None:
    """Judge anybody's samples by the real pictures of a data set.

    Beside each figure is that of as many real pictures.
    """
    from aae_zoo.runtime.formats.plan import parse_range
    from aae_zoo.zoo.measure.judge import judge as judge_samples

    report = judge_samples(samples, dataset, data=data, resize=resize, invert=invert, range=parse_range(range))
    if json:
        print_json(report)
        return
    found, real = report["samples"], report["real"]
    print_table(
        ["figure", "samples", "real"], [[name, metric_text(found[name]), metric_text(real[name])] for name in found]
    )
    say(f"in the features of the classifier of {report['dataset']} with the SHA-256 {report['classifier']['sha256']}")


def distil(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    data: DataOfRun = None,
    json: Json = False,
) -> None:
    """Teach a smaller decoder what a run's decoder draws.

    An export of the run then has both.
    """
    from aae_zoo.zoo.training.lite import distil as distil_run

    _print_metrics(distil_run(run, data=data), json)


def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A finished run's folder, or file.py:function, which makes networks.")
    ],
    output: BundleOut,
    data: DataOfRun = None,
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
    anyway: Annotated[bool, typer.Option("--anyway", help="Even where the training failed.")] = False,
) -> None:
    """Export a run, or networks of yours, to a proven bundle.

    There is none unless its graphs equal PyTorch's.
    Of file.py:function, the file is run with all that is in it; the function returns a dict with encoder, decoder and
    what else aae_zoo.export.Modules has. Their images are in --data: a folder of pictures, or an .npy, .npz, idx or
    .csv file.
    """
    from aae_zoo.export.own.factory import export_factory, is_factory

    if is_factory(run):
        if seed_run:
            raise InvalidInput("--seed-run is for runs of a recipe, expected none with networks of your own")
        manifest = export_factory(run, output, data=data, variants=variant or (), replace=replace, anyway=anyway)
    else:
        from aae_zoo.export.bundling.bundle import export_bundle

        manifest = export_bundle(
            Path(run), output, data=data, replace=replace, seeds=seed_run or (), variants=variant or (), anyway=anyway
        )
    say(
        f"{manifest.name} {manifest.version}, {manifest.size / 1e6:.1f} MB, in {output}; "
        f"next: aae-zoo sample {shlex.quote(as_name(output))}"
    )


def make(
    pictures: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of pictures, of any size.")],
    output: BundleOut,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a model and its page that are there, if aae-zoo wrote them.")
    ] = False,
    set_: Settings = None,
    threads: Threads = None,
    node_modules: NodeModules = None,
    json: Json = False,
) -> None:
    """Make a model of a folder of pictures, and its page.

    It draws pictures like those of the folder. Beside the bundle it writes BUNDLE-page, which draws with it in the
    browser, and BUNDLE-run, with which the same command goes on where it was interrupted.
    """
    from aae_zoo.export.making.make import lines, make_model

    made = make_model(
        pictures, output, settings=set_ or (), threads=threads, node_modules=node_modules, replace=replace
    )
    if json:
        print_json(made.to_document())
        return
    for text in lines(made):
        say(text)


def detector(
    pictures: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of normal pictures, of any size.")],
    output: BundleOut,
    odd: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Odd pictures to measure with; none is learned from.")
    ] = None,
    false_alarms: Annotated[
        str, typer.Option(metavar="SHARE", help="How many normal pictures may be odd to it, such as 0.5%.")
    ] = "1%",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a detector and its page that are there, if aae-zoo wrote them.")
    ] = False,
    set_: Settings = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Make a detector of odd pictures from normal ones.

    Beside the bundle it writes BUNDLE-page, which shows what it thinks, and BUNDLE-run, with which the same command
    goes on where it was interrupted.
    """
    from aae_zoo.export.detecting.detector import make_detector
    from aae_zoo.export.detecting.page import lines
    from aae_zoo.export.detecting.promise import parse_share

    made = make_detector(
        pictures,
        output,
        odd=odd,
        false_alarms=parse_share(false_alarms),
        settings=set_ or (),
        threads=threads,
        replace=replace,
    )
    if json:
        print_json(made.to_document())
        return
    for text in lines(made):
        say(text)


def _print_result(run: "Run", metrics: dict[str, Any], json: bool) -> None:
    """Print a training's result in six lines, or all metrics as JSON; and on stderr in what it failed, if it did."""
    from aae_zoo.zoo.measure.health import opinion, problems

    failed = problems(metrics)
    for problem in failed:
        note(f"warning: {problem}")
    if json:
        print_json(metrics)
    else:
        for text in (_trained(run), *opinion(metrics), f"run: {run.folder}", f"next: {_next(run, bool(failed))}"):
            say(text)


def _trained(run: "Run") -> str:
    from aae_zoo.zoo.training.trainer import duration

    name, epochs = run.recipe.name, run.recipe.training.epochs
    if not (run.folder / "run.json").exists():
        return f"{name}: not trained to the end of its {counted(epochs, 'epoch')}"
    facts = run.read_json("run.json")
    data = facts.get("data") or run.recipe.data.dataset
    return f"{name}: trained on {data} for {counted(epochs, 'epoch')}, in {duration(facts['training_seconds'])}"


def _next(run: "Run", failed: bool) -> str:
    """The command that makes a bundle of a run, for people to copy."""
    bundle = Path("bundles") / run.recipe.name
    words = ["aae-zoo", "export", str(run.folder), "-o", str(bundle)]
    words += ["--replace"] * bundle.exists() + ["--anyway"] * failed
    return shlex.join(words)


def _print_metrics(metrics: dict[str, Any], json: bool) -> None:
    if json:
        print_json(metrics)
    else:
        print_table(["metric", "value"], [[name, metric_text(value)] for name, value in metrics.items()])
