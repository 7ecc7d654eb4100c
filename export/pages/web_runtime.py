"""ONNX Runtime for browsers: two files of the npm package onnxruntime-web, too large (14 MB) for the repository."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aae_zoo.runtime.errors import InvalidInput, MissingBackend
from aae_zoo.runtime.files import atomic_file
from aae_zoo.runtime.store.cache import cache_folder

PACKAGE: Final = "onnxruntime-web"
VERSION: Final = "1.30.0"
# The registry's own hash of the package's archive, as `npm view onnxruntime-web@1.30.0 dist.integrity` prints it.
SHA512: Final = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES: Final = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
_MEND: Final = f"npm install {PACKAGE} where there is a network, and give its folder: --node-modules node_modules"


def copy_web_runtime(folder: Path, node_modules: Path | None = None) -> None:
    """Copy the two files into the new folder `folder`.

    They come from `node_modules`, or if that is None from the user's cache, into which npm fetches the pinned version
    once; its archive must have the registry's SHA-512.

    Raises:
        InvalidInput: `node_modules` lacks the package.
        MissingBackend: npm is not installed, cannot fetch the package, or fetched another one.
        OutputError: the cache cannot be written.
    """
    source = cache_folder() / f"{PACKAGE}-{VERSION}" if node_modules is None else node_modules / PACKAGE / "dist"
    missing = [name for name in FILES if not (source / name).is_file()]
    if missing and node_modules is not None:
        raise InvalidInput(
            f"{source} has no {missing[0]}; npm install {PACKAGE}, and give the folder node_modules it is in"
        )
    if missing:
        _fetch(source, missing)
    folder.mkdir()
    for name in FILES:
        shutil.copyfile(source / name, folder / name)


def _fetch(folder: Path, names: Sequence[str]) -> None:
    """Bring some of the two files into the cache; what else is in its folder is not touched."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = _pack(Path(scratch))
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != SHA512:
            raise MissingBackend(f"npm fetched {PACKAGE} {VERSION} with SHA-512 {found}, expected {SHA512}; {_MEND}")
        with tarfile.open(archive) as package:
            for name in names:
                member = package.extractfile(f"package/dist/{name}")
                assert member is not None  # noqa: S101 - the archive is the one whose files are known
                with atomic_file(folder / name) as temporary:
                    temporary.write_bytes(member.read())


def _pack(scratch: Path) -> Path:
    """Let npm fetch the package's archive into a folder."""
    command = ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}", "--pack-destination", str(scratch)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise MissingBackend(
            f"{PACKAGE} {VERSION} is needed, and npm, which fetches it, is not installed; {_MEND}"
        ) from None
    archive = next(scratch.glob("*.tgz"), None)
    if result.returncode or archive is None:
        reason = " ".join(result.stderr.split())[:200] or "it says nothing"
        raise MissingBackend(f"npm could not fetch {PACKAGE} {VERSION} ({reason}); {_MEND}")
    return archive
