"""The wheel, installed alone in an empty environment, is the runtime: no PyTorch, no network, the same digits."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, AaeZoo
from hub import Hub
from packaging.requirements import Requirement
from service import NPY, serving

from aae_zoo.export.release.timing import TIMINGS
from aae_zoo.runtime import list_models, load
from aae_zoo.runtime.bundles.names import WEIGHTS

MODELS = ROOT / "runtime" / "models"


def test_a_checkout_on_windows_has_the_same_models(tmp_path: Path) -> None:
    """Git for Windows comes with core.autocrlf=true."""
    names = ["runtime/models/catalogue.json", "runtime/models/digits-gauss/manifest.json"]
    checkout = ["git", "-c", "core.autocrlf=true", "checkout-index", f"--prefix={tmp_path}/", *names]
    subprocess.run(checkout, cwd=ROOT, check=True)
    assert [(tmp_path / name).read_bytes() for name in names] == [(ROOT / name).read_bytes() for name in names]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the tracked files alone, as from a clean checkout."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    archive = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    names = [name for name in archive.decode().split("\0") if name and (ROOT / name).exists()]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    # setuptools would warn of folders of which it cannot tell whether they are packages or data
    warned = {**os.environ, "PYTHONWARNINGS": "error:Package"}
    subprocess.run([*pip, "-w", str(folder), str(source)], env=warned, check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_has_every_shipped_file_but_the_pytorch_weights(wheel: Path) -> None:
    models = ROOT / "runtime" / "models"
    ours = {
        p.relative_to(models).as_posix() for p in models.rglob("*") if p.is_file() and p.name not in (WEIGHTS, TIMINGS)
    }
    with zipfile.ZipFile(wheel) as archive:
        prefix = "aae_zoo/runtime/models/"
        assert {name.removeprefix(prefix) for name in archive.namelist() if name.startswith(prefix)} == ours
    assert all((models / entry.name / WEIGHTS).is_file() for entry in list_models() if entry.shipped)


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the wheel and its extra cpu."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[cpu]"]
    subprocess.run(pip, check=True)
    return python


def test_the_wheel_draws_the_same_digits_without_torch(python: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [python.with_name("aae-zoo"), "sample", "-n", "64", "-o", "digits.npy"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == f"64 images of mnist-gauss in {tmp_path / 'digits.npy'}\n"
    assert np.allclose(np.load(tmp_path / "digits.npy"), load("mnist-gauss").sample(64, seed=0), atol=1e-5)
    names = ("torch", "onnx", "pydantic")
    program = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    found = subprocess.run([python, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_the_wheels_doctor_finds_nothing_wrong(python: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [python.with_name("aae-zoo"), "doctor", "--json"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    findings = {finding["name"]: finding["found"] for finding in json.loads(result.stdout)}
    assert findings["torch"].startswith("not installed")


def test_the_wheel_embeds_and_explores_what_a_checkout_does(wheel: Path, python: Path, tmp_path: Path) -> None:
    listing = ["git", "ls-files", "examples", "export/pages/site"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in tracked.stdout.split():
            assert archive.read(f"aae_zoo/{name}") == (ROOT / name).read_bytes()
    command: list[str | Path] = [python.with_name("aae-zoo"), "embed", "mnist-plane", "--lang", "python", "-o", "out"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([python, "draw.py"], cwd=tmp_path / "out", check=True)
    assert (tmp_path / "out" / "picture.png").is_file()
    # npm's folder is not there: what is missing is said, and nothing else is missed
    page: list[str | Path] = [python.with_name("aae-zoo"), "explore", "mnist-plane", "--node-modules", "none"]
    result = subprocess.run(page, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "npm install onnxruntime-web" in result.stderr


def test_every_model_of_the_wheel_is_whole_without_its_weights(python: Path, tmp_path: Path) -> None:
    aae_zoo = python.with_name("aae-zoo")
    pull = subprocess.run([aae_zoo, "pull", "--all"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert pull.stdout.count(f"is shipped, every file as it should be (without {WEIGHTS})") == len(list_models())
    info = subprocess.run([aae_zoo, "info", "mnist-plane"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "bytes, left out here" in info.stdout


def test_the_oldest_versions_that_are_allowed_draw_and_serve(wheel: Path, tmp_path: Path) -> None:
    """Those of every package that pyproject.toml names for the runtime and the service."""
    oldest, folder = tmp_path / "oldest.txt", tmp_path / "environment"
    uv: list[str | Path] = [sys.executable, "-m", "uv", "--quiet"]
    lowest = ["--resolution", "lowest-direct", "--extra", "cpu", "--extra", "serve"]
    subprocess.run([*uv, "pip", "compile", ROOT / "pyproject.toml", *lowest, "-o", oldest], check=True)
    subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    install = [*uv, "pip", "install", "--python", python]
    subprocess.run([*install, "-r", oldest], check=True)
    subprocess.run([*install, "--no-deps", wheel], check=True)
    newest = load("mnist-gauss").sample(16, seed=0)
    command: list[str | Path] = [python.with_name("aae-zoo"), "sample", "-n", "16", "-o", "digits.npy"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert np.allclose(np.load(tmp_path / "digits.npy"), newest, atol=1e-5)
    with serving("mnist-gauss", python=python) as server:
        assert np.allclose(server.ask("/sample?n=16&format=npy").array, newest, atol=1e-5)
        codes = server.ask("/encode", (tmp_path / "digits.npy").read_bytes(), NPY)
        assert codes.status == server.ask("/metrics").status == server.ask("/docs").status == 200


def test_the_oldest_gpu_wheel_that_is_allowed_brings_cudas_libraries() -> None:
    command = [sys.executable, "-m", "uv", "--quiet", "pip", "compile", str(ROOT / "pyproject.toml"), "--no-annotate"]
    command += ["--resolution", "lowest-direct", "--extra", "gpu", "--python-platform", "x86_64-manylinux_2_28"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert {"nvidia-cublas", "nvidia-cudnn"} <= {re.split("-cu[0-9]+|==", line)[0] for line in found.splitlines()}


# What somebody writes who has the wheel.
USERS_FILE = """
import multiprocessing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import aae_zoo
from aae_zoo.runtime import AaeZooError, Model, Neighbours, Scores, Stream, list_models, load, share_threads


def show(name: str) -> Image.Image:
    model: Model = aae_zoo.load(name)
    assert aae_zoo.__version__
    labels: list[str] = [*model.labels, "10"]
    channels, height, width = model.shape
    images = model.sample(len(labels), seed=None, label=labels)
    return aae_zoo.grid(images, channels, scale=max(1, 512 // (height + width)))


def draw(name: str, count: int) -> NDArray[np.float32]:
    with load(name, device=[("CPUExecutionProvider", {"use_arena": "1"})], threads=2, tf32=False) as model:
        images = model.sample(count, seed=1, label=None, temperature=0.9, truncation=0.95, quasi=True)
        out = np.empty_like(images)
        model.decode(model.encode(images, resize=True), out=out)
        neighbours: Neighbours = model.nearest(images, out, k=2)
        first: np.int64 = neighbours.numbers[0, 0]
        scores: Scores = model.score(images)
        return images[scores.anomalous] if first else model.interpolate(images, 5, spherical=True)


def stream(model: Model, path: Path) -> int:
    batches: Stream = model.stream("sample", 1000, seed=1)
    batches.save(path / "images.npy")
    return sum(len(images) for images in batches)


def names() -> list[str]:
    threads: int = share_threads()
    try:
        return [entry.name for entry in list_models("mnist-*")][:threads]
    except AaeZooError as error:
        return [str(error)]
"""


def test_a_users_program_is_fully_typed(python: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USERS_FILE)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}"]
    command += [f"--python-executable={python}", "user.py"]
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout


def locked(name: str) -> dict[str, dict[str, set[str]]]:
    """What a lock pins: of each package the versions, which may differ between Pythons, and of each the hashes."""
    found: dict[str, dict[str, set[str]]] = {}
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            package, version, rest = re.fullmatch(r"([a-z0-9-]+)==([^ ;]+)(.*)", line).groups()  # type: ignore[union-attr]
            found.setdefault(package, {})[version] = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))
    return found


def test_the_locks_have_every_package_with_hashes(python: Path) -> None:
    runtime, build = locked("runtime"), locked("build")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["cpu"]]
    for lock, texts in ((runtime, asked), (build, project["build-system"]["requires"])):
        assert all(hashes for versions in lock.values() for hashes in versions.values())
        for requirement in map(Requirement, texts):
            assert all(requirement.specifier.contains(version) for version in lock[requirement.name]), requirement
    listing = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    installed = {package["name"].lower().replace("_", "-").replace(".", "-") for package in json.loads(listing.stdout)}
    assert installed - {"aae-zoo", "pip", "setuptools"} <= runtime.keys()


def test_the_bill_of_materials_is_what_is_locked(tmp_path: Path) -> None:
    """As make sbom writes it; cyclonedx-py compares it with the format's schema."""
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-file", str(tmp_path / "sbom.json")]
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(ROOT / "requirements" / "runtime.txt")]
    subprocess.run([*command, *options], check=True)
    document = json.loads((tmp_path / "sbom.json").read_text())
    assert (document["bomFormat"], document["metadata"]["component"]["name"]) == ("CycloneDX", "aae-zoo")
    found: dict[str, dict[str, set[str]]] = {}
    for component in document["components"]:
        hashes = {h["content"] for r in component["externalReferences"] for h in r["hashes"] if h["alg"] == "SHA-256"}
        found.setdefault(component["name"], {})[component["version"]] = hashes
    assert found == locked("runtime")


# In the wheel's environment: pull every model by its repository, replay its golden outputs, draw from it.
ROUND_TRIP = """
import sys
import numpy as np
from aae_zoo.runtime import load
from aae_zoo.runtime.store.pull import pull
from aae_zoo.runtime.checks.verify import verify

for name in sys.argv[1:]:
    folder = pull(f"org/{name}").bundle.folder
    comparisons = verify(f"org/{name}", device="cpu")
    assert comparisons and all(c.passed for c in comparisons), name
    model = load(f"org/{name}")
    assert np.isfinite(model.sample(4, seed=1)).all()
    print(name, folder)
assert not {"torch", "onnx"} & set(sys.modules)
"""


def test_every_shipped_model_goes_to_the_hub_and_comes_back(
    hub: Hub, aae_zoo: AaeZoo, python: Path, tmp_path: Path
) -> None:
    names = [entry.name for entry in list_models() if entry.shipped]
    for name in names:
        result = aae_zoo("publish", MODELS / name, "--repo", f"org/{name}")
        assert result.status == 0, result
    command: list[str | Path] = [python, "-c", ROUND_TRIP, *names]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    found = dict(line.split() for line in output.splitlines())
    assert list(found) == names
    for name in names:
        ours, theirs = ({p.name: p.read_bytes() for p in f.iterdir()} for f in (MODELS / name, Path(found[name])))
        assert theirs == ours


def test_training_there_says_what_to_install(python: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [python.with_name("aae-zoo"), "train", "mnist-plane"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "pip install 'aae-zoo[cpu,train]'" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_runtime(python: Path, tmp_path: Path) -> None:
    """The same environment after `pip uninstall onnxruntime`; it is the last test here that needs it."""
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "-y", "onnxruntime"], check=True)
    aae_zoo = python.with_name("aae-zoo")
    sample = subprocess.run([aae_zoo, "sample"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert sample.returncode == 1
    assert "pip install 'aae-zoo[cpu]', or for NVIDIA GPUs pip install 'aae-zoo[gpu]'" in sample.stderr
    assert list(tmp_path.iterdir()) == []
    assert subprocess.run([aae_zoo, "list"], capture_output=True, check=False).returncode == 0
    doctor = subprocess.run([aae_zoo, "doctor"], capture_output=True, text=True, check=False)
    assert doctor.returncode == 1
    assert "FAULT  ONNX Runtime" in doctor.stdout


def test_onnx_runtime_is_in_no_base_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not any("onnxruntime" in dependency for dependency in project["dependencies"])
    extras = project["optional-dependencies"]
    assert [e for e in extras if any("onnxruntime" in d for d in extras[e])] == ["cpu", "gpu"]
