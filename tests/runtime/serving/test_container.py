"""The Dockerfile's own commands, without Docker: the service where nothing is kept, and the health check."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest
from conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# A home that is not there, and must not be after the service has run.
NOWHERE = Path("/nowhere-of-aae-zoo")


def words(instruction: str) -> list[str]:
    """The words of an instruction in JSON, the last of its kind."""
    found: list[str] = json.loads(re.findall(rf"{instruction} (\[.*\])", DOCKERFILE)[-1])
    return found


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found: int = taken.getsockname()[1]
        return found


def start(command: list[str], port: int) -> subprocess.Popen[str]:
    """Start a command of the Dockerfile with a home and a cache that are not there."""
    program = {"aae-zoo": [sys.executable, "-m", "aae_zoo.cli.main"], "python": [sys.executable]}[command[0]]
    rest = [word.replace("8000", str(port)) for word in command[1:]]
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    places = {"AAE_ZOO_CACHE": str(NOWHERE / "cache"), "HOME": str(NOWHERE), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [*program, *rest],
        cwd="/",
        env={**kept, **places},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def service(port: int) -> Iterator[subprocess.Popen[str]]:
    with start([*words("ENTRYPOINT"), *words("\nCMD")], port) as process:
        try:
            yield process
        finally:
            process.terminate()


def is_healthy(port: int) -> bool:
    with start(words(" CMD"), port) as check:
        check.communicate()
    return check.returncode == 0


def test_it_serves_is_found_healthy_and_writes_nothing(service: subprocess.Popen[str], port: int) -> None:
    assert service.stdout is not None
    assert service.stdout.readline().startswith(f"serving mnist-gauss on http://0.0.0.0:{port}")
    assert is_healthy(port)
    service.terminate()
    assert service.wait(timeout=60) == 0
    assert not is_healthy(port)
    assert not NOWHERE.exists()


def test_it_can_be_told_to_end_while_it_still_starts(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the first process of a container, which is sent no signal that it has no handler for."""
    (tmp_path / "onnxruntime.py").write_text(
        "print('loading', flush=True)\nimport threading\nthreading.Event().wait()\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        service = start([*words("ENTRYPOINT"), *words("\nCMD")], port)
    finally:
        signal.signal(signal.SIGTERM, before)
    with service:
        try:
            assert service.stdout is not None
            assert service.stdout.readline() == "loading\n"
            service.terminate()
            assert service.wait(timeout=60) == 0
        finally:
            service.kill()


def test_the_image_has_what_the_wheel_needs_and_no_weights() -> None:
    """Docker's own rules, in git's: what the build sees of the checkout makes a wheel."""
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[1] == "*"
    kept = {line[1:] for line in ignored if line.startswith("!")}
    packages = PYPROJECT["tool"]["setuptools"]["package-dir"]
    assert kept == {"LICENSE", "README.md", "pyproject.toml", *packages.values()}
    assert all((ROOT / name).exists() for name in kept)


def test_the_image_is_of_what_the_project_is_called_and_has() -> None:
    pattern, extras = re.findall(r"\$\(echo (\S+)\)\[([a-z,]+)\]", DOCKERFILE)[0]
    assert PurePath(f"/wheels/{PYPROJECT['project']['name'].replace('-', '_')}-1.0-py3-none-any.whl").match(pattern)
    assert set(extras.split(",")) <= set(PYPROJECT["project"]["optional-dependencies"])
    (python,) = re.findall(r"^ARG PYTHON=3\.(\d+)$", DOCKERFILE, re.MULTILINE)
    assert int(python) >= int(PYPROJECT["project"]["requires-python"].removeprefix(">=3."))
    assert words("ENTRYPOINT")[0] in PYPROJECT["project"]["scripts"]
    (environment,) = re.findall(r"RUN python -m venv (\S+)", DOCKERFILE)
    assert f"COPY --from=build {environment} {environment}\n" in DOCKERFILE
    assert f"PATH={environment}/bin:$PATH" in DOCKERFILE


def test_the_image_is_not_roots() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    (user, group) = re.findall(r"^USER ([1-9]\d*):([1-9]\d*)$", last, re.MULTILINE)[0]
    (cache,) = re.findall(r"AAE_ZOO_CACHE=(\S+)", last)
    assert f"RUN install --directory --owner={user} --group={group} {cache}\nUSER" in re.sub(r"\n#.*", "", last)
