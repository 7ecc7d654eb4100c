"""The cache of downloaded models: plain folders that anybody can read, named by what is in them.

    <cache>/models/<sha256>/          a bundle; <sha256> is its manifest's. Files nobody asked for are left out,
                                      and its signature, model.sig, comes with every file or not at all
    <cache>/names/<org>/<name>@<rev>  JSON: the commit and the manifest's SHA-256 that the Hub had when last asked
    <cache>/partial/<sha256>/         a download that runs or was interrupted: the next one continues it
    <cache>/locks/<sha256>.lock       held by the process that downloads

Where others can write into the cache, all but models/ is in <cache>/user-<number>/, which is one user's alone: a model
is told by its hash, whoever put it there, but nothing tells who wrote a name, or what a link in a folder leads to. A
model goes there too where the folder of it, or models/, is somebody else's.

A manifest has the SHA-256 of every other file, so its own names the whole model: the same folder whether it came from
the Hub, a mirror or a folder, versions side by side, a moved tag one small file, and the catalogue's pin a look-up
without a network. It is not the Hub client's own cache, because the client never checks what it downloaded, starts
over when it was killed, and its cache cannot be read without importing the client or knowing its links. So `hf cache`
does not list these models; `aae-zoo cache` does.

Nothing here imports numpy, ONNX Runtime or huggingface_hub, and nothing goes to the network.
"""

import json
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from aae_zoo.runtime.bundles.bundle import has_manifest, open_bundle
from aae_zoo.runtime.bundles.names import MANIFEST, SIGNATURE
from aae_zoo.runtime.bundles.rules import SHA256
from aae_zoo.runtime.documents import parse_document
from aae_zoo.runtime.errors import AaeZooError, InvalidBundle, ModelNotFound, OutputError
from aae_zoo.runtime.files import atomic_file, open_plain
from aae_zoo.runtime.store.shared import OWN_FILE, check_no_link, make_folders, make_shared, open_folder, part_of

_MAX_RECORD: Final = 4096
# A folder of the cache, or one that was moved aside to be removed, by a process that was killed.
_FOLDER: Final = re.compile(rf"\.?({SHA256})(\.[0-9a-f]{{8}})?")


class Known(NamedTuple):
    """What the Hub had under a name when it was last asked: a commit, and the SHA-256 of the manifest there."""

    commit: str
    sha256: str


class _BusyError(Exception):
    """Another process downloads a bundle."""


class CachedModel(NamedTuple):
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
    """The folder of downloaded models: $AAE_ZOO_CACHE, or aae-zoo in the user's cache folder; its whole path.

    A user without a home has a private folder among the temporary files, which is said once.

    Raises:
        OutputError: $AAE_ZOO_CACHE names the home of nobody, or the temporary folder is not the user's alone.
    """
    for name, folder in (("AAE_ZOO_CACHE", ""), ("XDG_CACHE_HOME", "aae-zoo")):
        if chosen := os.environ.get(name):  # what sets variables from a file expands no ~
            return _expanded(chosen, name) / folder
    usual = os.path.expanduser("~/.cache/aae-zoo")
    return Path(usual).absolute() if usual[0] != "~" else _homeless()


def _expanded(path: str, variable: str) -> Path:
    expanded = os.path.expanduser(path)
    if expanded[0] == "~":
        home = expanded.partition("/")[0]
        raise OutputError(f"{variable} is {path}, but {home} is nobody's home here; set it to a whole path")
    return Path(expanded).absolute()


@cache
def _homeless() -> Path:
    """The cache of a user without a home, made for that user alone if it is not there.

    Raises:
        OutputError: something else stands there, which somebody else may have put there for us to find.
    """
    import tempfile  # slow to import, and whoever has a home does not need it

    user = os.getuid() if hasattr(os, "getuid") else "user"
    mend = "set HOME, or AAE_ZOO_CACHE to a folder that is writable"
    try:
        folder = Path(tempfile.gettempdir()).absolute() / f"aae-zoo-{user}"
    except OSError as error:  # all that could be one are read-only
        raise OutputError(f"this user has no home, and no place for the cache ({error.strerror}); {mend}") from None
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise OutputError(
            f"this user has no home, and {folder} cannot be made for the cache ({error.strerror}); {mend}"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or (os.name == "posix" and (found.st_uid != user or found.st_mode & 0o077)):
        raise OutputError(
            f"this user has no home, and {folder} is not a folder of this user alone, as its cache has to be; {mend}"
        )
    warnings.warn(f"this user has no home, so the cache is {folder}; {mend}", RuntimeWarning, stacklevel=2)
    return folder


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


@contextmanager
def one_at_a_time(sha256: str, *, wait: bool = True) -> Iterator[None]:
    """Wait until no other process of this user downloads the bundle of this manifest, and keep others from it.

    A process that dies lets go of the lock.

    Raises:
        OutputError: a link is in the place of the lock.
        _BusyError: another process downloads it, and `wait` is false.
    """
    from filelock import FileLock  # slow to import, and only what writes needs it; it follows no link

    lock = _own() / "locks" / f"{sha256}.lock"
    make_folders(lock.parent, cache_folder())
    check_no_link(lock)
    held = FileLock(lock, mode=OWN_FILE)
    try:
        held.acquire(timeout=-1 if wait else 0)
    except TimeoutError:
        raise _BusyError from None
    try:
        yield
    finally:
        held.release()


def model_folder(sha256: str) -> Path:
    """Where the bundle whose manifest has this SHA-256 is, if it is there."""
    own = _own() / "models" / sha256
    return own if has_manifest(own) else cache_folder() / "models" / sha256


def folder_to_fill(sha256: str) -> Path:
    """Where that bundle is to go: where everybody finds it, or else where this user alone may write."""
    folder = cache_folder() / "models" / sha256
    around = next(path for path in (folder, *folder.parents) if path.exists())
    return folder if os.access(around, os.W_OK) else _own() / "models" / sha256


def make_around(folder: Path) -> None:
    """Make the folder around a `folder_to_fill`.

    Raises:
        OutputError: a link is in its place, or in that of the folder to fill.
        OSError: it cannot be made.
    """
    if folder.parent.parent == cache_folder():
        make_shared(folder.parent, cache_folder())
    else:
        make_folders(folder.parent, cache_folder())
    check_no_link(folder)


def partial_folder(sha256: str) -> Path:
    """Where the download of that bundle grows."""
    return _own() / "partial" / sha256


def _own() -> Path:
    return part_of(cache_folder())


def is_cached(sha256: str) -> bool:
    """Whether there is a bundle of this manifest; what is in it is checked when it is read."""
    return has_manifest(model_folder(sha256))


def known(repository: str, revision: str) -> Known | None:
    """What the Hub had under a name when it was last asked, or None; a damaged record counts as missing."""
    try:
        with open_plain(_record(repository, revision)) as stream:
            record = parse_document(stream.read(_MAX_RECORD))
    except (OSError, ValueError):
        return None
    commit, sha256 = record.get("commit"), record.get("sha256")
    if not isinstance(commit, str) or not isinstance(sha256, str) or not re.fullmatch(SHA256, sha256):
        return None
    return Known(commit, sha256)


def remember(repository: str, revision: str, found: Known) -> None:
    """Record what the Hub has under a name."""
    record = _record(repository, revision)
    with cache_errors():
        make_folders(record.parent, cache_folder())
        with atomic_file(record) as temporary:
            temporary.touch(OWN_FILE)
            temporary.write_text(json.dumps(found._asdict()) + "\n", "utf-8")


def cached_models() -> list[CachedModel]:
    """Everything in the cache, by name and version, with interrupted downloads last.

    Raises:
        OutputError: the cache cannot be read.
    """
    try:
        return _listed()
    except PermissionError as error:
        raise OutputError(
            f"the cache {cache_folder()} cannot be read ({error.strerror}); set AAE_ZOO_CACHE to a folder of your own"
        ) from None


def _listed() -> list[CachedModel]:
    names = _names()
    models = [_describe(folder, names) for folder in _folders("models")]
    partial = [
        CachedModel("-", "-", "interrupted", _size(folder), names.get(folder.name, ()), _sha256(folder), folder)
        for folder in _folders("partial")
    ]
    return sorted(models, key=lambda model: (model.name, model.version, model.sha256)) + partial


def remove(name: str) -> list[CachedModel]:
    """Remove what `name` names: a model in all its versions, org/name[@revision], or the start of a SHA-256.

    What the cache did not write is left, with a warning that names it; given is what was removed.

    Raises:
        ModelNotFound: nothing in the cache has that name.
        OutputError: the cache cannot be written.
    """
    found = [model for model in cached_models() if _is_named(model, name)]
    if not found:
        raise ModelNotFound(f"there is no {name} in the cache {cache_folder()}; aae-zoo cache lists what is there")
    gone = [model for model in found if _discard(model)]
    _warn_of([model.folder for model in found])
    return gone


def clear() -> list[CachedModel]:
    """Remove every model and what is known of names, as `remove` does; locks stay, another process may hold one.

    Raises:
        OutputError: the cache cannot be written.
    """
    gone = [model for model in cached_models() if _discard(model)]
    with cache_errors():
        for repository, _, revision in (name.partition("@") for names in _names().values() for name in names):
            _forget(repository, revision)
        _warn_of([path for kind in ("models", "partial", "names") for path in _everything(kind)])
    return gone


def _record(repository: str, revision: str) -> Path:
    return _own() / "names" / f"{repository}@{quote(revision, safe='')}"


def _folders(kind: str) -> list[Path]:
    """Those that this user may read: in a shared cache others may keep theirs to themselves."""
    found = (path for path in _everything(kind) if _FOLDER.fullmatch(path.name))
    return [path for path in found if path.is_dir() and os.access(path, os.R_OK | os.X_OK)]


def _everything(kind: str) -> list[Path]:
    """What is in the cache of a kind; not what others have begun or named."""
    roots = {_own(), cache_folder()} if kind == "models" else {_own()}
    return [path for root in sorted(roots) for path in _inside(root / kind)]


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _sha256(folder: Path) -> str:
    """The SHA-256 of the manifest that a folder of the cache is named by."""
    match = _FOLDER.fullmatch(folder.name)
    return match[1] if match else folder.name


def _names() -> dict[str, tuple[str, ...]]:
    """The names that were pulled, org/name@revision, by the SHA-256 of what they named."""
    names: dict[str, tuple[str, ...]] = {}
    for path in sorted((_own() / "names").glob("*/*@*")):
        repository, _, revision = f"{path.parent.name}/{path.name}".partition("@")
        if not path.is_symlink() and (found := known(repository, unquote(revision))):
            names[found.sha256] = (*names.get(found.sha256, ()), f"{repository}@{unquote(revision)}")
    return names


def _describe(folder: Path, names: dict[str, tuple[str, ...]]) -> CachedModel:
    about = (_size(folder), names.get(folder.name, ()), _sha256(folder), folder)
    try:
        bundle = open_bundle(folder)
    except InvalidBundle:
        return CachedModel("-", "-", "damaged", *about)
    sizes = [
        None if (size := _bytes(folder / name)) is None else size == record.size
        for name, record in bundle.manifest.files.items()
    ]
    state = "whole" if all(sizes) else "in part"
    if bundle.manifest_sha256 != folder.name or False in sizes:
        state = "damaged"
    return CachedModel(bundle.manifest.name, bundle.manifest.version, state, *about)


def _size(folder: Path) -> int:
    """The bytes of the files in a folder, any of which another process may move on or remove meanwhile."""
    with suppress(FileNotFoundError):
        return sum(_bytes(path) or 0 for path in folder.iterdir() if path.is_file())
    return 0


def _bytes(path: Path) -> int | None:
    """The size of a file, or None where there is none, or no longer."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _is_named(model: CachedModel, name: str) -> bool:
    of_name = [full for full in model.names if name in (full, full.partition("@")[0])]
    return name == model.name or bool(of_name) or (len(name) >= 8 and model.sha256.startswith(name))


def _discard(model: CachedModel) -> bool:
    """Remove what the cache wrote into a folder: whether it did; without a network nothing else tells than a manifest.

    The folder is moved aside first, so that no half of it is ever seen.
    """
    written = _written(model)
    if not _is_ours(model.folder) or (not written and _inside(model.folder)):
        return False
    try:
        with cache_errors(), one_at_a_time(model.sha256, wait=False):
            _remove(model, written)
    except _BusyError:  # a download would go on with half of it
        return False
    return True


def _remove(model: CachedModel, written: Sequence[str]) -> None:
    aside = model.folder.with_name(f".{model.sha256}.{os.urandom(4).hex()}")
    model.folder.rename(aside)
    remove_files(aside, written)
    if aside.exists():
        aside.rename(model.folder)
    for name in model.names if model.state != "interrupted" else ():
        repository, _, revision = name.partition("@")
        _forget(repository, revision)


def _is_ours(folder: Path) -> bool:
    """Whether a folder, no link, is this user's to remove: in a shared cache it may be another's."""
    try:
        found = folder.lstat()
    except FileNotFoundError:  # another process has removed it since
        return False
    return stat.S_ISDIR(found.st_mode) and (_own() == cache_folder() or found.st_uid == os.geteuid())


def _written(model: CachedModel) -> list[str]:
    """The files that the cache wrote into a folder, the manifest last, if there is the one that names the folder."""
    try:
        bundle = open_bundle(model.folder)
    except InvalidBundle:
        return []
    ours = bundle.manifest_sha256 == model.sha256 and not model.folder.is_symlink()
    return [*bundle.manifest.files, SIGNATURE, MANIFEST] if ours else []


def remove_files(folder: Path, names: Sequence[str]) -> None:
    """Remove some files of a folder, and the folder if that leaves it empty."""
    with open_folder(folder) as inside:
        for name in names:
            inside.remove(name)
    with suppress(OSError):
        folder.rmdir()


def _forget(repository: str, revision: str) -> None:
    """Remove what is known of a name, and folders that this leaves empty."""
    record = _record(repository, revision)
    record.unlink(missing_ok=True)
    with suppress(OSError):
        record.parent.rmdir()
        record.parent.parent.rmdir()


def _warn_of(paths: Sequence[Path]) -> None:
    """Say what is still there, if anything is."""
    if left := [path.relative_to(cache_folder()).as_posix() for path in paths if os.path.lexists(path)]:
        from aae_zoo.runtime.ownership import named  # only removing needs it

        warnings.warn(
            f"nothing shows that the cache {cache_folder()} wrote all of {named(left)}, so it is left there; "
            "remove it yourself if it is not needed and no pull of it is running",
            RuntimeWarning,
            stacklevel=3,
        )
