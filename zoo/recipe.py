"""Recipes: everything that decides what a model becomes, in one TOML file, checked as a whole."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PlainValidator, PositiveFloat, ValidationError, create_model
from pydantic_core import PydanticCustomError

from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.runtime.escapes import is_line
from aae_zoo.runtime.words import counted
from aae_zoo.zoo.parts import Count, PartSettings, PriorSettings, Settings, kinds, load_part, nearest_first

RECIPES: Final = Path(__file__).parent / "recipes"
_FAMILIES: Final = {"encoder": "networks", "decoder": "networks", "prior": "priors", "objective": "objectives"}

# Stands in a title or description for what the data are called.
_DATA: Final = "{data}"


def _line(value: str) -> str:
    if not is_line(value):
        raise PydanticCustomError("validation", "Input should be one line of text without control characters")
    return value


Line = Annotated[str, AfterValidator(_line)]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _count_or_fraction(value: object) -> int | float:
    if (type(value) is int and value >= 2) or (type(value) is float and 0 < value < 1):
        return value
    raise PydanticCustomError("validation", "Input should be a count of 2 or more, or a fraction between 0 and 1")


def _rising(pair: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= pair[0] < pair[1] < 1 << 32:
        raise PydanticCustomError("range", "Input should be two whole numbers, the smaller one first")
    return pair


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise PydanticCustomError("attributes", "Input should be names that differ from each other")
    return names


class DataSettings(Settings):
    """[data]: the data set's name, and how many of the last training images are kept for validation.

    `validation` is a count, or the fraction of them where the data set may be of any length. Of the others, training
    may know the labels of `labels` images, as many of each class; -1 is all of them. `size` and `channels` (1 gray,
    3 colour) are what picture files of any shape are made to be, by `fit` (see the runtime's `Preparation`); `range`
    is the pair of raw values that become black and white, for files that use a part of what they can hold. `only` is
    the number of the one class that the data are taken to consist of: images of the others are left out. `attributes`
    are the names of those of the data set that training is told of and that the model's prior chooses.
    """

    dataset: PlainName
    validation: Annotated[int | float, PlainValidator(_count_or_fraction)]
    labels: Annotated[int, Field(ge=-1)] = 0
    size: Annotated[int, Field(gt=0, le=1024)] | None = None
    channels: Literal[1, 3] | None = None
    fit: Literal["crop", "pad", "squash", "digit"] = "crop"
    range: Annotated[tuple[int, int], Field(strict=False), AfterValidator(_rising)] | None = None
    only: Annotated[int, Field(ge=0)] | None = None
    attributes: Annotated[tuple[Line, ...], Field(strict=False), AfterValidator(_different)] = ()

    @property
    def prepares(self) -> bool:
        """Whether it says how pictures are prepared, which only a folder of them leaves to it."""
        return self.fit != "crop" or self.range is not None

    @property
    def cut(self) -> tuple[int, int]:
        """The size and the channels that pictures are cut to.

        Raises:
            InvalidRecipe: one of them is not given.
        """
        if self.size is None or self.channels is None:
            raise InvalidRecipe(
                f"data.size is {self.size} and data.channels {self.channels}, expected both: the pictures of "
                f"{self.dataset} are cut to them"
            )
        return self.size, self.channels

    def validation_count(self, total: int) -> int:
        """How many of `total` training images are kept for validation, 2 or more."""
        return self.validation if isinstance(self.validation, int) else max(2, round(self.validation * total))


class TrainingSettings(Settings):
    """[training]: Adam with a rate that rises linearly over `warmup` of all steps, then falls as a cosine to zero.

    Where training may know only some labels, every batch comes with `labelled_batch` images whose labels it knows. An
    epoch is `passes` passes over the training images: of a few images one is over before it is measured and kept. It
    has `steps` steps at least, with as many more passes as these take: then few images are trained on as long as many.
    """

    epochs: Count
    passes: Count = 1
    steps: Annotated[int, Field(ge=0)] = 0
    batch: Count
    labelled_batch: Count = 100
    seed: Annotated[int, Field(ge=0, lt=1 << 63)]
    learning_rate: PositiveFloat
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    log_every: Count = 50
    pictures_every: Count = 5

    def steps_per_epoch(self, images: int) -> int:
        """How many steps an epoch has with so many training images."""
        return max(self.steps, self.passes * images // self.batch)


class PaperSettings(Settings):
    """[paper]: the figure that a paper gives for its model of this kind, and what this recipe does differently.

    `metric` is the name that the figure has among the metrics.
    """

    metric: str
    figure: Line
    source: Line
    differs: Line


class Recipe(Settings):
    """A recipe. `encoder`, `decoder`, `prior` and `objective` hold the settings of the part of their kind.

    Where `title` or `description` has {data} in it, the recipe is for anyone's data: see `for_data`. `licence` is that
    of the weights, empty where nobody has stated one.
    `shipped` says whether `make zoo` trains it, for the models that come with the package, and `seeds` with how many
    seeds, from training.seed on: the first is what is shipped, the others show how much is luck.
    """

    name: PlainName
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    title: Line
    description: Line
    licence: Line = ""
    shipped: bool = True
    seeds: Count = 1
    data: DataSettings
    encoder: PartSettings
    decoder: PartSettings
    prior: PriorSettings
    objective: PartSettings
    training: TrainingSettings
    paper: PaperSettings | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its settings: no module has its class, which is made for its parts."""
        return parse_recipe, (self.model_dump(exclude_none=True), "the recipe")

    @property
    def sha256(self) -> str:
        """The SHA-256 of what decides the weights, independent of how the TOML file is laid out.

        Settings that have their default are left out, so that a recipe stays the same when settings are added.
        """
        decides = self.model_dump(include={"data", *_FAMILIES, "training"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    @property
    def command(self) -> str:
        """The command that trains this recipe: by name where it is the package's own, else from its file."""
        packaged = (RECIPES / f"{self.name}.toml").is_file() and load_recipe(self.name).sha256 == self.sha256
        return f"aae-zoo train {self.name if packaged else 'recipe.toml'}"

    def for_data(self, data: Path | None, *, name: str | None = None, licence: str | None = None) -> "Recipe":
        """The recipe of a model of this data: with a licence and name, where given, and without {data} in its texts.

        A recipe for anyone's data calls its model as the folder `data` is called, and speaks of that.

        Raises:
            InvalidRecipe: the name cannot be one.
        """
        called = "".join(filter(str.isprintable, data.resolve().name)) if data else ""
        said = {key: getattr(self, key).replace(_DATA, called or "pictures") for key in ("title", "description")}
        if name is None and _DATA in self.title + self.description:
            name = plain(called) or self.data.dataset
        given = {"name": name, "licence": licence}
        document = self.model_dump(exclude_none=True) | said | {k: v for k, v in given.items() if v is not None}
        return parse_recipe(document, "the recipe")

    def for_classes(self, count: int) -> "Recipe":
        """The recipe with so many classes, where its prior has some and does not say how many."""
        document = self.model_dump()
        if not count or document["prior"].get("classes", count) is not None:
            return self
        document["prior"]["classes"] = count
        return parse_recipe(document, "the recipe")

    def to_toml(self) -> str:
        """All settings, defaults and overrides among them, as a TOML file that `load_recipe` reads."""
        usual = {name for name in ("shipped", "seeds") if getattr(self, name) == Recipe.model_fields[name].default}
        document = self.model_dump(exclude_none=True, exclude=usual)
        plain = [f"{key} = {_toml(value)}" for key, value in document.items() if not isinstance(value, dict)]
        tables = [
            "\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())])
            for name, table in document.items()
            if isinstance(table, dict)
        ]
        return "\n\n".join(["\n".join(plain), *tables]) + "\n"


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe by the path of its TOML file, or by the name of one that comes with the package.

    `overrides` are settings such as "training.epochs=3", with values in TOML (a bare word is a string).

    Raises:
        InvalidRecipe: there is no such recipe, or it has mistakes; all of them are listed.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = RECIPES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(nearest_first(name, (p.stem for p in RECIPES.glob("*.toml"))))
        raise InvalidRecipe(f"there is no recipe {name}; give the path of a .toml file, or one of {known}")
    try:
        text = path.read_text("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise InvalidRecipe(f"{path} is not TOML: {error}; save it as UTF-8") from None
    return parse_toml(text, str(path), overrides)


def parse_toml(text: str, where: str, overrides: Iterable[str] = ()) -> Recipe:
    """Check a recipe in TOML, with overrides; `where` names it in errors.

    Raises:
        InvalidRecipe: it is not TOML, or has mistakes; all of them are listed.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number with too many digits, and of brackets without end
        raise InvalidRecipe(f"{where} is not TOML: {error}") from None
    for override in overrides:
        _override(document, override)
    return parse_recipe(document, where)


def parse_recipe(document: dict[str, Any], where: str) -> Recipe:
    """Check a recipe as a whole; `where` names it in errors.

    Raises:
        InvalidRecipe: it has mistakes; all of them are listed, each with the key, the value and what is expected.
    """
    parts: dict[str, Any] = {
        section: (_settings(family, document.get(section)), ...) for section, family in _FAMILIES.items()
    }
    try:
        return create_model("Recipe", __base__=Recipe, **parts).model_validate(document)
    except ValidationError as error:
        problems = [f"{_key(p['loc'])}: {_problem(p['type'], p['msg'], p['input'])}" for p in error.errors()]
        raise InvalidRecipe(f"{where} has {counted(len(problems), 'mistake')}: " + "; ".join(problems)) from None


def _settings(family: str, table: object) -> type[PartSettings]:
    """The settings class of the kind that a table names, or one that refuses an unknown kind."""
    known = kinds(family)
    kind = table.get("kind") if isinstance(table, dict) else None
    if kind in known:
        settings: type[PartSettings] = load_part(family, kind).Settings
        return settings
    expected: Any = Literal[tuple(nearest_first(kind, known))]
    return create_model("UnknownKind", __base__=_AnyPart, kind=(expected, ...))


class _AnyPart(PartSettings, extra="allow"):
    pass


def plain(name: str) -> str:
    """A name with no characters but those that a model's may have, at most 64 and maybe none."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:64].strip("._-")


def _toml(value: object) -> str:
    """A value in TOML, which writes strings, numbers, booleans and lists of them as JSON does."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))


def _problem(kind: str, message: str, value: object) -> str:
    if kind == "extra_forbidden":
        return "there is no such setting"
    if kind == "missing":
        return "it is missing"
    return f"{message[0].lower()}{message[1:]}, found {repr(value)[:80]}"


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *tables, last = key.strip().split(".")
    if not equals or not last:
        raise InvalidRecipe(f"--set {override} is not a setting, expected KEY=VALUE such as training.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    for table in tables:
        document = document.setdefault(table, {})
        if not isinstance(document, dict):
            raise InvalidRecipe(f"--set {override}: {table} is not a table of the recipe")
    document[last] = value
