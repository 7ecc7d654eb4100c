"""What the Python files of a checkout say without being run: whom they import, and which private names they use.

Each check gives what it finds as sentences, and an empty list where all is well.
"""

import ast
import graphlib
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

PACKAGES: Final = ("runtime", "zoo", "export", "cli")
# The folder of the package aae_zoo itself, which is above all of them.
FRONT: Final = "front"
ROOF: Final = "__init__"
# Names that begin so though everybody may use them: methods of named tuples, and what ends a process at once.
_PUBLIC: Final = {"_asdict", "_fields", "_replace", "_exit"}

Floors = Mapping[str, str]


def python_files(root: Path, *folders: str) -> list[Path]:
    """The Python files in the folders, however deep, less those of Node's packages."""
    found = (path for folder in folders for path in (root / folder).rglob("*.py"))
    return sorted(path for path in found if "node_modules" not in path.parts)


def modules(root: Path) -> dict[str, Path]:
    """The files of the packages by the names of their modules: aae_zoo.runtime.model for runtime/model.py."""
    return {_module(path.relative_to(root)): path for path in python_files(root, *PACKAGES)}


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(("aae_zoo", *(parts[:-1] if parts[-1] == ROOF else parts)))


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path, known: Collection[str] = ()) -> Iterator[tuple[int, str]]:
    """Every import of a file, those for types and those inside functions among them: its line and the module.

    `from package import name` is an import of package.name where that is one of the `known` modules.
    """
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from ((node.lineno, name if name in known else node.module or "") for name in names)


def imports_upwards(root: Path, floors: Floors) -> list[str]:
    """Imports of what is not on a lower floor.

    `floors` has the floors of each package from top to bottom, and under "" those of the packages. A package's own
    __init__ is its roof: it may import all of the package, and nothing in the package imports it.
    """
    known, found = modules(root), []
    for module, path in known.items():
        for line, other in imports(path, known):
            if other == "aae_zoo":
                found.append(f"{path.relative_to(root)}:{line} imports aae_zoo itself, which is above everything")
            if not other.startswith("aae_zoo."):
                continue
            package, ours, theirs = _rooms(module, other)
            allowed = _below(ours, floors[package])
            if ours != theirs and theirs not in allowed:
                below = ", ".join(allowed) or "nothing"
                found.append(f"{path.relative_to(root)}:{line} imports {other}, but below {ours} there is: {below}")
    return found


def _rooms(module: str, other: str) -> tuple[str, str, str]:
    """The package in which two modules are in different rooms, "" for all of them, and the two rooms' names."""
    (ours, *inside), (theirs, *there) = module.split(".")[1:], other.split(".")[1:]
    if ours != theirs:
        return "", ours, theirs
    return ours, (inside or [ROOF])[0], (there or [ROOF])[0]


def _below(room: str, floors: str) -> list[str]:
    """The rooms on the floors below that of `room`."""
    levels = [ROOF, *floors.split("|")]
    for number, level in enumerate(levels):
        if room in level.split():
            return " ".join(levels[number + 1 :]).split()
    return []


def rooms_without_a_floor(root: Path, floors: Floors) -> list[str]:
    """Files and folders of the packages that the floors do not name, and names on the floors that are not there."""
    found = []
    for package in PACKAGES:
        places = {path.relative_to(root / package).parts[0] for path in python_files(root, package)}
        rooms = {place.removesuffix(".py") for place in places} - {ROOF}
        named = set(floors[package].replace("|", " ").split())
        found += [f"{package}/{room} is on no floor: give it one below all that import it" for room in rooms - named]
        found += [f"there is no {package}/{room}, which a floor names" for room in named - rooms]
    return sorted(found)


def circle(root: Path, depth: int | None = None) -> list[str]:
    """The modules of a circle of imports, or with a `depth` of 3 the folders of one."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:depth])

    known = modules(root)
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        others = {room(other) for _, other in imports(path, known) if other in known}
        graph.setdefault(room(module), set()).update(others - {room(module)})
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def private_names_of_others(root: Path) -> list[str]:
    """Uses of a private name outside the module that defines it, except on `self` and `cls`."""
    found = []
    for path in python_files(root, *PACKAGES, "examples"):
        own = set(_defined(path))
        for line, text, name in _private(path):
            if name not in own | _PUBLIC:
                found.append(f"{path.relative_to(root)}:{line} uses {text}, which is private to another module")
    return found


def _private(path: Path) -> Iterator[tuple[int, str, str]]:
    """The private names that a file imports, or uses of something else than `self` and `cls`: line, text and name."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.ImportFrom):
            names = [(f"{node.module}.{alias.name}", alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            names = [(ast.unparse(node), node.attr)]
        else:
            continue
        for text, name in names:
            if name.startswith("_") and not name.startswith("__"):
                yield node.lineno, text, name


def _defined(path: Path) -> Iterator[str]:
    """The names that a file defines: functions, classes, variables, and attributes of `self` and `cls`."""
    for node in ast.walk(_parsed(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name


def packages_amiss(root: Path) -> list[str]:
    """Folders of Python files that pyproject.toml's `packages` does not list, or that lack an __init__.py."""
    listed = set(tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"])
    folders = {path.parent for path in (*python_files(root, *PACKAGES), *root.glob("*/__init__.py"))}
    names = {_package(folder.relative_to(root)): folder for folder in folders}
    found = [f"{name} is not in pyproject.toml's packages: wheels would lack it" for name in names.keys() - listed]
    found += [f"pyproject.toml's packages list {name}, which is not there" for name in listed - names.keys()]
    found += [f"{name} lacks an __init__.py" for name, folder in names.items() if not (folder / "__init__.py").exists()]
    return sorted(found)


def _package(folder: Path) -> str:
    return ".".join(("aae_zoo", *(() if folder.parts == (FRONT,) else folder.parts)))


def full_folders(root: Path, limits: Mapping[str, int]) -> list[str]:
    """Folders with more Python files of their own than the limit of the top folder that they are in."""
    counts = Counter(path.parent.relative_to(root) for path in python_files(root, *limits))
    return [
        f"{folder} has {count} Python files, more than {limits[folder.parts[0]]}: divide it"
        for folder, count in counts.items()
        if count > limits[folder.parts[0]]
    ]
