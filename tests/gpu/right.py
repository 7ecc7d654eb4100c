"""Is what a GPU computes right: every graph against PyTorch, every call against the CPU, from many threads, again?"""

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import Measured, Missed, Row, held

from aae_zoo.runtime import AaeZooError, DeviceUnavailable, Model, load
from aae_zoo.runtime.checks import verify as verifying
from aae_zoo.runtime.checks.parity import relative_error
from aae_zoo.runtime.checks.verify import NO_TF32, Comparison, verify
from aae_zoo.runtime.engine.cpus import available_cpus
from aae_zoo.runtime.engine.gpus import nvidia_gpus
from aae_zoo.runtime.store.catalogue import SHIPPED

# The models that are here: all that are shipped, or as many as were carried.
NAMES = sorted(path.parent.name for path in SHIPPED.glob("*/manifest.json"))
# What a GPU may differ by from the CPU, relative to the larger of 1 and the largest value.
CLOSE = 1e-4
COUNT = 256


# Each size of a batch costs a second a model, in which cuDNN tries its algorithms.
BATCHES = (1, 7, 64)
NUDGED = [name for name in ("fashion-vae", "mnist-mixture", "mnist-gauss", "mnist-plane") if name in NAMES]


def checks() -> Iterator[Row]:
    start()
    batches = f"batches of {', '.join(map(str, BATCHES[:-1]))} and {BATCHES[-1]}"
    yield Row(f"verify, all models and precisions, {batches}", "every comparison within its gate", verified)
    for name in NUDGED:
        yield Row(f"verify, {name}, last weights 2 % off", "refused, with TF32 too", partial(nudged, name))
    for what in CALLS:
        yield Row(f"{what} of all models, GPU against CPU", f"<= {CLOSE:g}", partial(compared, what))
    yield Row("16 threads at once, of several models", "as one after the other", threads)
    yield Row("deterministic=True, repeated calls", "the same bits", deterministic)
    yield Row("device='cuda:3' and fewer GPUs", "one sentence that names the GPUs", another_gpu)


WORK: dict[tuple[str, str], Future[Any]] = {}


def start() -> None:
    """Begin all that is done for each model: what costs most is cuDNN's search, on one CPU core each."""
    vars(verifying)["COMPARED_BATCHES"] = BATCHES
    pool = ThreadPoolExecutor(max(2, available_cpus() - 2))
    for name in NAMES:
        WORK["verify", name] = pool.submit(verify, name, device="cuda")
    for name in NUDGED:
        WORK["nudged", name] = pool.submit(verify_nudged, name)
    for name in NAMES:
        WORK["differences", name] = pool.submit(differences, name)


def results(kind: str) -> dict[str, Any]:
    """What was found for each model, of a kind of work."""
    return {name: work.result() for (of, name), work in WORK.items() if of == kind}


def verified() -> Measured:
    everything = [(name, c) for name, comparisons in results("verify").items() for c in comparisons]
    failed = [(name, c) for name, c in everything if not c.passed]
    nearest = {f"{where}, {measure}": worst(everything, where, measure) for where, measure in KINDS}
    text = f"{len(everything) - len(failed):,} of {len(everything):,} comparisons of {len(NAMES)} models"
    for kind, value in nearest.items():
        if value:
            text += f"; {kind}: {value['value']:.2g} of {value['gate']:.2g} ({value['graph']})"
    if failed:
        text += "; failed: " + "; ".join(map(said, failed[:5]))
    return held(not failed, text, {"models": len(NAMES), "comparisons": len(everything), "nearest": nearest})


KINDS = ((NO_TF32, "difference"), ("cuda", "difference"), ("cuda", "rms"))


def worst(everything: list[tuple[str, Comparison]], where: str, measure: str) -> dict[str, Any] | None:
    """The comparison that comes nearest to its gate, of those in float32."""
    some = [
        (c.value / c.gate, name, c)
        for name, c in everything
        if (c.device, c.measure) == (where, measure) and c.precision in ("fp32", "lite") and c.value is not None
    ]
    if not some:
        return None
    _, name, c = max(some, key=lambda each: each[0])
    return {"graph": f"{name} {c.graph} {c.precision}", "value": c.value, "gate": c.gate}


def said(failure: tuple[str, Comparison]) -> str:
    name, c = failure
    value = c.problem or f"{c.measure} {c.value:.3g}, gate {c.gate:.3g}"
    return f"{name} {c.graph} {c.precision} on {c.device}, batch {c.batch}: {value}"


def verify_nudged(name: str) -> list[Comparison]:
    """What verify finds of a decoder whose last weights are 2 % too large."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(shutil.copytree(SHIPPED / name, Path(folder) / name))
        content = with_last_weights_off(bundle / "decoder.onnx")
        (bundle / "decoder.onnx").write_bytes(content)
        document = json.loads((bundle / "manifest.json").read_text("utf-8"))
        document["files"]["decoder.onnx"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        (bundle / "manifest.json").write_text(json.dumps(document), "utf-8")
        return [c for c in verify(str(bundle), device="cuda", precision="fp32") if c.graph == "decoder"]


def nudged(name: str) -> Measured:
    found: list[Comparison] = WORK["nudged", name].result()
    refused = {c.device for c in found if not c.passed}
    times = {c.measure: c.value / c.gate for c in found if c.device == "cuda" and c.value is not None}
    text = f"refused by {' and by '.join(sorted(refused)) or 'nothing'}; with TF32 " + ", ".join(
        f"{measure} {value:.2g} x its gate" for measure, value in times.items()
    )
    return held(refused == {NO_TF32, "cuda"}, text, {"model": name, "times_the_gate": times})


def with_last_weights_off(path: Path) -> bytes:
    """A graph whose last product has weights that are 2 % too large."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    casts = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    products = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul", "Conv", "ConvTranspose")]
    weights = stored[casts.get(products[-1].input[1], products[-1].input[1])]
    array = numpy_helper.to_array(weights)
    weights.CopyFrom(numpy_helper.from_array((array * 1.02).astype(array.dtype), weights.name))
    return bytes(model.SerializeToString())


CALLS: dict[str, Callable[[Model, NDArray[np.float32]], NDArray[Any]]] = {
    "samples": lambda model, images: model.sample(COUNT, seed=1),
    "codes": lambda model, images: model.encode(images),
    "reconstructions": lambda model, images: model.reconstruct(images),
    "scores": lambda model, images: np.asarray(model.score(images).score),
}


def differences(name: str) -> dict[str, float | str]:
    """For each call how far the GPU is from the CPU, or what it says where it gives nothing."""
    found: dict[str, float | str] = {}
    with load(name, device="cpu", threads=1) as cpu, load(name, device="cuda") as gpu:
        images = cpu.sample(COUNT, seed=3)
        for what, call in CALLS.items():
            try:
                expected = call(cpu, images)
            except AaeZooError:  # not every model can be asked for everything
                continue
            try:
                found[what] = relative_error(np.asarray(call(gpu, images)), expected)
            except Exception as error:  # the other calls go on
                found[what] = f"{type(error).__name__}: {error}"
    return found


def compared(what: str) -> Measured:
    found = {name: each[what] for name, each in results("differences").items() if what in each}
    errors = {name: value for name, value in found.items() if not isinstance(value, str)}
    largest = max(errors, key=lambda name: errors[name], default="none")
    text = f"{errors.get(largest, np.nan):.2g} at most, of {len(errors)} models ({largest})"
    wrong = [f"{name} {value}" for name, value in found.items() if isinstance(value, str) or not value <= CLOSE]
    return held(bool(errors) and not wrong, "; ".join([text, *wrong])[:700], {"errors": errors})


def threads() -> Measured:
    """Sixteen threads with calls of several models and sizes, which begin together."""
    names = [name for name in ("mnist-gauss", "mnist-plane") if name in NAMES] or NAMES[:2]
    with ExitStack() as stack:
        models = [stack.enter_context(load(name, device="cuda")) for name in names]
        sizes = (1, 64, 5000)
        jobs = [(model, count, seed) for seed, count in enumerate(sizes * 4) for model in models]
        expected = [model.sample(count, seed=seed) for model, count, seed in jobs]
        begin = threading.Barrier(16)

        def work(number: int) -> float:
            begin.wait()
            largest = 0.0
            for place in range(number, 3 * len(jobs), 16):
                model, count, seed = jobs[place % len(jobs)]
                found = model.sample(count, seed=seed)
                largest = max(largest, relative_error(found, expected[place % len(jobs)]))
            return largest

        with ThreadPoolExecutor(16) as pool:
            error = max(pool.map(work, range(16)))
    return held(error <= CLOSE, f"{3 * len(jobs)} calls of {len(names)} models, {error:.2g} at most", {"error": error})


def deterministic() -> Measured:
    names, differing = [name for name in ("mnist-gauss8", "mnist-gauss", "fashion-vae") if name in NAMES], []
    for name in names:
        with load(name, device="cuda", deterministic=True) as model:
            images = [model.sample(COUNT, seed=1) for _ in range(6)]
            codes = [model.encode(images[0]) for _ in range(6)]
            again = any(not np.array_equal(each, some[0]) for some in (images, codes) for each in some)
        with load(name, device="cuda", deterministic=True) as model:
            other = not np.array_equal(model.sample(COUNT, seed=1), images[0])
        differing += [name] * (again or other)
    return held(not differing, f"{', '.join(names)}: {len(differing)} differ {' '.join(differing)}".strip())


def another_gpu() -> Measured:
    gpus = nvidia_gpus()
    number = max(3, len(gpus))
    try:
        load(NAMES[0], device=f"cuda:{number}").sample(1)
    except DeviceUnavailable as error:
        text = str(error)
        return held("here, cuda:0 (" in text and gpus[0].name in text and "\n" not in text, text)
    raise Missed(f"cuda:{number} draws")
