"""What a shell completes: the names of models, labels, attributes, devices, precisions and languages.

typer takes those that go on from what was typed. Nothing here imports numpy or ONNX Runtime: people wait for it with a
finger on the key. What is damaged completes nothing, and the command itself says why.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from aae_zoo.runtime.bundles.names import PRECISIONS
from aae_zoo.runtime.errors import AaeZooError
from aae_zoo.runtime.store.cache import cached_models
from aae_zoo.runtime.store.catalogue import find_model, list_models

if TYPE_CHECKING:
    from aae_zoo.runtime.bundles.manifest import Manifest


def in_bash() -> bool:
    """Whether bash asks."""
    return os.environ.get("_AAE_ZOO_COMPLETE") == "complete_bash"


def join_words() -> None:
    """Join what bash parts at every "=", though people type one word: `glasses=yes` and `--device=cpu` are three to it.

    It completes only the last part; what the word has before that is put into COMP_BEFORE.
    """
    parts = os.environ["COMP_WORDS"].split("\n")[: int(os.environ["COMP_CWORD"]) + 1]
    parts += [""] * (parts[-1] == "=")  # nothing comes after it yet
    words = re.sub("\n=\n", "=", "\n".join(parts)).split("\n")
    before = ""
    if parts[-2:-1] == ["="]:
        *words, word = words
        before = word.removesuffix(parts[-1])
        if before.startswith("-"):
            option, _, before = before.partition("=")
            words.append(option)
        words.append(parts[-1])
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(words), str(len(words) - 1)
    os.environ["COMP_BEFORE"] = "".join(shlex.split(before))


def models() -> list[str]:
    """The models of the catalogue, and the names of those in the cache."""
    with suppress(AaeZooError):
        return sorted({entry.name for entry in list_models()} | set(cached()))
    return []


def cached() -> list[str]:
    """The names of the models in the cache."""
    with suppress(AaeZooError):
        return [name for model in cached_models() for name in model.names]
    return []


def labels(context: typer.Context) -> list[str]:
    """The labels of the model that the line names so far."""
    return _of_model(context, lambda manifest: manifest.labels)


def attributes(context: typer.Context) -> list[str]:
    """What can be asked of pictures of the model that the line names so far, as NAME=VALUE."""
    before = os.environ["COMP_BEFORE"] if in_bash() else ""

    def names(manifest: "Manifest") -> list[str]:
        texts = [f"{attribute.name}={label}" for attribute in manifest.asked for label in attribute.labels]
        return [text.removeprefix(before) for text in texts if text.startswith(before)]

    return _of_model(context, names)


def _of_model(context: typer.Context, names: "Callable[[Manifest], Iterable[str]]") -> list[str]:
    """Names that a model's manifest has; its own is in `args` where the line is not whole yet."""
    with suppress(AaeZooError):
        found = names(find_model(next(iter(context.args), context.params["name"])).manifest)
        # bash alone takes what it is told as it is.
        return [re.sub(r"[^\w@%+=:,./-]", r"\\\g<0>", name) if in_bash() else name for name in found]
    return []


def devices() -> list[str]:
    """All devices, whether this machine has them or not."""
    from aae_zoo.runtime.engine.devices import DEVICES

    return list(DEVICES)


def precisions() -> list[str]:
    """The precisions that a graph may have."""
    return list(PRECISIONS)


def languages() -> list[str]:
    """The languages that `embed` writes."""
    from aae_zoo.export.targets.embed import LANGUAGES  # no other command needs it

    return list(LANGUAGES)
