"""A cache that others may write into as well: which part of it is one user's alone, and no link in it followed."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from aae_zoo.runtime.errors import OutputError

OWN_FILE: Final = 0o644  # even of a user whose umask lets a group write, which would be everybody that shares the cache
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def part_of(root: Path) -> Path:
    """The part of a folder that nobody but this user or root can put anything into.

    It is the folder itself where that holds of it or it is still to be made, else user-<number> in it.
    """
    try:
        found = root.stat()
    except OSError:  # it is made, or whoever writes there is told why not
        return root
    return root if _is_private(found) else root / f"user-{os.geteuid()}"


def make_folders(folder: Path, root: Path) -> None:
    """Make a folder inside the part of `root` that is this user's, and those between them, which nobody else may write.

    Raises:
        OutputError: one of them is a link, or somebody else can write into it.
        OSError: one of them cannot be made.
    """
    part = part_of(root)
    if part != root and not root.stat().st_mode & stat.S_ISVTX:
        raise OutputError(
            f"others can write into the cache {root} and put links in the place of your folders in it; "
            f"chmod +t {root}, or set AAE_ZOO_CACHE to a folder of your own"
        )
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    inside = folder.relative_to(root).parts
    for each in (root.joinpath(*inside[: depth + 1]) for depth in range(len(inside))):
        each.mkdir(mode=0o755, exist_ok=True)
        check_own(each)


def make_shared(folder: Path, root: Path) -> None:
    """Make a folder in `root` that everybody who may write there may write into as well.

    Raises:
        OutputError: a link is in its place.
        OSError: it cannot be made.
    """
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    check_no_link(folder)
    if not folder.exists():
        folder.mkdir(mode=0o755, exist_ok=True)
        if part_of(root) != root:
            folder.chmod(stat.S_IMODE(root.stat().st_mode))


def check_own(path: Path) -> None:
    """Refuse a folder or file that is a link, or that somebody else can write.

    Raises:
        OutputError: with how to mend it.
    """
    check_no_link(path)
    if not _is_private(path.lstat()):
        raise OutputError(
            f"{path} in the cache can be written by others, or belongs to somebody else; remove it, "
            "or set AAE_ZOO_CACHE to a folder of your own"
        )


def check_no_link(path: Path) -> None:
    """Refuse a link.

    Raises:
        OutputError: with how to mend it.
    """
    if path.is_symlink():
        raise OutputError(f"{path} in the cache is a link, which aae-zoo does not follow there; remove it")


def _is_private(found: os.stat_result) -> bool:
    """Whether a file or folder belongs to this user or to root, who alone may write it, where systems know of users."""
    return not hasattr(os, "geteuid") or (found.st_uid in (0, os.geteuid()) and not found.st_mode & _OTHERS)


@contextmanager
def open_folder(folder: Path) -> Iterator["Folder"]:
    """Open a folder, and not what a link in its place leads to.

    Raises:
        OSError: it is not a folder, or cannot be opened.
    """
    if os.rename not in os.supports_dir_fd:  # Windows, where only administrators make links
        check_no_link(folder)
        yield Folder(folder, None)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield Folder(folder, descriptor)
    finally:
        os.close(descriptor)


class Folder:
    """An open folder: what is done to its files is done to them even if somebody puts a link in its place meanwhile."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self._path, self._descriptor = path, descriptor

    def take(self, file: Path) -> None:
        """Move a file into the folder, in the place of one of the same name."""
        os.replace(file, self._name(file.name), dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a plain file, if there is one of this name."""
        with suppress(FileNotFoundError):
            found = os.stat(self._name(name), dir_fd=self._descriptor, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                os.unlink(self._name(name), dir_fd=self._descriptor)

    def _name(self, name: str) -> str:
        return name if self._descriptor is not None else str(self._path / name)
