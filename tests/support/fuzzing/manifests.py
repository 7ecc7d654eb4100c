"""Manifests with changed, missing and foreign values, and damaged JSON, given to the one reader of manifests."""

import json
from functools import cache
from random import Random
from typing import Final

from aae_zoo.runtime.bundles.manifest import parse_manifest
from aae_zoo.runtime.bundles.names import MAX_FILE_BYTES, is_plain_name
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.store.catalogue import SHIPPED
from fuzzing.changes import change_bytes, change_json
from fuzzing.memory import at_most

REFUSAL: Final = InvalidBundle


@cache
def manifests() -> list[bytes]:
    """The manifests that cases are made from, without their longest texts."""
    texts = [(SHIPPED / name / "manifest.json").read_text("utf-8") for name in ("mnist-bits", "digits-gauss")]
    documents = [json.loads(text) | {"metrics": {}, "provenance": {}} for text in texts]
    attributes = [{"name": "glasses", "labels": ["no", "yes"], "coordinate": 1}, {"name": "hair", "labels": ["red"]}]
    return [json.dumps(document).encode() for document in (*documents, documents[-1] | {"attributes": attributes})]


def case(random: Random) -> None:
    """One manifest.

    Raises:
        InvalidBundle: it was refused.
        AssertionError: it was let through and is not harmless.
    """
    content = random.choice(manifests())
    content = change_json(content, random) if random.random() < 0.85 else change_bytes(content, random)
    with at_most(100 * len(content) + (16 << 20)):
        found = parse_manifest(content, "manifest.json")
    assert all(is_plain_name(name) and "/" not in name and name != ".." for name in found.files), content
    assert all(0 <= record.size <= MAX_FILE_BYTES for record in found.files.values()), content
    assert all(name in found.files for graph in found.graphs.values() for name in graph.values()), content
    asked = [text for attribute in found.asked for text in (attribute.name, *attribute.labels)]
    assert not any("\x1b" in text for text in (found.name, found.title, *asked)), content
    assert all(a.coordinate is None or 0 <= a.coordinate < found.noise for a in found.asked), content
    assert 1 <= min(found.latent, found.noise) <= max(found.latent, found.noise) <= 1 << 16, content
