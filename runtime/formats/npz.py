"""Reading .npz files, which are zips of .npy files, without trusting any size that they claim."""

import io
import zipfile
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.formats.decoded import npy_header

# numpy writes no others, and those of zipfile unpack all that they are given at once.
_PACKED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Nothing in the reading of a zip needs more at a time but its directory: one of this size has some 20,000 entries.
_MOST_READ: Final = 1 << 20


class Npz:
    """The arrays of an .npz file, `names`; all together they have at most `most` bytes.

    Raises:
        ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error: it is no such file, or it is
            damaged; reading an array may raise these too.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._archive = zipfile.ZipFile(_Bounded(file))
        entries = self._archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > most:
            raise ValueError(f"its arrays have {size} bytes, expected at most {most}")
        if any(entry.compress_type not in _PACKED for entry in entries):
            raise ValueError("its arrays are not packed as .npz files are")
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in entries}
        self.names = list(self._entries)

    def read(self, name: str) -> NDArray[Any]:
        """An array. What its entry holds beyond the size that was counted is not unpacked."""
        entry = self._entries[name]
        with self._archive.open(entry) as stream:
            npy_header(stream, entry.file_size)
        with self._archive.open(entry) as stream:
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            if stream.read(1):  # at the end, where the checksum is looked at
                raise ValueError(f"{name} has more bytes than its header promises")
        return array


class _Bounded(io.RawIOBase):
    """A file of which only so much is read at a time: zipfile asks for as much as the file says of itself."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size if 0 <= size <= _MOST_READ else _MOST_READ + 1)
        if len(content) > _MOST_READ:
            raise ValueError(f"its directory has more than {_MOST_READ} bytes")
        return content
