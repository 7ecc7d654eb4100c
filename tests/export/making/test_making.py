"""A folder of pictures becomes a model with one command, which goes on wherever it was stopped."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import AaeZoo, Result
from PIL import Image
from programs import NODE_MODULES
from sklearn.datasets import load_digits

from aae_zoo.runtime import load

EPOCHS = 8
QUICK = [
    *("--set", "data.size=16", "--set", "encoder.channels=[8, 8]", "--set", "encoder.hidden=16"),
    *("--set", "decoder.channels=[8, 8]", "--set", "decoder.hidden=16", "--set", "objective.images.weight=0.1"),
    *("--set", "objective.images.discriminator.channels=[8]", "--set", "training.pictures_every=8"),
    *("--set", f"training.epochs={EPOCHS}", "--set", "training.steps=4", "--set", "training.batch=10"),
]


def write(folder: Path, count: int) -> Path:
    """Coloured digits of four sizes, a third of them in a folder within the folder."""
    for number, pixels in enumerate(load_digits().images[:count]):
        gray = Image.fromarray((15.9 * pixels).astype("uint8"))
        path = folder / ("more" if number % 3 else "") / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (60, 64, 80, 120)[number % 4]
        Image.merge("RGB", (gray, gray.rotate(90), gray)).resize((size, size)).save(path)
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures, one that is broken and one that another one has too."""
    folder = write(tmp_path_factory.mktemp("pictures") / "digits", 60)
    (folder / "broken.png").write_bytes(b"no picture")
    shutil.copy(folder / "000.png", folder / "again.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


def kill_in_training(command: list[str], run: Path) -> None:
    """Run the command, and kill it once it has a checkpoint."""
    program = "from aae_zoo.cli.main import main; main()"
    process = subprocess.Popen([sys.executable, "-c", program, *command], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run / "resume.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"


@pytest.fixture(scope="module")
def attempts(digits: Path, place: Path, aae_zoo: AaeZoo) -> list[Result]:
    """The command after a kill in training, where npm is missing; and again, where it is not needed."""
    command = ["make", str(digits), "-o", str(place / "mine"), *QUICK]
    kill_in_training(command, place / "mine-run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(place))
        patch.setenv("AAE_ZOO_CACHE", str(place / "cache"))
        second = aae_zoo(*command)
    assert second.status == 0, second.err
    before = (place / "mine" / "manifest.json").stat()
    third = aae_zoo(*command, "--node-modules", NODE_MODULES, "--json")
    assert (place / "mine" / "manifest.json").stat() == before
    return [second, third]


def test_it_goes_on_after_a_kill(attempts: list[Result]) -> None:
    second, third = attempts
    assert second.status == 0, second.err
    assert f"epoch {EPOCHS}/{EPOCHS}" in second.err
    assert f"epoch 1/{EPOCHS}  " not in second.err
    assert third.status == 0, third.err
    assert "has ended already" in third.err
    assert "epoch " not in third.err


def test_it_says_beforehand_what_it_will_take(attempts: list[Result], digits: Path) -> None:
    said = attempts[0].err
    assert f"{digits / 'broken.png'} cannot be read as a picture" in said
    assert "left out, as a copy of another one: 1 picture of" in said
    assert "60 pictures as 3 x 16 x 16: 49 to learn from, 5 to watch it with, 6 held out to measure it" in said
    assert "training takes about " in said


def test_it_says_what_it_thinks_of_itself_and_how_to_use_and_publish_it(
    attempts: list[Result], place: Path, aae_zoo: AaeZoo
) -> None:
    what, reconstructions, samples, better, draw, publish = attempts[0].out.splitlines()
    assert what.startswith("mine: draws pictures like those of 49 that it learned from, ")
    assert reconstructions.startswith("reconstructions: ")
    assert samples.startswith("samples: ")
    assert better.startswith("to do better: ")
    drawn = aae_zoo(*shlex.split(draw)[3:], "-o", place / "samples.png")
    assert drawn.status == 0, drawn
    assert publish == f"to publish the model: aae-zoo publish {place / 'mine'} --repo YOU/mine --private"


def test_without_npm_there_is_a_model_and_later_its_page(attempts: list[Result], place: Path) -> None:
    assert "warning: there will be no page: npm, which fetches onnxruntime-web" in attempts[0].err
    made = json.loads(attempts[1].out)
    assert made["page"] == str(place / "mine-page")
    assert (place / "mine-page" / "index.html").is_file()
    assert made["pictures"] == {"learned": 49, "validation": 5, "held_out": 6, "copies": 1, "unreadable": 1}
    rounded = load(place / "mine").manifest.metrics["mse"]  # of the weights as the bundle has them
    assert made["metrics"]["mse"] == pytest.approx(rounded, rel=0.01)


def test_the_bundle_holds_to_its_format_and_tells_nothing_of_this_machine(
    attempts: list[Result], place: Path, digits: Path, aae_zoo: AaeZoo
) -> None:
    assert aae_zoo("check", place / "mine").status == 0
    assert load(place / "mine").manifest.title == "Adversarial autoencoder of digits"
    for path in (place / "mine").iterdir():
        assert str(place).encode() not in path.read_bytes()
        assert str(digits.parent).encode() not in path.read_bytes()


def test_nothing_that_stands_is_written_over(
    attempts: list[Result], place: Path, digits: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert "mine exists already" in refused("make", digits, "-o", place / "mine", *QUICK)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "novel.txt").write_text("mine")
    assert "mine exists already" in refused("make", digits, "-o", tmp_path / "mine", *QUICK)
    assert "novel.txt may be somebody's" in refused("make", digits, "-o", tmp_path / "mine", "--replace", *QUICK)
    (tmp_path / "new-page").mkdir()
    (tmp_path / "new-page" / "novel.html").touch()
    assert "new-page exists already" in refused("make", digits, "-o", tmp_path / "new", *QUICK)
    assert "all of which is read; give an output elsewhere" in refused("make", digits, "-o", digits / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "new-page"]


def test_a_training_of_other_pictures_is_not_gone_on_with(
    attempts: list[Result], place: Path, tmp_path: Path, aae_zoo: AaeZoo
) -> None:
    shutil.copytree(place / "mine-run", tmp_path / "new-run")
    result = aae_zoo("make", write(tmp_path / "others", 70), "-o", tmp_path / "new", *QUICK)
    assert result.status == 1
    assert "was trained on other data than pictures is now" in result.err
    assert result.err.strip().endswith(f"or remove {tmp_path / 'new-run'} to begin again")


def same(folder: Path) -> Path:
    for number in range(60):
        write(folder, 1)
        (folder / "000.png").rename(folder / f"copy-{number}.png")
    return folder


def broken(folder: Path) -> Path:
    (folder / "a.png").write_bytes(b"x")
    return folder


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nowhere": (lambda folder: folder / "nowhere", "there is no folder of pictures "),
    "empty": (lambda folder: folder, "holds no pictures, expected files with the suffixes .png, "),
    "few": (lambda folder: write(folder, 49), "there are 49 pictures in "),
    "the same": (same, "are all the same, expected 50 or more that differ"),
    "broken": (broken, "none of the pictures in "),
}


@pytest.mark.parametrize("what", BAD)
def test_folders_that_nothing_can_be_learned_from(what: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    make, sentence = BAD[what]
    (tmp_path / "in").mkdir()
    arguments = ["-o", tmp_path / "out", "--node-modules", NODE_MODULES, *QUICK]
    assert sentence in refused("make", make(tmp_path / "in"), *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_node_modules_folder_without_the_package_is_found_before_the_training(
    digits: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    said = refused("make", digits, "-o", tmp_path / "out", "--node-modules", tmp_path, *QUICK)
    assert "has no ort.wasm.bundle.min.mjs; npm install onnxruntime-web" in said
    assert list(tmp_path.iterdir()) == []
