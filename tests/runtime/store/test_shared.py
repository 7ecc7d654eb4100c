"""A cache that others write into: nobody's files are touched by way of it, and every user can pull."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import AaeZoo, rewrite

from aae_zoo.runtime import load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.checks.check import check
from aae_zoo.runtime.errors import AaeZooError
from aae_zoo.runtime.store.cache import cache_folder, cached_models, clear, model_folder
from aae_zoo.runtime.store.catalogue import find_model
from aae_zoo.runtime.store.pull import pull
from aae_zoo.zoo.data.idx import find_idx

BUNDLE = Path(__file__).parents[3] / "runtime" / "models" / "digits-gauss"
SHA256 = open_bundle(BUNDLE).manifest_sha256
ALICE, BOB = 54321, 54322

needs_users = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be several users"
)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user can reach, unlike those of pytest."""
    folder, umask = Path(tempfile.mkdtemp(prefix="shared-")), os.umask(0o022)
    folder.chmod(0o755)
    yield folder
    os.umask(umask)
    shutil.rmtree(folder)


@pytest.fixture
def shelf(open_place: Path) -> Path:
    """A folder of bundles, to pull org/small from."""
    shutil.copytree(BUNDLE, open_place / "shelf" / "org" / "small")
    return open_place / "shelf"


@pytest.fixture
def shared(open_place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that everybody may write into, as they may into /tmp."""
    cache = open_place / "cache"
    cache.mkdir()
    cache.chmod(0o1777)
    monkeypatch.setenv("AAE_ZOO_CACHE", str(cache))
    return cache


def everything(folder: Path) -> dict[str, Any]:
    """All that is in a folder: the bytes of files, where links lead, and who owns what."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        what = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[path.relative_to(folder).as_posix()] = (what, path.lstat().st_uid, path.lstat().st_mode)
    return found


def as_user(user: int, work: Callable[[], Any]) -> Any:
    """What `work` gives, or the sentence of its error, in a process of another user."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        result: Any = "the process ended"
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            result = work()
        except AaeZooError as error:
            result = f"error: {error}"
        except BaseException as error:
            result = f"{error!r}"
        finally:
            with os.fdopen(writing, "wb") as stream:
                pickle.dump(result, stream)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        result = pickle.load(stream)  # noqa: S301 - our own child's
    os.waitpid(child, 0)
    return result


def thesis_of(user: int, folder: Path) -> Path:
    """A folder of a user with the work of years in it, some of it called as files of a bundle are."""
    shutil.copytree(BUNDLE, folder / "thesis")
    (folder / "thesis" / "thesis.tex").write_text("five years")
    (folder / "thesis" / f"{SHA256}.lock").write_text("mine")
    shutil.copytree(BUNDLE, folder / "thesis" / SHA256)
    shutil.copytree(BUNDLE, folder / "thesis" / "org" / "small@main")
    for path in (folder / "thesis", *(folder / "thesis").rglob("*")):
        os.chown(path, user, user)
    return folder / "thesis"


@contextmanager
def warnings_aside() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


FOLDERS = ("models", f"models/{SHA256}", "partial", f"partial/{SHA256}", "names", "names/org", "locks")
FILES = (
    *(f"{kind}/{SHA256}/{name}" for kind in ("models", "partial") for name in ("decoder.onnx", "manifest.json")),
    *(f"{kind}/{SHA256}/model.sig" for kind in ("models", "partial")),
    "names/org/small@main",
    f"locks/{SHA256}.lock",
)


class TestLinks:
    """Links are in the way at every place of the cache."""

    @pytest.mark.parametrize("place", [*FOLDERS, *FILES])
    @pytest.mark.parametrize("pulled_before", [False, True])
    def test_what_they_lead_to_is_left(
        self, place: str, pulled_before: bool, shelf: Path, tmp_path: Path, aae_zoo: AaeZoo
    ) -> None:
        thesis = thesis_of(os.geteuid(), tmp_path)
        link = cache_folder() / place
        if pulled_before:
            pull("org/small", folder=shelf)
            shutil.rmtree(link) if link.is_dir() else link.unlink(missing_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(thesis if place in FOLDERS else thesis / "thesis.tex")
        before = everything(thesis)
        for command in (
            ["cache"],
            ["info", "org/small"],
            ["pull", "org/small", "--from", shelf],
            ["sample", "org/small", "-o", tmp_path / "samples.png"],
            ["pull", "org/small", "--from", shelf, "--force"],
            ["cache", "--remove", SHA256],
            ["cache", "--clear"],
        ):
            with warnings_aside():
                result = aae_zoo(*command)
            assert result.status in (0, 1), result
            assert result.status == 0 or [line[:7] for line in result.err.splitlines()] == ["error: "], result
            assert everything(thesis) == before, command
            assert link.is_symlink() or not link.exists() or place in FILES

    def test_the_sentence_says_what_to_do(self, shelf: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        (cache_folder() / "partial").mkdir()
        (cache_folder() / "partial" / SHA256).symlink_to(tmp_path)
        message = refused("pull", "org/small", "--from", shelf)
        assert f"partial/{SHA256} in the cache is a link, which aae-zoo does not follow there; remove it" in message


@needs_users
class TestUsers:
    def test_each_can_finish_what_another_began(self, shared: Path, shelf: Path) -> None:
        def whole() -> tuple[int, bytes]:
            bundle = pull("org/small", folder=shelf).bundle
            bundle.check_files()
            return len(find_model("org/small").manifest.files), find_model("org/small").read("decoder.onnx")

        expected = (len(open_bundle(BUNDLE).manifest.files), (BUNDLE / "decoder.onnx").read_bytes())
        assert as_user(ALICE, lambda: pull("org/small", folder=shelf, only=["decoder"]).where).startswith("pulled")
        mine = everything(shared / "models")
        assert as_user(BOB, whole) == expected
        assert everything(shared / "models") == mine
        assert as_user(BOB, lambda: pull("org/small", folder=shelf).where) == "cached"
        assert as_user(ALICE, whole) == expected

    def test_what_one_has_pulled_the_others_need_not(self, shared: Path, shelf: Path) -> None:
        assert as_user(ALICE, lambda: pull("org/small", folder=shelf).where).startswith("pulled")
        assert as_user(BOB, lambda: pull("org/small", folder=shelf).where) == "cached"
        assert as_user(BOB, lambda: model_folder(SHA256)) == shared / "models" / SHA256

    def test_a_name_is_what_each_has_pulled_by_it(self, shared: Path, shelf: Path) -> None:
        assert as_user(ALICE, lambda: pull("org/small", folder=shelf).where).startswith("pulled")
        assert "org/small is not in the cache" in as_user(BOB, lambda: find_model("org/small"))

    def test_nobody_removes_what_is_anothers(self, shared: Path, shelf: Path) -> None:
        as_user(ALICE, lambda: pull("org/small", folder=shelf))
        before = everything(shared / "models")
        with warnings_aside():
            assert as_user(BOB, lambda: len(clear())) == 0
        assert everything(shared / "models") == before
        assert as_user(ALICE, lambda: len(clear())) == 1
        assert everything(shared / "models") == {}

    @pytest.mark.parametrize("mask", [0o002, 0o000])
    def test_nobody_writes_into_what_is_anothers(self, mask: int, shared: Path, shelf: Path) -> None:
        """Whose umask lets a group write means another group than all who share a cache."""

        def pulled() -> None:
            os.umask(mask)
            pull("org/small", folder=shelf)

        as_user(ALICE, pulled)
        names = [path.name for path in shared.rglob("*") if path.is_file() and path.stat().st_mode & 0o022]
        assert names == []

    def test_what_one_keeps_from_the_others_is_not_in_their_way(self, shared: Path, shelf: Path) -> None:
        def pulled() -> str:
            os.umask(0o077)
            return pull("org/small", folder=shelf).where

        assert as_user(ALICE, pulled).startswith("pulled")
        assert as_user(BOB, cached_models) == []
        assert as_user(BOB, lambda: pull("org/small", folder=shelf).where).startswith("pulled")
        assert as_user(BOB, lambda: len(find_model("org/small").read("decoder.onnx"))) > 0
        assert as_user(BOB, lambda: [model.state for model in cached_models()]) == ["whole"]
        with warnings_aside():
            assert as_user(BOB, lambda: len(clear())) == 1
        assert as_user(ALICE, lambda: [model.state for model in cached_models()]) == ["whole"]

    def test_a_home_of_somebody_else(
        self, open_place: Path, shelf: Path, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As `docker run --user` leaves root's to whoever runs there, and sudo the home of who called it."""
        home = open_place / "home"
        home.mkdir(mode=0o700)
        monkeypatch.setenv("AAE_ZOO_CACHE", str(home / "cache"))
        monkeypatch.setenv("AAE_ZOO_DATA", str(home / "data"))
        sentence = f"the cache {home}/cache cannot be read (Permission denied); set AAE_ZOO_CACHE to a folder of your"
        assert as_user(BOB, cached_models).startswith(f"error: {sentence}")
        assert as_user(BOB, lambda: pull("org/small", folder=shelf)).startswith("error: cannot write to the cache")
        result = as_user(BOB, lambda: aae_zoo("doctor"))
        faults = [line.split()[1] for line in result.out.splitlines() if line.startswith("FAULT")]
        assert (result.status, faults) == (1, ["cache", "data"])
        message = as_user(BOB, lambda: find_idx("mnist", home / "data"))
        assert f"{home}/data does not hold mnist, expected the files" in message

    def test_doctor_notes_a_cache_that_is_only_to_be_read(
        self, open_place: Path, shelf: Path, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As an administrator fills one for all; where there is nothing in it, nobody gets anything."""

        def found() -> str:
            result = as_user(BOB, lambda: aae_zoo("doctor"))
            return "".join(line for line in result.out.splitlines() if " cache " in line)

        cache = open_place / "cache"
        monkeypatch.setenv("AAE_ZOO_CACHE", str(cache))
        cache.mkdir(mode=0o755)
        assert found().startswith("FAULT")
        pull("org/small", folder=shelf)
        assert found().split()[0] == "ok"
        assert found().endswith(f"{cache} (1 model to load; it cannot be written, so nothing is pulled into it)")

    def test_a_bundle_that_may_not_be_read(self, shelf: Path) -> None:
        (shelf / "org" / "small").chmod(0o700)
        message = as_user(BOB, lambda: load(shelf / "org" / "small"))
        assert (
            message
            == f"error: {shelf}/org/small/manifest.json cannot be read (Permission denied); get the bundle again"
        )
        assert "there is no bundle" in as_user(BOB, lambda: pull("org/small", folder=shelf))
        shelf.chmod(0o700)
        assert "there is no folder" in as_user(BOB, lambda: check(shelf / "org" / "small"))

    @pytest.mark.parametrize("place", [f"user-{BOB}", f"models/{SHA256}", "models", *FILES])
    def test_links_that_one_has_put_there_for_another(self, place: str, shared: Path, shelf: Path) -> None:
        thesis = thesis_of(BOB, shared.parent)
        before = everything(thesis)

        def plant() -> None:
            (shared / place).parent.mkdir(parents=True, exist_ok=True)
            (shared / place).symlink_to(thesis / "thesis.tex" if place in FILES else thesis)

        def attempts() -> list[str]:
            done = []
            for force in (False, True):
                try:
                    done.append(pull("org/small", folder=shelf, force=force).where)
                except AaeZooError as error:
                    done.append(str(error))
            return done

        as_user(ALICE, plant)
        done = as_user(BOB, attempts)
        assert len(done) == 2
        assert all("pulled from" in each or "is a link" in each or each == "cached" for each in done), done
        assert everything(thesis) == before

    def test_a_cache_where_anybody_can_put_anything_in_the_place_of_a_folder(self, shared: Path, shelf: Path) -> None:
        shared.chmod(0o777)
        message = as_user(BOB, lambda: pull("org/small", folder=shelf))
        assert f"chmod +t {shared}, or set AAE_ZOO_CACHE to a folder of your own" in message

    def test_a_cache_of_somebody_else(self, open_place: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache, thesis = open_place / "cache", thesis_of(0, open_place)
        monkeypatch.setenv("AAE_ZOO_CACHE", str(cache))
        cache.mkdir()
        os.chown(cache, ALICE, ALICE)
        (cache / "locks").mkdir()
        (cache / "locks" / f"{SHA256}.lock").symlink_to(thesis / "thesis.tex")
        (cache / "partial").symlink_to(thesis)
        before = everything(thesis)
        cache.chmod(0o1755)
        assert pull("org/small", folder=shelf).where.startswith("pulled")
        assert everything(thesis) == before
        assert "cannot write to the cache" in as_user(BOB, lambda: pull("org/small", folder=shelf, force=True))


PULLING = """
import sys, time
from pathlib import Path
from aae_zoo.runtime.store import source
from aae_zoo.runtime.store.pull import pull
shelf, flags = map(Path, sys.argv[1:])
read = source.FolderSource.chunks
def slowly(self, name, start):
    yield from read(self, name, start)
    if name == "decoder.onnx":
        (flags / "begun").touch()
        while not (flags / "go").exists():
            time.sleep(0.01)
source.FolderSource.chunks = slowly
print(pull("org/small", folder=shelf).where)
"""


class TestRemovalMeanwhile:
    def test_a_pull_goes_on(self, shelf: Path, tmp_path: Path, aae_zoo: AaeZoo) -> None:
        command = [sys.executable, "-c", PULLING, str(shelf), str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while not (tmp_path / "begun").exists():
                assert process.poll() is None
            with pytest.warns(RuntimeWarning, match="no pull of it is running"):
                assert "removed 0 of the cache" in aae_zoo("cache", "--clear").out
            (tmp_path / "go").touch()
            assert "pulled from" in process.communicate()[0]
        assert [model.state for model in cached_models()] == ["whole"]
        find_model("org/small").check_files()

    def test_what_is_seen_is_whole(self, shelf: Path, aae_zoo: AaeZoo) -> None:
        command = [sys.executable, "-m", "aae_zoo.cli.main", "pull", "org/small", "--from", str(shelf), "--force"]
        for _ in range(4):
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
                while process.poll() is None:
                    with warnings_aside():
                        assert aae_zoo("cache", "--clear").status in (0, 1)
                    assert {model.state for model in cached_models()} <= {"whole", "interrupted"}
                said = (process.stderr.read() if process.stderr else "").splitlines()
            assert [line[:7] for line in said] == ["error: "] * process.returncode, said


def test_a_file_of_no_bytes_is_a_file(shelf: Path) -> None:
    empty = {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size": 0}
    (shelf / "org" / "small" / "notes.txt").touch()
    rewrite(shelf / "org" / "small", lambda d: d["files"].update({"notes.txt": empty}))
    bundle = pull("org/small", folder=shelf).bundle
    assert bundle.read("notes.txt") == b""
    assert pull("org/small", folder=shelf).where == "cached"
