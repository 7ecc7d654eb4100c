"""The structure that everything leans on: who may import whom, and what a command loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aae_zoo import cli, export, runtime, zoo
from aae_zoo.zoo import parts

ROOT = Path(__file__).parents[1]
# What the HTTP service is made of, which the extra `serve` installs: only runtime/serving/ knows it.
FRAMEWORK = ("fastapi", "httptools", "orjson", "pydantic", "starlette", "uvicorn", "aae_zoo.runtime.serving")
FORBIDDEN = {
    "runtime": (
        "torch",
        "torchvision",
        "onnx",
        "safetensors",
        "aae_zoo.zoo",
        "aae_zoo.export",
        "aae_zoo.cli",
    ),
    "zoo": ("aae_zoo.export", "aae_zoo.cli"),
    "export": ("aae_zoo.cli",),
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_folder_imports_what_it_must_not(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for name in imports(path):
            assert not any(name == f or name.startswith(f"{f}.") for f in FORBIDDEN[folder]), f"{path}: {name}"


def test_only_the_service_knows_its_framework() -> None:
    for path in set((ROOT / "runtime").rglob("*.py")) - set((ROOT / "runtime" / "serving").glob("*.py")):
        for name in imports(path):
            assert not any(name == f or name.startswith(f"{f}.") for f in FRAMEWORK), f"{path}: {name}"


def test_one_file_of_the_runtime_knows_the_hubs_client() -> None:
    files = [p for p in (ROOT / "runtime").rglob("*.py") if any(n.startswith("huggingface_hub") for n in imports(p))]
    assert [path.name for path in files] == ["hub.py"]


def test_no_file_ever_unpickles() -> None:
    for folder in ("runtime", "zoo", "export", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            assert "pickle" not in set(imports(path)), path
            assert "allow_pickle=True" not in text, path
            assert "weights_only=False" not in text, path


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    program = f"""
import sys
sys.argv = ["aae-zoo", *{list(arguments)!r}]
from aae_zoo.cli.main import main
try:
    main()
except SystemExit:
    pass
print("\\n" + " ".join(sys.modules))
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    return set(output.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["info", "mnist-gauss"], ["sample", "--help"], ["bogus"]])
def test_light_commands_load_nothing_heavy(arguments: list[str]) -> None:
    assert not {"numpy", "onnxruntime", "PIL", "torch", "onnx", "huggingface_hub", "pydantic"} & loaded_by(*arguments)


def test_sample_loads_neither_torch_nor_the_hub(tmp_path: Path) -> None:
    loaded = loaded_by("sample", "-n", "2", "-o", str(tmp_path / "x.png"))
    assert "onnxruntime" in loaded
    assert not {"torch", "onnx", "huggingface_hub", "pydantic"} & loaded


def test_export_to_triton_needs_no_torch(tmp_path: Path) -> None:
    loaded = loaded_by("export-triton", "mnist-ae", "-o", str(tmp_path / "models"))
    assert "onnxruntime" in loaded
    assert not {"torch", "onnx", "huggingface_hub", "pydantic"} & loaded


def test_public_names_are_sorted_and_there() -> None:
    assert runtime.__all__ == sorted(runtime.__all__)
    for name in runtime.__all__:
        assert getattr(runtime, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = runtime.nothing


def test_every_package_is_typed_and_described() -> None:
    for package in (runtime, zoo, export, cli):
        assert package.__doc__
        assert (Path(next(iter(package.__path__))) / "py.typed").exists()


def test_parts_are_found_by_their_files() -> None:
    for family in ("networks", "priors", "objectives"):
        files = {path.stem for path in (ROOT / "zoo" / family).glob("[a-z]*.py")}
        assert set(parts.kinds(family)) == files
        for kind in parts.kinds(family):
            assert issubclass(parts.load_part(family, kind).Settings, parts.PartSettings)


def test_the_project_speaks_only_of_itself() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split()
    for name in files:
        if not name.endswith((".py", ".md", ".toml", "Makefile", ".json", "run")):
            continue
        text = (ROOT / name).read_text("utf-8")
        for word in ("/" + "work/", "/" + "root/", "farm" + "-"):
            assert word not in text, f"{name} has {word}"
