"""Bringing a model into the cache, from the Hub or a folder of bundles: only what is missing, checked, all or nothing.

Files grow in a folder of their own, where an interrupted download goes on; each is compared with the manifest's size
and SHA-256, and the manifest with the catalogue's pin where there is one, before the one rename that makes the model
visible. Of several processes that pull the same model, one downloads, and the others wait for it.
"""

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.manifest import FileRecord, Manifest, parse_manifest
from aae_zoo.runtime.bundles.names import ALL_ROLES, CONFIG, MANIFEST, MAX_MANIFEST_BYTES, SIGNATURE
from aae_zoo.runtime.bundles.signature import (
    MAX_SIGNATURE_BYTES,
    Signer,
    read_signature,
    signed_files,
    within_limit,
)
from aae_zoo.runtime.errors import HubError, InvalidBundle, InvalidInput, ModelNotFound, path_text
from aae_zoo.runtime.files import append_plain, open_plain
from aae_zoo.runtime.store.cache import (
    Known,
    cache_errors,
    cache_folder,
    cached_models,
    folder_to_fill,
    is_cached,
    known,
    make_around,
    model_folder,
    one_at_a_time,
    partial_folder,
    remember,
    remove_files,
)
from aae_zoo.runtime.store.catalogue import Remote, cached, remote, shipped_or_folder, where
from aae_zoo.runtime.store.shared import OWN_FILE, make_folders, open_folder
from aae_zoo.runtime.store.source import COMMIT, FolderSource, Source

Choice = Callable[[Manifest], list[str]]


class _Order(NamedTuple):
    """What is asked of a pull: which files, whether again, and whose signature they must have, if anybody's."""

    choose: Choice
    force: bool = False
    signer: Signer | None = None


class _Offer(NamedTuple):
    """What a source has: the manifest, and the signature where there is one and every file is chosen."""

    source: Source
    text: bytes
    sha256: str
    manifest: Manifest
    signature: bytes | None


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
    signer: Path | None = None,
) -> Pulled:
    """Make sure that a model is on this machine and that every file that is asked for is as it should be.

    A catalogue name is looked for among the shipped models, in the cache and on the Hub, in that order; of a
    repository the Hub is asked for the newest commit, unless the revision is one. What comes must have the manifest
    that a pin names, "#sha256=..." at the end of the name, or else the catalogue. `precision` and `only` (roles)
    choose graphs, by default all files; `namespace` is whose repositories are asked for catalogue names; `folder`
    one of bundles to take instead of the Hub; `force` downloads again what is there; `signer` is the public key (PEM)
    of who must have signed the bundle.

    Raises:
        InvalidInput: the pin is malformed, there is no `folder`, `signer` is not a key, or only a part of what it
            signed is asked for.
        MissingBackend: `signer` needs model-signing, which is not installed.
        ModelNotFound: it is nowhere; the message says where it was looked for.
        HubError: the Hub cannot be reached, refuses or fails.
        InvalidBundle: what was found is not whole, does not have the pinned manifest, or is not what `signer` signed.
        OutputError: the cache cannot be written.
    """
    text = path_text(name, "the name")

    def choose(manifest: Manifest) -> list[str]:
        return chosen_files(manifest, precision, only)

    if signer and (precision or only):
        raise InvalidInput("a signature is over every file of a bundle; leave out --signer, or --precision and --only")
    if folder and not os.path.isdir(folder):
        raise InvalidInput(f"there is no folder {folder}; give --from one of bundles, or leave it out to ask the Hub")
    order = _Order(choose, force, Signer(signer) if signer else None)
    here = shipped_or_folder(text)
    if here and not (force and where(here) == "shipped"):
        return _checked_here(here, order)
    place = remote(text, namespace)
    exact = place.sha256 or (_known_sha256(place) if COMMIT.fullmatch(place.revision) else None)
    if exact and not force and (bundle := _sound(exact, choose)) and _signed(bundle, order):
        return Pulled(bundle, choose(bundle.manifest), "cached")
    try:
        return _fetch(place, order, folder)
    except HubError as error:
        last = None if force or place.sha256 else _known_sha256(place)
        bundle = _sound(last, choose) if last else None
        if bundle is None or not _signed(bundle, order):
            raise
        warnings.warn(f"{error}; {text} is as it was when it was last pulled", RuntimeWarning, stacklevel=2)
        return Pulled(bundle, choose(bundle.manifest), "cached")


def obtain(text: str, precision: str) -> Bundle:
    """The bundle of a model that is not shipped: what is here, without a network, or its graphs of a precision pulled.

    Raises: as `pull` does.
    """
    place = remote(text)
    bundle = cached(place)
    if bundle and any((bundle.folder / file).exists() for file in chosen_files(bundle.manifest, precision, ())):
        return bundle
    return _fetch(place, _Order(lambda manifest: chosen_files(manifest, precision, ())), None).bundle


def chosen_files(manifest: Manifest, precision: str | None, only: Sequence[str]) -> list[str]:
    """The files of some roles at a precision, or at float32 where a role has no other; of neither, every file.

    Raises:
        InvalidInput: an unknown role.
        InvalidBundle: no graph of these has that precision.
    """
    for role in only:
        if role not in ALL_ROLES:
            raise InvalidInput(f"only {role!r} is asked for, expected one of {', '.join(ALL_ROLES)}")
    if precision is None and not only:
        return list(manifest.files)
    wanted, roles = precision or "fp32", only or list(manifest.graphs)
    return list(dict.fromkeys(manifest.graph_file(role, manifest.precision_of(role, wanted)) for role in roles))


def _checked_here(bundle: Bundle, order: _Order) -> Pulled:
    if order.signer:
        order.signer.check(bundle.folder, read_signature(bundle.folder), str(bundle.folder))
    files = [name for name in order.choose(bundle.manifest) if not bundle.leaves_out(name)]
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


def _signed(bundle: Bundle, order: _Order) -> bool:
    """Whether a cached bundle has the signature that is asked for; one without any may have got one since.

    Raises:
        InvalidBundle: it has another.
    """
    signature = read_signature(bundle.folder) if order.signer else None
    if order.signer and signature:
        order.signer.check(bundle.folder, signature, str(bundle.folder))
    return order.signer is None or signature is not None


def _fetch(place: Remote, order: _Order, folder: Path | None) -> Pulled:
    """Ask for the manifest, and bring what is missing of the files that are chosen from it."""
    source = _open_source(place, folder)
    text = _read(source, MANIFEST, MAX_MANIFEST_BYTES)
    sha256 = hashlib.sha256(text).hexdigest()
    if place.sha256 not in (None, sha256):
        raise _another_manifest(place, source, sha256)
    manifest = parse_manifest(text, f"{source.where}/{MANIFEST}")
    names = order.choose(manifest)
    signature = _read_signature(source) if set(names) == set(manifest.files) else None
    if order.signer:
        signed_files(signature, source.where)  # one that is missing or damaged is refused before anything is downloaded
    with cache_errors():
        bundle, found = _bring(_Offer(source, text, sha256, manifest, signature), order)
        _remember(place, source, sha256)
    return Pulled(replace(bundle, source=place.asked), names, found)


def _bring(offer: _Offer, order: _Order) -> tuple[Bundle, str]:
    """The bundle in the cache, downloaded if need be, and where it was found."""
    bundle = _ready(offer, order)
    if bundle is None:
        with one_at_a_time(offer.sha256):
            bundle = _ready(offer, order)  # another process may have done it meanwhile
            if bundle is None:
                return _download(offer, order), f"pulled from {offer.source.exactly}"
    if order.signer:
        order.signer.check(bundle.folder, offer.signature, offer.source.where)
    return bundle, "cached"


def _ready(offer: _Offer, order: _Order) -> Bundle | None:
    """The cached bundle, if it is to be taken and has all that is chosen, with the signature that its source has."""
    bundle = None if order.force else _sound(offer.sha256, order.choose)
    if bundle is None or offer.signature is None:
        return bundle
    record = FileRecord(hashlib.sha256(offer.signature).hexdigest(), len(offer.signature))
    return bundle if _problem(bundle.folder / SIGNATURE, record) is None else None


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
            f"{place.asked} is not shipped with this package, not in the cache {cache_folder()}, and cannot be "
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


def _read_signature(source: Source) -> bytes | None:
    if not source.has(SIGNATURE):
        return None
    return within_limit(_read(source, SIGNATURE, MAX_SIGNATURE_BYTES), f"{source.where}/{SIGNATURE}")


def _read(source: Source, name: str, limit: int) -> bytes:
    """A small file, or a little more than `limit` bytes of a larger one."""
    content = b""
    for chunk in source.chunks(name, 0):
        content += chunk
        if len(content) > limit:
            break
    return content


def _download(offer: _Offer, order: _Order) -> Bundle:
    """Bring the missing files, or all where they must be signed, and make the model visible with them."""
    source, records, signer = offer.source, offer.manifest.files, order.signer
    folder, partial = folder_to_fill(offer.sha256), partial_folder(offer.sha256)
    make_folders(partial, cache_folder())
    # First: it tells which files here are ours, should this be interrupted.
    _write(partial / MANIFEST, offer.text)
    again = order.force or signer
    counted = records.keys() & {CONFIG}  # asked for with any part of a model, so that its repository counts that
    wanted = [*counted.difference(chosen := order.choose(offer.manifest)), *chosen]
    missing = [name for name in wanted if again or _problem(folder / name, records[name])]
    if not order.force:
        _take_from_cache({partial / name: records[name] for name in missing if name not in counted})
    total = sum(records[name].size for name in missing)
    done = sum(min(_bytes(partial / name), records[name].size) for name in missing)
    with source.progress(offer.manifest.name, total, done) as advance:
        for name in missing:
            _grow(source, name, records[name], partial / name, advance)
    for name in records.keys() - set(missing):  # of an earlier download that asked for more
        (partial / name).unlink(missing_ok=True)
    if offer.signature is not None:
        _write(partial / SIGNATURE, offer.signature)
        missing.append(SIGNATURE)
    if signer:
        try:
            signer.check(partial, offer.signature, source.where)
        except InvalidBundle:
            remove_files(partial, [*records, SIGNATURE, MANIFEST])
            raise
    _show(partial, folder, [*missing, MANIFEST])
    return open_bundle(folder)


def _take_from_cache(parts: Mapping[Path, FileRecord]) -> None:
    """Begin files that are to be downloaded with those of the same content in other models of the cache.

    Two versions of a model often differ in their cards alone. What is taken is checked as what is downloaded is.
    """
    here: dict[FileRecord, Path] = {}
    for model in cached_models():
        if model.state in ("whole", "in part"):
            with suppress(InvalidBundle):  # another process may have removed it since
                files = open_bundle(model.folder).manifest.files
                here |= {record: model.folder / name for name, record in files.items()}
    for part, record in parts.items():
        if record in here and not _bytes(part):
            with suppress(OSError), open_plain(here[record]) as found, append_plain(part, OWN_FILE) as stream:
                shutil.copyfileobj(found, stream)


def _grow(source: Source, name: str, record: FileRecord, part: Path, advance: Callable[[int], object]) -> None:
    """Bring the rest of a file that begins with `part`; or all of it, where that beginning turns out to be wrong."""
    start = _bytes(part)
    with append_plain(part, OWN_FILE) as stream:  # makes it, if it has no bytes at all
        if start < record.size:
            for chunk in source.chunks(name, start):
                stream.write(chunk)
                stream.flush()  # what has come is there for the next pull, even if this process is killed
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


def _write(path: Path, content: bytes) -> None:
    with append_plain(path, OWN_FILE) as stream:
        stream.truncate(0)
        stream.write(content)


def _show(partial: Path, folder: Path, names: Sequence[str]) -> None:
    """Make the model visible; where it is already, with fewer files or damaged ones, file by file."""
    make_around(folder)
    if folder.exists():
        with open_folder(folder) as inside:
            for name in names:
                inside.take(partial / name)
        with suppress(OSError):  # what is not ours is in it, and stays
            partial.rmdir()
    else:
        partial.rename(folder)


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() and not path.is_symlink() else 0


def _problem(path: Path, record: FileRecord) -> str | None:
    """What is wrong with a file: None where it has the size and the hash of its record."""
    try:
        with open_plain(path) as stream:
            if (size := os.fstat(stream.fileno()).st_size) != record.size:
                return f"{size} bytes, expected {record.size}"
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return f"0 bytes, expected {record.size}"
    except OSError as error:
        return f"nothing to read ({error.strerror}), expected {record.size} bytes"
    return None if found == record.sha256 else f"SHA-256 {found}, expected {record.sha256}"
