"""Writing so that a half-written file or folder is never seen under its final name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aae_zoo.runtime.errors import OutputError


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn any OSError while `path` is written into one OutputError that names it.

    Raises:
        OutputError: the disk is full, the folder is read-only, a parent is a file, and the like.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {path}: {reason}; give an output in a folder that exists, is writable and has free space"
        ) from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix: it becomes `path`, or on any failure is removed.

    Raises:
        OutputError: the file cannot be written.
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder; give the name of a file")
        temporary = _beside(path)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success it becomes `path`, on any failure it is removed.

    `path` may be an empty folder. With `replace` it may be any folder, which is moved aside, and removed only when
    the new one is in its place.

    Raises:
        OutputError: a folder with files exists and `replace` is false, or it cannot be written.
    """
    with output_errors(path):
        if path.exists() and not replace and not _is_empty_folder(path):
            raise OutputError(f"{path} exists already; remove it, or give another output")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        temporary.mkdir()
        try:
            yield temporary
            _swap(temporary, path)
        finally:
            _remove(temporary)


def _beside(path: Path) -> Path:
    """A new name in the same folder, so that renaming is atomic, hidden, and with the suffix that writers look at."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}{path.suffix}")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _swap(new: Path, path: Path) -> None:
    if _is_empty_folder(path):
        path.rmdir()
    if not path.exists():
        new.rename(path)
        return
    old = _beside(path)
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def _remove(folder: Path) -> None:
    import shutil  # slow to import, and a single file does not need it

    shutil.rmtree(folder, ignore_errors=True)
