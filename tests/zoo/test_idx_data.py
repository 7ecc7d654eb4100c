"""Data sets of idx files, as MNIST is one: found on this machine first, canonical, and damaged files refused."""

import functools
import gzip
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import AaeZoo, write_idx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aae_zoo.runtime import load
from aae_zoo.runtime.errors import DatasetError, InvalidInput, InvalidRecipe
from aae_zoo.runtime.formats.idx import read_idx
from aae_zoo.runtime.store.cache import cache_folder
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.idx import FILES, find_idx
from aae_zoo.zoo.data.loading import load_data, load_dataset, one_class
from aae_zoo.zoo.datasets import fashion_mnist
from aae_zoo.zoo.datasets import mnist as mnist_file
from aae_zoo.zoo.recipe import DataSettings


def test_mnist_is_the_canonical_one(mnist: Dataset) -> None:
    assert mnist.train_images.shape == (60_000, 1, 28, 28)
    assert mnist.test_images.shape == (10_000, 1, 28, 28)
    assert mnist.md5s == mnist_file.MD5S
    assert mnist.label_names == tuple("0123456789")
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_fashion_mnist_is_the_canonical_one() -> None:
    fashion = load_dataset("fashion-mnist")
    assert fashion.md5s == fashion_mnist.MD5S
    assert fashion.label_names[int(fashion.test_labels[0])] == "Ankle boot"


def test_places_in_their_order(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAE_ZOO_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="there is no data set small in .*nowhere"):
        load_dataset("small")
    monkeypatch.setenv("AAE_ZOO_DATA", str(small_data.parent))
    from_environment = load_dataset("small")
    given_itself = load_dataset("small", small_data)
    given_its_parent = load_dataset("small", small_data.parent)
    assert from_environment.md5s == given_itself.md5s == given_its_parent.md5s
    assert from_environment.image_shape == (1, 14, 14)


def test_one_class_alone(small_data: Path) -> None:
    everything = load_dataset("small", small_data)
    threes = load_data(DataSettings(dataset="small", validation=10, only=3), small_data)
    for part in ("train", "test"):
        labels, chosen = getattr(everything, f"{part}_labels"), getattr(threes, f"{part}_images")
        assert torch.equal(chosen, getattr(everything, f"{part}_images")[labels == 3])
        assert getattr(threes, f"{part}_labels").unique().tolist() == [3]
    assert threes.left_out is not None
    assert torch.equal(threes.left_out, everything.test_images[everything.test_labels != 3])
    assert one_class(threes, 3).left_out is None  # there is no other class to be odd


def test_a_class_that_is_not_there(small_data: Path) -> None:
    settings = DataSettings(dataset="small", validation=10, only=10)
    with pytest.raises(InvalidRecipe, match="data.only is 10, a class of which small has no images, .* from 0 to 9"):
        load_data(settings, small_data)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_kaggles_names(suffix: str, small_data: Path, tmp_path: Path) -> None:
    """Which have a dot where the canonical ones have a dash."""
    for file in FILES:
        (found,) = small_data.glob(f"{file}*")
        content = gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes()
        kaggles = file.replace("-idx", ".idx") + suffix
        (tmp_path / kaggles).write_bytes(gzip.compress(content) if suffix else content)
    assert (tmp_path / f"train-images.idx3-ubyte{suffix}").is_file()
    assert load_dataset("small", tmp_path).md5s == load_dataset("small", small_data).md5s
    images = load("mnist-plane").encode(read_idx(tmp_path / f"t10k-images.idx3-ubyte{suffix}"), resize=True)
    assert len(images) == len(load_dataset("small", small_data).test_images)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_kaggles_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kaggle's download unpacks into a folder for each file, which has the file's name, beside some of the files."""
    paths = find_idx(name, None)
    assert paths
    for file, path in zip(FILES, paths, strict=True):
        (tmp_path / name / file).mkdir(parents=True)
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (tmp_path / name / file / file).write_bytes(content)
    expected = [tmp_path / name / file / file for file in FILES]
    assert find_idx(name, tmp_path / name) == find_idx(name, tmp_path) == expected
    monkeypatch.setenv("AAE_ZOO_DATA", str(tmp_path))
    assert find_idx(name, None) == expected
    assert load_dataset(name).md5s == {"mnist": mnist_file, "fashion-mnist": fashion_mnist}[name].MD5S
    shutil.copy(expected[0], tmp_path / name / "train-images.idx3-ubyte")  # beside its folder, as in Kaggle's archive
    expected[0].unlink()
    assert find_idx(name, None) == [tmp_path / name / "train-images.idx3-ubyte", *expected[1:]]


def test_a_given_folder_without_the_data_is_an_error_not_a_search(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"{tmp_path} does not hold mnist, expected the files train-images"):
        load_dataset("mnist", tmp_path)


def test_torchvisions_layout_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = find_idx("mnist", None)
    assert paths
    monkeypatch.setenv("AAE_ZOO_CACHE", str(tmp_path))
    monkeypatch.delenv("AAE_ZOO_DATA", raising=False)
    raw = tmp_path / "datasets" / "MNIST" / "raw"
    shutil.copytree(paths[0].parent, raw)
    assert len(load_dataset("mnist").train_images) == 60_000


class TestDownload:
    """torchvision's own download, from a server on loopback."""

    @pytest.fixture
    def served(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A folder that a server gives out as the only mirror of MNIST, and no data set anywhere else."""
        from torchvision.datasets import MNIST

        paths = find_idx("mnist", None)
        assert paths
        folder = tmp_path / "served"
        folder.mkdir()
        resources = []
        for path in paths:
            shutil.copy(path, folder)
            resources.append((path.name, hashlib.md5(path.read_bytes()).hexdigest()))  # noqa: S324
        handler = functools.partial(QuietHandler, directory=str(folder))
        server = QuietServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(MNIST, "resources", resources)
        monkeypatch.delenv("AAE_ZOO_DATA", raising=False)
        yield folder
        server.shutdown()
        server.server_close()

    def test_it_is_downloaded_once_into_the_cache(self, served: Path) -> None:
        assert len(load_dataset("mnist").test_images) == 10_000
        shutil.rmtree(served)
        assert len(load_dataset("mnist").test_images) == 10_000
        assert (cache_folder() / "datasets" / "MNIST" / "raw" / FILES[0]).exists()

    def test_a_mirror_with_other_bytes(self, served: Path, aae_zoo: AaeZoo) -> None:
        (served / f"{FILES[1]}.gz").write_bytes(b"other bytes")
        result = aae_zoo("train", "mnist-plane")
        assert (result.status, result.out) == (1, "")
        *_progress, message = result.err.splitlines()  # torchvision's progress bars go to stderr too
        assert message.startswith("error: mnist is not in ")
        assert "cannot be downloaded" in message

    def test_no_network(self, served: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        from torchvision.datasets import MNIST

        monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # the discard port: nobody listens
        assert "cannot be downloaded" in refused("train", "mnist-plane")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing on stderr."""


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *arguments: object) -> None:
        """A client that hangs up is no fault of the test."""


def test_data_that_is_not_canonical_is_refused(small_data: Path, tmp_path: Path) -> None:
    shutil.copytree(small_data, tmp_path / "mnist")
    with pytest.raises(DatasetError, match="has md5 .* uncompressed, expected 6bbc9ace898e44ae57da46a324031adb"):
        load_dataset("mnist", tmp_path)


def test_images_and_labels_must_belong_together(small_data: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_data, tmp_path / "small"))
    write_idx(folder / FILES[3], np.zeros(299, np.uint8))
    with pytest.raises(DatasetError, match=r"t10k images have shape \[300, 14, 14\] and labels \[299\]"):
        load_dataset("small", folder)


@given(array=arrays.arrays(np.uint8, arrays.array_shapes(max_dims=4, max_side=6)), zipped=st.booleans())
def test_idx_round_trip(array: np.ndarray, zipped: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("idx") / ("x-ubyte.gz" if zipped else "x-ubyte")
    write_idx(path, array)
    assert np.array_equal(read_idx(path), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "begins with 00000d01"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "holds 3 bytes after its header, expected 5"),
        (b"\0\0\x08\x01\0\0\0\x02abc", "holds more bytes after its header, expected 2"),
        (b"\0\0\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff", "announces 18446744065119617025 bytes"),
    ],
)
def test_damaged_idx_files(tmp_path: Path, content: bytes, message: str) -> None:
    plain, zipped = tmp_path / "x-ubyte", tmp_path / "y-ubyte.gz"
    plain.write_bytes(content)
    zipped.write_bytes(gzip.compress(content))
    for path in (plain, zipped):
        with pytest.raises(InvalidInput, match=message):
            read_idx(path)


def test_damaged_gzip_and_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "x-ubyte.gz"
    write_idx(path, np.zeros((100, 100), np.uint8))
    path.write_bytes(path.read_bytes()[:-10])
    for damaged in (path, tmp_path / "missing-ubyte"):
        with pytest.raises(InvalidInput, match="cannot be read as an idx file"):
            read_idx(damaged)
