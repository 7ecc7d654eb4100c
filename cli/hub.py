"""aae-zoo pull, cache, sign and publish: models from the Hub, in the cache and to the Hub."""

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aae_zoo.cli import completion
from aae_zoo.cli.options import Json
from aae_zoo.cli.printing import print_json, print_table, say
from aae_zoo.runtime.bundles.names import WEIGHTS
from aae_zoo.runtime.store.cache import CachedModel, cache_folder, cached_models, clear, remove
from aae_zoo.runtime.store.catalogue import list_models

if TYPE_CHECKING:
    from aae_zoo.export.targets.publish import Published
    from aae_zoo.runtime.store.pull import Pulled

Namespace = Annotated[
    str | None,
    typer.Option(metavar="ORG", help="Whose repositories the catalogue's models are [default: $AAE_ZOO_NAMESPACE]."),
]


def pull(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A model of the catalogue, or org/repo[@revision], and [#sha256=PIN].",
            autocompletion=completion.models,
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every model of the catalogue.")] = False,
    precision: Annotated[str | None, typer.Option(help="The graphs of this precision alone.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="ROLE", help="This graph alone; may be repeated.")] = None,
    namespace: Namespace = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="A folder of bundles instead of the Hub.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download again what is there.")] = False,
    signer: Annotated[
        Path | None, typer.Option(metavar="KEY.pub", help="The public key of who must have signed it.")
    ] = None,
    json: Json = False,
) -> None:
    """Get a model, or check every file of one that is here.

    What is shipped or cached is checked; what is not comes from the Hub.
    """
    if (name is None) != all_:
        raise typer.BadParameter("give either the NAME of a model or --all")
    from aae_zoo.runtime.store.pull import pull as pull_model

    found = []
    for each in [name] if name is not None else [entry.name for entry in list_models()]:
        parts: dict[str, Any] = {"precision": precision, "only": only or ()}
        found.append(pull_model(each, **parts, namespace=namespace, folder=from_, force=force, signer=signer))
        if not json:
            say(_pulled_text(found[-1], signer))
    if json:
        facts = [_pulled_facts(pulled) for pulled in found]
        print_json(facts if all_ else facts[0])


def cache(
    remove_: Annotated[
        list[str] | None,
        typer.Option(
            "--remove",
            metavar="NAME",
            help="Remove a model by any of the names that are listed.",
            autocompletion=completion.cached,
        ),
    ] = None,
    clear_: Annotated[
        bool, typer.Option("--clear", help="Remove every model that was pulled, and nothing else.")
    ] = False,
    json: Json = False,
) -> None:
    """List the models in the cache, or remove them."""
    if remove_ or clear_:
        gone = clear() if clear_ else [model for name in remove_ or () for model in remove(name)]
        if json:
            print_json([_cached_facts(model) for model in gone])
        else:
            size = sum(model.size for model in gone)
            say(f"removed {len(gone)} of the cache {cache_folder()}, {size / 1e6:.1f} MB")
        return
    models = cached_models()
    if json:
        print_json([_cached_facts(model) for model in models])
        return
    rows = [[m.name, m.version, m.state, f"{m.size / 1e6:.1f} MB", m.sha256[:12], ", ".join(m.names)] for m in models]
    if rows:
        print_table(["name", "version", "state", "size", "manifest", "pulled as"], rows)
    say(f"{len(models)} in the cache {cache_folder()}, {sum(m.size for m in models) / 1e6:.1f} MB")


def sign(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")],
    key: Annotated[Path, typer.Option(metavar="KEY.pem", help="Your private key.")],
) -> None:
    """Sign a bundle, for pull --signer to check.

    The signature is in the OpenSSF Model Signing format.
    """
    from aae_zoo.runtime.bundles.signature import sign_bundle

    say(f"signed: {sign_bundle(bundle, key)}; publish the bundle, and the public key elsewhere")


def publish(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="A bundle's folder; with --all a folder of them, with --space of pages."),
    ] = None,
    repo: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="The repository, made new or updated.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Every bundle of runtime/models, pinned in its catalogue.")
    ] = False,
    space: Annotated[bool, typer.Option("--space", help="Pages that explore wrote, as a static Space.")] = False,
    namespace: Namespace = None,
    private: Annotated[bool, typer.Option("--private", help="A new repository is private.")] = False,
    tag: Annotated[str | None, typer.Option(help="A tag for the commit, such as v1.0.0.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="A pull request instead of a commit.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would change.")] = False,
    json: Json = False,
) -> None:
    """Publish a bundle, or pages, on the Hub.

    The token is that of `hf auth login` or HF_TOKEN.
    """
    if all_ == (repo is not None) or (bundle is None and not all_):
        raise typer.BadParameter("give either a BUNDLE and --repo ORG/NAME, or --all")
    if all_ and space:
        raise typer.BadParameter("--space publishes one folder of pages, --all bundles; give one of them")
    if create_pr and (all_ or tag):
        raise typer.BadParameter("--create-pr makes no commit that --tag or --all could pin")
    from aae_zoo.export.targets.publish import How, publish_all, publish_bundle, publish_space

    how, done = How(private, tag, create_pr, dry_run), []
    if repo is not None and bundle:
        todo: Iterable[Published] = [(publish_space if space else publish_bundle)(bundle, repo, how)]
    else:
        namespace = namespace or os.environ.get("AAE_ZOO_NAMESPACE")
        todo = publish_all(bundle or Path("runtime/models"), namespace, how)
    for published in todo:
        done.append(published)
        if not json:
            for text in _published_lines(published, dry_run):
                say(text)
    if json:
        facts = [asdict(published) for published in done]
        print_json(facts if all_ else facts[0])


def _published_lines(published: "Published", dry_run: bool) -> list[str]:
    changes = [f"{'would add' if dry_run else 'added'} {name}" for name in published.added]
    changes += [f"{'would remove' if dry_run else 'removed'} {name}" for name in published.removed]
    lines = changes or ["everything is there already, no commit was made"]
    if published.commit:
        lines.append(f"commit {published.commit}")
        lines += [f'pin    load("{published.pin}")'] if published.pin else []
    return [f"{published.repository}: {published.url}", *(f"  {line}" for line in lines)]


def _pulled_text(pulled: "Pulled", signer: Path | None) -> str:
    bundle, manifest = pulled.bundle, pulled.bundle.manifest
    whole = {*pulled.files, WEIGHTS} >= set(manifest.files)
    files = "every file" if whole else ", ".join(pulled.files)
    left_out = f" (without {WEIGHTS})" if whole and WEIGHTS in manifest.files and bundle.leaves_out(WEIGHTS) else ""
    right = f"as it should be{left_out}{f' and signed with the key of {signer}' if signer else ''}"
    return f"{manifest.name} {manifest.version} is {pulled.where}, {files} {right}: {bundle.folder}"


def _pulled_facts(pulled: "Pulled") -> dict[str, Any]:
    folder, name = str(pulled.bundle.folder), pulled.bundle.manifest.name
    return {"name": name, "where": pulled.where, "folder": folder, "files": pulled.files}


def _cached_facts(model: CachedModel) -> dict[str, Any]:
    return model._asdict() | {"folder": str(model.folder)}
