"""Files and folders that users name: whether they can be read, and which pictures are in a folder, in which order."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.words import agreeing, counted

# Of each format that is read: Pillow's name, the type that HTTP gives it, and the suffixes of its files.
FORMATS: Final = {
    "PNG": ("image/png", ".png"),
    "JPEG": ("image/jpeg", ".jpg", ".jpeg", ".jfif"),
    "WEBP": ("image/webp", ".webp"),
    "BMP": ("image/bmp", ".bmp"),
    "GIF": ("image/gif", ".gif"),
    "TIFF": ("image/tiff", ".tif", ".tiff"),
    "PPM": ("image/x-portable-anymap", ".ppm", ".pgm"),
}
PICTURE_SUFFIXES: Final = tuple(suffix for _, *suffixes in FORMATS.values() for suffix in suffixes)
# What file managers and network drives leave in folders, beside names that begin with a dot.
_OF_SYSTEMS: Final = ("thumbs.db", "desktop.ini", "@eadir")


class Listing(NamedTuple):
    """The pictures of a folder in natural order, and how many files of each kind are left out."""

    pictures: list[Path]
    left_out: Counter[str]

    @property
    def note(self) -> str:
        """What is left out, in words: "3 files are left out: 2 hidden, 1 .txt"; nothing where nothing is."""
        total, kinds = self.left_out.total(), ", ".join(f"{n} {kind}" for kind, n in self.left_out.most_common())
        return f"{counted(total, 'file')} {agreeing(total, 'is', 'are')} left out: {kinds}" if total else ""


def none_readable(folder: Path, failed: Mapping[Any, str]) -> str:
    """What to say where no picture of a folder can be read: how many there are, and what is wrong with the first."""
    return f"none of the pictures in {folder} ({len(failed)}) can be read: {next(iter(failed.values()))}"


def list_pictures(folder: Path, files: Iterable[Path] | None = None) -> Listing:
    """The picture files of a folder itself, or of those `files` somewhere in it.

    A file is a picture by its suffix, in capitals or not, unless it or a folder that it is in is hidden.

    Raises:
        InvalidInput: this user may not look into the folder.
    """
    pictures, left_out = [], Counter[str]()
    for path in _inside(folder) if files is None else files:
        if os.path.isdir(path):
            continue
        if any(map(is_hidden, path.relative_to(folder).parts)):
            left_out["hidden"] += 1
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            pictures.append(path)
        else:
            left_out[path.suffix.lower() or "without a suffix"] += 1
    return Listing(sorted(pictures, key=lambda path: natural(path.as_posix())), left_out)


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InvalidInput(f"the folder {folder} cannot be read ({error.strerror}); chmod u+rx it") from None


def natural(name: str) -> list[tuple[int, str]]:
    """What sorts names as people do: img2 before img10."""
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is nobody's own: hidden, or left there by a system."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def check_file(path: Path, expected: str) -> None:
    """Refuse what is not a file that can be read; to open a pipe would wait for ever.

    Raises:
        InvalidInput: there is no such file, it is a folder, a pipe or a device, or this user may not read it.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        missing = "input on stdin is not read" if str(path) == "-" else f"there is no file {path}"
        raise InvalidInput(f"{missing}; give {expected}") from None
    except (OSError, ValueError) as error:  # not to be reached, too long, or with characters that no name has
        why = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{path} cannot be read ({why}); give {expected}") from None
    if stat.S_ISDIR(mode):
        raise InvalidInput(f"{path} is a folder; give {expected}")
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{path} is a pipe or a device; save what it gives, then give {expected}")
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"{path} may not be read by this user; chmod u+r it, or give {expected}")
