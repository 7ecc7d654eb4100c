"""The command line in surroundings that are not usual: no home, another encoding, variables that hold nonsense."""

import csv
import errno
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import AaeZoo
from PIL import Image

from aae_zoo.runtime import load
from aae_zoo.runtime.errors import OutputError
from aae_zoo.runtime.store import cache
from aae_zoo.runtime.store.catalogue import SHIPPED
from aae_zoo.zoo.recipe import RECIPES, load_recipe


def run(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "aae_zoo.cli.main", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)


class TestUserWithoutHome:
    """No HOME, and no entry in the list of users: as in a container that is run as any user."""

    @pytest.fixture(autouse=True)
    def temporary(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        def nobody(_: object) -> None:
            raise KeyError("getpwuid(): uid not found")

        for name in ("HOME", "XDG_CACHE_HOME", "AAE_ZOO_CACHE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(pwd, "getpwuid", nobody)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        cache._homeless.cache_clear()
        return tmp_path / f"aae-zoo-{os.getuid()}"

    def test_the_cache_is_a_private_temporary_folder(self, temporary: Path) -> None:
        with pytest.warns(RuntimeWarning, match="this user has no home, so the cache is .*; set HOME, or AAE_"):
            assert cache.cache_folder() == temporary
        assert cache.cache_folder() == temporary  # without another word
        assert temporary.stat().st_mode & 0o777 == 0o700

    def test_every_command_that_asks_for_the_cache_works(self, aae_zoo: AaeZoo, temporary: Path) -> None:
        with pytest.warns(RuntimeWarning, match="no home"):
            result = aae_zoo("cache")
        assert (result.status, result.out) == (0, f"0 in the cache {temporary}, 0.0 MB\n")
        assert aae_zoo("list").status == aae_zoo("info", "mnist-plane").status == aae_zoo("doctor").status == 0
        pulled = aae_zoo("pull", "digits-gauss", "--from", SHIPPED, "--force")
        assert pulled.status == 0, pulled

    def test_without_a_temporary_folder_it_is_said_what_to_set(
        self, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none() -> None:
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/']")

        monkeypatch.setattr(tempfile, "gettempdir", none)
        message = refused("cache")
        assert "this user has no home, and no place for the cache (No usable temporary directory" in message
        assert "set HOME, or AAE_ZOO_CACHE to a folder that is writable" in message

    @pytest.mark.parametrize("what", ["a folder for all", "a link", "a file"])
    def test_what_others_may_have_put_there_is_not_trusted(
        self, what: str, temporary: Path, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        if what == "a folder for all":
            temporary.mkdir()
            temporary.chmod(0o777)
        elif what == "a link":
            (tmp_path / "theirs").mkdir(mode=0o700)
            temporary.symlink_to(tmp_path / "theirs")
        else:
            temporary.write_text("")
        message = refused("cache")
        assert f"{temporary} is not a folder of this user alone" in message
        assert "AAE_ZOO_CACHE" in message

    def test_somebody_elses_folder_is_not_trusted(self, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        temporary.mkdir(mode=0o700)
        theirs = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: theirs)
        temporary.rename(temporary.with_name(f"aae-zoo-{theirs}"))
        with pytest.raises(OutputError, match="is not a folder of this user alone"):
            cache.cache_folder()

    def test_a_temporary_folder_that_cannot_be_made(
        self, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
        assert "cannot be made for the cache (Not a directory)" in refused("cache")

    def test_doctor_names_the_fault(self, aae_zoo: AaeZoo, temporary: Path) -> None:
        temporary.write_text("")
        result = aae_zoo("doctor")
        assert result.status == 1
        assert [line.split()[1] for line in result.out.splitlines() if line.startswith("FAULT")] == ["cache"]


class TestTheCachesPlace:
    def test_a_tilde_is_the_home(self, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Files of variables, such as those of systemd and compose, expand nothing."""
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("AAE_ZOO_CACHE", "~/models")
        assert aae_zoo("pull", "digits-gauss", "--from", SHIPPED, "--force").status == 0
        assert [path.name for path in tmp_path.iterdir()] == ["home"]
        assert f"in the cache {tmp_path / 'home' / 'models'}," in aae_zoo("cache").out
        monkeypatch.delenv("AAE_ZOO_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
        assert cache.cache_folder() == tmp_path / "home" / "caches" / "aae-zoo"

    def test_a_users_name_is_that_users_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        user = pwd.getpwuid(os.getuid())
        monkeypatch.setenv("AAE_ZOO_CACHE", f"~{user.pw_name}/models")
        assert cache.cache_folder() == Path(user.pw_dir) / "models"

    def test_a_relative_path_is_said_whole(
        self, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("AAE_ZOO_CACHE", "models")
        assert aae_zoo("cache").out == f"0 in the cache {tmp_path / 'models'}, 0.0 MB\n"

    def test_nobodys_home(self, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AAE_ZOO_CACHE", "~no-such-user/models")
        message = refused("cache")
        assert "AAE_ZOO_CACHE is ~no-such-user/models, but ~no-such-user is nobody's home here" in message


class TestNamesAndEncodings:
    """Names of files have characters that stdout's encoding lacks, or are not Unicode at all."""

    @pytest.fixture
    def pictures(self, tmp_path: Path) -> Path:
        (tmp_path / "in").mkdir()
        image = (load("mnist-plane").sample(1)[0, 0] * 255).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "in" / "七.png")
        shutil.copy(os.fsencode(tmp_path / "in" / "七.png"), os.fsencode(tmp_path / "in") + b"/\xff.png")
        return tmp_path / "in"

    @pytest.mark.parametrize(
        "environment",
        [
            {"PYTHONIOENCODING": "cp1252"},
            {"PYTHONIOENCODING": "ascii:strict"},
            {"PYTHONIOENCODING": "utf-8:strict"},
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        ],
        ids=str,
    )
    def test_results_are_printed_and_json_is_valid(self, environment: dict[str, str], pictures: Path) -> None:
        result = run("score", "mnist-plane", pictures, **environment)
        assert (result.returncode, result.stderr) == (0, b"")
        assert b"\\udcff.png" in result.stdout
        header, *rows = result.stdout.decode().replace("七", "77").splitlines()[:3]  # it takes two columns
        assert {len(row) - len(row.partition(".png")[2].lstrip()) for row in rows} == {header.index("score")}
        result = run("score", "mnist-plane", pictures, "--json", **environment)
        names = [row["image"].encode("utf-8", "surrogateescape") for row in json.loads(result.stdout)["images"]]
        assert names == ["七.png".encode(), b"\xff.png"]
        assert run("info", "mnist-plane", **environment).returncode == 0

    def test_an_error_is_one_sentence(self) -> None:
        result = run("encode", "mnist-plane", b"\xff/\xd0.png", "-o", "z.npy", PYTHONIOENCODING="ascii")
        assert result.returncode == 1
        assert result.stderr.startswith(b"error: there is no file \\udcff/\\udcd0.png")
        assert result.stderr.count(b"\n") == 1

    @pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
    def test_tables_have_every_name(self, suffix: str, pictures: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        output = tmp_path / f"scores{suffix}"
        assert aae_zoo("score", "mnist-plane", pictures, "-o", output).status == 0
        if suffix == ".csv":
            names = [row["image"] for row in csv.DictReader(output.read_text("utf-8").splitlines())]
            assert names == ["七.png", "\\udcff.png"]
        elif suffix == ".json":
            assert [row["image"] for row in json.loads(output.read_text("utf-8"))] == ["七.png", "\udcff.png"]
        else:
            assert np.load(output)["image"].tolist() == ["七.png", "\udcff.png"]


class TestFoldersCalledAsModelsAre:
    @pytest.fixture(autouse=True)
    def namesake(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A bundle of another model in a folder mnist-plane, where the command runs."""
        monkeypatch.chdir(tmp_path)
        names = shutil.ignore_patterns("model.safetensors")
        return Path(shutil.copytree(SHIPPED / "digits-gauss", tmp_path / "mnist-plane", ignore=names))

    def test_the_name_is_the_catalogues_and_that_is_said(self, aae_zoo: AaeZoo) -> None:
        with pytest.warns(RuntimeWarning, match="mnist-plane is the model of the catalogue; give ./mnist-plane for"):
            assert load("mnist-plane").manifest.name == "mnist-plane"
        assert load("./mnist-plane").manifest.name == "digits-gauss"

    def test_it_is_said_once_on_stderr(self) -> None:
        result = run("info", "mnist-plane")
        assert (result.returncode, result.stderr.count(b"\n")) == (0, 1)
        assert result.stderr.startswith(b"warning: mnist-plane is the model of the catalogue; give ./mnist-plane")

    def test_where_there_is_no_other_nothing_is_said(
        self, namesake: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        shutil.rmtree(namesake)
        namesake.mkdir()
        assert load("mnist-plane").manifest.name == "mnist-plane"
        monkeypatch.chdir(SHIPPED)
        assert load("mnist-plane").manifest.name == "mnist-plane"

    @pytest.mark.parametrize("command", [("publish", "--repo", "org/x"), ("sign", "--key", "key.pem")])
    def test_a_bundle_without_pytorchs_weights_is_not_published(
        self, command: tuple[str, ...], refused: Callable[..., str], tmp_path: Path
    ) -> None:
        """As wheels have the shipped ones."""
        (tmp_path / "key.pem").write_text("")
        message = refused(command[0], "mnist-plane", *command[1:])
        assert "mnist-plane/model.safetensors is missing: PyTorch's weights are not in the wheels of aae-zoo" in message
        assert "take the bundle from a checkout, or export the run again" in message


class TestRecipesOfOtherEditors:
    def test_a_byte_order_mark_is_no_part_of_a_recipe(self, tmp_path: Path) -> None:
        text = (RECIPES / "mnist-plane.toml").read_text("utf-8").replace("\n", "\r\n")
        (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert load_recipe(str(tmp_path / "mine.toml")).sha256 == load_recipe("mnist-plane").sha256

    def test_another_encoding_is_refused(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_text('name = "mine"\n', "utf-16")
        assert "is not TOML" in (message := refused("train", tmp_path / "mine.toml"))
        assert "save it as UTF-8" in message


@pytest.mark.parametrize("value", ["abc", "", "-1", "1.5", "²"])
@pytest.mark.parametrize("name", ["HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"])
def test_a_time_limit_that_the_hubs_client_cannot_read(
    name: str, value: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its import fails for it, so this is said before."""
    monkeypatch.setenv(name, value)
    sentence = f"error: {name} is {value!r}, expected a whole number of seconds such as 10; mend it, or unset it\n"
    assert refused("pull", "org/x") == sentence
    assert refused("publish", SHIPPED / "digits-gauss", "--repo", "org/x", "--dry-run") == sentence


@pytest.mark.parametrize(("name", "value"), [("HF_HUB_ETAG_TIMEOUT", "abc"), ("HF_ENDPOINT", "http://[::1")])
def test_what_the_client_reads_is_checked_before_it_is_imported(name: str, value: str) -> None:
    result = run("pull", "org/x", **{name: value})
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {name} is {value!r}".encode())


@pytest.mark.parametrize("command", [("list",), ("train", "digits-gauss")])
def test_a_folder_that_was_removed_around_us(command: tuple[str, ...], tmp_path: Path) -> None:
    """Where PyTorch ends the process as it is imported."""
    code = 'cd "$0" && rmdir "$0" && exec "$@"'
    program = [str(tmp_path), sys.executable, "-m", "aae_zoo.cli.main"]
    result = subprocess.run(["sh", "-c", code, *program, *command], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.endswith(b"error: the folder you are in was removed; go to another, as cd does\n")


class TestClosedStreams:
    """What a shell closes (>&-), as some that start services and jobs do."""

    @staticmethod
    def closing(redirection: str, *arguments: Any) -> subprocess.CompletedProcess[bytes]:
        shell = ["sh", "-c", f'exec "$@" {redirection}', "sh"]
        return subprocess.run(
            [*shell, sys.executable, "-m", "aae_zoo.cli.main", *arguments], capture_output=True, check=False
        )

    @pytest.mark.parametrize("redirection", [">&-", "<&- >&-", "<&- >&- 2>&-"])
    def test_a_command_does_its_work(self, redirection: str, tmp_path: Path) -> None:
        result = self.closing(redirection, "sample", "digits-gauss", "-o", tmp_path / "x.png")
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
        with Image.open(tmp_path / "x.png") as picture:
            picture.verify()
        assert (self.closing(redirection, "list").returncode, self.closing(redirection, "nothing").returncode) == (0, 2)

    def test_what_stderr_would_say_is_not_in_the_json(self, tmp_path: Path) -> None:
        Image.new("L", (8, 8), 9).save(tmp_path / "a.png")
        (tmp_path / "left-out.txt").touch()
        result = self.closing("2>&-", "score", "digits-gauss", tmp_path, "--json")
        assert json.loads(result.stdout)["name"] == "digits-gauss"


def heeded() -> None:
    """A shell that runs the tests in the background may have them ignore signals."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class TestSignals:
    """A program that is told to end: by Ctrl-C, by kill or a batch system, or as its terminal is closed."""

    @staticmethod
    def ended(folder: Path, *numbers: signal.Signals, before: Callable[[], None] = heeded) -> tuple[int, bytes]:
        """Send signals to a command that is writing a folder of pictures: its status, and what it says.

        `before` runs in its process first.
        """
        command = [
            sys.executable,
            "-m",
            "aae_zoo.cli.main",
            "sample",
            "mnist-gauss",
            "-n",
            "20000",
            "-o",
            f"{folder}/x/",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=before)
        deadline = time.monotonic() + 60
        while not any(folder.iterdir()) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        for number in numbers:
            process.send_signal(number)
        _, said = process.communicate()
        return process.returncode, said

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_nothing_half_written_is_left(self, number: signal.Signals, no_leftovers: Path) -> None:
        assert self.ended(no_leftovers, number) == (128 + number, b"")

    def test_ctrl_c_as_commands_are_imported(self, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aae_zoo.cli.main.import_module", mock.Mock(side_effect=KeyboardInterrupt))
        result = aae_zoo("list")
        assert (result.status, result.out, result.err) == (128 + signal.SIGINT, "", "")

    def test_what_nohup_has_ignored_stays_ignored(self, tmp_path: Path) -> None:
        def nohup() -> None:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        assert self.ended(tmp_path, signal.SIGHUP, before=nohup) == (0, b"")
        assert [path.name for path in tmp_path.iterdir()] == ["x"]
