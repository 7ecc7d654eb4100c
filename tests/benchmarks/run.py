"""Measure what the README promises, side by side in one run, and write the table.

    python tests/benchmarks/run.py docs/benchmarks.md

Every time is compared with another taken in turn with it, A B A B ..., as the median of the pairs' ratios, since
machines are noisy. Needs MNIST where aae-zoo train finds it.
"""

import gzip
import itertools
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
import tutorial

from aae_zoo.runtime import load
from aae_zoo.runtime.catalogue import SHIPPED
from aae_zoo.runtime.files import atomic_file
from aae_zoo.runtime.session import available_cpus
from aae_zoo.zoo.data import FILES, TORCHVISION, find_dataset, load_dataset
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training import Trainer

ROOT = Path(__file__).parents[2]
BUNDLE = SHIPPED / "mnist-gauss"


@dataclass(frozen=True)
class Row:
    what: str
    ours: str
    other: str
    ratio: str
    target: str


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - started) / repeat


def pairs(
    ours: Callable[[], object], other: Callable[[], object], rounds: int, repeat: int = 1
) -> tuple[float, float, float]:
    """Medians of ours, of the other, and of ours / other pair by pair, the order changing from pair to pair."""
    ours(), other()
    measured = []
    for number in range(rounds):
        if number % 2:
            b, a = seconds(other, repeat), seconds(ours, repeat)
        else:
            a, b = seconds(ours, repeat), seconds(other, repeat)
        measured.append((a, b))
    a, b = (statistics.median(column) for column in zip(*measured, strict=True))
    return a, b, statistics.median(x / y for x, y in measured)


def row(what: str, result: tuple[float, float, float], target: str) -> Row:
    """A row of the table, printed as soon as it is measured."""
    a, b, ratio = result
    print(f"{what}: {a * 1e3:.3f} ms, {b * 1e3:.3f} ms, {ratio:.3f} (target {target})")
    return Row(what, f"{a * 1e3:.3f} ms", f"{b * 1e3:.3f} ms", f"{ratio:.3f}", target)


def whole_process() -> Iterator[Row]:
    """`aae-zoo sample -n 64` against the bare script."""
    with tempfile.TemporaryDirectory() as folder:
        ours = [Path(sys.executable).with_name("aae-zoo"), "sample", "-n", "64", "-o", f"{folder}/ours.png"]
        script = ROOT / "tests" / "benchmarks" / "bare.py"
        bare = [sys.executable, script, BUNDLE, f"{folder}/bare.png", str(available_cpus())]

        def run(command: list[object]) -> None:
            subprocess.run([str(word) for word in command], check=True, capture_output=True)

        result = pairs(lambda: run([*ours]), lambda: run([*bare]), 21)
        yield row("`aae-zoo sample -n 64`, whole process, against a bare script", result, "<= 1.3")


def sessions() -> Iterator[Row]:
    """`decode` and `encode` against a bare `InferenceSession.run`."""
    model = load("mnist-gauss", device="cpu")
    for batch, repeat, target in ((1, 300, "<= 1.15"), (64, 60, "<= 1.05")):
        image = model.sample(batch)
        z = model.encode(image)
        for role, ours, inputs in (
            ("decode", partial(model.decode, z), {"z": z}),
            ("encode", partial(model.encode, image), {"image": image}),
        ):
            # The very session that the model runs: two sessions' thread pools would get in each other's way.
            bare = model._engine.graph(f"{role}r").session
            result = pairs(ours, partial(bare.run, None, inputs), 41, repeat)
            promised = target if role == "decode" else ""
            yield row(f"`{role}`, batch {batch}, against a bare `InferenceSession.run`", result, promised)


def training() -> Iterator[Row]:
    """One training step against the tutorial's, data loading included, at its batch of 100."""
    with tempfile.TemporaryDirectory() as folder:
        _write_torchvision_mnist(Path(folder))
        recipe = load_recipe("mnist-gauss", ["training.batch=100"])
        trainer = Trainer(recipe, load_dataset("mnist"), Path(folder) / "run", Processes())
        trainer.setup(resume=False)
        trainer.objective.train()
        batches = itertools.chain.from_iterable(trainer.batches() for _ in itertools.count())
        other = tutorial.steps(Path(folder))
        result = pairs(lambda: trainer.objective.step(next(batches), trainer.noise), lambda: next(other), 21, repeat=20)
        trainer.log.close()
        yield row("one training step, batch 100, against the tutorial's loop", result, "<= 0.667 (1.5 x as fast)")


def _write_torchvision_mnist(root: Path) -> None:
    raw = root / TORCHVISION["mnist"] / "raw"
    raw.mkdir(parents=True)
    for name, path in zip(FILES, find_dataset("mnist", None) or [], strict=True):
        content = path.read_bytes()
        (raw / name).write_bytes(gzip.decompress(content) if path.suffix == ".gz" else content)


def installed() -> Iterator[Row]:
    """The size of what the extra `cpu` installs into a fresh environment."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder]
        subprocess.run([*pip, f"{ROOT}[cpu]"], check=True)
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file() and not p.is_symlink()) / 1e6
    print(f"runtime environment: {size:.0f} MB (target < 260)")
    yield Row("the runtime's environment (extra `cpu`), installed", f"{size:.0f} MB", "", "", "< 260 MB")


def main() -> None:
    """Measure everything and write the table."""
    torch.set_num_threads(available_cpus())
    rows = [r for part in (whole_process, sessions, training, installed) for r in part()]
    facts = {"Python": platform.python_version()} | {n: version(n) for n in ("onnxruntime", "numpy", "torch")}
    text = "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`, which measures both sides in turn on one machine; a ratio is the median of the",
            f"pairs' ratios. This table: {platform.machine()}, {available_cpus()} threads, "
            + ", ".join(f"{name} {v}" for name, v in facts.items())
            + ".",
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
