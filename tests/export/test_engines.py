"""Every shipped graph in every engine: the golden outputs, to the parity gate's 1e-5."""

import re
from pathlib import Path

import pytest
import registry
from conftest import ROOT


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The cases of each engine."""
    every = registry.shipped_cases(tmp_path_factory.mktemp("cases"))
    few = registry.shipped_cases(tmp_path_factory.mktemp("few"), registry.FEW_ROWS)
    return {**dict.fromkeys(registry.ENGINES, every), "onnx.reference": few}


@pytest.mark.parametrize("name", registry.ENGINES)
def test_every_shipped_graph_gives_its_golden_outputs(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    report = registry.run_engine(name, folders[name], tmp_path)
    assert report.failed == {}
    assert {case: e for case, e in report.differences.items() if not e <= registry.GATE} == {}


def test_the_document_names_every_engine() -> None:
    text = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    (table,) = re.findall(f"{registry.BEGIN}\n(.*?){registry.END}", text, re.DOTALL)
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]] == list(registry.ENGINES)
