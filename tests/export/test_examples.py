"""The examples, as aae-zoo embed writes them: the same numbers and pictures in every language."""

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from compilers import build, unpack
from conftest import ROOT, replace_graph
from numpy.typing import NDArray
from PIL import Image
from programs import NODE_MODULES, node, served

from aae_zoo.export.pages.web_runtime import FILES, WEBGPU_FILES
from aae_zoo.export.targets.embed import LANGUAGES, embed
from aae_zoo.runtime import load
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.ownership import MARK
from aae_zoo.runtime.store.catalogue import SHIPPED

SEED = 7
Numbers = dict[str, NDArray[np.float64]]
# one with a class for the decoder, one with a class in the code, one without classes, a small one
CASES = [("mnist-style", 3), ("mnist-mixture", 9), ("fashion-gauss8", None), ("digits-gauss", None)]
# What embed makes for a model, beside what examples/ holds.
MADE = {
    "python": {"__init__.py"},
    "node": {"facts.js", "facts.d.ts"},
    "browser": {"facts.js"},
    "c": set(),
    "cpp": set(),
}


def numbers(printed: str) -> Numbers:
    """What an example prints: each line is a name and its values."""
    return {name: np.array(values, float) for name, *values in map(str.split, printed.strip().splitlines())}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles the example in C or C++, as embed writes it: the program."""

    @cache
    def compile_(language: str) -> Path:
        folder = tmp_path_factory.mktemp(language) / "example"
        embed("digits-gauss", language, folder)
        return build(sorted(folder.glob("*.c*")))

    return compile_


@pytest.fixture(scope="module")
def run(compiled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, Path]]:
    """Embeds a model for a language and draws with it: what it prints, and the folder."""

    @cache
    def run_(language: str, name: str, *arguments: object, status: int = 0) -> tuple[str, Path]:
        folder = tmp_path_factory.mktemp("embedded") / "model"
        embed(name, language, folder)
        interpreted = {"python": [sys.executable, "draw.py"], "node": ["node", "draw.js"]}
        program = interpreted.get(language) or [str(compiled(language))]
        if language == "node":
            (folder / "node_modules").symlink_to(NODE_MODULES)
        command = [*program, *map(str, arguments)]
        home = folder.with_name("home")
        environment = {**os.environ, "HOME": str(home)}
        del environment["ORT_DISABLE_TELEMETRY"]  # the example is to set it
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert not home.exists(), list(home.rglob("*"))
        assert result.returncode == status, result.stderr
        return (result.stderr if status else result.stdout), folder

    return run_


@pytest.mark.parametrize(("name", "label"), CASES)
def test_every_language_prints_the_same_numbers_and_draws_the_same_picture(
    run: Callable[..., tuple[str, Path]], name: str, label: int | None
) -> None:
    arguments = [SEED] if label is None else [SEED, label]
    printed, folder = run("python", name, *arguments)
    expected, picture = numbers(printed), read_picture(folder)
    for language in ("node", "c", "cpp"):
        printed, folder = run(language, name, *arguments)
        assert_same(numbers(printed), expected, language)
        assert np.abs(read_picture(folder) - picture).max() <= 1


@pytest.mark.parametrize("language", ["python", "node", "c", "cpp"])
def test_a_class_may_be_asked_for_by_its_name(run: Callable[..., tuple[str, Path]], language: str) -> None:
    assert run(language, "fashion-style", SEED, "label=Sandal")[0] == run(language, "fashion-style", SEED, 5)[0]


def assert_same(found: Numbers, expected: Numbers, where: str) -> None:
    """Six digits of what is drawn; one less of what is encoded from that, whose own differences it is to carry."""
    assert list(found) == list(expected)
    for key, values in found.items():
        tolerance = 2e-5 if key in ("encoded", "redrawn", "score", "odd") else 2e-6
        assert np.allclose(values, expected[key], rtol=0, atol=tolerance), (where, key)


def read_picture(folder: Path) -> NDArray[np.int64]:
    return np.asarray(Image.open(folder / "picture.png")).astype(int)


def test_every_language_scores_as_the_detector_does(
    run: Callable[..., tuple[str, Path]], detector_bundle: Path
) -> None:
    printed, folder = run("python", str(detector_bundle), SEED)
    assert "| `detector.onnx` | `image` [batch, 1, 14, 14] | `score` [batch], `map` [batch, 1, 14, 14] |" in (
        folder / "README.md"
    ).read_text("utf-8")
    expected = numbers(printed)
    model = load(detector_bundle)
    image = model.sample_from(expected["u"][None].astype(np.float32))
    scores = model.score(image, maps=True)
    assert scores.maps is not None
    assert np.allclose(expected["score"], scores.score, atol=1e-3)
    assert np.allclose(expected["odd"], scores.maps[0][7], atol=1e-3)
    for language in ("node", "c", "cpp"):
        assert_same(numbers(run(language, str(detector_bundle), SEED)[0]), expected, language)


@pytest.mark.parametrize(("name", "label"), CASES)
def test_they_are_the_numbers_of_the_runtime(
    run: Callable[..., tuple[str, Path]], name: str, label: int | None
) -> None:
    printed, folder = run("python", name, SEED, *([] if label is None else [label]))
    found = numbers(printed)
    model = load(name)
    image = model.sample_from(found["u"][None].astype(np.float32))[0]
    middle = image.shape[1] // 2
    assert np.abs(image[:, middle].ravel() - found["middle"]).max() < 1e-4  # u has six digits
    assert np.abs(read_picture(folder) - image[0] * 255).max() <= 1
    assert np.abs(model.encode(image[None])[0] - found["encoded"]).max() < 1e-3
    assert np.abs(model.reconstruct(image[None])[0, :, middle].ravel() - found["redrawn"]).max() < 1e-3
    if name == "mnist-style":
        assert model.classify(image[None]).numbers[0] == label


# What Chromium itself says where a page asks for a GPU.
NO_GPU = "console: No available adapters."


@pytest.mark.parametrize(
    ("browser", "asked", "device", "said"),
    [
        ("no-webgpu", "?device=wasm", "wasm", set()),
        ("no-webgpu", "", "wasm", {NO_GPU}),
        ("has-webgpu", "", "webgpu", set()),
    ],
)
def test_the_page_prints_the_same_numbers_without_asking_another_host(
    run: Callable[..., tuple[str, Path]], browser: str, asked: str, device: str, said: set[str], tmp_path: Path
) -> None:
    printed, _ = run("python", "mnist-style", SEED, 3)
    embed("mnist-style", "browser", tmp_path / "page", node_modules=NODE_MODULES)
    assert list((tmp_path / "page").rglob("*.mjs")) == []  # not every server has a type for it
    with served(tmp_path / "page") as url:
        shown = node("example.mjs", url + asked, browser, SEED, "Label=3")
    assert set(shown["faults"]) == said
    assert shown["device"] == device
    assert shown["controls"] == ["Label"]
    assert shown["seeds"] == ["4294967295"]
    lost, old = shown["said"]
    assert re.fullmatch(r"error: http://.*/decoder.onnx cannot be read: 404 Not Found", lost)
    assert old == "error: CompressionStream is not defined"
    found, expected = numbers(shown["numbers"]), numbers(printed)
    assert_same(found, expected, browser)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["saved"]))))
    assert shown["pictures"] == [[28, 28], [28, 28]]
    assert picture.shape == (28, 28)
    assert np.abs(picture[14] - expected["middle"] * 255).max() <= 1


@pytest.mark.parametrize(
    ("name", "controls", "asked"),
    [
        ("avatars-style", ["Style", "Glasses", "Hair", "Skin"], ["glasses=yes", "hair=pink"]),
        ("mnist-plane", [], []),
    ],
)
def test_the_page_asks_for_each_attribute_that_the_model_has(
    run: Callable[..., tuple[str, Path]], name: str, controls: list[str], asked: list[str], tmp_path: Path
) -> None:
    printed, _ = run("python", name, SEED, *asked)
    embed(name, "browser", tmp_path / "page", node_modules=NODE_MODULES)
    with served(tmp_path / "page") as url:
        shown = node("example.mjs", url + "?device=wasm", "no-webgpu", SEED, *asked)
    assert shown["controls"] == controls
    assert_same(numbers(shown["numbers"]), numbers(printed), name)


@pytest.mark.parametrize("language", ["python", "node", "c", "cpp"])
@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("mnist-plane", 3, "has no label 3"),
        ("mnist-style", 10, "has no label 10"),
        ("mnist-style", "hair=brown", "has no hair brown"),
    ],
)
def test_what_is_not_there_is_an_error(
    run: Callable[..., tuple[str, Path]], language: str, name: str, asked: object, expected: str
) -> None:
    said, folder = run(language, name, SEED, asked, status=1)
    assert expected in said
    assert len(said.splitlines()) == 1
    assert not list(folder.glob("picture.*"))


@pytest.mark.parametrize("language", ["python", "node", "c", "cpp"])
@pytest.mark.parametrize("seed", ["x", "", "7x", " 7", "-1", "1.5", "4294967296", "18446744073709551617"])
def test_a_seed_is_a_whole_number_of_32_bits(run: Callable[..., tuple[str, Path]], language: str, seed: str) -> None:
    said, folder = run(language, "digits-gauss", seed, status=1)
    sentence = f"the seed is {seed}, expected a whole number from 0 to 4294967295\n"
    assert said == (sentence if language == "python" else f"error: {sentence}")
    assert not list(folder.glob("picture.*"))


@pytest.mark.parametrize("language", ["python", "node"])
@pytest.mark.parametrize(
    ("what", "value", "expected"), [("count", "-1", " from 0"), ("count", "1.5", " from 0"), ("seed", "0.5", "")]
)
def test_a_program_of_ones_own_is_told_of_a_count_or_seed_that_is_none(
    run: Callable[..., tuple[str, Path]], language: str, what: str, value: str, expected: str
) -> None:
    _, folder = run(language, "digits-gauss", SEED)
    given = value if what == "count" else {"python": f"1, seed={value}", "node": f"1, {{ seed: {value} }}"}[language]
    code = {
        "python": f"from model import Model, png\nModel().sample({given})",
        "node": f'import {{ load }} from "./index.js"; await (await load()).sample({given});',
    }
    command = {"python": [sys.executable, "-c"], "node": ["node", "--input-type=module", "-e"]}[language]
    result = subprocess.run([*command, code[language]], cwd=folder, capture_output=True, text=True, check=False)
    assert f"Error: the {what} is {value}, expected a whole number{expected}\n" in result.stderr


def test_in_javascript_what_is_undefined_is_not_asked_for_and_a_wrong_size_is_named(
    run: Callable[..., tuple[str, Path]],
) -> None:
    _, folder = run("node", "avatars-style", SEED)
    code = """
        import { load, png } from "./index.js";
        const model = await load();
        const [image] = await model.sample(1, { seed: 1, attributes: { glasses: undefined } });
        const [again] = await model.sample(1, { seed: 1 });
        console.log(image.every((value, i) => value === again[i]));
        for (const wrong of [() => model.encode(image), () => png(image.slice(1))])
          await wrong().catch((error) => console.log(error.message));
    """
    command = ["node", "--input-type=module", "-e", code]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        "true",
        "row 0 has no numbers, expected 12288 (3,64,64)",
        "the image has 12287 numbers, expected 12288 (3,64,64)",
    ]


@pytest.mark.parametrize("language", ["node", "c", "cpp"])
def test_the_greatest_seed_is_the_same_in_every_language(run: Callable[..., tuple[str, Path]], language: str) -> None:
    expected = numbers(run("python", "digits-gauss", 2**32 - 1)[0])
    assert_same(numbers(run(language, "digits-gauss", 2**32 - 1)[0]), expected, language)


@pytest.mark.parametrize("language", ["python", "node", "c", "cpp"])
def test_where_the_encoder_tells_no_class_the_picture_is_redrawn_with_its_own(
    run: Callable[..., tuple[str, Path]], labelled_bundle: Callable[..., Path], language: str
) -> None:
    bundle = labelled_bundle(encoder_tells=False)
    printed, folder = run(language, str(bundle), SEED, 1)
    found = numbers(printed)
    assert found["y"].tolist() == [0, 1, 0]
    assert np.allclose(found["encoded"], found["z"], atol=2e-6)
    assert np.array_equal(found["redrawn"], found["middle"])
    assert list(folder.glob("picture.png"))


@pytest.mark.parametrize("language", ["c", "cpp"])
@pytest.mark.parametrize("role", ["prior", "encoder", "decoder"])
def test_graphs_of_different_models_are_an_error(
    compiled: Callable[[str], Path], language: str, role: str, tmp_path: Path
) -> None:
    """Never memory that is nobody's: the sanitizers would end the program otherwise."""
    embed("mnist-plane", language, tmp_path / "model")
    shutil.copy(SHIPPED / "mnist-gauss" / f"{role}.onnx", tmp_path / "model")
    command = [str(compiled(language)), str(SEED)]
    result = subprocess.run(command, cwd=tmp_path / "model", capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize("language", ["c", "cpp"])
def test_a_decoder_of_smaller_images_is_named(compiled: Callable[[str], Path], language: str, tmp_path: Path) -> None:
    embed("mnist-plane", language, tmp_path / "model")
    shutil.copy(SHIPPED / "digits-gauss" / "decoder.onnx", tmp_path / "model")
    command = [str(compiled(language)), str(SEED)]
    result = subprocess.run(command, cwd=tmp_path / "model", capture_output=True, text=True, check=False)
    assert result.stderr == "error: the graphs are not of one model: unexpected size of image\n"


@pytest.mark.parametrize("language", ["c", "cpp"])
def test_a_truncated_graph_is_named(compiled: Callable[[str], Path], language: str, tmp_path: Path) -> None:
    embed("digits-gauss", language, tmp_path / "model")
    os.truncate(tmp_path / "model" / "decoder.onnx", 1000)
    command = [str(compiled(language)), str(SEED)]
    result = subprocess.run(command, cwd=tmp_path / "model", capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert re.fullmatch(r"error: .*decoder\.onnx.*\n", result.stderr)


HUGE = {
    "c": """
        #include "model.h"
        #include <stdio.h>
        int main(void) {
          aae_model m;
          float image[64];
          if (aae_open(&m, ".")) return 1;
          puts(aae_sample(&m, (size_t)1 << 62, 1, -1, image));
          aae_close(&m);
        }
    """,
    "cpp": """
        #include "model.hpp"
        #include <cstdio>
        int main() try {
          aae::Model(".").sample(std::size_t{1} << 62, 1);
        } catch (const std::length_error& error) {
          std::puts(error.what());
        }
    """,
}


@pytest.mark.parametrize(
    ("language", "said"), [("c", "there is no memory"), ("cpp", "too many images: 4611686018427387904")]
)
def test_a_count_whose_memory_overflows_is_refused(language: str, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    embed("digits-gauss", language, folder)
    (folder / f"draw.{language}").write_text(HUGE[language])
    program = build(sorted(folder.glob("*.c*")))
    environment = os.environ | {"ASAN_OPTIONS": "allocator_may_return_null=1"}
    result = subprocess.run([program], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == f"{said}\n"


@pytest.mark.parametrize(
    ("key", "value"), [("label_coordinate", "90000"), ("latent", "-8"), ("classes", "11"), ("image_shape", None)]
)
def test_graphs_that_lie_to_programs_are_not_embedded(key: str, value: str | None, tmp_path: Path) -> None:
    """A program in C would write where the coordinate says."""
    bundle = Path(shutil.copytree(SHIPPED / "mnist-style", tmp_path / "bundle"))
    prior = onnx.load(bundle / "prior.onnx")
    (entry,) = [each for each in prior.metadata_props if each.key == f"aae_zoo.{key}"]
    prior.metadata_props.remove(entry)
    if value is not None:
        prior.metadata_props.add(key=entry.key, value=value)
    replace_graph(bundle, "prior.onnx", prior.SerializeToString())
    said = "missing" if value is None else repr(value)
    with pytest.raises(InvalidBundle, match=f"prior.onnx: aae_zoo.{key} is {said}, expected .*; programs rely on it"):
        embed(str(bundle), "c", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("language", LANGUAGES)
def test_embed_copies_what_examples_holds(language: str, tmp_path: Path) -> None:
    embed("mnist-style", language, tmp_path / "out", node_modules=NODE_MODULES)
    first, *others = [ROOT / "examples" / file for file in LANGUAGES[language]]
    lines = (first.read_text().splitlines(), (tmp_path / "out" / first.name).read_text().splitlines())
    (changed,) = [new for old, new in zip(*lines, strict=True) if old != new]
    assert "mnist-style 1.0.0; images 1 x 28 x 28, code [8], noise [9], 10 classes." in changed
    for file in others:
        if file.name != "package.json":
            assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
    graphs = {f"{role}.onnx" for role in ("encoder", "decoder", "prior")}
    page = {"ort"} if language == "browser" else set()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    expected = {first.name, *(file.name for file in others), *MADE[language], *graphs, "README.md", MARK}
    assert names == expected | page
    served = {name.replace(".mjs", ".js") for name in (*FILES, *WEBGPU_FILES)}
    assert not page or {path.name for path in (tmp_path / "out" / "ort").iterdir()} == served


def test_embeds_readme_tells_names_shapes_and_classes(tmp_path: Path) -> None:
    embed("mnist-style", "c", tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| `decoder.onnx` | `z` [batch, 8], `y` [batch, 10] | `image` [batch, 1, 28, 28] |" in readme
    assert "coordinate 8 of `u` chooses one, (number + uniform) / 10" in readme
    assert "cc draw.c" in readme
    assert "draw.cpp" not in readme


def test_a_project_of_cmake_has_the_folder_in_it(tmp_path: Path) -> None:
    """As the folder's README says, with ONNX Runtime's archive unpacked."""
    embed("digits-gauss", "cpp", tmp_path / "digits")
    lists = re.search(r"```cmake\n(.*?)```", (tmp_path / "digits" / "README.md").read_text(), re.DOTALL)
    assert lists
    (tmp_path / "CMakeLists.txt").write_text(lists[1])
    code = 'int main() { return aae::Model("digits").sample(3, 1).size() == 3 * 64 ? 0 : 1; }'
    (tmp_path / "app.cpp").write_text(f'#include "model.hpp"\n{code}\n')
    unpack(tmp_path / "ort")
    for arguments in (["-B", "build", f"-DORT={tmp_path / 'ort'}"], ["--build", "build"]):
        subprocess.run([sys.executable, "-m", "cmake", *arguments], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run([tmp_path / "build" / "app"], cwd=tmp_path, check=True)


def test_everything_of_the_examples_is_described(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "examples"], cwd=ROOT, check=True, capture_output=True, text=True)
    copied = {f"examples/{file}" for files in LANGUAGES.values() for file in files}
    ours = {"examples/__init__.py", "examples/README.md", "examples/ray_encode.py"}
    assert set(tracked.stdout.split()) == copied | ours
