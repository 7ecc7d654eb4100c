"""A bundle: the folder that a model is. Nothing in it is unpickled, imported or executed."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aae_zoo.runtime.bundles.names import MANIFEST, MAX_FILE_BYTES, MAX_MANIFEST_BYTES, WEIGHTS
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.files import open_plain

if TYPE_CHECKING:
    from aae_zoo.runtime.bundles.manifest import Manifest

# In an installed package, an editable one for example, every file may be a link that the installer made.
_PACKAGE: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Bundle:
    """A bundle folder and its checked manifest. Its files are checked when they are read.

    `source` is what to pull it by, where that is not its manifest's name.
    """

    folder: Path
    manifest: "Manifest"
    manifest_sha256: str
    source: str = ""

    def read(self, name: str, most: int = MAX_FILE_BYTES) -> bytes:
        """The content of a file of at most `most` bytes, after its size and SHA-256 were found to be the manifest's.

        Raises:
            InvalidBundle: the file is not in the manifest, missing, a link, too large, truncated or altered.
        """
        record = self.manifest.files.get(name)
        path = self.folder / name
        if record is None:
            raise InvalidBundle(f"{self.folder} has no file {name!r} in its manifest")
        if record.size > most:
            raise InvalidBundle(f"{path} has {record.size} bytes, expected at most {most}; do not trust this bundle")
        if leads_outside(path):
            raise InvalidBundle(f"{path} is a link, expected a file of the bundle itself; {self._mend()}")
        try:
            with open_plain(path, links=path.is_symlink()) as stream:
                size = os.fstat(stream.fileno()).st_size
                if size != record.size:
                    raise InvalidBundle(f"{path} has {size} bytes, expected {record.size}; {self._mend()}")
                content = stream.read(size)  # bounded, in case it grows meanwhile
        except FileNotFoundError:
            if name == WEIGHTS:
                raise InvalidBundle(
                    f"{path} is missing: PyTorch's weights are not in the wheels of aae-zoo; take the bundle from a "
                    "checkout, or export the run again that it comes from"
                ) from None
            raise InvalidBundle(f"{path} is missing; {self._mend()}") from None
        except OSError as error:
            raise InvalidBundle(f"{path} cannot be read ({error.strerror}); {self._mend()}") from None
        found = hashlib.sha256(content).hexdigest()
        if found != record.sha256:
            raise InvalidBundle(f"{path} has SHA-256 {found}, expected {record.sha256}; {self._mend()}")
        return content

    def check_files(self) -> None:
        """Read and check every file of the manifest; only PyTorch's weights may be missing: wheels leave them out.

        Raises:
            InvalidBundle: at the first file that is missing, truncated or altered.
        """
        for name in self.manifest.files:
            if not self.leaves_out(name):
                self.read(name)

    def leaves_out(self, name: str) -> bool:
        """Whether a file of the manifest is PyTorch's weights, and missing: only fine-tuning needs it."""
        return name == WEIGHTS and not (self.folder / name).exists()

    def _mend(self) -> str:
        name = self.source or self.manifest.name
        return f"get {self.manifest.name} again (aae-zoo pull {name}, or reinstall aae-zoo if the model is shipped)"


def open_bundle(folder: Path) -> Bundle:
    """Open a bundle folder and check its manifest.

    Raises:
        InvalidBundle: there is no manifest, or it is a link or malformed.
    """
    from aae_zoo.runtime.bundles.manifest import parse_manifest  # slow to import, and `list` opens no bundle

    text = manifest_text(folder)
    return Bundle(folder, parse_manifest(text, str(folder / MANIFEST)), hashlib.sha256(text).hexdigest())


def manifest_text(folder: Path) -> bytes:
    """The bytes of a bundle's manifest, unchecked; of one that is too large, one more than the limit.

    Raises:
        InvalidBundle: there is none, or it is a link, or cannot be read.
    """
    path = folder / MANIFEST
    try:
        if not path.is_file():
            raise InvalidBundle(
                f"{folder} is not a bundle: it has no {MANIFEST}; make one with aae-zoo export RUN -o BUNDLE"
            )
        if leads_outside(path):
            raise InvalidBundle(f"{path} is a link, expected a file of the bundle itself; do not trust this bundle")
        with open_plain(path, links=path.is_symlink()) as stream:
            return stream.read(MAX_MANIFEST_BYTES + 1)  # bounded: one byte over the limit is enough to refuse it
    except OSError as error:
        raise InvalidBundle(f"{path} cannot be read ({error.strerror}); get the bundle again") from None


def has_manifest(folder: Path) -> bool:
    """Whether there is a bundle in a folder, as far as this user can tell."""
    return os.path.isfile(folder / MANIFEST)


def leads_outside(path: Path) -> bool:
    """Whether a file is a link, other than an installer's and those of the Hub's cache into its own blobs."""
    snapshots = path.absolute().parent.parent
    blobs = snapshots.resolve().parent / "blobs"
    of_hub = snapshots.name == "snapshots" and path.resolve().parent == blobs
    return path.is_symlink() and _PACKAGE not in path.parents and not of_hub
