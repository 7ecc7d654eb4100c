"""docs/training.md has a row for every kind of part that a recipe can name, and for every data set."""

import re

import pytest
from conftest import ROOT

from aae_zoo.zoo.parts import kinds, load_part


def named_in_the_table_of(setting: str) -> set[str]:
    """What the rows of the table whose first header is `setting` name in backticks in their first cells."""
    lines = (ROOT / "docs" / "training.md").read_text("utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| `{setting}`"))
    table = lines[start + 2 : lines.index("", start)]
    return {name for row in table for name in re.findall("`([^`]+)`", row.split("|")[1])}


@pytest.mark.parametrize(
    ("setting", "family"), [("objective.kind", "objectives"), ("prior.kind", "priors"), ("encoder.kind", "networks")]
)
def test_every_kind_has_its_row(setting: str, family: str) -> None:
    missing = set(kinds(family)) - named_in_the_table_of(setting)
    assert not missing, f"add a row to docs/training.md's table of {setting} for: {', '.join(missing)}"


def test_every_data_set_has_its_row() -> None:
    names = {load_part("datasets", kind).NAME for kind in kinds("datasets")}
    missing = names - named_in_the_table_of("data.dataset")
    assert not missing, f"add a row to docs/training.md's table of data.dataset for: {', '.join(missing)}"
