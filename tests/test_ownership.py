"""No command deletes or writes over what it did not write: it says what stands in the way, and leaves all as it was."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import AaeZoo
from hub import Hub
from hypothesis import given
from hypothesis import strategies as st
from programs import NODE_MODULES
from safetensors.torch import load_file, save_file

from aae_zoo.export.pages import web_runtime
from aae_zoo.export.release.generated import generate
from aae_zoo.export.release.zoo import make
from aae_zoo.runtime import ownership
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.errors import InvalidBundle, OutputError
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.ownership import MARK
from aae_zoo.runtime.store.cache import cache_folder
from aae_zoo.runtime.store.pull import pull
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training.log import Log
from aae_zoo.zoo.training.run import Run

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "runtime" / "models"
Everything = dict[str, bytes | str | None]


def everything(folder: Path) -> Everything:
    """All that is in a folder: the content of files, where links lead, and None for what is neither."""
    found: Everything = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def write_thesis(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "thesis.tex").write_text("five years")
    (folder / ".git" / "refs").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")


def write_site(folder: Path, text: str = "old") -> None:
    """Write a folder as commands do, with folders in it, or replace one."""
    with atomic_folder(folder, "site", replace=True) as site:
        (site / "assets" / "ort").mkdir(parents=True)
        (site / "assets" / "ort" / "run.mjs").write_text("run")
        (site / "index.html").write_text(text)


def is_site(folder: Path, text: str) -> bool:
    """Whether a folder is what `write_site` writes, and nothing else is beside it."""
    names = {"assets", "assets/ort", "assets/ort/run.mjs", "index.html", MARK}
    return (
        everything(folder).keys() == names
        and (folder / "index.html").read_text() == text
        and list(folder.parent.iterdir()) == [folder]
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / "site"
    write_site(folder)
    return folder


# ---- every command that writes a folder

COMMANDS = {
    "explore": "explore digits-gauss -o DIR --replace --node-modules MODULES",
    "explore, without --replace": "explore digits-gauss -o DIR --node-modules MODULES",
    "explore --all": "explore --all -o DIR --replace --node-modules MODULES",
    "export": "export RUN --data DATA -o DIR --replace",
    "export, without --replace": "export RUN --data DATA -o DIR",
    "embed": "embed digits-gauss --lang python -o DIR",
    "export-triton": "export-triton digits-gauss -o DIR",
    "verify --test-data": "verify digits-gauss --test-data DIR",
    "sample": "sample digits-gauss -n 2 -o DIR/",
    "reconstruct": "reconstruct digits-gauss digits-gauss-samples.npy -o DIR/",
    "train": "train RECIPE --data DATA --out DIR",
}


@pytest.fixture
def command(
    aae_zoo: AaeZoo, small_run: Path, small_recipe: Path, small_data: Path, tmp_path: Path
) -> Callable[[str, Path], list[str]]:
    """Gives the words of a command line that writes into a folder."""

    def words(line: str, folder: Path) -> list[str]:
        places = {"DIR": folder, "RUN": small_run, "RECIPE": small_recipe, "DATA": small_data, "MODULES": NODE_MODULES}
        if "samples.npy" in line:
            aae_zoo("sample", "digits-gauss", "-n", "2", "-o", tmp_path / "samples.npy")
            line = line.replace("digits-gauss-samples.npy", str(tmp_path / "samples.npy"))
        return [str(places.get(word, word)).replace("DIR/", f"{folder}/") for word in line.split()]

    return words


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_a_thesis_survives_every_command(
    line: str, command: Callable[[str, Path], list[str]], aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    folder = tmp_path / "mine" / "dir"
    write_thesis(folder)
    before = everything(folder.parent)
    result = aae_zoo(*command(line, folder))
    said = result.err.splitlines()[-1]
    assert result.status == 1
    assert said.startswith("error: ")
    assert str(folder) in said
    if "--replace" in line or "--out" in line:
        assert ".git and thesis.tex may be somebody's; give another output" in said
    assert everything(folder.parent) == before


REPLACING = {name: COMMANDS[name] for name in ("explore", "explore --all", "export", "train")}


@pytest.mark.parametrize("line", REPLACING.values(), ids=REPLACING)
@pytest.mark.parametrize("kind", ["site", "bundle", "run", "embed", "triton"])
def test_what_another_command_wrote_survives_too(
    line: str,
    kind: str,
    command: Callable[[str, Path], list[str]],
    refused: Callable[..., str],
    small_run: Path,
    tmp_path: Path,
) -> None:
    own = {"explore": "site", "export": "bundle", "train": "run"}[line.split()[0]]
    folder = tmp_path / "mine" / "dir"
    if kind == "bundle":
        shutil.copytree(MODELS / "digits-gauss", folder)
    elif kind == "run":
        shutil.copytree(small_run, folder)
    else:
        with atomic_folder(folder, kind) as made:
            (made / "file").write_text("x")
    if kind == own:
        (folder / "thesis.tex").write_text("five years")
    before = everything(folder.parent)
    said = refused(*command(line, folder))
    if kind == own == "run":
        assert "holds a run already; add --resume" in said
    elif kind == own:
        assert f"in {folder}, thesis.tex was not written by aae-zoo" in said
    elif kind != "bundle":
        assert f"{MARK} marks a folder of the kind {kind!r}, expected {own!r}" in said
    assert everything(folder.parent) == before


def test_a_damaged_bundle_is_not_made_again_over_what_changed(
    small_run: Path, small_bundle: Path, small_data: Path, small_recipe: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """`make zoo` exports a damaged bundle again: not where somebody may have put another graph."""
    monkeypatch.setenv("AAE_ZOO_DATA", str(small_data.parent))
    shutil.copytree(small_run, tmp_path / "runs" / "small")
    bundle = Path(shutil.copytree(small_bundle, tmp_path / "models" / "small"))
    (bundle / "decoder.onnx").write_bytes(b"mine")
    before = everything(tmp_path / "models")
    assert not make([load_recipe(str(small_recipe))], tmp_path / "runs", tmp_path / "models")
    assert "decoder.onnx was changed since aae-zoo wrote it; give another output" in capsys.readouterr().out
    assert everything(tmp_path / "models") == before


@pytest.mark.parametrize("place", [".", "..", "../..", "here/..", "/", "HOME"])
@pytest.mark.parametrize("line", ["explore digits-gauss --replace --node-modules MODULES -o", "sample -n 2 -o"])
def test_where_one_is_and_ones_home_are_no_outputs(
    line: str, place: str, command: Callable[[str, Path], list[str]], refused: Callable[..., str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    home, here = tmp_path / "home", tmp_path / "work" / "deep" / "er"
    home.mkdir()
    (here / "here").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    said = refused(*command(line, home), str(home) if place == "HOME" else place)
    assert "is or holds the folder you are in, or your home; give a new folder" in said
    assert home.is_dir()
    assert [path.name for path in here.iterdir()] == ["here"]


@pytest.mark.parametrize("target", ["full", "empty", "site", "nothing"])
def test_a_link_is_not_followed(target: str, site: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_thesis(tmp_path / "full")
    site.rename(tmp_path / "site")
    (tmp_path / "link").symlink_to(tmp_path / target)
    before = everything(tmp_path)
    with pytest.raises(OutputError, match="link is a link, expected a folder"):
        write_site(tmp_path / "link", "new")
    assert everything(tmp_path) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("five years")
    with pytest.raises(OutputError, match="is a file, expected a folder"):
        write_site(tmp_path / "thesis.tex", "new")
    assert everything(tmp_path) == {"thesis.tex": b"five years"}


# ---- what may be replaced


def test_a_site_replaces_a_site(site: Path) -> None:
    write_site(site, "new")
    assert is_site(site, "new")


def test_a_site_of_which_something_is_gone_is_replaced(site: Path) -> None:
    (site / "assets" / "ort" / "run.mjs").unlink()
    write_site(site, "new")
    assert is_site(site, "new")


def test_a_site_without_a_mark_may_be_of_an_earlier_version(site: Path) -> None:
    (site / MARK).unlink()
    with pytest.raises(OutputError, match="what earlier versions wrote has none.: assets and index.html may be"):
        write_site(site, "new")


@pytest.mark.parametrize("name", [path.name for path in sorted(MODELS.iterdir()) if path.is_dir()])
def test_every_shipped_bundle_may_be_replaced_by_a_bundle(name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MODELS / name, tmp_path / "bundle"))
    with atomic_folder(folder, "bundle", replace=True) as made:
        (made / "manifest.json").write_text("new")
    assert everything(tmp_path) == {"bundle": None, "bundle/manifest.json": b"new"}


# ---- what else may lie in a folder

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
WAYS = st.sampled_from(
    ["file", "hidden", "empty folder", "folder", "link to a file", "link to a folder", "link", "FIFO"]
)


def put(place: Path, way: str, outside: Path) -> None:
    """Put something at `place`."""
    if way in ("file", "hidden"):
        place.write_text("mine")
    elif way == "empty folder":
        place.mkdir()
    elif way == "folder":
        (place / "deep").mkdir(parents=True)
        (place / "deep" / ".mine").write_text("mine")
    elif way == "FIFO":
        os.mkfifo(place)
    else:
        targets = {"link to a file": "thesis.tex", "link to a folder": ".git", "link": "nothing"}
        place.symlink_to(outside / targets[way])


@given(st.lists(st.tuples(NAMES, WAYS, st.sampled_from(["", "assets", "assets/ort"])), min_size=1, max_size=4))
def test_whatever_else_lies_in_a_folder_it_is_left_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, things: list[tuple[str, str, str]]
) -> None:
    root = tmp_path_factory.mktemp("things")
    folder, outside = root / "site", root / "outside"
    write_site(folder)
    write_thesis(outside)
    theirs = everything(folder).keys()
    for name, way, under in things:
        place = folder / under / (f".{name}" if way == "hidden" else name)
        if len(place.name.encode()) <= 255 and not os.path.lexists(place):
            put(place, way, outside)
    before = everything(root)
    if everything(folder).keys() == theirs:  # every name was one of the site's
        return
    with pytest.raises(OutputError, match="not written by aae-zoo") as caught:
        write_site(folder, "new")
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert everything(root) == before


@given(
    st.sampled_from(["index.html", "assets/ort/run.mjs"]),
    st.sampled_from(["edited", "grown", "link", "folder", "FIFO"]),
)
def test_a_file_that_was_changed_is_left_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, name: str, how: str
) -> None:
    root = tmp_path_factory.mktemp("changed")
    folder = root / "site"
    write_site(folder)
    path, content = folder / name, (folder / name).read_text()
    path.unlink()
    if how in ("edited", "grown"):
        path.write_text("mine" if how == "edited" else f"{content}\n")
    elif how == "link":
        (root / "same").write_text(content)
        path.symlink_to(root / "same")
    elif how == "FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = everything(root)
    expected = "was changed since aae-zoo wrote it" if how in ("edited", "grown") else "was not written by aae-zoo"
    with pytest.raises(OutputError, match=f"{name} {expected}"):
        write_site(folder, "new")
    assert everything(root) == before


# ---- marks that somebody else wrote


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


DAMAGED = {
    "nothing": "",
    "half": '{"kind": "site", "files"',
    "null": "null",
    "a list": "[]",
    "a number": "7",
    "a number that is too long": "9" * 10_000,
    "no files": '{"kind": "site"}',
    "files that are a list": '{"kind": "site", "files": []}',
    "no text": "\ud800",
    "nested lists": "[" * 100_000,
    "nested objects": '{"kind": "site", "files": ' + '{"a":' * 100_000,
    "no kind": '{"files": {}}',
    "a kind that is a list": '{"kind": ["site"], "files": {}}',
    "huge": '{"kind": "site", "files": {"thesis.tex": null}}' + " " * (1 << 20),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_mark_marks_nothing(text: str, site: Path) -> None:
    (site / MARK).write_bytes(text.encode("utf-8", "surrogatepass"))
    (site / "thesis.tex").write_text("five years")
    before = everything(site.parent)
    with pytest.raises(OutputError, match=f"{MARK} (is damaged|marks a folder of the kind)"):
        write_site(site, "new")
    assert everything(site.parent) == before


@pytest.mark.parametrize("way", ["link to a file", "folder", "FIFO", "link"])
def test_a_mark_that_is_no_file_marks_nothing(way: str, site: Path, tmp_path: Path) -> None:
    write_thesis(tmp_path / "outside")
    (site / MARK).unlink()
    put(site / MARK, way, tmp_path / "outside")
    before = everything(tmp_path)
    with pytest.raises(OutputError, match=MARK):
        write_site(site, "new")
    assert everything(tmp_path) == before


FORGED = (
    *("../thesis.tex", "ROOT/thesis.tex", "a/../../thesis.tex", "./../thesis.tex", "mine/../../thesis.tex"),
    *("mine/thesis.tex", "mine", "mine/", "link/thesis.tex", "../.git", "", "/", "//", ".", "..", "\n"),
    *("a" * 5000, "a/" * 5000),
)
PATHS = st.sampled_from(FORGED) | st.text()


@given(st.dictionaries(PATHS, st.sampled_from(["right", "wrong", None, 7, "object"])), st.booleans())
def test_a_forged_mark_leads_nowhere(
    tmp_path_factory: pytest.TempPathFactory, listed: dict[str, object], beside: bool
) -> None:
    """It may list anything, with the right hashes too: what is outside stays, and so does what is inside unlisted."""
    root = tmp_path_factory.mktemp("forged")
    folder = root / "site"
    write_thesis(root)
    folder.mkdir()
    if beside:
        (folder / "mine").mkdir()
        (folder / "mine" / "notes").write_text("mine")
        (folder / "link").symlink_to(root)
    right: dict[object, object] = {
        "right": sha256(root / "thesis.tex"),
        "object": {"sha256": sha256(root / "thesis.tex")},
    }
    files = {name.replace("ROOT", str(root)): right.get(value, value) for name, value in listed.items()}
    (folder / MARK).write_text(json.dumps({"kind": "site", "files": files}))
    before = everything(root)
    if beside:
        with pytest.raises(OutputError, match="written by aae-zoo"):
            write_site(folder, "new")
        assert everything(root) == before
    else:
        write_site(folder, "new")
        assert (root / "thesis.tex").read_text() == "five years"
        assert (root / ".git" / "HEAD").exists()
        assert {path.name for path in root.iterdir()} == {"site", "thesis.tex", ".git"}


# ---- at the wrong moment


def run_killed(folder: Path, call: str, number: int) -> None:
    """Replace a site in a process that is killed just before the call of a function of `os` of this number."""
    program = f"""
import os, signal
from pathlib import Path
from aae_zoo.runtime.files import atomic_folder
calls, real = [], os.{call}
def killed(*arguments, **options):
    calls.append(1)
    if len(calls) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
with atomic_folder(Path({str(folder)!r}), "site", replace=True) as site:
    (site / "index.html").write_text("killed")
    os.{call} = killed
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def leftovers(folder: Path, kind: str = "") -> list[Path]:
    return list(folder.parent.glob(f".{folder.name}.{kind}*"))


def test_a_process_that_is_killed_between_the_renames_loses_nothing(site: Path) -> None:
    run_killed(site, "rename", 2)
    assert not site.exists()
    (old,) = leftovers(site, "old-")
    assert (old / "index.html").read_text() == "old"
    with pytest.warns(RuntimeWarning, match="site is back: a process that was replacing it had been killed"):
        write_site(site, "new")
    assert (site / "index.html").read_text() == "new"
    assert not leftovers(site, "old-")


def test_of_several_that_were_moved_aside_the_latest_is_put_back(site: Path) -> None:
    earlier, later = (site.with_name(f".{site.name}.old-{12 * digit}") for digit in "f0")
    site.rename(earlier)
    write_site(later, "later")
    while later.stat().st_ctime == earlier.stat().st_ctime:  # clocks of file systems are coarse
        later.touch()
    with (
        pytest.warns(RuntimeWarning, match="site is back"),
        pytest.raises(OutputError, match="exists already"),
        atomic_folder(site),
    ):
        pass
    assert (site / "index.html").read_text() == "later"


def test_a_folder_that_cannot_be_put_in_its_place_leaves_the_old_one_there(site: Path) -> None:
    before, real, calls = everything(site), os.rename, list[Path]()

    def full(old: Path, new: Path) -> None:
        calls.append(old)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(old, new)

    with mock.patch.object(os, "rename", full), pytest.raises(OutputError, match="No space left on device"):
        write_site(site, "new")
    assert everything(site) == before
    assert not leftovers(site)


def test_what_was_killed_is_put_back_whatever_comes_next(site: Path) -> None:
    run_killed(site, "rename", 2)
    with (
        pytest.warns(RuntimeWarning, match="site is back"),
        pytest.raises(OutputError, match="exists already"),
        atomic_folder(site, "site"),
    ):
        pass
    assert (site / "index.html").read_text() == "old"


@pytest.mark.parametrize(
    ("call", "number"), [("unlink", 1), ("unlink", 2), ("unlink", 3), ("rmdir", 2), ("rmdir", 3), ("rmdir", 4)]
)
def test_a_removal_that_was_killed_is_gone_on_with(call: str, number: int, site: Path) -> None:
    run_killed(site, call, number)
    assert (site / "index.html").read_text() == "killed"
    assert leftovers(site, "old-")
    write_site(site, "new")
    assert is_site(site, "new")


def test_a_folder_that_looks_like_one_moved_aside_is_left_alone(site: Path) -> None:
    for name in (".site.old-backup", ".site.old-0123456789ab.tar", ".site.0123456789ab", ".other.old-0123456789ab"):
        write_thesis(site.parent / name)
    before = everything(site.parent)
    shutil.rmtree(site)
    write_site(site)
    assert everything(site.parent) == before


def test_what_comes_while_the_new_one_is_made_is_refused(site: Path) -> None:
    with pytest.raises(OutputError, match="thesis.tex was not written"), atomic_folder(site, "site", replace=True):
        (site / "thesis.tex").write_text("five years")
    assert everything(site)["thesis.tex"] == b"five years"
    assert list(site.parent.iterdir()) == [site]


@pytest.mark.parametrize("kind", ["site", None])
def test_a_folder_that_comes_while_the_new_one_is_made_is_not_written_over(kind: str | None, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"), atomic_folder(tmp_path / "new", kind) as folder:
        (folder / "0000.png").write_text("x")
        write_thesis(tmp_path / "new")
    assert "new/thesis.tex" in everything(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.fixture
def when() -> Iterator[Callable[[str, Callable[[Path], object]], None]]:
    """Has something happen just after the first call of a function of `os`, in the folder that was moved aside."""
    patches = []

    def order(call: str, happens: Callable[[Path], object]) -> None:
        real, done = getattr(os, call), list[int]()

        def called(*arguments: str | Path, **options: object) -> None:
            real(*arguments, **options)
            aside = [path for path in Path(arguments[-1]).absolute().parents if ".old-" in path.name]
            aside += [Path(arguments[-1])] if ".old-" in Path(arguments[-1]).name else []
            if aside and not done:
                done.append(1)
                happens(aside[0])

        patches.append(mock.patch.object(os, call, called))
        patches[-1].start()

    yield order
    for patch in patches:
        patch.stop()


def test_what_comes_after_the_check_is_kept_and_said(
    site: Path, when: Callable[[str, Callable[[Path], object]], None]
) -> None:
    """Between the rename and the second check: all of the old folder is kept."""
    before = everything(site)
    when("rename", lambda old: (old / "thesis.tex").write_text("five years"))
    with pytest.warns(RuntimeWarning, match=r"what .*/site held before is kept in .*old-.*thesis.tex was not written"):
        write_site(site, "new")
    (old,) = leftovers(site)
    assert everything(old) == before | {"thesis.tex": b"five years"}
    assert (site / "index.html").read_text() == "new"


@pytest.mark.parametrize("place", ["thesis.tex", "assets/ort/thesis.tex", "index.html"])
def test_what_comes_just_after_the_second_check_is_kept_and_said(
    place: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(folder: Path, *given: str) -> str | None:
        reason = in_the_way(folder, *given)
        if ".old-" in folder.name:
            (folder / place).write_text("five years")
        return reason

    in_the_way = ownership.in_the_way
    monkeypatch.setattr(ownership, "in_the_way", looked)
    with pytest.warns(RuntimeWarning, match="what .* held before is kept in .*old-"):
        write_site(site, "new")
    (old,) = leftovers(site)
    assert (old / place).read_text() == "five years"
    assert (old / MARK).exists()


@pytest.mark.parametrize("place", ["thesis.tex", "assets/thesis.tex", "assets/ort/thesis.tex"])
def test_what_comes_while_the_old_folder_is_removed_is_kept_and_said(
    place: str, site: Path, when: Callable[[str, Callable[[Path], object]], None]
) -> None:
    when("unlink", lambda old: (old / place).write_text("five years"))
    with pytest.warns(RuntimeWarning, match="what .* held before is kept in .*old-"):
        write_site(site, "new")
    (old,) = leftovers(site)
    assert (old / place).read_text() == "five years"


def test_a_folder_that_another_process_makes_between_the_renames_is_kept(
    site: Path, when: Callable[[str, Callable[[Path], object]], None]
) -> None:
    before = everything(site)
    when("rename", lambda _: write_thesis(site))
    with pytest.raises(OutputError, match="was made by somebody while it was replaced; what it held is in"):
        write_site(site, "new")
    assert (site / "thesis.tex").exists()
    (old,) = leftovers(site)
    assert everything(old) == before


# ---- runs


@pytest.fixture
def begun(small_recipe: Path, tmp_path: Path) -> Path:
    """A folder as a run leaves it that was killed in its first epoch."""
    run = Run(tmp_path / "run", load_recipe(str(small_recipe)))
    run.create()
    Log(run, step=0, size=0).close()
    return run.folder


@pytest.fixture
def train(small_recipe: Path, small_data: Path) -> list[str | Path]:
    return ["train", small_recipe, "--data", small_data, "--out"]


def test_a_run_that_was_killed_in_its_first_epoch_starts_again(
    begun: Path, train: list[str | Path], small_run: Path, aae_zoo: AaeZoo
) -> None:
    """As late as between the weights and the checkpoint."""
    weights = load_file(small_run / "model.safetensors")
    save_file(weights, begun / "model.safetensors", {"epoch": "1"})
    assert aae_zoo(*train, begun).status == 0
    found = load_file(begun / "model.safetensors")
    assert all(torch.equal(found[name], values) for name, values in weights.items())


def test_resuming_what_has_no_checkpoint_yet_is_to_begin_anew(
    begun: Path, train: list[str | Path], aae_zoo: AaeZoo, refused: Callable[..., str], tmp_path: Path
) -> None:
    """The same command, whatever has ended the training: but for one that nothing was ever trained by."""
    assert aae_zoo(*train, begun, "--resume").status == 0
    (begun / "resume.pt").unlink()
    assert "resume.pt is missing or damaged" in refused(*train, begun, "--resume")
    assert "resume.pt is missing or damaged" in refused(*train, tmp_path / "new", "--resume")


def test_a_run_that_was_killed_starts_again_on_windows(
    small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of text that is written end in CRLF there."""
    write = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, text, encoding: write(path, text, encoding, newline="\r\n"))
    run = Run(tmp_path / "run", load_recipe(str(small_recipe)))
    run.create()
    run.create()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("thesis.tex", "thesis.tex was not written by aae-zoo"),
        (".git", ".git was not written by aae-zoo"),
        ("recipe.toml", "recipe.toml was changed since aae-zoo wrote it"),
        ("model.safetensors", "holds a run already"),
        ("run.json", "holds a run already"),
        (MARK, "is damaged"),
    ],
)
def test_a_run_starts_over_nothing_else(
    name: str, expected: str, begun: Path, train: list[str | Path], refused: Callable[..., str]
) -> None:
    (begun / name).write_text("mine")
    before = everything(begun)
    assert expected in refused(*train, begun)
    assert everything(begun) == before


@pytest.mark.parametrize("name", ["log.jsonl", "recipe.toml", "model.safetensors", "run.json"])
def test_files_that_only_have_a_runs_names_are_left(
    name: str, tmp_path: Path, train: list[str | Path], refused: Callable[..., str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    assert f"{name} may be somebody's" in refused(*train, tmp_path / "mine")
    assert everything(tmp_path / "mine") == {name: b"mine"}


def test_weights_of_a_pruned_run_are_left(
    run_folder: Path, train: list[str | Path], refused: Callable[..., str]
) -> None:
    for name in ("resume.pt", "run.json", "metrics.json"):
        (run_folder / name).unlink()
    before = everything(run_folder)
    assert "holds a run already" in refused(*train, run_folder)
    assert everything(run_folder) == before


def test_a_run_of_an_earlier_version_goes_on_beside_what_is_not_its(
    run_folder: Path, train: list[str | Path], refused: Callable[..., str], aae_zoo: AaeZoo
) -> None:
    (run_folder / MARK).unlink()
    write_thesis(run_folder)
    assert "holds a run already; add --resume" in refused(*train, run_folder)
    assert aae_zoo(*train, run_folder, "--resume").status == 0
    assert everything(run_folder)["thesis.tex"] == b"five years"
    assert everything(run_folder)[".git/HEAD"]


def test_pictures_do_not_go_where_a_link_leads(
    run_folder: Path, train: list[str | Path], refused: Callable[..., str], tmp_path: Path
) -> None:
    shutil.move(run_folder / "pictures", tmp_path / "mine")
    (run_folder / "pictures").symlink_to(tmp_path / "mine")
    before = everything(tmp_path / "mine")
    assert "pictures is a link" in refused(*train, run_folder, "--resume")
    assert everything(tmp_path / "mine") == before


def test_a_log_that_is_a_link_is_not_cut(
    run_folder: Path, train: list[str | Path], refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("five years" * 10_000)
    (run_folder / "log.jsonl").unlink()
    (run_folder / "log.jsonl").symlink_to(tmp_path / "thesis.tex")
    assert "log.jsonl is a link" in refused(*train, run_folder, "--resume")
    assert (tmp_path / "thesis.tex").read_text() == "five years" * 10_000


# ---- the cache

SHA256 = open_bundle(MODELS / "digits-gauss").manifest_sha256


@pytest.fixture
def cached(hub: Hub) -> Path:
    """A cache with one model, in a folder that has other things in it."""
    write_thesis(cache_folder())
    hub.add("org/digits", MODELS / "digits-gauss")
    pull("org/digits")
    return cache_folder()


REMOVING = pytest.mark.parametrize("options", [["--clear"], ["--remove", "digits-gauss"]], ids=["clear", "remove"])


@REMOVING
@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_a_thesis_survives_in_and_beside_the_cache(
    options: list[str], cached: Path, aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    write_thesis(tmp_path)
    folder = cached / "models" / SHA256
    for place in (folder, cached / "models" / "mine", cached / "names" / "mine", cached / "partial" / "mine"):
        write_thesis(place)
    write_thesis(cached / "partial" / ("f" * 64))
    (folder / "encoder.onnx").unlink()
    (folder / "encoder.onnx").symlink_to(tmp_path / "thesis.tex")
    (cached / "models" / ("e" * 64)).symlink_to(tmp_path)
    (cached / "names" / "org" / "digits@mine").write_text("mine")
    os.mkfifo(folder / "pipe")
    before = everything(cached)
    result = aae_zoo("cache", *options)
    assert result.status == 0
    assert "removed 1 of the cache" in result.out
    files = {f"models/{SHA256}/{name}" for name in open_bundle(MODELS / "digits-gauss").manifest.files}
    gone = (files | {f"models/{SHA256}/manifest.json"}) - {f"models/{SHA256}/encoder.onnx"}
    records = {name for name in before if name.startswith("names/org/digits@") and not name.endswith("mine")}
    assert everything(cached) == {name: what for name, what in before.items() if name not in gone | records}
    assert (tmp_path / "thesis.tex").exists()


@REMOVING
def test_what_is_left_of_the_cache_is_said(options: list[str], cached: Path, aae_zoo: AaeZoo) -> None:
    (cached / "models" / SHA256 / "thesis.tex").write_text("five years")
    with pytest.warns(RuntimeWarning, match=f"wrote all of models/{SHA256}, so it is left there; remove it yourself"):
        aae_zoo("cache", *options)


def test_a_model_without_its_manifest_is_left(cached: Path, aae_zoo: AaeZoo) -> None:
    """Nothing tells any more what of it was pulled; pulling it again mends it, and then it can be removed."""
    (cached / "models" / SHA256 / "manifest.json").write_text("{")
    before = everything(cached / "models")
    with pytest.warns(RuntimeWarning, match=f"models/{SHA256}"):
        assert "removed 0 of the cache" in aae_zoo("cache", "--clear").out
    assert everything(cached / "models") == before
    pull("org/digits")
    assert "removed 1 of the cache" in aae_zoo("cache", "--clear").out
    assert everything(cached).keys() == {
        "thesis.tex",
        ".git",
        ".git/HEAD",
        ".git/refs",
        "models",
        "partial",
        "locks",
    } | {f"locks/{SHA256}.lock"}


def test_an_interrupted_download_is_removed_and_what_lies_in_it_is_not(
    hub: Hub, aae_zoo: AaeZoo, refused: Callable[..., str]
) -> None:
    hub.add("org/digits", MODELS / "digits-gauss")
    hub.order("GET .*decoder.onnx", status=403)
    refused("pull", "org/digits")
    partial = cache_folder() / "partial" / SHA256
    assert len(list(partial.iterdir())) > 1
    (partial / "thesis.tex").write_text("five years")
    with pytest.warns(RuntimeWarning, match=f"partial/{SHA256}"):
        aae_zoo("cache", "--clear")
    assert everything(partial) == {"thesis.tex": b"five years"}


@pytest.mark.parametrize("again", [False, True])
def test_a_pull_removes_nothing_of_others(hub: Hub, again: bool) -> None:
    """A thesis in the folder where a download grows comes along, or stays there."""
    hub.add("org/digits", MODELS / "digits-gauss")
    if again:
        pull("org/digits", only=["decoder"])
    write_thesis(cache_folder() / "partial" / SHA256)
    assert pull("org/digits").bundle.read("encoder.onnx")
    (found,) = cache_folder().rglob("thesis.tex")
    assert found.read_text() == "five years"
    assert (found.parent / ".git" / "HEAD").exists()


def test_the_web_runtime_comes_beside_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime-web's folder in the cache, in which one of the two files lacks."""
    folder = cache_folder() / f"{web_runtime.PACKAGE}-{web_runtime.VERSION}"
    write_thesis(folder)
    shutil.copy(NODE_MODULES / web_runtime.PACKAGE / "dist" / next(iter(web_runtime.FILES)), folder)
    before = everything(folder)
    (tmp_path / "package" / "dist").mkdir(parents=True)
    for name in web_runtime.FILES:
        (tmp_path / "package" / "dist" / name).write_text("packed")
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path, "package"))
    monkeypatch.setattr(web_runtime, "fetch_packages", lambda *_: [archive])
    web_runtime.copy_web_runtime(tmp_path / "ort")
    assert everything(folder) == before | dict.fromkeys(web_runtime.FILES, b"packed")


# ---- a checkout


def test_make_clean_removes_only_what_make_made(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (".venv", ".venv-runtime", "build", "build/lib"):
        write_thesis(tmp_path / name)
    (tmp_path / ".venv-runtime" / ".aae-zoo").touch()
    (tmp_path / "samples.png").write_text("mine")
    gone = {".venv-runtime", "build/lib"}
    kept = {n: w for n, w in everything(tmp_path).items() if not any(n == g or n.startswith(f"{g}/") for g in gone)}
    ended = subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ".venv stays: make did not make it" in ended.stdout
    assert everything(tmp_path) == kept


def test_make_completes_an_environment_that_was_left_without_pip(tmp_path: Path) -> None:
    """As Debian leaves it that has no python3-venv, or Ctrl-C; and it is make's from the beginning."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    rule = tmp_path / "rule.mk"
    rule.write_text("include Makefile\nenvironment:\n\t@$(call environment,mine)\n")
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    broken.write_text("#!/bin/sh\nmkdir mine/bin\necho no ensurepip\nexit 1\n")
    whole.write_text("#!/bin/sh\ntouch mine/bin/pip\nchmod +x mine/bin/pip\n")
    for python, status in ((broken, 2), (broken, 2), (whole, 0), (broken, 0)):
        python.chmod(0o755)
        command = ["make", "-f", "rule.mk", "environment", f"PYTHON={python}"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == status
        assert (tmp_path / "mine" / ".aae-zoo").exists()


def test_a_gallery_that_somebody_wrote_is_not_written_over(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "digits-gauss", tmp_path / "runtime" / "models" / "digits-gauss")
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "docs" / "gallery.md").unlink()
    assert tmp_path / "docs" / "gallery.md" in generate(tmp_path)
    (tmp_path / "docs" / "gallery.md").write_text("my holidays")
    with pytest.raises(InvalidBundle, match="gallery.md was not written by make generated; move it away"):
        generate(tmp_path)
