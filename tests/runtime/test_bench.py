"""`aae-zoo bench`: what it measures and prints; how fast anything is, is never tested."""

import json
import re
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from conftest import AaeZoo

from aae_zoo.runtime import load
from aae_zoo.runtime.checks import bench as benchmarks
from aae_zoo.runtime.checks import card_bench
from aae_zoo.runtime.engine.devices import CPU, CUDA


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


class OnACard(onnxruntime.InferenceSession):  # type: ignore[misc]
    """A session on the CPU that says it is on CUDA; arrays that are bound to the card lie in the CPU's memory."""

    def __init__(self, graph: bytes, options: Any, providers: list[Any], **fallback: int) -> None:
        self.options = dict(providers).get(CUDA, {})
        if "enable_cuda_graph" in self.options and not self.can_capture:
            raise RuntimeError("this session cannot use the graph capture feature as requested by the user")
        super().__init__(graph, options, providers=[CPU])

    can_capture = True

    def get_providers(self) -> list[str]:
        return [CUDA, CPU]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {CUDA: self.options, CPU: {}}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnACard)
    monkeypatch.setattr(card_bench, "memory_of", lambda session: ("cpu", 0))
    monkeypatch.setattr(card_bench, "load", lambda *given, arrays="host", **how: load(*given, **how))
    monkeypatch.setattr(card_bench, "CARD_BATCHES", (1, 64))
    monkeypatch.setattr(card_bench, "_SECONDS", 0.0)
    monkeypatch.setattr(card_bench, "_ROUNDS", 3)
    monkeypatch.setattr(benchmarks, "_START", 'print("[1, 2, 3]")')
    monkeypatch.setattr(benchmarks, "_STARTS", 1)


@pytest.mark.usefixtures("card")
def test_on_a_gpu_each_batch_is_measured_on_the_host_and_on_the_card(
    aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = aae_zoo("bench", "digits-gauss", "--device", "cuda", "--json")
    assert result.status == 0, result.err
    timings = [timing for timing in json.loads(result.out) if "on_card" in timing]
    assert [(t["what"], t["batch"]) for t in timings] == [
        (f"{what}, batch {batch}", batch) for what in ("decode", "encode") for batch in (1, 64)
    ]
    for name in ("seconds", "bare", "bound", "on_card", "bound_on_card", "replay"):
        assert all(timing[name] > 0 for timing in timings)
    assert all(timing["problem"] is None for timing in timings)
    monkeypatch.setattr(OnACard, "can_capture", False)
    monkeypatch.setattr(card_bench, "CARD_BATCHES", (1,))
    result = aae_zoo("bench", "digits-gauss", "--device", "cuda")
    assert result.out.split("\n\n")[1].splitlines()[0].split("  ")[0] == "on the GPU, ms"
    assert [line.split()[-1] for line in result.out.splitlines() if line.startswith(("decode", "encode"))] == ["-", "-"]
    assert re.search("ONNX Runtime captures no CUDA graph of the decoder: .* cannot use the graph capture", result.err)
