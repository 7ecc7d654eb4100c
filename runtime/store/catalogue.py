"""The catalogue of models, and where each one is: shipped with the package, in the user's cache, or on the Hub.

Nothing here imports numpy, ONNX Runtime or huggingface_hub, and nothing goes to the network.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.manifest import MANIFEST
from aae_zoo.runtime.errors import InvalidBundle, ModelNotFound
from aae_zoo.runtime.store.cache import cache_folder, is_cached, known, model_folder

SHIPPED: Final = Path(__file__).parents[1] / "models"
_REPOSITORY: Final = re.compile(r"([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")


@dataclass(frozen=True)
class CatalogueEntry:
    """One model of the catalogue.

    `shipped` says whether the bundle comes with the package; `repository` and `revision` name its Hub
    repository and the pinned commit, or are None; `sha256` is the manifest's; `size` the bundle's bytes.
    """

    name: str
    description: str
    shipped: bool
    repository: str | None
    revision: str | None
    sha256: str
    size: int
    metrics: Mapping[str, Any]


class Remote(NamedTuple):
    """Where a model that is asked for by `name` could be pulled from.

    `repository` is None where its owner is not known; `sha256` is what the catalogue says its manifest must have.
    """

    name: str
    repository: str | None
    revision: str
    sha256: str | None


def list_models() -> list[CatalogueEntry]:
    """The models of the installed catalogue, by name.

    Raises:
        InvalidBundle: the installed catalogue is damaged.
    """
    path = SHIPPED / "catalogue.json"
    try:
        entries = json.loads(path.read_text("utf-8"))["models"]
        return [CatalogueEntry(name=name, **entries[name]) for name in sorted(entries)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidBundle(
            f"the catalogue {path} is missing or damaged ({error}); pip install --force-reinstall aae-zoo"
        ) from None


def find_model(name: str | os.PathLike[str]) -> Bundle:
    """Open a model that is on this machine by catalogue name, bundle folder or repository ("org/repo[@revision]").

    A name of the catalogue is looked for among the shipped models, then in the cache; a repository in the cache.

    Raises:
        ModelNotFound: there is no such model, or it is not on this machine.
        InvalidBundle: it is there, but its manifest is missing, malformed or not the catalogue's.
    """
    text = os.fspath(name)
    if found := shipped_or_folder(text) or cached(remote(text)):
        return found
    shipped = "not shipped with this package and " if text in _entries() else ""
    raise ModelNotFound(f"{text} is {shipped}not in the cache {cache_folder()}; aae-zoo pull {text} gets it")


def shipped_or_folder(text: str) -> Bundle | None:
    """The shipped model of a catalogue name, or the bundle in a folder; None where it names neither.

    Raises:
        InvalidBundle: its manifest is missing, malformed or not the catalogue's.
    """
    if entry := _entries().get(text):
        return _checked(SHIPPED / text, entry.sha256, "pip install --force-reinstall aae-zoo, or remove the folder")
    return open_bundle(Path(text)) if Path(text).is_dir() else None


def remote(text: str, namespace: str | None = None) -> Remote:
    """Where a model could be pulled from; `namespace`, or $AAE_ZOO_NAMESPACE, is whose the catalogue's models are.

    Raises:
        ModelNotFound: it is neither a name of the catalogue nor of a repository.
    """
    entries = _entries()
    if entry := entries.get(text):
        return _remote_of(entry, namespace or os.environ.get("AAE_ZOO_NAMESPACE"))
    if (match := _REPOSITORY.fullmatch(text)) and not text.startswith("."):
        organisation, repository, revision = match.groups()
        return Remote(text, f"{organisation}/{repository}", revision or "main", None)
    if os.sep in text or text.startswith("."):
        raise ModelNotFound(f"there is no folder {text}; give a bundle's folder, or a model that aae-zoo list shows")
    import difflib  # slow to import, and only a mistake needs it

    near = difflib.get_close_matches(text, entries, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(entries)}"
    raise ModelNotFound(f"there is no model {text!r}; {hint} (aae-zoo list shows all)")


def cached(place: Remote) -> Bundle | None:
    """The bundle in the cache, or None where it was not pulled.

    Raises:
        InvalidBundle: it is there, but its manifest was altered.
    """
    found = known(place.repository, place.revision) if place.repository and place.sha256 is None else None
    sha256 = found.sha256 if found else place.sha256
    bundle = _checked(model_folder(sha256), sha256, f"aae-zoo pull {place.name}") if sha256 else None
    return replace(bundle, source=place.name) if bundle else None


def names_model(name: str) -> bool:
    """Whether `name` is a bundle's folder, or in the catalogue and no other folder's."""
    folder = Path(name)
    return (folder / MANIFEST).is_file() or (not folder.exists() and name in {entry.name for entry in list_models()})


def place_of(entry: CatalogueEntry) -> str:
    """Where a model of the catalogue would be taken from: "shipped", "cached" or "hub"."""
    return "shipped" if entry.shipped else "cached" if is_cached(entry.sha256) else "hub"


def where(bundle: Bundle) -> str:
    """Where a bundle is: "shipped" with the package, "cached", or "a local folder"."""
    parents = bundle.folder.resolve().parents
    places = {SHIPPED: "shipped", cache_folder(): "cached"}
    return next((word for place, word in places.items() if place.resolve() in parents), "a local folder")


def _entries() -> dict[str, CatalogueEntry]:
    return {entry.name: entry for entry in list_models()}


def _remote_of(entry: CatalogueEntry, namespace: str | None) -> Remote:
    """The catalogue's repository and pin; of another owner the newest commit, which must have the same manifest."""
    if namespace and (entry.repository or "").partition("/")[0] != namespace:
        return Remote(entry.name, f"{namespace}/{entry.name}", "main", entry.sha256)
    return Remote(entry.name, entry.repository, entry.revision or "main", entry.sha256)


def _checked(folder: Path, sha256: str, mend: str) -> Bundle | None:
    """The bundle in a folder that must have this manifest; None where there is no bundle."""
    if not (folder / MANIFEST).is_file():
        return None
    bundle = open_bundle(folder)
    if bundle.manifest_sha256 != sha256:
        raise InvalidBundle(f"{folder / MANIFEST} has SHA-256 {bundle.manifest_sha256}, expected {sha256}; {mend}")
    return bundle
