"""Parts that a recipe names: each prior, objective, network and data set is one file in the folder of its family.

A file called gaussian.py in zoo/priors/ is the prior of kind "gaussian"; nothing else has to know of it. Every
file defines `Settings`, the table of the recipe that describes the part, and the class that its family asks for.
The files of data sets declare other things: see `Declaration` in data/dataset.py.
"""

import pkgutil
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# The sizes of layers, codes and classes: the largest is that which a bundle's manifest may have.
Size = Annotated[int, Field(gt=0, le=1 << 16)]
# Whatever is counted: 32 bits, as the machine's own loops have.
Count = Annotated[int, Field(gt=0, lt=1 << 31)]


class Settings(BaseModel):
    """A table of a recipe: types are strict and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PartSettings(Settings):
    """A table of a recipe that names a part by its kind."""

    kind: str


class PriorSettings(PartSettings):
    """[prior]: `size` is that of the latent code z."""

    size: Size


def kinds(family: str) -> list[str]:
    """The kinds of a family ("networks", "priors", "objectives" or "datasets"): the names of its files, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(import_module(f"aae_zoo.zoo.{family}").__path__))


def load_part(family: str, kind: str) -> ModuleType:
    """The module of a part; `kind` is one of `kinds(family)`."""
    return import_module(f"aae_zoo.zoo.{family}.{kind}")


def nearest_first(name: object, known: Iterable[str]) -> list[str]:
    """The known names, sorted, for a message about one that is unknown; what was probably meant comes first."""
    names = sorted(known)
    meant = get_close_matches(str(name).lower(), names, n=1)
    return meant + [other for other in names if other not in meant]
