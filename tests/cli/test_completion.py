"""What shells complete, asked as their own scripts ask."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from conftest import AaeZoo

from aae_zoo.export.targets.embed import LANGUAGES
from aae_zoo.runtime import list_models
from aae_zoo.runtime.bundles.names import PRECISIONS
from aae_zoo.runtime.engine.devices import DEVICES
from aae_zoo.runtime.store import catalogue
from aae_zoo.runtime.store.catalogue import SHIPPED, find_model

AAE_ZOO: Final = Path(sys.executable).with_name("aae-zoo")
Completed = Callable[[str], list[str]]
_NAMES: Final = [entry.name for entry in list_models()]
LABELS: Final = [label.replace(" ", r"\ ") for label in find_model("fashion-style").manifest.labels]


@pytest.fixture
def completed(aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch) -> Completed:
    """What bash is told for a line whose last word is being typed, as typer's script for it asks."""

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv("_AAE_ZOO_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        result = aae_zoo()
        monkeypatch.delenv("_AAE_ZOO_COMPLETE")
        assert (result.status, result.err) == (0, "")
        return list(result.out.splitlines()) if result.out.strip() else []

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("aae-zoo info mnist-s", [name for name in _NAMES if name.startswith("mnist-s")]),
        ("aae-zoo sample ", _NAMES),
        ("aae-zoo reconstruct digits", ["digits-gauss"]),
        ("aae-zoo pull digits", ["digits-gauss"]),
        ("aae-zoo explore digits", ["digits-gauss"]),
        ("aae-zoo sample mnist-plane --device c", ["cpu", "cuda", "coreml"]),
        ("aae-zoo serve mnist-plane --device ", list(DEVICES)),
        ("aae-zoo sample --precision ", list(PRECISIONS)),
        ("aae-zoo verify mnist-plane --precision ", list(PRECISIONS)),
        ("aae-zoo embed mnist-plane --lang ", list(LANGUAGES)),
        ("aae-zoo sample mnist-mixture --label ", [str(digit) for digit in range(10)]),
        ("aae-zoo sample fashion-style -n 3 --label S", ["Sandal", "Shirt", "Sneaker"]),
        ("aae-zoo sample fashion-style --label An", [r"Ankle\ boot"]),
        ("aae-zoo sample --label ", []),  # mnist-plane has none
        ("aae-zoo sample nothing --label ", []),
        ("aae-zoo tra", ["traverse", "train"]),
        ("aae-zoo sample --sh", ["--show"]),
    ],
)
def test_it_completes(line: str, expected: list[str], completed: Completed) -> None:
    assert completed(line) == expected


def test_what_was_pulled_is_completed_too(completed: Completed, aae_zoo: AaeZoo) -> None:
    assert aae_zoo("pull", "org/digits-gauss", "--from", SHIPPED).status == 0
    assert completed("aae-zoo info org") == ["org/digits-gauss@main"]
    assert "org/digits-gauss@main" in completed("aae-zoo cache --remove ")


def test_a_damaged_catalogue_completes_nothing(
    completed: Completed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "catalogue.json").write_text("{")
    monkeypatch.setattr(catalogue, "SHIPPED", tmp_path)
    assert completed("aae-zoo info mnist") == []
    assert completed("aae-zoo sample mnist-mixture --label ") == []


def test_bash_itself_completes(tmp_path: Path) -> None:
    """With the script that --show-completion prints, in a bash that is asked for what Tab would give."""
    program = f"""
export PATH={AAE_ZOO.parent}:$PATH
eval "$(aae-zoo --show-completion bash)"
COMP_WORDS=(aae-zoo info digits); COMP_CWORD=2
_aae_zoo_completion aae-zoo
echo "${{COMPREPLY[@]}}"
COMP_WORDS=(aae-zoo sample fashion-style --with label = An); COMP_CWORD=6
_aae_zoo_completion aae-zoo
echo "${{COMPREPLY[@]}}"
"""
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    result = subprocess.run(["bash", "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("digits-gauss\nAnkle\\ boot\n", "")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ("sample fashion-style --with lab", [f"label={name}" for name in LABELS]),
        ("sample fashion-style --with label =", LABELS),
        ("sample fashion-style --with label = S", ["Sandal", "Shirt", "Sneaker"]),
        ("sample fashion-style --with = label = S", ["Sandal", "Shirt", "Sneaker"]),
        ("sample fashion-style --with = lab", [f"label={name}" for name in LABELS]),
        ("sample fashion-style --with hat = S", []),
        ("sample --with label = 1 fashion-style --label S", ["Sandal", "Shirt", "Sneaker"]),
        ("sample --device = c", ["cpu", "cuda", "coreml"]),
        ("embed mnist-plane --lang =", list(LANGUAGES)),
    ],
)
def test_what_bash_parts_at_an_equals_sign_is_one_word(parts: str, expected: list[str], completed: Completed) -> None:
    """Bash keeps what it has before the last part, and is told how that goes on."""
    assert completed(f"aae-zoo {parts}") == expected


@pytest.mark.parametrize("line", ["aae-zoo sample mnist", "aae-zoo sample --label ", "aae-zoo embed x --lang "])
def test_completing_loads_nothing_heavy(line: str) -> None:
    program = """
import sys
from aae_zoo.cli.main import main
try:
    main()
except SystemExit:
    pass
print("\\n" + " ".join(sys.modules))
"""
    words = {
        "COMP_WORDS": line.replace(" ", "\n"),
        "COMP_CWORD": str(line.count(" ")),
        "_AAE_ZOO_COMPLETE": "complete_bash",
    }
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=os.environ | words, capture_output=True, text=True, check=True)
    loaded = set(result.stdout.splitlines()[-1].split())
    assert not {"numpy", "onnxruntime", "PIL", "torch", "onnx", "huggingface_hub", "pydantic", "rich"} & loaded
