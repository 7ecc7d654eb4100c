"""The manifest: what is written is what is read, and its JSON Schema and docs/bundle.md say the same of it."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from aae_zoo.export.release.specification import specification
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.graph_metadata import graph_metadata
from aae_zoo.runtime.bundles.manifest import (
    FALSE_ALARMS,
    FITS,
    GROUNDS,
    POLARITIES,
    SCHEMA,
    Attribute,
    DetectorLimits,
    FileRecord,
    ImageShape,
    Manifest,
    Preparation,
    ScoreLimits,
    Tf32Error,
    parse_manifest,
)
from aae_zoo.runtime.bundles.names import ALL_ROLES
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.store.catalogue import SHIPPED, list_models

ROOT = Path(__file__).parents[3]
NAMES = [entry.name for entry in list_models() if entry.shipped]

plain_names = st.sampled_from(["small", "1.0.0", "A.b_c-9", "x" * 100])
texts = st.text(st.characters(exclude_categories=["C"]), max_size=20)
names = texts.map(lambda text: text.replace("=", "") or "x")
values_of = st.lists(texts, max_size=3).map(tuple)
sizes = st.integers(1, 1 << 16)
limits = st.floats(1e-9, 1e9)
records = st.builds(FileRecord, sha256=st.binary(min_size=32, max_size=32).map(bytes.hex), size=st.integers(0, 1 << 30))
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
tables = st.dictionaries(texts, values | st.lists(values, max_size=2) | st.dictionaries(texts, values, max_size=2))
ranges = st.tuples(st.integers(0, 65534), st.integers(65535, (1 << 32) - 1))
shares = st.floats(0, 1)
score_limits = st.builds(
    ScoreLimits,
    limits,
    limits,
    limits,
    images=st.integers(1, 1 << 40),
    contrast=shares,
    false_alarms=st.just(FALSE_ALARMS) | shares,
)
detector_limits = st.builds(DetectorLimits, shares, images=st.integers(1, 1 << 40))
tf32_errors = st.builds(
    Tf32Error,
    graph=st.sampled_from(ALL_ROLES),
    precision=st.sampled_from(["fp32", "lite"]),
    difference=st.floats(0, 1e9),
    rms=st.floats(0, 1e9),
)
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
    noise, detector = draw(sizes), draw(st.none() | detector_limits)
    coordinates = st.integers(0, noise - 1)
    labels, attributes = draw(
        st.one_of(
            st.tuples(st.lists(texts, max_size=4), st.just([])),
            st.tuples(st.just([]), st.lists(st.builds(Attribute, names, values_of, st.none() | coordinates))),
        )
    )
    graphs = {
        role: {
            precision: f"{role}.{precision}.onnx"
            for precision in ("fp32", *draw(st.lists(st.sampled_from(["lite", "int8", "fp16"]), unique=True)))
        }
        for role in ("encoder", "decoder", "prior", *["detector"] * (detector is not None))
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
        labels=tuple(labels),
        label_coordinate=None if attributes else draw(st.none() | coordinates),
        attributes=tuple(attributes),
        choices=tuple(draw(st.lists(coordinates, max_size=3))),
        graphs=graphs,
        files=graph_files | {"README.md": draw(records)},
        score=draw(st.none() | score_limits),
        detector=detector,
        tf32=tuple(draw(st.lists(tf32_errors, max_size=3))),
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


SEMI = (SHIPPED / "mnist-semi100" / "manifest.json").read_text("utf-8")
# What JSON can hold where something else belongs.
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0.5, 10**400, 1e308, "", "x", "\x1b[2J", "two\nlines", "a/b"),
    *([], {}, [1, 2], ["x"], {"x": [1]}),
)
# What only the parser can say: what holds between fields.
BETWEEN = r"is not among the manifest's files|has one name twice|from 0 to 8$|where graphs has a detector|beside labels"


def every_place(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a document, from names and numbers."""
    steps = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        yield (*place, step)
        yield from every_place(value[step], (*place, step))


def whole() -> Any:
    """A manifest with all that is optional, and little of what is free or the same again."""
    document = json.loads(SEMI)
    document["preparation"]["range"] = [0, 4095]
    document["graphs"]["detector"] = document["graphs"]["encoder"]
    document["detector"] = {"false_alarms": 0.01, "images": 200}
    document["tf32"] = [{"graph": "decoder", "precision": "lite", "difference": 1e-3, "rms": 1e-4}]
    document["files"] = {name: about for name, about in document["files"].items() if name.endswith(".onnx")}
    return {**document, "metrics": {}, "provenance": {}, "labels": ["a", "b"]}


def of_attributes() -> Any:
    """The same with attributes in place of labels, and less of the rest."""
    document = whole() | {"labels": [], "attributes": [{"name": "glasses", "labels": ["no", "yes"], "coordinate": 8}]}
    del document["label_coordinate"], document["score"], document["detector"], document["preparation"]
    del document["graphs"]["detector"]
    return document


def changed(document: Any, place: tuple[Any, ...], change: Callable[[Any, Any], object]) -> Any:
    """The document, changed at a place."""
    inside = document = copy.deepcopy(document)
    for step in place[:-1]:
        inside = inside[step]
    change(inside, place[-1])
    return document


def put(inside: Any, step: Any, odd: Any) -> None:
    inside[step] = odd


def refusal(document: Any) -> str | None:
    try:
        parse_manifest(json.dumps(document).encode(), "manifest.json")
    except InvalidBundle as error:
        return str(error).partition("; ")[0]
    return None


class TestSchema:
    schema = json.loads((ROOT / "runtime" / "bundles" / "manifest.schema.json").read_text("utf-8"))
    validator = Draft202012Validator(schema)

    def test_it_is_a_schema(self) -> None:
        Draft202012Validator.check_schema(self.schema)

    def test_it_comes_with_the_package(self) -> None:
        assert json.loads((files("aae_zoo.runtime") / "bundles" / "manifest.schema.json").read_bytes()) == self.schema

    @pytest.mark.parametrize("name", NAMES)
    def test_every_shipped_manifest_is_valid(self, name: str) -> None:
        self.validator.validate(json.loads((SHIPPED / name / "manifest.json").read_text("utf-8")))

    @given(manifests())
    def test_what_is_written_is_valid(self, manifest: Manifest) -> None:
        self.validator.validate(json.loads(json.dumps(manifest.to_document())))

    def test_it_refuses_what_the_parser_refuses(self) -> None:
        """Every value of a manifest, taken away and replaced by each of what does not belong there."""
        documents = []
        for document in (whole(), of_attributes()):
            for place in every_place(document):
                documents.append(changed(document, place, dict.pop if isinstance(place[-1], str) else list.pop))
                documents += [changed(document, place, partial(put, odd=odd)) for odd in ODD]
        said = [refusal(document) for document in documents]
        for document, reason in zip(documents, said, strict=True):
            if reason is None or not re.search(BETWEEN, reason):
                assert self.validator.is_valid(document) == (reason is None), (reason, document)
        assert len({reason for reason in said if reason}) > 300


def test_the_document_names_every_field() -> None:
    table = (ROOT / "docs" / "bundle.md").read_text("utf-8").split("<!-- fields: ")[1]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert named == list(Manifest._fields)


def test_the_document_names_every_key_of_the_graphs_metadata() -> None:
    table = (ROOT / "docs" / "bundle.md").read_text("utf-8").split("### The graphs' metadata")[1].split("\n## ")[0]
    manifest = open_bundle(SHIPPED / "mnist-style").manifest
    metadata = graph_metadata(manifest._replace(attributes=(Attribute("glasses", ("no", "yes"), 8),)), "prior")
    assert sorted(re.findall(r"`aae_zoo\.(\w+)`", table)) == sorted(metadata)


def test_a_document_without_its_markers_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "bundle.md").write_text("# The bundle\n")
    with pytest.raises(InvalidBundle, match="docs/bundle.md has 0 times what is fields, expected once between"):
        specification(tmp_path)
