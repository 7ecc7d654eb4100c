"""Nothing is kept or sent behind the user's back: what a run leaves in a home of its own, and the names it looks up."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

MAIN = [sys.executable, "-m", "aae_zoo.cli.main"]
LIBRARY = "from aae_zoo.runtime import load; load('digits-gauss').sample(2)"
WORKER = """
import multiprocessing
from aae_zoo.runtime import load
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.map(load("digits-gauss").sample, [2])
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a user with an empty home who has set nothing."""
    home = tmp_path / "home"
    home.mkdir()
    left_out = ("ORT_DISABLE_TELEMETRY", "AAE_ZOO_CACHE", "XDG_CACHE_HOME")
    return {**{k: v for k, v in os.environ.items() if k not in left_out}, "HOME": str(home)}


@pytest.mark.parametrize(
    "command",
    [
        [*MAIN, "sample", "digits-gauss", "-n", "2", "-o", "-"],
        [*MAIN, "verify", "digits-gauss"],
        [*MAIN, "embed", "digits-gauss", "--lang", "python", "-o", "program"],
        [sys.executable, "-c", LIBRARY],
        [sys.executable, "-c", f"import aae_zoo.export.proof.gate; {LIBRARY}"],
        ["worker"],
    ],
    ids=["sample", "verify", "embed", "library", "gate", "worker"],
)
def test_a_run_leaves_no_file_that_nobody_asked_for(
    command: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    if command == ["worker"]:
        (tmp_path / "worker.py").write_text(WORKER)
        command = [sys.executable, str(tmp_path / "worker.py")]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_a_run_looks_up_no_name(environment: dict[str, str], tmp_path: Path) -> None:
    """ONNX Runtime's look-up comes up to 20 seconds after the import."""
    program = f"import time; {LIBRARY}; time.sleep(25)"
    traced = ["strace", "-f", "-e", "trace=%network", "-s", "200", "-o", str(tmp_path / "network")]
    started = time.monotonic()
    result = subprocess.run(
        [*traced, sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode and time.monotonic() - started < 20:
        pytest.skip(f"strace may not trace here: {result.stderr[-200:]}")
    asked = re.findall(
        r"^.*(?:AF_INET|nscd|send(?:to|msg|mmsg)\().*$", (tmp_path / "network").read_text(), re.MULTILINE
    )
    assert asked == []


def test_a_user_who_wants_telemetry_keeps_it() -> None:
    program = "import os; import aae_zoo.runtime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    assert subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).strip() == "0"
