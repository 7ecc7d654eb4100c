"""Files that users name: which are read, by what names, and what is said of those that are not."""

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from conftest import AaeZoo
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from aae_zoo.runtime import InvalidInput, ModelNotFound, load
from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.formats.folders import check_file
from aae_zoo.runtime.formats.tables import read_csv

SMALL = ImageShape(1, 2, 2)


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Three digits of 8 x 8 pixels, as digits-gauss draws them."""
    return np.rint(load("digits-gauss").sample(3) * 255).astype(np.uint8)


class TestWhatIsNoFile:
    """One sentence at once: opening a pipe would wait for ever."""

    @pytest.fixture(params=["encode", "decode"])
    def said(self, request: pytest.FixtureRequest, refused: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
        return lambda given: refused(request.param, "digits-gauss", given, "-o", tmp_path / "x.npy")

    @pytest.mark.parametrize("name", ["pipe.png", "pipe.npy", "pipe"])
    def test_a_pipe(self, name: str, said: Callable[..., str], tmp_path: Path) -> None:
        os.mkfifo(tmp_path / name)
        assert f"{tmp_path / name} is a pipe or a device; save what it gives, then give " in said(tmp_path / name)

    def test_a_device(self, said: Callable[..., str]) -> None:
        assert "/dev/zero is a pipe or a device" in said("/dev/zero")

    def test_stdin(self, said: Callable[..., str]) -> None:
        assert "input on stdin is not read; give " in said("-")

    def test_nothing(self, said: Callable[..., str], tmp_path: Path) -> None:
        assert f"there is no file {tmp_path / 'x.npz'}; give " in said(tmp_path / "x.npz")
        assert "File name too long" in said("x" * 5000)

    @pytest.mark.parametrize(("name", "why"), [("x" * 300, "File name too long"), ("x\0.png", "null")])
    def test_what_can_be_no_name(self, name: str, why: str) -> None:
        model = load("digits-gauss")
        for images in (name, [name]):
            with pytest.raises(InvalidInput, match=f"{why}.*; give "):
                model.encode(images)
        with pytest.raises(ModelNotFound):
            load(name)

    @pytest.mark.parametrize("asked", ["iterdir", "stat"])
    def test_what_lies_where_this_user_may_not_look(
        self, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path, **_: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        model, given = load("digits-gauss"), tmp_path if asked == "iterdir" else tmp_path / "x.png"
        model.encode(model.sample(1))  # opens what it needs itself
        monkeypatch.setattr(Path, asked, refuse)  # root may look everywhere
        with pytest.raises(InvalidInput, match=r"cannot be read \(Permission denied\); "):
            model.encode(given)

    def test_a_pipe_among_the_pictures_of_a_folder(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        os.mkfifo(tmp_path / "in" / "0.png")
        assert "0.png is a pipe or a device" in refused("encode", "digits-gauss", tmp_path / "in", "-o", "x.npy")

    def test_a_folder_in_place_of_codes(self, refused: Callable[..., str], tmp_path: Path) -> None:
        message = refused("decode", "digits-gauss", tmp_path, "-o", tmp_path / "x.npy")
        assert f"{tmp_path} is a folder; give an .npy or .npz file" in message

    def test_a_file_of_somebody_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "x.npy").write_bytes(b"")
        monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
        with pytest.raises(InvalidInput, match=r"x.npy may not be read by this user; chmod u\+r it, or give an"):
            check_file(tmp_path / "x.npy", "an .npy file")


class TestSuffixesInCapitals:
    """As cameras and Windows write them."""

    @pytest.mark.parametrize("suffix", [".NPY", ".NPZ", ".PNG", ".IDX", ".CSV"])
    def test_of_what_is_read(self, suffix: str, pixels: NDArray[np.uint8], aae_zoo: AaeZoo, tmp_path: Path) -> None:
        path = tmp_path / f"X{suffix}"
        write: dict[str, Callable[[Any], object]] = {
            ".NPY": lambda stream: np.save(stream, pixels[:1]),
            ".NPZ": lambda stream: np.savez(stream, image=pixels[:1]),
            ".PNG": lambda stream: Image.fromarray(pixels[0, 0]).save(stream, "PNG"),
            ".IDX": lambda stream: stream.write(
                bytes.fromhex("00000803 00000001 00000008 00000008") + pixels[:1].tobytes()
            ),
            ".CSV": lambda stream: stream.write(",".join(map(str, pixels[:1].ravel())).encode()),
        }
        with path.open("wb") as stream:
            write[suffix](stream)
        assert aae_zoo("encode", "digits-gauss", path, "-o", tmp_path / "z.npy").status == 0
        assert np.allclose(np.load(tmp_path / "z.npy"), load("digits-gauss").encode(pixels[:1]), atol=1e-5)

    def test_of_what_is_written(self, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        for name in ("X.PNG", "X.NPY", "X.NPZ"):
            assert aae_zoo("sample", "digits-gauss", "-n", 2, "-o", tmp_path / name).status == 0
        expected = load("digits-gauss").sample(2)
        assert np.allclose(np.load(tmp_path / "X.NPY"), expected, atol=1e-6)
        assert np.allclose(np.load(tmp_path / "X.NPZ")["image"], expected, atol=1e-6)
        with Image.open(tmp_path / "X.PNG") as picture:
            assert picture.format == "PNG"
        for name in ("S.CSV", "S.JSON", "S.NPZ"):
            assert aae_zoo("score", "digits-gauss", tmp_path / "X.NPY", "-o", tmp_path / name).status == 0
        assert np.load(tmp_path / "S.NPZ")["score"].shape == (2,)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            ["X.PNG", "X.NPY", "X.NPZ", "S.CSV", "S.JSON", "S.NPZ"]
        )


class TestTablesOfPixels:
    """CSV files as Kaggle and others have MNIST."""

    LABEL_FIRST = "5,0,255,17,3\n0,1,2,3,4\n"
    EXPECTED = ((0, 255, 17, 3), (1, 2, 3, 4))

    @pytest.mark.parametrize(
        "text",
        [
            LABEL_FIRST,
            "label,pixel0,pixel1,pixel2,pixel3\n" + LABEL_FIRST,
            '"label","1x1","1x2","2x1","2x2"\r\n' + LABEL_FIRST.replace("\n", "\r\n"),
            "\ufeff" + LABEL_FIRST,
            "pixel0,pixel1,pixel2,pixel3\n0,255,17,3\n1,2,3,4\n",
            "0,255,17,3\n1,2,3,4",
            "p1,p2,p3,p4,class\n0,255,17,3,5\n1,2,3,4,0\n",
            "0.0,255.0,17.0,3.0\n1e0,2,3,4\n",
        ],
    )
    def test_labels_and_headers_are_left_out(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text(text, "utf-8")
        images = read_csv(tmp_path / "x.csv", SMALL)
        assert images.dtype == np.uint8
        assert images.reshape(2, 4).tolist() == [list(row) for row in self.EXPECTED]

    def test_parts_of_one_stay_what_they_are(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text("0,0.5,1,0.25\n")
        images = read_csv(tmp_path / "x.csv", SMALL)
        assert images.dtype == np.float32
        assert images.ravel().tolist() == [0, 0.5, 1, 0.25]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"1,2,3\n", "it has 1 row of 3 columns"),
            (b"a,b,c,d\n", "it has no rows"),
            (b"", "it has no rows"),
            (b"1,2,3,4\n1,2\n", "columns"),
            (b"1,2,3,4\n1,2,x,4\n", "x"),
            (b"\xff\xfe1\x00", "decode"),
        ],
    )
    def test_others_are_refused(self, content: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(
            InvalidInput, match=f"x.csv cannot be read as a table of pixels .*{message}.*give rows of 4"
        ):
            read_csv(tmp_path / "x.csv", SMALL)

    def test_they_are_given_as_pictures_are(self, pixels: NDArray[np.uint8], aae_zoo: AaeZoo, tmp_path: Path) -> None:
        np.savetxt(tmp_path / "x.csv", np.insert(pixels.reshape(3, -1), 0, 7, axis=1), "%d", ",")
        result = aae_zoo("encode", "digits-gauss", tmp_path / "x.csv", "-o", tmp_path / "z.npz")
        assert result.status == 0, result
        with np.load(tmp_path / "z.npz") as saved:
            assert np.allclose(saved["z"], load("digits-gauss").encode(pixels), atol=1e-5)
            assert saved["image"].tolist() == ["0", "1", "2"]


def test_parquet_is_refused_with_the_command_that_unpacks_it(
    pixels: NDArray[np.uint8], refused: Callable[..., str], aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    """As the Hub's data sets have their pictures; the command is run as it is printed."""
    folder = tmp_path / "it's mine"
    folder.mkdir()
    rows = []
    for image in pixels[:, 0]:
        Image.fromarray(image).save(tmp_path / "x.png")
        rows.append({"bytes": (tmp_path / "x.png").read_bytes(), "path": None})
    parquet.write_table(pyarrow.table({"image": rows, "label": [0, 1, 2]}), folder / "train.parquet")
    message = refused("encode", "digits-gauss", folder / "train.parquet", "-o", tmp_path / "z.npy")
    command = message.partition("is not read; ")[2].partition(" (with pyarrow installed)")[0]
    program, *arguments = shlex.split(command)
    assert program == "python"
    subprocess.run([sys.executable, *arguments], check=True)
    assert aae_zoo("encode", "digits-gauss", folder / "train", "-o", tmp_path / "z.npy").status == 0
    assert np.allclose(np.load(tmp_path / "z.npy"), load("digits-gauss").encode(pixels), atol=1e-5)


def test_an_npz_of_codes_has_the_names_of_the_pictures(
    pixels: NDArray[np.uint8], aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name, image in zip(("b.png", "a.png", "ü.png"), pixels[:, 0], strict=True):
        Image.fromarray(image).save(tmp_path / "in" / name)
    assert aae_zoo("encode", "digits-gauss", tmp_path / "in", "-o", tmp_path / "z.npz").status == 0
    with np.load(tmp_path / "z.npz") as saved:
        assert saved["image"].tolist() == ["a.png", "b.png", "ü.png"]
        assert np.allclose(saved["z"], load("digits-gauss").encode(pixels[[1, 0, 2]]), atol=1e-5)


def test_an_output_that_names_no_file(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((2, 8, 8), np.uint8))
    refused("sample", "digits-gauss", "-o", ".")
    for command in ("encode", "score"):
        assert "ends in nothing, expected" in refused(command, "digits-gauss", "x.npy", "-o", ".")
    assert "ends in nothing, expected" in refused("nearest", "digits-gauss", "x.npy", "x.npy", "-o", ".")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
