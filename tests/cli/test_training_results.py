"""What people see of a training: six lines, and a command that works as it is printed."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import AaeZoo
from PIL import Image

from aae_zoo.runtime import load
from aae_zoo.zoo.recipe import load_recipe

QUICK = [
    *("--set", "data.size=16", "--set", "encoder.channels=[8, 8]", "--set", "encoder.hidden=16"),
    *("--set", "decoder.channels=[8, 8]", "--set", "decoder.hidden=16"),
    *("--set", "objective.images.discriminator.channels=[8]", "--set", "training.steps=5"),
    *("--set", "training.epochs=2", "--set", "training.batch=10"),
]


@pytest.fixture
def cats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty pictures in a folder whose name has a space, and the folder around it as the place where one works."""
    folder = tmp_path / "my cats"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(60):
        pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AAE_ZOO_DATA", raising=False)
    return folder


def test_from_own_pictures_to_samples_by_the_commands_that_are_printed(
    cats: Path, aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    trained = aae_zoo("train", "folder-gauss", "--data", "my cats", "--out", "my runs/first one", *QUICK)
    assert trained.status == 0
    what, reconstructions, samples, better, run, following = trained.out.splitlines()
    assert what.startswith(f"my-cats: trained on {cats} for 2 epochs, in ")
    assert reconstructions.startswith("reconstructions: ")
    assert "and they vary " in samples
    assert better.startswith("to do better: ")
    assert run == "run: my runs/first one"
    assert "training takes about " in trained.err
    assert "1 epoch is left: about " in trained.err
    assert len(trained.out) < 1000

    exported = aae_zoo(*shlex.split(following)[2:])
    assert exported.status == 0, exported
    _, _, line = exported.out.strip().partition("next: ")
    assert aae_zoo(*shlex.split(line)[1:], "-n", 4).status == 0
    manifest = load(tmp_path / "bundles" / "my-cats").manifest
    assert manifest.name == "my-cats"
    assert manifest.title == "Adversarial autoencoder of my cats"
    assert manifest.description == "Draws pictures like those of my cats"
    assert manifest.licence == ""
    assert "licence" in aae_zoo("info", "bundles/my-cats").out
    assert "not stated" in aae_zoo("info", "bundles/my-cats").out
    whole = "".join(p.read_text("utf-8") for p in (tmp_path / "bundles" / "my-cats").iterdir() if p.suffix != ".png"
                    and p.name.endswith((".json", ".md")))  # fmt: skip
    assert str(tmp_path) not in whole  # where somebody's pictures lie is nobody's business

    evaluated = aae_zoo("evaluate", "my runs/first one")
    assert evaluated.out.splitlines()[1:5] == [reconstructions, samples, better, run]
    assert json.loads(aae_zoo("evaluate", "my runs/first one", "--json").out)["mse"] > 0


def test_a_bundle_may_be_called_and_licensed_as_its_owner_says(cats: Path, aae_zoo: AaeZoo) -> None:
    options = ["--name", "tigers", "--licence", "CC-BY-4.0", *QUICK, "--set", "training.epochs=1"]
    trained = aae_zoo("train", "folder-gauss", "--data", cats, *options, "--json")
    assert trained.status == 0
    assert len(json.loads(trained.out)["code_covariance"]) == 32
    recipe = load_recipe("runs/tigers/recipe.toml")
    assert (recipe.name, recipe.licence, recipe.title) == ("tigers", "CC-BY-4.0", "Adversarial autoencoder of my cats")


@pytest.mark.parametrize(
    ("folder", "name", "title"),
    [
        ("cats", "cats", "of cats"),
        ("Überbäume & mehr", "berb-ume-mehr", "of Überbäume & mehr"),
        ("猫", "pictures", "of 猫"),
        ("x" * 90, "x" * 64, "of " + "x" * 90),
        ("a\nb", "a-b".replace("-", ""), "of ab"),
    ],
)
def test_a_model_is_called_as_its_data_are(folder: str, name: str, title: str, tmp_path: Path) -> None:
    recipe = load_recipe("folder-gauss").for_data(tmp_path / folder)
    assert recipe.name == name
    assert recipe.title.endswith(title)
    assert recipe.sha256 == load_recipe("folder-gauss").sha256


def test_a_recipe_with_texts_of_its_own_keeps_them(tmp_path: Path) -> None:
    recipe = load_recipe("mnist-plane")
    assert recipe.for_data(tmp_path / "cats").to_toml() == recipe.to_toml()


def test_a_name_that_cannot_be_one(cats: Path, aae_zoo: AaeZoo) -> None:
    result = aae_zoo("train", "folder-gauss", "--data", cats, "--name", "my cats")
    assert result.status == 1
    assert result.err.startswith("error: the recipe has 1 mistake: name: ")


@pytest.mark.parametrize(
    ("options", "variable", "threads"), [(["--threads", "3"], "2", 3), ([], "1", 1), ([], "3,2", 3)]
)
def test_threads_are_as_many_as_the_user_says(
    options: list[str], variable: str, threads: int, cats: Path, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    before = torch.get_num_threads()
    try:
        result = aae_zoo("train", "folder-gauss", "--data", cats, *QUICK, *options)
        assert result.status == 0
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert json.loads(Path("runs/my-cats/run.json").read_text())["threads"] == threads


@pytest.mark.parametrize(("given", "found"), [(None, "passive"), ("active", "active")])
@pytest.mark.parametrize("module", ["zoo.training.trainer", "export.bundling.bundle", "zoo.measure.samples"])
def test_threads_do_not_spin_unless_the_user_says_so(module: str, given: str | None, found: str) -> None:
    """OpenMP reads the variable when PyTorch is imported: it has to be set by then."""
    program = (
        "import os, sys, importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch':\n"
        "            print(os.environ.get('OMP_WAIT_POLICY'), flush=True)\n"
        "            os._exit(0)\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"import aae_zoo.{module}\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == f"{found}\n"
