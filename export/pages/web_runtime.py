"""ONNX Runtime for browsers: files of the npm package onnxruntime-web, too large (14 MB) for the repository."""

import hashlib
import tarfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.files import atomic_file, scratch_folder
from aae_zoo.runtime.store.cache import cache_folder
from aae_zoo.runtime.store.npm import Package, fetch_packages

PACKAGE: Final = "onnxruntime-web"
VERSION: Final = "1.30.0"
# The registry's own hash of the package's archive, as `npm view onnxruntime-web@1.30.0 dist.integrity` prints it.
SHA512: Final = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# The two files in that archive, and their SHA-256.
FILES: Final = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
# Two more that compute on the GPU.
WEBGPU_FILES: Final = {
    "ort.webgpu.bundle.min.mjs": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
_MEND: Final = f"npm install {PACKAGE} where there is a network, and give its folder: --node-modules node_modules"


def copy_web_runtime(folder: Path, node_modules: Path | None = None, *, webgpu: bool = False) -> None:
    """Copy the two files, and with `webgpu` two more, into the new folder `folder`, modules with .js for .mjs.

    Browsers run no module whose type is not JavaScript's, and not every server knows .mjs: nginx 1.22 does not.

    They come from `node_modules`, as they are there, or where that is None from the user's cache, into which npm
    fetches the pinned version once; its archive must have the registry's SHA-512. A cached file is hashed every time:
    one that was altered is fetched again, with a warning.

    Raises:
        InvalidInput: `node_modules` lacks the package.
        MissingBackend: npm is not installed, cannot fetch the package, or fetched another one.
        OutputError: the cache cannot be written.
    """
    files = FILES | WEBGPU_FILES if webgpu else FILES
    if node_modules is None:
        cache = cache_folder() / f"{PACKAGE}-{VERSION}"
        contents = _cached(cache, files) or _fetch(cache, files)
    else:
        contents = _installed(node_modules / PACKAGE / "dist", files)
    folder.mkdir()
    for name, content in contents.items():
        (folder / name.replace(".mjs", ".js")).write_bytes(content)


def _installed(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The files of a folder that the user names."""
    for name in names:
        if not (folder / name).is_file():
            raise InvalidInput(
                f"{folder} has no {name}; npm install {PACKAGE}, and give the folder node_modules it is in"
            )
    return {name: (folder / name).read_bytes() for name in names}


def _cached(folder: Path, files: Mapping[str, str]) -> dict[str, bytes] | None:
    """The files of the cache, or None where one is missing or is not what npm fetched."""
    if not all((folder / name).is_file() for name in files):
        return None
    contents = {name: (folder / name).read_bytes() for name in files}
    for name, expected in files.items():
        found = hashlib.sha256(contents[name]).hexdigest()
        if found != expected:
            altered = f"{folder / name} has SHA-256 {found}, expected {expected}: it was altered, and is fetched again"
            warnings.warn(altered, RuntimeWarning, stacklevel=3)
            return None
    return contents


def _fetch(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Fetch the package into the cache: the files."""
    with scratch_folder() as scratch:
        (archive,) = fetch_packages([Package(PACKAGE, VERSION, SHA512)], scratch / "archives", _MEND)
        with tarfile.open(archive) as package:
            contents = {name: _member(package, f"package/dist/{name}") for name in names}
    for name, content in contents.items():  # what else is in the cache's folder is not touched
        with atomic_file(folder / name) as temporary:
            temporary.write_bytes(content)
    return contents


def _member(package: tarfile.TarFile, name: str) -> bytes:
    member = package.extractfile(name)
    assert member is not None  # noqa: S101 - the archive is the one whose files are known
    return member.read()
