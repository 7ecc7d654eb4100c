"""The cache of downloaded models: plain folders that anybody can read, named by what is in them.

    <cache>/models/<sha256>/          a bundle; <sha256> is its manifest's. Files nobody asked for are left out,
                                      and its signature, model.sig, comes with every file or not at all
    <cache>/names/<org>/<name>@<rev>  JSON: the commit and the manifest's SHA-256 that the Hub had when last asked
    <cache>/partial/<sha256>/         a download under way, or interrupted: the next one goes on with it
    <cache>/locks/<sha256>.lock       held by the process that downloads

A manifest has the SHA-256 of every other file, so its own names the whole model: the same folder whether it came from
the Hub, a mirror or a folder, versions side by side, a moved tag one small file, and the catalogue's pin a look-up
without a network. It is not the Hub client's own cache, because that one never checks what it downloaded, starts over
when it was killed, and cannot be read without importing the client or knowing its links. So `hf cache` does not list
these models; `aae-zoo cache` does.

Nothing here imports numpy, ONNX Runtime or huggingface_hub, and nothing goes to the network.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.errors import AaeZooError, InvalidBundle, ModelNotFound, OutputError
from aae_zoo.runtime.files import atomic_file

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Known(NamedTuple):
    """What the Hub had under a name when it was last asked: a commit, and the SHA-256 of the manifest there."""

    commit: str
    sha256: str


@dataclass(frozen=True)
class CachedModel:
    """One folder of the cache.

    `state` is "whole", "in part" where some files were not asked for, "interrupted" or "damaged"; `size` is the
    bytes that are there; `names` are the repositories it was pulled from, as org/name@revision.
    """

    name: str
    version: str
    state: str
    size: int
    names: tuple[str, ...]
    sha256: str
    folder: Path


def cache_folder() -> Path:
    """The folder of downloaded models: $AAE_ZOO_CACHE, or aae-zoo in the user's cache folder."""
    if chosen := os.environ.get("AAE_ZOO_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aae-zoo"


@contextmanager
def cache_errors() -> Iterator[None]:
    """Turn any OSError while the cache is written into one OutputError that says what to do.

    Raises:
        OutputError: the disk is full, the cache is read-only, a parent is a file, and the like.
    """
    try:
        yield
    except AaeZooError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write to the cache {cache_folder()}: {error.strerror or error}; "
            "make room there, or set AAE_ZOO_CACHE to a folder that is writable and has free space"
        ) from error


def model_folder(sha256: str) -> Path:
    """Where the bundle whose manifest has this SHA-256 is, if it is there."""
    return cache_folder() / "models" / sha256


def partial_folder(sha256: str) -> Path:
    """Where the download of that bundle grows."""
    return cache_folder() / "partial" / sha256


def is_cached(sha256: str) -> bool:
    """Whether there is a bundle of this manifest; what is in it is checked when it is read."""
    return (model_folder(sha256) / "manifest.json").is_file()


def known(repository: str, revision: str) -> Known | None:
    """What the Hub had under a name when it was last asked, or None; a damaged record counts as none."""
    try:
        found = Known(**json.loads(_record(repository, revision).read_text("utf-8")))
        return found if _SHA256.fullmatch(found.sha256) else None
    except (OSError, ValueError, TypeError):
        return None


def remember(repository: str, revision: str, found: Known) -> None:
    """Record what the Hub has under a name."""
    with cache_errors(), atomic_file(_record(repository, revision)) as temporary:
        temporary.write_text(json.dumps(found._asdict()) + "\n", "utf-8")


def cached_models() -> list[CachedModel]:
    """All that is in the cache, by name and version; interrupted downloads are last."""
    names = _names()
    models = [_describe(folder, names) for folder in _folders("models")]
    partial = [
        CachedModel("-", "-", "interrupted", _size(folder), names.get(folder.name, ()), folder.name, folder)
        for folder in _folders("partial")
    ]
    return sorted(models, key=lambda model: (model.name, model.version, model.sha256)) + partial


def remove(name: str) -> list[CachedModel]:
    """Remove what `name` names: a model in all its versions, org/name[@revision], or the start of a SHA-256.

    Raises:
        ModelNotFound: nothing in the cache has that name.
        OutputError: the cache cannot be written.
    """
    found = [model for model in cached_models() if _is_named(model, name)]
    if not found:
        raise ModelNotFound(f"there is no {name} in the cache {cache_folder()}; aae-zoo cache lists what is there")
    for model in found:
        _discard(model)
    return found


def clear() -> list[CachedModel]:
    """Remove everything; locks stay, another process may hold one.

    Raises:
        OutputError: the cache cannot be written.
    """
    found = cached_models()
    for model in found:
        _discard(model)
    with cache_errors():
        remove_tree(cache_folder() / "names")
    return found


def _record(repository: str, revision: str) -> Path:
    return cache_folder() / "names" / f"{repository}@{quote(revision, safe='')}"


def _folders(kind: str) -> list[Path]:
    folder = cache_folder() / kind
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _names() -> dict[str, tuple[str, ...]]:
    """The names that were pulled, org/name@revision, by the SHA-256 of what they named."""
    names: dict[str, tuple[str, ...]] = {}
    for path in sorted((cache_folder() / "names").glob("*/*@*")):
        repository, _, revision = f"{path.parent.name}/{path.name}".partition("@")
        if found := known(repository, unquote(revision)):
            names[found.sha256] = (*names.get(found.sha256, ()), f"{repository}@{unquote(revision)}")
    return names


def _describe(folder: Path, names: dict[str, tuple[str, ...]]) -> CachedModel:
    about = (_size(folder), names.get(folder.name, ()), folder.name, folder)
    try:
        bundle = open_bundle(folder)
    except InvalidBundle:
        return CachedModel("-", "-", "damaged", *about)
    sizes = [
        (folder / name).stat().st_size == record.size if (folder / name).exists() else None
        for name, record in bundle.manifest.files.items()
    ]
    state = "whole" if all(sizes) else "in part"
    if bundle.manifest_sha256 != folder.name or False in sizes:
        state = "damaged"
    return CachedModel(bundle.manifest.name, bundle.manifest.version, state, *about)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _is_named(model: CachedModel, name: str) -> bool:
    of_name = [full for full in model.names if name in (full, full.partition("@")[0])]
    return name == model.name or bool(of_name) or (len(name) >= 8 and model.sha256.startswith(name))


def _discard(model: CachedModel) -> None:
    """Remove a folder: it is moved aside first, so that no half of it is ever seen."""
    with cache_errors():
        aside = model.folder.with_name(f".{model.folder.name}.{os.urandom(4).hex()}")
        model.folder.rename(aside)
        remove_tree(aside)
        for name in model.names if model.state != "interrupted" else ():
            repository, _, revision = name.partition("@")
            _record(repository, revision).unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, if it is there."""
    import shutil  # slow to import, and only removing needs it

    if folder.exists():
        shutil.rmtree(folder)
