"""What the tests share: a small data set cut from MNIST, a small model trained on it for real, and its bundle."""

import contextlib
import dataclasses
import gzip
import hashlib
import importlib
import io
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

# The Hub's client reads these when it is imported: no test asks the real Hub or sees the user's login.
os.environ |= {
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HF_HOME": tempfile.mkdtemp(prefix="hf-"),
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

# Of tests that run side by side each has a CPU of its own: more threads than CPUs would wait for each other, spinning.
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(cpus)]})

import hypothesis
import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hub import Hub
from numpy.typing import NDArray
from torch import Tensor, nn

from aae_zoo.cli.main import main
from aae_zoo.export.bundling.bundle import export_bundle, write_bundle
from aae_zoo.export.bundling.detector import scaled
from aae_zoo.export.bundling.graphs import to_onnx
from aae_zoo.export.bundling.source import Source, open_source
from aae_zoo.runtime import Model, load
from aae_zoo.runtime.bundles.graph_metadata import graph_metadata
from aae_zoo.runtime.store.catalogue import SHIPPED, find_model
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.idx import FILES
from aae_zoo.zoo.data.loading import load_dataset, validation_images
from aae_zoo.zoo.objectives import Batch
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training.run import Run
from aae_zoo.zoo.training.trainer import train

# Machines are noisy: speed is measured in benchmarks, never by a test's deadline.
hypothesis.settings.register_profile("aae-zoo", deadline=None)
hypothesis.settings.load_profile("aae-zoo")

ROOT = Path(__file__).parents[1]
# Files that take a minute or more, whose tests are one after the other: begun last, one would be all that still runs.
LONG = (
    "test_ray.py",
    "test_processes.py",
    "test_training.py",
    "test_data_formats.py",
    "test_explore.py",
    "test_export.py",
    "test_snippets.py",
    "test_training_results.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


RECIPE = """
name = "small"
version = "0.1.0"
title = "A small adversarial autoencoder"
description = "Draws small digits"
licence = "MIT"

[data]
dataset = "small"
validation = 200

[encoder]
kind = "mlp"
hidden = [32]
dropout = 0.1

[decoder]
kind = "mlp"
hidden = [48]

[prior]
kind = "gaussian"
size = 2

[objective]
kind = "aae"
reconstruction = "bce"
adversarial_weight = 5.0
discriminator_learning_rate = 0.002
discriminator = { kind = "mlp", hidden = [32] }

[training]
epochs = 4
batch = 50
seed = 3
learning_rate = 0.002
log_every = 5
pictures_every = 2
"""


@dataclass(frozen=True)
class Result:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own cache."""
    monkeypatch.setenv("AAE_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on loopback, and a user who is logged in as the owner of `org`."""
    server = Hub(tmp_path_factory.mktemp("hub"))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    yield server
    server.close()


@pytest.fixture
def commit(hub: Hub) -> str:
    """The commit of the one bundle that the hub has, org/small."""
    return hub.add("org/small", SHIPPED / "digits-gauss")


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond a size: the write fails half-way, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def batch_of(image: Tensor, label: Tensor | None = None, known: int = 0) -> Batch:
    """A batch of images, by default without labels; the first `known` are the labelled batch beside it."""
    labels = torch.full((len(image),), -1) if label is None else label
    return Batch(image, labels, image[:known], labels[:known])


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    return load_dataset("mnist")


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    content = header + np.ascontiguousarray(array).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture(scope="session")
def small_data(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,200 training and 300 test digits at every second pixel (14 x 14), as idx files, one of them gzipped."""
    folder = tmp_path_factory.mktemp("data") / "small"
    folder.mkdir()
    arrays = (
        mnist.train_images[:1200, 0, ::2, ::2],
        mnist.train_labels[:1200],
        mnist.test_images[:300, 0, ::2, ::2],
        mnist.test_labels[:300],
    )
    for name, suffix, array in zip(FILES, ("", ".gz", "", ""), arrays, strict=True):
        write_idx(folder / f"{name}{suffix}", array.numpy().astype(np.uint8))
    return folder


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def small_run(small_recipe: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    train(load_recipe(str(small_recipe)), folder, data=small_data)
    return folder


@pytest.fixture(scope="session")
def small_bundle(small_run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small"
    export_bundle(small_run, folder, data=small_data, anyway=True)  # four epochs are no success
    return folder


class Rebuilding(nn.Module):
    """A detector by the error of reconstructions: its score is the mean, its map the error of three by three pixels."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.encoder, self.decoder = (source.networks[role] for role in ("encoder", "decoder"))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        error = (self.decoder(z=self.encoder(image)["z"])["image"] - image).square().mean(1, keepdim=True)
        return error.mean((1, 2, 3)), functional.avg_pool2d(error, 3, 1, 1)


@pytest.fixture(scope="session")
def detector_bundle(small_run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model's bundle with a detector."""
    folder, source = tmp_path_factory.mktemp("detectors") / "odd", open_source(Run.open(small_run), small_data)
    detector, limits = scaled(Rebuilding(source), validation_images(source.settings, source.dataset))
    networks = {**source.networks, "detector": detector}
    source = dataclasses.replace(source, networks=networks, detector=limits)
    write_bundle(source, folder, lambda _: None, variants=(), replace=False, others={})
    return folder


AddPart = Callable[[str, str, str], None]


@pytest.fixture
def new_part(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[AddPart]:
    """Adds a file to the folder of a family of parts, as if it lay there, for the time of one test."""
    folder, added = tmp_path_factory.mktemp("parts"), set()

    def add(family: str, name: str, source: str) -> None:
        (folder / family).mkdir(exist_ok=True)
        (folder / family / f"{name}.py").write_text(source)
        package = importlib.import_module(f"aae_zoo.zoo.{family}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder / family)])
        added.add(f"{package.__name__}.{name}")

    yield add
    for name in added:
        sys.modules.pop(name, None)


Change = Callable[[dict[str, Any]], object]


def rewrite(bundle: Path, change: Change) -> None:
    """Change the manifest of a bundle."""
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def replace_graph(bundle: Path, name: str, content: bytes) -> None:
    """Put other bytes into the bundle with a manifest that agrees to them."""
    (bundle / name).write_bytes(content)
    record = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    rewrite(bundle, lambda d: d["files"].update({name: record}))


class _Prior(nn.Module):
    def forward(self, u: Tensor) -> dict[str, Tensor]:
        return {"z": u[:, :2], "y": functional.one_hot((u[:, 2] * 3).long(), 3).float()}


class _Decoder(nn.Module):
    """A picture whose first pixels are the class and the code."""

    def forward(self, z: Tensor, y: Tensor) -> dict[str, Tensor]:
        pixels = torch.cat([y, z], 1).clamp(0, 1)
        return {"image": functional.pad(pixels, (0, 14 * 14 - 5)).unflatten(1, (1, 14, 14))}


class _Encoder(nn.Module):
    def __init__(self, tells: bool) -> None:
        super().__init__()
        self.tells = tells

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        z = image.flatten(1)[:, 3:5]
        return {"z": z, "y": image.flatten(1)[:, :3]} if self.tells else {"z": z}


@pytest.fixture(scope="session")
def labelled_bundle(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a bundle whose prior chooses a class with its third coordinate, and whose decoder needs the class.

    Its encoder tells the class too, unless `encoder_tells` is false.
    """

    def make(*, encoder_tells: bool = True) -> Path:
        bundle = Path(shutil.copytree(small_bundle, tmp_path_factory.mktemp("labels") / "bundle"))
        rewrite(bundle, lambda d: d.update(noise=3, label_coordinate=2, labels=["zero", "one", "2"]))
        z, y, image = torch.rand(2, 2), torch.rand(2, 3), torch.rand(2, 1, 14, 14)
        graphs: dict[str, tuple[nn.Module, dict[str, Tensor], list[str]]] = {
            "prior": (_Prior(), {"u": torch.rand(2, 3)}, ["z", "y"]),
            "decoder": (_Decoder(), {"z": z, "y": y}, ["image"]),
            "encoder": (_Encoder(encoder_tells), {"image": image}, ["z", "y"] if encoder_tells else ["z"]),
        }
        manifest = find_model(str(bundle)).manifest
        for role, (network, inputs, outputs) in graphs.items():
            content = to_onnx(network, inputs, outputs, graph_metadata(manifest, role))
            replace_graph(bundle, f"{role}.onnx", content)
        return bundle

    return cache(make)


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle that a test may damage."""
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


@pytest.fixture
def digits_bundle(tmp_path: Path) -> Path:
    """A copy of a shipped bundle that a test may damage."""
    return Path(shutil.copytree(SHIPPED / "digits-gauss", tmp_path / "digits"))


@pytest.fixture
def another(digits_bundle: Path) -> Path:
    """Another version of the bundle that `commit` has."""
    rewrite(digits_bundle, lambda d: d.update(version="2.0.0"))
    return digits_bundle


@pytest.fixture
def run_folder(small_run: Path, tmp_path: Path) -> Path:
    """A copy of the small run that a test may damage."""
    return Path(shutil.copytree(small_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def small(small_bundle: Path) -> Model:
    return load(small_bundle)


@pytest.fixture(scope="session")
def shipped() -> Model:
    return load("mnist-plane")


@pytest.fixture(scope="session")
def digits(mnist: Dataset) -> NDArray[np.float32]:
    """The first 300 test images of MNIST, [300, 1, 28, 28] in [0, 1]."""
    return np.asarray(mnist.test_images[:300].numpy().astype(np.float32) / 255)


AaeZoo = Callable[..., Result]


@pytest.fixture(scope="session")
def aae_zoo() -> AaeZoo:
    """Run a command line in this process: everything that `aae-zoo` does except starting Python."""

    def call(*arguments: Any) -> Result:
        out, err = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            stack.enter_context(mock.patch("sys.argv", ["aae-zoo", *map(str, arguments)]))
            exited = stack.enter_context(pytest.raises(SystemExit))
            main()
            raise SystemExit(0)
        out.seek(0)
        return Result(int(exited.value.code or 0), out.buffer.read().decode("utf-8", "replace"), err.getvalue())

    return call


@pytest.fixture
def refused(aae_zoo: AaeZoo) -> Callable[..., str]:
    """Run a command line that must fail: status 1, nothing on stdout, one sentence on stderr, which is returned.

    Before it stderr has at most the progress of an export, what a training will take, and that the Hub is waited for.
    """

    def call(*arguments: Any) -> str:
        result = aae_zoo(*arguments)
        assert result.status == 1, result
        assert result.out == ""
        *progress, sentence = result.err.splitlines()
        assert sentence.startswith("error: ")
        assert all(line.startswith(("export: ", "training takes about ", "waiting ")) for line in progress)
        return sentence + "\n"

    return call


@pytest.fixture
def no_leftovers(tmp_path: Path) -> Iterator[Path]:
    """A folder in which a failing command must leave nothing, not even a hidden temporary file."""
    folder = tmp_path / "out"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []
