"""Everything that goes wrong between a machine and the Hub: one sentence each, and never half a model."""

import contextlib
import datetime
import ipaddress
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, AaeZoo
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hub import Fault, Hub
from huggingface_hub import constants

from aae_zoo.runtime import HubError, InvalidBundle, load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.store import hub as runtime_hub
from aae_zoo.runtime.store.cache import cache_folder, cached_models, model_folder, partial_folder
from aae_zoo.runtime.store.pull import pull

BUNDLE = ROOT / "runtime" / "models" / "digits-gauss"
SHA256 = open_bundle(BUNDLE).manifest_sha256
SIZE = (BUNDLE / "decoder.onnx").stat().st_size
AAE_ZOO = Path(sys.executable).with_name("aae-zoo")
LOOK_UP = "GET /api/models/org/small/"
DECODER = "GET .*decoder.onnx"

pytestmark = pytest.mark.filterwarnings("default::RuntimeWarning")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(runtime_hub, "WAITS", [0.0] * 4)


@pytest.fixture
def closed(hub: Hub, commit: str) -> Hub:
    """A hub that is down, after org/small was pulled from it."""
    pull("org/small")
    hub.close()
    return hub


@pytest.fixture
def fails(refused: Callable[..., str]) -> Callable[..., str]:
    """Pull org/small, which must fail with one sentence and leave no model; the sentence is returned."""

    def call(*arguments: object) -> str:
        message = refused("pull", *(arguments or ["org/small"]))
        assert not (cache_folder() / "models").exists()
        return message

    return call


def is_whole() -> bool:
    folder = model_folder(SHA256)
    return {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in BUNDLE.iterdir()}


class TestNoAnswer:
    def test_a_server_that_is_down(self, hub: Hub, commit: str, fails: Callable[..., str]) -> None:
        hub.close()
        message = fails()
        assert f"org/small@main: the Hub at {hub.url} cannot be reached (ConnectError: " in message
        assert "check the network and HF_ENDPOINT" in message

    def test_a_server_that_is_down_when_the_model_is_here(self, closed: Hub, commit: str, aae_zoo: AaeZoo) -> None:
        assert load("org/small").sample(1).shape == (1, 1, 8, 8)
        assert "is cached" in aae_zoo("pull", f"org/small@{commit}").out
        with pytest.warns(RuntimeWarning, match="cannot be reached .*; org/small is as it was when it was last pulled"):
            assert pull("org/small").where == "cached"
        with pytest.raises(HubError):
            pull("org/small", force=True)

    def test_a_look_up_that_is_never_answered(
        self, hub: Hub, commit: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.1)
        hub.order(LOOK_UP, hold=0)
        assert "cannot be reached (ReadTimeout: " in fails()
        assert len(hub.asked(LOOK_UP)) == 1

    def test_a_download_that_stands_still(
        self, hub: Hub, commit: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        stuck = hub.order(DECODER, hold=0)
        assert "cannot be reached (ReadTimeout: " in fails()
        assert len(hub.asked(DECODER)) == 5
        stuck.times = 0
        hub.order(DECODER, hold=1000, times=1)
        pull("org/small")
        assert is_whole()

    @pytest.mark.parametrize("body", [b"<p>Please log in to this network</p>", b"{}", b"[]"])
    def test_somebody_else_who_answers(self, body: bytes, hub: Hub, commit: str, fails: Callable[..., str]) -> None:
        hub.order(LOOK_UP, status=200, body=body)
        assert f"org/small@main: {hub.url} does not answer as a Hub" in fails()

    @pytest.mark.parametrize(
        "address", ["nonsense", "http://127.0.0.1:x", "http://hub\n", "http://hub/?a", " http://hub"]
    )
    def test_an_endpoint_that_is_no_address(
        self, address: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert f"HF_ENDPOINT is {address!r}, expected an address such as https://huggingface.co" in fails()


class TestCompanyNetworks:
    """A proxy, certificates of the network's own, a mirror with a password."""

    @pytest.mark.parametrize(
        "address", ["http://me:pa/ss@host:3128", "http://me:pa#ss@host:3128", "ftp://host", "http://["]
    )
    def test_a_proxy_that_is_no_address(
        self, address: str, hub: Hub, commit: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("https_proxy", address)
        message = fails()
        assert "HTTPS_PROXY is not the address of a proxy, expected one such as http://USER:PASSWORD@HOST" in message
        assert "ss@" not in message

    @pytest.mark.skipif(find_spec("socksio") is not None, reason="socksio is installed")
    def test_a_proxy_that_speaks_socks(self, hub: Hub, commit: str) -> None:
        environment = os.environ | {"ALL_PROXY": "socks5://127.0.0.1:9"}
        result = subprocess.run([AAE_ZOO, "pull", "org/small"], capture_output=True, text=True, env=environment)
        assert result.stderr == (
            "error: org/small@main: the proxy that is set speaks SOCKS, which needs socksio; pip install socksio\n"
        )

    @pytest.mark.parametrize("status", [407, 404, 403])
    def test_the_way_is_named_where_the_answer_is_not_the_hubs(
        self, status: int, hub: Hub, commit: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        hub.order(LOOK_UP, status=status, headers={"Content-Type": "text/html; charset=utf-8"})
        assert f"({status}: ordered); check the network, HTTPS_PROXY, NO_PROXY and HF_ENDPOINT" in fails()

    def test_a_certificate_that_nobody_knows(
        self, tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with showing(tmp_path, days=1) as address:
            monkeypatch.setenv("HF_ENDPOINT", address)
            assert "has a certificate of its own, set SSL_CERT_FILE to a file (PEM) with it" in fails()

    def test_a_certificate_that_is_not_of_today(self, tmp_path: Path) -> None:
        """Of any, for a machine whose clock stands at its first day."""
        with showing(tmp_path, days=-1) as address:
            environment = os.environ | {"HF_ENDPOINT": address, "SSL_CERT_FILE": str(tmp_path / "both.pem")}
            result = subprocess.run([AAE_ZOO, "pull", "org/small"], capture_output=True, text=True, env=environment)
        assert "certificate has expired" in result.stderr
        assert "see whether the clock of this machine is right, which says 20" in result.stderr

    def test_certificates_that_cannot_be_read(self, hub: Hub, tmp_path: Path) -> None:
        (tmp_path / "no.pem").write_text("none")
        for path in (tmp_path, tmp_path / "gone", tmp_path / "no.pem"):
            environment = os.environ | {"SSL_CERT_FILE": str(path)}
            result = subprocess.run([AAE_ZOO, "pull", "org/small"], capture_output=True, text=True, env=environment)
            expected = f"error: org/small@main: SSL_CERT_FILE is '{path}', expected a file (PEM) with certificates ("
            assert result.stderr.startswith(expected)
            assert result.stderr.count("\n") == 1

    def test_the_password_of_a_mirror_is_not_shown(
        self, hub: Hub, commit: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("://", "://me:secret@"))
        for fault in ({"status": 404}, {"status": 404, "body": b""}, {"status": 200, "body": b"[]"}):
            hub.order(LOOK_UP, **fault, times=1)
            message = fails()
            assert hub.url in message
            assert "secret" not in message
        monkeypatch.setenv("HF_ENDPOINT", "http://me:secret@hub:x")
        assert "HF_ENDPOINT is 'http://hub:x', expected" in fails()


@contextlib.contextmanager
def showing(folder: Path, days: int) -> Iterator[str]:
    """The address of a server with a certificate of its own, as old as those days; a client is to refuse it once."""
    both, now = folder / "both.pem", datetime.datetime.now(datetime.UTC)
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(9))
        .not_valid_after(now + datetime.timedelta(days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet, args=(server, context))
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def greet(server: socket.socket, context: ssl.SSLContext) -> None:
    """Show a client our certificate, which it refuses."""
    with server.accept()[0] as connection, pytest.raises(OSError):
        context.wrap_socket(connection, server_side=True)


class TestRefusals:
    def test_a_model_that_there_is_not(self, hub: Hub, fails: Callable[..., str]) -> None:
        assert f"org/small@main: {hub.url} has no such repository, or it is private; check the name" in fails()

    def test_a_revision_that_there_is_not(self, commit: str, fails: Callable[..., str]) -> None:
        assert "org/small@v9: the repository has no such revision; give another" in fails("org/small@v9")

    def test_a_repository_that_is_no_bundle(self, hub: Hub, tmp_path: Path, fails: Callable[..., str]) -> None:
        hub.add("org/small", tmp_path)
        assert "the repository lacks a file that a bundle has (manifest.json)" in fails()

    @pytest.mark.parametrize("name", ["org/a--b", "org/small.git"])
    def test_a_name_that_no_repository_has(self, name: str, hub: Hub, fails: Callable[..., str]) -> None:
        assert "expected a repository ORG/NAME" in fails(name)

    def test_a_private_model_without_a_token(
        self, hub: Hub, commit: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.set("org/small", private=True)
        pull("org/small")
        shutil.rmtree(cache_folder())
        monkeypatch.delenv("HF_TOKEN")
        assert "or it is private; check the name, or log in with hf auth login, or set HF_TOKEN" in fails()

    def test_a_gated_model(
        self, hub: Hub, commit: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.set("org/small", gated="manual")
        monkeypatch.setenv("HF_TOKEN", "hf_reader")
        assert f"org/small@main is gated: ask for access at {hub.url}/org/small, then log in" in fails()

    def test_a_repository_that_the_hub_has_disabled(self, hub: Hub, commit: str, fails: Callable[..., str]) -> None:
        hub.order(LOOK_UP, status=403, headers={"X-Error-Message": "Access to this resource is disabled."})
        assert "org/small@main: the Hub has disabled this repository; ask its owner, or take another" in fails()

    def test_a_token_that_can_be_none(
        self, hub: Hub, commit: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_ow“ner")
        assert "org/small@main: the token has characters that no token has; log in with hf auth login" in fails()

    def test_an_expired_token_and_a_public_model(self, hub: Hub, commit: str) -> None:
        environment = os.environ | {"HF_TOKEN": "hf_expired"}
        command: list[str | Path] = [AAE_ZOO, "pull", "org/small"]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert result.stderr == (
            f"warning: {hub.url} refuses the token that is set, going on without it; log in with hf auth login, "
            "or set HF_TOKEN\n"
        )
        assert is_whole()
        assert hub.tokens.count("hf_expired") == 1

    def test_an_expired_token_and_a_private_model(
        self, hub: Hub, commit: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.set("org/small", private=True)
        monkeypatch.setenv("HF_TOKEN", "hf_expired")
        with pytest.warns(RuntimeWarning, match="refuses the token"):
            assert "or it is private" in fails()

    @pytest.mark.parametrize("pattern", [LOOK_UP, DECODER])
    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}])
    def test_a_server_that_is_busy_for_a_while(
        self, pattern: str, status: int, headers: dict[str, str], hub: Hub, commit: str
    ) -> None:
        hub.order(pattern, status=status, headers=headers, times=2)
        pull("org/small")
        assert is_whole()
        assert len(hub.asked(pattern)) == 3

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_server_that_stays_busy(self, status: int, hub: Hub, commit: str, fails: Callable[..., str]) -> None:
        order = hub.order(LOOK_UP, status=status)
        assert f"failed ({status}: ordered); try again later" in fails()
        assert len(hub.asked(LOOK_UP)) == 5
        order.headers = {"Retry-After": "3600"}
        assert "try again in 3600 s" in fails()
        assert len(hub.asked(LOOK_UP)) == 6  # an hour is not waited for

    @pytest.mark.parametrize("header", [("Retry-After", "7"), ("RateLimit", '"api";r=0;t=7')])
    def test_a_wait_that_is_asked_for_is_kept(
        self, header: tuple[str, str], hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the header of any server, or by the Hub's own."""
        waited: list[float] = []
        monkeypatch.setattr(time, "sleep", waited.append)
        hub.order(LOOK_UP, status=429, headers=dict([header]), times=1)
        pull("org/small")
        assert 7 in waited


class TestWhatIsNoMatterOfTheHub:
    """A fault of our own stays what it is."""

    def test_a_fault_in_our_code(self, hub: Hub) -> None:
        with pytest.raises(TypeError, match="int"), runtime_hub.hub_errors("org/small"):
            len(1)  # type: ignore[arg-type]

    def test_a_file_of_this_machine(self, hub: Hub, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="missing"), runtime_hub.hub_errors("org/small"):
            (tmp_path / "missing").read_bytes()


class TestBytes:
    def test_a_connection_cut_in_the_middle_goes_on(self, hub: Hub, commit: str) -> None:
        hub.order(DECODER, cut=50_000, times=2)
        pull("org/small")
        assert is_whole()
        ranges = [r for r, asked in zip(hub.ranges, hub.requests, strict=True) if "decoder.onnx" in asked]
        assert ranges == ["", "bytes=50000-", "bytes=100000-"]

    def test_one_that_is_cut_again_and_again_goes_on_while_something_comes(self, hub: Hub, commit: str) -> None:
        hub.order(DECODER, cut=SIZE // 9, times=8)
        pull("org/small")
        assert is_whole()

    def test_one_that_never_brings_anything(self, hub: Hub, commit: str, fails: Callable[..., str]) -> None:
        always = hub.order(DECODER, cut=0)
        assert "cannot be reached (RemoteProtocolError: " in fails()
        always.times = 0
        pull("org/small")
        assert is_whole()

    def test_wrong_bytes_with_the_right_length(self, hub: Hub, commit: str, fails: Callable[..., str]) -> None:
        hub.order(DECODER, altered=True, times=1)
        assert "decoder.onnx came with SHA-256 " in fails()
        pull("org/small")
        assert is_whole()
        assert len(hub.asked(r"GET .*encoder\.onnx")) == 1  # what was right has stayed

    def test_a_file_shorter_than_announced(self, hub: Hub, commit: str, fails: Callable[..., str]) -> None:
        hub.order(DECODER, shorter=100)
        message = fails()
        assert f"decoder.onnx came with {SIZE - 100} bytes, expected {SIZE}; pull again, and if it" in message

    def test_a_manifest_that_was_altered(self, hub: Hub, commit: str, fails: Callable[..., str]) -> None:
        hub.order("GET .*manifest.json", shorter=100)
        assert "org/small@main/manifest.json is not JSON" in fails()

    def test_a_manifest_without_end(self, hub: Hub, commit: str, tmp_path: Path, fails: Callable[..., str]) -> None:
        (tmp_path / "manifest.json").write_bytes(b" " * (3 << 20))
        hub.add("org/small", tmp_path)
        assert "a manifest has at most" in fails()

    def test_a_mirror_that_knows_no_ranges(self, hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.order(DECODER, cut=50_000, times=1)
        hub.ignores_ranges = True
        pull("org/small")
        assert is_whole()


class TestDisks:
    def test_a_full_disk(self, hub: Hub, commit: str) -> None:
        """No file may grow beyond 100 kB: the write fails half-way, as on a full disk."""
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
        result = subprocess.run([AAE_ZOO, "pull", "org/small"], capture_output=True, text=True, preexec_fn=limit)
        assert result.returncode == 1
        assert f"cannot write to the cache {cache_folder()}: File too large; make room there, or set" in result.stderr
        assert result.stderr.count("\n") == 1
        assert not (cache_folder() / "models").exists()
        pull("org/small")
        assert is_whole()

    def test_a_cache_that_cannot_be_written(
        self, commit: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AAE_ZOO_CACHE", "/proc/cache")
        for command in (["pull", "org/small"], ["sample", "org/small"]):
            assert "cannot write to the cache /proc/cache: " in refused(*command)

    def test_a_warm_cache_need_not_be_writable(self, hub: Hub, commit: str, aae_zoo: AaeZoo) -> None:
        """Nothing is written there, so that it may be on a read-only file system."""
        pull("org/small")
        before = {path: path.stat().st_mtime_ns for path in cache_folder().rglob("*")}
        load("org/small").sample(1)
        for name in ("org/small", f"org/small@{commit}"):
            assert aae_zoo("pull", name).status == 0
        assert {path: path.stat().st_mtime_ns for path in cache_folder().rglob("*")} == before


class TestDamage:
    """A cache in which somebody has worked by hand."""

    @pytest.fixture
    def folder(self, commit: str) -> Path:
        return pull("org/small").bundle.folder

    @pytest.mark.parametrize("name", ["decoder.onnx", "manifest.json"])
    @pytest.mark.parametrize("how", ["altered", "truncated", "missing"])
    def test_it_is_refused_and_pull_mends_it(self, name: str, how: str, folder: Path, hub: Hub) -> None:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        if how != "missing":
            (folder / name).write_bytes(content[:-2] + b"\n" if how == "truncated" else content.replace(b"0", b"1", 1))
        hub.requests.clear()
        if (name, how) != ("manifest.json", "missing"):  # which is no model, and pulled like one
            with pytest.raises(InvalidBundle, match="aae-zoo pull org/small|pull or export the model again"):
                load("org/small").sample(1)
            assert not hub.requests
        pull("org/small")
        assert is_whole()
        assert not hub.asked(r"GET .*encoder\.onnx")

    def test_a_damaged_record_of_names_is_none(self, folder: Path, hub: Hub) -> None:
        for path in (cache_folder() / "names" / "org").iterdir():
            path.write_text('{"commit": ')
        assert load("org/small").sample(1).shape == (1, 1, 8, 8)
        assert not hub.asked(r"\.onnx")[3:]

    def test_a_download_that_was_altered_meanwhile(self, hub: Hub, commit: str) -> None:
        partial_folder(SHA256).mkdir(parents=True)
        (partial_folder(SHA256) / "decoder.onnx").write_bytes(b"x" * 1000)
        (partial_folder(SHA256) / "encoder.onnx").write_bytes(b"x" * 10**6)
        pull("org/small")
        assert is_whole()


class TestOffline:
    """HF_HUB_OFFLINE, which the client reads when it is imported."""

    def sample(self, name: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [AAE_ZOO, "sample", name, "-n", "1", "-o", tmp_path / "x.npy"]
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    def test_cold_and_warm(self, hub: Hub, commit: str, tmp_path: Path) -> None:
        cold = self.sample("org/small", tmp_path)
        assert cold.returncode == 1
        assert cold.stderr == ("error: org/small@main: HF_HUB_OFFLINE is set, so the Hub is not asked; unset it\n")
        assert not hub.requests
        pull("org/small")
        hub.requests.clear()
        assert self.sample("org/small", tmp_path).returncode == 0
        assert np.array_equal(np.load(tmp_path / "x.npy"), load(BUNDLE).sample(1))
        assert not hub.requests


def wait_until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.01)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


class TestProcesses:
    def test_a_pull_that_is_killed_goes_on_the_next_time(self, hub: Hub, commit: str) -> None:
        """With every byte that came, though they are fewer than Python keeps back when it writes to a file."""
        hub.order(DECODER, hold=1_000, times=1)
        process = subprocess.Popen([AAE_ZOO, "pull", "org/small"])
        part = partial_folder(SHA256) / "decoder.onnx"
        wait_until(lambda: part.is_file() and part.stat().st_size == 1_000)
        kill(process)
        assert not (cache_folder() / "models").exists()
        assert [model.state for model in cached_models()] == ["interrupted"]
        pull("org/small")
        assert is_whole()
        assert "bytes=1000-" in hub.ranges
        assert not partial_folder(SHA256).exists()

    def test_a_publish_that_is_killed_before_its_commit(
        self, hub: Hub, fails: Callable[..., str], aae_zoo: AaeZoo
    ) -> None:
        upload = f"PUT /upload/{open_bundle(BUNDLE).manifest.files['decoder.onnx'].sha256}"
        self.publish_and_kill(hub.order(upload, hold=0))
        assert [c["title"] for c in self.history(hub)] == ["initial commit"]
        assert "the repository lacks a file that a bundle has (manifest.json)" in fails()
        assert aae_zoo("publish", BUNDLE, "--repo", "org/small").status == 0
        assert [c["title"] for c in self.history(hub)] == ["digits-gauss 1.0.0", "initial commit"]
        assert len(hub.asked(upload)) == 1  # what was uploaded is not sent again
        pull("org/small")
        assert is_whole()

    def test_a_publish_that_is_killed_before_it_hears_of_its_commit(self, hub: Hub, aae_zoo: AaeZoo) -> None:
        self.publish_and_kill(hub.order("POST .*/commit/", hold=0))
        assert aae_zoo("publish", BUNDLE, "--repo", "org/small").status == 0
        assert [c["title"] for c in self.history(hub)] == ["digits-gauss 1.0.0", "initial commit"]

    @pytest.mark.parametrize("pattern", ["GET /api/models/", "PUT /upload", "POST .*/commit/"])
    def test_a_publish_ends_at_ctrl_c(self, pattern: str, hub: Hub) -> None:
        fault = hub.order(pattern, hold=0)
        process = subprocess.Popen([AAE_ZOO, "publish", BUNDLE, "--repo", "org/small"])
        fault.reached.wait()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130

    def publish_and_kill(self, fault: Fault) -> None:
        command: list[str | Path] = [AAE_ZOO, "publish", BUNDLE, "--repo", "org/small"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        fault.reached.wait()
        kill(process)
        fault.times = 0

    def history(self, hub: Hub) -> list[dict[str, str]]:
        return hub.store.history("models", "org/small", hub.store.revision("models", "org/small", "main"))

    def test_several_that_pull_the_same_model_download_it_once(self, hub: Hub, commit: str) -> None:
        command: list[str | Path] = [AAE_ZOO, "pull", "org/small"]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        outputs = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * 3
        assert all("every file as it should be" in output for output in outputs)
        assert len(hub.asked(DECODER)) == 1
        assert is_whole()
