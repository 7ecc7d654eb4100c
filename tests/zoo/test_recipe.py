"""Recipes: one TOML file, checked as a whole."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import RECIPE

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.parts import kinds
from aae_zoo.zoo.recipe import RECIPES, Recipe, load_recipe, parse_recipe


def test_every_recipe_of_the_package_is_valid() -> None:
    names = [path.stem for path in RECIPES.glob("*.toml")]
    assert "mnist-plane" in names
    assert [load_recipe(name).name for name in names] == names


def test_mnist_gauss_has_the_tutorials_networks() -> None:
    recipe = load_recipe("mnist-plane").model_dump()
    for network in (recipe["encoder"], recipe["decoder"], recipe["objective"]["discriminator"]):
        assert (network["kind"], network["hidden"]) == ("mlp", [1000, 1000])
    assert (recipe["prior"]["kind"], recipe["prior"]["size"]) == ("gaussian", 2)


def test_three_mistakes_are_reported_at_once() -> None:
    document = tomllib.loads(RECIPE)
    document["training"]["epochs"] = -1
    document["encoder"]["hiden"] = document["encoder"].pop("hidden")
    document["prior"]["kind"] = "gausian"
    with pytest.raises(InvalidRecipe) as error:
        parse_recipe(document, "small.toml")
    message = str(error.value)
    assert "small.toml has 4 mistakes" in message
    assert "training.epochs: input should be greater than 0, found -1" in message
    assert "encoder.hidden: it is missing" in message
    assert "encoder.hiden: there is no such setting" in message
    others = [repr(kind) for kind in kinds("priors") if kind != "gaussian"]  # the near one comes first
    expected = ", ".join(["'gaussian'", *others[:-1]])
    assert f"prior.kind: input should be {expected} or {others[-1]}, found 'gausian'" in message


@pytest.mark.parametrize("value", ["3", 3.5, True, None])
def test_types_are_strict(value: object) -> None:
    document = tomllib.loads(RECIPE)
    document["training"]["epochs"] = value
    with pytest.raises(InvalidRecipe, match=r"training\.epochs: input should be a valid integer"):
        parse_recipe(document, "small.toml")


def test_a_table_that_is_missing_or_no_table_is_named() -> None:
    document = tomllib.loads(RECIPE)
    del document["prior"]
    document["encoder"] = 3
    with pytest.raises(InvalidRecipe, match=r"encoder: .*found 3; prior: it is missing"):
        parse_recipe(document, "small.toml")


def test_settings_are_overridden(small_recipe: Path) -> None:
    recipe = load_recipe(str(small_recipe), ["training.epochs=9", "name=other", "encoder.hidden=[8, 8]"])
    assert (recipe.training.epochs, recipe.name, recipe.encoder.model_dump()["hidden"]) == (9, "other", [8, 8])


@pytest.mark.parametrize("override", ["training.epochs", "=3", "name.epochs=3", "training.=3"])
def test_an_override_that_is_no_setting_is_refused(small_recipe: Path, override: str) -> None:
    with pytest.raises(InvalidRecipe, match="--set"):
        load_recipe(str(small_recipe), [override])


def test_toml_round_trip_keeps_the_fingerprint(small_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(small_recipe), ['title="Ümlaut \\" quote"', "training.batch=60"])
    copy = tmp_path / "copy.toml"
    copy.write_text(recipe.to_toml(), "utf-8")
    assert load_recipe(str(copy)).model_dump() == recipe.model_dump()
    assert load_recipe(str(copy)).sha256 == recipe.sha256
    assert load_recipe(str(small_recipe)).sha256 != recipe.sha256


def test_the_fingerprint_is_of_what_decides_the_weights(small_recipe: Path) -> None:
    recipe = load_recipe(str(small_recipe))
    same = load_recipe(str(small_recipe), ['title="Another"', "version=9.9.9", "data.labels=0"])
    assert same.sha256 == recipe.sha256  # words do not, nor a default that is written out
    for override in ("data.labels=10", "training.seed=4", "prior.std=2.0", "objective.adversarial_weight=6.0"):
        assert load_recipe(str(small_recipe), [override]).sha256 != recipe.sha256


def test_unknown_and_unreadable_recipes(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "there is no recipe nothing" in refused("train", "nothing")
    assert "one of mnist-gauss, avatars-gauss, avatars-style, " in refused("train", "minst-gauss")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    assert "is not TOML" in refused("train", broken)
    for value in ("[" * 3000, "9" * 5000):  # deeper than Python reads, and longer
        broken.write_text(f"name = {value}")
        assert "is not TOML" in refused("train", broken)
    broken.write_bytes(b"\xff\xfe")
    assert "is not TOML" in refused("train", broken)


def test_a_recipe_is_immutable(small_recipe: Path) -> None:
    recipe: Recipe = load_recipe(str(small_recipe))
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"


def test_a_byte_order_mark_is_read_over(small_recipe: Path, tmp_path: Path) -> None:
    path = tmp_path / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbf" + small_recipe.read_bytes())
    assert load_recipe(str(path)).to_toml() == load_recipe(str(small_recipe)).to_toml()


def test_a_licence_need_not_be_stated(small_recipe: Path, tmp_path: Path) -> None:
    path = tmp_path / "without.toml"
    path.write_text(small_recipe.read_text().replace('licence = "MIT"\n', ""))
    assert load_recipe(str(path)).licence == ""
