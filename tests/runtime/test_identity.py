"""Identity: a pin names one model, whoever answers for it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import AaeZoo, rewrite
from hub import Hub

from aae_zoo.runtime import HubError, InvalidBundle, ModelNotFound, load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.store.cache import cache_folder, cached_models
from aae_zoo.runtime.store.catalogue import find_model
from aae_zoo.runtime.store.pull import pull

BUNDLE = Path(__file__).parents[2] / "runtime" / "models" / "digits-gauss"
PIN = f"#sha256={open_bundle(BUNDLE).manifest_sha256}"
OTHER = "#sha256=" + 64 * "0"


@pytest.fixture
def commit(hub: Hub) -> str:
    """The commit of the one bundle that the hub has, org/small."""
    return hub.add("org/small", BUNDLE)


@pytest.fixture
def another(tmp_path: Path) -> Path:
    """Another version of the bundle."""
    folder = Path(shutil.copytree(BUNDLE, tmp_path / "another"))
    rewrite(folder, lambda d: d.update(version="2.0.0"))
    return folder


@pytest.fixture
def keeps_nothing() -> Callable[[], bool]:
    def call() -> bool:
        return not [path for kind in ("models", "partial", "names") for path in (cache_folder() / kind).rglob("*")]

    return call


class TestPins:
    @pytest.mark.parametrize("revision", ["", "@main", "@v1", "@{commit}"])
    def test_with_and_without_a_revision(self, revision: str, hub: Hub, commit: str, aae_zoo: AaeZoo) -> None:
        hub.set("org/small", tags={"v1": commit})
        name = f"org/small{revision.format(commit=commit)}{PIN}"
        assert "is pulled from org/small@" in aae_zoo("pull", name).out
        hub.requests.clear()
        assert "is cached, every file" in aae_zoo("pull", name).out
        assert np.array_equal(load(name).sample(2), load(BUNDLE).sample(2))
        assert aae_zoo("info", name).status == aae_zoo("verify", name).status == 0
        assert not hub.requests

    def test_load_pulls_what_is_pinned(self, commit: str, keeps_nothing: Callable[[], bool]) -> None:
        with pytest.raises(InvalidBundle, match="org/small@main has a manifest of SHA-256 .*, the pin expects 000"):
            load(f"org/small{OTHER}")
        assert keeps_nothing()
        assert load(f"org/small@{commit}{PIN}").manifest.version == "1.0.0"

    def test_a_branch_that_moved_on(self, hub: Hub, commit: str, another: Path, refused: Callable[..., str]) -> None:
        hub.add("org/small", another)
        assert "leave the pin out to have what is there now" in refused("pull", f"org/small{PIN}")
        assert pull("org/small").bundle.manifest.version == "2.0.0"
        hub.close()
        with pytest.raises(HubError):  # and not the version that was pulled last
            pull(f"org/small{PIN}")

    def test_a_mirror_with_another_manifest_under_the_pinned_commit(
        self, hub: Hub, commit: str, another: Path, keeps_nothing: Callable[[], bool], refused: Callable[..., str]
    ) -> None:
        hub.order(r"resolve/.*/manifest\.json", status=200, body=(another / "manifest.json").read_bytes())
        for command in ("pull", "sample"):
            said = refused(command, f"org/small@{commit}{PIN}")
            assert f"org/small@{commit} has a manifest of SHA-256" in said
            assert f"the pin expects {PIN.removeprefix('#sha256=')}" in said
            assert keeps_nothing()
        assert pull(f"org/small@{commit}", only=["prior"]).bundle.manifest.version == "2.0.0"  # without the pin

    @pytest.mark.parametrize("pin", ["", PIN])
    def test_a_mirror_with_another_commit(
        self,
        pin: str,
        hub: Hub,
        commit: str,
        another: Path,
        keeps_nothing: Callable[[], bool],
        refused: Callable[..., str],
    ) -> None:
        newer = hub.add("org/small", another)
        hub.order(r"GET /api/models", status=200, body=json.dumps({"id": "org/small", "sha": newer}).encode())
        assert f"answers with the commit {newer}, expected {commit}" in refused("pull", f"org/small@{commit}{pin}")
        assert keeps_nothing()

    def test_an_altered_manifest_in_the_cache(self, commit: str, refused: Callable[..., str]) -> None:
        pull(f"org/small{PIN}")
        (model,) = cached_models()
        rewrite(model.folder, lambda d: d.update(version="2.0.0"))
        assert f"aae-zoo pull org/small{PIN}" in refused("sample", f"org/small{PIN}")

    def test_names_of_the_catalogue(self, hub: Hub, another: Path, tmp_path: Path, aae_zoo: AaeZoo) -> None:
        assert "is shipped, every file" in aae_zoo("pull", f"digits-gauss{PIN}").out
        assert load(f"digits-gauss{PIN}").manifest.version == "1.0.0"
        newer = f"digits-gauss#sha256={open_bundle(another).manifest_sha256}"
        with pytest.raises(ModelNotFound, match="#sha256=.* is not shipped with this package and not in the cache"):
            find_model(newer)
        with pytest.raises(ModelNotFound, match="#sha256=.* is not shipped with this package, not in the cache"):
            load(newer)
        shutil.copytree(another, tmp_path / "shelf" / "digits-gauss")
        assert "2.0.0 is pulled from" in aae_zoo("pull", newer, "--from", tmp_path / "shelf").out
        assert load(newer).manifest.version == "2.0.0"
        assert load("digits-gauss").manifest.version == "1.0.0"
        assert not hub.requests

    @pytest.mark.parametrize("name", ["org/small", "org/small@v1", f"org/small@{40 * 'a'}"])
    def test_folders_of_bundles(
        self, name: str, tmp_path: Path, keeps_nothing: Callable[[], bool], refused: Callable[..., str]
    ) -> None:
        shutil.copytree(BUNDLE, tmp_path / "small")
        assert "the pin expects 000" in refused("pull", f"{name}{OTHER}", "--from", tmp_path)
        assert keeps_nothing()
        assert pull(f"{name}{PIN}", folder=tmp_path).where == f"pulled from {tmp_path / 'small'}"
        assert load(f"{name}{PIN}").manifest.version == "1.0.0"

    def test_a_bundles_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
    ) -> None:
        assert load(f"{BUNDLE}{PIN}").manifest.version == "1.0.0"
        assert "manifest.json has SHA-256" in refused("sample", f"{BUNDLE}{OTHER}")
        assert "is no bundle: it has no manifest.json" in refused("sample", f"{tmp_path}{PIN}")
        for name in ("run#1", f"small{OTHER}"):
            shutil.copytree(BUNDLE, tmp_path / name)
        monkeypatch.chdir(tmp_path)
        assert load("run#1").manifest.version == load(f"run#1{PIN}").manifest.version == "1.0.0"  # no pin, but a name
        with pytest.raises(ModelNotFound, match="there is no model 'small'"):  # a pin, and not a folder's name
            load(f"small{OTHER}")

    @pytest.mark.parametrize(
        "pin", ["#", "#sha256=", "#sha256=12", f"{PIN}0", PIN.upper(), "#sha512=12", f"{PIN}@main", f"{PIN}#"]
    )
    def test_a_malformed_pin(self, pin: str, hub: Hub, refused: Callable[..., str]) -> None:
        for command in (["pull"], ["info"], ["sample"], ["verify"], ["evaluate"]):
            for name in ("digits-gauss", "org/small"):
                assert "has no pin after its #; expected #sha256= and" in refused(*command, f"{name}{pin}")
        assert not hub.requests
