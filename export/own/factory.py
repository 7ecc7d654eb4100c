"""The command line's way to someone's networks: a function of their own file makes them, and --data their images."""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from aae_zoo.export.bundling.source import say
from aae_zoo.export.own.export import export_modules
from aae_zoo.export.own.modules import Facts, Modules
from aae_zoo.export.own.reading import read_data
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import words_of


def is_factory(place: str) -> bool:
    """Whether a text names a function of a file of Python, as path/to/file.py:factory does, or such a file."""
    return place.endswith(".py") or place.rpartition(":")[0].endswith(".py")


def export_factory(
    place: str,
    out: Path,
    *,
    data: Path | None,
    variants: Sequence[str],
    replace: bool,
    anyway: bool,
) -> Manifest:
    """Export what a function of a file, "file.py:factory", returns: `Modules`, and with them maybe `facts`.

    The file is run. `data` is a folder of pictures, with subfolders as classes if there are any, a folder of idx files,
    or an .npz, .npy, idx or .csv file. The model is called as `out` is.

    Raises:
        InvalidInput: the file or its function fails, or as for `export_modules`.
        DatasetError: a folder of `data` cannot be read.
    """
    made = _made(place)
    facts = cast(Facts, made.pop("facts", {}))
    modules = cast(Modules, made)
    images, labels = read_data(data, modules.get("image"))
    return export_modules(
        out.resolve().name,
        images=images,
        labels=labels,
        out=out,
        facts=facts,
        variants=variants,
        replace=replace,
        anyway=anyway,
        **modules,
    )


def _made(place: str) -> dict[str, Any]:
    """What the function returns, as a mapping of its own."""
    file, _, name = place.rpartition(":")
    path = Path(file or place).resolve()
    if not file or not name.isidentifier():
        raise InvalidInput(f"{place} names no function, expected path/to/file.py:factory with the function's name")
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}; give path/to/file.py:factory")
    factory = _own_code(path, lambda: getattr(_module(path), name, None))
    if not callable(factory):
        raise InvalidInput(f"{path} has no function {name}; give that which returns the networks")
    made = _own_code(path, factory)
    if not isinstance(made, Mapping):
        raise InvalidInput(
            f"{name} of {path} returns a {type(made).__name__}, expected a dict with encoder, decoder and what else "
            "export_modules takes of networks"
        )
    return dict(made)


def _module(path: Path) -> Any:
    """A file of Python as a module, which finds the files beside it as a program would."""
    name = path.stem if path.stem not in sys.modules else f"own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # noqa: S101 - of a file with the suffix .py
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.modules[name] = module  # dataclasses look there for the module of a class
    say(f"running the code in {path}")
    spec.loader.exec_module(module)
    return module


def _own_code(path: Path, run: Callable[[], Any]) -> Any:
    """What code of the user's gives; whatever it raises becomes one sentence with the line that did."""
    try:
        return run()
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        where = f", line {lines[-1]}" if lines else ""
        reason = words_of(error)
        raise InvalidInput(f"{path}{where} fails with {type(error).__name__}: {reason}; mend it there") from None
