"""Measure what the README promises, side by side in one run, and write the table.

    python tests/benchmarks/run.py docs/benchmarks.md

Every time is compared with another taken in turn with it, A B A B ..., as the median of the pairs' ratios, since
machines are noisy. Needs MNIST where aae-zoo train finds it. Of other engines those that are installed are measured:
pip install openvino opencv-python-headless.
"""

import gzip
import itertools
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import tutorial
from numpy.typing import NDArray
from safetensors.torch import load_file

from aae_zoo.runtime import Model, list_models, load
from aae_zoo.runtime.checks.bench import Timing, bench, compare, medians
from aae_zoo.runtime.checks.card_bench import seconds
from aae_zoo.runtime.engine.cpus import available_cpus
from aae_zoo.runtime.files import atomic_file
from aae_zoo.zoo.build import build
from aae_zoo.zoo.data.dataset import torchvision_root
from aae_zoo.zoo.data.idx import FILES, find_idx
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
# A checkout's own bundle has PyTorch's weights too.
BUNDLE = ROOT / "runtime" / "models" / "mnist-plane"

# What is measured of a decoder with the check of its images, and against what.
_CHECKED, _UNCHECKED = "a decoder's run", "against one whose images nobody checks"

Array = NDArray[np.float32]
Engine = Callable[[Array], Array]


@dataclass(frozen=True)
class Row:
    what: str
    ours: str
    other: str
    ratio: str
    target: str


def row(what: str, result: tuple[float, float, float], target: str) -> Row:
    """A row of the table, printed as soon as it is measured."""
    a, b, ratio = result
    print(f"{what}: {a * 1e3:.3f} ms, {b * 1e3:.3f} ms, {ratio:.3f} (target {target})")
    return Row(what, f"{a * 1e3:.3f} ms", f"{b * 1e3:.3f} ms", f"{ratio:.3f}", target)


def alone(work: Callable[[], object]) -> float:
    """The seconds of one call, the mean of a quarter of a second, once another quarter has gone by.

    Another library's threads go on spinning for a while when it is done, on the CPUs that this one needs.
    """
    work()
    repeat = max(1, round(0.25 / seconds(work)))
    seconds(work, repeat)
    return seconds(work, repeat)


def compare_alone(ours: Callable[[], object], other: Callable[[], object]) -> tuple[float, float, float]:
    """As `compare`, of two libraries that have threads of their own."""
    return medians([(alone(ours), alone(other)) for _ in range(9)])


def whole_process() -> Iterator[Row]:
    """`aae-zoo sample -n 64` against the bare script."""
    with tempfile.TemporaryDirectory() as folder:
        ours = [Path(sys.executable).with_name("aae-zoo"), "sample", "-n", "64", "-o", f"{folder}/ours.png"]
        script = ROOT / "tests" / "benchmarks" / "bare.py"
        bare = [sys.executable, script, BUNDLE, f"{folder}/bare.png", str(available_cpus())]

        # Whoever installs a package has it compiled.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

        def run(command: list[object]) -> None:
            subprocess.run([str(word) for word in command], check=True, capture_output=True, env=environment)

        result = compare(lambda: run([*ours]), lambda: run([*bare]), 41)
        yield row("`aae-zoo sample -n 64`, whole process, against a bare script", result, "<= 1.25")
        aae_zoo = str(ours[0])
        for command in (["list"], ["info", "mnist-plane"], ["--help"]):
            nothing = partial(run, [sys.executable, "-c", "pass"])
            result = compare(partial(run, [aae_zoo, *command]), nothing, 21)
            yield row(f"`aae-zoo {' '.join(command)}`, whole process, against `python -c pass`", result, "< 250 ms")


def calls() -> Iterator[Row]:
    """What `aae-zoo bench mnist-plane` measures: start, decode and encode against a bare `InferenceSession.run`."""
    for t in bench("mnist-plane", device="cpu").timings:
        assert isinstance(t, Timing)
        if t.bare is None or t.ratio is None:
            print(f"{t.what}: {t.seconds * 1e3:.1f} ms")
            yield Row(t.what, f"{t.seconds * 1e3:.1f} ms", "", "", "")
            continue
        target = "<= 1.05" if "images" in t.what else "<= 1.10" if t.what.endswith("batch 1") else "<= 1.03"
        against = "" if "against" in t.what else ", against a bare `InferenceSession.run`"
        yield row(t.what + against, (t.seconds, t.bare, t.ratio), target)


def checking() -> Iterator[Row]:
    """What it costs that every image of a decoder is looked through for what is not finite: also the two worst."""
    for batch, target in ((1, "<= 1.03"), (64, "<= 1.03")):
        yield row(f"{_CHECKED}, batch {batch}, 1 thread, {_UNCHECKED}", _checked("mnist-plane", batch), target)
    found = [(_checked(entry.name, 1), entry.name) for entry in list_models() if entry.shipped]
    for result, name in sorted(found, key=lambda measured: measured[0][2])[-2:]:
        yield row(f"{_CHECKED} of `{name}`, batch 1, 1 thread, {_UNCHECKED}", result, "<= 1.03")


def _checked(name: str, batch: int) -> tuple[float, float, float]:
    model = load(name, device="cpu", threads=1)
    decoder = model.graph("decoder")
    size = {input_name: model.manifest.row_shapes[input_name] for input_name in decoder.inputs}
    codes = {input_name: np.zeros((batch, *shape), np.float32) for input_name, shape in size.items()}
    repeat = max(5, round(0.01 / seconds(partial(decoder.run, codes))))

    def decode(finite: bool) -> None:
        for _ in range(repeat):
            decoder.run(codes, finite=finite)

    a, b, ratio = compare(partial(decode, True), partial(decode, False), 41)
    return a / repeat, b / repeat, ratio


def engines() -> Iterator[Row]:
    """`decode` against other engines on the same graph, each with as many threads: those that are installed."""
    model = load("mnist-plane", device="cpu")
    for name, make in (("PyTorch eager", _eager), ("OpenVINO", _openvino), ("OpenCV", _opencv)):
        try:
            other = make()
        except ImportError:
            print(f"{name} is not installed")
            continue
        for batch in (1, 64, 1024):
            z = model.encode(model.sample(batch))
            assert np.allclose(other(z), model.decode(z), atol=1e-4), name
            target = "" if name != "PyTorch eager" else "<= 0.5" if batch == 1 else "<= 1"
            result = compare_alone(partial(model.decode, z), partial(other, z))
            yield row(f"`decode`, batch {batch}, against {name}", result, target)


def _eager() -> Engine:
    """The decoder as a PyTorch model, with the bundle's own weights."""
    network, _ = build(load_recipe("mnist-plane"), (1, 28, 28))
    weights = load_file(BUNDLE / "model.safetensors")
    network.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
    network.eval()

    def decode(z: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(network.logits({"z": torch.from_numpy(z)}).sigmoid())

    return decode


def _openvino() -> Engine:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": available_cpus()}
    compiled = openvino.Core().compile_model(BUNDLE / "decoder.onnx", "CPU", settings)
    request = compiled.create_infer_request()
    return lambda z: request.infer([z])[0]


def _opencv() -> Engine:
    import cv2

    cv2.setNumThreads(available_cpus())
    network = cv2.dnn.readNetFromONNX(str(BUNDLE / "decoder.onnx"))

    def run(z: Array) -> Array:
        network.setInput(z)
        return np.asarray(network.forward())

    return run


def peak() -> Iterator[Row]:
    """The MLP decoder's share of the machine's matrix-multiply peak, at batch 1,024.

    The peak is the most floating-point operations a second of any of numpy's, PyTorch's and ONNX Runtime's own products
    of square matrices.
    """
    model = load("mnist-plane", device="cpu")
    z = model.encode(model.sample(1024))
    operations = 2 * 1024 * sum(rows * columns for rows, columns in _matrices(BUNDLE / "decoder.onnx"))
    products = [(2 * size**3, product) for size in (1024, 2048) for product in _products(size)]
    shares = []
    for _ in range(9):
        decoding = operations / alone(partial(model.decode, z))
        shares.append((decoding / 1e9, max(count / alone(product) for count, product in products) / 1e9))
    ours, machine, share = medians(shares)
    print(f"decode, batch 1024: {ours:.1f} of {machine:.1f} GFLOP/s, {share:.2f}")
    what = "`decode`, batch 1024, share of the matrix-multiply peak"
    yield Row(what, f"{ours:.1f} GFLOP/s", f"{machine:.1f} GFLOP/s", f"{share:.2f}", ">= 0.85")


def _products(size: int) -> Iterator[Callable[[], object]]:
    """Each library's product of two square matrices."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    b, out = torch.from_numpy(a), np.empty_like(a)
    yield partial(np.matmul, a, a, out)
    yield partial(torch.mm, b, b, out=torch.from_numpy(out))
    yield partial(_product(a).run, None, {"a": a})


def _product(b: Array) -> onnxruntime.InferenceSession:
    """A session that multiplies a matrix by `b`."""
    shape, number = list(b.shape), onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, number, shape) for name in "ac"]
    node = onnx.helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = onnx.helper.make_graph([node], "product", ends[:1], ends[1:], [onnx.numpy_helper.from_array(b, "b")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _matrices(path: Path) -> Iterator[tuple[int, int]]:
    for tensor in onnx.load(path).graph.initializer:
        if len(tensor.dims) == 2:
            yield tensor.dims[0], tensor.dims[1]


def callers() -> Iterator[Row]:
    """Many threads of a program on one model: images a second, against one caller.

    By default a call takes all CPUs, so that more callers can only keep up; with one thread each they add up.
    """
    for threads in (None, 1):
        model = load("mnist-plane", device="cpu", threads=threads)
        for batch, number in itertools.product((1, 64), (1, 2, 4, 8)):
            z = model.encode(model.sample(batch))
            rates = [(_rate(model, z, number), _rate(model, z, 1)) for _ in range(7)]
            rate, single, ratio = medians(rates)
            what = f"{number} callers of `decode`, batch {batch}" + (", `threads=1`" if threads else "")
            print(f"{what}: {rate:,.0f} images/s, {ratio:.2f}")
            yield Row(f"{what}, against one", f"{rate:,.0f} images/s", f"{single:,.0f} images/s", f"{ratio:.2f}", "")


def _rate(model: Model, z: Array, number: int) -> float:
    """Images a second of so many threads, each calling for a quarter of a second."""
    started = time.perf_counter()

    def work(_: int) -> int:
        done = 0
        while time.perf_counter() < started + 0.25:
            done += len(model.decode(z))
        return done

    with ThreadPoolExecutor(number) as pool:
        return sum(pool.map(work, range(number))) / (time.perf_counter() - started)


def training() -> Iterator[Row]:
    """One training step against the tutorial's, data loading included, at its batch of 100."""
    with tempfile.TemporaryDirectory() as folder:
        _write_torchvision_mnist(Path(folder))
        recipe = load_recipe("mnist-plane", ["training.batch=100"])
        trainer = Trainer(recipe, load_dataset("mnist"), Path(folder) / "run", Processes())
        trainer.start(resume=False)
        trainer.objective.train()
        batches = itertools.chain.from_iterable(trainer.batches() for _ in itertools.count())
        other = tutorial.steps(Path(folder))
        result = compare(lambda: trainer.objective.step(next(batches), trainer.noise), lambda: next(other), 21)
        trainer.log.close()
        yield row("one training step, batch 100, against the tutorial's loop", result, "<= 0.667 (1.5 x as fast)")


def _write_torchvision_mnist(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, path in zip(FILES, find_idx("mnist", None, torchvision_root() / "MNIST" / "raw") or [], strict=True):
        content = path.read_bytes()
        (raw / name).write_bytes(gzip.decompress(content) if path.suffix == ".gz" else content)


def installed() -> Iterator[Row]:
    """The size of what the extra `cpu` installs into a fresh environment."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder]
        subprocess.run([*pip, f"{ROOT}[cpu]"], check=True)
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file() and not p.is_symlink()) / 1e6
    print(f"runtime environment: {size:.0f} MB (target < 300)")
    yield Row("the runtime's environment (extra `cpu`), installed", f"{size:.0f} MB", "", "", "< 300 MB")


def main() -> None:
    """Measure everything and write the table."""
    torch.set_num_threads(available_cpus())
    rows = [r for part in (whole_process, calls, checking, engines, peak, callers, training, installed) for r in part()]
    facts = {"Python": platform.python_version()} | {n: version(n) for n in ("onnxruntime", "numpy", "torch")}
    text = "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`, which measures both sides in turn on one machine; a ratio is the median of the",
            f"pairs' ratios. This table: {platform.machine()}, {available_cpus()} threads, "
            + ", ".join(f"{name} {v}" for name, v in facts.items())
            + ".",
            "The targets were set on a processor whose products take half as long again; the faster they are, the more",
            "counts what Python does around them.",
            "",
            "| what | ours | the other | ours / other | target |",
            "|---|---|---|---|---|",
            *(f"| {r.what} | {r.ours} | {r.other} | {r.ratio} | {r.target} |" for r in rows),
            "",
        ]
    )
    with atomic_file(Path(sys.argv[1])) as temporary:
        temporary.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
