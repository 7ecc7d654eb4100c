"""Bringing a model into the cache, from the Hub or from a folder of bundles: only what lacks, checked, all or nothing.

Files grow in a folder of their own, where an interrupted download goes on; each is compared with the manifest's size
and SHA-256, and the manifest with the catalogue's pin where there is one, before the one rename that makes the model
visible. Of several processes that pull the same model, one downloads, and the others wait for it.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.manifest import MAX_MANIFEST_BYTES, ROLES, FileRecord, Manifest, parse_manifest
from aae_zoo.runtime.errors import HubError, InvalidBundle, InvalidInput, ModelNotFound
from aae_zoo.runtime.store.cache import (
    Known,
    cache_errors,
    cache_folder,
    is_cached,
    known,
    model_folder,
    partial_folder,
    remember,
)
from aae_zoo.runtime.store.catalogue import Remote, cached, remote, shipped_or_folder, where
from aae_zoo.runtime.store.source import COMMIT, MANIFEST, FolderSource, Source

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
    repository the Hub is asked for the newest commit, unless the revision is one. What comes must have the manifest
    that a pin names, "#sha256=..." at the end of the name, or else the catalogue. `precision` and `only` (roles)
    choose graphs, by default all files; `namespace` is whose repositories are asked for catalogue names; `folder`
    one of bundles to take instead of the Hub; `force` downloads again what is there.

    Raises:
        InvalidInput: the pin is malformed.
        ModelNotFound: it is nowhere; the message says where it was looked for.
        HubError: the Hub cannot be reached, refuses or fails.
        InvalidBundle: what was found is not whole, or does not have the pinned manifest.
        OutputError: the cache cannot be written.
    """
    text = os.fspath(name)

    def choose(manifest: Manifest) -> list[str]:
        return chosen_files(manifest, precision, only)

    here = shipped_or_folder(text)
    if here and not (force and where(here) == "shipped"):
        return _checked_here(here, choose)
    place = remote(text, namespace)
    exact = place.sha256 or (_known_sha256(place) if COMMIT.fullmatch(place.revision) else None)
    if exact and not force and (bundle := _sound(exact, choose)):
        return Pulled(bundle, choose(bundle.manifest), "cached")
    try:
        return _fetch(place, choose, folder, force)
    except HubError as error:
        last = None if force or place.sha256 else _known_sha256(place)
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
        InvalidInput: a role that there is not.
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
    """Ask for the manifest, and bring what lacks of the files that are chosen from it."""
    source = _open_source(place, folder)
    text = _read_manifest(source)
    sha256 = hashlib.sha256(text).hexdigest()
    if place.sha256 not in (None, sha256):
        raise _another_manifest(place, source, sha256)
    manifest = parse_manifest(text, f"{source.where}/{MANIFEST}")
    names, found = choose(manifest), "cached"
    with cache_errors():
        bundle = None if force else _sound(sha256, choose)
        if bundle is None:
            from aae_zoo.runtime.store.hub import one_at_a_time

            with one_at_a_time(cache_folder() / "locks" / f"{sha256}.lock"):
                bundle = None if force else _sound(sha256, choose)  # another process may have done it meanwhile
                if bundle is None:
                    bundle, found = _download(source, text, manifest, names, force), f"pulled from {source.exactly}"
        _remember(place, source, sha256)
    return Pulled(replace(bundle, source=place.asked), names, found)


def _another_manifest(place: Remote, source: Source, sha256: str) -> InvalidBundle:
    who, mend = "the catalogue", "pip install -U aae-zoo, or pull the repository by its own name"
    if place.pinned:
        who, mend = "the pin", "see whether the pin and where it is pulled from are right, or leave the pin out"
    return InvalidBundle(
        f"{source.where} has a manifest of SHA-256 {sha256}, {who} expects {place.sha256}; "
        f"{mend} to have what is there now"
    )


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
        if place.name == place.repository:  # of no catalogue
            raise
        raise ModelNotFound(
            f"{place.asked} is not shipped with this package, not in the cache {cache_folder()}, and not to be had "
            f"elsewhere: {error}"
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
    """Bring the files that lack, and make the model visible with them."""
    sha256 = hashlib.sha256(text).hexdigest()
    folder, partial, records = model_folder(sha256), partial_folder(sha256), manifest.files
    partial.mkdir(parents=True, exist_ok=True)
    lacking = [name for name in names if force or _problem(folder / name, records[name])]
    total = sum(records[name].size for name in lacking)
    done = sum(min(_bytes(partial / name), records[name].size) for name in lacking)
    with source.progress(manifest.name, total, done) as advance:
        for name in lacking:
            _grow(source, name, records[name], partial / name, advance)
    (partial / MANIFEST).write_bytes(text)
    _show(partial, folder, [*lacking, MANIFEST])
    return open_bundle(folder)


def _grow(source: Source, name: str, record: FileRecord, part: Path, advance: Callable[[int], object]) -> None:
    """Bring what `part` lacks of a file; where what there was turns out to be wrong, all of it."""
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
        f"{source.where}: {name} has come with {problem}; pull again, and if it stays so, tell the repository's owner"
    )


def _show(partial: Path, folder: Path, names: Sequence[str]) -> None:
    """Make the model visible; where it is already, with fewer files or damaged ones, file by file."""
    for other in partial.iterdir():
        if other.name not in names:  # of an earlier download that asked for more
            other.unlink()
    if folder.exists():
        for name in names:
            (partial / name).replace(folder / name)
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
