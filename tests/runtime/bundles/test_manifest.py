"""The manifest: what is written is what is read, and the documents name its fields."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.manifest import (
    FITS,
    GROUNDS,
    POLARITIES,
    SCHEMA,
    FileRecord,
    ImageShape,
    Manifest,
    Preparation,
    ScoreLimits,
    parse_manifest,
)
from aae_zoo.runtime.store.catalogue import SHIPPED, list_models

ROOT = Path(__file__).parents[3]
NAMES = [entry.name for entry in list_models() if entry.shipped]

plain_names = st.sampled_from(["small", "1.0.0", "A.b_c-9", "x" * 100])
texts = st.text(st.characters(exclude_categories=["C"]), max_size=20)
sizes = st.integers(1, 1 << 16)
limits = st.floats(1e-9, 1e9)
records = st.builds(FileRecord, sha256=st.binary(min_size=32, max_size=32).map(bytes.hex), size=st.integers(0, 1 << 30))
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
tables = st.dictionaries(texts, values | st.lists(values, max_size=2) | st.dictionaries(texts, values, max_size=2))
ranges = st.tuples(st.integers(0, 65534), st.integers(65535, (1 << 32) - 1))
score_limits = st.builds(ScoreLimits, limits, limits, limits, images=st.integers(1, 1 << 40), contrast=st.floats(0, 1))
preparations = st.builds(
    Preparation,
    fit=st.sampled_from(FITS),
    ground=st.sampled_from(GROUNDS),
    polarity=st.sampled_from(POLARITIES),
    range=st.none() | ranges,
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that `parse_manifest` takes."""
    noise = draw(sizes)
    coordinates = st.integers(0, noise - 1)
    graphs = {
        role: {
            precision: f"{role}.{precision}.onnx"
            for precision in ("fp32", *draw(st.lists(st.sampled_from(["lite", "int8", "fp16"]), unique=True)))
        }
        for role in ("encoder", "decoder", "prior")
    }
    graph_files = {name: draw(records) for named in graphs.values() for name in named.values()}
    return Manifest(
        schema=SCHEMA,
        name=draw(plain_names),
        version=draw(plain_names),
        title=draw(texts),
        description=draw(texts),
        licence=draw(texts),
        dataset=draw(texts),
        data_licence=draw(texts),
        image=ImageShape(draw(st.integers(1, 4)), draw(st.integers(1, 4096)), draw(st.integers(1, 4096))),
        preparation=draw(preparations),
        latent=draw(sizes),
        noise=noise,
        labels=tuple(draw(st.lists(texts, max_size=4))),
        label_coordinate=draw(st.none() | coordinates),
        choices=tuple(draw(st.lists(coordinates, max_size=3))),
        graphs=graphs,
        files=graph_files | {"README.md": draw(records)},
        score=draw(st.none() | score_limits),
        metrics=draw(tables),
        provenance=draw(tables),
    )


@given(manifests())
def test_what_is_written_is_read_as_the_same_manifest(manifest: Manifest) -> None:
    assert parse_manifest(json.dumps(manifest.to_document()).encode(), "manifest.json") == manifest


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_manifest_is_written_as_it_is(name: str) -> None:
    manifest, text = open_bundle(SHIPPED / name).manifest, (SHIPPED / name / "manifest.json").read_bytes()
    assert (json.dumps(manifest.to_document(), indent=2) + "\n").encode() == text
    assert parse_manifest(json.dumps(manifest.to_document()).encode(), name) == manifest


def test_the_documents_name_every_field() -> None:
    table = (ROOT / "docs" / "bundle.md").read_text("utf-8").split("## The manifest")[1].split("\n## ")[0]
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert named == [field.name for field in fields(Manifest)]
