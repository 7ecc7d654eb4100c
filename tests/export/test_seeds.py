"""Figures over seeds: runs of one recipe that differ in their seed alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import AaeZoo

from aae_zoo.export.card.figures import spread
from aae_zoo.runtime import load


@pytest.fixture
def other_seed(aae_zoo: AaeZoo, small_recipe: Path, small_data: Path, tmp_path: Path) -> Path:
    run = tmp_path / "other"
    assert aae_zoo("train", small_recipe, "--data", small_data, "--out", run, "--set", "training.seed=4").status == 0
    return run


def test_the_bundle_has_every_seed_s_figures(
    other_seed: Path, small_run: Path, small_data: Path, aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    exported = aae_zoo(
        "export", small_run, "--anyway", "--data", small_data, "-o", tmp_path / "b", "--seed-run", other_seed
    )
    assert exported.status == 0
    figures = load(tmp_path / "b").manifest.metrics["over_seeds"]
    runs = [json.loads((run / "metrics.json").read_text()) for run in (small_run, other_seed)]
    assert figures["seeds"] == [3, 4]
    assert figures["mse"] == [run["mse"] for run in runs]
    assert spread({"over_seeds": {"error": [1.0, 2.0, 4.5]}}, "error") == "2.50 ± 1.80 over 3 seeds"


def test_runs_that_do_not_belong_together(
    run_folder: Path, small_run: Path, small_data: Path, refused: Callable[..., str], no_leftovers: Path
) -> None:
    export = ("export", small_run, "--anyway", "--data", small_data, "-o", no_leftovers / "b", "--seed-run")
    assert "the runs have the seeds [3, 3], expected each once" in refused(*export, run_folder)
    recipe = run_folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("batch = 50", "batch = 60"))
    assert "is of another recipe than" in refused(*export, run_folder)
    assert "holds no run" in refused(*export, run_folder / "nothing")
