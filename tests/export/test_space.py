"""A folder of pages on the Hub, as a static Space."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import AaeZoo, full_disk
from hub.server import Hub
from huggingface_hub import constants
from programs import NODE_MODULES

from aae_zoo.export.pages.explore import explore
from aae_zoo.export.pages.report import Report, write_report
from aae_zoo.runtime.ownership import MARK, PAGE

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # of what the Hub's client calls


@pytest.fixture(scope="module")
def site(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space") / "site"
    explore(str(small_bundle), folder, node_modules=NODE_MODULES)
    return folder


def test_pages_become_a_static_space_in_one_commit(hub: Hub, aae_zoo: AaeZoo, site: Path) -> None:
    result = aae_zoo("publish", site, "--space", "--repo", "org/pages")
    assert result.status == 0, result.err
    assert f"org/pages: {hub.url}/spaces/org/pages" in result.out
    assert "load(" not in result.out
    assert hub.store.repositories("spaces") == ["org/pages"]
    commit = hub.store.revision("spaces", "org/pages", "main")
    assert commit is not None
    theirs = {
        name: hub.store.content(entry)
        for name, entry in hub.store.files("spaces", "org/pages", commit).items()
        if name != ".gitattributes"
    }
    assert theirs == {p.relative_to(site).as_posix(): p.read_bytes() for p in site.rglob("*") if p.is_file()}
    assert "everything is there already" in aae_zoo("publish", site, "--space", "--repo", "org/pages").out
    assert len(hub.store.history("spaces", "org/pages", commit)) == 2  # theirs and ours


def test_what_somebody_else_has_in_a_space_stays_and_pages_that_one_edited_are_published_again(
    hub: Hub, aae_zoo: AaeZoo, refused: Callable[..., str], site: Path, tmp_path: Path
) -> None:
    pages = Path(shutil.copytree(site, tmp_path / "pages"))
    (pages / "more.html").write_text("mine")
    publish = ("publish", pages, "--space", "--repo", "org/pages", "--json")
    assert aae_zoo(*publish).status == 0
    for text in ("edited", "edited again"):
        (pages / "index.html").write_text(text)
        assert json.loads(aae_zoo(*publish).out)["added"] == ["index.html", MARK]
    hub.store.commit("spaces", "org/pages", "main", "theirs", {"notes.txt": hub.store.put(b"mine")})
    (pages / "more.html").unlink()
    assert json.loads(aae_zoo(*publish).out)["removed"] == ["more.html"]
    commit = hub.store.commit("spaces", "org/pages", "main", "theirs", {"index.html": hub.store.put(b"mine")})
    assert "notes.txt" in hub.store.files("spaces", "org/pages", commit)
    (pages / "index.html").write_text("ours")
    assert "org/pages has index.html, not as published by aae-zoo" in refused(*publish)
    assert hub.store.revision("spaces", "org/pages", "main") == commit


def test_without_room_for_temporary_files(
    hub: Hub, refused: Callable[..., str], site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_disk(10):
        said = refused("publish", site, "--space", "--repo", "org/pages")
    assert ": File too large; set TMPDIR to a folder that is writable and has free space" in said
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    said = refused("publish", site, "--space", "--repo", "org/pages")
    assert f"cannot write temporary files into {tmp_path / 'gone'}: No such file or directory; set TMPDIR to" in said


def test_another_file_that_cannot_be_read_is_no_matter_of_the_temporary_ones(
    hub: Hub, refused: Callable[..., str], site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path))
    said = refused("publish", site, "--space", "--repo", "org/pages")
    assert said == f"error: the system refused: [Errno 21] Is a directory: '{tmp_path}'\n"


def test_a_bundle_is_no_folder_of_pages(hub: Hub, refused: Callable[..., str], small_bundle: Path) -> None:
    said = refused("publish", small_bundle, "--space", "--repo", "org/pages")
    assert "write one with aae-zoo explore" in said
    assert hub.asked() == []


def test_a_detectors_page_is_no_folder_of_pages(hub: Hub, refused: Callable[..., str], tmp_path: Path) -> None:
    report = Report("", "", [], [], {"normal": np.ones(3, np.float32)}, 1.0, [], [])
    write_report(report, tmp_path / "mine-page", PAGE, replace=False)
    said = refused("publish", tmp_path / "mine-page", "--space", "--repo", "org/pages")
    assert said.startswith(f"error: {tmp_path / 'mine-page'} is the page of a detector, which shows your pictures")
    assert "send its index.html to whom you like, or publish what aae-zoo explore BUNDLE -o SITE writes" in said
    assert hub.asked() == []


def test_a_space_is_not_all(aae_zoo: AaeZoo) -> None:
    assert aae_zoo("publish", "--all", "--space", "--namespace", "org").status == 2
