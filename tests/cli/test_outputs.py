"""Whose a file is: nothing is written over that aae-zoo did not write, and no input ever."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import AaeZoo
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo


@pytest.fixture
def arrays(digits: NDArray[np.float32], tmp_path: Path) -> Path:
    np.save(tmp_path / "digits.npy", digits[:3])
    return tmp_path / "digits.npy"


def test_a_picture_that_aae_zoo_wrote_is_replaced(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    output = tmp_path / "samples.png"
    assert aae_zoo("sample", "-n", 1, "-o", output).out == f"1 image of mnist-gauss in {output}\n"
    with Image.open(output) as picture:
        assert picture.info["Software"] == "aae-zoo"
    first = output.read_bytes()
    assert aae_zoo("sample", "-n", 4, "-o", output).status == 0
    assert output.read_bytes() != first


LONG = 300 * "a"


@pytest.mark.parametrize(
    "command",
    [
        ("sample", "-o", f"{LONG}.png"),
        ("sample", "-o", f"{LONG}/"),
        ("sample", "-o", f"{LONG}/x.npy"),
        ("explore", "digits-gauss", "-o", LONG),
        ("detector", "pictures", "-o", LONG),
        ("make", "pictures", "-o", LONG),
        ("train", "digits-gauss", "--out", LONG),
        ("data", "avatars", "-o", LONG),
    ],
)
def test_a_name_that_is_too_long(command: tuple[str, ...], refused: Callable[..., str]) -> None:
    message = refused(*command)
    assert message.startswith(f"error: cannot write {LONG}")
    assert message.endswith(
        ": File name too long; give an output in a folder that exists, is writable and has free space\n"
    )


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (["reconstruct", "-o", "file/x.png"], "file/x.png: Not a directory; give an output in"),
        (["reconstruct", "-o", "file/new/"], "file/new: Not a directory; give an output in"),
        (["reconstruct", "-o", "full/"], "full exists already"),
        (["encode", "-o", "file/x.npz"], "file/x.npz: Not a directory; give an output in"),
        (["score", "-o", "/proc/x.csv"], "/proc/x.csv: No such file or directory; give an output in"),
        (["score", "--maps", "file/x"], "file/x: Not a directory; give an output in"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_read(
    output: list[str], said: str, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no picture can be read of would be refused for that."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x.png").touch()
    (tmp_path / "file").touch()
    command, *rest = output
    assert said in refused(command, "digits-gauss", "full", *rest)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def somebodys_png(path: Path) -> None:
    Image.new("L", (9, 9), 7).save(path)


def another_programs_png(path: Path) -> None:
    said = PngInfo()
    said.add_text("Software", "aae-zoo-editor")
    Image.new("L", (9, 9), 7).save(path, pnginfo=said)


def other_format(path: Path) -> None:
    Image.new("L", (9, 9), 7).save(path, "JPEG", comment="aae-zoo")


@pytest.mark.parametrize(
    "write",
    [
        somebodys_png,
        another_programs_png,
        other_format,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("a thesis"),
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\xff" * 40),
    ],
)
def test_any_other_file_is_left_unless_forced(
    write: Callable[[Path], object], refused: Callable[..., str], aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    output = tmp_path / "x.png"
    write(output)
    before = output.read_bytes()
    message = refused("sample", "-n", 1, "-o", output)
    assert message == (
        f"error: {output} exists already, and nothing in it says that aae-zoo wrote it; give another output, or "
        "--force to write over it\n"
    )
    assert output.read_bytes() == before
    assert aae_zoo("sample", "-n", 1, "-o", output, "--force").status == 0
    assert output.read_bytes() != before


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["sample", "-n", 1], "x.npy"),
        (["sample", "-n", 1], "x.npz"),
        (["encode", "mnist-plane", "INPUT"], "x.npz"),
        (["score", "mnist-plane", "INPUT"], "x.csv"),
        (["nearest", "mnist-plane", "INPUT", "INPUT"], "x.json"),
    ],
)
def test_arrays_and_tables_cannot_say_whose_they_are(
    command: list[object], name: str, arrays: Path, refused: Callable[..., str], aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    line = [arrays if word == "INPUT" else word for word in command]
    assert aae_zoo(*line, "-o", tmp_path / name).status == 0
    before = (tmp_path / name).stat().st_mtime_ns
    assert "exists already" in refused(*line, "-o", tmp_path / name)
    assert (tmp_path / name).stat().st_mtime_ns == before
    assert aae_zoo(*line, "-o", tmp_path / name, "--force").status == 0


def test_an_input_is_never_written_over(arrays: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    before = arrays.read_bytes()
    (tmp_path / "link.npy").symlink_to(arrays)
    (tmp_path / "DIGITS.npy").hardlink_to(arrays)  # as one name is another where letters' case does not tell
    for output in (arrays, tmp_path / "link.npy", tmp_path / "DIGITS.npy", tmp_path / "no" / ".." / "digits.npy"):
        (tmp_path / "no").mkdir(exist_ok=True)
        assert "is an input of this command" in refused("reconstruct", "mnist-plane", arrays, "-o", output, "--force")
    assert arrays.read_bytes() == before


def test_a_picture_of_a_folder_of_inputs_is_an_input(
    refused: Callable[..., str], aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    assert aae_zoo("sample", "-n", 2, "-o", f"{tmp_path}/set/").status == 0
    picture = next((tmp_path / "set").iterdir())
    before = picture.read_bytes()
    for command in (["reconstruct", "mnist-plane"], ["nearest", "mnist-plane", shutil.copy(picture, tmp_path)]):
        message = refused(*command, tmp_path / "set", "-o", picture, "--force")
        assert "is an input of this command, which is never written over" in message
    assert picture.read_bytes() == before


OUTPUTS = pytest.mark.parametrize(
    ("command", "name"),
    [
        (["sample", "-n", 1], "x.png"),
        (["sample", "-n", 1], "x.npy"),
        (["encode", "mnist-plane", "INPUT"], "x.npz"),
        (["score", "mnist-plane", "INPUT"], "x.csv"),
    ],
)


@OUTPUTS
def test_where_a_link_leads_is_written(
    command: list[object], name: str, arrays: Path, aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    line = [arrays if word == "INPUT" else word for word in command]
    (tmp_path / "store").mkdir()
    (tmp_path / name).symlink_to("second")
    (tmp_path / "second").symlink_to(tmp_path / "store" / "result")
    for _ in range(2):  # made, then replaced
        assert aae_zoo(*line, "-o", tmp_path / name, "--force").status == 0
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "second").is_symlink()
        assert [path.name for path in (tmp_path / "store").iterdir()] == ["result"]
    assert (tmp_path / "store" / "result").stat().st_size > 0


@OUTPUTS
def test_what_is_private_stays_private(
    command: list[object], name: str, arrays: Path, aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    line = [arrays if word == "INPUT" else word for word in command]
    (tmp_path / name).touch()
    for mode in (0o600, 0o664):
        (tmp_path / name).chmod(mode)
        assert aae_zoo(*line, "-o", tmp_path / name, "--force").status == 0
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("name", [251 * "x" + ".png", 83 * "€" + "xx.npy"])
def test_a_name_as_long_as_can_be_is_written(name: str, aae_zoo: AaeZoo, tmp_path: Path) -> None:
    assert len(os.fsencode(name)) == 255
    assert aae_zoo("sample", "-n", 1, "-o", tmp_path / name).status == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_private_folder_stays_private(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir(mode=0o700)
    assert aae_zoo("sample", "-n", 1, "-o", f"{tmp_path}/x/").status == 0
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("target", ["x.png", "pipe", "/dev/full"])
def test_what_is_no_file_is_not_replaced(target: str, refused: Callable[..., str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.png").symlink_to(target)
    said = "Too many levels of symbolic links" if target == "x.png" else "it is not a plain file"
    assert said in refused("sample", "-n", 1, "-o", tmp_path / "x.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "x.png"]
    assert (tmp_path / "x.png").is_symlink()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be several users")
@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_anothers_link_in_a_folder_for_all_is_not_followed(
    mode: int, refused: Callable[..., str], tmp_path: Path
) -> None:
    tmp_path.chmod(mode)
    (tmp_path / "x.png").symlink_to(tmp_path / "thesis")
    os.chown(tmp_path / "x.png", 54321, 54321, follow_symlinks=False)
    message = refused("sample", "-n", 1, "-o", tmp_path / "x.png")
    assert "it is a link that somebody else has put there" in message
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("encode", ".npy, .npz or -"),
        ("score", ".csv, .json or .npz"),
        ("nearest", ".csv, .json or .npz"),
        ("reconstruct", ".png, .npy, .npz, a folder/ or -"),
        ("interpolate", ".png, .npy, .npz, a folder/ or -"),
    ],
)
def test_an_output_of_no_known_kind_is_refused_before_any_picture_is_read(
    command: str, expected: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    missing = [tmp_path / "missing"] * (2 if command == "nearest" else 1)
    message = refused(command, "digits-gauss", *missing, "-o", "x.txt")
    assert message == f"error: the output x.txt ends in .txt, expected {expected}\n"


def test_a_folder_of_maps_that_is_there_is_refused_before_any_picture_is_read(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "somebodys").touch()
    assert "exists already" in refused("score", "digits-gauss", tmp_path / "missing", "--maps", tmp_path)


def test_a_picture_too_large_is_refused_before_it_is_worked_out(refused: Callable[..., str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2000, 8, 8), np.float32))
    message = refused("interpolate", "digits-gauss", tmp_path / "x.npy", "--steps", 10_000, "-o", tmp_path / "x.png")
    assert message.startswith("error: a picture of 19990000 images has")
