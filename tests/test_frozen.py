"""A program that PyInstaller froze: the hooks that come with the package collect what it needs, and errors fit it."""

import runpy
import sys
import tomllib
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT

from aae_zoo import runtime
from aae_zoo.export.bundling.prove import gate
from aae_zoo.runtime import MissingBackend, list_models
from aae_zoo.runtime.bundles.names import WEIGHTS
from aae_zoo.zoo.parts import kinds


@pytest.fixture
def hook_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """What the hook of a module says, found as PyInstaller finds it; the functions of its library are these."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        entry = tomllib.load(stream)["project"]["entry-points"]["pyinstaller40"]["hook-dirs"]
    module, _, function = entry.partition(":")
    (folder,) = getattr(import_module(module), function)()

    def collect_data_files(
        package: str, include_py_files: bool = False, excludes: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        root = Path(str(import_module(package).__file__)).parent
        left_out = {path for pattern in excludes for path in root.glob(pattern)}
        files = {path for path in root.rglob("*") if path.is_file() and (include_py_files or path.suffix != ".py")}
        files -= left_out
        return [(str(path), str(path.parent.relative_to(root))) for path in sorted(files)]

    def collect_submodules(package: str, filter: Callable[[str], bool] = bool) -> list[str]:  # noqa: A002 - its name there
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
    return lambda module: runpy.run_path(str(Path(folder) / f"hook-{module}.py"))


@pytest.fixture
def hook(hook_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return hook_of("aae_zoo.runtime")


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


@pytest.mark.parametrize(
    ("module", "files"),
    [
        ("aae_zoo.export.pages", (*(ROOT / "export" / "pages").glob("site/*"),)),
        ("aae_zoo.export.targets.embed", (*(ROOT / "examples").rglob("draw.*"), *(ROOT / "examples").rglob("*.html"))),
        ("aae_zoo.zoo", (*(ROOT / "zoo").rglob("*.toml"), *(ROOT / "zoo").rglob("*.safetensors"))),
    ],
)
def test_the_files_of_other_parts_are_collected(
    module: str, files: tuple[Path, ...], hook_of: Callable[[str], dict[str, Any]]
) -> None:
    import_module(module)  # PyInstaller runs the hooks of what is imported
    assert len(files) > 3
    assert {file.resolve() for file in files} <= {Path(path).resolve() for path, _ in hook_of(module)["datas"]}


def test_the_parts_that_recipes_name_are_collected(hook_of: Callable[[str], dict[str, Any]]) -> None:
    collected = hook_of("aae_zoo.zoo")["hiddenimports"]
    for family in ("priors", "networks", "objectives", "datasets"):
        assert {f"aae_zoo.zoo.{family}.{kind}" for kind in kinds(family)} <= set(collected)


def test_the_mend_is_one_that_works_in_a_frozen_program(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mend = "a frozen program has no pip: build it again where this was run: pip install 'aae-zoo[cpu]'"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert mend not in refused("sample", "-o", tmp_path / "x.png")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert mend in refused("sample", "-o", tmp_path / "x.png")


def test_what_takes_a_python_of_its_own_is_refused_and_does_not_start_the_program_again(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "program"))
    assert "a frozen program cannot isolate a model" in refused("sample", "--isolate", "-o", tmp_path / "x.png")
    assert "a frozen program cannot measure how it starts" in refused("bench", "digits-gauss")
    with pytest.raises(MissingBackend, match="a frozen program cannot export a model: that needs a Python to start"):
        gate(tmp_path, {}, {})
