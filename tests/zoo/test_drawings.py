"""Data sets of drawings: the same bytes on every machine, whatever interrupts their building, or one clear sentence."""

import base64
import hashlib
import io
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import AaeZoo, full_disk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from PIL import Image

from aae_zoo.runtime.errors import DatasetError, MissingBackend, OutputError
from aae_zoo.runtime.store.npm import Package
from aae_zoo.zoo.data.dataset import to_float
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.data.stored import MEMBERS, Contents, load_stored, store
from aae_zoo.zoo.datasets import avatars as declared_avatars
from aae_zoo.zoo.datasets import emoji as declared_emoji
from aae_zoo.zoo.drawings import avatars, emoji
from aae_zoo.zoo.measure.classifier import load_classifier
from aae_zoo.zoo.measure.judge import judge

AAE_ZOO = Path(sys.executable).with_name("aae-zoo")
Refused = Callable[..., str]
# Of the first 200 faces, half of them for testing, as any machine draws them.
FEW = {
    "train_images": "2ebc7da50e5730709c37c8a20a577ebc",
    "train_attributes": "62d5c0b673cf34d5f54475a57cd19ecc",
    "test_images": "1af06efb6f2a1b2d299128f6471420a0",
    "test_attributes": "fee253da761648c5409c7900a335842b",
}


def few(path: Path, md5s: dict[str, str] = FEW) -> None:
    avatars.build(path, training=100, test=100, md5s=md5s)


@pytest.fixture
def without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a command that was killed when it had drawn at least 200 faces."""
    folder = tmp_path_factory.mktemp("killed")
    with subprocess.Popen([AAE_ZOO, "data", "avatars", "-o", folder]) as command:
        while command.poll() is None and len(parts(folder)) < 2:
            time.sleep(0.1)
        command.kill()
    assert command.returncode == -signal.SIGKILL
    assert not (folder / "avatars.npz").exists()
    return folder


def parts(folder: Path) -> list[Path]:
    """The parts, which are whole: what is being written has a name that begins with a dot."""
    return sorted(folder.glob(".avatars-*/[0-9]*.npz"))


@pytest.fixture
def begun(killed: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    return shutil.copytree(killed, tmp_path / "begun")


class TestAvatars:
    """With npm's own packages."""

    def test_what_was_drawn_is_not_drawn_again(self, begun: Path, without_npm: None) -> None:
        parts(begun)[0].with_name(".00200-00300.npz.0123456789ab.npz").write_bytes(b"killed in the middle of it")
        few(begun / "avatars.npz")
        assert [path.name for path in begun.iterdir()] == ["avatars.npz"]

    def test_a_full_disk_leaves_what_was_drawn(self, begun: Path, without_npm: None) -> None:
        with full_disk(50_000), pytest.raises(OutputError, match=r"cannot write .*avatars.npz: File too large; give"):
            few(begun / "avatars.npz")
        few(begun / "avatars.npz")

    def test_a_damaged_part_is_drawn_again(
        self, begun: Path, without_npm: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        part = parts(begun)[0]
        part.write_bytes(part.read_bytes()[:1000])
        with pytest.raises(
            MissingBackend, match=r"npm, which fetches @dicebear/core 9.4.3, .*, is not installed; inst"
        ):
            few(begun / "avatars.npz")
        monkeypatch.undo()
        few(begun / "avatars.npz")

    def test_other_faces_are_refused(self, begun: Path, without_npm: None) -> None:
        """As a machine that drew them differently would have them."""
        with np.load(parts(begun)[1]) as part:
            images, attributes = part["images"], part["attributes"]
        images[7, 30, 30] ^= 1
        np.savez_compressed(parts(begun)[1], images=images, attributes=attributes)
        with pytest.raises(DatasetError, match=r"test_images of .* would have md5 .*, expected .*; build it again"):
            few(begun / "avatars.npz")
        assert list(begun.iterdir()) == []

    @pytest.mark.parametrize(
        ("node", "said"),
        [
            (None, "node, which draws the faces, is not installed; install Node.js 18 or newer"),
            ("echo old >&2; exit 3", r"node ended before all faces were drawn \(old\); install Node.js 18 or newer"),
        ],
    )
    def test_without_a_node_that_draws(
        self, node: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Npm is a program of node's: its part is left out."""
        programs = tmp_path / "bin"
        programs.mkdir()
        monkeypatch.setenv("PATH", str(programs))
        monkeypatch.setattr(avatars, "_install", lambda folder: None)
        if node:
            (programs / "node").write_text(f"#!/bin/sh\n{node}\n")
            (programs / "node").chmod(0o755)
        with pytest.raises(MissingBackend, match=said):
            few(tmp_path / "out" / "avatars.npz")

    def test_the_attributes_are_what_is_drawn(self, begun: Path) -> None:
        few(begun / "avatars.npz")
        faces = load_stored("avatars", begun, declared_avatars.ATTRIBUTES, FEW)
        assert faces.train_attributes is not None
        told = dict(zip((one.name for one in faces.attributes), faces.train_attributes.unbind(1), strict=True))
        assert told["style"].tolist() == faces.train_labels.tolist()
        pixels = faces.train_images.permute(0, 2, 3, 1).flatten(1, 2)
        for name, palette in (("hair", declared_avatars.HAIR), ("background", declared_avatars.BACKGROUND)):
            colours = torch.tensor([list(bytes.fromhex(colour)) for colour in palette.values()])
            counts = torch.stack([(pixels == colour).all(2).sum(1) for colour in colours], 1)
            assert (counts.argmax(1) == told[name]).float().mean() > 0.97, name
        squares = faces.train_images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
        in_squares = (squares == squares[..., :1]).flatten(1).all(1)
        assert (in_squares == (told["style"] == 0)).all()  # of pixel art, each pixel is 4 x 4

    @torch.no_grad()
    def test_they_are_judged_by_their_attributes(self, begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a classifier's features, real faces are more like them than others that are noisy."""
        few(begun / "avatars.npz")
        monkeypatch.setattr(declared_avatars, "MD5S", FEW)
        faces = load_dataset("avatars", begun)
        known = load_classifier("avatars")
        assert known and faces.test_attributes is not None
        told = known[0].logits(known[0].features(to_float(faces.test_images)))
        right = {
            one.name: float((told[one.name].argmax(1) == truth).float().mean())
            for one, truth in zip(faces.attributes, faces.test_attributes.unbind(1), strict=True)
        }
        assert right == pytest.approx(known[1]["accuracies"], abs=0.08)  # four deviations of a hundred faces
        reports = []
        for number, noise in enumerate((0, 100)):
            images = (faces.train_images.float() + noise * torch.randn(faces.train_images.shape)).clamp(0, 255)
            np.save(begun / f"{number}.npy", images.byte().numpy())
            reports.append(judge(begun / f"{number}.npy", "avatars", data=begun))
        assert reports[0]["samples"]["frechet"] < 0.5 * reports[1]["samples"]["frechet"]
        assert reports[0]["samples"]["class_entropy"] == pytest.approx(math.log(2), abs=0.01)  # both styles
        assert reports[0]["samples"]["copies"] == 1

    def test_without_a_network(self, aae_zoo: AaeZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"registry": "http://127.0.0.1:9", "fetch_retries": "0", "cache": str(tmp_path)}.items():
            monkeypatch.setenv(f"npm_config_{name}", value)
        result = aae_zoo("data", "avatars", "-o", tmp_path / "out")
        assert result.status == 1
        assert result.err.startswith("error: npm could not fetch @dicebear/core 9.4.3, ")
        assert result.err.endswith("and try again with a network\n")
        assert result.err.count("\n") == 1
        assert not list(tmp_path.rglob("*.npz"))


# The md5s of what is made of the packages below.
LISTED_MD5S = {
    "train_images": "08d4b09e6c4f519baac0b79a0766846c",
    "train_attributes": "5951b388fe49890652d81c1b52a6ab7e",
    "test_images": "8c4f97b6b6e733f3b356a356cca231bc",
    "test_attributes": "65a5b0f0f491e89acfa646d207585d24",
}
# Emoji as the packages list them: of a code, a group, and skins.
LISTED: list[tuple[str, str, tuple[str, ...]]] = [
    (f"1F4{number:02X}", list(declared_emoji.GROUPS)[number % 9], ()) for number in range(30)
]
LISTED += [("1F590", "People & Body", ("1F3FB", "1F3FF", "1F3FB-1F3FF", "1F3FC-1F3FC")), ("1F3FB", "Component", ())]


def colour(vendor: str, name: str) -> tuple[int, int, int]:
    """What a vendor draws a picture in."""
    red, green, blue, *_ = hashlib.sha256(f"{vendor} {name}".encode()).digest()
    return red, green, blue


def package(vendor: str) -> bytes:
    """An archive as npm has it, of pictures with a bar of opacity 0, 85 and 255."""
    entries: list[dict[str, Any]] = [
        {
            "unified": code,
            "category": group,
            "image": f"{code.lower()}.png",
            "skin_variations": {skin: {"image": f"{code}-{skin}.png".lower()} for skin in skins},
        }
        for code, group, skins in LISTED
    ]
    contents = {"emoji.json": json.dumps(entries).encode()}
    for one in [part for entry in entries for part in (entry, *entry["skin_variations"].values())]:
        pixels = np.zeros((64, 64, 4), np.uint8)
        pixels[..., :3], pixels[16:32, :, 3], pixels[32:, :, 3] = colour(vendor, one["image"]), 85, 255
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "png")
        contents[f"img/{vendor}/64/{one['image']}"] = stream.getvalue()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as file:
        for name, content in {"package.json": json.dumps(about(vendor)).encode(), **contents}.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def about(vendor: str) -> dict[str, Any]:
    return {"name": f"emoji-datasource-{vendor}", "version": "16.0.0"}


@pytest.fixture(scope="module")
def registry() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A registry of npm's on loopback: its address, and the archives that it has, by their vendors."""
    archives = {vendor: package(vendor) for vendor in ("google", "twitter")}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, name, *file = self.path.split("/")
            vendor = name.removeprefix("emoji-datasource-")
            sha512 = base64.b64encode(hashlib.sha512(archives[vendor]).digest()).decode()
            dist = {"tarball": f"{url}/{name}/{vendor}.tgz", "integrity": f"sha512-{sha512}"}
            versions = {"16.0.0": {**about(vendor), "dist": dist}}
            listing = {"name": name, "dist-tags": {"latest": "16.0.0"}, "versions": versions}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(archives[vendor] if file else json.dumps(listing).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield url, archives
        server.shutdown()


@pytest.fixture
def npm_of_registry(
    registry: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, bytes]:
    """Have npm ask that registry, whose archives are the pinned ones."""
    url, archives = registry
    monkeypatch.setenv("npm_config_registry", url)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    pinned = {
        vendor: Package(**about(vendor), sha512=base64.b64encode(hashlib.sha512(archive).digest()).decode())
        for vendor, archive in archives.items()
    }
    monkeypatch.setattr(emoji, "_PACKAGES", pinned)
    return archives


class TestEmoji:
    """With npm, and small packages in the layout of the real ones."""

    def test_they_are_what_both_vendors_drew(self, npm_of_registry: object, tmp_path: Path) -> None:
        emoji.build(tmp_path / "emoji.npz", md5s=LISTED_MD5S)
        found = load_stored("emoji", tmp_path, declared_emoji.ATTRIBUTES, LISTED_MD5S)
        assert found.train_attributes is not None and found.test_attributes is not None
        images = torch.cat([found.train_images, found.test_images])
        told = torch.cat([found.train_attributes, found.test_attributes]).tolist()
        seen = Counter(
            (
                str(image[:, 63, 0].tolist()),
                *(one.labels[value] for one, value in zip(found.attributes, row, strict=True)),
            )
            for image, row in zip(images, told, strict=True)
        )
        assert seen == Counter(expected())
        assert (images[:, :, 0] == 255).all()
        assert ((images[:, :, 16].int() - (images[:, :, 63].int() + 2 * 255) / 3).abs() <= 0.5).all()

    def test_no_emoji_is_on_both_sides(self, npm_of_registry: object, tmp_path: Path) -> None:
        emoji.build(tmp_path / "emoji.npz", md5s=LISTED_MD5S)
        found = load_stored("emoji", tmp_path, declared_emoji.ATTRIBUTES, LISTED_MD5S)
        sides = [
            {tuple(image[:, 63, 0].tolist()) for image in side} for side in (found.train_images, found.test_images)
        ]
        for code, _, skins in LISTED[:-1]:
            names = [f"{code.lower()}.png", *(f"{code}-{skin}.png".lower() for skin in skins)]
            drawn = {colour(vendor, name) for name in names for vendor in ("google", "twitter")}
            assert drawn <= sides[0] or drawn <= sides[1], code
        assert 0.02 < len(found.test_images) / len(found.train_images) < 0.3

    def test_another_package_is_refused(
        self, npm_of_registry: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(npm_of_registry, "twitter", npm_of_registry["google"])
        with pytest.raises(
            MissingBackend, match=r"npm fetched emoji-datasource-twitter 16.0.0 with SHA-512 .*, expected"
        ):
            emoji.build(tmp_path / "emoji.npz", md5s=LISTED_MD5S)
        assert not (tmp_path / "emoji.npz").exists()


def expected() -> Iterator[tuple[str, ...]]:
    """The colour, group, vendor and skin of each picture that should be there: no swatch of a skin alone."""
    for code, group, skins in LISTED[:-1]:
        for codes in ("", *skins):
            name = f"{code}-{codes}.png" if codes else f"{code}.png"
            several = len(set(codes.split("-"))) > 1
            skin = "mixed" if several else declared_emoji.SKINS[codes.split("-")[0]]
            for vendor in ("google", "twitter"):
                yield str(list(colour(vendor, name.lower()))), declared_emoji.GROUPS[group], vendor, skin


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of two gray and one black picture, as the whole of `emoji`, and its file."""
    md5s: dict[str, str] = {}
    monkeypatch.setattr(declared_emoji, "MD5S", md5s)
    contents = {
        "train_images": np.full((2, 64, 64, 3), 100, np.uint8),
        "train_attributes": np.array([[0, 0, 0], [8, 1, 6]], np.uint8),
        "test_images": np.zeros((1, 64, 64, 3), np.uint8),
        "test_attributes": np.array([[4, 1, 5]], np.uint8),
    }
    md5s |= {name: hashlib.md5(array.tobytes()).hexdigest() for name, array in contents.items()}  # noqa: S324
    path = tmp_path / "data" / "emoji" / "emoji.npz"
    store(path, {name: Contents(array.shape, [array]) for name, array in contents.items()}, md5s)
    return path


class TestStored:
    def test_numpy_reads_it(self, stored: Path) -> None:
        with np.load(stored) as file:
            assert sorted(file) == sorted(MEMBERS)
            assert (file["train_images"] == 100).all() and file["train_images"].shape == (2, 64, 64, 3)
            assert file["train_attributes"].tolist() == [[0, 0, 0], [8, 1, 6]]

    def test_it_is_loaded_from_its_folder_or_the_one_around(
        self, stored: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AAE_ZOO_DATA", str(stored.parents[1]))
        for place in (None, stored.parent, stored.parents[1]):
            found = load_dataset("emoji", place)
            assert (found.train_labels.tolist(), found.test_labels.tolist()) == ([0, 8], [4])
            assert found.label_names[8] == "flags"
            assert found.licence.startswith("Apache 2.0 (Noto Emoji), CC BY 4.0 (Twemoji")

    def test_where_it_is_missing_the_command_that_builds_it_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(
            DatasetError, match=f"there is no emoji.npz in {tmp_path}; aae-zoo data emoji -o {tmp_path} b"
        ):
            load_dataset("emoji", tmp_path)
        monkeypatch.setenv("AAE_ZOO_DATA", str(tmp_path))
        with pytest.raises(
            DatasetError, match=f"in {tmp_path}/emoji, .*/datasets/emoji, .*; aae-zoo data emoji builds"
        ):
            load_dataset("emoji")

    def damaged(self, path: Path) -> str:
        with pytest.raises(DatasetError) as refusal:
            load_dataset("emoji", path.parent)
        message = str(refusal.value)
        assert message.endswith(f"; move it away, and aae-zoo data emoji -o {path.parent} builds it anew")
        return message

    @given(data=st.data())
    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_is_damaged_is_refused(self, stored: Path, data: st.DataObject) -> None:
        """Unless it is what no reader looks at: then all is as it was."""
        whole = stored.read_bytes()
        place = data.draw(st.integers(0, len(whole) - 1))
        cut = data.draw(st.booleans())
        stored.write_bytes(whole[:place] if cut else whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = load_dataset("emoji", stored.parent)
        except DatasetError as error:
            assert str(error).startswith(f"{stored} cannot be read") or "has md5" in str(error)
        else:
            assert (found.train_images == 100).all() and (found.test_images == 0).all() and not cut
        finally:
            stored.write_bytes(whole)

    def test_other_contents(self, stored: Path) -> None:
        with np.load(stored) as file:
            contents = dict(file)
        contents["test_images"][0, 0, 0, 0] = 1
        np.savez_compressed(stored, **contents)
        assert re.search("test_images of .* has md5 .*, expected", self.damaged(stored))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"train_images": np.zeros((2, 64, 64, 3))}, "train_images is float64 [2, 64, 64, 3], expected bytes"),
            ({"train_images": np.zeros((0, 64, 64, 3), np.uint8)}, "train_images is uint8 [0, 64, 64, 3], expected"),
            ({"test_attributes": np.zeros(3, np.uint8)}, "test_attributes is uint8 [3], expected bytes [n, k] or"),
            ({"test_images": None}, "There is no item named 'test_images.npy' in the archive"),
        ],
    )
    def test_other_arrays(self, stored: Path, change: dict[str, Any], said: str) -> None:
        with np.load(stored) as file:
            contents = {name: array for name, array in (dict(file) | change).items() if array is not None}
        np.savez_compressed(stored, **contents)
        assert said in self.damaged(stored)

    def test_a_header_that_announces_more_than_there_is(self, stored: Path) -> None:
        """No memory is taken for it."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 64, 64, 3)}
        with zipfile.ZipFile(stored, "w") as file, file.open("train_images.npy", "w") as stream:
            npy.write_array_header_1_0(stream, header)
        assert "train_images is uint8 [1000000000000, 64, 64, 3], expected bytes" in self.damaged(stored)


class TestCommand:
    def test_one_that_is_whole_is_left_alone(self, stored: Path, aae_zoo: AaeZoo, without_npm: None) -> None:
        before = stored.stat()
        result = aae_zoo("data", "emoji", "-o", stored.parent)
        assert (result.status, result.err) == (0, "")
        assert result.out == f"emoji, 0 MB, in {stored}\n"
        assert stored.stat() == before

    def test_another_file_in_its_place_is_left_alone(self, stored: Path, refused: Refused, without_npm: None) -> None:
        stored.write_text("mine")
        assert "cannot be read as the data set emoji (File is not a zip file); move it away" in refused(
            "data", "emoji", "-o", stored.parent
        )
        assert stored.read_text() == "mine"

    def test_without_a_place_it_goes_where_it_is_looked_for(
        self, stored: Path, aae_zoo: AaeZoo, without_npm: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AAE_ZOO_DATA", raising=False)
        monkeypatch.setenv("AAE_ZOO_CACHE", str(stored.parents[2]))
        stored.parents[1].rename(stored.parents[2] / "datasets")
        assert aae_zoo("data", "emoji").out == f"emoji, 0 MB, in {stored.parents[2]}/datasets/emoji/emoji.npz\n"
        assert len(load_dataset("emoji").train_images) == 2

    def test_a_name_that_it_does_not_know(self, refused: Refused) -> None:
        assert "there is no data set avatar to build, expected one of avatars, emoji" in refused("data", "avatar")
