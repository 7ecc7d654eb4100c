"""Identity: a pin names one model, whoever answers for it; a signature says whose it is."""

import base64
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import AaeZoo, replace_graph, rewrite
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hub import Hub

from aae_zoo.runtime import HubError, InvalidBundle, ModelNotFound, load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.signature import MAX_SIGNATURE_BYTES
from aae_zoo.runtime.store.cache import cache_folder, cached_models
from aae_zoo.runtime.store.catalogue import find_model
from aae_zoo.runtime.store.pull import pull

BUNDLE = Path(__file__).parents[3] / "runtime" / "models" / "digits-gauss"
PIN = f"#sha256={open_bundle(BUNDLE).manifest_sha256}"
OTHER = "#sha256=" + 64 * "0"


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
        assert "is not a bundle: it has no manifest.json" in refused("sample", f"{tmp_path}{PIN}")
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


def write_keys(
    stem: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, lock: KeySerializationEncryption
) -> None:
    """Write a key as STEM.pem and STEM.pub."""
    stem.with_suffix(".pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stem.with_suffix(".pub").write_bytes(public)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder of keys: those of the owner and of somebody else, and some that the format does not know."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name, curve in {"owner": ec.SECP256R1(), "else": ec.SECP256R1(), "k": ec.SECP256K1()}.items():
        write_keys(folder / name, ec.generate_private_key(curve), NoEncryption())
    write_keys(folder / "rsa", rsa.generate_private_key(65537, 2048), NoEncryption())
    write_keys(folder / "locked", ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"secret"))
    (folder / "text.pem").write_text("no key")
    (folder / "text.pub").write_text("no key")
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the bundle that a test may sign and damage."""
    return Path(shutil.copytree(BUNDLE, tmp_path / "copy"))


@pytest.fixture
def signed(copy: Path, keys: Path, aae_zoo: AaeZoo) -> Path:
    """The copy, signed by its owner."""
    result = aae_zoo("sign", copy, "--key", keys / "owner.pem")
    assert result.out == f"signed: {copy / 'model.sig'}; publish the bundle, and the public key elsewhere\n"
    return copy


def upstream(verb: str, bundle: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line of model-signing itself."""
    program: list[str | Path] = [
        sys.executable,
        "-m",
        "model_signing",
        verb,
        "key",
        bundle,
        "--signature",
        bundle / "model.sig",
    ]
    return subprocess.run([*program, *options], capture_output=True, text=True, check=False)


class TestSignatures:
    @pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
    def test_upstream_takes_ours_and_we_take_its(
        self, curve: ec.EllipticCurve, copy: Path, tmp_path: Path, aae_zoo: AaeZoo
    ) -> None:
        write_keys(tmp_path / "key", ec.generate_private_key(curve), NoEncryption())
        private, public = tmp_path / "key.pem", tmp_path / "key.pub"
        assert aae_zoo("sign", copy, "--key", private).status == 0
        assert upstream("verify", copy, "--public_key", public).returncode == 0
        (copy / "model.sig").unlink()
        assert upstream("sign", copy, "--private_key", private).returncode == 0
        result = aae_zoo("pull", copy, "--signer", public)
        assert f"every file as it should be and signed with the key of {public}" in result.out

    def test_without_a_network(
        self, signed: Path, keys: Path, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(socket, "socket", None)
        assert aae_zoo("sign", signed, "--key", keys / "owner.pem").status == 0
        assert aae_zoo("pull", signed, "--signer", keys / "owner.pub").status == 0

    def test_on_windows(self, signed: Path, keys: Path, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
        """It opens no temporary file by its name as long as it is open: as if the file had none."""
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", tempfile.TemporaryFile)
        assert aae_zoo("pull", signed, "--signer", keys / "owner.pub").status == 0

    def test_it_is_published_and_pulled_with_the_bundle(
        self, signed: Path, keys: Path, hub: Hub, aae_zoo: AaeZoo
    ) -> None:
        first = json.loads(aae_zoo("publish", signed, "--repo", "org/small", "--json").out)
        assert "model.sig" in first["added"]
        assert json.loads(aae_zoo("publish", signed, "--repo", "org/small", "--json").out)["added"] == []
        found = aae_zoo("pull", first["pin"], "--signer", keys / "owner.pub").out
        assert f"is pulled from org/small@{first['commit']}, every file as it should be and signed" in found
        (model,) = cached_models()
        assert (model.state, model.sha256) == ("whole", open_bundle(BUNDLE).manifest_sha256)
        assert upstream("verify", model.folder, "--public_key", keys / "owner.pub").returncode == 0
        assert np.array_equal(load("org/small").sample(2), load(BUNDLE).sample(2))
        hub.requests.clear()
        assert "is cached, every file" in aae_zoo("pull", first["pin"], "--signer", keys / "owner.pub").out
        assert not hub.requests
        hub.close()
        with pytest.warns(RuntimeWarning, match="as it was when it was last pulled"):
            assert pull("org/small", signer=keys / "owner.pub").where == "cached"
        with pytest.raises(InvalidBundle, match="was not signed with the key that belongs to .*else.pub"):
            pull("org/small", signer=keys / "else.pub")

    def test_one_that_comes_later(
        self, copy: Path, keys: Path, hub: Hub, aae_zoo: AaeZoo, refused: Callable[..., str]
    ) -> None:
        hub.add("org/small", copy)
        load("org/small")  # the graphs alone
        signer = ("--signer", keys / "owner.pub")
        assert "org/small@main is not signed, it has no model.sig" in refused("pull", "org/small", *signer)
        aae_zoo("sign", copy, "--key", keys / "owner.pem")
        hub.add("org/small", copy)
        assert "is pulled from" in aae_zoo("pull", "org/small", *signer).out
        assert "is cached" in aae_zoo("pull", "org/small", *signer).out
        aae_zoo("sign", copy, "--key", keys / "else.pem")
        hub.add("org/small", copy)
        assert "was not signed with the key that belongs to" in refused("pull", "org/small", *signer)
        assert "is pulled from" in aae_zoo("pull", "org/small").out  # without asking whose it is
        assert (cached_models()[0].folder / "model.sig").read_bytes() == (copy / "model.sig").read_bytes()

    def test_a_folder_of_bundles(self, signed: Path, keys: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        arguments = ("pull", "org/copy", "--from", tmp_path, "--signer")
        assert "was not signed with the key that belongs to" in refused(*arguments, keys / "else.pub")
        assert not [*(cache_folder() / "models").rglob("*"), *(cache_folder() / "partial").rglob("*")]
        assert pull("org/copy", folder=tmp_path, signer=keys / "owner.pub").where == f"pulled from {signed}"

    def test_every_file_that_was_tampered_with_is_named(
        self, signed: Path, keys: Path, refused: Callable[..., str]
    ) -> None:
        for name in ("decoder.onnx", "README.md"):
            with (signed / name).open("ab") as stream:
                stream.write(b"x")
        for name in ("prior.onnx", "codes.npz"):
            (signed / name).unlink()
        (signed / "evil.py").write_text("x")
        said = refused("pull", signed, "--signer", keys / "owner.pub")
        expected = "altered: README.md, decoder.onnx; added: evil.py; removed: codes.npz, prior.onnx; do not trust it"
        assert f"{signed} is not what was signed: {expected}" in said
        assert upstream("verify", signed, "--public_key", keys / "owner.pub").returncode == 1

    def test_a_manifest_that_agrees_to_what_was_tampered_with(
        self, signed: Path, keys: Path, hub: Hub, refused: Callable[..., str], keeps_nothing: Callable[[], bool]
    ) -> None:
        replace_graph(signed, "decoder.onnx", (signed / "decoder.onnx").read_bytes() + b"x")
        replace_graph(signed, "evil.txt", b"x")
        rewrite(signed, lambda d: d["files"].pop("codes.png"))
        hub.add("org/small", signed)
        said = refused("pull", "org/small", "--signer", keys / "owner.pub")
        expected = "altered: decoder.onnx, manifest.json; added: evil.txt; removed: codes.png"
        assert f"org/small@main is not what was signed: {expected}" in said
        assert keeps_nothing()

    @pytest.mark.parametrize("kind", ["key", "damage", "absence"])
    def test_nothing_is_kept_of_what_is_not_the_signers(
        self,
        kind: str,
        signed: Path,
        keys: Path,
        hub: Hub,
        refused: Callable[..., str],
        keeps_nothing: Callable[[], bool],
    ) -> None:
        if kind == "damage":
            (signed / "model.sig").write_text("{}")
        if kind == "absence":
            (signed / "model.sig").unlink()
        hub.add("org/small", signed)
        said = refused("pull", "org/small", "--signer", keys / ("else.pub" if kind == "key" else "owner.pub"))
        expected = {
            "key": "was not signed with the key that belongs",
            "damage": "is damaged",
            "absence": "is not signed",
        }
        assert expected[kind] in said
        assert keeps_nothing()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("empty", "is damaged"),
            ("half", "is damaged"),
            ("binary", "is damaged"),
            ("nested", "is damaged"),
            ("list", "is damaged"),
            ("payload", "was not signed with the key that belongs to"),
            ("signature", "was not signed with the key that belongs to"),
            ("none", "was not signed with the key that belongs to"),
            ("large", f"has over {MAX_SIGNATURE_BYTES} bytes"),
            ("blake3", "is over 'blake3 of files', expected sha256 of files"),
            ("link", "is not a file of the bundle itself"),
            ("folder", "is not a file of the bundle itself"),
        ],
    )
    def test_a_damaged_signature(
        self, name: str, message: str, signed: Path, keys: Path, refused: Callable[..., str]
    ) -> None:
        path = signed / "model.sig"
        content = path.read_bytes()
        path.unlink()
        if name == "link":
            (signed.parent / "elsewhere").write_bytes(content)
            path.symlink_to(signed.parent / "elsewhere")
        elif name == "folder":
            path.mkdir()
        else:
            path.write_bytes(damaged(content, name))
        assert message in refused("pull", signed, "--signer", keys / "owner.pub")

    def test_a_signature_that_leaves_out_the_manifest(
        self, copy: Path, keys: Path, refused: Callable[..., str]
    ) -> None:
        """Anybody could then alter every file, if the signer's own list of exceptions was followed."""
        private, public = keys / "owner.pem", keys / "owner.pub"
        assert (
            upstream("sign", copy, "--private_key", private, "--ignore-paths", copy / "manifest.json").returncode == 0
        )
        assert upstream("verify", copy, "--public_key", public).returncode == 0
        assert "is not what was signed: added: manifest.json" in refused("pull", copy, "--signer", public)

    @pytest.mark.parametrize("name", ["none", "text", "rsa", "k", "locked"])
    def test_what_is_no_key(self, name: str, signed: Path, keys: Path, refused: Callable[..., str]) -> None:
        before = (signed / "model.sig").read_bytes()
        assert f"{name}.pem is not a private key (" in refused("sign", signed, "--key", keys / f"{name}.pem")
        assert (signed / "model.sig").read_bytes() == before
        public = keys / ("owner.pem" if name == "locked" else f"{name}.pub")
        said = refused("pull", signed, "--signer", public)
        assert f"{public} is not a public key (" in said
        assert "expected PEM of the curve P-256, P-384 or P-521, without a password" in said

    def test_a_part_of_what_was_signed(self, signed: Path, keys: Path, refused: Callable[..., str]) -> None:
        for part in (["--only", "decoder"], ["--precision", "fp32"]):
            said = refused("pull", signed, *part, "--signer", keys / "owner.pub")
            assert "a signature is over every file of a bundle; leave out --signer, or --precision and --only" in said

    def test_what_is_not_signed(self, copy: Path, keys: Path, refused: Callable[..., str]) -> None:
        (copy / "notes.txt").write_text("x")
        assert "notes.txt, not in its manifest" in refused("sign", copy, "--key", keys / "owner.pem")
        (copy / "notes.txt").unlink()
        (copy / "decoder.onnx").write_bytes(b"x")
        assert "decoder.onnx has 1 bytes" in refused("sign", copy, "--key", keys / "owner.pem")
        assert not (copy / "model.sig").exists()

    def test_a_signature_of_an_earlier_export_is_not_published(
        self, signed: Path, keys: Path, hub: Hub, aae_zoo: AaeZoo, refused: Callable[..., str]
    ) -> None:
        rewrite(signed, lambda d: d.update(version="2.0.0"))
        command = ("publish", signed, "--repo", "org/small")
        assert "model.sig is over other files (altered: manifest.json); aae-zoo sign the bundle again" in refused(
            *command
        )
        (signed / "model.sig").write_text("[]")
        assert "model.sig is damaged" in refused(*command)
        assert not hub.requests
        aae_zoo("sign", signed, "--key", keys / "owner.pem")
        assert aae_zoo(*command).status == 0
        (signed / "model.sig").unlink()
        assert "removed model.sig" in aae_zoo(*command).out

    def test_without_the_package(
        self, signed: Path, keys: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "model_signing", None)
        for command in (
            ("sign", signed, "--key", keys / "owner.pem"),
            ("pull", signed, "--signer", keys / "owner.pub"),
        ):
            assert "model_signing is not installed; pip install 'aae-zoo[sign]' installs it" in refused(*command)


def damaged(signature: bytes, how: str) -> bytes:
    document = json.loads(signature)
    envelope: dict[str, Any] = document["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    if how == "payload":
        statement["subject"][0]["name"] = "another"
    if how == "blake3":
        statement["predicate"]["serialization"]["hash_type"] = "blake3"
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    if how == "signature":
        envelope["signatures"][0]["sig"] = base64.b64encode(b"x" * 70).decode()
    if how == "none":
        envelope["signatures"] = []
    raw = {
        "empty": b"",
        "half": signature[:500],
        "binary": bytes(range(256)),
        "nested": b"[" * 100_000,
        "list": b"[]",
        "large": signature + b" " * MAX_SIGNATURE_BYTES,
    }
    return raw.get(how, json.dumps(document).encode())
