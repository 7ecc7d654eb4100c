"""`aae-zoo bench`: what it measures and prints; how fast anything is, is never tested."""

import json
from pathlib import Path

import pytest
from conftest import AaeZoo

from aae_zoo.runtime.checks import bench as benchmarks


def test_it_measures_the_start_and_each_call_beside_a_bare_session(
    small_bundle: Path, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarks, "_SECONDS", 0.0)
    monkeypatch.setattr(benchmarks, "_TIMED_PAIRS", 1)
    monkeypatch.setattr(benchmarks, "_STARTS", 1)
    monkeypatch.setattr(benchmarks, "TIMED_BATCHES", (1, 64))
    result = aae_zoo("bench", small_bundle, "--json", "--device", "cpu")
    assert result.status == 0, result.err
    timings = json.loads(result.out)
    whats = [timing["what"] for timing in timings]
    assert len(whats) == benchmarks.bench(small_bundle, device="cpu").total
    for start in ("import of", "opening", "first sample(64)", "a process", "decode, batch 64", "encode, batch 1"):
        assert any(what.startswith(start) for what in whats), start
    assert all(timing["seconds"] > 0 for timing in timings)
    assert all(timing["ratio"] > 0 for timing in timings if "batch" in timing["what"])
    assert "ours / bare" in aae_zoo("bench", small_bundle).out


def test_a_comparison_is_the_median_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    called: list[str] = []
    ours, other, ratio = benchmarks.compare(lambda: called.append("a"), lambda: called.append("b"), rounds=4)
    assert (ours, other, ratio) == (1, 1, 1)
    assert called[4:] == ["a", "b", "b", "a", "a", "b", "b", "a"]


def test_a_model_that_is_not_there(aae_zoo: AaeZoo) -> None:
    result = aae_zoo("bench", "nothing")
    assert result.status == 1
    assert result.err.startswith("error: there is no model 'nothing'")
