"""The checks of the structure find what they are for: each is shown a small checkout with its fault."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from source import (
    circle,
    full_folders,
    imports_upwards,
    packages_amiss,
    private_names_of_others,
    rooms_without_a_floor,
)

# A small checkout that is as it should be.
SOUND = {
    "pyproject.toml": """[tool.setuptools]
packages = [
    "aae_zoo", "aae_zoo.cli", "aae_zoo.runtime", "aae_zoo.runtime.engine", "aae_zoo.runtime.formats", "aae_zoo.zoo"
]""",
    **dict.fromkeys(("cli/__init__.py", "zoo/__init__.py", "runtime/engine/__init__.py"), ""),
    "front/__init__.py": "import aae_zoo.runtime",
    "cli/main.py": "from aae_zoo import runtime\nfrom aae_zoo.cli.options import Json\nruntime.load()._asdict()",
    "cli/options.py": "Json = bool",
    "zoo/recipe.py": "class Recipe:\n    def __init__(self): self._text = ''\n    def same(self, other): other._text",
    "runtime/__init__.py": "from aae_zoo.runtime.model import Model",
    "runtime/model.py": "from aae_zoo.runtime.engine import engine\nimport numpy",
    "runtime/engine/engine.py": "from aae_zoo.runtime.formats import arrays",
    "runtime/formats/__init__.py": "",
    "runtime/formats/arrays.py": "",
}
FLOORS = {
    "": "cli | export | zoo | runtime",
    "cli": "main | options",
    "export": "",
    "zoo": "recipe",
    "runtime": "model | engine | formats",
}
Check = Callable[[Path], list[str]]
upwards = partial(imports_upwards, floors=FLOORS)
without_floor = partial(rooms_without_a_floor, floors=FLOORS)
folder_circle = partial(circle, depth=3)
too_full = partial(full_folders, limits={"zoo": 3, "tests": 4})
# What is put into it, the check that finds it, and the beginning of what it says.
FAULTS: list[tuple[dict[str, str], Check, str]] = [
    (
        {"runtime/formats/arrays.py": "def f():\n    from aae_zoo.runtime.engine.engine import run"},
        upwards,
        "runtime/formats/arrays.py:2 imports aae_zoo.runtime.engine.engine, but below formats there is: nothing",
    ),
    (
        {"runtime/engine/engine.py": "from aae_zoo.runtime import model"},
        upwards,
        "runtime/engine/engine.py:1 imports aae_zoo.runtime.model, but below engine there is: formats",
    ),
    (
        {"runtime/formats/arrays.py": "from aae_zoo.runtime import Model"},
        upwards,
        "runtime/formats/arrays.py:1 imports aae_zoo.runtime, but below formats there is: nothing",
    ),
    (
        {"runtime/model.py": "import aae_zoo.zoo.recipe"},
        upwards,
        "runtime/model.py:1 imports aae_zoo.zoo.recipe, but below runtime there is: nothing",
    ),
    ({"zoo/recipe.py": "from aae_zoo import load"}, upwards, "zoo/recipe.py:1 imports aae_zoo itself"),
    (
        {"runtime/model.py": "from aae_zoo.runtime.engine import engine"},
        partial(imports_upwards, floors={**FLOORS, "runtime": "model engine | formats"}),
        "runtime/model.py:1 imports aae_zoo.runtime.engine.engine, but below model there is: formats",
    ),
    (
        {"runtime/store/cache.py": "", "zoo/recipe.py": ""},
        without_floor,
        "runtime/store is on no floor",
    ),
    ({}, partial(rooms_without_a_floor, floors={**FLOORS, "zoo": "build | recipe"}), "there is no zoo/build"),
    ({"cli/options.py": "import aae_zoo.cli.main"}, circle, "aae_zoo.cli.main"),
    (
        {"runtime/formats/idx.py": "import aae_zoo.runtime.engine.session", "runtime/engine/session.py": ""},
        folder_circle,
        "aae_zoo.runtime.engine",
    ),
    ({"zoo/build.py": "self.model._engine.close()"}, private_names_of_others, "zoo/build.py:1 uses self.model._engine"),
    (
        {"zoo/build.py": "from aae_zoo.runtime.model import Model, _check"},
        private_names_of_others,
        "zoo/build.py:1 uses aae_zoo.runtime.model._check, which is private",
    ),
    ({"front/__init__.py": "-"}, packages_amiss, "pyproject.toml's packages list aae_zoo, which is not there"),
    ({"zoo/maths/__init__.py": ""}, packages_amiss, "aae_zoo.zoo.maths is not in pyproject.toml's packages"),
    ({"zoo/maths/mmd.py": ""}, packages_amiss, "aae_zoo.zoo.maths is not in pyproject.toml's packages"),
    ({"runtime/formats/__init__.py": "-"}, packages_amiss, "aae_zoo.runtime.formats lacks an __init__.py"),
    (
        {f"tests/zoo/test_{number}.py": "" for number in range(5)},
        too_full,
        "tests/zoo has 5 Python files, more than 4",
    ),
    (
        {f"zoo/priors/prior{number}.py": "" for number in range(4)},
        too_full,
        "zoo/priors has 4 Python files, more than 3",
    ),
]


def checkout(root: Path, files: dict[str, str]) -> Path:
    """Write the files, those with "-" left out."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if text != "-":
            (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("fault", "check", "message"), FAULTS)
def test_each_check_finds_its_fault(fault: dict[str, str], check: Check, message: str, tmp_path: Path) -> None:
    found = check(checkout(tmp_path, SOUND | fault))
    assert found[0].startswith(message), found


def test_a_sound_checkout_passes_every_check(tmp_path: Path) -> None:
    root = checkout(tmp_path, SOUND)
    assert upwards(root) == without_floor(root) == []
    assert circle(root) == folder_circle(root) == private_names_of_others(root) == []
    assert packages_amiss(root) == too_full(root) == []
