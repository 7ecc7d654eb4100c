"""Publishing: what is checked before, the one commit, its card, its pin, and what the Hub refuses."""

import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, AaeZoo, replace_graph, rewrite
from hub import Hub
from huggingface_hub import HfApi, ModelCard, constants

from aae_zoo.export.card.card import model_card
from aae_zoo.export.release.generated import catalogue
from aae_zoo.export.targets.publish import How, publish_files
from aae_zoo.runtime import load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.names import WEIGHTS
from aae_zoo.runtime.store import hub as runtime_hub
from aae_zoo.runtime.store.pull import pull

MODELS = ROOT / "runtime" / "models"


def put(bundle: Path, name: str, text: str) -> None:
    """Write a file of a bundle, with a manifest that agrees to it."""
    replace_graph(bundle, name, text.encode())


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a copy of a shipped bundle with today's card, for a test to damage."""

    def copy(name: str) -> Path:
        folder = Path(shutil.copytree(MODELS / name, tmp_path / "bundles" / name))
        parity = json.loads((folder / "parity.json").read_text())
        put(folder, "README.md", model_card(open_bundle(folder).manifest, parity))
        return folder

    return copy


@pytest.fixture
def digits_bundle(make: Callable[[str], Path]) -> Path:
    return make("digits-gauss")


def titles(hub: Hub, repo: str, branch: str = "main") -> list[str]:
    return [commit["title"] for commit in hub.store.history("models", repo, hub.store.revision("models", repo, branch))]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(runtime_hub, "WAITS", [0.0] * 4)


class TestOneCommit:
    def test_it_has_everything_and_is_pinned(self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo) -> None:
        result = aae_zoo("publish", digits_bundle, "--repo", "org/digits", "--tag", "v1.0.0")
        assert (result.status, result.err) == (0, "")
        assert titles(hub, "org/digits") == ["digits-gauss 1.0.0", "initial commit"]
        commit = hub.store.revision("models", "org/digits", "main") or ""
        assert f"org/digits: {hub.url}/org/digits/commit/{commit}\n" in result.out
        assert hub.store.read("models", "org/digits")["tags"] == {"v1.0.0": commit}
        files = hub.store.files("models", "org/digits", commit)
        assert {n: hub.store.content(e) for n, e in files.items() if n != ".gitattributes"} == {
            path.name: path.read_bytes() for path in digits_bundle.iterdir()
        }
        (line,) = re.findall(r"pin +(load\(.*\))", result.out)
        sha256 = hashlib.sha256((digits_bundle / "manifest.json").read_bytes()).hexdigest()
        assert line == f'load("org/digits@{commit}#sha256={sha256}")'
        assert np.array_equal(eval(line, {"load": load}).sample(2), load(digits_bundle).sample(2))  # noqa: S307

    def test_a_model_of_a_licence_that_nobody_said_is_published_without_one(
        self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo
    ) -> None:
        """As `make` and `detector` write it, which tell people to publish it."""
        path = digits_bundle / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"licence": ""}), "utf-8")
        parity = json.loads((digits_bundle / "parity.json").read_text("utf-8"))
        put(digits_bundle, "README.md", model_card(open_bundle(digits_bundle).manifest, parity))
        result = aae_zoo("publish", digits_bundle, "--repo", "org/mine", "--private")
        assert (result.status, result.err) == (0, "")
        assert "license:" not in (digits_bundle / "README.md").read_text("utf-8")

    def test_the_same_again_makes_none(self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo) -> None:
        command = ("publish", digits_bundle, "--repo", "org/digits", "--tag", "v1", "--json")
        first, second = json.loads(aae_zoo(*command).out), json.loads(aae_zoo(*command).out)
        assert first["commit"] == second["commit"]
        assert second["added"] == second["removed"] == []
        assert len(hub.asked("POST .*/commit/")) == 1

    def test_a_new_version_sends_what_changed_and_removes_what_is_gone(
        self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo
    ) -> None:
        publish = ("publish", digits_bundle, "--repo", "org/digits", "--json")
        first = json.loads(aae_zoo(*publish).out)["commit"]
        rewrite(digits_bundle, lambda d: d.update(version="2.0.0"))
        rewrite(digits_bundle, lambda d: d["files"].pop("codes.png"))
        (digits_bundle / "notes.txt").write_text("not of the bundle")
        second = json.loads(aae_zoo(*publish).out)
        assert (second["added"], second["removed"]) == (["manifest.json"], ["codes.png"])
        assert titles(hub, "org/digits")[0] == "digits-gauss 2.0.0"
        assert load(f"org/digits@{first}").manifest.version == "1.0.0"
        assert load("org/digits").manifest.version == "2.0.0"

    def test_a_dry_run_changes_nothing(self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo) -> None:
        result = aae_zoo("publish", digits_bundle, "--repo", "org/digits", "--dry-run")
        assert "would add decoder.onnx" in result.out
        assert "pin" not in result.out
        dry = json.loads(aae_zoo("publish", digits_bundle, "--repo", "org/digits", "--dry-run", "--json").out)
        assert dry["pin"] is None
        assert not hub.store.repositories("models")
        assert not hub.asked("^(POST|PUT|DELETE)")

    def test_a_private_repository(
        self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo, refused: Callable[..., str]
    ) -> None:
        aae_zoo("publish", digits_bundle, "--repo", "org/secret", "--private")
        assert hub.store.read("models", "org/secret")["private"]
        assert "no commit was made" in aae_zoo("publish", digits_bundle, "--repo", "org/secret", "--private").out
        hub.set("org/secret", private=False)
        message = refused("publish", digits_bundle, "--repo", "org/secret", "--private")
        assert "org/secret is public, and --private makes only a new repository private" in message
        assert f"{hub.url}/org/secret/settings" in message

    def test_a_pull_request(
        self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aae_zoo("publish", MODELS / "digits-gauss", "--repo", "org/digits")
        monkeypatch.setenv("HF_TOKEN", "hf_reader")
        result = aae_zoo("publish", digits_bundle, "--repo", "org/digits", "--create-pr")
        assert f"org/digits: {hub.url}/org/digits/discussions/1\n" in result.out
        assert titles(hub, "org/digits", "refs/pr/1")[0] == "digits-gauss 1.0.0"
        assert open_bundle(pull("org/digits@refs/pr/1").bundle.folder).manifest_sha256 == (
            open_bundle(digits_bundle).manifest_sha256
        )
        assert len(titles(hub, "org/digits")) == 2

    def test_a_tag_that_names_another_commit(
        self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo, refused: Callable[..., str]
    ) -> None:
        command = ("publish", digits_bundle, "--repo", "org/digits", "--tag", "v1")
        aae_zoo(*command)
        rewrite(digits_bundle, lambda d: d.update(version="2.0.0"))
        assert "the tag v1 of org/digits is at commit" in refused(*command)
        assert len(titles(hub, "org/digits")) == 2
        assert aae_zoo(*command[:-1], "v2").status == 0
        assert "give a new tag" in refused(*command)

    def test_a_static_space(self, hub: Hub, tmp_path: Path) -> None:
        """What publishes other folders than bundles."""
        (tmp_path / "index.html").write_text("<p>")
        done = publish_files("org/site", {"index.html": tmp_path / "index.html"}, "site", How(), kind="space")
        assert done.url.startswith(f"{hub.url}/spaces/org/site/commit/")
        again = publish_files("org/site", {"index.html": tmp_path / "index.html"}, "site", How(), kind="space")
        assert (again.commit, again.added) == (done.commit, ())


class TestWhatSomebodyElseHasThere:
    """A repository may have files that aae-zoo did not publish."""

    PUBLISH = ("publish", "--repo", "org/digits", "--json")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "theirs").mkdir()
        return tmp_path / "theirs"

    def test_it_stays(self, digits_bundle: Path, folder: Path, hub: Hub, aae_zoo: AaeZoo) -> None:
        aae_zoo(*self.PUBLISH, digits_bundle)
        for name in ("notes.md", "thesis.safetensors"):
            (folder / name).write_text("five years")
        hub.add("org/digits", folder)
        rewrite(digits_bundle, lambda d: d.update(version="2.0.0"))
        rewrite(digits_bundle, lambda d: d["files"].pop("codes.png"))
        done = json.loads(aae_zoo(*self.PUBLISH, digits_bundle).out)
        assert (done["added"], done["removed"]) == (["manifest.json"], ["codes.png"])
        files = hub.store.files("models", "org/digits", done["commit"])
        assert {"notes.md", "thesis.safetensors"} < files.keys()
        assert "codes.png" not in files

    @pytest.mark.parametrize("name", ["README.md", "decoder.onnx", "codes.png", "manifest.json"])
    def test_what_they_changed_is_not_written_over(
        self, name: str, digits_bundle: Path, folder: Path, hub: Hub, aae_zoo: AaeZoo, refused: Callable[..., str]
    ) -> None:
        aae_zoo(*self.PUBLISH, digits_bundle)
        (folder / name).write_text("mine")
        hub.add("org/digits", folder)
        rewrite(digits_bundle, lambda d: d.update(version="2.0.0"))
        rewrite(digits_bundle, lambda d: d["files"].pop("codes.png"))
        before = titles(hub, "org/digits")
        for more in ([], ["--dry-run"]):
            message = refused(*self.PUBLISH, digits_bundle, *more)
            assert f"org/digits has {name}" in message
            assert ", not as published by aae-zoo; give another --repo" in message
        assert titles(hub, "org/digits") == before
        assert aae_zoo(*self.PUBLISH, digits_bundle, "--create-pr").status == 0
        assert titles(hub, "org/digits") == before

    def test_another_programs_repository(
        self, digits_bundle: Path, folder: Path, hub: Hub, refused: Callable[..., str]
    ) -> None:
        for name in ("README.md", WEIGHTS, "tokenizer.json"):
            (folder / name).write_text("mine")
        hub.add("org/digits", folder)
        message = refused(*self.PUBLISH, digits_bundle)
        assert f"org/digits has README.md and {WEIGHTS}, not as published by aae-zoo" in message
        assert len(titles(hub, "org/digits")) == 2


class TestTheCard:
    @pytest.mark.parametrize("name", ["digits-gauss", "mnist-style"])
    def test_its_metadata_are_what_the_hub_takes(self, name: str, make: Callable[[str], Path], hub: Hub) -> None:
        folder = make(name)
        manifest = open_bundle(folder).manifest
        card = ModelCard((folder / "README.md").read_text("utf-8"))
        data = card.data.to_dict()
        assert (data["license"], data["library_name"]) == ("mit", "aae-zoo")
        assert data.get("datasets") == (None if name == "digits-gauss" else ["ylecun/mnist"])
        assert "arxiv:1511.05644" in data["tags"]
        assert "With [aae-zoo](https://pypi.org/project/aae-zoo/)" in card.text
        assert "[arXiv:1511.05644](https://arxiv.org/abs/1511.05644)" in str(card)
        (index,) = data["model-index"]
        results = {m["type"]: m["value"] for result in index["results"] for m in result["metrics"]}
        assert results == {key: manifest.metrics[key] for key in results}
        assert {"mse", "mmd2", "parzen"} <= set(results)
        HfApi(endpoint=hub.url)._validate_yaml(str(card))

    @pytest.mark.parametrize("name", ["digits-gauss", "mnist-style"])
    def test_its_program_without_this_package_runs(
        self, name: str, make: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = make(name)
        _, program = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
        assert "aae_zoo" not in program
        monkeypatch.chdir(folder)
        names: dict[str, Any] = {}
        exec(program, names)  # noqa: S102 - our own card
        shape = open_bundle(folder).manifest.image.axes
        assert names["images"].shape == (64, *shape)
        assert 0 <= names["images"].min() < names["images"].max() <= 1


class TestRefusals:
    """A bundle that is not right is not sent."""

    @pytest.fixture
    def refuses(self, hub: Hub, digits_bundle: Path, refused: Callable[..., str]) -> Callable[[], str]:
        def call() -> str:
            message = refused("publish", digits_bundle, "--repo", "org/digits")
            assert not hub.requests
            return message

        return call

    @pytest.mark.parametrize("name", ["decoder.onnx", WEIGHTS, "samples.png"])
    def test_a_file_that_is_missing_or_altered(
        self, name: str, digits_bundle: Path, refuses: Callable[[], str]
    ) -> None:
        with (digits_bundle / name).open("r+b") as stream:
            stream.write(b"x")
        assert f"{name} has SHA-256" in refuses()
        (digits_bundle / name).unlink()
        assert f"{name} is missing" in refuses()

    def test_a_parity_report_that_failed(self, digits_bundle: Path, refuses: Callable[[], str]) -> None:
        report = json.loads((digits_bundle / "parity.json").read_text())
        put(digits_bundle, "parity.json", json.dumps(report | {"passed": False}))
        assert "parity.json has comparisons with PyTorch that failed; export the model again" in refuses()
        for text in ("{", "[]"):
            put(digits_bundle, "parity.json", text)
            assert "parity.json " in refuses()
        some = [row for row in report["rows"] if row["graph"] != "prior"]
        some = [row for row in report["rows"] if row["graph"] != "prior"]
        for rows in ([], [1, 2], None, {"graph": "encoder"}, some):
            put(digits_bundle, "parity.json", json.dumps(report | {"rows": rows}))
            assert "with PyTorch; export the model again" in refuses()
        report["rows"][0]["passed"] = False
        put(digits_bundle, "parity.json", json.dumps(report))
        assert "parity.json has comparisons with PyTorch that failed" in refuses()

    def test_graphs_that_do_not_give_their_golden_outputs(
        self, digits_bundle: Path, refuses: Callable[[], str]
    ) -> None:
        with np.load(digits_bundle / "golden.npz") as golden:
            arrays: dict[str, Any] = dict(golden)
        np.savez(digits_bundle / "golden.npz", **arrays | {"decoder.image": arrays["decoder.image"] + 0.01})
        replace_graph(digits_bundle, "golden.npz", (digits_bundle / "golden.npz").read_bytes())
        assert "decoder" in refuses()

    @pytest.mark.parametrize(
        ("card", "message"),
        [
            ("---\nlicense: [mit\n---\n", "has no metadata that the Hub takes"),
            ("---\nlicense: mit\nmodel-index: 3\n---\n", "has no metadata that the Hub takes"),
            ("# A card without any\n", "has no license in its metadata"),
        ],
    )
    def test_a_card_that_the_hub_would_not_take(
        self, card: str, message: str, digits_bundle: Path, refuses: Callable[[], str]
    ) -> None:
        put(digits_bundle, "README.md", card)
        assert message in refuses()


class TestTheHubRefuses:
    @pytest.fixture
    def fails(self, hub: Hub, digits_bundle: Path, refused: Callable[..., str]) -> Callable[[], str]:
        """Publish, which must fail, without a commit and without any token in what is said."""

        def call() -> str:
            message = refused("publish", digits_bundle, "--repo", "org/digits")
            assert not hub.store.repositories("models") or titles(hub, "org/digits") == ["initial commit"]
            assert "hf_" not in message.replace("HF_TOKEN", "")
            return message

        return call

    def test_without_a_token(self, fails: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HF_TOKEN")
        assert "org/digits: there is no token; log in with hf auth login, or set HF_TOKEN" in fails()

    @pytest.mark.parametrize(("token", "status"), [("hf_expired", 401), ("hf_reader", 403)])
    def test_a_token_that_may_not(
        self, token: str, status: int, fails: Callable[[], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", token)
        assert f"org/digits: the Hub forbids it ({status}: " in fails()

    def test_a_name_without_an_owner(self, digits_bundle: Path, hub: Hub, refused: Callable[..., str]) -> None:
        """The Hub makes such a repository among the user's own, and does not find it then."""
        assert "'digits' has no owner, expected a repository ORG/NAME" in refused(
            "publish", digits_bundle, "--repo", "digits"
        )
        assert not hub.requests

    def test_a_tag_that_the_hub_does_not_take(self, digits_bundle: Path, hub: Hub, refused: Callable[..., str]) -> None:
        hub.order("POST .*/tag/", status=400, body=b'{"error":"Invalid tag name: a b"}')
        message = refused("publish", digits_bundle, "--repo", "org/digits", "--tag", "a b")
        assert "the Hub refuses what it was sent (400: Invalid tag name: a b); mend that and try again" in message

    def test_a_file_of_this_machine_is_no_matter_of_the_hub(
        self, fails: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path))
        assert fails() == f"error: the system refused: [Errno 21] Is a directory: '{tmp_path}'\n"

    def test_a_server_that_is_down(self, hub: Hub, fails: Callable[[], str]) -> None:
        hub.close()
        assert "cannot be reached (ConnectError" in fails()

    def test_a_server_that_says_nothing(
        self, hub: Hub, fails: Callable[[], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
        hub.order("GET /api/models", hold=0)
        assert "cannot be reached (ReadTimeout" in fails()

    @pytest.mark.parametrize(
        "pattern",
        [
            "POST /api/repos/create",
            "POST .*/preupload/",
            "POST .*/batch",
            "PUT /upload/",
            "POST /verify/",
            "POST /api/validate-yaml",
            "POST .*/commit/",
        ],
    )
    def test_a_server_that_takes_what_it_is_sent_and_never_answers(
        self, pattern: str, hub: Hub, fails: Callable[[], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: None)
        monkeypatch.setattr(runtime_hub, "SILENCE", 0.2)
        hub.order(pattern, status=200, hold=0)
        assert "cannot be reached (ReadTimeout" in fails()

    @pytest.mark.parametrize("pattern", ["GET .*/tree/", "GET .*/refs"])
    def test_a_server_that_never_says_what_it_has(
        self, pattern: str, digits_bundle: Path, hub: Hub, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", lambda _: None)
        monkeypatch.setattr(runtime_hub, "SILENCE", 0.2)
        hub.store.create("models", "org/digits", private=False)
        hub.order(pattern, status=200, hold=0)
        said = refused("publish", digits_bundle, "--repo", "org/digits", "--tag", "v1", "--dry-run")
        assert "cannot be reached (ReadTimeout" in said

    def test_an_upload_that_fails(self, hub: Hub, fails: Callable[[], str]) -> None:
        hub.order("PUT /upload", status=403)
        assert "org/digits: the Hub forbids it (403: ordered)" in fails()

    def test_a_further_try_shows_no_signed_address(
        self,
        digits_bundle: Path,
        hub: Hub,
        aae_zoo: AaeZoo,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
        hub.order("PUT /upload", status=500, times=1)
        result = aae_zoo("publish", digits_bundle, "--repo", "org/digits")
        assert (result.status, result.err) == (0, "waiting 1 s before another try\n")
        assert caplog.text == ""

    def test_metadata_that_the_hub_knows_better(self, hub: Hub, fails: Callable[[], str]) -> None:
        body = b'{"errors":[{"message":"license must be one of those"}],"warnings":[]}'
        hub.order("POST /api/validate-yaml", status=400, body=body)
        message = fails()
        assert "org/digits: the Hub refuses what it was sent: " in message
        assert "license must be one of those; mend that and publish again" in message

    def test_a_commit_that_somebody_was_faster_with(self, hub: Hub, fails: Callable[[], str]) -> None:
        hub.order("POST .*/commit/", status=412)
        assert "failed (412: " in fails()

    def test_usage(self, digits_bundle: Path, aae_zoo: AaeZoo) -> None:
        for arguments in (
            [],
            [digits_bundle],
            ["--repo", "org/x"],
            [digits_bundle, "--repo", "org/x", "--all"],
            [digits_bundle, "--repo", "org/x", "--create-pr", "--tag", "v1"],
            ["--all", "--namespace", "org", "--create-pr"],
        ):
            assert aae_zoo("publish", *arguments).status == 2, arguments


class TestABadDay:
    """What passes is waited for, which stderr says, and no commit is made twice."""

    PUBLISH = ("publish", "--repo", "org/digits", "--tag", "v1")
    COMMIT = "POST .*/commit/"

    @pytest.mark.parametrize(
        "pattern", ["GET /api/models/org/digits$", "POST /api/repos/create", COMMIT, "POST .*/tag/"]
    )
    @pytest.mark.parametrize("fault", [{"status": 429}, {"status": 500}, {"status": 502}, {"status": 503}, {"cut": 0}])
    def test_one_that_passes(
        self, pattern: str, fault: dict[str, int], digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo
    ) -> None:
        hub.order(pattern, **fault, times=1)
        result = aae_zoo(*self.PUBLISH, digits_bundle)
        reason = fault.get("status", "RemoteProtocolError")
        assert result.status == 0
        assert result.err.startswith(f"waiting 0 s before another try ({reason}: ")
        assert result.err.count("\n") == 1
        assert titles(hub, "org/digits") == ["digits-gauss 1.0.0", "initial commit"]
        commit = hub.store.revision("models", "org/digits", "main")
        assert f"/commit/{commit}\n" in result.out
        assert hub.store.read("models", "org/digits")["tags"] == {"v1": commit}

    def test_a_file_there_that_cannot_be_read_for_a_while(self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo) -> None:
        aae_zoo(*self.PUBLISH, digits_bundle)
        hub.order("GET .*manifest.json", status=503, times=1)
        result = aae_zoo(*self.PUBLISH, digits_bundle)
        assert (result.status, result.err) == (0, "waiting 1 s before another try\n")

    def test_the_wait_that_is_asked_for_is_kept(
        self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waited: list[float] = []
        monkeypatch.setattr(time, "sleep", waited.append)
        hub.order(self.COMMIT, status=429, headers={"Retry-After": "7"}, times=1)
        assert aae_zoo(*self.PUBLISH, digits_bundle).err == "waiting 7 s before another try (429: ordered)\n"
        assert 7 in waited

    def test_one_that_stays(self, digits_bundle: Path, hub: Hub, refused: Callable[..., str]) -> None:
        hub.order(self.COMMIT, status=503)
        assert "failed (503: ordered); try again later" in refused(*self.PUBLISH, digits_bundle)
        assert len(hub.asked(self.COMMIT)) == 5

    def test_somebody_who_was_faster_is_not_written_over(
        self,
        digits_bundle: Path,
        hub: Hub,
        refused: Callable[..., str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        (tmp_path / "theirs").mkdir()
        (tmp_path / "theirs" / "README.md").write_text("mine")
        monkeypatch.setattr(time, "sleep", lambda _: hub.add("org/digits", tmp_path / "theirs"))
        hub.order(self.COMMIT, status=503, times=1)
        assert "failed (412: " in refused(*self.PUBLISH, digits_bundle)
        assert titles(hub, "org/digits") == ["added", "initial commit"]

    def test_a_pull_request_whose_answer_was_lost_is_not_made_again(
        self, digits_bundle: Path, hub: Hub, aae_zoo: AaeZoo, refused: Callable[..., str]
    ) -> None:
        aae_zoo("publish", MODELS / "mnist-style", "--repo", "org/digits")
        hub.order(self.COMMIT, cut=0, times=1)
        propose = (*self.PUBLISH[:3], digits_bundle, "--create-pr")
        assert "cannot be reached (RemoteProtocolError: " in refused(*propose)
        assert list(hub.store.read("models", "org/digits")["branches"]) == ["main", "refs/pr/1"]
        assert f"{hub.url}/org/digits/discussions/1\n" in aae_zoo(*propose).out
        rewrite(digits_bundle, lambda d: d.update(title="Another"))  # of the same version
        assert f"{hub.url}/org/digits/discussions/2\n" in aae_zoo(*propose).out
        assert f"{hub.url}/org/digits/discussions/2\n" in aae_zoo(*propose).out
        assert list(hub.store.read("models", "org/digits")["branches"]) == ["main", "refs/pr/1", "refs/pr/2"]


class TestAll:
    @pytest.fixture
    def models(self, make: Callable[[str], Path]) -> Path:
        """A folder of two bundles and their catalogue."""
        bundles = [open_bundle(make(name)) for name in ("digits-gauss", "mnist-style")]
        folder = bundles[0].folder.parent
        (folder / "catalogue.json").write_text(catalogue(bundles))
        return folder

    def entries(self, models: Path) -> dict[str, Any]:
        entries: dict[str, Any] = json.loads((models / "catalogue.json").read_text())["models"]
        return entries

    def test_every_bundle_is_published_and_pinned(
        self, models: Path, hub: Hub, aae_zoo: AaeZoo, refused: Callable[..., str]
    ) -> None:
        command = ("publish", models, "--all", "--namespace", "org")
        assert "has no repository of digits-gauss; give --namespace ORG" in refused(*command[:3])
        assert aae_zoo(*command).status == 0
        for name, entry in self.entries(models).items():
            assert entry["repository"] == f"org/{name}"
            assert entry["revision"] == hub.store.revision("models", f"org/{name}", "main")
            assert entry["sha256"] == hashlib.sha256((models / name / "manifest.json").read_bytes()).hexdigest()
        before = (models / "catalogue.json").read_bytes()
        assert aae_zoo(*command[:3]).out.count("no commit was made") == 2  # where the catalogue has them
        assert (models / "catalogue.json").read_bytes() == before

    def test_what_failed_goes_on(
        self, models: Path, hub: Hub, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AAE_ZOO_NAMESPACE", "org")
        fault = hub.order("POST .*mnist-style/commit/", status=500)
        result = aae_zoo("publish", models, "--all")
        assert result.status == 1
        assert "error: org/mnist-style: the Hub at" in result.err
        assert [bool(entry["revision"]) for entry in self.entries(models).values()] == [True, False]
        fault.times = 0
        assert aae_zoo("publish", models, "--all").status == 0
        assert all(entry["revision"] for entry in self.entries(models).values())

    def test_pins_stay_when_the_catalogue_is_made_again(self, models: Path, hub: Hub, aae_zoo: AaeZoo) -> None:
        aae_zoo("publish", models, "--all", "--namespace", "org")
        pinned = self.entries(models)
        bundles = [open_bundle(models / name) for name in pinned]
        assert catalogue(bundles, pinned) == (models / "catalogue.json").read_text()
        rewrite(models / "mnist-style", lambda d: d.update(title="another"))
        changed = json.loads(catalogue([open_bundle(models / "mnist-style")], pinned))["models"]
        assert (changed["mnist-style"]["repository"], changed["mnist-style"]["revision"]) == ("org/mnist-style", None)
        assert changed["digits-gauss"] == pinned["digits-gauss"] | {"shipped": False}  # it is on the Hub alone

    def test_a_catalogue_that_is_missing_or_old(
        self, models: Path, hub: Hub, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        command = ("publish", models, "--all", "--namespace", "org")
        rewrite(models / "digits-gauss", lambda d: d.update(title="another"))
        assert "does not have digits-gauss as it is in" in refused(*command)
        (models / "catalogue.json").unlink()
        assert "run aae-zoo publish --all from the root of a checkout" in refused(*command)
        assert not hub.requests
