"""tests/gpu/check.sh on machines without a GPU: it says so, and what breaks in a row breaks nothing else."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import check
import devices_page
import pytest
import rows
from conftest import ROOT
from drivers import write_driver
from rows import Measured, Missed, Row, held, judged

FOLDER = ROOT / "tests" / "gpu"


def script(*arguments: str, libraries: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHON": sys.executable, "LD_LIBRARY_PATH": str(libraries or "")}
    command = ["sh", str(FOLDER / "check.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_without_a_gpu_it_says_so() -> None:
    done = script()
    assert done.returncode == 3
    assert (
        done.stdout == "there is no NVIDIA GPU here, or no driver for it: nothing was checked (nvidia-smi says more)\n"
    )


def test_it_goes_on_after_a_missed_row_and_writes_what_it_found(tmp_path: Path) -> None:
    """With a driver that lists a card, and an ONNX Runtime that is built for none."""
    write_driver(tmp_path, 1)
    report = tmp_path / "report.json"
    done = script("--only", "starting", "--json", str(report), libraries=tmp_path)
    assert done.returncode == 1, done.stderr
    written = json.loads(report.read_text("utf-8"))
    assert (written["card"], written["driver"]) == ("NVIDIA H100 80GB HBM3, 79 GiB", "580.95.05")
    assert {row["group"] for row in written["rows"]} == {"starting"}
    assert "device cuda was asked for" in written["rows"][0]["measured"]
    assert f"{len(written['rows'])} rows, {len(written['rows'])} missed" in done.stdout.splitlines()[-1]
    assert done.stdout.count("MISSED") == 2 * len(written["rows"])


def test_a_process_that_dies_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "check.py").write_text(
        'import os, signal\nprint(\'{"row": "first", "ok": true}\', flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)\n'
    )
    monkeypatch.setattr(check, "__file__", str(tmp_path / "check.py"))
    first, last = check.rows_of("right", 60)
    assert first == {"row": "first", "ok": True}
    assert not last["ok"]
    assert "its process ended with status -11" in last["measured"]


def test_a_process_that_hangs_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "check.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(check, "__file__", str(tmp_path / "check.py"))
    (row,) = check.rows_of("right", 1)
    assert "its process ended with status -9 after at most 1 s" in row["measured"]


def fail() -> str:
    raise Missed("7 of 8", {"count": 7})


def crash() -> str:
    raise ValueError("a shape\nthat is wrong")


def hang() -> str:
    time.sleep(60)
    return "never"


@pytest.mark.parametrize(
    ("measure", "said", "ok"),
    [
        (lambda: "as it should be", r"as it should be", True),
        (lambda: Measured("0.5 ms", {"ms": 0.5}), r"0\.5 ms", True),
        (lambda: held(True, "1 of 1"), r"1 of 1", True),
        (lambda: held(False, "0 of 1"), r"0 of 1", False),
        (fail, r"7 of 8", False),
        (crash, r"ValueError: a shape that is wrong \(test_gpu_script\.py:\d+\)", False),
        (hang, r"TimeoutError: it takes longer than 1 s .*", False),
    ],
)
def test_a_row_is_judged_whatever_happens_in_it(
    measure: object, said: str, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SECONDS", 1)
    found = judged(Row("a row", "what is wanted", measure))  # type: ignore[arg-type]
    assert re.fullmatch(said, found["measured"])
    assert found["ok"] is ok
    assert found["figures"] == {"count": 7} if measure is fail else found["figures"] in ({}, {"ms": 0.5})


def test_the_page_has_what_the_report_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"model": "mnist-gauss", "batch": 1024, "seconds": 0.0005, "bare": 0.0006, "replay": None}
    good = {"row": "decode | 1", "measured": "0.5 ms", "wanted": "<= 1 ms", "ok": True, "figures": figures}
    bad = {"row": "threads", "measured": "wrong", "wanted": "right", "ok": False, "figures": {}}
    report = {
        "card": "NVIDIA L4, 22 GiB",
        "driver": "580.95.05",
        "torch": "2.11",
        "seconds": 201.4,
        "rows": [good, bad],
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    document = tmp_path / "devices.md"
    document.write_text(f"# Devices\n{devices_page.BEGIN}\nnothing yet\n{devices_page.END}\nThe rest.\n")
    monkeypatch.setattr(sys, "argv", ["devices_page.py", str(tmp_path / "report.json"), str(document)])
    devices_page.main()
    text = document.read_text("utf-8")
    assert text.startswith("# Devices\n") and text.endswith("\nThe rest.\n")
    assert "nothing yet" not in text
    assert "NVIDIA L4, 22 GiB, driver 580.95.05; torch 2.11.\n2 rows in 201 s, 1 missed.\n" in text
    assert "| decode \\| 1 | 0.5 ms | <= 1 ms | yes |\n| threads | wrong | right | **missed** |\n" in text
    assert "| mnist-gauss | 1,024 | 0.500 | 0.600 | - | - | - | - | - |\n" in text


def test_the_devices_page_has_its_place() -> None:
    text = (ROOT / "docs" / "devices.md").read_text("utf-8")
    assert text.count(devices_page.BEGIN) == text.count(devices_page.END) == 1
