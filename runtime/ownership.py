"""Whose a folder or a file is: what aae-zoo wrote, so that nothing else is ever deleted or written over.

What a command writes as a folder has a small mark in it, `.aae-zoo.json`: its kind, and the SHA-256 of every file by
its path in the folder. A bundle needs none, its manifest says as much. These lists are only asked about what stands in
the folder, and no path is taken from them: a forged one leads nowhere.

A picture says in itself that aae-zoo wrote it. Arrays and tables cannot: whose they are nobody can tell.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aae_zoo.runtime.documents import parse_document
from aae_zoo.runtime.errors import OutputError
from aae_zoo.runtime.words import agreeing, counted

MARK: Final = ".aae-zoo.json"
# The text of the name Software in pictures (PNG specification, section 11.3.3.2).
SOFTWARE: Final = "aae-zoo"
# Kinds of folders that more than one part of the project writes or looks at.
BUNDLE: Final = "bundle"
SITE: Final = "site"
PAGE: Final = "page"
_MANIFEST: Final = "manifest.json"
# A bundle's signature is over its manifest, which therefore cannot name it.
_SIGNATURE: Final = "model.sig"
_MAX_BYTES: Final = 1 << 20
_SHOWN: Final = 2


def mark(kind: str, files: Mapping[str, str]) -> str:
    """The text of a folder's mark: its kind, and the SHA-256 of its files by path."""
    return json.dumps({"kind": kind, "files": dict(sorted(files.items()))}, indent=1) + "\n"


def write_mark(folder: Path, kind: str) -> None:
    """Mark everything that is in a folder now as written by aae-zoo; a bundle has its manifest instead."""
    if kind != BUNDLE:
        files = {path.relative_to(folder).as_posix(): _sha256(path) for path in folder.rglob("*") if path.is_file()}
        (folder / MARK).write_text(mark(kind, files), "utf-8")


def proof(kind: str) -> str:
    """The name of the file that tells what aae-zoo wrote into a folder of this kind."""
    return _MANIFEST if kind == BUNDLE else MARK


def _is_proof(name: str, kind: str) -> bool:
    return name == proof(kind) or (kind == BUNDLE and name == _SIGNATURE)


def parse_proof(text: bytes, kind: str) -> dict[str, Any]:
    """The SHA-256 of each file by path, from the text of a mark or of a bundle's manifest; the values are not checked.

    Raises:
        ValueError: it is damaged, or of another kind or program; the message goes on from its name.
    """
    try:
        document = parse_document(text) if len(text) <= _MAX_BYTES else {}
    except ValueError:
        document = {}
    if not isinstance(document.get("files"), dict):
        raise ValueError("is damaged, or another program's")
    found = BUNDLE if {"schema", "graphs"} <= document.keys() else document.get("kind")
    if found != kind:
        raise ValueError(f"marks a folder of the kind {ascii(found)[:80]}, expected {kind!r}")
    records = document["files"].items()
    return {name: record.get("sha256") if isinstance(record, dict) else record for name, record in records}


def check_file(path: Path, inputs: Iterable[Path], *, force: bool) -> None:
    """Refuse to write a file over one of `inputs`, or one in a folder of them, or without `force` over anybody's.

    Raises:
        OutputError: there is a file that is not a picture as aae-zoo wrote it.
    """
    if not path.is_file():
        return  # what is not a file is refused where it is written
    around = (path, *path.resolve().parents)
    for given in inputs:
        # The system is asked: a name in other letters may be the same file.
        if given.exists() and any(place.samefile(given) for place in around):
            raise OutputError(f"{path} is an input of this command, which is never written over; give another output")
    if not force and not _is_our_picture(path):
        raise OutputError(
            f"{path} exists already, and nothing in it says that aae-zoo wrote it; give another output, or --force to "
            "write over it"
        )


def _is_our_picture(path: Path) -> bool:
    from PIL import Image  # slow to import, and most of this file does without

    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return bool(picture.info.get("Software") == SOFTWARE)
    except Exception:  # a damaged file raises whatever its reader meets first
        return False


def check_ours(folder: Path, kind: str, *, besides: Collection[str] = ()) -> None:
    """Refuse a folder in which anything is not as aae-zoo wrote it, but for the names in `besides` of a marked one.

    Raises:
        OutputError: something stands in the way; the message names it.
    """
    if reason := in_the_way(folder, kind, besides):
        raise OutputError(f"{reason}; give another output, or move away what is yours")


def in_the_way(folder: Path, kind: str, besides: Collection[str] = ()) -> str | None:
    """What in a folder is not as aae-zoo wrote it, as the start of a sentence; None where all of it is.

    Hidden files, links and folders count, empty ones too.
    """
    try:
        listed = _listed(folder, kind)
    except ValueError as error:
        return str(error)
    if listed is None:
        names = [name for name, _ in _walk(folder, {})]
        return _unmarked(folder, kind, names) if names else None
    strange, changed = [], []
    for name, is_file in _walk(folder, listed):
        if name.endswith("/") or _is_proof(name, kind) or name.partition("/")[0] in besides:
            continue
        if not is_file or name not in listed:
            strange.append(name)
        elif _sha256(folder / name) != listed[name]:
            changed.append(name)
    parts = [f"{named(strange)} {agreeing(len(strange), 'was', 'were')} not written by aae-zoo"] if strange else []
    were, them = agreeing(len(changed), "was", "were"), agreeing(len(changed), "it", "them")
    parts += [f"{named(changed)} {were} changed since aae-zoo wrote {them}"] if changed else []
    return f"in {folder}, {' and '.join(parts)}" if parts else None


def remove_ours(folder: Path, kind: str) -> None:
    """Remove a folder in which all is as aae-zoo wrote it, file by file: what comes meanwhile is not removed with it.

    What proves it is removed last, so that a removal that was killed can be gone on with.

    Raises:
        OutputError: something in it is not; the message names it, and all of it is left.
        OSError: something came meanwhile, or cannot be removed; the rest may be gone.
    """
    if reason := in_the_way(folder, kind):
        raise OutputError(reason)
    listed, inside = _listed(folder, kind) or {}, []
    for name, is_file in list(_walk(folder, listed)):
        if name.endswith("/"):
            inside.append(folder / name)
        elif is_file and (_is_as_listed(folder, name, listed) or (name != proof(kind) and _is_proof(name, kind))):
            (folder / name).unlink(missing_ok=True)
    for each in reversed(inside):
        each.rmdir()
    if [path.name for path in folder.iterdir()] == [proof(kind)]:
        (folder / proof(kind)).unlink()
    folder.rmdir()


def _is_as_listed(folder: Path, name: str, listed: Mapping[str, Any]) -> bool:
    return name in listed and _sha256(folder / name) == listed[name]


def named(names: Sequence[str]) -> str:
    """The first of some files' names, and how many more there are, on one line whatever they are."""
    first = [name if name.isprintable() else ascii(name) for name in sorted(names)[:_SHOWN]]
    others = len(names) - len(first)
    return f"{', '.join(first)} and {counted(others, 'other')}" if others else " and ".join(first)


def _unmarked(folder: Path, kind: str, names: Sequence[str]) -> str:
    before = "" if kind == BUNDLE else " (what earlier versions wrote has none)"
    return f"{folder} has no {proof(kind)} to tell what aae-zoo wrote there{before}: {named(names)} may be somebody's"


def _listed(folder: Path, kind: str) -> dict[str, Any] | None:
    """The SHA-256 of what was written into a folder, or None where nothing tells.

    Raises:
        ValueError: what should tell is damaged, not a plain file, or of another kind.
    """
    for path in dict.fromkeys((folder / proof(kind), folder / MARK)):  # a mark of another kind tells too
        try:
            with open(path, "rb", opener=_opener) as stream:
                return parse_proof(stream.read(_MAX_BYTES + 1), kind)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ValueError(f"{path} cannot be read as a plain file ({error.strerror})") from None
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None
    return None


def _walk(folder: Path, listed: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The path of each thing in a folder, and whether it is a plain file; no link is followed.

    A folder that holds what is listed is looked into, its path ends in "/" and comes before what is in it.
    """
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                path = inside + entry.name
                if entry.is_dir(follow_symlinks=False) and any(name.startswith(f"{path}/") for name in listed):
                    pending.append(f"{path}/")
                    yield f"{path}/", False
                else:
                    yield path, entry.is_file(follow_symlinks=False)


def _sha256(path: Path) -> str:
    with open(path, "rb", opener=_opener) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _opener(path: str, flags: int) -> int:
    """Neither follow a link, nor wait for whoever writes into a pipe, where the system knows how."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
