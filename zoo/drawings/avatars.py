"""Draws the faces of `avatars`: Node.js runs DiceBear and resvg, pinned, with the script beside this file."""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import DatasetError, MissingBackend
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.files import atomic_file, check_space, scratch_folder
from aae_zoo.runtime.store.npm import Package, fetch_packages
from aae_zoo.zoo.bars import bar
from aae_zoo.zoo.data.stored import Contents, store
from aae_zoo.zoo.datasets.avatars import ATTRIBUTES, BACKGROUND, HAIR, MD5S, SKIN

_PACKAGES: Final = (
    Package(
        "@dicebear/core",
        "9.4.3",
        "9ITrQI57k3p5hKuU8HZJ1d0kPdrmTKEJDOdlKQ8CpaChbtmnD1R+dtWmNz5IesYThXM8F64pJ0ZvJ2rsY8Hciw==",
    ),
    Package(
        "@dicebear/pixel-art",
        "9.4.3",
        "sGoG6MEs9ZWD+5+7OObVjp7IrF3E/UEKTg7T4kou9UXl2YXLVy8u8hHnAgTqWhiVZuyYozAVsK2E/oYvMigYBw==",
    ),
    Package(
        "@dicebear/lorelei",
        "9.4.3",
        "bpch2LRqrdL7gEgU2AW9NwoVKgBSrOUEQJx6FUV1UI6alM72BLaeu04uMqWQUXdh+Hc0SCnkj4Lg8nazSyI3oA==",
    ),
    Package(
        "@resvg/resvg-wasm",
        "2.6.2",
        "FqALmHI8D4o6lk/LRWDnhw95z5eO+eAa6ORjVg09YRR7BkcM6oPHU9uyC0gtQG5vpFLvgpeU4+zEAz2H8APHNw==",
    ),
)
_SCRIPT: Final = "avatars.mjs"
_MEND: Final = "install Node.js 18 or newer, which brings npm, from https://nodejs.org, and try again with a network"
# Hats would hide the hair's colour, and beards the mouth.
_OPTIONS: Final = {
    "hairColor": list(HAIR.values()),
    "skinColor": list(SKIN.values()),
    "backgroundColor": list(BACKGROUND.values()),
    "glassesProbability": 35,
    "beardProbability": 0,
    "hatProbability": 0,
}
_SHAPE: Final = (64, 64, 3)
_PART: Final = 100
# The parts and the file, in bytes.
_SPACE: Final = 150_000_000

Span = tuple[int, int]


def build(path: Path, *, training: int = 50_000, test: int = 10_000, md5s: Mapping[str, str] = MD5S) -> None:
    """Draw the faces of the seeds 0 to training + test - 1 and store them at `path`.

    Each 100 of them are kept in a folder beside it until then, from where the next call goes on.

    Raises:
        DatasetError: what was drawn has other md5s.
        MissingBackend: npm or Node.js is missing or fails.
        OutputError: the file cannot be written.
    """
    check_space(path, _SPACE)
    folder = path.with_name(f".{path.stem}-{_recipe()}")
    parts = {"train": _spans(0, training), "test": _spans(training, training + test)}
    _draw([*parts["train"], *parts["test"]], folder)
    try:
        store(path, _contents(parts, folder), md5s)
    except DatasetError:  # no next call could go on from them
        _remove(folder)
        raise
    _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the parts, and what a call that was killed had begun to write."""
    for part in folder.glob("*.npz"):
        part.unlink()
    with suppress(OSError):  # something else came into it
        folder.rmdir()


def _recipe() -> str:
    """A name for what makes the pictures: parts that another release drew are never mixed in."""
    makes = json.dumps([_PACKAGES, _OPTIONS, _script().decode()])
    return hashlib.sha256(makes.encode()).hexdigest()[:8]


def _script() -> bytes:
    return files("aae_zoo.zoo.drawings").joinpath(_SCRIPT).read_bytes()


def _spans(first: int, end: int) -> list[Span]:
    return [(start, min(start + _PART, end)) for start in range(first, end, _PART)]


def _part(folder: Path, span: Span) -> Path:
    return folder / "{:05}-{:05}.npz".format(*span)


def _contents(parts: Mapping[str, Sequence[Span]], folder: Path) -> dict[str, Contents]:
    return {
        f"{split}_{name}": Contents((spans[-1][1] - spans[0][0], *shape), _rows(spans, folder, name))
        for split, spans in parts.items()
        for name, shape in (("images", _SHAPE), ("attributes", (len(ATTRIBUTES),)))
    }


def _rows(spans: Sequence[Span], folder: Path, name: str) -> Iterator[NDArray[np.uint8]]:
    for span in spans:
        with np.load(_part(folder, span)) as part:
            yield part[name]


def _draw(spans: Sequence[Span], folder: Path) -> None:
    """Draw the parts that are not there yet."""
    missing = [span for span in spans if not _is_whole(_part(folder, span))]
    if not missing:
        return
    total, left = (sum(end - first for first, end in some) for some in (spans, missing))
    with _node(missing) as stream, bar(total=total, initial=total - left, unit="face") as shown:
        for first, end in missing:
            images, attributes = _read(stream, end - first)
            with atomic_file(_part(folder, (first, end))) as temporary:
                np.savez_compressed(temporary, images=images, attributes=attributes)
            shown.update(end - first)


def _is_whole(path: Path) -> bool:
    try:
        with path.open("rb") as stream, np.load(stream) as part:
            return len(part["images"]) == len(part["attributes"])
    except Exception:  # whatever is wrong with it, it is drawn again
        return False


def _read(stream: IO[bytes], count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pixels [n, H, W, 3] and attributes [n, k] of the next faces."""
    pixels = int(np.prod(_SHAPE))
    size = count * (pixels + len(ATTRIBUTES))
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    records = np.frombuffer(content, np.uint8).reshape(count, -1)
    return records[:, :pixels].reshape(count, *_SHAPE), records[:, pixels:]


@contextmanager
def _node(spans: Sequence[Span]) -> Iterator[IO[bytes]]:
    """Run the script beside the packages: what it writes.

    Raises:
        MissingBackend: a program is missing or fails.
    """
    with scratch_folder() as scratch, tempfile.TemporaryFile() as errors:
        _install(scratch)
        command = ["node", str(scratch / _SCRIPT), json.dumps({"spans": spans, "options": _OPTIONS})]
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)  # noqa: S603
        except FileNotFoundError:
            raise MissingBackend(f"node, which draws the faces, is not installed; {_MEND}") from None
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with process:
            try:
                yield process.stdout
            except EOFError:
                process.wait()
                errors.seek(0)
                reason = words_of(errors.read().decode("utf-8", "replace"))
                raise MissingBackend(f"node ended before all faces were drawn ({reason}); {_MEND}") from None
            finally:
                process.kill()


def _install(folder: Path) -> None:
    """Put the packages where the script finds them; nothing of them is run for that."""
    for package, archive in zip(_PACKAGES, fetch_packages(_PACKAGES, folder / "archives", _MEND), strict=True):
        target = folder / "node_modules" / package.name
        with tarfile.open(archive) as contents:
            contents.extractall(target.with_suffix(".unpacked"), filter="data")
        (target.with_suffix(".unpacked") / "package").rename(target)
    (folder / _SCRIPT).write_bytes(_script())
