"""Pulling: what comes from the Hub or a folder into the cache, where it is found again, and what is not asked twice."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from conftest import ROOT, AaeZoo
from hub import Hub
from huggingface_hub import snapshot_download

from aae_zoo.runtime import InvalidBundle, InvalidInput, ModelNotFound, list_models, load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.store import cache as caches
from aae_zoo.runtime.store import catalogue
from aae_zoo.runtime.store import pull as pulls
from aae_zoo.runtime.store.cache import CachedModel, cache_folder, cached_models, clear, model_folder, remove
from aae_zoo.runtime.store.pull import pull

BUNDLE = ROOT / "runtime" / "models" / "digits-gauss"
GRAPHS = {"encoder.onnx", "decoder.onnx", "prior.onnx"}
FILES = {path.name for path in BUNDLE.iterdir()}


@pytest.fixture
def unshipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Makes digits-gauss a model that the catalogue has, but that is not shipped."""

    def make(**entry: object) -> None:
        models = tmp_path / "shipped"
        models.mkdir()
        document = json.loads((catalogue.SHIPPED / "catalogue.json").read_text())
        document["models"]["digits-gauss"] |= {"shipped": False, **entry}
        (models / "catalogue.json").write_text(json.dumps(document))
        monkeypatch.setattr(catalogue, "SHIPPED", models)

    return make


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestRepositories:
    def test_every_file_comes_byte_for_byte(self, hub: Hub, commit: str, aae_zoo: AaeZoo) -> None:
        found = json.loads(aae_zoo("pull", "org/small", "--json").out)
        assert found["where"] == f"pulled from org/small@{commit}"
        folder = Path(found["folder"])
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in BUNDLE.iterdir()}
        assert folder == model_folder(open_bundle(BUNDLE).manifest_sha256)

    def test_what_is_there_is_not_downloaded_again(self, hub: Hub, commit: str, aae_zoo: AaeZoo) -> None:
        aae_zoo("pull", "org/small")
        hub.requests.clear()
        assert "every file as it should be" in aae_zoo("pull", "org/small").out
        assert not hub.asked(r"resolve.*\.onnx")
        aae_zoo("pull", "org/small", "--force")
        assert len(hub.asked(r"resolve.*decoder\.onnx")) == 1
        hub.requests.clear()
        assert "is cached, every file" in aae_zoo("pull", f"org/small@{commit}").out
        assert not hub.requests

    def test_only_the_files_that_are_asked_for(self, hub: Hub, commit: str, aae_zoo: AaeZoo) -> None:
        result = aae_zoo("pull", "org/small", "--only", "decoder")
        assert ", decoder.onnx as it should be: " in result.out
        (model,) = cached_models()
        assert (names(model.folder), model.state) == ({"manifest.json", "config.json", "decoder.onnx"}, "in part")
        assert load("org/small").decode(np.zeros((1, 2))).shape == (1, 1, 8, 8)
        with pytest.raises(InvalidBundle, match=r"encoder.onnx is missing; get digits-gauss again \(aae-zoo pull org/"):
            load("org/small").encode(np.zeros((1, 8, 8)))
        aae_zoo("pull", "org/small", "--precision", "fp32")
        assert names(model.folder) == {"manifest.json", "config.json", *GRAPHS}
        aae_zoo("pull", "org/small")
        assert names(model.folder) == FILES
        assert len(hub.asked(r"decoder\.onnx")) == 1

    @pytest.mark.parametrize("part", [("--only", "prior"), ()])
    def test_a_download_asks_once_for_what_the_hub_counts(
        self, part: tuple[str, ...], hub: Hub, commit: str, aae_zoo: AaeZoo
    ) -> None:
        for _ in range(2):  # the second one has it
            aae_zoo("pull", "org/small", *part)
            assert len(hub.asked(r"GET .*/resolve/.*/config\.json")) == 1

    def test_what_another_version_has_is_not_downloaded_again(
        self, hub: Hub, commit: str, another: Path, aae_zoo: AaeZoo
    ) -> None:
        aae_zoo("pull", "org/small")
        (first,) = cached_models()
        damaged = bytearray((first.folder / "encoder.onnx").read_bytes())
        damaged[-1] ^= 1
        (first.folder / "encoder.onnx").write_bytes(damaged)
        hub.requests.clear()
        hub.add("org/small", another)
        result = aae_zoo("pull", "org/small")
        assert (result.status, result.err) == (0, "")
        assert {re.findall(r"resolve/\w+/([\w.]+)", request)[0] for request in hub.asked("resolve")} == {
            "manifest.json",
            "config.json",  # which the Hub counts
            "encoder.onnx",  # of which the copy is damaged
        }
        (second,) = [model for model in cached_models() if model.version == "2.0.0"]
        assert {path.name: path.read_bytes() for path in second.folder.iterdir()} == {
            path.name: path.read_bytes() for path in another.iterdir()
        }

    def test_another_version_may_be_removed_meanwhile(
        self, hub: Hub, commit: str, another: Path, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aae_zoo("pull", "org/small")
        hub.add("org/small", another)

        def listed_and_removed() -> list[CachedModel]:
            models = cached_models()
            remove("org/small")
            return models

        monkeypatch.setattr(pulls, "cached_models", listed_and_removed)
        result = aae_zoo("pull", "org/small")
        assert (result.status, result.err) == (0, "")

    def test_parts_that_there_are_not(self, commit: str, refused: Callable[..., str]) -> None:
        assert "has no int8 graphs; its precisions are fp32" in refused("pull", "org/small", "--precision", "int8")
        assert "only 'y' is asked for, expected one of encoder, " in refused("pull", "org/small", "--only", "y")
        assert cached_models() == []

    def test_load_pulls_the_graphs_it_needs_once(self, hub: Hub, commit: str) -> None:
        images = load("org/small").sample(3)
        assert np.array_equal(images, load(BUNDLE).sample(3))
        (model,) = cached_models()
        assert names(model.folder) == {"manifest.json", "config.json", *GRAPHS}
        hub.requests.clear()
        load("org/small").sample(3)
        load(f"org/small@{commit}").sample(3)
        assert not hub.requests

    def test_a_warm_load_does_not_import_the_client(self, commit: str) -> None:
        load("org/small")
        program = "import sys; from aae_zoo.runtime import load; load('org/small').sample(1); print(*sys.modules)"
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
        command = [sys.executable, "-c", program]
        output = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout.split()
        assert "onnxruntime" in output
        assert not [name for name in output if name.startswith(("huggingface_hub", "http", "torch"))]

    def test_two_versions_side_by_side_and_a_moved_tag(self, hub: Hub, commit: str, another: Path) -> None:
        hub.set("org/small", tags={"v1": commit})
        assert load("org/small@v1").manifest.version == "1.0.0"
        newer = hub.add("org/small", another)
        hub.set("org/small", tags={"v1": newer})
        assert load("org/small@v1").manifest.version == "1.0.0"  # as it was pulled
        assert pull("org/small@v1").bundle.manifest.version == "2.0.0"
        assert load("org/small@v1").manifest.version == "2.0.0"
        assert load(f"org/small@{commit}").manifest.version == "1.0.0"
        assert [model.version for model in cached_models()] == ["1.0.0", "2.0.0"]

    def test_a_pull_request_is_a_revision(self, hub: Hub, commit: str, another: Path) -> None:
        adds = {"manifest.json": hub.store.put((another / "manifest.json").read_bytes())}
        hub.store.commit("models", "org/small", "refs/pr/1", "proposed", adds, base=commit)
        assert load("org/small@refs/pr/1").manifest.version == "2.0.0"
        assert load("org/small@refs/pr/1").manifest.version == "2.0.0"
        assert load("org/small").manifest.version == "1.0.0"

    def test_the_clients_own_download_is_a_bundle(self, hub: Hub, commit: str, tmp_path: Path) -> None:
        folder = snapshot_download("org/small", endpoint=hub.url, cache_dir=tmp_path)
        assert np.array_equal(load(folder).sample(3), load(BUNDLE).sample(3))
        pull(folder)

    def test_an_endpoint_may_end_in_a_slash(self, hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
        assert pull("org/small").bundle.manifest.name == "digits-gauss"

    @pytest.mark.parametrize("revision", ["main", "1" * 40])
    def test_a_static_server_is_a_mirror(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aae_zoo: AaeZoo, revision: str
    ) -> None:
        """With the files that docs/hub.md names, under a path of the server's own."""
        commit, root = "1" * 40, tmp_path / "www" / "zoo"
        shutil.copytree(BUNDLE, root / "ORG" / "NAME" / "resolve" / commit)
        (folder := root / "api" / "models" / "ORG" / "NAME" / "revision").mkdir(parents=True)
        (folder / revision).write_text(json.dumps({"id": "ORG/NAME", "sha": commit}))
        handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "www")
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/zoo")
            said = aae_zoo("pull", f"ORG/NAME@{revision}").out
            server.shutdown()
        assert f"is pulled from ORG/NAME@{commit}, every file as it should be" in said

    def test_progress_by_bytes_is_for_terminals(self, hub: Hub, commit: str, aae_zoo: AaeZoo) -> None:
        assert aae_zoo("pull", "org/small").err == ""
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        command: list[str | Path] = [Path(sys.executable).with_name("aae-zoo"), "pull", "org/small", "--force"]
        subprocess.run(command, stderr=theirs, stdout=subprocess.DEVNULL, check=True)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while read := os.read(ours, 1 << 16):
                shown += read
        os.close(ours)
        assert b"digits-gauss: 100%" in shown
        assert b"B/s" in shown


class TestCatalogueNames:
    def test_shipped_cached_and_hub_in_this_order(
        self, hub: Hub, unshipped: Callable[..., None], aae_zoo: AaeZoo
    ) -> None:
        commit = hub.add("org/digits-gauss", BUNDLE)
        assert "digits-gauss 1.0.0 is shipped, every file" in aae_zoo("pull", "digits-gauss").out
        unshipped(repository="org/digits-gauss", revision=commit)
        assert re.search(r"^digits-gauss +hub ", aae_zoo("list").out, re.MULTILINE)
        assert f"is pulled from org/digits-gauss@{commit}, every file" in aae_zoo("pull", "digits-gauss").out
        hub.requests.clear()
        assert "is cached, every file" in aae_zoo("pull", "digits-gauss").out
        assert load("digits-gauss").sample(1).shape == (1, 1, 8, 8)
        assert re.search(r"^digits-gauss +cached ", aae_zoo("list").out, re.MULTILINE)
        assert "(cached)" in aae_zoo("info", "digits-gauss").out
        assert not hub.requests

    def test_force_gets_a_shipped_model_with_its_weights(
        self, hub: Hub, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.add("org/digits-gauss", BUNDLE)
        monkeypatch.setenv("AAE_ZOO_NAMESPACE", "org")
        folder = json.loads(aae_zoo("pull", "digits-gauss", "--force", "--json").out)["folder"]
        assert (Path(folder) / "model.safetensors").exists()

    @pytest.mark.parametrize("how", ["option", "environment"])
    def test_the_namespace(
        self, how: str, hub: Hub, unshipped: Callable[..., None], aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.add("owner/digits-gauss", BUNDLE)
        unshipped(repository="org/digits-gauss", revision="0" * 40)
        if how == "environment":
            monkeypatch.setenv("AAE_ZOO_NAMESPACE", "owner")
        options = ["--namespace", "owner"] if how == "option" else []
        assert "is pulled from owner/digits-gauss@" in aae_zoo("pull", "digits-gauss", *options).out

    def test_a_manifest_that_is_not_the_pinned_one(
        self, hub: Hub, another: Path, unshipped: Callable[..., None], refused: Callable[..., str]
    ) -> None:
        commit = hub.add("org/digits-gauss", another)
        unshipped(repository="org/digits-gauss", revision=commit)
        message = refused("pull", "digits-gauss")
        assert f"org/digits-gauss@{commit} has a manifest of SHA-256" in message
        assert "the catalogue expects" in message
        assert cached_models() == []

    def test_one_that_is_nowhere(self, unshipped: Callable[..., None], refused: Callable[..., str]) -> None:
        unshipped()
        for command in (["pull", "digits-gauss"], ["sample", "digits-gauss"]):
            message = refused(*command)
            assert "digits-gauss is not shipped with this package, not in the cache " in message
            assert "no repository is known for it; give --namespace ORG" in message
        assert "aae-zoo pull digits-gauss gets it" in refused("info", "digits-gauss")

    def test_one_that_cannot_be_reached(
        self, hub: Hub, unshipped: Callable[..., None], refused: Callable[..., str]
    ) -> None:
        unshipped(repository="org/digits-gauss", revision="0" * 40)
        message = refused("pull", "digits-gauss")
        assert "is not shipped with this package, not in the cache " in message
        assert "has no such repository, or it is private" in message
        hub.close()
        assert f"the Hub at {hub.url} cannot be reached" in refused("pull", "digits-gauss")

    def test_all(self, hub: Hub, aae_zoo: AaeZoo) -> None:
        found = json.loads(aae_zoo("pull", "--all", "--only", "prior", "--json").out)
        assert [pulled["name"] for pulled in found] == [entry.name for entry in list_models()]
        assert {pulled["where"] for pulled in found} == {"shipped"}
        assert not hub.requests

    @pytest.mark.parametrize("arguments", [[], ["digits-gauss", "--all"]])
    def test_neither_a_name_nor_all(self, arguments: list[str], aae_zoo: AaeZoo) -> None:
        assert aae_zoo("pull", *arguments).status == 2


class TestFoldersOfBundles:
    """For machines without a network."""

    @pytest.fixture
    def shelf(self, tmp_path: Path) -> Path:
        for name in ("digits-gauss", "org/small"):
            shutil.copytree(BUNDLE, tmp_path / "shelf" / name)
        return tmp_path / "shelf"

    def test_names_and_repositories(
        self, shelf: Path, hub: Hub, unshipped: Callable[..., None], aae_zoo: AaeZoo
    ) -> None:
        unshipped()
        assert f"is pulled from {shelf / 'org/small'}" in aae_zoo("pull", "org/small", "--from", shelf).out
        assert load("org/small").sample(1).shape == (1, 1, 8, 8)
        assert load("digits-gauss").sample(1).shape == (1, 1, 8, 8)  # the same manifest is the same model
        aae_zoo("cache", "--clear")
        assert f"is pulled from {shelf / 'digits-gauss'}" in aae_zoo("pull", "digits-gauss", "--from", shelf).out
        assert not hub.requests

    def test_the_hubs_client_is_not_loaded(self, shelf: Path) -> None:
        program = f"""
import sys
sys.argv = ["aae-zoo", "pull", "org/small", "--from", {str(shelf)!r}]
from aae_zoo.cli.main import main
try:
    main()
finally:
    print(*sys.modules)
"""
        output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
        assert "is pulled from" in output
        assert not [name for name in output.split() if name.startswith(("huggingface_hub", "http"))]

    def test_a_damaged_file_and_another_manifest(
        self, shelf: Path, another: Path, unshipped: Callable[..., None], refused: Callable[..., str]
    ) -> None:
        unshipped()
        os.truncate(shelf / "digits-gauss" / "decoder.onnx", 100)
        message = refused("pull", "digits-gauss", "--from", shelf)
        assert "decoder.onnx came with 100 bytes, expected" in message
        (shelf / "digits-gauss" / "decoder.onnx").unlink()
        assert "decoder.onnx cannot be read (No such file" in refused("pull", "digits-gauss", "--from", shelf)
        shutil.copy(another / "manifest.json", shelf / "digits-gauss")
        assert "the catalogue expects" in refused("pull", "digits-gauss", "--from", shelf)
        assert not (cache_folder() / "models").exists()

    def test_what_is_not_there(self, shelf: Path) -> None:
        with pytest.raises(ModelNotFound, match=f"there is no bundle {shelf}/org/x or {shelf}/x"):
            pull("org/x", folder=shelf)
        with pytest.raises(InvalidInput, match="a folder has one revision of each model"):
            pull("org/small@v1", folder=shelf)

    @pytest.mark.parametrize("name", ["org/small", "digits-gauss"])
    def test_a_folder_that_is_not_there_is_said_of_shipped_models_too(
        self, name: str, shelf: Path, refused: Callable[..., str]
    ) -> None:
        for given in (shelf / "nowhere", shelf / "digits-gauss" / "manifest.json"):
            assert f"there is no folder {given}; give --from one of bundles" in refused("pull", name, "--from", given)


class TestTheCache:
    @pytest.fixture
    def full(self, hub: Hub, commit: str, another: Path) -> Iterator[list[str]]:
        """The SHA-256 of the two versions that are in the cache."""
        pull("org/small", only=["decoder"])
        hub.add("org/other", another)
        pull("org/other")
        (cache_folder() / "partial" / ("f" * 64)).mkdir(parents=True)
        (cache_folder() / "datasets").mkdir()
        yield [model.sha256 for model in cached_models()[:2]]
        assert (cache_folder() / "datasets").exists()

    def test_it_lists_what_there_is(self, full: list[str], commit: str, aae_zoo: AaeZoo) -> None:
        lines = aae_zoo("cache").out.splitlines()
        assert [line.split()[:3] for line in lines[1:4]] == [
            ["digits-gauss", "1.0.0", "in"],
            ["digits-gauss", "2.0.0", "whole"],
            ["-", "-", "interrupted"],
        ]
        assert f"org/small@{commit}, org/small@main" in lines[1]
        assert lines[4].startswith(f"3 in the cache {cache_folder()}, ")
        document = json.loads(aae_zoo("cache", "--json").out)
        assert [entry["sha256"] for entry in document[:2]] == full

    @pytest.mark.parametrize(("name", "left"), [("digits-gauss", 0), ("org/other", 1), ("org/small@main", 1)])
    def test_it_removes_by_name(self, name: str, left: int, full: list[str], aae_zoo: AaeZoo) -> None:
        assert f"removed {2 - left} of the cache" in aae_zoo("cache", "--remove", name).out
        assert len([model for model in cached_models() if model.state != "interrupted"]) == left

    def test_it_removes_by_hash_and_all(self, full: list[str], aae_zoo: AaeZoo, refused: Callable[..., str]) -> None:
        assert "there is no x in the cache" in refused("cache", "--remove", "x")
        assert [m["sha256"] for m in json.loads(aae_zoo("cache", "--remove", full[0][:12], "--json").out)] == full[:1]
        assert "removed 2 of the cache" in aae_zoo("cache", "--clear").out
        assert aae_zoo("cache").out == f"0 in the cache {cache_folder()}, 0.0 MB\n"
        assert "is not in the cache" in refused("info", "org/other")

    def test_two_may_clear_it_at_once(self, full: list[str], aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
        listed = cached_models()
        clear()
        monkeypatch.setattr(caches, "cached_models", lambda: listed)
        result = aae_zoo("cache", "--clear")
        assert (result.status, result.out, result.err) == (0, f"removed 0 of the cache {cache_folder()}, 0.0 MB\n", "")
