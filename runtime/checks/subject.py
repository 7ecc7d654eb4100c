"""A bundle that is looked at, clause by clause: what has been read of it, each once and only when it is asked for."""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from aae_zoo.runtime.bundles.bundle import Bundle, manifest_text, open_bundle
from aae_zoo.runtime.bundles.graph_check import Head, read_head
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.names import MANIFEST
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.checks.verify import graphs_of
from aae_zoo.runtime.documents import parse_document
from aae_zoo.runtime.engine.engine import Engine
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.formats.arrays import Arrays


class GraphFile(NamedTuple):
    """A graph of a bundle: its role and precision, its file's name and bytes, and what it says of itself."""

    role: str
    precision: str
    name: str
    content: bytes
    head: Head


class Subject:
    """The bundle in a folder. What is not as it must be raises InvalidBundle when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def text(self) -> bytes:
        """The bytes of the manifest."""
        return manifest_text(self.folder)

    @cached_property
    def document(self) -> dict[str, object]:
        """The object that the manifest holds."""
        try:
            return parse_document(self.text)
        except ValueError as error:
            raise InvalidBundle(f"{MANIFEST} {error}") from None

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle, whose manifest is in order."""
        return open_bundle(self.folder)

    @property
    def manifest(self) -> Manifest:
        """The manifest, in order."""
        return self.bundle.manifest

    @cached_property
    def graphs(self) -> list[GraphFile]:
        """Every graph."""
        return [self._graph(role, precision) for role, precision in graphs_of(self.bundle)]

    def _graph(self, role: str, precision: str) -> GraphFile:
        name = self.manifest.graph_file(role, precision)
        content = self.bundle.read(name)
        return GraphFile(role, precision, name, content, read_head(content, name))

    @cached_property
    def golden(self) -> Arrays:
        """The golden arrays."""
        return read_golden(self.bundle)

    @cached_property
    def engine(self) -> Engine:
        """The float32 graphs, open on the CPU."""
        return Engine(self.bundle, device="cpu")
