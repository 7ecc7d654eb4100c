"""A program that PyInstaller froze: the hook that comes with the package collects what it needs, and errors fit it."""

import runpy
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT

from aae_zoo import runtime
from aae_zoo.runtime import list_models
from aae_zoo.runtime.bundles.manifest import WEIGHTS


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the hook says, found as PyInstaller finds it; the functions of its library that it calls are these."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        entry = tomllib.load(stream)["project"]["entry-points"]["pyinstaller40"]["hook-dirs"]
    module, _, function = entry.partition(":")
    (folder,) = getattr(import_module(module), function)()

    def collect_data_files(package: str, excludes: list[str]) -> list[tuple[str, str]]:
        root = Path(str(import_module(package).__file__)).parent
        left_out = {path for pattern in excludes for path in root.glob(pattern)}
        files = {path for path in root.rglob("*") if path.is_file() and path.suffix != ".py"} - left_out
        return [(str(path), str(path.parent.relative_to(root))) for path in sorted(files)]

    def collect_submodules(package: str, filter: Callable[[str], bool]) -> list[str]:  # noqa: A002 - its name there
        found = walk_packages(import_module(package).__path__, f"{package}.")
        return [package, *(module.name for module in found if filter(module.name))]

    library = ModuleType("PyInstaller.utils.hooks")
    library.__dict__.update(
        collect_data_files=collect_data_files,
        collect_submodules=collect_submodules,
        copy_metadata=lambda name: [(f"{name}.dist-info", f"{name}.dist-info")],
    )
    for name in ("PyInstaller", "PyInstaller.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, library.__name__, library)
    return runpy.run_path(str(Path(folder) / "hook-aae_zoo.runtime.py"))


def test_the_models_and_their_catalogue_are_collected(hook: dict[str, Any]) -> None:
    collected = {(folder, Path(path).name) for path, folder in hook["datas"]}
    assert {("models", "catalogue.json"), ("aae-zoo.dist-info", "aae-zoo.dist-info")} <= collected
    for entry in list_models():
        if entry.shipped:
            for name in ("manifest.json", "encoder.onnx", "decoder.onnx", "prior.onnx"):
                assert (f"models/{entry.name}", name) in collected
    assert WEIGHTS not in {name for _, name in collected}


def test_what_is_imported_on_first_use_is_collected(hook: dict[str, Any]) -> None:
    assert {f"aae_zoo.runtime.{place}" for place in runtime._HOME.values()} <= set(hook["hiddenimports"])
    assert "aae_zoo.runtime.errors" in hook["hiddenimports"]
    assert not [name for name in hook["hiddenimports"] if "serving" in name or "frozen" in name]


def test_the_mend_is_one_that_works_in_a_frozen_program(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mend = "a frozen program has no pip: build it again where this was run: pip install 'aae-zoo[cpu]'"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert mend not in refused("sample", "-o", tmp_path / "x.png")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert mend in refused("sample", "-o", tmp_path / "x.png")
