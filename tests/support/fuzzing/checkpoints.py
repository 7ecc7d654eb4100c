"""Run folders with a damaged file, given to what opens them to go on training, to evaluate and to export.

Weights and a state of training that are read must be those that were written, unless a change made a whole file of its
own, with checksums that are right.
"""

import io
import os
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import torch

from aae_zoo.runtime.errors import CheckpointError
from aae_zoo.zoo.build import build
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training.checkpoint import Checkpoint
from aae_zoo.zoo.training.run import Run, load_model
from aae_zoo.zoo.training.stored import parse_row
from aae_zoo.zoo.training.trainer import train
from fuzzing.arrays import zipped
from fuzzing.changes import NUMBERS, change_bytes, change_document, change_file, change_json, change_number
from fuzzing.memory import at_most

REFUSAL: Final = CheckpointError
IMAGE: Final = (1, 8, 8)
_SMALL: Final = ("encoder.hidden=[4]", "decoder.hidden=[4]", "objective.discriminator.hidden=[4]")
_SETTINGS: Final = (*_SMALL, "training.epochs=1", "training.batch=400")
_FILES: Final = ("resume.pt", "resume.pt", "resume.pt", "model.safetensors", "model.safetensors", "log.jsonl")
_DOCUMENTS: Final = ("run.json", "metrics.json", "recipe.toml")
_MOST: Final = 64 << 20
# Values that TOML has and no recipe, and what begins as one.
_TOML: Final = (
    *("nan", "-inf", "10_000_000_000", "0x" + "f" * 400, "1e400", '"\\ud800"', "[" * 3000, "{ a = " * 500, "[]", "''"),
    *("2020-01-01", "[[1], 'a']", "true", '"\\u001b"', "9" * 5000, "-1", "{ }", "0"),
)


class Trained:
    """A run that was really trained, in a folder of this process, and what is in its files."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp()) / "run"
        train(load_recipe("digits-gauss", _SETTINGS), self.folder)
        self.files = {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}
        self.run = Run.open(self.folder)
        self.state, self.weights = self.run.load_state(), self.run.load_weights()
        _, objective = build(self.run.recipe, IMAGE)
        order = torch.Generator()
        self.checkpoint = Checkpoint(self.run, objective, order, order, Processes())

    def put(self, name: str, content: bytes) -> None:
        """Write a file of the run, in place of whatever is there."""
        path = self.folder / name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(content)


@cache
def trained() -> Trained:
    """The run of this process."""
    return Trained()


def case(random: Random) -> None:
    """One run with one changed file.

    Raises:
        CheckpointError: it was refused.
        AssertionError: other weights were read than were written, or reading took too much memory.
    """
    run = trained()
    name = random.choice((*_FILES, *_DOCUMENTS))
    whole, content = _CHANGES[name](run.files[name], random)
    run.put(name, content)
    if name != "log.jsonl" and random.random() < 0.02:
        _displace(run.folder / name, random)
        whole = True
    try:
        with at_most(_MOST + 20 * len(content)):
            _read(run, name, whole)
    finally:
        run.put(name, run.files[name])


def _read(trained: Trained, name: str, whole: bool) -> None:
    """What commands read of a run; where the changed file is not `whole`, it must be as it was."""
    run = Run.open(trained.folder)
    if name == "resume.pt":
        state = trained.checkpoint.load()
        trained.checkpoint.restore(state)
        assert whole or same(state, trained.state)
    elif name == "model.safetensors":
        load_model(run, IMAGE)
        assert whole or same(run.load_weights(), trained.weights)
    elif name == "log.jsonl":
        _read_rows(run)
    elif name.endswith(".json"):
        assert run.read_json(name)


def _read_rows(run: Run) -> None:
    """What `Log` reads when training goes on; TensorBoard's writer, which it opens then, is left out."""
    for line in run.log.read_bytes().splitlines():
        try:
            assert type(parse_row(line)["step"]) is int
        except ValueError as error:
            raise CheckpointError(str(error)) from None


def same(a: object, b: object) -> bool:
    """Whether two states are equal, tensors and all that is beside them."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def _displace(path: Path, random: Random) -> None:
    """Leave no file, an empty one, a folder, a pipe, or a link to something else."""
    path.unlink()
    kind = random.randrange(5)
    if kind == 1:
        path.touch()
    elif kind == 2:
        path.mkdir()
    elif kind == 3:
        os.mkfifo(path)
    elif kind == 4:
        path.symlink_to("/dev/zero" if random.random() < 0.5 else "nowhere")


# ---- what each file's changes are: whether the result is a whole file of its own, and the file


def _changed_state(content: bytes, random: Random) -> tuple[bool, bytes]:
    kind = random.random()
    if kind < 0.35:
        return False, change_file(content, [content], random)
    if kind < 0.7:
        stream = io.BytesIO()
        torch.save(_change_state(trained().state, random), stream)
        return True, stream.getvalue()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    number = next(n for n, (name, _) in enumerate(entries) if name.endswith("data.pkl"))
    if random.random() < 0.3:
        number = random.randrange(len(entries))
    name, data = entries[number]
    entries[number] = (name, _changed_pickle(data, random))
    return True, zipped(entries, random.choice((zipfile.ZIP_STORED,) * 3 + (zipfile.ZIP_DEFLATED,)))


def _change_state(value: Any, random: Random) -> Any:
    """A state with one value in it changed: another tensor, another type, left out, or under another name."""
    if isinstance(value, dict) and value and random.random() < 0.95:
        key = random.choice(list(value))
        others = {k: v for k, v in value.items() if k != key}
        if random.random() < 0.85:
            return others | {key: _change_state(value[key], random)}
        return others | random.choice(({}, {"x": value[key]}, {3: value[key]}, {None: 1}))
    if isinstance(value, list) and value and random.random() < 0.7:
        return random.choice(([_change_state(value[0], random), *value[1:]], value * 2, []))
    if isinstance(value, torch.Tensor) and random.random() < 0.8:
        return random.choice([*_tensors(value)])
    return change_document(value, random)


def _tensors(value: torch.Tensor) -> Iterator[torch.Tensor]:
    yield from (
        value.double(),
        value.half(),
        value.to(torch.complex64),
        value.bool(),
        value[None],
        value.reshape(-1)[:0],
    )
    yield from (torch.full_like(value, 1), value.to_sparse(), value.to("meta"), torch.zeros(3), torch.tensor(5))
    if value.is_floating_point():
        yield from (value / 0, torch.full_like(value, torch.inf))


def _changed_pickle(data: bytes, random: Random) -> bytes:
    """The program that a pickle is, changed; or another, which asks for code or for memory."""
    kind = random.random()
    if kind < 0.6:
        return change_number(data, random, len(data)) if random.random() < 0.5 else change_bytes(data, random)
    if kind < 0.7:
        return pickle.dumps(change_document({"epoch": 1}, random), 2)
    places = [place for place in range(len(data)) if data[place] in b"KMJX"] or [0]
    place = random.choice(places)  # a number or a length
    new = struct.pack("<I", random.choice(NUMBERS) % (1 << 32))
    asked = b"\x80\x02cbuiltins\nbytearray\nJ" + struct.pack("<i", 1 << 30) + b"\x85R."
    called = b"\x80\x02cposix\nsystem\nX\4\0\0\0true\x85R."
    return random.choice((data[: place + 1] + new + data[place + 5 :], asked, called, b"(" * 100_000 + b"."))


def _changed_weights(content: bytes, random: Random) -> tuple[bool, bytes]:
    length = int.from_bytes(content[:8], "little")
    if random.random() < 0.4:
        return False, change_file(content, [content], random)
    header = change_json(content[8 : 8 + length], random)
    return b"tensors_sha256" not in header, len(header).to_bytes(8, "little") + header + content[8 + length :]


def _changed_rows(content: bytes, random: Random) -> tuple[bool, bytes]:
    lines = content.splitlines()
    number = random.randrange(len(lines))
    lines[number] = change_json(lines[number], random) if random.random() < 0.8 else change_bytes(lines[number], random)
    return True, b"\n".join(lines)


def _changed_document(content: bytes, random: Random) -> tuple[bool, bytes]:
    return True, change_json(content, random) if random.random() < 0.85 else change_bytes(content, random)


def _changed_recipe(content: bytes, random: Random) -> tuple[bool, bytes]:
    if random.random() < 0.3:
        return True, change_bytes(content, random)
    lines = content.decode().splitlines()
    number = random.choice([n for n, line in enumerate(lines) if " = " in line])
    new = lines[number].partition(" = ")[0] + " = " + random.choice(_TOML)
    lines[number : number + 1] = random.choice(
        ([new], [new], [new], [], [lines[number]] * 2, ["[x]", new], ["[[data]]"])
    )
    return True, "\n".join(lines).encode()


_CHANGES: Final = {
    "resume.pt": _changed_state,
    "model.safetensors": _changed_weights,
    "log.jsonl": _changed_rows,
    "run.json": _changed_document,
    "metrics.json": _changed_document,
    "recipe.toml": _changed_recipe,
}
