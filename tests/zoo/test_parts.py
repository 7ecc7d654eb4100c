"""Priors, objectives, networks and data sets are files: one more is one more kind, and a wrong name names the kinds."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from conftest import RECIPE, AddPart

from aae_zoo.runtime.bundles.manifest import Preparation
from aae_zoo.runtime.errors import DatasetError, InvalidRecipe
from aae_zoo.zoo.data.loading import declarations, load_dataset
from aae_zoo.zoo.parts import kinds
from aae_zoo.zoo.recipe import load_recipe, parse_recipe
from aae_zoo.zoo.training.run import Run, load_model
from aae_zoo.zoo.training.trainer import train

# Of each table of the recipe, the family of its part and the kind that the small recipe names.
PARTS = {
    "prior": ("priors", "gaussian"),
    "objective": ("objectives", "aae"),
    "encoder": ("networks", "mlp"),
    "decoder": ("networks", "mlp"),
}
DATA_SET = """
from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION
from aae_zoo.zoo.data.idx import find_idx, read_dataset

NAME, HUB_NAME, COUNTERPART, IMAGE_SHAPE = "new-digits", None, None, (1, 14, 14)
LICENCE, PREPARATION = "", USUAL_PREPARATION


def load(settings, place):
    return read_dataset(NAME, find_idx(NAME, place), label_names=[f"digit {k}" for k in range(10)])
"""


@pytest.mark.parametrize("table", PARTS)
def test_a_new_file_is_a_new_kind(
    table: str, new_part: AddPart, small_recipe: Path, small_data: Path, tmp_path: Path
) -> None:
    """A copy of a part's file under another name trains at once, with nothing else told of it."""
    family, kind = PARTS[table]
    source = Path(str(import_module(f"aae_zoo.zoo.{family}.{kind}").__file__)).read_text("utf-8")
    new_part(family, "newcomer", source.replace(f'Literal["{kind}"]', 'Literal["newcomer"]'))
    recipe = load_recipe(str(small_recipe), [f"{table}.kind=newcomer", "training.epochs=1"])
    train(recipe, tmp_path / "run", data=small_data)
    model, objective = load_model(Run.open(tmp_path / "run"), (1, 14, 14))
    part = {"prior": model.prior, "objective": objective, "encoder": model.encoder, "decoder": model.decoder}[table]
    assert type(part).__module__ == f"aae_zoo.zoo.{family}.newcomer"


def test_a_new_file_is_a_new_data_set(new_part: AddPart, small_data: Path) -> None:
    assert load_dataset("new-digits", small_data).label_names[7] == "7"  # a folder under a name that nothing declares
    new_part("datasets", "new_digits", DATA_SET)
    assert load_dataset("new-digits", small_data).label_names[7] == "digit 7"


@pytest.mark.parametrize(
    ("table", "wrong", "meant"),
    [
        ("prior", "gausian", "gaussian"),
        ("objective", "AAE", "aae"),
        ("encoder", "mpl", "mlp"),
        ("decoder", "rnn", None),
    ],
)
def test_an_unknown_kind_names_the_kinds(table: str, wrong: str, meant: str | None) -> None:
    document = tomllib.loads(RECIPE)
    document[table]["kind"] = wrong
    with pytest.raises(InvalidRecipe) as error:
        parse_recipe(document, "small.toml")
    message = str(error.value)
    known = kinds(PARTS[table][0])
    assert all(f"'{kind}'" in message for kind in known)
    assert f"{table}.kind: input should be '{meant or known[0]}'" in message, "what was meant comes first"
    assert message.endswith(f"found '{wrong}'")


@pytest.mark.parametrize(
    ("wrong", "first"), [("minst", "mnist"), ("fashion_mnist", "fashion-mnist"), ("usps", "avatars")]
)
def test_an_unknown_data_set_names_the_data_sets(wrong: str, first: str) -> None:
    with pytest.raises(DatasetError) as error:
        load_dataset(wrong)
    message = str(error.value)
    assert message.startswith(f"there is no data set {wrong} in ")
    assert f"give its folder with --data, or name one of {first}, " in message
    assert all(name in message for name in declarations())


@pytest.mark.parametrize("wrong", ["", "../mnist", "a b"])
def test_a_name_that_no_data_set_can_have(wrong: str) -> None:
    with pytest.raises(DatasetError, match="there is no data set"):
        load_dataset(wrong)


@pytest.mark.parametrize("kind", kinds("datasets"))
def test_every_data_set_declares_itself(kind: str) -> None:
    """Its name, its name on the Hub, its counterpart and its images' shape are all said, be it with None."""
    declared = declarations()
    module = import_module(f"aae_zoo.zoo.datasets.{kind}")
    assert declared[module.NAME] is module, "two files declare one name"
    assert module.NAME.replace("-", "_") == kind, "a data set is found by its file's name too"
    assert module.HUB_NAME is None or len(module.HUB_NAME.split("/")) == 2
    assert module.IMAGE_SHAPE is None or len(module.IMAGE_SHAPE) == 3
    if module.COUNTERPART is not None:
        assert declared[module.COUNTERPART].IMAGE_SHAPE == module.IMAGE_SHAPE
    assert isinstance(module.LICENCE, str)
    assert isinstance(module.PREPARATION, Preparation)
    assert module.load.__doc__


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist"])
def test_images_have_the_shape_that_their_data_set_declares(name: str) -> None:
    assert load_dataset(name).image_shape == declarations()[name].IMAGE_SHAPE
