"""What aae-zoo embed writes, as modules of a user's own program: imported, typed, and used in batches."""

import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from compilers import build
from conftest import replace_graph, rewrite
from numpy.typing import NDArray
from PIL import Image
from programs import NODE_MODULES
from torch import Tensor, nn
from torch.nn import functional

from aae_zoo.export.bundling.graphs import to_onnx
from aae_zoo.export.targets.embed import embed
from aae_zoo.runtime import load
from aae_zoo.runtime.bundles.graph_metadata import graph_metadata
from aae_zoo.runtime.store.catalogue import SHIPPED, find_model

COUNT, SEED, LABEL = 3, 5, 7
# Names that would end a string, a list or an object, one that is another value's number, and other scripts.
HAIR, GLASSES, ODD = 'the "hair"', "眼鏡", 'a"]}, {\\'
ATTRIBUTES: list[dict[str, Any]] = [
    {"name": HAIR, "labels": ["grün", "no", ODD, "1"], "coordinate": 4},
    {"name": "hat", "labels": ["no", "yes"]},
    {"name": GLASSES, "labels": ["no", "ja 😀"], "coordinate": 0},
]
OTHERWISE = {HAIR: ODD, GLASSES: "no"}
NAMES = {"HAIR": HAIR, "GLASSES": GLASSES, "ODD": ODD}
CONSTANTS = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in NAMES.items())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """mnist-style as a package of Python: `import digits`."""
    folder = tmp_path_factory.mktemp("python")
    embed("mnist-style", "python", folder / "digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return importlib.import_module("digits")


@pytest.fixture(scope="module")
def expected(package: ModuleType) -> dict[str, NDArray[np.float32]]:
    """Images, their codes and what is decoded from these, as the runtime has them."""
    model = load("mnist-style")
    images = model.sample_from(package.Model().noise(COUNT, seed=SEED, label=LABEL))
    return {"images": images, **model.codes(images), "redrawn": model.reconstruct(images)}


def assert_equals(found: dict[str, Any], expected: dict[str, NDArray[np.float32]]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.abs(np.reshape(np.asarray(found[name], np.float32), values.shape) - values).max() < 2e-5, name


def test_python_imports_a_package_that_equals_the_runtime(
    package: ModuleType, expected: dict[str, NDArray[np.float32]]
) -> None:
    model = package.Model()
    images = model.sample(COUNT, seed=SEED, label=LABEL)
    assert_equals({"images": images, **model.encode(images), "redrawn": model.reconstruct(images)}, expected)
    assert (model.name, model.shape, model.labels) == ("mnist-style", (1, 28, 28), [str(k) for k in range(10)])
    assert not np.array_equal(model.sample(), model.sample())
    assert "mnist-style 1.0.0" in str(package.__doc__)
    for label in (-1, 10):
        with pytest.raises(ValueError, match=f"mnist-style has no label {label}; its labels are"):
            model.sample(label=label)
    with pytest.raises(ValueError, match="mnist-style takes y, and none is given"):
        model.decode({"z": model.encode(images)["z"]})


@pytest.mark.parametrize(("seed", "same"), [(-1, 2**32 - 1), (2**32 + 5, 5), (2**63, 0)])
def test_any_integer_is_a_seed_of_which_32_bits_count(package: ModuleType, seed: int, same: int) -> None:
    model = package.Model()
    assert np.array_equal(model.noise(COUNT, seed=seed), model.noise(COUNT, seed=same))


@pytest.mark.parametrize("channels", [1, 3])
def test_pythons_png_is_what_pillow_reads(package: ModuleType, channels: int) -> None:
    image = np.random.default_rng(0).uniform(-0.1, 1.1, (channels, 5, 7)).astype(np.float32)
    assert_is_picture(package.png(image), image)


def assert_is_picture(content: bytes, image: NDArray[np.float32]) -> None:
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.mode) == ("PNG", "L" if len(image) == 1 else "RGB")
    found = np.asarray(picture).reshape(*image.shape[1:], len(image)).transpose(2, 0, 1)
    assert np.abs(found - np.clip(image, 0, 1) * 255).max() < 0.51


# A user's program in TypeScript: compiled, so the types are true of each other, and run, so they are true of the code.
TYPED = """
import { facts, load, noise, png, type Code, type Facts, type Image, Model } from "mnist-style";
import { type Asked } from "faces";

const known: Facts = facts;
const model: Model = await load();
const images: Image[] = await model.sample(3, { seed: 5, label: 7 });
const codes: Code[] = await model.encode(images);
const redrawn: Image[] = await model.reconstruct(images);
const picture: Uint8Array<ArrayBuffer> = await png(images[0]!);
const again: Image[] = await model.decode(await model.codes(noise(3, { seed: 5, attributes: { label: "7" } })));
const fresh: Image[] = [...await model.sample(), ...await model.sample()];
const refused: string[] = [];
for (const wrong of [() => model.sample(1, { label: 10 }), () => model.encode([new Float32Array(5)])])
  await wrong().catch((error: RangeError) => refused.push(`${error.name}: ${error.message}`));

// What is undefined is left out.
await model.sample(1, { seed: undefined, label: undefined, attributes: undefined });
await model.reconstruct(images, { attributes: { label: undefined } });
await model.decode(codes.map(({ z, y }) => ({ z, y })));
await load({ device: undefined });

// @ts-expect-error: images are float32 arrays
await model.encode([[0, 1]]).catch(() => undefined);
// @ts-expect-error: a label is a number
await model.sample(1, { label: "7" }).catch(() => undefined);
// @ts-expect-error: models come from load
const made = () => new Model();
const asked: Asked[] = [
  { [HAIR]: "grün", [GLASSES]: 1, hat: "yes" },
  {},
  // @ts-expect-error: there is no such attribute
  { beard: "grün" },
  // @ts-expect-error: it has no such value
  { [HAIR]: "blue" },
];

const rows = (arrays: (Float32Array | undefined)[]) => arrays.map((array) => [...array!]);
console.log(JSON.stringify({
  known, device: model.device, refused,
  images: rows(images), z: rows(codes.map(({ z }) => z)), y: rows(codes.map(({ y }) => y)), redrawn: rows(redrawn),
  same: images.every((image, i) => image.every((value, k) => value === again[i]![k])),
  afresh: fresh[0]!.some((value, k) => value !== fresh[1]![k]),
  picture: Buffer.from(picture).toString("base64"),
}));
"""
STRICT = ["--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"]
OPTIONS = [*STRICT, "--module", "nodenext", "--target", "es2022", "--types", "node"]


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A package of npm's, with the engine that its model will need, but not yet the model."""
    folder = tmp_path / "application"
    (folder / "node_modules").mkdir(parents=True)
    (folder / "package.json").write_text('{ "private": true, "type": "module" }')
    return folder


def npm(folder: Path, *arguments: str) -> None:
    command = ["npm", *arguments, "--ignore-scripts", "--offline", "--no-audit", "--no-fund"]
    environment = {**os.environ, "npm_config_cache": str(folder.with_name("cache"))}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_npm_installs_a_typed_package_that_equals_the_runtime(
    application: Path, asked_bundle: Path, expected: dict[str, NDArray[np.float32]]
) -> None:
    embed("mnist-style", "node", application / "digits")
    npm(application, "install", "./digits")
    embed(str(asked_bundle), "node", application / "node_modules" / "faces")
    for name in ("onnxruntime-node", "onnxruntime-common", "@types", "undici-types"):
        (application / "node_modules" / name).symlink_to(NODE_MODULES / name)
    (application / "main.ts").write_text(f"{CONSTANTS}{TYPED}")
    compiler = [str(NODE_MODULES / "typescript" / "bin" / "tsc"), *OPTIONS, "main.ts"]
    typed = subprocess.run(["node", *compiler], cwd=application, capture_output=True, text=True, check=False)
    assert typed.returncode == 0, typed.stdout
    result = subprocess.run(["node", "main.js"], cwd=application, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert_equals({name: found[name] for name in expected}, expected)
    assert (found["same"], found["afresh"], found["device"]) == (True, True, "node")
    assert found["refused"] == [
        "RangeError: mnist-style has no label 10; it has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "RangeError: row 0 has 5 numbers, expected 784 (1,28,28)",
    ]
    facts = {"name": "mnist-style", "version": "1.0.0", "licence": "MIT", "dataset": "mnist"}
    sizes = {"channels": 1, "height": 28, "width": 28, "noise": 9, "code": {"z": 8, "y": 10}, "labelCoordinate": 8}
    labels = [str(k) for k in range(10)]
    attributes = [{"name": "label", "labels": labels, "coordinate": 8}]
    assert found["known"] == {**facts, **sizes, "labels": labels, "attributes": attributes, "detects": False}


# What TypeScript before 5.7 declares of JavaScript, as far as the package's types name it.
OLD_LIBRARY = """
interface Array<T> {} interface ReadonlyArray<T> {} interface Promise<T> {}
interface Boolean {} interface Function {} interface IArguments {} interface Number {} interface Object {}
interface RegExp {} interface String {} interface CallableFunction {} interface NewableFunction {}
interface ArrayBuffer {} interface Float32Array {} interface Uint8Array { slice(): Uint8Array }
type Readonly<T> = { readonly [K in keyof T]: T[K] };
type Record<K extends string, T> = { [P in K]: T };
type ReturnType<T extends (...given: any) => any> = T extends (...given: any) => infer R ? R : any;
"""


def test_an_old_typescript_understands_the_types(tmp_path: Path) -> None:
    embed("mnist-style", "node", tmp_path / "digits")
    (tmp_path / "old.d.ts").write_text(OLD_LIBRARY)
    options = ["--noLib", "--noEmit", "--strict", "--module", "nodenext"]
    compiler = [str(NODE_MODULES / "typescript" / "bin" / "tsc"), *options, "old.d.ts", "digits/index.d.ts"]
    typed = subprocess.run(["node", *compiler], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert typed.returncode == 0, typed.stdout


def test_npm_packs_what_the_package_needs(application: Path) -> None:
    embed("mnist-plane", "node", application / "digits")
    npm(application / "digits", "pack", "--pack-destination", str(application))
    npm(application, "install", str(application / "mnist-plane-1.0.0.tgz"))
    installed = {path.name for path in (application / "node_modules" / "mnist-plane").iterdir()}
    modules = {"index.js", "index.d.ts", "facts.js", "facts.d.ts", "node.js", "web.js", "package.json", "README.md"}
    assert installed == modules | {f"{role}.onnx" for role in ("prior", "decoder", "encoder")}


@pytest.mark.parametrize("channels", [1, 3])
def test_javascripts_png_is_what_pillow_reads(channels: int, tmp_path: Path) -> None:
    embed("digits-gauss", "node", tmp_path / "digits")
    facts = tmp_path / "digits" / "facts.js"
    sizes = {'"channels": 1': f'"channels": {channels}', '"height": 8': '"height": 5', '"width": 8': '"width": 7'}
    text = facts.read_text()
    for old, new in sizes.items():
        assert old in text
        text = text.replace(old, new)
    facts.write_text(text)
    image = np.random.default_rng(0).uniform(-0.1, 1.1, (channels, 5, 7)).astype(np.float32)
    (tmp_path / "digits" / "write.js").write_text(
        'import { writeFileSync } from "node:fs";\nimport { png } from "./index.js";\n'
        f'writeFileSync("picture.png", await png(Float32Array.from({image.ravel().tolist()})));\n'
    )
    subprocess.run(["node", "write.js"], cwd=tmp_path / "digits", check=True)
    assert_is_picture((tmp_path / "digits" / "picture.png").read_bytes(), image)


# The same work in C and C++: what is drawn, encoded and decoded again, one number a line.
IN_C = """
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "model.h"
#include "png.h"
static void print(const float* values, int count) {
  for (int i = 0; i < count; i++) printf("%.9g\\n", values[i]);
}
int main(void) {
  aae_model m, other;
  float z[24], y[30], images[3 * 784], redrawn[3 * 784];
  const char* error = aae_open(&m, "elsewhere");
  if (!aae_open(&other, "nowhere")) return 1;
  fprintf(stderr, "%s\\n", error);
  if (aae_open(&m, ".") || aae_sample(&m, 0, 5, 7, images) || aae_sample(&m, 3, 5, 7, images) ||
      aae_encode(&m, 3, images, z, y) || aae_decode(&m, 3, z, y, redrawn))
    return 1;
  print(images, 3 * 784);
  print(z, 24);
  print(y, 30);
  print(redrawn, 3 * 784);
  fprintf(stderr, "%s\\n", aae_sample(&m, 1, 5, 10, images));
  fprintf(stderr, "%s\\n", aae_decode(&m, 3, z, NULL, redrawn));
  aae_close(&m);
  const float nothing = NAN;
  if (png_write("black.png", &nothing, 1, 1, 1)) return 1;
  float colour[3 * 5 * 7];
  for (int i = 0; i < 105; i++) colour[i] = (float)i / 104;
  return png_write("gray.png", colour, 1, 5, 7) || png_write("colour.png", colour, 3, 5, 7) ||
         !png_write("nowhere/gray.png", colour, 1, 5, 7);
}
"""
IN_CPP = """
#include <cstdio>
#include <iostream>
#include "model.hpp"
#include "png.h"
static void print(const aae::Numbers& values) {
  for (const float value : values) std::printf("%.9g\\n", value);
}
template <typename Work> void refused(Work work) {
  try { work(); } catch (const std::exception& error) { std::cerr << error.what() << '\\n'; }
}
int main() {
  refused([] { aae::Model("elsewhere"); });
  const aae::Model model;
  const aae::Numbers images = model.sample(3, 5, 7);
  aae::Codes codes = model.encode(images);
  print(images);
  print(codes.at("z"));
  print(codes.at("y"));
  print(model.reconstruct(images));
  refused([&] { model.sample(1, 5, 10); });
  codes.erase("y");
  refused([&] { model.decode(codes); });
  refused([&] { model.encode(aae::Numbers(1000)); });
  float colour[105];
  for (int i = 0; i < 105; i++) colour[i] = (float)i / 104;
  return png_write("gray.png", colour, 1, 5, 7) || png_write("colour.png", colour, 3, 5, 7) ||
         !png_write("nowhere/gray.png", colour, 1, 5, 7);
}
"""


@pytest.mark.parametrize(("language", "program"), [("c", IN_C), ("cpp", IN_CPP)])
def test_a_program_that_includes_the_header_equals_the_runtime(
    language: str, program: str, expected: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    folder = tmp_path / "digits"
    embed("mnist-style", language, folder)
    (folder / f"own.{language}").write_text(program)
    built = build([folder / f"own.{language}", folder / f"model.{language}"])
    result = subprocess.run([built], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    ends = np.cumsum([values.size for values in expected.values()])[:-1]
    values = np.split(np.array(result.stdout.split(), np.float32), ends)
    assert_equals(dict(zip(expected, values, strict=True)), expected)
    missing, label, without, *cut = result.stderr.splitlines()
    assert "elsewhere" in missing
    assert label == "the model has no label 10"
    assert "takes y, and none is given" in without
    assert cut == (["image has 1000 numbers, expected a multiple of 784"] if language == "cpp" else [])
    colour = np.linspace(0, 1, 105, dtype=np.float32).reshape(3, 5, 7)
    assert_is_picture((folder / "gray.png").read_bytes(), colour[:1])
    assert_is_picture((folder / "colour.png").read_bytes(), colour)


class _Prior(nn.Module):
    def forward(self, u: Tensor) -> dict[str, Tensor]:
        values = zip((u[:, 4] * 4, u[:, 3] * 2, u[:, 0] * 2), (4, 2, 2), strict=True)
        return {"z": u[:, 1:3], "y": torch.cat([functional.one_hot(v.long(), n) for v, n in values], 1).float()}


class _Decoder(nn.Module):
    """A picture whose pixels are the code and what it is asked to be."""

    def forward(self, z: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"image": functional.pad(torch.cat([z, y], 1), (0, 54), value=0.5).unflatten(1, (1, 8, 8))}


class _Encoder(nn.Module):
    """Never sure."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        pixels = image.flatten(1)
        return {"z": pixels[:, :2], "y": pixels[:, 2:10] * 0.9 + 0.02}


@pytest.fixture(scope="module")
def asked_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with three attributes, of which noise chooses two."""
    bundle = Path(shutil.copytree(SHIPPED / "digits-gauss", tmp_path_factory.mktemp("asked") / "faces"))
    rewrite(bundle, lambda d: d.update(name="faces", noise=5, attributes=ATTRIBUTES, choices=[0, 3, 4]))
    u, z, y, image = torch.rand(2, 5), torch.rand(2, 2), torch.rand(2, 8), torch.rand(2, 1, 8, 8)
    graphs: dict[str, tuple[nn.Module, dict[str, Tensor], list[str]]] = {
        "prior": (_Prior(), {"u": u}, ["z", "y"]),
        "decoder": (_Decoder(), {"z": z, "y": y}, ["image"]),
        "encoder": (_Encoder(), {"image": image}, ["z", "y"]),
    }
    manifest = find_model(str(bundle)).manifest
    for role, (network, inputs, outputs) in graphs.items():
        content = to_onnx(network, inputs, outputs, graph_metadata(manifest, role))
        replace_graph(bundle, manifest.graphs[role]["fp32"], content)
    return bundle


@pytest.fixture(scope="module")
def faces(asked_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """It as a package of Python."""
    folder = tmp_path_factory.mktemp("python")
    embed(str(asked_bundle), "python", folder / "faces")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return importlib.import_module("faces")


@pytest.fixture(scope="module")
def as_asked(asked_bundle: Path, faces: ModuleType) -> dict[str, NDArray[np.float32]]:
    """Images that are what they were asked to be, and the same redrawn otherwise, as the runtime has them."""
    model = load(asked_bundle)
    images = model.sample_from(faces.Model().noise(COUNT, seed=SEED, attributes={HAIR: "1", GLASSES: "ja 😀"}))
    told = model.tell(images)
    assert (list(told[HAIR].numbers), list(told[GLASSES].numbers)) == ([3] * COUNT, [1] * COUNT)
    return {"images": images, "redrawn": model.reconstruct(images, attributes=OTHERWISE)}


def test_python_draws_and_redraws_what_is_asked_for(
    faces: ModuleType, as_asked: dict[str, NDArray[np.float32]]
) -> None:
    model = faces.Model()
    images = model.sample(COUNT, seed=SEED, attributes={HAIR: "1", GLASSES: "ja 😀"})
    assert_equals({"images": images, "redrawn": model.reconstruct(images, attributes=OTHERWISE)}, as_asked)
    assert np.array_equal(model.sample(COUNT, seed=SEED, attributes={HAIR: 3, GLASSES: "1"}), images)
    assert model.attributes == {each["name"]: each["labels"] for each in ATTRIBUTES}
    refusals = {
        "faces has no beard 1; it can be asked for": {"beard": "1"},
        f"faces has no {GLASSES} yes; its labels are": {GLASSES: "yes"},
        "faces draws every hat by chance": {"hat": 0},
    }
    for said, attributes in refusals.items():
        with pytest.raises(ValueError, match=said):
            model.sample(attributes=attributes)
    with pytest.raises(ValueError, match="faces has no label 1; it can be asked for"):
        model.sample(label=1)


def test_what_the_decoder_does_not_take_cannot_be_redrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed("mnist-mixture", "python", tmp_path / "mixture")
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("mixture").Model()
    with pytest.raises(ValueError, match="mnist-mixture redraws nothing with another label"):
        model.reconstruct(model.sample(), attributes={"label": 3})


ASKED_IN_JAVASCRIPT = """
import { facts, load } from "./index.js";

const model = await load();
const images = await model.sample(3, { seed: 5, attributes: { [HAIR]: "1", [GLASSES]: "ja 😀" } });
const redrawn = await model.reconstruct(images, { attributes: { [HAIR]: ODD, [GLASSES]: "no" } });
const again = await model.sample(3, { seed: 5, attributes: { [HAIR]: 3, [GLASSES]: "1" } });
const refused = [];
for (const attributes of [{ beard: 1 }, { [GLASSES]: "yes" }, { hat: 0 }])
  await model.sample(1, { attributes }).catch((error) => refused.push(`${error.name}: ${error.message}`));
const rows = (arrays) => arrays.map((array) => [...array]);
console.log(JSON.stringify({
  attributes: facts.attributes, images: rows(images), redrawn: rows(redrawn), again: rows(again), refused,
}));
"""


def test_javascript_draws_and_redraws_what_is_asked_for(
    asked_bundle: Path, as_asked: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    embed(str(asked_bundle), "node", tmp_path / "faces")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "faces" / "own.js").write_text(f"{CONSTANTS}{ASKED_IN_JAVASCRIPT}")
    result = subprocess.run(["node", "own.js"], cwd=tmp_path / "faces", capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert_equals({name: found[name] for name in as_asked}, as_asked)
    assert found["again"] == found["images"]
    assert found["attributes"] == [{"coordinate": None} | each for each in ATTRIBUTES]
    assert found["refused"] == [
        f"RangeError: faces has no beard 1; it can be asked for {HAIR}, hat, {GLASSES}",
        f"RangeError: faces has no {GLASSES} yes; it has no, ja 😀",
        "RangeError: faces draws every hat by chance",
    ]


ASKED_IN_C = """
#include <stdio.h>
#include "model.h"
static void print(const float* values, int count) {
  for (int i = 0; i < count; i++) printf("%.9g\\n", values[i]);
}
int main(void) {
  aae_model m;
  float u[15], z[6], y[24], images[192], redrawn[192];
  if (aae_open(&m, ".") || aae_noise(&m, 3, 5, -1, u) || aae_ask(&m, 3, HAIR, "1", u, NULL) ||
      aae_ask(&m, 3, GLASSES, "ja 😀", u, NULL) || aae_codes(&m, 3, u, z, y) || aae_decode(&m, 3, z, y, images) ||
      aae_encode(&m, 3, images, z, y) || aae_ask(&m, 3, HAIR, ODD, NULL, y) || aae_ask(&m, 3, GLASSES, "no", NULL, y) ||
      aae_decode(&m, 3, z, y, redrawn))
    return 1;
  print(images, 192);
  print(redrawn, 192);
  fprintf(stderr, "%s\\n", aae_ask(&m, 3, "beard", "1", u, NULL));
  fprintf(stderr, "%s\\n", aae_ask(&m, 3, GLASSES, "2", u, NULL));
  fprintf(stderr, "%s\\n", aae_ask(&m, 3, "hat", "1", u, NULL));
  aae_close(&m);
  return 0;
}
"""
ASKED_IN_CPP = """
#include <cstdio>
#include <iostream>
#include "model.hpp"
static void print(const aae::Numbers& values) {
  for (const float value : values) std::printf("%.9g\\n", value);
}
int main() {
  const aae::Model model;
  const aae::Numbers images = model.sample(3, 5, {{HAIR, "1"}, {GLASSES, "ja 😀"}});
  print(images);
  print(model.reconstruct(images, {{HAIR, ODD}, {GLASSES, "no"}}));
  for (const aae::Asked& asked : {aae::Asked{{"beard", "1"}}, {{GLASSES, "2"}}, {{"hat", "1"}}})
    try { model.sample(1, 5, asked); } catch (const std::exception& error) { std::cerr << error.what() << '\\n'; }
}
"""


@pytest.mark.parametrize(("language", "program"), [("c", ASKED_IN_C), ("cpp", ASKED_IN_CPP)])
def test_a_program_that_includes_the_header_draws_and_redraws_what_is_asked_for(
    language: str, program: str, asked_bundle: Path, as_asked: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    folder = tmp_path / "faces"
    embed(str(asked_bundle), language, folder)
    constants = [f"#define {name} {json.dumps(value, ensure_ascii=False)}" for name, value in NAMES.items()]
    (folder / f"own.{language}").write_text("\n".join([*constants, program]))
    built = build([folder / f"own.{language}", folder / f"model.{language}"])
    result = subprocess.run([built], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert_equals(dict(zip(as_asked, np.split(np.array(result.stdout.split(), np.float32), 2), strict=True)), as_asked)
    assert result.stderr.splitlines() == [
        "the model has no beard 1",
        f"the model has no {GLASSES} 2",
        "no number of the noise chooses hat",
    ]


def test_pythons_package_passes_strict_type_checks_in_a_program_of_ones_own(tmp_path: Path) -> None:
    embed("digits-gauss", "python", tmp_path / "digits")
    (tmp_path / "own.py").write_text("from digits import Model, png\n\nfile: bytes = png(Model().sample()[0])\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "own.py"]
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    checked = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_pythons_package_needs_nothing_of_aae_zoo(tmp_path: Path) -> None:
    embed("digits-gauss", "python", tmp_path / "digits")
    program = "import sys, digits; digits.Model().sample(2); print([n for n in sys.modules if n.startswith('aae_zoo')])"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
