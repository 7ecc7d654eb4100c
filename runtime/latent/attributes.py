"""Attributes: what is asked of pictures by name, put into noise and into classes y, and what y says of them.

The labels of a model that has one class are its attribute "label".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import Attribute, Manifest
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.latent.classes import Classes, most_probable
from aae_zoo.runtime.latent.noise import choose_label
from aae_zoo.runtime.words import counted

LABEL: Final = "label"

Array = NDArray[np.float32]
# The value of an attribute for all pictures, or for each: names or numbers.
Values = int | np.integer[Any] | str | Sequence[int | np.integer[Any] | str] | NDArray[np.integer[Any]]


class Choice(NamedTuple):
    """An attribute that is asked for, its part of y, and the number of its value for each picture [count]."""

    attribute: Attribute
    part: slice
    numbers: NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """What is asked of `count` pictures of a model: for each attribute by name one value for all, or one for each.

    Raises:
        InvalidInput: the model has no such attribute or value, there are not as many values as pictures, or `values`
            are not by name.
    """

    manifest: Manifest
    values: Mapping[str, Values]
    count: int

    def __post_init__(self) -> None:
        _ = self.choices  # what is wrong is reported at once

    @cached_property
    def choices(self) -> list[Choice]:
        """What each attribute that is asked for shall be."""
        known = {attribute.name: (attribute, part) for attribute, part in parts_of(self.manifest)}
        choices = []
        for name, value in _named(self.values).items():
            if not known:
                raise InvalidInput(f"{self.manifest.name} has no labels to choose from; sample it without one")
            if name not in known:
                raise InvalidInput(f"{self.manifest.name} has no attribute {name!r}, expected {_one_of(name, known)}")
            choices.append(Choice(*known[name], self._numbers(known[name][0], value)))
        return choices

    def _numbers(self, attribute: Attribute, value: Any) -> NDArray[np.int64]:
        value = value.tolist() if hasattr(value, "tolist") else value  # an array's as Python's
        if isinstance(value, str) or not isinstance(value, Sequence):
            value = [value]
        elif len(value) != self.count:
            raise InvalidInput(
                f"{attribute.name} has {len(value)} entries, expected one, or one for each of "
                f"{counted(self.count, 'image')}"
            )
        return np.broadcast_to(self._numbers_of(attribute, value), self.count)

    def _numbers_of(self, attribute: Attribute, values: Sequence[Any]) -> list[int]:
        """The numbers of values that are given by their names or numbers, of which a name comes first."""
        known = {str(number): number for number in range(len(attribute.labels))}
        names = known | {label: number for number, label in reversed([*enumerate(attribute.labels)])}
        found = []
        for value in values:
            number = names.get(value) if isinstance(value, str) else known.get(str(value))
            if number is None:
                raise InvalidInput(
                    f"{self.manifest.name} has no {attribute.name} {value!r}, expected "
                    f"{_one_of(value, attribute.labels)}"
                )
            found.append(number)
        return found

    def choose(self, noise: Array, part: slice) -> None:
        """Move rows of noise [rows, noise], which are those of `part`, to where the values are drawn."""
        for attribute, _, numbers in self.choices:
            assert attribute.coordinate is not None  # noqa: S101 - see `check_drawn`
            choose_label(noise, attribute.coordinate, numbers[part], len(attribute.labels))

    def check_drawn(self) -> None:
        """Check that the noise chooses all that is asked for.

        Raises:
            InvalidInput: it does not.
        """
        for attribute, *_ in self.choices:
            if attribute.coordinate is None:
                raise InvalidInput(f"{self.manifest.name} has no labels to choose from; sample it without one")

    def check_redrawn(self, *, conditional: bool) -> None:
        """Check that the decoder takes what is asked for.

        Raises:
            InvalidInput: it does not.
        """
        if self.choices and not conditional:
            raise InvalidInput(
                f"{self.manifest.name} redraws nothing with another {self.choices[0].attribute.name}: its decoder "
                "takes z alone; aae-zoo sample can be asked for it"
            )

    def replace(self, y: Array | None, part: slice) -> Array:
        """Classes y [rows, classes], the rows of `part`, with the values that are asked for in place of their own.

        Raises:
            InvalidInput: there is no y, and not all attributes are asked for.
        """
        rows, missing = len(range(self.count)[part]), len(self.manifest.asked) - len(self.choices)
        if y is None and missing:
            raise InvalidInput(
                f"the encoder of {self.manifest.name} gives no y, and {missing} of its attributes are not asked for; "
                f"ask for all of {', '.join(attribute.name for attribute in self.manifest.asked)}"
            )
        changed = np.zeros((rows, self.manifest.classes), np.float32) if y is None else y.copy()
        for attribute, columns, numbers in self.choices:
            changed[:, columns] = np.eye(len(attribute.labels), dtype=np.float32)[numbers[part]]
        return changed


def parts_of(manifest: Manifest) -> list[tuple[Attribute, slice]]:
    """The attributes of a model, each with its part of y [n, classes]."""
    ends = accumulate(manifest.widths)
    return [(a, slice(end - len(a.labels), end)) for a, end in zip(manifest.asked, ends, strict=True)]


def told(y: Array, manifest: Manifest) -> dict[str, Classes]:
    """The most probable value of each attribute, by its name, of classes y [n, classes]."""
    return {a.name: most_probable(y[:, part], a.labels) for a, part in parts_of(manifest)}


def columns_of(found: Mapping[str, Classes]) -> dict[str, Sequence[Any] | Array]:
    """A table's columns of what `told` found: each attribute's values, and how probable they are."""
    columns: dict[str, Sequence[Any] | Array] = {}
    for name, classes in found.items():
        probability = "probability" if name == LABEL else f"{name} probability"
        columns |= {name: classes.names, probability: classes.probabilities}
    return columns


def with_label(attributes: Mapping[str, Values], label: Values | None) -> dict[str, Values]:
    """What is asked for, with the label beside the attributes.

    Raises:
        InvalidInput: the label is among the attributes too, or these are not by name.
    """
    named = _named(attributes)
    if label is not None and LABEL in named:
        raise InvalidInput("the label is asked for twice, by itself and among the attributes; give it once")
    return dict(named) if label is None else {**named, LABEL: label}


def _named(attributes: Any) -> Mapping[str, Any]:
    """What is asked for, if it is by name: texts such as the commands take are not."""
    if not isinstance(attributes, Mapping):
        raise InvalidInput(f'attributes is {attributes!r}, expected values by name, such as {{"glasses": "yes"}}')
    return attributes


def parse_attributes(texts: Iterable[str]) -> dict[str, str]:
    """What is asked for as NAME=VALUE, such as glasses=yes.

    Raises:
        InvalidInput: a text is not of that form, or an attribute is there twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"{text!r} asks for nothing, expected NAME=VALUE such as glasses=yes")
        if name in values:
            raise InvalidInput(f"{name!r} is asked for twice, as {values[name]!r} and as {value!r}; give it once")
        values[name] = value
    return values


def _one_of(given: object, known: Iterable[str]) -> str:
    """All names that are known, for a message about another one; what was probably meant comes first."""
    import difflib  # slow to import, and only a mistake needs it

    names = list(known)
    meant = [] if str(given).isdigit() else difflib.get_close_matches(str(given), names, n=1)
    others = [name for name in names if name not in meant]
    return ("one of " if len(names) > 1 else "") + ", ".join(meant + others)
