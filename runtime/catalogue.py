"""The catalogue of models, and where each one is: shipped with the package, or in the user's cache.

Nothing here imports numpy, ONNX Runtime or huggingface_hub, and nothing goes to the network.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aae_zoo.runtime.bundle import Bundle, open_bundle
from aae_zoo.runtime.errors import InvalidBundle, ModelNotFound

SHIPPED: Final = Path(__file__).parent / "models"
_REPOSITORY: Final = re.compile(r"([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)(?:@([\w.-]+))?")


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


def cache_folder() -> Path:
    """The folder of downloaded models: $AAE_ZOO_CACHE, or aae-zoo in the user's cache folder."""
    if chosen := os.environ.get("AAE_ZOO_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aae-zoo"


def find_model(name: str | os.PathLike[str]) -> Bundle:
    """Open a model by catalogue name, bundle folder or Hub repository ("org/repo[@revision]").

    A name of the catalogue is looked for among the shipped models, then in the cache; a repository in the cache.

    Raises:
        ModelNotFound: there is no such model, or it is not on this machine.
        InvalidBundle: it is there, but its manifest is missing, malformed or not the catalogue's.
    """
    text = os.fspath(name)
    entries = {entry.name: entry for entry in list_models()}
    if text in entries:
        return _find_entry(entries[text])
    if Path(text).is_dir():
        return open_bundle(Path(text))
    if (match := _REPOSITORY.fullmatch(text)) and not text.startswith("."):
        return _find_repository(text, match)
    if os.sep in text or text.startswith("."):
        raise ModelNotFound(f"there is no folder {text}; give a bundle's folder, or a model that aae-zoo list shows")
    import difflib  # slow to import, and only a mistake needs it

    near = difflib.get_close_matches(text, entries, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(entries)}"
    raise ModelNotFound(f"there is no model {text!r}; {hint} (aae-zoo list shows all)")


def names_model(name: str) -> bool:
    """Whether `name` is a bundle's folder, or in the catalogue and no other folder's."""
    folder = Path(name)
    return (folder / "manifest.json").is_file() or (
        not folder.exists() and name in {entry.name for entry in list_models()}
    )


def where(bundle: Bundle) -> str:
    """Where a bundle is: "shipped" with the package, "cached", or "a local folder"."""
    parents = bundle.folder.resolve().parents
    places = {SHIPPED: "shipped", cache_folder(): "cached"}
    return next((word for place, word in places.items() if place.resolve() in parents), "a local folder")


def _find_entry(entry: CatalogueEntry) -> Bundle:
    for folder in (SHIPPED / entry.name, cache_folder() / entry.name):
        if (folder / "manifest.json").is_file():
            bundle = open_bundle(folder)
            if bundle.manifest_sha256 != entry.sha256:
                raise InvalidBundle(
                    f"{folder / 'manifest.json'} has SHA-256 {bundle.manifest_sha256}, the catalogue expects "
                    f"{entry.sha256}; pip install --force-reinstall aae-zoo, or remove the folder"
                )
            return bundle
    raise ModelNotFound(
        f"{entry.name} is neither shipped with this package nor in the cache {cache_folder()}; "
        f"give the folder of its bundle instead"
    )


def _find_repository(text: str, match: re.Match[str]) -> Bundle:
    organisation, repository, revision = match.groups()
    folder = cache_folder() / organisation / f"{repository}@{revision or 'main'}"
    if (folder / "manifest.json").is_file():
        return open_bundle(folder)
    raise ModelNotFound(
        f"{text} is not in the cache {cache_folder()}, nor a folder; give the folder of its bundle instead"
    )
