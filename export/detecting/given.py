"""What a detector is made from and where it goes: checked before minutes of training, and read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aae_zoo.export.detecting.pictures import NORMAL, Pictures, apart, check_enough, read
from aae_zoo.runtime.errors import DatasetError, OutputError
from aae_zoo.runtime.escapes import note
from aae_zoo.runtime.files import check_free
from aae_zoo.runtime.ownership import BUNDLE, PAGE, named
from aae_zoo.runtime.words import counted
from aae_zoo.zoo.recipe import DataSettings

_LISTED: Final = 20


@dataclass(frozen=True)
class Places:
    """The folders of normal and of odd pictures, and the bundle's, which the page's and the run's are beside.

    The page's is marked as of the `kind`.
    """

    pictures: Path
    odd: Path | None
    out: Path
    kind: str = PAGE

    @property
    def run(self) -> Path:
        """What training keeps."""
        return self._beside("run")

    @property
    def page(self) -> Path:
        """Where the page is, and all that it shows."""
        return self._beside("page")

    def _beside(self, what: str) -> Path:
        out = self.out.resolve() if self.out.name in ("", "..") else self.out
        return out.with_name(f"{out.name}-{what}")

    def check(self, *, replace: bool, bundle: bool = True) -> None:
        """Refuse now what would be refused when all is done, or would have odd pictures or outputs learned from.

        Without `bundle`, that of a bundle is not asked.

        Raises:
            OutputError: an output stands already, or is in a folder of pictures.
            DatasetError: all normal pictures are in the folder of the odd ones.
        """
        for given in filter(None, (self.pictures, self.odd)):
            if self.out.resolve().is_relative_to(given.resolve()):
                raise OutputError(f"{self.out} is in {given}, all of which is read; give an output elsewhere")
        if self.odd and self.pictures.resolve().is_relative_to(self.odd.resolve()):
            raise DatasetError(f"{self.pictures} is in {self.odd}, all of which is odd; give another folder")
        if bundle:
            check_free(self.out, BUNDLE if replace else None)
        check_free(self.page, self.kind if replace else None)


def read_both(places: Places, data: DataSettings) -> tuple[Pictures, Pictures | None, list[str]]:
    """The normal pictures and the odd ones, none of which is both, and what is to be said of them.

    Raises:
        DatasetError: as for `read` and `check_enough`, or every odd picture is a normal one too.
    """
    normal = read(places.pictures, data, places.odd)
    odd = read(places.odd, data) if places.odd else None
    warnings = [*left_out(normal), *(left_out(odd) if odd else [])]
    if odd:
        normal, odd, (ours, theirs) = apart(normal, odd)
        if not odd.files:
            raise DatasetError(f"every picture of {odd.root} is in {normal.root} too; give others as odd ones")
        if ours:
            warnings.append(
                f"left out, as both folders have the same: {counted(len(ours), 'picture')}: {named(ours)} of "
                f"{normal.root}, {named(theirs)} of {odd.root}"
            )
    check_enough(normal, NORMAL)
    return normal, odd, warnings


def left_out(pictures: Pictures) -> list[str]:
    """What of a folder is left out; why files cannot be read is listed on stderr."""
    for reason in list(pictures.failed.values())[:_LISTED]:
        note(f"error: {reason}")
    root, found = pictures.root, []
    for files, why in ((pictures.failed, "unreadable"), (pictures.copies, "a copy of another one")):
        if files:
            names = named([path.relative_to(root).as_posix() for path in files])
            found.append(f"left out, as {why}: {counted(len(files), 'picture')} of {root}: {names}")
    return found + [f"in {root}, {pictures.note}"] * bool(pictures.note)


def warn(warnings: Iterable[str]) -> None:
    """Each warning as a line on stderr."""
    for warning in warnings:
        note(f"warning: {warning}")
