"""The notebooks run from top to bottom, and show in their files what they draw."""

from pathlib import Path

import nbformat
import pytest
from run_notebooks import NOTEBOOKS, run


def shown(notebook: nbformat.NotebookNode) -> list[set[str]]:
    """For each cell of code the kinds of what it put out."""
    outputs = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [{kind for one in each for kind in one.get("data", {one.get("name"): None})} for each in outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_its_file_does(path: Path) -> None:
    kinds = shown(run(path))
    assert any("image/png" in cell for cell in kinds)
    assert shown(nbformat.read(path, as_version=4)) == kinds, "make notebooks writes it again"


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) == 3
