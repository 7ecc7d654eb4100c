"""Data sets beyond MNIST: small data in each one's own format, through loading, training, export and sampling."""

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from conftest import ROOT, AaeZoo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10, SVHN, CelebA

from aae_zoo.export.release.generated import catalogue, with_table
from aae_zoo.runtime import load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.errors import DatasetError, InvalidRecipe
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.data.pictures import read_pictures
from aae_zoo.zoo.data.stored import Contents, store
from aae_zoo.zoo.parts import kinds, load_part
from aae_zoo.zoo.recipe import load_recipe

SMALL_NETWORKS = [
    *("--set", "encoder.channels=[8, 8]", "--set", "encoder.hidden=16"),
    *("--set", "decoder.channels=[8, 8]", "--set", "decoder.hidden=16"),
    *("--set", "training.epochs=1", "--set", "training.batch=10"),
]


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty training and 20 test images as CIFAR-10's pickles; torchvision is told these files' md5s, nothing else."""
    folder = tmp_path / "cifar" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    md5s = {}
    for number, (name, _) in enumerate([*CIFAR10.train_list, *CIFAR10.test_list]):
        rows = 20 if name == "test_batch" else 12
        content = {"data": noise(rows, 3072, seed=number), "labels": [i % 10 for i in range(rows)]}
        (folder / name).write_bytes(pickle.dumps(content))
        md5s[name] = md5(folder / name)
    meta = folder / CIFAR10.meta["filename"]
    meta.write_bytes(pickle.dumps({"label_names": [f"class {i}" for i in range(10)]}))
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5s[name]] for name, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[name, md5s[name]] for name, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(meta)})
    return tmp_path / "cifar"


@pytest.fixture
def svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "svhn"
    folder.mkdir()
    table = {}
    for split, rows in (("train", 30), ("test", 12)):
        url, name, _ = SVHN.split_list[split]
        content = {"X": noise(32, 32, 3, rows), "y": (np.arange(rows) % 10 + 1)[:, None].astype(np.uint8)}
        scipy.io.savemat(folder / name, content)
        table[split] = [url, name, md5(folder / name)]
    monkeypatch.setattr(SVHN, "split_list", table)
    return folder


@pytest.fixture
def celeba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fifty faces of 178 x 218 as JPEG files, 30 for training, 10 for validation, 10 for the test, and their lists."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{number:06}.jpg" for number in range(1, 51)]
    for number, name in enumerate(names):
        # A red bar above and below the central square, which is of one gray.
        face = Image.new("RGB", (178, 218), "red")
        face.paste((5 * number,) * 3, (0, 20, 178, 198))
        face.save(folder / "img_align_celeba" / name, quality=95)
    columns = {"list_attr": 40, "identity": 1, "list_bbox": 4, "list_landmarks_align": 10, "list_eval_partition": 1}
    table = []
    for file_id, _, name in CelebA.file_list:
        path = folder / name
        if path.suffix == ".txt":
            width = next(columns[key] for key in columns if name.startswith(key))
            header = [] if width == 1 else [f"{len(names)}", " ".join(f"column{i}" for i in range(width))]
            parts = [0 if number < 30 else 1 if number < 40 else 2 for number in range(50)]
            path.write_text(
                "\n".join([*header, *(f"{n} {' '.join([str(p)] * width)}" for n, p in zip(names, parts, strict=True))])
            )
            table.append((file_id, md5(path), name))
    monkeypatch.setattr(CelebA, "file_list", table)
    return folder


@pytest.fixture
def drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Path]:
    """Writes 20 training and 10 test images as a data set that aae-zoo builds; its file is told their md5s."""

    def write(declared: Any) -> Path:
        contents = {}
        for split, rows in (("train", 20), ("test", 10)):
            values = [[row % len(one.labels) for one in declared.ATTRIBUTES] for row in range(rows)]
            contents[f"{split}_images"] = noise(rows, 64, 64, 3, seed=rows)
            contents[f"{split}_attributes"] = np.array(values, np.uint8)
        md5s = {name: hashlib.md5(array.tobytes()).hexdigest() for name, array in contents.items()}  # noqa: S324
        monkeypatch.setattr(declared, "MD5S", md5s)
        rows_of = {name: Contents(array.shape, [array[:7], array[7:]]) for name, array in contents.items()}
        store(tmp_path / f"{declared.NAME}.npz", rows_of, md5s)
        return tmp_path

    return write


@pytest.fixture
def avatars(drawings: Callable[[Any], Path]) -> Path:
    return drawings(load_part("datasets", "avatars"))


@pytest.fixture
def emoji(drawings: Callable[[Any], Path]) -> Path:
    return drawings(load_part("datasets", "emoji"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty real picture files of two classes, of many formats, modes and sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    kinds = [("RGB", "png"), ("RGB", "jpg"), ("L", "png"), ("RGBA", "png"), ("P", "gif"), ("RGB", "webp")]
    kinds += [("1", "png"), ("LA", "png"), ("CMYK", "jpeg"), ("RGB", "bmp")]
    for number in range(60):
        mode, suffix = kinds[number % len(kinds)]
        name = "cats" if number < 40 else "dogs"
        (folder / name).mkdir(exist_ok=True)
        picture = Image.fromarray(noise(20 + number, 70 - number, 3, seed=number)).convert(mode)
        picture.save(folder / name / f"{number}.{suffix}")
    return folder


# Every data set with what its tests load: a fixture that makes a small one in its format, or None for the real one.
SMALL = {
    **{name: name for name in ("avatars", "celeba", "cifar10", "emoji", "svhn")},
    **dict.fromkeys(("digits", "fashion-mnist", "mnist")),
}


@pytest.mark.parametrize("kind", kinds("datasets"))
def test_every_data_set_is_what_it_declares(kind: str, request: pytest.FixtureRequest) -> None:
    declared = load_part("datasets", kind)
    name, shape = declared.NAME, declared.IMAGE_SHAPE
    assert name in SMALL, f"add the data set {name} to SMALL, with a fixture that makes a small one in its format"
    fixture = SMALL[name]
    place = request.getfixturevalue(fixture) if fixture else None
    dataset = load_dataset(name, place) if shape else load_dataset(name, place, size=16, channels=3)
    assert dataset.image_shape == (shape or (3, 16, 16))
    assert dataset.md5s
    for images, labels in (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    ):
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert len(images) == len(labels)
        assert set(labels.tolist()) == (set(range(len(dataset.label_names))) or {-1})
    for attributes, labels in (
        (dataset.train_attributes, dataset.train_labels),
        (dataset.test_attributes, dataset.test_labels),
    ):
        if attributes is None:
            assert dataset.attributes == ()
        else:
            assert (attributes.dtype, attributes.shape) == (torch.int64, (len(labels), len(dataset.attributes)))
            assert attributes[:, 0].tolist() == labels.tolist()  # the first attribute are the classes
            assert (attributes.amax(0) < torch.tensor([len(one.labels) for one in dataset.attributes])).all()


class TestDigits:
    def test_they_are_scikit_learns(self) -> None:
        from sklearn.datasets import load_digits

        digits, theirs = load_dataset("digits"), load_digits()
        images = torch.cat([digits.train_images, digits.test_images])
        assert (digits.train_images.shape, digits.test_images.shape) == ((1437, 1, 8, 8), (360, 1, 8, 8))
        assert np.abs(images[:, 0].numpy() / 255 - theirs.images / 16).max() < 0.002
        assert torch.cat([digits.train_labels, digits.test_labels]).tolist() == theirs.target.tolist()
        assert digits.md5s["images"] == hashlib.md5(images.numpy().tobytes()).hexdigest()  # noqa: S324
        assert int(images.max()) == 255

    def test_they_are_read_from_no_folder(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        assert "comes with scikit-learn and is not read from" in refused("train", "digits-gauss", "--data", tmp_path)

    def test_from_the_recipe_to_pictures(self, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        """A third of the recipe's epochs is enough for reconstructions and codes that are far from chance."""
        run, bundle = tmp_path / "run", tmp_path / "bundle"
        assert aae_zoo("train", "digits-gauss", "--out", run, "--set", "training.epochs=20").status == 0
        metrics = json.loads((run / "metrics.json").read_text())
        images = load_dataset("digits")
        mean = images.train_images.double().mean(0)
        assert metrics["mse"] < 0.7 * float(((images.test_images - mean) / 255).square().mean())
        assert metrics["mmd2"] < 0.05
        assert aae_zoo("export", run, "-o", bundle).status == 0
        assert aae_zoo("sample", bundle, "-n", 9, "-o", tmp_path / "x.png").status == 0
        assert load(bundle).sample(3).shape == (3, 1, 8, 8)
        assert "frechet" not in metrics  # there is no classifier of these digits, and tables go without
        table = with_table((ROOT / "docs" / "models.md").read_text("utf-8"), "docs/models.md", [open_bundle(bundle)])
        assert f"| `digits-gauss` | {load(bundle).manifest.title} |" in table
        assert json.loads(catalogue([open_bundle(bundle)]))["models"]["digits-gauss"]["metrics"]["mse"] > 0


class TestCifar10:
    def test_its_images_and_labels(self, cifar10: Path) -> None:
        dataset = load_dataset("cifar10", cifar10)
        assert (dataset.train_images.shape, dataset.test_images.shape) == ((60, 3, 32, 32), (20, 3, 32, 32))
        assert np.array_equal(dataset.train_images[:12].numpy().reshape(12, 3072), noise(12, 3072, seed=0))
        assert dataset.train_labels[:12].tolist() == [*range(10), 0, 1]
        assert dataset.label_names[3] == "class 3"
        assert dataset.md5s["test_batch"] == md5(cifar10 / CIFAR10.base_folder / "test_batch")

    def test_the_places_it_is_found_in(self, cifar10: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        wanted = load_dataset("cifar10", cifar10).train_images
        assert torch.equal(load_dataset("cifar10", cifar10 / CIFAR10.base_folder).train_images, wanted)
        monkeypatch.setenv("AAE_ZOO_DATA", str(tmp_path))
        cifar10.rename(tmp_path / "cifar10")
        assert torch.equal(load_dataset("cifar10").train_images, wanted)
        monkeypatch.delenv("AAE_ZOO_DATA")
        monkeypatch.setenv("AAE_ZOO_CACHE", str(tmp_path))
        (tmp_path / "cifar10").rename(tmp_path / "datasets")
        assert torch.equal(load_dataset("cifar10").train_images, wanted)

    def test_a_damaged_file_is_refused_before_it_is_unpickled(self, cifar10: Path) -> None:
        path = cifar10 / CIFAR10.base_folder / "data_batch_2"
        path.write_bytes(path.read_bytes() + b"more")
        with pytest.raises(DatasetError, match="cifar10 in .* lacks files, or one does not have its canonical md5"):
            load_dataset("cifar10", cifar10)

    def test_a_folder_without_it(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="does not hold cifar10, expected cifar-10-batches-py in it"):
            load_dataset("cifar10", tmp_path)

    def test_no_network(self, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AAE_ZOO_DATA", raising=False)
        monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")  # the discard port: nobody listens
        message = refused("train", "cifar10-wae")
        assert "error: cifar10 is not in " in message
        assert "cannot be downloaded" in message

    def test_its_recipe_trains(self, cifar10: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        run = tmp_path / "run"
        small = [*SMALL_NETWORKS, "--set", "data.validation=10"]
        assert aae_zoo("train", "cifar10-wae", "--data", cifar10, "--out", run, *small).status == 0
        with Image.open(run / "pictures" / "samples-0001.png") as picture:
            assert picture.mode == "RGB"


class TestSvhn:
    def test_its_images_and_labels(self, svhn: Path) -> None:
        dataset = load_dataset("svhn", svhn)
        assert (dataset.train_images.shape, dataset.test_images.shape) == ((30, 3, 32, 32), (12, 3, 32, 32))
        assert np.array_equal(dataset.train_images.numpy(), noise(32, 32, 3, 30).transpose(3, 2, 0, 1))
        assert dataset.train_labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
        assert dataset.label_names == tuple("0123456789")

    def test_its_recipe_trains(self, svhn: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        run, bundle = tmp_path / "run", tmp_path / "bundle"
        small = [*SMALL_NETWORKS, "--set", "data.validation=4", "--set", "data.labels=10"]
        assert aae_zoo("train", "svhn-semi", "--data", svhn, "--out", run, *small).status == 0
        assert aae_zoo("export", run, "-o", bundle, "--data", svhn, "--anyway").status == 0
        model = load(bundle)
        assert model.sample(2, label=7).shape == (2, 3, 32, 32)
        assert set(model.classify(model.sample(2)).names) <= set("0123456789")

    def test_one_of_its_two_files_is_missing(self, svhn: Path) -> None:
        (svhn / "test_32x32.mat").unlink()
        with pytest.raises(DatasetError, match=r"svhn in .*train_32x32\.mat lacks files"):
            load_dataset("svhn", svhn)


# The made-up faces are dark ones, of which the reader warns.
@pytest.mark.filterwarnings("ignore:.* has values from:RuntimeWarning")
class TestCelebA:
    def test_its_central_squares(self, celeba: Path) -> None:
        dataset = load_dataset("celeba", celeba, size=16, channels=3)
        assert (dataset.train_images.shape, dataset.test_images.shape) == ((40, 3, 16, 16), (10, 3, 16, 16))
        for number in (0, 29, 39):
            inside = dataset.train_images[number, :, 1:-1]  # JPEG's colours run over an edge
            assert (inside.int() - 5 * number).abs().max() <= 8, "a red bar is in the picture"
        assert set(dataset.md5s) == {name for *_, name in CelebA.file_list}

    def test_it_has_no_labels(self, celeba: Path) -> None:
        dataset = load_dataset("celeba", celeba.parent, size=8, channels=1)
        assert dataset.label_names == ()
        assert set(dataset.train_labels.tolist()) == set(dataset.test_labels.tolist()) == {-1}
        assert dataset.image_shape == (1, 8, 8)

    def test_a_missing_face(self, celeba: Path) -> None:
        (celeba / "img_align_celeba" / "000007.jpg").unlink()
        with pytest.raises(DatasetError, match=r"there is no file .*000007\.jpg"):
            load_dataset("celeba", celeba, size=8, channels=1)

    def test_its_recipe_trains_and_exports(self, celeba: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        run, bundle = tmp_path / "run", tmp_path / "bundle"
        small = [*SMALL_NETWORKS, "--set", "data.size=16", "--set", "data.validation=10"]
        assert aae_zoo("train", "celeba-gauss", "--data", celeba, "--out", run, *small).status == 0
        assert aae_zoo("export", run, "-o", bundle, "--data", celeba, "--anyway").status == 0
        with Image.open(bundle / "reconstructions.png") as picture:
            assert picture.width // picture.height == 5  # ten columns, two rows
        assert load(bundle).sample(2).shape == (2, 3, 16, 16)


class TestFolder:
    def test_classes_are_subfolders(self, pictures: Path) -> None:
        dataset = load_dataset("mine", pictures, size=16, channels=3)
        assert dataset.label_names == ("cats", "dogs")
        labels = torch.cat([dataset.train_labels, dataset.test_labels]).tolist()
        assert (labels.count(0), labels.count(1)) == (40, 20)
        assert len(set(dataset.train_labels[-10:].tolist())) == 2, "the validation images are of one class"

    def test_without_subfolders_there_are_no_labels(self, pictures: Path) -> None:
        dataset = load_dataset("mine", pictures / "cats", size=8, channels=1)
        assert dataset.label_names == ()
        assert set(dataset.train_labels.tolist()) == {-1}
        assert dataset.image_shape == (1, 8, 8)

    def test_a_picture_never_changes_sides(self, pictures: Path, tmp_path: Path) -> None:
        """Renamed, moved and with others gone, what was in the test set is there still, and nothing else."""
        whole = load_dataset("mine", pictures / "cats", size=8, channels=1)
        for number, path in enumerate(sorted((pictures / "cats").iterdir())[5:]):
            (tmp_path / f"{number:03}{path.suffix}").write_bytes(path.read_bytes())
        part = load_dataset("mine", tmp_path, size=8, channels=1)
        rows = [{bytes(image.numpy()) for image in images} for images in (whole.test_images, part.test_images)]
        assert rows[1] <= rows[0]
        assert part.md5s != whole.md5s

    def test_it_loads_the_same_again(self, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AAE_ZOO_DATA", str(pictures.parent))
        first = load_dataset("mine", pictures, size=16, channels=3)
        again = load_dataset(pictures.name, size=16, channels=3)
        assert first.md5s == again.md5s
        assert torch.equal(first.train_images, again.train_images)

    def test_files_that_are_no_pictures_are_counted(
        self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.copy(pictures / "cats", tmp_path)
        for name in ("notes.txt", ".DS_Store", "._1.png"):
            (tmp_path / name).write_text("no picture")
        load_dataset("mine", tmp_path, size=8, channels=1)
        assert capsys.readouterr().err == f"note: in {tmp_path}, 3 files are left out: 2 hidden, 1 .txt\n"

    def test_an_empty_folder(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        message = refused("train", "folder-gauss", "--data", tmp_path, "--out", tmp_path / "run")
        assert f"{tmp_path} holds no pictures, expected files with the suffixes .png, .jpg" in message
        message = refused("train", "folder-gauss", "--data", tmp_path / "nowhere", "--out", tmp_path / "run")
        assert f"there is no folder of pictures {tmp_path / 'nowhere'}" in message

    @pytest.mark.parametrize("content", [b"", b"no picture", None])
    def test_a_damaged_picture_costs_itself(
        self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
    ) -> None:
        """None: the first half of a real one."""
        for name in ("cats", "dogs"):
            self.copy(pictures / name, tmp_path / name)
        real = (pictures / "cats" / "1.jpg").read_bytes()
        (tmp_path / "cats" / "bad.jpg").write_bytes(real[: len(real) // 2] if content is None else content)
        found, whole = (load_dataset("mine", folder, size=8, channels=1) for folder in (tmp_path, pictures))
        assert torch.equal(found.train_images, whole.train_images)
        assert torch.equal(found.test_images, whole.test_images)
        assert torch.equal(found.train_labels, whole.train_labels)
        assert found.md5s == whole.md5s
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith(f"error: {tmp_path / 'cats' / 'bad.jpg'} cannot be read as a picture (")
        assert second == f"note: left out, as unreadable: 1 of the 61 pictures in {tmp_path}"

    def test_of_many_that_are_damaged_twenty_are_named(
        self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.copy(pictures / "cats", tmp_path)
        for number in range(21):
            (tmp_path / f"bad{number}.png").write_bytes(b"no picture")
        load_dataset("mine", tmp_path, size=8, channels=1)
        *named, note = capsys.readouterr().err.splitlines()
        assert len({line for line in named if line.startswith(f"error: {tmp_path / 'bad'}")}) == len(named) == 20
        assert note == f"note: left out, as unreadable: 21 of the 61 pictures in {tmp_path}"

    def test_classes_are_called_as_people_type_them(self, pictures: Path, tmp_path: Path) -> None:
        """As letters of one character, where macOS names a folder with a letter and its accent apart."""
        self.copy(pictures / "cats", tmp_path / "Ka\N{COMBINING DIAERESIS}tzchen")
        self.copy(pictures / "dogs", tmp_path / "Welpen")
        found, whole = (load_dataset("mine", folder, size=8, channels=1) for folder in (tmp_path, pictures))
        assert found.label_names == ("K\N{LATIN SMALL LETTER A WITH DIAERESIS}tzchen", "Welpen")
        assert torch.equal(found.train_labels, whole.train_labels)

    def test_a_link_to_nowhere_and_a_pipe_cost_themselves(
        self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("cats", "dogs"):
            self.copy(pictures / name, tmp_path / name)
        (tmp_path / "cats" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
        os.mkfifo(tmp_path / "dogs" / "pipe.png")
        found, whole = (load_dataset("mine", folder, size=8, channels=1) for folder in (tmp_path, pictures))
        assert found.md5s == whole.md5s
        assert torch.equal(found.test_images, whole.test_images)
        gone, pipe, note = capsys.readouterr().err.splitlines()
        assert gone.startswith(f"error: there is no file {tmp_path / 'cats' / 'gone.jpg'}")
        assert pipe.startswith(f"error: {tmp_path / 'dogs' / 'pipe.png'} is a pipe or a device")
        assert note == f"note: left out, as unreadable: 2 of the 62 pictures in {tmp_path}"

    def test_damaged_pictures_alone(self, tmp_path: Path, refused: Callable[..., str]) -> None:
        for number in range(30):
            (tmp_path / f"{number}.png").write_bytes(b"no picture")
        message = refused("train", "folder-gauss", "--data", tmp_path, "--out", tmp_path / "run")
        assert f"none of the pictures in {tmp_path} (30) can be read: " in message
        assert "cannot be read as a picture (" in message

    @pytest.mark.parametrize("place", ["top.png", "cats/kittens/deep.png"])
    def test_a_mixed_layout(self, pictures: Path, tmp_path: Path, refused: Callable[..., str], place: str) -> None:
        self.copy(pictures / "cats", tmp_path / "cats")
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("L", (9, 9)).save(tmp_path / place)
        message = refused("train", "folder-gauss", "--data", tmp_path, "--out", tmp_path / "run")
        assert "are at different depths" in message
        assert Path(place).name in message or "cats" in message

    def test_folders_within_folders(self, pictures: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        """All pictures at one depth, such as those of an icon theme, but too deep."""
        for size in ("16", "32"):
            (tmp_path / size).mkdir()
            self.copy(pictures / "cats", tmp_path / size / "apps")
        message = refused("train", "folder-gauss", "--data", tmp_path, "--out", tmp_path / "run")
        assert f"{tmp_path / '16' / 'apps'}" in message
        assert "is in a folder within a folder; put all pictures in" in message
        assert "depths" not in message

    def test_too_few_pictures(self, pictures: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        Image.new("L", (9, 9)).save(tmp_path / "one.png")
        message = refused("train", "folder-gauss", "--data", tmp_path, "--out", tmp_path / "run")
        assert f"a tenth of the pictures in {tmp_path}, 0 of 1, expected 2 or more" in message
        whole = ["--set", "training.steps=0", "--set", "training.batch=64"]
        message = refused("train", "folder-gauss", "--data", pictures, "--out", tmp_path / "run", *whole)
        assert "too few for a batch of 64; set data.validation or training.batch lower" in message

    def test_from_a_folder_to_pictures(self, pictures: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        run, bundle = tmp_path / "run", tmp_path / "bundle"
        small = [*SMALL_NETWORKS, "--set", "data.size=16", "--set", "data.dataset=pets"]
        small += ["--set", "training.steps=5", "--set", "objective.images.discriminator.channels=[8]"]
        assert aae_zoo("train", "folder-gauss", "--data", pictures, "--out", run, *small).status == 0
        assert aae_zoo("evaluate", run, "--data", pictures).status == 0
        assert aae_zoo("export", run, "-o", bundle, "--anyway").status == 0
        assert aae_zoo("sample", bundle, "-n", 4, "-o", tmp_path / "x.png").status == 0
        with Image.open(tmp_path / "x.png") as picture:
            assert picture.mode == "RGB"
        assert aae_zoo("reconstruct", bundle, pictures / "cats", "-o", tmp_path / "again/", "--resize").status == 0
        assert len(list((tmp_path / "again").iterdir())) == 40
        assert load(bundle).manifest.dataset == "pets"

    def test_from_subfolders_to_a_class_that_is_asked_for(
        self, pictures: Path, aae_zoo: AaeZoo, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        """The model has a class for each subfolder, and nobody has to count them."""
        run, bundle = tmp_path / "run", tmp_path / "bundle"
        small = [*SMALL_NETWORKS, "--set", "data.size=16", "--set", "training.steps=5"]
        small += ["--set", "objective.images.discriminator.channels=[8]"]
        assert aae_zoo("train", "folder-classes", "--data", pictures, "--out", run, *small).status == 0
        assert load_recipe(str(run / "recipe.toml")).prior.model_dump()["classes"] == 2
        assert aae_zoo("export", run, "-o", bundle, "--anyway").status == 0
        assert load(bundle).manifest.labels == ("cats", "dogs")
        assert aae_zoo("sample", bundle, "-n", 4, "--label", "dogs", "-o", tmp_path / "x.png").status == 0
        flat = ["--data", pictures / "cats", "--out", tmp_path / "flat"]
        message = refused("train", "folder-classes", *flat)
        assert "give pictures in a subfolder for each class, or train a recipe that needs no labels" in message
        message = refused("train", "folder-classes", *flat, "--set", "data.labels=0")
        assert "prior.classes is missing, and the data have no classes to count" in message

    @staticmethod
    def copy(source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for path in source.iterdir():
            (target / path.name).write_bytes(path.read_bytes())


class TestPictures:
    """Whatever a picture file is, its pixels are what a person sees of its central square."""

    def read(self, path: Path, size: int = 8, channels: int = 3) -> Any:
        return read_pictures([path], size, channels)[0].numpy()

    def test_transparency_is_white(self, tmp_path: Path) -> None:
        Image.new("RGBA", (9, 9), (200, 0, 0, 0)).save(tmp_path / "clear.png")
        assert (self.read(tmp_path / "clear.png") == 255).all()
        palette = Image.new("P", (9, 9), 3)
        palette.save(tmp_path / "clear.gif", transparency=3)
        assert (self.read(tmp_path / "clear.gif", channels=1) == 255).all()

    def test_a_photograph_taken_sideways_is_upright(self, tmp_path: Path) -> None:
        picture = Image.new("L", (40, 40))
        picture.paste(255, (0, 0, 20, 40))  # the left half
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned a quarter clockwise: the left half comes to the top
        picture.save(tmp_path / "turned.jpg", exif=exif)
        pixels = self.read(tmp_path / "turned.jpg", channels=1)[0]
        assert pixels[:3].min() > 200
        assert pixels[-3:].max() < 50

    def test_sixteen_bits(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((9, 9), 0x80FF, np.uint16)).save(tmp_path / "deep.png")
        assert (self.read(tmp_path / "deep.png") == 0x80).all()

    def test_floating_point_numbers_from_0_to_1(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((9, 9), 0.5, np.float32)).save(tmp_path / "float.tif")
        assert (self.read(tmp_path / "float.tif") == 128).all()
        Image.fromarray(np.full((9, 9), 300, np.float32)).save(tmp_path / "float.tif")
        with pytest.raises(DatasetError, match=r"float\.tif has values from 300 to 300, expected 0 to 1"):
            self.read(tmp_path / "float.tif")

    def test_the_first_frame_of_an_animation(self, tmp_path: Path) -> None:
        frames = [Image.new("L", (9, 9), value) for value in (50, 200)]
        frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
        assert (self.read(tmp_path / "two.gif", channels=1) == 50).all()

    @given(side=st.integers(32, 200), margin=st.integers(0, 100), wide=st.booleans())
    @settings(max_examples=30)
    def test_the_central_square_of_any_size(
        self, side: int, margin: int, wide: bool, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """A picture that is blue but for its central square, which is gray, becomes gray."""
        path = tmp_path_factory.mktemp("any") / "x.png"
        picture = Image.new("RGB", (side + 2 * margin, side) if wide else (side, side + 2 * margin), "blue")
        left, top = (margin, 0) if wide else (0, margin)
        picture.paste((90, 90, 90), (left, top, left + side, top + side))
        picture.save(path)
        pixels = self.read(path, 32)
        assert pixels.shape == (3, 32, 32)
        inside = pixels[:, 3:-3, 3:-3]  # the filter reaches three pixels over the square's edge
        assert np.abs(inside.astype(int) - 90).max() <= 1


class TestSizesInRecipes:
    @pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "svhn"])
    def test_a_data_set_of_one_size_takes_no_other(self, name: str) -> None:
        with pytest.raises(InvalidRecipe, match=f"the images of {name} have their own size; remove data.size"):
            load_dataset(name, size=64)

    @pytest.mark.parametrize("setting", ["data.size=0", "data.size=9999", "data.channels=2", "data.validation=1.5"])
    def test_settings_out_of_range(self, setting: str, refused: Callable[..., str]) -> None:
        message = refused("train", "folder-gauss", "--set", setting)
        assert "has 1 mistake: " in message
        assert setting.split("=")[0] in message

    def test_pictures_need_both(self, tmp_path: Path) -> None:
        for name, size in (("celeba", None), ("mine", 8)):
            with pytest.raises(InvalidRecipe, match=r"data\.size is .* and data\.channels None, expected both"):
                load_dataset(name, tmp_path, size=size)
