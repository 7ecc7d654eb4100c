"""The structure that everything leans on: who may import whom, and what a command loads."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import ROOT
from source import (
    FRONT,
    PACKAGES,
    circle,
    full_folders,
    imports,
    imports_upwards,
    packages_amiss,
    private_names_of_others,
    python_files,
    rooms_without_a_floor,
)

import aae_zoo
from aae_zoo import cli, export, runtime, zoo
from aae_zoo.runtime.errors import python_for
from aae_zoo.zoo import parts

# The floors from top to bottom, of the packages and in each of them: what is on one may import what is on those below
# it, and nothing else. Rooms on the same floor do not know each other.
FLOORS = {
    "": "cli | export | zoo | runtime",
    "cli": "main | checks hub images models programs training | options | completion printing viewing",
    "export": "release | making | own detecting | bundling targets | pages | card proof",
    "zoo": "training | bundled conditions estimate | measure build drawings steps | objectives | adversary detector |"
    " autoencoder segmenter | networks priors datasets | data maths | recipe | bars parts processes",
    "runtime": "serving checks frozen | model | showing | store engine | drawing | formats | latent | bundles | files"
    " | ownership | documents errors notebook | escapes words",
}
# How many Python files a folder has at most.
LIMITS = {**dict.fromkeys(PACKAGES, 12), "tests": 16}
# What the runtime does without.
HEAVY = ("torch", "torchvision", "onnx", "safetensors")
# What the HTTP service is made of, which the extra `serve` installs: only runtime/serving/ knows it.
FRAMEWORK = (
    *("fastapi", "fastapi_offline", "httptools", "orjson", "prometheus_client", "pydantic", "starlette", "uvicorn"),
    "aae_zoo.runtime.serving",
)

# What there must be none of, and the check that finds it.
CHECKS: dict[str, Callable[[Path], list[str]]] = {
    "imports that run up or sideways": partial(imports_upwards, floors=FLOORS),
    "rooms without a floor": partial(rooms_without_a_floor, floors=FLOORS),
    "circles of files": circle,
    "circles of folders": partial(circle, depth=3),
    "private names of others": private_names_of_others,
    "packages amiss in pyproject.toml": packages_amiss,
    "folders too full": partial(full_folders, limits=LIMITS),
}


@pytest.mark.parametrize("what", CHECKS)
def test_there_are_no(what: str) -> None:
    found = CHECKS[what](ROOT)
    assert not found, "\n".join(found)


def test_the_picture_of_the_floors_is_the_table() -> None:
    picture = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("```\ncli ")[1].split("```")[0]
    drawn = [re.split(" {3,}", line[11:])[0].split() for line in f"cli {picture}".splitlines()]
    assert drawn == [
        floor.split() for package in ("cli", "export", "zoo", "runtime") for floor in FLOORS[package].split("|")
    ]


def test_what_contributing_names_is_there() -> None:
    """The files that it sends people to; in capitals are those that they will write."""
    named = re.findall(r"[a-z_/]+/[a-z_]+\.(?:py|toml|sh|md)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).is_file()] == []


def importers(folder: str, names: tuple[str, ...]) -> set[str]:
    """The files of a folder, however deep, that import one of the modules or what is inside it."""
    return {
        path.relative_to(ROOT / folder).as_posix()
        for path in python_files(ROOT, folder)
        for _, module in imports(path)
        if any(module == name or module.startswith(f"{name}.") for name in names)
    }


def test_the_runtime_needs_no_pytorch() -> None:
    assert importers("runtime", HEAVY) == set()


def test_only_the_service_knows_its_framework() -> None:
    files = importers("runtime", FRAMEWORK)
    assert {Path(file).parts[0] for file in files} == {"serving"}


def test_one_file_of_the_runtime_knows_the_hubs_client() -> None:
    assert importers("runtime", ("huggingface_hub",)) == {"store/hub.py"}


def test_only_checked_graphs_and_the_exports_own_are_opened() -> None:
    """One file opens what `check_graph` let through, one what the export itself has just made."""
    opening = {
        path.relative_to(ROOT).as_posix()
        for path in python_files(ROOT, *PACKAGES)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "InferenceSession"
    }
    assert opening == {"runtime/engine/session.py", "export/proof/own.py"}
    assert importers("runtime", ("aae_zoo.export.proof.own",)) == set()
    assert importers("export", ("aae_zoo.export.proof.own",)) == {"proof/gate.py", "proof/layers.py", "proof/search.py"}


def test_one_file_of_the_command_line_prints() -> None:
    """It escapes what it prints."""
    printing = {
        path.name
        for path in python_files(ROOT, "cli")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Name) and node.id == "print"
    }
    assert printing == {"printing.py"}


def test_no_process_imports_from_the_folder_that_we_are_in() -> None:
    """Without -P Python would, and in a bundle's folder that is whatever the bundle brings."""
    starting = [path for path in python_files(ROOT, *PACKAGES) if "sys.executable" in path.read_text("utf-8")]
    assert starting == [ROOT / "runtime" / "errors.py"]
    assert python_for("start") == [sys.executable, "-P"]


def test_no_file_ever_unpickles() -> None:
    for path in python_files(ROOT, *PACKAGES):
        text = path.read_text("utf-8")
        assert "pickle" not in {module for _, module in imports(path)}, path
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


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["info", "mnist-plane"], ["sample", "--help"], ["bogus"]])
def test_light_commands_load_nothing_heavy(arguments: list[str]) -> None:
    assert not {"numpy", "onnxruntime", "PIL", "torch", "onnx", "huggingface_hub", "pydantic"} & loaded_by(*arguments)


def test_sample_loads_neither_torch_nor_the_hub(tmp_path: Path) -> None:
    loaded = loaded_by("sample", "-n", "2", "-o", str(tmp_path / "x.png"))
    assert "onnxruntime" in loaded
    assert not {"torch", "onnx", "huggingface_hub", "pydantic"} & loaded


@pytest.mark.parametrize("arguments", [["export-triton", "mnist-ae", "-o"], ["check", "mnist-ae"]])
def test_what_runs_graphs_needs_no_torch(arguments: list[str], tmp_path: Path) -> None:
    loaded = loaded_by(*arguments, *([str(tmp_path / "models")] if arguments[-1] == "-o" else []))
    assert "onnxruntime" in loaded
    assert not {"torch", "onnx", "huggingface_hub", "pydantic"} & loaded


def test_public_names_are_sorted_and_there() -> None:
    assert runtime.__all__ == sorted(runtime.__all__)
    for name in runtime.__all__:
        assert getattr(runtime, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(runtime, "nothing")  # noqa: B009 - type checkers know that it is not there


def test_the_package_itself_has_the_runtimes_names_and_its_version() -> None:
    assert dir(aae_zoo) == sorted([*runtime.__all__, "__version__"])
    assert aae_zoo.__version__ == version("aae-zoo")
    everything: dict[str, object] = {}
    exec("from aae_zoo import *", everything)  # noqa: S102
    for name in runtime.__all__:
        assert getattr(aae_zoo, name) is getattr(runtime, name) is everything[name]
    for name in ("nothing", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"module 'aae_zoo' has no attribute '{name}'"):
            getattr(aae_zoo, name)


def test_importing_the_package_imports_nothing_else() -> None:
    program = "import sys; before = {*sys.modules}; import aae_zoo; print(*{*sys.modules} - before)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    assert output.split() == ["aae_zoo"]
    # by statements, as PyInstaller sees it
    named = {module for _, module in imports(ROOT / FRONT / "__init__.py", ["aae_zoo.runtime"])}
    assert {module for module in named if "aae_zoo" in module} == {"aae_zoo.runtime"}


def test_every_package_is_typed_and_described() -> None:
    for package in (aae_zoo, runtime, zoo, export, cli):
        assert package.__doc__
    assert (Path(next(iter(aae_zoo.__path__))) / "py.typed").exists()  # which counts for all that is in it


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
