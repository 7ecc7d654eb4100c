"""The catalogue of models, and where each one is: shipped with the package, in the user's cache, or on the Hub.

Nothing here imports numpy, ONNX Runtime or huggingface_hub, and nothing goes to the network.
"""

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

from aae_zoo.runtime.bundles.bundle import Bundle, has_manifest, open_bundle
from aae_zoo.runtime.bundles.names import MANIFEST, is_plain_name
from aae_zoo.runtime.bundles.rules import SHA256
from aae_zoo.runtime.documents import parse_document
from aae_zoo.runtime.errors import InvalidBundle, InvalidInput, ModelNotFound, path_text, reinstalling
from aae_zoo.runtime.store.cache import cache_folder, is_cached, known, model_folder

SHIPPED: Final = Path(__file__).parents[1] / "models"
_REPOSITORY: Final = re.compile(r"([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
_MOST_BYTES: Final = 1 << 40
_KINDS: Final[Mapping[str, Any]] = {
    "description": str,
    "shipped": bool,
    "repository": str | None,
    "revision": str | None,
    "sha256": str,
    "size": int,
    "metrics": dict,
}
_PIN: Final = re.compile(rf"(.+)#sha256=({SHA256})", re.DOTALL)


class CatalogueEntry(NamedTuple):
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
    """Where a model could be pulled from.

    `asked` is the whole text that it was asked for by, `name` that without a revision and a pin; `repository` is None
    where nobody has said whose it is; `sha256` is what its manifest must have, which the pin says if it is `pinned`,
    or else the catalogue.
    """

    asked: str
    name: str
    repository: str | None
    revision: str
    sha256: str | None
    pinned: bool = False


def list_models(pattern: str = "*") -> list[CatalogueEntry]:
    """The models of the installed catalogue whose names match a shell's pattern, such as "mnist-*", by name.

    Raises:
        InvalidInput: the pattern is no text.
        InvalidBundle: the installed catalogue is damaged.
    """
    path = SHIPPED / "catalogue.json"
    try:
        entries = parse_catalogue(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidBundle(
            f"the catalogue {path} is missing or damaged ({error}); "
            + reinstalling("pip install --force-reinstall aae-zoo")
        ) from None
    shell = path_text(pattern, "the pattern")
    return [entry for entry in entries if fnmatchcase(entry.name, shell)]


def parse_catalogue(text: bytes) -> list[CatalogueEntry]:
    """The models that a catalogue lists, by name.

    Raises:
        ValueError: it is damaged; the message goes on from the catalogue's name.
    """
    entries = parse_document(text).get("models")
    if not isinstance(entries, dict):
        raise ValueError("has no models")
    return [_entry(name, entries[name]) for name in sorted(entries)]


def _entry(name: str, about: object) -> CatalogueEntry:
    if not isinstance(about, dict) or about.keys() != _KINDS.keys():
        raise ValueError(f"does not describe {ascii(name)[:80]} by {', '.join(_KINDS)}")
    for key, kind in _KINDS.items():
        if not isinstance(about[key], kind) or (kind is int and about[key] is True):
            raise ValueError(f"says of {ascii(name)[:80]} the {key} {ascii(about[key])[:80]}")
    told = re.fullmatch(SHA256, about["sha256"]) and isinstance(about["metrics"].get("mse"), float)
    if not is_plain_name(name) or not told or not 0 <= about["size"] < _MOST_BYTES:
        raise ValueError(f"has no plain name, SHA-256, size or error of {ascii(name)[:80]}")
    return CatalogueEntry(name=name, **about)


def find_model(name: str | os.PathLike[str]) -> Bundle:
    """Open a model that is on this machine by catalogue name, bundle folder or repository ("org/repo[@revision]").

    A name of the catalogue is looked for among the shipped models, then in the cache; a repository in the cache. Each
    may end in a pin, "#sha256=" and the SHA-256 that the manifest must have.

    Raises:
        InvalidInput: the pin is malformed.
        ModelNotFound: there is no such model, or it is not on this machine.
        InvalidBundle: it is there, but its manifest is missing, malformed or not the pinned one.
    """
    text = path_text(name, "the name")
    if here := shipped_or_folder(text):
        return here
    place = remote(text)
    if found := cached(place):
        return found
    shipped = "not shipped with this package and " if place.name in _entries() else ""
    raise ModelNotFound(f"{text} is {shipped}not in the cache {cache_folder()}; aae-zoo pull {text} gets it")


def shipped_or_folder(text: str) -> Bundle | None:
    """The shipped model of a catalogue name, or the bundle in a folder; None where it names neither.

    A pin other than that of the shipped model asks for another version of it, which is looked for elsewhere.

    Raises:
        InvalidInput: the pin is malformed.
        InvalidBundle: its manifest is missing, malformed or not the pinned one.
    """
    name, pin = _split(text)
    if entry := _entries().get(name):
        mend = "pip install --force-reinstall aae-zoo, or remove the folder"
        found = _checked(SHIPPED / name, entry.sha256, mend) if pin in (None, entry.sha256) else None
        _warn_of_namesake(name, found)
        return found
    if not os.path.isdir(name):
        return None
    bundle = open_bundle(Path(name))
    return _agreed(bundle, pin, "give the folder of the pinned bundle") if pin else bundle


def _warn_of_namesake(name: str, taken: Bundle | None) -> None:
    """Say that a name of the catalogue does not name the bundle in a folder that is called so."""
    folder = Path(name)
    if has_manifest(folder) and not (taken and folder.samefile(taken.folder)):
        warnings.warn(
            f"{name} is the model of the catalogue; give ./{name} for the bundle in the folder {name}",
            RuntimeWarning,
            stacklevel=3,
        )


def remote(text: str, namespace: str | None = None) -> Remote:
    """Where a model could be pulled from; `namespace`, or $AAE_ZOO_NAMESPACE, is whose the catalogue's models are.

    `text` is NAME[#sha256=...] of the catalogue, or ORG/NAME[@REVISION][#sha256=...].

    Raises:
        InvalidInput: the pin is malformed.
        ModelNotFound: it is neither a name of the catalogue nor of a repository.
    """
    name, pin = _split(text)
    entries = _entries()
    if entry := entries.get(name):
        place = _remote_of(entry, namespace or os.environ.get("AAE_ZOO_NAMESPACE"))
    elif (match := _REPOSITORY.fullmatch(name)) and not name.startswith("."):
        organisation, repository, revision = match.groups()
        repository = f"{organisation}/{repository}"
        place = Remote(text, repository, repository, revision or "main", None)
    else:
        raise _unknown(name, entries)
    return place._replace(asked=text, sha256=pin, pinned=True) if pin else place


def cached(place: Remote) -> Bundle | None:
    """The bundle in the cache, or None where it was not pulled.

    Raises:
        InvalidBundle: it is there, but its manifest was altered.
    """
    found = known(place.repository, place.revision) if place.repository and place.sha256 is None else None
    sha256 = found.sha256 if found else place.sha256
    bundle = _checked(model_folder(sha256), sha256, f"aae-zoo pull {place.asked}") if sha256 else None
    return replace(bundle, source=place.asked) if bundle else None


def names_model(name: str) -> bool:
    """Whether `name` is a bundle's folder, or in the catalogue and no other folder's."""
    name, _ = _split(name)
    folder = Path(name)
    return has_manifest(folder) or (not os.path.exists(folder) and name in _entries())


def as_name(bundle: Path) -> str:
    """What commands take for the bundle in a folder: a plain name could be that of a model of the catalogue."""
    return str(bundle) if len(bundle.parts) > 1 else f"./{bundle}"


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


def _split(text: str) -> tuple[str, str | None]:
    """A text that names a model, without its pin, and the SHA-256 that its pin asks for.

    Raises:
        InvalidInput: what comes after # is not a pin, and there is no folder with # in its name.
    """
    if match := _PIN.fullmatch(text):
        return match[1], match[2]
    if "#" in text and not Path(text).is_dir():
        raise InvalidInput(
            f"{text!r} has no pin after its #; expected #sha256= and the 64 hexadecimal digits (0-9, a-f) of the "
            "manifest, as aae-zoo publish prints them"
        )
    return text, None


def _unknown(name: str, entries: Mapping[str, CatalogueEntry]) -> ModelNotFound:
    if os.sep in name or name.startswith("."):
        return ModelNotFound(f"there is no folder {name}; give a bundle's folder, or a model that aae-zoo list shows")
    import difflib  # slow to import, and only a mistake needs it

    near = difflib.get_close_matches(name, entries, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(entries)}"
    return ModelNotFound(f"there is no model {name!r}; {hint} (aae-zoo list shows all)")


def _remote_of(entry: CatalogueEntry, namespace: str | None) -> Remote:
    """The catalogue's repository and pin; of another owner the newest commit, which must have the same manifest."""
    repository, revision = entry.repository, entry.revision
    if namespace and (repository or "").partition("/")[0] != namespace:
        repository, revision = f"{namespace}/{entry.name}", None
    return Remote(entry.name, entry.name, repository, revision or "main", entry.sha256)


def _checked(folder: Path, sha256: str, mend: str) -> Bundle | None:
    """The bundle in a folder that must have this manifest; None where there is no bundle."""
    if not has_manifest(folder):
        return None
    return _agreed(open_bundle(folder), sha256, mend)


def _agreed(bundle: Bundle, sha256: str, mend: str) -> Bundle:
    if bundle.manifest_sha256 != sha256:
        raise InvalidBundle(
            f"{bundle.folder / MANIFEST} has SHA-256 {bundle.manifest_sha256}, expected {sha256}; {mend}"
        )
    return bundle
