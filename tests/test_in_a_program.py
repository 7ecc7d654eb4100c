"""A model inside a user's program: workers, threads, memory over many calls, and what is left behind."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aae_zoo.runtime import Model, load


@settings(max_examples=10)
@given(count=st.integers(1, 300), cut=st.integers(0, 300), seed=st.integers(0, 5))
def test_however_work_is_cut_the_result_is_the_same(small: Model, count: int, cut: int, seed: int) -> None:
    images = small.sample(count, seed=seed)
    parts = [part for part in (images[:cut], images[cut:]) if len(part)]
    for method in (small.encode, small.reconstruct):
        whole = method(images)
        assert len(whole) == count
        assert np.allclose(np.concatenate([method(part) for part in parts]), whole, atol=1e-5)
    for column, pieces in zip(small.score(images), zip(*map(small.score, parts), strict=True), strict=True):
        assert np.allclose(np.concatenate(pieces), column, atol=1e-4)
    neighbours = small.nearest(images, images[: max(1, cut)])
    assert np.array_equal(neighbours.numbers[: len(parts[0])], small.nearest(parts[0], images[: max(1, cut)]).numbers)


@settings(max_examples=5)
@given(count=st.integers(2, 300), cut=st.integers(1, 299))
def test_so_it_is_where_there_are_classes(labelled_bundle: Callable[..., Path], count: int, cut: int) -> None:
    model = load(labelled_bundle())
    images = model.sample(count, seed=1)
    codes = model.codes(images)
    cut = min(cut, count - 1)
    for part in (slice(0, cut), slice(cut, count)):
        assert model.classify(images[part]).names == model.classify(images).names[part]
        assert np.array_equal(model.codes(images[part])["y"], codes["y"][part])
        decoded = np.concatenate(list(model.stream("decode", codes["z"][part], codes["y"][part])))
        assert np.array_equal(decoded, model.decode(**codes)[part])
    assert np.array_equal(model.sample(count, label=1)[:, 0, 0, :3], np.tile([0, 1, 0], (count, 1)))


def test_a_model_is_pickled_with_its_choices_and_without_its_sessions(small_bundle: Path) -> None:
    model = load(small_bundle, device="cpu", threads=1)
    images = model.sample(5)
    content = pickle.dumps(model)
    assert len(content) < 20_000
    again = pickle.loads(content)  # noqa: S301 - its own
    assert repr(again) == repr(model) == "<Model small 0.1.0: images 1 x 14 x 14, 2-D code, on cpu>"
    assert again.manifest == model.manifest
    assert np.array_equal(again.sample(5), images)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_model_goes_to_workers(small_bundle: Path, tmp_path: Path, method: str) -> None:
    """By fork after it was used in the parent too."""
    (tmp_path / "program.py").write_text(f"""
import multiprocessing
from functools import partial
import numpy as np
from aae_zoo.runtime import load

def draw(model, seed):
    return model.sample(300, seed=seed)

if __name__ == "__main__":
    model = load({str(small_bundle)!r}, threads=2)
    expected = [draw(model, seed) for seed in range(4)]
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        found = pool.map(partial(draw, model), range(4))
    assert np.allclose(found, expected, atol=1e-6)
""")
    ignore = "ignore:This process:DeprecationWarning"  # Python 3.12 warns of any fork while there are threads
    subprocess.run([sys.executable, "-W", "error", "-W", ignore, tmp_path / "program.py"], check=True, timeout=300)


def test_a_closed_model_leaves_no_thread_and_opens_again(small_bundle: Path) -> None:
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir()))
    with load(small_bundle, device="cpu", threads=3) as model:
        images = model.sample(300)
        model.encode(images)
        assert len(list(tasks.iterdir())) == before + 4  # encoder and decoder have two besides ours each
    assert len(list(tasks.iterdir())) == before
    assert np.array_equal(model.sample(300), images)
    model.close()


def test_every_kind_of_call_at_once(small: Model) -> None:
    images = small.sample(300, seed=1)
    calls: list[Callable[[], NDArray[np.float32]]] = [
        lambda: small.sample(300, seed=1),
        lambda: small.encode(images),
        lambda: small.reconstruct(images),
        lambda: np.concatenate(list(small.stream("decode", small.encode(images)))),
        lambda: small.score(images).score,
    ]
    expected = [call() for call in calls]
    with ThreadPoolExecutor(8) as pool:
        for found, right in zip(pool.map(lambda i: calls[i % 5](), range(40)), expected * 8, strict=True):
            assert np.array_equal(found, right)


def test_ten_thousand_calls_leave_nothing(small_bundle: Path) -> None:
    """No memory beyond 5 MB, no thread, no open file, and no warning."""
    program = f"""
import gc, os
from pathlib import Path
import numpy as np
from aae_zoo.runtime import load

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def things():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

model = load({str(small_bundle)!r}, threads=1)
def calls(number):
    for i in range(number // 5):
        images = model.sample(1 + i % 9, seed=i)
        codes = model.encode(images)
        model.decode(codes, out=images)
        model.score(images)
        for part in model.stream("sample", 3, seed=i, temperature=0.5, quasi=True):
            pass
calls(1000)
before, had = resident(), things()
calls(10_000)
assert things() == had, (things(), had)
print(resident() - before)
"""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("MALLOC_")}
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert int(result.stdout) < 5_000_000
