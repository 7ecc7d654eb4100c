"""A bundle that nobody trusts, run in a process of its own: whatever it does there is one sentence here."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import AaeZoo, replace_graph
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from aae_zoo.runtime import DeviceUnavailable, InvalidBundle, InvalidInput, Model, load
from aae_zoo.runtime.checks.verify import verify
from aae_zoo.runtime.engine import isolated

IMAGES = np.linspace(0, 1, 4 * 64, dtype=np.float32).reshape(4, 1, 8, 8)
CODES = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
NOISE = np.linspace(0.1, 0.9, 8, dtype=np.float32).reshape(4, 2)

CALLS: dict[str, Callable[[Model], object]] = {
    "sample": lambda model: model.sample(300, seed=3),
    "sample at a temperature": lambda model: model.sample(5, temperature=0.5),
    "sample_from": lambda model: model.sample_from(NOISE),
    "codes_of": lambda model: model.codes_of(NOISE)["z"],
    "encode": lambda model: model.encode(IMAGES),
    "codes": lambda model: model.codes(IMAGES)["z"],
    "decode": lambda model: model.decode(CODES),
    "decode into": lambda model: model.decode(CODES, out=np.empty((4, 1, 8, 8), np.float32)),
    "reconstruct": lambda model: model.reconstruct(IMAGES),
    "stream": lambda model: np.concatenate(list(model.stream("decode", CODES))),
    "score": lambda model: model.score(IMAGES).score,
    "interpolate": lambda model: model.interpolate(IMAGES),
    "traverse": lambda model: model.traverse(IMAGES),
    "nearest": lambda model: model.nearest(IMAGES, IMAGES).distances,
    "manifold": lambda model: model.manifold(5),
    "batch": lambda model: np.array(model.batch),
    "conditional": lambda model: np.array(model.conditional),
}


@pytest.fixture(scope="module")
def alone() -> Model:
    return load("digits-gauss", isolate=True)


@pytest.mark.parametrize("call", CALLS)
def test_every_call_gives_what_it_gives_without(alone: Model, call: str) -> None:
    assert np.array_equal(CALLS[call](alone), CALLS[call](load("digits-gauss", device="cpu")))  # type: ignore[arg-type]


def test_models_with_classes() -> None:
    images = np.full((3, 1, 28, 28), 0.5, np.float32)
    ours, theirs = load("mnist-semi100", isolate=True), load("mnist-semi100", device="cpu")
    assert ours.classify(images).names == theirs.classify(images).names
    assert np.array_equal(ours.sample(3, label=2), theirs.sample(3, label=2))


def test_many_threads_share_one_process(alone: Model) -> None:
    expected = [load("digits-gauss", device="cpu").sample(3, seed=seed) for seed in range(20)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: alone.sample(3, seed=seed), range(20)))
    assert np.array_equal(found, expected)


def test_a_copy_of_the_model_has_a_process_of_its_own(alone: Model) -> None:
    again = pickle.loads(pickle.dumps(alone))  # noqa: S301 - our own
    assert np.array_equal(again.sample(2), alone.sample(2))


def test_a_forked_child_has_a_process_of_its_own(alone: Model) -> None:
    expected = alone.sample(2)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(alone.sample(2), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(alone.sample(2), expected)


def test_it_runs_on_the_cpu_alone() -> None:
    with pytest.raises(InvalidInput, match="device is 'cuda', expected auto or cpu"):
        load("digits-gauss", device="cuda", isolate=True)


def test_closing_ends_the_process_and_a_later_call_starts_another(alone: Model) -> None:
    expected = alone.sample(2)
    alone.close()
    assert np.array_equal(alone.sample(2), expected)


def node(operator: str, takes: list[str], gives: str, **attributes: object) -> NodeProto:
    return helper.make_node(operator, takes, [gives], **attributes)  # type: ignore[arg-type]


def add(model: ModelProto, *nodes: NodeProto, **tensors: object) -> None:
    """Let the prior's z be z + `more`, which these nodes work out from `zeros`, the noise times 0."""
    for each in model.graph.node:
        for names in (each.input, each.output):
            names[:] = ["was" if name == "z" else name for name in names]
    tensors["nought"] = np.float32(0)
    model.graph.node.extend([node("Mul", ["u", "nought"], "zeros"), *nodes, node("Add", ["was", "more"], "z")])
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v), name) for name, v in tensors.items())


def division(model: ModelProto) -> None:
    """The smallest integer by -1, which the processor answers with a signal: one, because four go another way."""
    nodes = [node("ReduceMax", ["zeros"], "zero", keepdims=0), node("Cast", ["zero"], "i", to=TensorProto.INT32)]
    nodes += [node("Add", ["i", "smallest"], "a"), node("Sub", ["i", "one"], "b"), node("Div", ["a", "b"], "q")]
    add(
        model, *nodes, node("Cast", ["q"], "more", to=TensorProto.FLOAT), smallest=np.int32(-(1 << 31)), one=np.int32(1)
    )


def memory(model: ModelProto) -> None:
    """Two hundred arrays of 64 MB at once."""
    nodes = [node("ReduceSum", ["zeros"], "s", keepdims=0), node("Expand", ["s", "size"], "x0")]
    nodes += [node("Add", [f"x{k}", "one"], f"x{k + 1}") for k in range(200)]
    nodes += [node("Sum", [f"x{k}" for k in range(201)], "all"), node("ReduceMin", ["all"], "m", keepdims=0)]
    add(model, *nodes, node("Mul", ["m", "nought"], "more"), size=[1 << 24], one=np.float32(1))


def time(model: ModelProto) -> None:
    """Minutes of work, in little memory."""
    nodes = [node("ReduceSum", ["zeros"], "s", keepdims=0), node("Expand", ["s", "size"], "x0")]
    nodes += [node("Sin", [f"x{k}"], f"x{k + 1}") for k in range(3000)]
    add(model, *nodes, node("ReduceMin", ["x3000"], "more", keepdims=0), size=[1 << 24])


@pytest.fixture
def hostile(digits_bundle: Path) -> Callable[[Callable[[ModelProto], None]], Path]:
    """Makes a bundle whose prior does something."""

    def make(change: Callable[[ModelProto], None]) -> Path:
        model = onnx.load(digits_bundle / "prior.onnx")
        change(model)
        replace_graph(digits_bundle, "prior.onnx", model.SerializeToString())
        return digits_bundle

    return make


Hostile = Callable[[Callable[[ModelProto], None]], Path]


def test_a_division_that_ends_the_process(hostile: Hostile) -> None:
    model = load(hostile(division), isolate=True)
    for _ in range(2):  # the second call starts another process, which ends as well
        with pytest.raises(InvalidBundle, match="the process that runs digits-gauss was ended by SIGFPE"):
            model.sample(1)
    assert model.encode(IMAGES).shape == (4, 2)


def test_memory_has_a_bound(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "MEMORY", 2 << 30)
    with pytest.raises(InvalidBundle, match=r"ONNX Runtime cannot run prior.onnx|was ended by|is not enough memory"):
        load(hostile(memory), isolate=True).sample(1)


def test_time_has_a_bound(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "SECONDS", 2)
    with pytest.raises(InvalidBundle, match="the process that runs digits-gauss took more than 2 s"):
        load(hostile(time), isolate=True).sample(1)


@pytest.mark.parametrize("gib", [1, 3])
def test_a_lower_bound_on_memory_that_is_there_already_holds(gib: int) -> None:
    """As batch systems set one: nobody may raise it, so the process has it too."""
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({gib} << 30, {gib} << 30))
from aae_zoo.runtime import load
print(load("mnist-plane", isolate=True, threads=1).sample(1).shape)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout == "(1, 1, 28, 28)\n", result.stderr


def test_a_process_that_cannot_be_started_says_nothing_of_the_bundle(
    alone: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    alone.close()
    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(DeviceUnavailable, match=r"cannot be started \(.*Resource temporarily unavailable\); end other"):
        alone.sample(1)


def test_a_process_that_is_killed(alone: Model) -> None:
    alone.sample(1)
    worker = alone._engine._worker
    assert worker
    assert worker._process
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(InvalidBundle, match="was ended by SIGKILL"):
        alone.sample(1)
    assert alone.sample(1).shape == (1, 1, 8, 8)


def test_the_command_ends_with_one_sentence(hostile: Hostile, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "x.png"
    assert "was ended by SIGFPE" in refused("sample", hostile(division), "-n", "1", "--isolate", "-o", output)
    assert list(output.parent.iterdir()) == []


def test_verify_goes_on_after_a_graph_that_ends_its_process(hostile: Hostile, aae_zoo: AaeZoo) -> None:
    result = aae_zoo("verify", hostile(division), "--isolate", "--json")
    assert result.status == 1
    for row in json.loads(result.out):
        assert row["passed"] == (row["graph"] != "prior")
        assert row["passed"] or "was ended by SIGFPE" in row["problem"]


def test_verify_finds_what_it_finds_without() -> None:
    assert verify("digits-gauss", isolate=True) == verify("digits-gauss", device="cpu")
    with pytest.raises(InvalidInput, match="device is 'cuda', expected auto or cpu: isolated models run on the CPU"):
        verify("digits-gauss", device="cuda", isolate=True)


def test_the_command_works_as_without(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    for name, options in (("a", []), ("b", ["--isolate"])):
        result = aae_zoo("sample", "digits-gauss", "-n", "4", *options, "-o", tmp_path / f"{name}.npy")
        assert result.status == 0, result.err
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_programs_of_the_folder_we_are_in_do_not_run(
    aae_zoo: AaeZoo, digits_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as those that come in a bundle, beside its graphs."""
    (digits_bundle / "numpy.py").write_text("raise SystemExit('the bundle was run')")
    monkeypatch.chdir(digits_bundle)
    result = aae_zoo("sample", "./", "-n", "1", "--isolate", "-o", tmp_path / "x.png")
    assert result.status == 0, result.err
