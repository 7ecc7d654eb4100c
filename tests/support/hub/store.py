"""The repositories of the test hub, on disk: commits, branches, tags and contents, each file written whole.

    <root>/<kind>/<org>/<name>/repository.json           {private, gated, branches, tags}
    <root>/<kind>/<org>/<name>/commits/<oid>.json        {parent, title, files: {path: {oid, size, lfs}}}
    <root>/contents/<oid>                                git blobs by their SHA-1, LFS objects by their SHA-256

`kind` is models, datasets or spaces.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aae_zoo.runtime.files import atomic_file


class Store:
    """What the server keeps. One repository is (kind, "org/name")."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "contents").mkdir(parents=True, exist_ok=True)

    def folder(self, kind: str, repo: str) -> Path:
        return self.root / kind / repo

    def exists(self, kind: str, repo: str) -> bool:
        return (self.folder(kind, repo) / "repository.json").is_file()

    def create(self, kind: str, repo: str, *, private: bool) -> None:
        self.save(kind, repo, {"private": private, "gated": False, "branches": {}, "tags": {}})
        self.commit(kind, repo, "main", "initial commit", {".gitattributes": self.put(b"*.onnx filter=lfs\n")})

    def read(self, kind: str, repo: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder(kind, repo) / "repository.json").read_text())
        return document

    def save(self, kind: str, repo: str, document: Mapping[str, Any]) -> None:
        _write_json(self.folder(kind, repo) / "repository.json", document)

    def repositories(self, kind: str) -> list[str]:
        return sorted(f"{p.parent.parent.name}/{p.parent.name}" for p in self.root.glob(f"{kind}/*/*/repository.json"))

    def put(self, content: bytes) -> dict[str, Any]:
        """Keep a regular file: its entry in a commit."""
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's own
        self._keep(oid, content)
        return {"oid": oid, "size": len(content), "lfs": False}

    def put_lfs(self, oid: str, content: bytes) -> bool:
        """Keep an LFS object, if it is what its name says."""
        if hashlib.sha256(content).hexdigest() != oid:
            return False
        self._keep(oid, content)
        return True

    def has(self, oid: str) -> bool:
        return (self.root / "contents" / oid).is_file()

    def content(self, entry: Mapping[str, Any]) -> bytes:
        return (self.root / "contents" / str(entry["oid"])).read_bytes()

    def revision(self, kind: str, repo: str, name: str) -> str | None:
        """The commit of a branch, a tag or a commit's own name."""
        document = self.read(kind, repo)
        if (self.folder(kind, repo) / "commits" / f"{name}.json").is_file():
            return name
        found: str | None = document["branches"].get(name) or document["tags"].get(name)
        return found

    def files(self, kind: str, repo: str, commit: str) -> dict[str, dict[str, Any]]:
        files: dict[str, dict[str, Any]] = self.history(kind, repo, commit)[0]["files"]
        return files

    def history(self, kind: str, repo: str, commit: str | None) -> list[dict[str, Any]]:
        """A commit and all before it, the newest first."""
        found = []
        while commit:
            document = json.loads((self.folder(kind, repo) / "commits" / f"{commit}.json").read_text())
            found.append({"oid": commit, **document})
            commit = document["parent"]
        return found

    def commit(
        self,
        kind: str,
        repo: str,
        branch: str,
        title: str,
        adds: Mapping[str, Mapping[str, Any]],
        deletes: tuple[str, ...] = (),
        *,
        base: str | None = None,
    ) -> str:
        """Commit onto a branch, which may be new and then starts at `base`: the commit's name."""
        repository = self.read(kind, repo)
        parent = repository["branches"].get(branch, base)
        files = self.files(kind, repo, parent) if parent else {}
        files = {p: e for p, e in files.items() if not any(p == d or p.startswith(f"{d}/") for d in deletes)}
        document = {"parent": parent, "title": title, "files": {**files, **adds}}
        oid = hashlib.sha1(json.dumps([repo, document, os.urandom(8).hex()]).encode()).hexdigest()  # noqa: S324
        _write_json(self.folder(kind, repo) / "commits" / f"{oid}.json", document)
        repository["branches"][branch] = oid
        self.save(kind, repo, repository)
        return oid

    def _keep(self, oid: str, content: bytes) -> None:
        with atomic_file(self.root / "contents" / oid) as temporary:
            temporary.write_bytes(content)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(document))
