"""Streams: the same results batch by batch, into files too, in memory that does not grow."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from conftest import AaeZoo
from hypothesis import given, settings
from hypothesis import strategies as st

from aae_zoo.runtime import InvalidInput, Model, OutputError, load
from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.engine.graph import _batch_rows

COUNTS = st.integers(1, 2500)


class Usage(NamedTuple):
    """What a disk says of itself, in bytes."""

    total: int
    used: int
    free: int


@settings(max_examples=15)
@given(count=COUNTS, seed=st.integers(0, 9), temperature=st.sampled_from([0.5, 1.0]), quasi=st.booleans())
def test_a_stream_is_the_result_in_parts(small: Model, count: int, seed: int, temperature: float, quasi: bool) -> None:
    options: dict[str, Any] = {"seed": seed, "temperature": temperature, "quasi": quasi}
    images = small.sample(count, **options)
    works: list[tuple[Any, Any, dict[str, Any], Any]] = [
        ("sample", count, options, images),
        ("encode", images, {}, small.encode(images)),
        ("decode", small.encode(images), {}, small.decode(small.encode(images))),
        ("reconstruct", images, {}, small.reconstruct(images)),
    ]
    for work, source, chosen, expected in works:
        stream = small.stream(work, source, **chosen)
        parts = list(stream)
        assert stream.shape == expected.shape
        assert max(map(len, parts)) <= small.batch
        assert np.allclose(np.concatenate(parts), expected, atol=1e-6)
        assert len(list(stream)) == len(parts)  # again from the beginning


def test_walks_are_streams_too(small: Model) -> None:
    images = small.sample(300)
    walks = [
        (small.stream("interpolate", images, 5, spherical=True), small.interpolate(images, 5, spherical=True)),
        (small.stream("traverse", images, steps=3), small.traverse(images, steps=3)),
    ]
    for stream, expected in walks:
        parts = list(stream)
        assert stream.shape == expected.shape
        assert max(map(len, parts)) <= small.batch < len(expected)
        assert np.allclose(np.concatenate(parts), expected, atol=1e-6)


def test_a_stream_becomes_a_file(small: Model, tmp_path: Path) -> None:
    small.stream("sample", 2500, seed=2).save(tmp_path / "images.npy")
    assert np.array_equal(np.load(tmp_path / "images.npy"), small.sample(2500, seed=2))
    small.stream("sample", 2500, seed=2).save(tmp_path / "IMAGES.NPZ")
    with np.load(tmp_path / "IMAGES.NPZ") as saved:
        assert saved.files == ["image"]
        assert np.array_equal(saved["image"], small.sample(2500, seed=2))
    assert repr(small.stream("sample", 2500)) == "<Stream of image, float32 [2500, 1, 14, 14]>"


def test_a_stream_that_fails_leaves_no_file(small: Model, no_leftovers: Path) -> None:
    images = np.zeros((2500, 1, 14, 14))
    images[2499] = 2
    with pytest.raises(InvalidInput, match="values from 0 to 2"):
        small.stream("encode", images).save(no_leftovers / "codes.npy")
    with pytest.raises(InvalidInput, match="values from 0 to 2"):
        small.stream("encode", images).save(no_leftovers / "codes.npz")
    with pytest.raises(InvalidInput, match=r"ends in \.png, expected \.npy or \.npz"):
        small.stream("sample", 4).save(no_leftovers / "codes.png")
    with pytest.raises(OutputError):
        small.stream("sample", 4).save("/proc/nowhere/x.npy")


def test_works_that_cannot_be_streamed(small: Model) -> None:
    with pytest.raises(InvalidInput, match="the work to stream is 'score', expected one of sample, encode,"):
        small.stream("score", 4)  # type: ignore[call-overload]


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_memory_of_a_stream_does_not_grow(suffix: str, small_bundle: Path, tmp_path: Path) -> None:
    """Drawing into a file 50 times as many images takes no more memory; together they are 78 MB."""
    program = f"""
import resource
from aae_zoo.runtime import load
model = load({str(small_bundle)!r})
model.stream("sample", 2000).save({str(tmp_path / f"few{suffix}")!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.stream("sample", 100_000).save({str(tmp_path / f"many{suffix}")!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout)
    assert grown < 4_000  # kB
    images = np.load(tmp_path / f"many{suffix}", mmap_mode="r")
    assert (images["image"] if suffix == ".npz" else images).shape == (100_000, 1, 14, 14)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("x.npy", "it takes about 6272000000000 bytes, and its disk has 1000000000 free; ask for less"),
        ("x.npz", "it takes about 6272000000000 bytes, and its disk has 1000000000 free; ask for less"),
        ("x/", "it takes about 8192000000000 bytes, and its disk has 1000000000 free; ask for less"),
        ("x.png", "a picture of 2000000000 images has 1568000000000 pixels, expected at most 1073741824; write an"),
        ("-", "a picture of 2000000000 images has 1568000000000 pixels, expected at most 1073741824; write an"),
    ],
)
def test_more_than_there_is_space_for_is_refused_before_work_begins(
    output: str, said: str, refused: Callable[..., str], no_leftovers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(2 * 10**12, 10**12, 10**9))
    path = output if output == "-" else f"{no_leftovers}/{output}"
    assert said in refused("sample", "-n", 2_000_000_000, "-o", path)


@pytest.mark.parametrize("walk", ["interpolate", "traverse"])
def test_a_walk_is_never_held_whole(
    walk: str,
    refused: Callable[..., str],
    no_leftovers: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(images, np.zeros((2, 28, 28), np.uint8))
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(2 * 10**6, 10**6, 10**6))
    said = refused(walk, "mnist-plane", images, "--steps", 1000, "-o", f"{no_leftovers}/x.npy")
    assert "and its disk has 1000000 free; ask for less" in said


def test_a_disk_that_says_nothing_of_itself_is_written_to(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    with mock.patch("shutil.disk_usage", lambda path: Usage(0, 0, 0)):
        assert aae_zoo("sample", "-n", 2, "-o", tmp_path / "x.npz").status == 0


@pytest.mark.parametrize(
    ("image", "work", "rows"),
    [
        ((1, 28, 28), "convolutions", 256),
        ((1, 28, 28), "products", 1024),
        ((3, 64, 64), "convolutions", 16),
        ((3, 4096, 4096), "convolutions", 1),
        ((1, 28, 28), "cuda", 4096),
    ],
)
def test_a_batch_is_what_fits(small: Model, image: tuple[int, int, int], work: str, rows: int) -> None:
    manifest = small.manifest._replace(image=ImageShape(*image))
    assert _batch_rows(manifest, work) == rows


@pytest.mark.parametrize(("name", "rows"), [("mnist-plane", 1024), ("mnist-gauss8", 256)])
def test_matrix_products_are_given_more_rows_at_a_time_than_convolutions(name: str, rows: int) -> None:
    with load(name) as model:
        assert model.batch == rows
