"""Data sets that a command of aae-zoo builds, each stored in one .npz file that NumPy alone can read.

It has four arrays of bytes, MEMBERS: the images [n, H, W, C] and their attributes [n, number of attributes], for
training and for testing. The md5 of each array's bytes is known, whatever compressed them: the file is whole, or it is
refused.
"""

import hashlib
import shlex
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from aae_zoo.runtime.errors import DatasetError
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.files import atomic_file
from aae_zoo.zoo.data.dataset import Attribute, Dataset, places, torchvision_root

MEMBERS: Final = ("train_images", "train_attributes", "test_images", "test_attributes")
# The largest array that is read, and how many of its rows at a time.
_MOST: Final = 1 << 30
_ROWS: Final = 1000


class Contents(NamedTuple):
    """An array to store: its shape, and its rows as uint8 arrays [m, ...] of any number, one after the other."""

    shape: Sequence[int]
    rows: Iterable[NDArray[np.uint8]]


def usual_folder(name: str) -> Path:
    """Where a data set is built and looked for if nobody says where: a folder of the user's cache."""
    return torchvision_root() / name


def load_stored(name: str, place: Path | None, attributes: tuple[Attribute, ...], md5s: Mapping[str, str]) -> Dataset:
    """Load a stored data set from `place`, or from the first of its places that has it.

    Its labels are those of the first attribute.

    Raises:
        DatasetError: it is nowhere, damaged, or not the one with the MD5s.
    """
    path = _find(name, place)
    mend = f"move it away, and aae-zoo data {name} -o {shlex.quote(str(path.parent))} builds it anew"
    try:
        with zipfile.ZipFile(path) as file:
            read = {member: _read(file, member) for member in MEMBERS}
    except Exception as error:  # of the file, of the archive, of its compression, of what numpy makes of a header
        reason = words_of(error)
        raise DatasetError(f"{path} cannot be read as the data set {name} ({reason}); {mend}") from None
    for member, (_, md5) in read.items():
        if md5 != md5s[member]:
            raise DatasetError(f"{member} of {path} has md5 {md5}, expected {md5s[member]}; {mend}")
    train_images, train_attributes, test_images, test_attributes = (read[member][0] for member in MEMBERS)
    return Dataset(
        name=name,
        train_images=train_images,
        train_labels=train_attributes[:, 0].contiguous(),
        test_images=test_images,
        test_labels=test_attributes[:, 0].contiguous(),
        label_names=attributes[0].labels,
        md5s=dict(md5s),
        attributes=attributes,
        train_attributes=train_attributes,
        test_attributes=test_attributes,
    )


def store(path: Path, contents: Mapping[str, Contents], md5s: Mapping[str, str]) -> None:
    """Write a data set, a few rows at a time, unless its arrays are not those with the MD5s.

    Raises:
        DatasetError: an array has another md5.
        OutputError: the file cannot be written.
    """
    with atomic_file(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            found = {member: _write(file, member, contents[member]) for member in MEMBERS}
        for member, md5 in found.items():
            if md5 != md5s[member]:
                raise DatasetError(f"{member} of {path} would have md5 {md5}, expected {md5s[member]}; build it again")


def _find(name: str, place: Path | None) -> Path:
    folders = [place, place / name] if place else places(name, usual_folder(name))
    for folder in folders:
        if (path := folder / f"{name}.npz").is_file():
            return path
    where = f" -o {shlex.quote(str(place))}" if place else ""
    looked = place or ", ".join(map(str, folders))
    raise DatasetError(f"there is no {name}.npz in {looked}; aae-zoo data {name}{where} builds it")


def _write(file: zipfile.ZipFile, member: str, contents: Contents) -> str:
    """Write an array as numpy.savez does: the md5 of its bytes."""
    md5 = hashlib.md5(usedforsecurity=False)
    with file.open(f"{member}.npy", "w", force_zip64=True) as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": tuple(contents.shape)}
        npy.write_array_header_1_0(stream, header)
        for rows in contents.rows:
            stream.write(rows.tobytes())
            md5.update(rows.tobytes())
    return md5.hexdigest()


def _read(file: zipfile.ZipFile, member: str) -> tuple[Tensor, str]:
    """An array, and the md5 of its bytes: images as uint8 [n, C, H, W], attributes as int64 [n, k]."""
    with file.open(f"{member}.npy") as stream:
        npy.read_magic(stream)
        shape, _, dtype = npy.read_array_header_1_0(stream)
        if dtype != np.uint8 or len(shape) not in (2, 4) or not 0 < np.prod(shape, dtype=object) <= _MOST:
            raise ValueError(f"{member} is {dtype} {list(shape)}, expected bytes [n, k] or [n, H, W, C]")
        return _rows(stream, shape)


def _rows(stream: IO[bytes], shape: tuple[int, ...]) -> tuple[Tensor, str]:
    """The rows, a few at a time: beside the result there is never a second copy of it."""
    md5: Any = hashlib.md5(usedforsecurity=False)
    order = (0, 3, 1, 2) if len(shape) == 4 else (0, 1)
    result = torch.empty([shape[axis] for axis in order], dtype=torch.uint8)
    for part in result.split(_ROWS):
        content = bytearray(stream.read(part.numel()))
        md5.update(content)
        if len(content) != part.numel():
            raise EOFError("it ends too early")
        part.copy_(torch.frombuffer(content, dtype=torch.uint8).view(len(part), *shape[1:]).permute(order))
    return (result if len(shape) == 4 else result.long()), md5.hexdigest()
