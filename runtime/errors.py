"""The tree of errors. Every error this project raises on purpose is one of these.

AaeZooError
├── InvalidInput        images, codes, labels or arguments that a model cannot take
├── ModelNotFound       no such model, or it is not on this machine
├── InvalidBundle       a bundle with a missing, truncated, altered or malformed file
├── HubError            the Hub cannot be reached, refuses or fails
├── MissingBackend      a package that an extra installs is not installed
├── DeviceUnavailable   the device that was asked for is not available
├── OutputError         a file or folder that cannot be written
├── InvalidRecipe       a recipe with mistakes; the message lists all of them
├── DatasetError        a data set that is missing, damaged or not canonical
├── CheckpointError     a run folder, or pythae's, that is missing, damaged or of another recipe
├── TrainingError       training that cannot go on, such as a loss that is not a number
│   └── Interrupted     training that was stopped with Ctrl-C
└── ParityError         an exported graph that does not equal its PyTorch model

Each message is one sentence: what is wrong, the value found, what was expected, and what mends it. As text it is
one line that controls no terminal, whatever the names and answers in it are.
"""

import operator
import os
import sys
from typing import Any

from aae_zoo.runtime.escapes import line


class AaeZooError(Exception):
    """Base class of all errors that this project raises on purpose."""

    def __str__(self) -> str:
        return line(super().__str__())


class InvalidInput(AaeZooError, ValueError):
    """Images, codes, labels or arguments that a model cannot take."""


class ModelNotFound(AaeZooError, LookupError):
    """No such model, or it is not on this machine."""


class InvalidBundle(AaeZooError, ValueError):
    """A bundle with a missing, truncated, altered or malformed file."""


class HubError(AaeZooError, ConnectionError):
    """The Hub cannot be reached, refuses or fails."""


class MissingBackend(AaeZooError, ImportError):
    """A package that an extra installs is not installed."""


class DeviceUnavailable(AaeZooError, RuntimeError):
    """The device that was asked for is not available."""


class OutputError(AaeZooError, OSError):
    """A file or folder that cannot be written."""


class InvalidRecipe(AaeZooError, ValueError):
    """A recipe with mistakes; the message lists all of them."""


class DatasetError(AaeZooError, LookupError):
    """A data set that is missing, damaged or not canonical."""


class CheckpointError(AaeZooError, ValueError):
    """A run folder, or pythae's, that is missing, damaged or of another recipe."""


class TrainingError(AaeZooError, RuntimeError):
    """Training that cannot go on, such as a loss that is not a number."""


class Interrupted(TrainingError):
    """Training that was stopped with Ctrl-C."""


class ParityError(AaeZooError, RuntimeError):
    """An exported graph that does not equal its PyTorch model."""


def whole(value: Any, what: str) -> int:
    """A number that a caller gives, as Python's integer.

    Raises:
        InvalidInput: it is not whole, or no number.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidInput(f"{what} is {value!r}, expected a whole number") from None


def real(value: Any, what: str) -> float:
    """A number that a caller gives, as Python's float.

    Raises:
        InvalidInput: it is no real number.
    """
    try:
        return float(0 + value)  # a text is no number, though float takes one
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{what} is {value!r}, expected a number") from None


def path_text(value: Any, what: str) -> str:
    """A text or a path that a caller gives, as text.

    Raises:
        InvalidInput: it is neither.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is {value!r}, expected a text or a path")
    return text


def reinstalling(command: str) -> str:
    """What mends an installation of which a part is missing: a command of pip, or what works in a frozen program."""
    if not getattr(sys, "frozen", False):
        return command
    return f"a frozen program has no pip: build it again where this was run: {command}"


def python_for(what: str) -> list[str]:
    """The command of this Python, which imports nothing from the current folder, for a process that does `what`.

    Raises:
        MissingBackend: this is a frozen program, which has no such command: it would start itself again.
    """
    if getattr(sys, "frozen", False):
        raise MissingBackend(
            f"a frozen program cannot {what}: that needs a Python to start; use aae-zoo as pip installs it"
        )
    return [sys.executable, "-P"]  # a bundle may have a numpy.py, and its folder may be the one we are in
