"""One recipe on one machine is one bundle, byte for byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from aae_zoo.zoo.training.stable import stable_bytes

PROGRAM = """
import sys
from pathlib import Path
from aae_zoo.export.bundling.bundle import export_bundle
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training.trainer import train
folder = Path(sys.argv[1])
train(load_recipe("digits-gauss", ["training.epochs=6", "training.pictures_every=3"]), folder / "run")
export_bundle(folder / "run", folder / "bundle", anyway=True)  # six epochs are no success
"""


def test_two_trainings_give_the_same_bytes(tmp_path: Path) -> None:
    """In processes whose hashes of texts differ, and with them the order of whatever is not put in order."""
    folders = [tmp_path / name for name in ("one", "two")]
    processes = []
    for seed, folder in enumerate(folders, 1):
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        processes.append(subprocess.Popen([sys.executable, "-c", PROGRAM, folder], env=environment))
    assert [process.wait() for process in processes] == [0, 0]
    first, second = ({path.name: path.read_bytes() for path in (f / "bundle").iterdir()} for f in folders)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert (folders[0] / "run" / "model.safetensors").read_bytes() == (
        folders[1] / "run" / "model.safetensors"
    ).read_bytes()


def test_texts_beside_weights_are_in_order() -> None:
    texts = {name: f'"{name}" é' for name in ["zebra", "yak", "ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen"]}
    content = stable_bytes({"weight": torch.arange(3.0)}, texts)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == sorted(texts)
