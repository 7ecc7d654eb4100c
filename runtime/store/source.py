"""Where bundles are pulled from: what every source gives, and a folder of bundles as one."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, Protocol

from aae_zoo.runtime.bundles.bundle import has_manifest, leads_outside
from aae_zoo.runtime.errors import InvalidBundle, InvalidInput, ModelNotFound
from aae_zoo.runtime.files import open_plain
from aae_zoo.runtime.store.catalogue import Remote

# A revision that names one commit for ever.
COMMIT: Final = re.compile(r"[0-9a-f]{40}")


class Source(Protocol):
    """Where a bundle's files come from.

    `where` is for errors; `commit` is the Hub's, or empty; `exactly` is `where` with the commit.
    """

    where: str
    commit: str
    exactly: str

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def chunks(self, name: str, start: int) -> Iterator[bytes]:
        """The content of a file from byte `start` on."""

    def progress(self, name: str, total: int, done: int) -> AbstractContextManager[Callable[[int], object]]:
        """What to call with the bytes of each chunk; of `total` bytes, `done` are there already."""


class FolderSource:
    """A bundle in a folder of bundles, for machines without a network: DIR/NAME, or DIR/ORG/NAME of a repository."""

    commit = ""

    def __init__(self, folder: Path, place: Remote) -> None:
        if place.sha256 is None and place.revision != "main":
            raise InvalidInput(
                f"{place.asked} asks for the revision {place.revision}, but a folder has one revision of each model; "
                "leave it out, or pin the manifest (#sha256=...)"
            )
        names = dict.fromkeys([place.name, (place.repository or place.name).rpartition("/")[2]])
        found = [folder / name for name in names if has_manifest(folder / name)]
        if not found:
            raise ModelNotFound(f"there is no bundle {' or '.join(str(folder / name) for name in names)}")
        self.folder = found[0]
        self.where = self.exactly = str(found[0])

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.folder / name).exists()

    def chunks(self, name: str, start: int) -> Iterator[bytes]:
        """The content of a file from byte `start` on."""
        try:
            with open_plain(self.folder / name, links=not leads_outside(self.folder / name)) as stream:
                stream.seek(start)
                while block := stream.read(1 << 20):
                    yield block
        except OSError as error:
            raise InvalidBundle(
                f"{self.folder / name} cannot be read ({error.strerror or error}); copy the whole bundle there"
            ) from None

    def progress(self, *_: object) -> AbstractContextManager[Callable[[int], object]]:
        """Nothing to show: copying takes no time."""
        return nullcontext(lambda _: None)
