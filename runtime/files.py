"""Writing so that a half-written file or folder is never seen under its final name."""

import errno
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Final

from aae_zoo.runtime.errors import AaeZooError, OutputError

# Where the system knows how.
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_PLAIN: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

# As many as Linux follows.
_MOST_LINKS: Final = 40
# What a write fails with where there is no more room: it names no file.
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How many characters of a file's name are in that of its temporary file.
_MOST_SHOWN: Final = 32


def open_plain(path: Path, *, links: bool = False) -> BufferedReader:
    """Open a plain file for reading: no pipe, which would be waited for, and no link, unless `links` may be followed.

    Raises:
        OSError: it is anything else, or cannot be opened.
    """
    return os.fdopen(_plain(path, os.O_RDONLY | (0 if links else _NO_LINK)), "rb")


def append_plain(path: Path, mode: int = 0o666) -> BufferedWriter:
    """Open a plain file for writing at its end, made if it is missing; `mode` is who may then use it, less the umask.

    Raises:
        OSError: it is a link or anything else, or cannot be opened or made.
    """
    return os.fdopen(_plain(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK, mode), "ab")


def _plain(path: Path, flags: int, mode: int = 0) -> int:
    descriptor = os.open(path, flags | _PLAIN, mode)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return descriptor


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn any OSError while `path` is written into one OutputError that names it.

    Only a pipe's reader that has gone, as head does, stays what it is.

    Raises:
        BrokenPipeError: it has.
        OutputError: the disk is full, the folder is read-only, a parent is a file, and the like.
    """
    try:
        yield
    except (OutputError, BrokenPipeError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {path}: {reason}; give an output in a folder that exists, is writable and has free space"
        ) from error


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder for what is not kept, among the temporary files; it is removed.

    Raises:
        OutputError: none can be made, a file in it cannot, or the disk is full: another, as a rule, than that of the
            output.
    """
    import tempfile  # as in `_remove`

    folder = None
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            yield folder
    except AaeZooError:
        raise
    except OSError as error:
        if folder and not _is_inside(error, folder):
            raise
        raise OutputError(
            f"cannot write temporary files into {tempfile.tempdir or 'any folder'}: {error.strerror or error}; "
            "set TMPDIR to a folder that is writable and has free space"
        ) from error


def _is_inside(error: OSError, folder: Path) -> bool:
    """Whether an error names a file in a folder; an error that names no file has to be of a full disk."""
    if error.filename is None:
        return error.errno in NO_ROOM
    return Path(str(error.filename)).is_relative_to(folder)


def is_there(path: Path) -> bool:
    """Whether something stands at `path`; `Path.exists` says no where it cannot know, since Python 3.14.

    Raises:
        OSError: this user may not look there, or the name is too long.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def check_writable(path: Path) -> None:
    """Refuse, before minutes of work, a file or folder where none can be made.

    Raises:
        OutputError: the folder that it is to be in, or that this is to be made in, is read-only, or no folder.
    """
    with output_errors(path):
        if path.exists() and not path.is_file():
            return  # what is no file is refused where it is written
        real = Path(os.path.realpath(path))
        probe = _beside(next(place for place in real.parents if is_there(place)) / real.name)
        try:
            probe.touch()
        finally:
            probe.unlink(missing_ok=True)


def check_space(path: Path, size: int) -> None:
    """Refuse to begin a file or folder of `size` bytes where the disk has no space for it.

    Raises:
        OutputError: it has fewer bytes free.
    """
    import shutil  # as in `_remove`

    real = Path(os.path.realpath(path))  # a link may lead to another disk
    place = next((folder for folder in real.parents if folder.is_dir()), None)
    if place is None:
        return
    disk = shutil.disk_usage(place)
    if disk.total and size > disk.free:  # some network drives say nothing of themselves
        raise OutputError(
            f"cannot write {path}: it takes about {size} bytes, and its disk has {disk.free} free; ask for less, or "
            "give an output on a larger disk"
        )


@contextmanager
def atomic_file(path: Path, *, links: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix: it becomes `path`, or on any failure is removed.

    A file that it replaces leaves it its mode. A link is replaced too; with `links`, what it leads to is.

    Raises:
        OutputError: the file cannot be written.
    """
    with output_errors(path):
        path = _end_of_links(path) if links else path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "not a plain file"
            raise OutputError(f"cannot write {path}: it is {what}; give the name of a file")
        mode, temporary = _mode(path), _beside(path)
        try:
            if mode is not None:
                temporary.touch(mode | stat.S_IWUSR)  # before anything is in it that is private
            yield temporary
            _set_mode(temporary, mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _end_of_links(path: Path) -> Path:
    """The path that a link leads to; no link is followed that a system would not follow in a folder for everybody.

    Raises:
        OSError: a link is neither this user's nor root's nor of the owner of its folder, or there is no end.
    """
    for _ in range(_MOST_LINKS):
        if not path.is_symlink():
            return path
        owner = path.lstat().st_uid
        if owner not in (0, path.parent.stat().st_uid) and owner != os.geteuid():
            raise OSError(errno.EPERM, "it is a link that somebody else has put there", str(path))
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


@contextmanager
def atomic_folder(path: Path, kind: str | None = None, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success it becomes `path`, on any failure it is removed.

    `kind` says what it is, and has it marked as ours. An empty folder may stand at `path`; with `replace`, so may one
    of this kind in which all is as aae-zoo wrote it. That one is moved aside, and removed when the new one stands. A
    process that is killed in between leaves it aside, and the next call for `path` puts it back.

    Raises:
        OutputError: anything else stands there, the message says what; `path` is or holds the folder one is in; or it
            cannot be written.
    """
    path = path.resolve() if path.name in ("", "..") else path
    with output_errors(path):
        _put_back(path)
        check_free(path, kind if replace else None)
        path.parent.mkdir(parents=True, exist_ok=True)
        mode, temporary = _mode(path), _beside(path)
        try:
            temporary.mkdir()  # in here: Ctrl-C may come right after it
            _set_mode(temporary, mode)
            yield temporary
            _place(temporary, path, kind, replace=replace)
        finally:
            _remove(temporary)


def _mode(path: Path) -> int | None:
    """Who may use what stands at `path` and is to be replaced, if anything does."""
    return stat.S_IMODE(path.stat().st_mode) if path.exists() and not path.is_symlink() else None


def _set_mode(path: Path, mode: int | None) -> None:
    if mode is not None:
        with suppress(OSError):  # some drives have no modes to set
            path.chmod(mode)


def _beside(path: Path) -> Path:
    """A new name in the same folder, so that renaming is atomic, hidden, and with the suffix that writers look at."""
    begun = path.stem[:_MOST_SHOWN]  # all of a long name and more would be too long
    return path.with_name(f".{begun}.{os.urandom(6).hex()}{path.suffix}")


def check_free(path: Path, kind: str | None) -> None:
    """Refuse a place where something stands: all but an empty folder, or what aae-zoo wrote as a `kind`.

    Raises:
        OutputError: with what stands in the way, or why that cannot be known.
    """
    with output_errors(path):
        _check_free(path, kind)


def _check_free(path: Path, kind: str | None) -> None:
    if path.is_symlink():
        raise OutputError(f"{path} is a link, expected a folder; give the folder that it leads to, or another output")
    if _is_around_us(path):
        raise OutputError(f"{path} is or holds the folder you are in, or your home; give a new folder as output")
    if not is_there(path):
        return
    if not path.is_dir():
        raise OutputError(f"{path} is a file, expected a folder; give another output")
    if not any(path.iterdir()):
        return
    if kind is None:
        raise OutputError(f"{path} exists already; give another output, or move it away")
    from aae_zoo.runtime.ownership import check_ours  # only what replaces needs it

    check_ours(path, kind)


def _is_around_us(path: Path) -> bool:
    real = path.resolve()
    home = Path(os.path.expanduser("~"))
    return any(here.resolve().is_relative_to(real) for here in (Path.cwd(), home))


def _place(new: Path, path: Path, kind: str | None, *, replace: bool) -> None:
    """Mark a finished folder and put it in its place."""
    if kind:
        from aae_zoo.runtime.ownership import write_mark

        write_mark(new, kind)
    check_free(path, kind if replace else None)  # again: somebody may have written there meanwhile
    with suppress(OSError):
        path.rmdir()  # an empty folder, on which not every system puts another
    if kind and replace and path.exists():
        _swap(new, path, kind)
    else:
        new.rename(path)


def _swap(new: Path, path: Path, kind: str) -> None:
    """Put a folder in the place of an old one, and remove that, and others that killed processes have left."""
    old = path.with_name(f".{path.name}.old-{os.urandom(6).hex()}")
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if os.path.lexists(path):
            raise OutputError(f"{path} was made by somebody while it was replaced; what it held is in {old}") from None
        old.rename(path)
        raise
    for folder in _moved_aside(path):
        _discard(folder, path, kind)


def _discard(old: Path, path: Path, kind: str) -> None:
    """Remove a folder that was moved aside; where something has come into it since it was checked, say where it is."""
    from aae_zoo.runtime.ownership import remove_ours

    try:
        remove_ours(old, kind)
    except OSError as error:
        if old.exists():  # another process may be removing it too
            warnings.warn(f"what {path} held before is kept in {old}: {error}", RuntimeWarning, stacklevel=2)


def _moved_aside(path: Path) -> list[Path]:
    """The folders that stood at `path` and were moved aside."""
    import glob  # only replacing needs it

    found = path.parent.glob(f".{glob.escape(path.name)}.old-{'[0-9a-f]' * 12}")
    return [folder for folder in found if folder.is_dir() and not folder.is_symlink()]


def _put_back(path: Path) -> None:
    """Undo half of a replacement, whose process was killed before the new folder stood."""
    if not os.path.lexists(path) and (folders := _moved_aside(path)):
        max(folders, key=lambda folder: folder.stat().st_ctime).rename(path)  # the latest
        warnings.warn(f"{path} is back: a process that was replacing it had been killed", RuntimeWarning, stacklevel=2)


def _remove(folder: Path) -> None:
    import shutil  # slow to import, and a single file does not need it

    shutil.rmtree(folder, ignore_errors=True)
