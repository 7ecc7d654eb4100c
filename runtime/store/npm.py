"""Packages of the npm registry, each pinned by its version and by the registry's own hash of its archive."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aae_zoo.runtime.errors import MissingBackend
from aae_zoo.runtime.escapes import words_of


class Package(NamedTuple):
    """A package in one version, and its archive's SHA-512 in base64, as `npm view NAME@VERSION dist.integrity` has it.

    `str` of it is what people read: its name and version.
    """

    name: str
    version: str
    sha512: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def fetch_packages(packages: Sequence[Package], folder: Path, mend: str) -> list[Path]:
    """Let npm fetch the archives of packages into a new folder `folder`: their paths, in the order of the packages.

    Nothing of them is run. `mend` ends each message: what else can be done.

    Raises:
        MissingBackend: npm is not installed, cannot fetch a package, or fetched another one.
    """
    names = ", ".join(map(str, packages))
    folder.mkdir()
    npm = shutil.which("npm") or "npm"  # it is npm.cmd on Windows, which starts programs by their whole names alone
    command = [npm, "pack", "--silent", "--json", *(f"{one.name}@{one.version}" for one in packages)]
    environment = {"HOME": str(folder), **os.environ}  # npm wants one, and not every user has it
    try:
        result = subprocess.run(  # noqa: S603
            [*command, "--pack-destination", str(folder)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise MissingBackend(f"npm, which fetches {names}, is not installed; {mend}") from None
    archives = {_sha512(path): path for path in folder.rglob("*.tgz")}
    if result.returncode or not archives:
        summary = re.search(r'"summary": ("(?:[^"\\]|\\.)*")', result.stdout + result.stderr)
        reason = words_of(json.loads(summary[1]) if summary else result.stderr)
        raise MissingBackend(f"npm could not fetch {names} ({reason}); {mend}")
    known = {one.sha512 for one in packages}
    for one in packages:
        if one.sha512 not in archives:
            found = ", ".join(archives.keys() - known) or "no archive"
            raise MissingBackend(f"npm fetched {one} with SHA-512 {found}, expected {one.sha512}; {mend}")
    return [archives[one.sha512] for one in packages]


def _sha512(path: Path) -> str:
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
