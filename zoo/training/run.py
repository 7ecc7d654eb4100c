"""A run: the folder that training writes and that evaluate and export read.

recipe.toml        the recipe, with every default and override in it
model.safetensors  the weights of every network, with the recipe's SHA-256, the epoch and the step
resume.pt          weights, optimisers and random state at the end of the last whole epoch
log.jsonl          every loss and the codes' moments
tensorboard/       the same numbers and pictures for TensorBoard
pictures/          reconstructions, samples, codes and losses by epoch
metrics.json       the test set's metrics, when training has ended
labels.json        which training images' labels training knew, where it knew some but not all
run.json           command, versions, data and their folder, seconds, and the model that it began with, if any:
                   where the weights came from
.aae-zoo.json      the mark that this folder is a run's, with the recipe's SHA-256
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from torch import Tensor

from aae_zoo.runtime.errors import CheckpointError, InvalidRecipe, OutputError
from aae_zoo.runtime.files import atomic_file, open_plain, output_errors
from aae_zoo.runtime.ownership import MARK, check_ours, mark
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.build import build
from aae_zoo.zoo.objectives import BaseObjective
from aae_zoo.zoo.recipe import Recipe, load_recipe
from aae_zoo.zoo.training.stored import parse_file, read_file, read_state, read_weights, write_state, write_weights

LABELS: Final = "labels.json"

# What there is in a run beside its recipe and its mark; all of it changes after the mark was written.
_FILES: Final = (
    *("model.safetensors", "resume.pt", "log.jsonl", "tensorboard", "pictures"),
    *("metrics.json", LABELS, "run.json", "lite.safetensors"),
)


class Run:
    """A run folder and its recipe."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.recipe = recipe
        self.log = folder / "log.jsonl"
        self.tensorboard = folder / "tensorboard"
        self.pictures = folder / "pictures"
        self.weights = folder / "model.safetensors"
        self.state = folder / "resume.pt"

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Open a run that training has written.

        Raises:
            CheckpointError: the folder holds no run, or its recipe is damaged.
        """
        path = folder / "recipe.toml"
        if not path.is_file():
            raise CheckpointError(f"{folder} holds no run (no recipe.toml); make one with aae-zoo train")
        try:
            return cls(folder, load_recipe(str(path)))
        except InvalidRecipe as error:
            raise CheckpointError(f"the run's recipe is damaged: {error}; train again") from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from training into this folder, which is made where it is missing.

        A folder that was made for a training which is then refused, and left nothing in it, is taken away again.
        The lock is the system's own on the folder itself: it leaves no file, and a process that dies lets go of it.
        Windows has none for folders, and some network drives none at all: no other process is kept out there.

        Raises:
            OutputError: another process trains into it, or it cannot be made.
        """
        with output_errors(self.folder):
            made = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with self._locked():
                yield
        finally:
            if made:
                with suppress(OSError):  # it is not empty, as a rule
                    self.folder.rmdir()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if os.name == "nt":
            yield
            return
        with output_errors(self.folder):
            descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            if _is_locked(descriptor):
                raise OutputError(
                    f"another process is training into {self.folder}; wait until it has ended, or give another --out"
                )
            yield
        finally:
            os.close(descriptor)

    def create(self) -> None:
        """Make the folder with its recipe; it may be there, empty or with what a run left before its first checkpoint.

        Raises:
            OutputError: it holds a run, or anything that is not a run's; or it cannot be written.
        """
        with output_errors(self.folder):
            if self.folder.exists() and not self.state.exists():
                check_ours(self.folder, "run", besides=_FILES)
            if self._is_run() or not self._is_begun():
                raise OutputError(f"{self.folder} holds a run already; add --resume to go on, or give another --out")
        self.describe()

    def is_without_checkpoint(self) -> bool:
        """Whether a run in the folder was begun and ended before its first checkpoint, so that nothing can go on."""
        return (self.folder / MARK).exists() and not self._is_run() and self._is_begun()

    def _is_run(self) -> bool:
        return self.state.exists() or (self.folder / "run.json").exists()

    def describe(self) -> None:
        """Write the recipe, and the mark that this is a run's folder."""
        text = self.recipe.to_toml().encode()  # as it is on every system: Windows ends lines of text in its own way
        with atomic_file(self.folder / MARK) as temporary:
            temporary.write_text(mark("run", {"recipe.toml": hashlib.sha256(text).hexdigest()}), "utf-8")
        with atomic_file(self.folder / "recipe.toml") as temporary:
            temporary.write_bytes(text)

    def _is_begun(self) -> bool:
        """Whether there are no weights yet, or those of a first epoch whose checkpoint was not written any more."""
        try:
            open_plain(self.weights, links=True).close()
            with safe_open(self.weights, "pt") as file:
                return (file.metadata() or {}).get("epoch") == "1"
        except FileNotFoundError:
            return True
        except (OSError, SafetensorError):
            return False

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file of the run."""
        with atomic_file(self.folder / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", "utf-8")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the run, which has everything that the file of this name always has.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        try:
            return parse_file(name, read_file(self.folder / name))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.folder / name} is missing or damaged ({error}); finish the run with aae-zoo train --resume"
            ) from None

    def data(self, given: Path | None) -> Path | None:
        """The folder of the run's data: the one that is given, or else the one that training was given, if any.

        Raises:
            CheckpointError: run.json, which remembers it, is damaged.
        """
        if given or not (self.folder / "run.json").exists():
            return given
        remembered = self.read_json("run.json").get("data")
        return Path(remembered) if remembered else None

    def save_weights(self, weights: Mapping[str, Tensor], **position: int) -> None:
        """Write model.safetensors with the recipe's SHA-256 and where in training the weights are from."""
        metadata = {"recipe_sha256": self.recipe.sha256, **{k: str(v) for k, v in position.items()}}
        write_weights(self.weights, weights, metadata)

    def load_weights(self) -> dict[str, Tensor]:
        """The weights of every network by name.

        Raises:
            CheckpointError: the file is missing, damaged, or belongs to another recipe.
        """
        try:
            weights, metadata = read_weights(self.weights)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.weights} is missing or damaged ({error}); train again") from None
        self._check_recipe(self.weights, metadata.get("recipe_sha256"))
        return weights

    def save_state(self, state: dict[str, Any]) -> None:
        """Write resume.pt: everything that an exact continuation needs."""
        write_state(self.state, {"recipe_sha256": self.recipe.sha256, **state})

    def load_state(self) -> dict[str, Any]:
        """What `save_state` wrote. Nothing but tensors and plain values is unpickled.

        Raises:
            CheckpointError: the file is missing, damaged, or belongs to another recipe.
        """
        try:
            state = read_state(self.state)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.state} is missing or damaged ({error}); train again into another folder"
            ) from None
        self._check_recipe(self.state, state.get("recipe_sha256"))
        return state

    def _check_recipe(self, path: Path, found: str | None) -> None:
        if found != self.recipe.sha256:
            raise CheckpointError(
                f"{path} belongs to another recipe (SHA-256 {str(found)[:12]}, expected {self.recipe.sha256[:12]} of "
                f"{self.recipe.name}); give the recipe and settings it was trained with, or train into a new folder"
            )


def load_model(run: Run, image: tuple[int, int, int]) -> tuple[Autoencoder, BaseObjective]:
    """A run's model and objective with its weights, in evaluation mode.

    Raises:
        CheckpointError: the weights are missing, damaged, of another recipe or of another shape.
    """
    model, objective = build(run.recipe, image)
    try:
        objective.load_state_dict(run.load_weights())
    except RuntimeError as error:
        raise CheckpointError(f"{run.weights} does not fit {run.recipe.name} on images {image}: {error}") from None
    objective.eval()
    return model, objective


def _is_locked(descriptor: int) -> bool:
    """Whether another process has the lock of an open folder; else it is ours now, if its file system has locks."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False
