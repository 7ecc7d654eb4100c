"""The Python of the README and of docs/ is right as it stands: it runs, and mypy in its strict mode finds nothing.

All blocks of a document that begin with ```python are one program, run in a folder of its own that has the FILES whose
names stand in it. A block that cannot run says so on the line before it: <!-- not run: it needs a GPU -->
What a comment says of an array, as in `codes = model.encode(images)  # float32 [4, 12]`, must hold.
"""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import aae_zoo

BLOCK: Final = re.compile(
    r"(?:^ *<!-- not run: (?P<why>[^\n]*\w[^\n]*) -->\n\n?)?^(?P<fence>(?P<indent> *)```+)python[^\n]*\n"
    r"(?P<code>.*?)^(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
SHAPE: Final = re.compile(r"^(?P<name>\w+) = .*?(?P<comment>  # (?P<said>\w+\d \[\d[\d, ]*\]).*)$")


class Block(NamedTuple):
    """A block of Python: its code, the line of the document at which that begins, and why it is not run, if so."""

    code: str
    line: int
    why: str | None


def blocks(text: str) -> Iterator[Block]:
    for found in BLOCK.finditer(text):
        yield Block(textwrap.dedent(found["code"]), text.count("\n", 0, found.start("code")), found["why"])


def program(text: str) -> str:
    """The blocks that run, at the lines where the document has them, so that errors name the document's lines."""
    lines = [""] * text.count("\n")
    for block in blocks(text):
        if block.why is None:
            code = block.code.splitlines()
            lines[block.line : block.line + len(code)] = map(checked, code)
    return "\n".join(lines)


def checked(line: str) -> str:
    """A line that fails unless the array has the type and shape that its comment says."""
    if not (found := SHAPE.match(line)):
        return line
    is_so = f"assert f'{{{found['name']}.dtype}} {{[*{found['name']}.shape]}}' == '{found['said']}'"
    return line.removesuffix(found["comment"]) + f"; {is_so}"


def draw_pictures(folder: Path) -> None:
    folder.mkdir()
    for number, image in enumerate(aae_zoo.load("mnist-gauss").sample(8)):
        Image.fromarray(np.rint(image[0] * 255).astype(np.uint8)).save(folder / f"{number}.png")


# What documents may name, and what makes it.
FILES: Final[dict[str, Callable[[Path], None]]] = {"pictures/": draw_pictures}
TEXTS = {path: path.read_text("utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}
PROGRAMS = {path.relative_to(ROOT).as_posix(): program(text) for path, text in TEXTS.items() if program(text).strip()}


@pytest.mark.parametrize("document", PROGRAMS)
def test_it_runs(document: str, tmp_path: Path) -> None:
    for name, make in FILES.items():
        if name.rstrip("/") in PROGRAMS[document]:
            make(tmp_path / name)
    command: list[str | Path] = [sys.executable, save(document, tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_it_is_fully_typed(tmp_path: Path) -> None:
    files = [save(document, tmp_path) for document in PROGRAMS]
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, files)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def save(document: str, folder: Path) -> Path:
    path = folder / f"{re.sub('[^a-z0-9]', '_', document.lower())}.py"
    path.write_text(PROGRAMS[document], "utf-8")
    return path


def test_the_readme_has_some() -> None:
    assert "README.md" in PROGRAMS


def test_what_is_not_run_is_python_too() -> None:
    for path, text in TEXTS.items():
        for block in blocks(text):
            compile(block.code, f"{path}, block at line {block.line}", "exec")


def test_blocks_are_found_where_documents_have_them() -> None:
    text = """# One
```python
a = 1
```
- Item

    ```python title="b.py"
    b = a
    if b:
        b = 2
    ```
<!-- not run: it needs a GPU -->

```python
c = gpu()
```
```
d = 1
```
"""
    assert list(blocks(text)) == [
        Block("a = 1\n", 2, None),
        Block("b = a\nif b:\n    b = 2\n", 7, None),
        Block("c = gpu()\n", 14, "it needs a GPU"),
    ]
    assert program(text) == "\n\na = 1" + "\n" * 5 + "b = a\nif b:\n    b = 2" + "\n" * 9


def test_arrays_must_have_the_shapes_that_comments_say() -> None:
    line = checked("codes = model.encode(images)  # float32 [4, 12] in [0, 1]")
    assert line == "codes = model.encode(images); assert f'{codes.dtype} {[*codes.shape]}' == 'float32 [4, 12]'"
    for other in ("codes = model.encode(images)  # {'z': [16, 8]}", "print(codes)  # float32 [4, 12]", "# float32 [4]"):
        assert checked(other) == other
    assert sum(text.count("; assert f") for text in PROGRAMS.values()) >= 4
