"""`make zoo`: what is done is left alone, what was interrupted goes on, and one model's failure is its own."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from aae_zoo.export.bundling import bundle as bundling
from aae_zoo.export.release import timing, zoo
from aae_zoo.export.release.timing import training_times
from aae_zoo.export.release.zoo import make, shipped
from aae_zoo.runtime import list_models
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.errors import Interrupted
from aae_zoo.zoo.recipe import Recipe, load_recipe
from aae_zoo.zoo.training import trainer


@pytest.fixture
def folders(
    small_run: Path, small_bundle: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """The folders of runs and of models, with the small model trained and exported."""
    monkeypatch.setenv("AAE_ZOO_DATA", str(small_data.parent))
    # Four epochs are no success, which what ships must be.
    monkeypatch.setattr(bundling, "problems", lambda _: [])
    shutil.copytree(small_run, tmp_path / "runs" / "small")
    shutil.copytree(small_bundle, tmp_path / "models" / "small")
    return tmp_path / "runs", tmp_path / "models"


@pytest.fixture
def small(small_recipe: Path) -> Recipe:
    return load_recipe(str(small_recipe))


def test_what_is_done_is_left_alone(
    small: Recipe, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    written = (folders[1] / "small" / "manifest.json").stat().st_mtime_ns
    assert make([small], *folders)
    said = capsys.readouterr().out
    assert said.startswith("small: done already, ")
    assert f" min of training, mse {open_bundle(folders[1] / 'small').manifest.metrics['mse']:.4g}" in said
    assert (folders[1] / "small" / "manifest.json").stat().st_mtime_ns == written


def test_what_was_interrupted_goes_on_and_what_is_stale_is_exported_again(
    small: Recipe, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The last epoch's metrics were not written; and the recipe now describes its model in other words."""
    (folders[0] / "small" / "run.json").unlink()
    described = small.model_copy(update={"description": "Draws small and other digits"})
    assert make([described], *folders)
    assert capsys.readouterr().out.startswith("small: resumed and exported, ")
    assert open_bundle(folders[1] / "small").manifest.description == "Draws small and other digits"
    assert make([described], *folders)
    assert capsys.readouterr().out.startswith("small: done already, ")


def test_an_option_invented_since_the_export_makes_no_bundle_stale(
    small: Recipe, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite_recipe(folders[1] / "small", lambda recipe: recipe.replace('posterior = "deterministic"\n', ""))
    assert make([small], *folders)
    assert capsys.readouterr().out.startswith("small: done already, ")


@pytest.mark.parametrize("damaged", ["", "no TOML", "[training]\nepochs = 0\n"])
def test_a_bundle_whose_recipe_cannot_be_read_is_exported_again(
    small: Recipe, folders: tuple[Path, Path], damaged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite_recipe(folders[1] / "small", lambda _: damaged)
    assert make([small], *folders)
    assert capsys.readouterr().out.startswith("small: exported, ")


def rewrite_recipe(bundle: Path, change: Callable[[str], str]) -> None:
    """Change the recipe in a bundle's manifest."""
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    was = manifest["provenance"]["recipe"]
    manifest["provenance"]["recipe"] = change(was)
    assert manifest["provenance"]["recipe"] != was
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def test_other_seeds_are_trained_too_where_the_recipe_asks_for_them(
    small: Recipe, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    twice = small.model_copy(update={"seeds": 2})
    assert make([twice], *folders)
    assert capsys.readouterr().out.startswith("small: trained with seed 4 and exported, ")
    assert open_bundle(folders[1] / "small").manifest.metrics["over_seeds"]["seeds"] == [3, 4]
    assert make([twice], *folders)
    assert capsys.readouterr().out.startswith("small: done already, ")


def test_what_fails_does_not_stop_the_others(
    small: Recipe, folders: tuple[Path, Path], small_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = load_recipe(str(small_recipe), ["training.epochs=5"])
    assert not make([changed, small], *folders)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"small: failed: {folders[0] / 'small' / 'resume.pt'} belongs to another recipe")
    assert second.startswith("small: done already")


def test_ctrl_c_stops_all(
    small: Recipe, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise Interrupted("interrupted in epoch 1")

    monkeypatch.setattr(zoo, "train", interrupted)
    (folders[0] / "small" / "run.json").unlink()
    with pytest.raises(Interrupted):
        make([small, small], *folders)
    assert capsys.readouterr().out == ""


def test_the_command_takes_recipes_by_name_and_says_by_its_status_whether_all_went(
    small_recipe: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def status(*names: str) -> int:
        monkeypatch.setattr("sys.argv", ["zoo", *names])
        return zoo.main()

    monkeypatch.chdir(folders[0].parent)
    Path("runtime").mkdir()
    folders[1].rename("runtime/models")
    assert status(str(small_recipe)) == 0
    (Path("runs") / "small" / "recipe.toml").write_text("")
    assert status(str(small_recipe)) == 1
    assert "small: failed: the run's recipe is damaged" in capsys.readouterr().out
    assert status("nothing") == 1
    assert capsys.readouterr().err.startswith("error: there is no recipe nothing")


def test_the_time_of_two_epochs_gives_that_of_all(
    small_recipe: Path, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = json.loads((small_run / "run.json").read_text()) | {"training_seconds": 3.0, "threads": 2}

    def took(recipe: Recipe, folder: Path) -> None:
        assert recipe.training.epochs == 2
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(facts))

    monkeypatch.setattr(trainer, "train", took)
    monkeypatch.setattr("sys.argv", ["timing", str(small_recipe)])
    monkeypatch.chdir(tmp_path)
    models = Path("runtime") / "models"
    models.mkdir(parents=True)
    (models / "timings.json").write_text('{"mnist-plane": {"seconds": 9.0, "threads": 1}}')
    assert timing.main() == 0
    assert training_times(models) == {"mnist-plane": (9, 1), "small": (6, 2)}  # of 4 epochs


def names(recipes: Sequence[Recipe]) -> set[str]:
    return {recipe.name for recipe in recipes}


def test_every_shipped_model_is_made_and_what_has_no_weights_is_not() -> None:
    made = names(shipped())
    assert {entry.name for entry in list_models() if entry.shipped} <= made
    folders = {"folder-classes", "folder-gauss", "folder-small"}
    assert not {*folders, "cifar10-wae", "celeba-gauss", "mnist-dae", "mnist-wae", "svhn-semi"} & made
