"""Hostile inputs of every kind: a short run of `tests/support/fuzz.py`, and that it finds faults."""

from pathlib import Path
from random import Random

import fuzz
import pytest
from fuzzing import faulty
from fuzzing.workers import ACCEPTED, Batch, run
from tables import replace_table

# Fewer of those that take longer.
CASES = {"graphs": 400, "manifests": 400, "pictures": 300, "arrays": 300, "requests": 300, "checkpoints": 100}


@pytest.mark.parametrize("kind", CASES)
def test_every_case_is_accepted_and_right_or_refused(kind: str) -> None:
    tally = run(Batch(kind, 1, 0, CASES[kind]))
    assert not tally.failures
    assert tally.endings.total() == CASES[kind]
    assert tally.endings[ACCEPTED] > CASES[kind] / 50  # enough come behind the first checks
    assert len(tally.endings) > 15


def test_a_case_is_the_same_again() -> None:
    assert run(Batch("manifests", 3, 5, 25)).endings == run(Batch("manifests", 3, 5, 25)).endings


def test_faults_are_found_and_the_cases_around_them_counted(capsys: pytest.CaptureFixture[str]) -> None:
    ends = [Random(f"27:faulty:{number}").choice(faulty.ENDS) for number in range(3, 15)]  # noqa: S311 - no secrets
    said = {
        "refused at length": "AssertionError: xxx",
        "error": "KeyError: 'nobody caught this'",
        "memory": "bytes of memory, expected at most 16777216",
        "crash": "the process died of it",
        "hang": "it took more than 2 s",
    }
    assert {*ends} == {*faulty.ENDS}
    tally = fuzz.run({"faulty": 12}, seed=27, first=3, processes=2, seconds=2)["faulty"]
    assert tally.endings == {ACCEPTED: ends.count("well"), "this is refused": ends.count("refused")}
    assert {*tally.failures} == {number for number, end in enumerate(ends, 3) if end in said}
    assert all(said[ends[number - 3]] in why for number, why in tally.failures.items())
    assert capsys.readouterr().err.count(" of seed 27 failed: ") == len(tally.failures)


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "proof.md"
    path.write_text(f"before\n{fuzz.BEGIN}\nold\n{fuzz.END}\nafter\n")
    tally = run(Batch("manifests", 0, 0, 200))
    replace_table(path, fuzz.BEGIN, fuzz.END, fuzz.table({"manifests": tally}, 0, 1.0))
    before, row, after = path.read_text().partition("| manifests | 200 | ")
    assert before.startswith(f"before\n{fuzz.BEGIN}\n200 cases of seed 0 in 1 minutes; ")
    assert "old" not in before + after
    assert row
    assert after.endswith(f"|\n{fuzz.END}\nafter\n")
