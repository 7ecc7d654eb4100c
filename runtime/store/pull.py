"""Bringing a model into the cache, from the Hub or a folder of bundles: only what is missing, checked, all or nothing.

Files grow in a folder of their own, where an interrupted download goes on; each is compared with the manifest's size
and SHA-256, and the manifest with the catalogue's pin where there is one, before the one rename that makes the model
visible. Of several processes that pull the same model, one downloads, and the others wait for it.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.manifest import MANIFEST, MAX_MANIFEST_BYTES, ROLES, FileRecord, Manifest, parse_manifest
from aae_zoo.runtime.errors import HubError, InvalidBundle, InvalidInput, ModelNotFound
from aae_zoo.runtime.store.cache import (
    Known,
    cache_errors,
    cache_folder,
    is_cached,
    known,
    model_folder,
    one_at_a_time,
    partial_folder,
    remember,
)
from aae_zoo.runtime.store.catalogue import Remote, cached, remote, shipped_or_folder, where
from aae_zoo.runtime.store.source import FolderSource, Source

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")

Choice = Callable[[Manifest], list[str]]


@dataclass(frozen=True)
class Pulled:
    """A model that is here, with the files that were asked for and checked, and where it was found.

    `where` is "shipped", "cached", "a local folder", or "pulled from ...".
    """

    bundle: Bundle
    files: list[str]
    where: str


def pull(
    name: str | os.PathLike[str],
    *,
    precision: str | None = None,
    only: Sequence[str] = (),
    namespace: str | None = None,
    folder: Path | None = None,
    force: bool = False,
) -> Pulled:
    """Make sure that a model is on this machine and that every file that is asked for is as it should be.

    A catalogue name is looked for among the shipped models, in the cache and on the Hub, in that order; of a
    repository the Hub is asked for the newest commit, unless the revision is one. `precision` and `only` (roles)
    choose graphs, by default all files; `namespace` is whose repositories are asked for catalogue names; `folder`
    one of bundles to take instead of the Hub; `force` downloads again what is there.

    Raises:
        ModelNotFound: it is nowhere; the message says where it was looked for.
        HubError: the Hub cannot be reached, refuses or fails.
        InvalidBundle: what was found is not whole, or not what the catalogue pins.
        OutputError: the cache cannot be written.
    """
    text = os.fspath(name)

    def choose(manifest: Manifest) -> list[str]:
        return chosen_files(manifest, precision, only)

    here = shipped_or_folder(text)
    if here and not (force and where(here) == "shipped"):
        return _checked_here(here, choose)
    place = remote(text, namespace)
    exact = place.sha256 or (_known_sha256(place) if _COMMIT.fullmatch(place.revision) else None)
    if exact and not force and (bundle := _sound(exact, choose)):
        return Pulled(bundle, choose(bundle.manifest), "cached")
    try:
        return _fetch(place, choose, folder, force)
    except HubError as error:
        last = None if force else _known_sha256(place)
        bundle = _sound(last, choose) if last else None
        if bundle is None:
            raise
        warnings.warn(f"{error}; {text} is as it was when it was last pulled", RuntimeWarning, stacklevel=2)
        return Pulled(bundle, choose(bundle.manifest), "cached")


def obtain(name: str | os.PathLike[str], precision: str) -> Bundle:
    """The bundle of a model to load: what is here, without a network, or else its graphs of one precision pulled.

    Raises: as `pull` does.
    """
    text = os.fspath(name)
    if here := shipped_or_folder(text):
        return here
    place = remote(text)
    bundle = cached(place)
    if bundle and any((bundle.folder / file).exists() for file in chosen_files(bundle.manifest, precision, ())):
        return bundle
    return _fetch(place, lambda manifest: chosen_files(manifest, precision, ()), None, False).bundle


def chosen_files(manifest: Manifest, precision: str | None, only: Sequence[str]) -> list[str]:
    """The files of some roles at a precision, or at float32 where a role has no other; of neither, every file.

    Raises:
        InvalidInput: an unknown role.
        InvalidBundle: no graph of these has that precision.
    """
    for role in only:
        if role not in ROLES:
            raise InvalidInput(f"only {role!r} is asked for, expected one of {', '.join(ROLES)}")
    if precision is None and not only:
        return list(manifest.files)
    wanted, roles = precision or "fp32", only or list(manifest.graphs)
    return list(dict.fromkeys(manifest.graph_file(role, manifest.precision_of(role, wanted)) for role in roles))


def _checked_here(bundle: Bundle, choose: Choice) -> Pulled:
    files = [name for name in choose(bundle.manifest) if not bundle.leaves_out(name)]
    for name in files:
        bundle.read(name)
    return Pulled(bundle, files, where(bundle))


def _known_sha256(place: Remote) -> str | None:
    found = known(place.repository, place.revision) if place.repository else None
    return found.sha256 if found else None


def _sound(sha256: str, choose: Choice) -> Bundle | None:
    """The cached bundle of this manifest, if every file that is chosen is there and as it should be."""
    if not is_cached(sha256):
        return None
    try:
        bundle = open_bundle(model_folder(sha256))
        if bundle.manifest_sha256 != sha256:
            return None
        names = choose(bundle.manifest)
    except InvalidBundle:
        return None
    records = bundle.manifest.files
    return bundle if all(_problem(bundle.folder / n, records[n]) is None for n in names) else None


def _fetch(place: Remote, choose: Choice, folder: Path | None, force: bool) -> Pulled:
    """Ask for the manifest, and bring what is missing of the files that are chosen from it."""
    source = _open_source(place, folder)
    text = _read_manifest(source)
    sha256 = hashlib.sha256(text).hexdigest()
    if place.sha256 not in (None, sha256):
        raise InvalidBundle(
            f"{source.where} has a manifest of SHA-256 {sha256}, the catalogue expects {place.sha256}; "
            "pip install -U aae-zoo, or pull the repository by its own name to have what is there now"
        )
    manifest = parse_manifest(text, f"{source.where}/{MANIFEST}")
    names, found = choose(manifest), "cached"
    with cache_errors():
        bundle = None if force else _sound(sha256, choose)
        if bundle is None:
            with one_at_a_time(sha256):
                bundle = None if force else _sound(sha256, choose)  # another process may have done it meanwhile
                if bundle is None:
                    bundle, found = _download(source, text, manifest, names, force), f"pulled from {source.exactly}"
        _remember(place, source, sha256)
    return Pulled(replace(bundle, source=place.name), names, found)


def _remember(place: Remote, source: Source, sha256: str) -> None:
    """Record what the repository's name, and the commit that it stands for, have."""
    now = Known(source.commit, sha256)
    of_repository = source.commit or place.sha256 is None  # and not of a catalogue's name, from a folder
    for revision in {place.revision, source.commit or place.revision} if of_repository else ():
        if place.repository and known(place.repository, revision) != now:
            remember(place.repository, revision, now)


def _open_source(place: Remote, folder: Path | None) -> Source:
    try:
        return _source(place, folder)
    except (HubError, ModelNotFound) as error:
        if place.sha256 is None:
            raise
        raise ModelNotFound(
            f"{place.name} is not shipped with this package, not in the cache {cache_folder()}, and cannot be "
            f"pulled: {error}"
        ) from None


def _source(place: Remote, folder: Path | None) -> Source:
    if folder:
        return FolderSource(folder, place)
    if place.repository is None:
        raise ModelNotFound(
            "no repository is known for it; give --namespace ORG or set AAE_ZOO_NAMESPACE to whose models they are, "
            "or aae-zoo pull --from DIR a folder of bundles"
        )
    from aae_zoo.runtime.store.hub import HubSource

    return HubSource(place.repository, place.revision)


def _read_manifest(source: Source) -> bytes:
    text = b""
    for chunk in source.chunks(MANIFEST, 0):
        text += chunk
        if len(text) > MAX_MANIFEST_BYTES:  # parsing says so
            break
    return text


def _download(source: Source, text: bytes, manifest: Manifest, names: Sequence[str], force: bool) -> Bundle:
    """Bring the missing files, and make the model visible with them."""
    sha256 = hashlib.sha256(text).hexdigest()
    folder, partial, records = model_folder(sha256), partial_folder(sha256), manifest.files
    partial.mkdir(parents=True, exist_ok=True)
    (partial / MANIFEST).write_bytes(text)  # first: it tells which files here are ours, should this be interrupted
    missing = [name for name in names if force or _problem(folder / name, records[name])]
    total = sum(records[name].size for name in missing)
    done = sum(min(_bytes(partial / name), records[name].size) for name in missing)
    with source.progress(manifest.name, total, done) as advance:
        for name in missing:
            _grow(source, name, records[name], partial / name, advance)
    for name in records.keys() - set(missing):  # of an earlier download that asked for more
        (partial / name).unlink(missing_ok=True)
    _show(partial, folder, [*missing, MANIFEST])
    return open_bundle(folder)


def _grow(source: Source, name: str, record: FileRecord, part: Path, advance: Callable[[int], object]) -> None:
    """Bring the rest of a file that begins with `part`; or all of it, where that beginning turns out to be wrong."""
    start = _bytes(part)
    if start < record.size:
        with part.open("ab") as stream:
            for chunk in source.chunks(name, start):
                stream.write(chunk)
                advance(len(chunk))
                if stream.tell() > record.size:
                    break
    if (problem := _problem(part, record)) is None:
        return
    part.unlink(missing_ok=True)
    if start:
        _grow(source, name, record, part, advance)
        return
    raise InvalidBundle(
        f"{source.where}: {name} came with {problem}; pull again, and if it happens again, tell the repository's owner"
    )


def _show(partial: Path, folder: Path, names: Sequence[str]) -> None:
    """Make the model visible; where it is already, with fewer files or damaged ones, file by file."""
    if folder.exists():
        for name in names:
            (partial / name).replace(folder / name)
        with suppress(OSError):  # what is not ours is in it, and stays
            partial.rmdir()
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(folder)


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _problem(path: Path, record: FileRecord) -> str | None:
    """What is wrong with a file: None where it has the size and the hash of its record."""
    if _bytes(path) != record.size or not path.is_file():
        return f"{_bytes(path)} bytes, expected {record.size}"
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if found == record.sha256 else f"SHA-256 {found}, expected {record.sha256}"
