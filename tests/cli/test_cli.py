"""The command line: what each command prints and writes, how it ends, and what it leaves alone."""

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import typer.main
from conftest import ROOT, AaeZoo
from numpy.typing import NDArray
from PIL import Image
from typer.core import TyperGroup

from aae_zoo.cli.main import command_line
from aae_zoo.runtime import Model, list_models, load
from aae_zoo.runtime.bundles.names import PRECISIONS
from aae_zoo.runtime.drawing.grid import grid
from aae_zoo.runtime.engine import wheels
from aae_zoo.runtime.engine.devices import DEVICES
from aae_zoo.runtime.store.catalogue import SHIPPED

AAE_ZOO = Path(sys.executable).with_name("aae-zoo")


@pytest.fixture
def two_digits(digits: NDArray[np.float32], tmp_path: Path) -> Path:
    folder = tmp_path / "digits"
    folder.mkdir()
    for number in range(2):
        Image.fromarray((digits[number, 0] * 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def test_sample_writes_a_grid_and_says_where(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "samples.png"
    result = aae_zoo("sample", "-n", 64, "-o", output)
    assert (result.status, result.err) == (0, "")
    assert result.out == f"64 images of mnist-gauss in {output}\n"
    with Image.open(output) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(grid(load("mnist-gauss").sample(64, seed=0))))


def test_sample_is_what_the_card_shows(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    aae_zoo("sample", "-o", tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as ours, Image.open(SHIPPED / "mnist-gauss" / "samples.png") as shown:
        assert np.abs(np.asarray(ours, float) - np.asarray(shown, float)).max() <= 1  # one step of 255


def test_sample_to_a_folder_arrays_and_stdout(small_bundle: Path, small: Model, tmp_path: Path) -> None:
    expected = small.sample(3, seed=5)

    def sample(output: str) -> bytes:
        command: list[str | Path] = [AAE_ZOO, "sample", small_bundle, "-n", "3", "--seed", "5", "-o", output]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout

    assert sample("folder/").decode() == f"3 images of small in {tmp_path / 'folder'}\n"
    files = sorted((tmp_path / "folder").iterdir())
    assert [p.name for p in files] == ["0000.png", "0001.png", "0002.png"]
    with Image.open(files[2]) as picture:
        assert np.allclose(np.asarray(picture) / 255, expected[2, 0], atol=0.5001 / 255)
    sample("x.npy")
    sample("x.npz")
    assert np.allclose(np.load(tmp_path / "x.npy"), expected, atol=1e-6)
    assert np.allclose(np.load(tmp_path / "x.npz")["image"], expected, atol=1e-6)
    with Image.open(BytesIO(sample("-"))) as picture:
        assert picture.format == "PNG"


def test_encode_decode_reconstruct_interpolate_manifold(
    shipped: Model, digits: NDArray[np.float32], two_digits: Path, aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    name = "mnist-plane"
    assert aae_zoo("encode", name, two_digits, "-o", tmp_path / "z.npz").out.startswith("codes [2, 2] in ")
    codes = np.load(tmp_path / "z.npz")["z"]
    assert np.allclose(codes, shipped.encode(digits[:2]), atol=1e-5)
    assert aae_zoo("decode", name, tmp_path / "z.npz", "-o", tmp_path / "x.npy").status == 0
    assert aae_zoo("reconstruct", name, two_digits, "-o", tmp_path / "again.npy").status == 0
    decoded, again = np.load(tmp_path / "x.npy"), np.load(tmp_path / "again.npy")
    assert np.allclose(decoded, again, atol=1e-5)
    assert np.allclose(again, shipped.reconstruct(digits[:2]), atol=1e-5)
    assert aae_zoo("interpolate", name, two_digits, "--steps", 7, "-o", tmp_path / "walk.png").status == 0
    with Image.open(tmp_path / "walk.png") as picture:
        assert picture.width > 6 * picture.height  # one row of seven
    assert aae_zoo("manifold", name, "--side", 4, "-o", tmp_path / "plane.npy").status == 0
    assert np.allclose(np.load(tmp_path / "plane.npy"), shipped.manifold(4), atol=1e-6)


def test_encode_to_stdout_is_an_array_and_nothing_else(two_digits: Path) -> None:
    command: list[str | Path] = [AAE_ZOO, "encode", "mnist-plane", two_digits, "-o", "-"]
    result = subprocess.run(command, check=True, capture_output=True)
    assert np.load(BytesIO(result.stdout)).shape == (2, 2)
    assert result.stderr.decode() == "codes [2, 2]\n"


def test_list_info_and_pull(aae_zoo: AaeZoo) -> None:
    assert re.search(r"^mnist-plane +shipped", aae_zoo("list").out, re.MULTILINE)
    assert re.search(r"^mnist-plane +shipped +14.8 MB +0.0352 +180.5 +Draws ", aae_zoo("list").out, re.MULTILINE)
    entries = json.loads(aae_zoo("list", "--json").out)
    assert "mnist-plane" in [entry["name"] for entry in entries]
    text = aae_zoo("info", "mnist-plane").out
    assert "1 x 28 x 28" in text
    assert "aae-zoo train mnist-plane" in text
    assert json.loads(aae_zoo("info", "mnist-plane", "--json").out)["latent"] == 2
    assert "mnist-plane 1.0.0 is shipped, every file as it should be" in aae_zoo("pull", "mnist-plane").out
    assert json.loads(aae_zoo("pull", "mnist-plane", "--json").out)["where"] == "shipped"


def test_models_are_listed_by_a_pattern_of_their_names(aae_zoo: AaeZoo, refused: Callable[..., str]) -> None:
    names = [entry.name for entry in list_models()]
    listed = [entry["name"] for entry in json.loads(aae_zoo("list", "mnist-*", "--json").out)]
    assert listed == [name for name in names if name.startswith("mnist-")] != names
    assert [line.split()[0] for line in aae_zoo("list", "digits-gauss").out.splitlines()] == ["name", "digits-gauss"]
    for pattern in ("mnist", "", "[", "MNIST-*"):
        sentence = f"error: no model of the catalogue is called {pattern!r}; aae-zoo list shows all\n"
        assert refused("list", pattern) == sentence


def test_doctor_of_a_sound_installation(aae_zoo: AaeZoo) -> None:
    result = aae_zoo("doctor")
    assert result.status == 0, result.out
    for words in ("ONNX Runtime", "device cpu", "model mnist-plane", "cache", "torch"):
        assert words in result.out
    assert all(finding["mend"] is None for finding in json.loads(aae_zoo("doctor", "--json").out))


def test_doctor_finds_each_fault(aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from aae_zoo.runtime.checks import doctor as diagnosis
    from aae_zoo.runtime.store import catalogue

    monkeypatch.setattr(wheels, "version", lambda n: "1.30.0" if n == "onnxruntime-gpu" else version(n))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(diagnosis, "SHIPPED", tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AAE_ZOO_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("AAE_ZOO_DATA", str(tmp_path / "nowhere"))
    result = aae_zoo("doctor")
    assert result.status == 1
    faults = [line.split()[1] for line in result.out.splitlines() if line.startswith("FAULT")]
    assert faults == ["ONNX", "devices", *["model"] * len(list_models()), "cache", "data"]
    assert "pip uninstall onnxruntime onnxruntime-gpu, then install one of them" in result.out
    assert catalogue.SHIPPED.exists()


def test_doctor_takes_an_empty_place_of_data_for_none(aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAE_ZOO_DATA", "")
    assert "AAE_ZOO_DATA is not set" in aae_zoo("doctor").out


def test_doctor_tries_what_is_built_in(aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU wheel without a GPU: CUDA is a fault, what is not built in and TensorRT are not."""
    import onnxruntime

    from aae_zoo.runtime.engine import session

    monkeypatch.setattr(wheels, "WHEELS", ("onnxruntime-gpu",))
    monkeypatch.setattr(wheels, "version", lambda name: onnxruntime.__version__)
    built_in = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built_in)
    missing = "libcublas.so.13: cannot open shared object file"
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda: print(f"Failed to load libcublas.so.13: {missing}"), raising=False
    )
    session.preload_libraries.cache_clear()
    result = aae_zoo("doctor", "--json")
    session.preload_libraries.cache_clear()
    findings = {finding["name"]: finding for finding in json.loads(result.out)}
    assert result.status == 1
    assert "pip install 'aae-zoo[gpu]'" in findings["device cuda"]["mend"]
    assert "cannot be used" in findings["device tensorrt"]["found"]
    assert "built without it" in findings["device coreml"]["found"]
    assert findings["device auto"]["found"] == "is cpu"
    assert [name for name, finding in findings.items() if finding["mend"]] == ["device cuda"]


def test_doctor_finds_a_wheel_that_another_has_overwritten(aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "__version__", "1.19.0")
    result = aae_zoo("doctor")
    assert result.status == 1
    assert "but the module that is imported is 1.19.0" in result.out


def test_samples_by_every_choice(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    chosen = ["--label", "7", "--temperature", "0.5", "--truncation", "0.9", "--quasi", "--seed", "3"]
    assert aae_zoo("sample", "mnist-mixture", "-n", 300, *chosen, "-o", tmp_path / "x.npy").status == 0
    model = load("mnist-mixture")
    expected = model.sample(300, label=7, temperature=0.5, truncation=0.9, quasi=True, seed=3)
    assert np.allclose(np.load(tmp_path / "x.npy"), expected, atol=1e-6)


def test_traverse_nearest_and_great_arcs(
    shipped: Model, digits: NDArray[np.float32], two_digits: Path, aae_zoo: AaeZoo, tmp_path: Path
) -> None:
    name = "mnist-plane"
    result = aae_zoo("traverse", name, two_digits, "--steps", 3, "-o", tmp_path / "x.npy")
    assert result.out == f"4 traversals of 3 images in {tmp_path / 'x.npy'}\n"
    pixels = np.round(digits[:2] * 255).astype(np.uint8)
    assert np.allclose(np.load(tmp_path / "x.npy"), shipped.traverse(pixels, 3), atol=1e-5)
    assert aae_zoo("interpolate", name, two_digits, "--spherical", "-o", tmp_path / "arcs.npy").status == 0
    assert np.allclose(np.load(tmp_path / "arcs.npy"), shipped.interpolate(pixels, spherical=True), atol=1e-5)
    np.save(tmp_path / "all.npy", digits)
    rows = json.loads(aae_zoo("nearest", name, two_digits, tmp_path / "all.npy", "-k", 2, "--json").out)["nearest"]
    assert [(row["image"], row["rank"], row["nearest"]) for row in rows[::2]] == [("0.png", 1, "0"), ("1.png", 1, "1")]
    assert "distance" in aae_zoo("nearest", name, two_digits, tmp_path / "all.npy").out
    result = aae_zoo("nearest", name, two_digits, tmp_path / "all.npy", "-o", tmp_path / "near.csv")
    assert result.out == f"2 neighbours in {tmp_path / 'near.csv'}\n"


def test_arrays_are_resized_too(aae_zoo: AaeZoo, refused: Callable[..., str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 50, 40, 3), np.uint8))
    assert "or resize=True" in refused("encode", "mnist-plane", tmp_path / "x.npy", "-o", tmp_path / "z.npy")
    assert aae_zoo("encode", "mnist-plane", tmp_path / "x.npy", "-o", tmp_path / "z.npy", "--resize").status == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "-n", "0"],
        ["sample", "-n", "seven"],
        ["sample", "--seed", "-1"],
        ["sample", "--bogus"],
        ["interpolate", "mnist-plane", ".", "-o", "x.png", "--steps", "1"],
        ["encode", "mnist-plane", "x.png"],
        ["bogus"],
    ],
)
def test_usage_errors_end_with_two(arguments: list[str], aae_zoo: AaeZoo) -> None:
    result = aae_zoo(*arguments)
    assert result.status == 2
    assert "Usage: aae-zoo" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("output", ["x.gif", "x.jpg", "x.txt"])
def test_an_output_of_no_known_kind(output: str, refused: Callable[..., str], no_leftovers: Path) -> None:
    message = refused("sample", "-o", no_leftovers / output)
    assert "expected .png, .npy, .npz, a folder/ or -" in message


def test_codes_are_not_written_as_a_picture(two_digits: Path, refused: Callable[..., str], no_leftovers: Path) -> None:
    message = refused("encode", "mnist-plane", two_digits, "-o", no_leftovers / "codes.png")
    assert "ends in .png, expected .npy, .npz or -" in message


def test_labels_devices_and_seeds_that_do_not_exist(refused: Callable[..., str], no_leftovers: Path) -> None:
    output = ["-o", no_leftovers / "x.png"]
    assert "mnist-gauss has no labels to choose from" in refused("sample", "--label", "7", *output)
    assert "device is 'tpu', expected one of" in refused("sample", "--device", "tpu", *output)
    assert f"the seed is {2**64}" in refused("sample", "--seed", 2**64, *output)


def test_a_picture_of_too_many_images_is_refused_before_they_are_drawn(
    refused: Callable[..., str], no_leftovers: Path
) -> None:
    message = refused("sample", "-n", 2_000_000_000, "-o", no_leftovers / "x.png")
    assert "a picture of 2000000000 images has 1568000000000 pixels, expected at most" in message


def test_more_threads_than_any_machine_has_cpus(refused: Callable[..., str], no_leftovers: Path) -> None:
    message = refused("sample", "--threads", 100_000, "-o", no_leftovers / "x.png")
    assert "threads is 100000, expected 1 to 4096" in message


def test_an_empty_name_is_not_every_model(refused: Callable[..., str], aae_zoo: AaeZoo) -> None:
    """As of a variable of the shell that is not set."""
    refused("pull", "")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["publish", SHIPPED / "digits-gauss", "--repo", "", "--dry-run"], "--repo"),
        (["publish", SHIPPED / "digits-gauss", "--repo", "org/name", "--dry-run", "--tag", ""], "--tag"),
        (["pull", "digits-gauss", "--namespace", ""], "--namespace"),
        (["pull", "digits-gauss", "--from", ""], "--from"),
        (["sample", "-o", "", "--seed", 1], "-o"),
        (["sample", "--output="], "--output"),
        (["train", "digits-gauss", "--licence", "", "--name", "mine"], "--licence"),
    ],
)
def test_an_empty_value_is_neither_none_nor_this_folder(
    command: list[object], option: str, refused: Callable[..., str]
) -> None:
    assert refused(*command) == f"error: what follows {option} is empty; give a value, or leave {option} out\n"


class TestOutputsThatCannotBeWritten:
    """Each with one sentence, status 1, and nothing half written, whoever runs it: root too."""

    def test_a_parent_that_is_a_file(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for name in ("x.png", "x.npz", "folder/"):
            assert "cannot write" in refused("sample", "-o", f"{tmp_path / 'file'}/{name}")

    def test_a_folder_where_a_file_should_be(
        self, refused: Callable[..., str], no_leftovers: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "x.png").mkdir()
        assert "it is a folder; give the name of a file" in refused("sample", "-o", tmp_path / "x.png")

    def test_a_folder_with_files(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine.txt").write_text("keep")
        assert "exists already" in refused("sample", "-n", 2, "-o", tmp_path / "full")
        assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]

    def test_a_file_system_without_write_permission(self, refused: Callable[..., str]) -> None:
        assert "cannot write /proc/x.png" in refused("sample", "-o", "/proc/x.png")

    def test_a_full_disk(self, no_leftovers: Path) -> None:
        """No file may grow beyond 1 kB: the write fails half-way, as on a full disk."""
        (no_leftovers / "x.png").write_bytes(b"what was there")
        command: list[str | Path] = [AAE_ZOO, "sample", "-o", no_leftovers / "x.png", "--force"]
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # noqa: E731
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        result = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, env=environment)
        assert result.returncode == 1
        assert "cannot write" in result.stderr
        assert result.stderr.count("\n") == 1
        assert (no_leftovers / "x.png").read_bytes() == b"what was there"
        (no_leftovers / "x.png").unlink()

    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_a_disk_that_gets_full_under_stdout(self, unbuffered: str, tmp_path: Path) -> None:
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # noqa: E731
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": unbuffered}
        with (tmp_path / "x.png").open("w") as stdout:
            result = subprocess.run(
                [AAE_ZOO, "sample", "-o", "-"], stdout=stdout, stderr=-1, text=True, preexec_fn=limit, env=environment
            )
        assert result.returncode == 1
        assert result.stderr.startswith("error: cannot write stdout: File too large; ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away(unbuffered: str) -> None:
    """`aae-zoo sample -o - | head -c 1` ends without a word."""
    command = f"set -o pipefail; {AAE_ZOO} sample -n 4000 -o - | head -c 1 > /dev/null"
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.parametrize("module", ["torch", "onnx", "pydantic"])
def test_training_without_its_extra(module: str, small_run: Path, tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules[{module!r}] = None  # as if it were not installed
sys.argv = ["aae-zoo", "export", {str(small_run)!r}, "-o", {str(tmp_path / "x")!r}]
from aae_zoo.cli.main import main
main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    (message,) = result.stderr.splitlines()
    assert message.startswith("error: ")
    assert f"{module}" in message
    assert "pip install 'aae-zoo[cpu,train]'" in message


def test_the_version(aae_zoo: AaeZoo) -> None:
    from importlib.metadata import version

    assert aae_zoo("--version").out == f"aae-zoo {version('aae-zoo')}\n"


def test_every_command_has_help_and_an_example(aae_zoo: AaeZoo) -> None:
    documents = "".join(p.read_text("utf-8") for p in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    names = re.findall(r"^  (\S+)", aae_zoo("--help").out.split("Look:")[1], re.MULTILINE)
    assert {"list", "sample", "train", "publish"} <= set(names)
    for name in names:
        assert aae_zoo(name, "-h").out == aae_zoo(name, "--help").out != ""
        assert f"\naae-zoo {name}" in documents, f"show aae-zoo {name} in a page of docs/"


def test_list_loads_nothing_that_it_does_not_need() -> None:
    program = """
import sys
from aae_zoo.cli.main import main
sys.argv[1:] = ["list"]
try:
    main()
finally:
    print(*sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.splitlines()[-1].split())
    needless = {"numpy", "onnxruntime", "PIL", "aae_zoo.runtime.bundles.manifest", "aae_zoo.cli.viewing"}
    assert "aae_zoo.runtime.store.catalogue" in loaded
    assert not needless & loaded


def documented_commands(text: str) -> Iterator[str]:
    """The lines of a document's blocks of code that call aae-zoo, each up to what the shell does with the output."""
    for block in re.findall(r"^ *```[a-z]*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^ *aae-zoo (.*)$", block.replace("\\\n", " "), re.MULTILINE):
            yield re.split(r" (?:\||&&|>) ", line)[0]


def test_every_command_that_is_documented_is_understood() -> None:
    """Its options are there and take what they are given; it is not run."""
    paths = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "runtime" / "models").glob("*/README.md")]
    lines = {line: path for path in paths for line in documented_commands(path.read_text("utf-8"))}
    assert len(lines) > 80
    for line, path in lines.items():
        words = shlex.split(line, comments=True)
        group = typer.main.get_command(command_line(words[0]))
        assert isinstance(group, TyperGroup)
        try:
            with group.make_context("aae-zoo", list(words)) as context:
                name, command, rest = group.resolve_command(context, words)
                assert command is not None
                command.make_context(name, rest, parent=context)
        except Exception as error:
            raise AssertionError(f"{path}: aae-zoo {line}: {error}") from None


def test_the_help_is_one_screen_of_commands_in_groups(aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = aae_zoo("-h").out
    assert text == aae_zoo("--help").out == aae_zoo().err
    assert re.findall(r"^(\S+):$", text, re.MULTILINE) == ["Options", "Look", "Use", "Train", "Ship"]
    lines = text.splitlines()
    assert len(lines) <= 42
    assert max(map(len, lines)) <= 80
    commands = lines[lines.index("Look:") :]
    assert all(re.fullmatch(r"  \S+ +[A-Z].*[^.]\.", line) for line in commands if not line.endswith(":")), text


def test_the_help_of_a_narrow_terminal_says_as_much(aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = aae_zoo("-h").out.split()
    monkeypatch.setenv("COLUMNS", "50")
    assert aae_zoo("-h").out.split() == words


def test_every_device_and_precision_is_named_in_the_help(aae_zoo: AaeZoo) -> None:
    text = aae_zoo("sample", "--help").out
    for name in (*DEVICES, *PRECISIONS):
        assert name in text, f"name {name} in the help of cli/options.py"


def test_every_device_is_documented() -> None:
    text = (ROOT / "docs" / "devices.md").read_text("utf-8")
    for name in DEVICES:
        assert f"`{name}`" in text, f"name the device {name} in docs/devices.md"
