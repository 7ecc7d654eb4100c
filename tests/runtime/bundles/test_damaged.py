"""Damaged bytes of every kind of file that is read: the result is right, or it is one of our errors."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import AaeZoo, rewrite
from hypothesis import given, settings
from hypothesis import strategies as st

from aae_zoo.export.pages.explore import page_facts
from aae_zoo.runtime import load
from aae_zoo.runtime.bundles.bundle import Bundle, open_bundle
from aae_zoo.runtime.bundles.manifest import FileRecord, parse_manifest
from aae_zoo.runtime.bundles.names import metric_text
from aae_zoo.runtime.bundles.signature import signed_files
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.checks.report import check_report
from aae_zoo.runtime.errors import AaeZooError, InvalidBundle
from aae_zoo.runtime.store import catalogue
from aae_zoo.runtime.store.cache import Known, cache_folder, known, remember

DIGITS = catalogue.SHIPPED / "digits-gauss"
MODEL = load("digits-gauss", device="cpu")
IMAGES = (np.arange(4 * 64, dtype=np.uint8) % 251).reshape(4, 8, 8)
IDX = bytes([0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 8]) + IMAGES.tobytes()
# What JSON can hold where something else belongs.
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\ud800",
    "\x1b[2J",
    [],
    {},
    [1, 2],
    {"x": [1]},
)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"x": [value]}
    return value


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with some bytes changed, taken out, put in or cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(changed)) | st.integers(0, min(120, len(changed))))
        length = draw(st.sampled_from([0, 1, 2, 8, len(changed)]))
        changed[place : place + length] = draw(st.binary(max_size=9))
    return bytes(changed)


@st.composite
def damaged_json(draw: st.DrawFn, content: bytes) -> bytes:
    """The document with one value, however deep, that is none of those that belong there; or damaged bytes."""
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged(content))
    document = value = json.loads(content)
    while True:
        key = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        if isinstance(value[key], dict | list) and value[key] and draw(st.integers(0, 3)):
            value = value[key]
            continue
        value[key] = draw(st.sampled_from([*ODD, deep(8), deep(225), deep(450)]))
        return json.dumps(document).encode()


def with_file(bundle: Bundle, name: str, content: bytes, folder: str) -> Bundle:
    """The bundle with another file, to which the manifest agrees."""
    shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
    (Path(folder) / name).write_bytes(content)
    record = FileRecord(hashlib.sha256(content).hexdigest(), len(content))
    manifest = bundle.manifest._replace(files={**bundle.manifest.files, name: record})
    return Bundle(Path(folder), manifest, "")


@cache
def npy() -> bytes:
    np.save(stream := io.BytesIO(), IMAGES)
    return stream.getvalue()


@cache
def npz() -> bytes:
    np.savez_compressed(stream := io.BytesIO(), image=IMAGES)
    return stream.getvalue()


@settings(max_examples=300)
@given(damaged_json((DIGITS / "manifest.json").read_bytes()))
def test_manifests(content: bytes) -> None:
    with contextlib.suppress(InvalidBundle):
        manifest = parse_manifest(content, "manifest.json")
        assert all(isinstance(metric_text(value), str) for value in manifest.metrics.values())
        assert parse_manifest(json.dumps(manifest.to_document()).encode(), "again").files == manifest.files


@given(damaged_json((DIGITS / "parity.json").read_bytes()))
def test_parity_reports(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(AaeZooError):
        check_report(with_file(open_bundle(DIGITS), "parity.json", content, folder))
        assert all(row["passed"] is True for row in json.loads(content)["rows"])


@given(damaged_json((catalogue.SHIPPED / "catalogue.json").read_bytes()))
def test_catalogues(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(catalogue, "SHIPPED", Path(folder)):
        (Path(folder) / "catalogue.json").write_bytes(content)
        with contextlib.suppress(InvalidBundle):
            for entry in catalogue.list_models():
                assert f"{entry.metrics['mse']:.4f} {entry.size / 1e6:.1f} {entry.description.encode()!r}"


@given(damaged_json(json.dumps(Known("c" * 40, "0" * 64)._asdict()).encode()))
def test_records_of_names(content: bytes) -> None:
    remember("org/small", "main", Known("c" * 40, "0" * 64))
    (cache_folder() / "names" / "org" / "small@main").write_bytes(content)
    found = known("org/small", "main")
    assert found is None or (isinstance(found.commit, str) and len(bytes.fromhex(found.sha256)) == 32)
    with pytest.raises(AaeZooError):
        catalogue.find_model("org/small")


@given(damaged((DIGITS / "golden.npz").read_bytes()))
def test_golden_files(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InvalidBundle):
        golden = read_golden(with_file(open_bundle(DIGITS), "golden.npz", content, folder))
        assert all(values.dtype == np.float32 and len(values) for values in golden.values())


@settings(max_examples=40)
@given(damaged((DIGITS / "codes.npz").read_bytes()))
def test_codes_of_test_images(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InvalidBundle):
        bundle = with_file(open_bundle(DIGITS), "codes.npz", content, folder)
        json.dumps(page_facts(bundle, MODEL), allow_nan=False).encode()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of grounds and ranges, which damage changes
@given(st.data(), st.sampled_from(["images.npy", "images.npz", "images.idx", "images.idx.gz", "images-idx3-ubyte"]))
def test_arrays_that_users_give(data: st.DataObject, name: str) -> None:
    contents = {".npy": npy(), ".npz": npz(), ".gz": gzip.compress(IDX, mtime=0)}
    content = data.draw(damaged(contents.get(Path(name).suffix, IDX)))
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(AaeZooError):
        (Path(folder) / name).write_bytes(content)
        MODEL.encode(MODEL.read_images(Path(folder) / name))


@given(damaged_json(b'{"dsseEnvelope": {"payload": "eyJwcmVkaWNhdGUiOiB7fX0="}}'))
def test_signatures(content: bytes) -> None:
    with contextlib.suppress(InvalidBundle):
        signed_files(content, "the bundle")


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Nothing in a test takes long, or it waits for ever."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("name", sorted(path.name for path in DIGITS.iterdir()))
def test_a_pipe_in_the_place_of_a_file(
    name: str, tmp_path: Path, no_waiting: None, aae_zoo: AaeZoo, refused: Callable[..., str]
) -> None:
    bundle = Path(shutil.copytree(DIGITS, tmp_path / "org" / "small"))
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    message = refused("pull", "org/small", "--from", tmp_path)
    assert name in message or (name == "manifest.json" and "there is no bundle" in message)
    for command in (["verify", bundle], ["sample", bundle, "-o", tmp_path / "a.npy"], ["info", bundle]):
        result = aae_zoo(*command)
        assert result.status == 0 or [line[:7] for line in result.err.splitlines()] == ["error: "], result


def test_metrics_nested_too_deep(tmp_path: Path, refused: Callable[..., str]) -> None:
    bundle = Path(shutil.copytree(DIGITS, tmp_path / "bundle"))
    rewrite(bundle, lambda d: d["metrics"].update(x=deep(225)))
    assert "manifest.json is not JSON (it is nested more than 32 deep)" in refused("info", bundle)
    assert "nested more than 32 deep" in refused("info", bundle, "--json")
