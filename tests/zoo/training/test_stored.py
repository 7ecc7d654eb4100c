"""What a run keeps on disk: damage is said in one sentence that names the file, and never gives other weights."""

import errno
import json
import multiprocessing
import os
import re
import shutil
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import full_disk
from fuzzing.checkpoints import same
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aae_zoo.runtime.errors import CheckpointError, OutputError
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training.run import Run
from aae_zoo.zoo.training.trainer import train


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    bit %= 8 * len(content)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["resume.pt", "model.safetensors"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 1 << 40))
def test_a_flipped_bit_gives_no_other_weights(
    name: str, bit: int, small_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flipped") / "run"
    folder.mkdir()
    for each in ("recipe.toml", name):
        shutil.copy(small_run / each, folder)
    flip(folder / name, bit)

    def read(run: Run) -> object:
        return run.load_state() if name == "resume.pt" else run.load_weights()

    try:
        found = read(Run.open(folder))
    except CheckpointError as error:
        assert str(folder / name) in str(error)
    else:  # a bit that means nothing, such as one of a date
        assert same(found, read(Run.open(small_run)))


def test_a_flipped_weight_is_found(run_folder: Path) -> None:
    weights = Run.open(run_folder).load_weights()["decoder.layers.0.weight"]
    for name in ("resume.pt", "model.safetensors"):
        content = (run_folder / name).read_bytes()
        at = content.index(weights.numpy().tobytes())
        flip(run_folder / name, 8 * at)
    with pytest.raises(CheckpointError, match=r"resume\.pt is missing or damaged \(the checksum of .* is wrong\)"):
        Run.open(run_folder).load_state()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing or damaged \(its tensors have the SHA"):
        Run.open(run_folder).load_weights()


Change = Callable[[dict[str, Any]], object]


def put(**values: object) -> Change:
    return lambda state: state.update(values)


STATES: dict[str, tuple[Change, str]] = {
    "no epoch": (lambda state: state.pop("epoch"), "not a state of training: epoch: Field required"),
    "an epoch before the first": (put(epoch=-1), "not a state of training: epoch: Input should be greater"),
    "no list of random states": (put(random=5), "not a state of training: random: Input should be a valid list"),
    "no weights": (put(weights={}), "does not fit small"),
    "weights of fewer layers": (lambda state: state["weights"].popitem(), "does not fit small"),
    "no optimisers": (put(optimisers={}), "does not fit small"),
    "an optimiser without groups": (
        lambda state: next(iter(state["optimisers"].values())).update(param_groups=7),
        "does not fit small",
    ),
    "another random state": (put(order=torch.zeros(3)), "does not fit small"),
    "random states of nobody": (lambda state: state["random"][0].clear(), "does not fit small"),
}


@pytest.mark.parametrize("what", STATES)
def test_states_of_another_shape(what: str, run_folder: Path, small_recipe: Path, small_data: Path) -> None:
    """With checksums that are right."""
    change, message = STATES[what]
    state = Run.open(run_folder).load_state()
    change(state)
    torch.save(state, run_folder / "resume.pt")
    with pytest.raises(CheckpointError, match=rf"resume\.pt .*{message}"):
        train(load_recipe(str(small_recipe)), run_folder, data=small_data, resume=True)


@pytest.mark.parametrize("packed", [True, False])
def test_a_state_that_asks_for_more_than_it_has(packed: bool, run_folder: Path) -> None:
    path = run_folder / "resume.pt"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    if not packed:  # a program that makes a gigabyte
        name = next(name for name in entries if name.endswith("data.pkl"))
        entries[name] = b"\x80\x02cbuiltins\nbytearray\nJ" + struct.pack("<i", 1 << 30) + b"\x85R."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    what = "it is packed, which" if packed else "it asks for memory"
    with pytest.raises(CheckpointError, match=rf"resume\.pt is missing or damaged \({what}"):
        Run.open(run_folder).load_state()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
@pytest.mark.parametrize("name", ["resume.pt", "model.safetensors", "run.json", "log.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    name: str, run_folder: Path, small_recipe: Path, small_data: Path
) -> None:
    run = Run.open(run_folder)
    (run_folder / name).unlink()
    os.mkfifo(run_folder / name)
    reads: dict[str, Callable[[], object]] = {
        "resume.pt": run.load_state,
        "model.safetensors": run.load_weights,
        "run.json": lambda: run.read_json(name),
        "log.jsonl": lambda: train(load_recipe(str(small_recipe)), run_folder, data=small_data, resume=True),
    }
    with pytest.raises((CheckpointError, OutputError), match=re.escape(name)):
        reads[name]()


@pytest.mark.parametrize("name", ["run.json", "metrics.json"])
@pytest.mark.parametrize("text", ["", "[]", "{}", "nul", '{"mse": "low"}', "[" * 450 + "]" * 450, "[" * 10**6])
def test_damaged_documents(name: str, text: str, run_folder: Path) -> None:
    (run_folder / name).write_text(text)
    with pytest.raises(CheckpointError, match=f"{name} is missing or damaged"):
        Run.open(run_folder).read_json(name)


@pytest.mark.parametrize("value", [None, 5, {"files": 5}])
def test_facts_of_another_kind(value: object, run_folder: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    facts = json.loads((run_folder / "run.json").read_text())
    (run_folder / "run.json").write_text(json.dumps({**facts, "dataset_md5": value}))
    message = refused("export", run_folder, "-o", tmp_path / "bundle")
    assert "run.json is missing or damaged (dataset_md5" in message


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: "no JSON\n" + text, lambda text: ""])
def test_a_damaged_log_is_said_before_anything_is_trained(
    damage: Callable[[str], str], run_folder: Path, small_recipe: Path, small_data: Path
) -> None:
    log = run_folder / "log.jsonl"
    log.write_text(damage(log.read_text()))
    before = (run_folder / "resume.pt").read_bytes()
    with pytest.raises(CheckpointError, match=r"log\.jsonl is damaged"):
        train(load_recipe(str(small_recipe)), run_folder, data=small_data, resume=True)
    assert (run_folder / "resume.pt").read_bytes() == before


def hold(folder: Path, held: "threading.Event") -> None:
    with Run.open(folder).alone():
        held.set()
        threading.Event().wait(60)


def test_a_second_training_into_a_folder_is_refused(
    run_folder: Path, small_recipe: Path, small_data: Path, tmp_path: Path
) -> None:
    recipe, context = load_recipe(str(small_recipe)), multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=hold, args=(run_folder, held))
    other.start()
    assert held.wait(60)
    with pytest.raises(OutputError, match="another process is training into .*; wait until it has ended"):
        train(recipe, run_folder, data=small_data, resume=True)
    other.kill()
    other.join()
    train(recipe, run_folder, data=small_data, resume=True)  # its lock is gone with it


def test_a_terminal_that_blocks_is_no_second_training(run_folder: Path) -> None:
    with pytest.raises(BlockingIOError, match="could not complete"), Run.open(run_folder).alone():
        raise BlockingIOError("write could not complete without blocking")


def test_a_disk_without_locks_is_trained_into(
    small_recipe: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some network drives are."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    train(load_recipe(str(small_recipe)), tmp_path / "run", data=small_data)
    assert (tmp_path / "run" / "run.json").is_file()


def test_a_full_disk_leaves_the_checkpoint_before(run_folder: Path, no_leftovers: Path) -> None:
    run = Run.open(run_folder)
    before, state = run.state.read_bytes(), run.load_state()
    for size in range(0, len(before), len(before) // 7):
        with full_disk(size), pytest.raises(OutputError, match=r"cannot write .*resume\.pt: File too large; "):
            run.save_state(state)
    assert run.state.read_bytes() == before
    run.save_state(state)


@pytest.mark.parametrize(
    "setting",
    [
        "prior.size=1000000000",
        "encoder.hidden=[1000000000]",
        "encoder.hidden=[60000, 60000]",
        "training.seed=18446744073709551616",
        "training.batch=10000000000",
    ],
)
def test_sizes_that_no_machine_has(
    setting: str, small_recipe: Path, small_data: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    message = refused("train", small_recipe, "--data", small_data, "--out", tmp_path / "r", "--set", setting)
    assert "input should be less than" in message or "parameters, expected at most 268,435,456" in message
