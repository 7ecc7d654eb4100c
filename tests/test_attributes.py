"""Several attributes that are asked for at once: from a data set that tells them to every way of asking."""

import dataclasses
import json
import re
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import AaeZoo, rewrite
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from programs import NODE_MODULES, node, served
from service import Server, serving
from shapes import ATTRIBUTES, COLOURS, SHAPES, shapes

from aae_zoo.export.bundling.bundle import export_bundle
from aae_zoo.export.pages.explore import explore
from aae_zoo.export.targets.embed import embed
from aae_zoo.runtime import InvalidInput, Model, load
from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.runtime.latent.attributes import told
from aae_zoo.runtime.latent.draw import Draw
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.zoo.data.dataset import Dataset
from aae_zoo.zoo.data.loading import with_attributes
from aae_zoo.zoo.measure import classifier
from aae_zoo.zoo.recipe import parse_toml
from aae_zoo.zoo.training.trainer import train

RECIPE = """
name = "shapes-style"
version = "1.0.0"
title = "Supervised adversarial autoencoder of shapes"
description = "Draws the shape and the colour that are asked for"
licence = "MIT"

[data]
dataset = "shapes"
validation = 200
attributes = ["shape", "main colour"]

[encoder]
kind = "mlp"
hidden = [64]

[decoder]
kind = "mlp"
hidden = [64]

[prior]
kind = "attributes"
size = 2
classes = [2, 3]

[objective]
kind = "supervised"
reconstruction = "mse"
adversarial_weight = 150.0
discriminator_learning_rate = 0.003
label_weight = 10.0
discriminator = { kind = "mlp", hidden = [64] }

[training]
epochs = 7
passes = 5
batch = 50
seed = 3
learning_rate = 0.003
pictures_every = 100
"""
NAMES = [attribute.name for attribute in ATTRIBUTES]
Images = NDArray[np.float32]
# Any part of what can be asked for, by names or numbers.
ASKED = st.fixed_dictionaries(
    {}, optional={"shape": st.sampled_from([*SHAPES, 0, 1]), "main colour": st.sampled_from([*COLOURS, 0, "1", 2])}
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return shapes()


@pytest.fixture(scope="module")
def bundle(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attributes")
    with mock.patch.object(classifier, "CLASSIFIERS", folder):
        assert classifier.train_classifier(data, folder, epochs=15) > 0.99
        train(parse_toml(RECIPE, "the recipe"), folder / "run", data=data, threads=1)
        export_bundle(folder / "run", folder / "shapes-style", data=data, anyway=True)
    return folder / "shapes-style"


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return load(bundle)


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Server]:
    with serving(bundle) as running:
        yield running


@pytest.fixture(scope="module")
def images(data: Dataset) -> Images:
    """The first test images."""
    return np.asarray(data.test_images[:40].numpy() / np.float32(255))


@pytest.fixture(scope="module")
def seen_there(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a person sees on the model's page."""
    site = tmp_path_factory.mktemp("site") / "shapes"
    explore(str(bundle), site, node_modules=NODE_MODULES)
    with served(site) as url:
        found: dict[str, Any] = node("attributes.mjs", url)
    return found


@pytest.fixture
def pictures(data: Dataset, tmp_path: Path) -> Path:
    """Three test pictures as files."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(data.test_images[:3].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def swap_coordinates(document: dict[str, Any]) -> None:
    first, second = document["attributes"]
    first["coordinate"], second["coordinate"] = second["coordinate"], first["coordinate"]


def seen(images: Images) -> list[tuple[str, str]]:
    """The shape and the colour of images, from the pixels alone."""
    frame, middle = images[:, :, 2:5, 2:-2].mean((2, 3)), images[:, :, 6:-6, 6:-6].mean((2, 3))
    rings = np.abs(frame - middle).max(1) > 0.2
    return [(SHAPES[int(ring)], COLOURS[colour]) for ring, colour in zip(rings, frame.argmax(1), strict=True)]


class TestTraining:
    def test_the_figures_are_of_each_attribute_and_their_mean(self, model: Model) -> None:
        errors = model.metrics["attribute_errors"]
        assert list(errors) == NAMES
        assert model.metrics["error"] == pytest.approx(sum(errors.values()) / 2)
        assert max(errors.values()) <= 2

    def test_samples_are_what_they_were_drawn_as_for_a_classifier_too(self, model: Model) -> None:
        shares = model.metrics["attribute_agreement"]
        assert model.metrics["label_agreement"] == pytest.approx(sum(shares.values()) / 2)
        noise = uniform_noise(2000, model.manifest.noise, seed=7)
        asked, found = model.codes_of(noise)["y"], seen(model.sample_from(noise))
        shape = np.mean([SHAPES[k] == each for k, (each, _) in zip(asked[:, :2].argmax(1), found, strict=True)])
        colour = np.mean([COLOURS[k] == each for k, (_, each) in zip(asked[:, 2:].argmax(1), found, strict=True)])
        assert shares == pytest.approx({"shape": shape, "main colour": colour}, abs=0.05)
        assert min(shares.values()) > 0.85

    @pytest.mark.parametrize(
        ("overrides", "expected"),
        [
            (
                ['data.attributes=["shape", "colour"]'],
                "data.attributes has 'colour', which shapes does not tell, expected one of main colour, shape",
            ),
            (['data.attributes=["shape", "shape"]'], "names that differ from each other"),
            (
                ["prior.classes=[2, 4]"],
                r"has attributes with \[2, 4\] values, but those that data.attributes names have \[2, 3\]; "
                r"set prior.kind = 'attributes' and prior.classes = \[2, 3\]",
            ),
            (["data.attributes=[]"], r"names have \[\]; name them there"),
        ],
    )
    def test_what_the_data_do_not_tell_is_refused(
        self, data: Dataset, overrides: list[str], expected: str, no_leftovers: Path
    ) -> None:
        with pytest.raises(InvalidRecipe, match=expected):
            train(parse_toml(RECIPE, "the recipe", overrides), no_leftovers / "run", data=data)

    def test_a_data_set_that_tells_nothing_says_so(self, data: Dataset) -> None:
        silent = dataclasses.replace(data, attributes=(), train_attributes=None, test_attributes=None)
        with pytest.raises(InvalidRecipe, match="which shapes does not tell, expected none, as it tells nothing"):
            with_attributes(silent, parse_toml(RECIPE, "the recipe").data)

    def test_attributes_are_taken_in_the_recipes_order(self, data: Dataset) -> None:
        settings = parse_toml(RECIPE, "the recipe", ['data.attributes=["main colour", "shape"]']).data
        turned = with_attributes(data, settings)
        assert turned.attributes == ATTRIBUTES[::-1]
        assert turned.train_attributes is not None
        assert data.train_attributes is not None
        assert turned.train_attributes.tolist() == data.train_attributes.flip(1).tolist()


class TestBundle:
    def test_it_says_what_can_be_asked_for(self, model: Model, bundle: Path) -> None:
        assert model.attributes == {"shape": SHAPES, "main colour": COLOURS}
        assert model.labels == ()
        document = json.loads((bundle / "manifest.json").read_text())
        assert document["attributes"] == [
            {"name": "shape", "labels": ["square", "ring"], "coordinate": 2},
            {"name": "main colour", "labels": ["red", "green", "blue"], "coordinate": 3},
        ]
        assert document["choices"] == [2, 3]
        assert json.loads((bundle / "config.json").read_text())["attributes"]["shape"] == ["square", "ring"]

    def test_it_is_whole(self, bundle: Path, aae_zoo: AaeZoo) -> None:
        for command in ("check", "verify"):
            assert aae_zoo(command, bundle).status == 0, command

    def test_its_card_shows_and_asks_for_them(self, bundle: Path) -> None:
        card = (bundle / "README.md").read_text()
        assert "![attributes](attributes.png)" in card
        assert "aae-zoo reconstruct shapes-style PICTURES -o redrawn.png --with 'shape=ring'" in card
        assert "Coordinate 3 of `u` chooses main colour (red, green, blue) k as (k + uniform) / 3." in card
        with Image.open(bundle / "attributes.png") as picture:
            assert picture.mode == "RGB"

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda d: d.update(labels=["a", "b"]), "attributes is .*, expected none beside labels"),
            (lambda d: d.update(label_coordinate=1), "expected none beside labels"),
            (lambda d: d["attributes"][0].update(name="a=b"), "name is 'a=b', expected a line of text without ="),
            (lambda d: d["attributes"][0].update(name="\x1b[2J"), "expected a line of text without ="),
            (lambda d: d["attributes"][1].update(coordinate=4), r"attributes\[1\]: coordinate is 4, expected .* to 3"),
            (lambda d: d["attributes"][1].update(labels="red"), "labels is 'red', expected a list of texts"),
            (lambda d: d.update(attributes=d["attributes"] * 51), "expected at most 100 objects"),
            (lambda d: d.update(attributes=["shape"]), r"attributes\[0\] holds str, expected a JSON object"),
            (lambda d: d["attributes"].reverse(), "the prior: y has rows whose sum is 1 off"),
            (swap_coordinates, "the prior does not give main colour 'blue' where its coordinate chooses that"),
            (lambda d: d["attributes"][0].update(coordinate=3), "coordinate has '3' more than once"),
            (lambda d: d["attributes"][0].update(name="main colour"), "attributes has 'main colour' more than once"),
            (lambda d: d["attributes"][0].update(labels=["a", "a"]), "shape: labels has 'a' more than once"),
            (lambda d: d.update(choices=[2]), "main colour: coordinate is 3, which is not among choices"),
        ],
    )
    def test_check_finds_what_is_wrong(
        self, change: Callable[[dict[str, Any]], object], expected: str, bundle: Path, tmp_path: Path, aae_zoo: AaeZoo
    ) -> None:
        folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
        rewrite(folder, change)
        result = aae_zoo("check", folder)
        assert result.status == 1
        assert re.search(expected, result.out + result.err), result


class TestAsking:
    @given(asked=ASKED)
    def test_what_is_asked_for_is_drawn(self, model: Model, asked: dict[str, Any]) -> None:
        found = seen(model.sample(40, seed=2, attributes=asked))
        for place, (name, labels) in enumerate(model.attributes.items()):
            if name in asked:
                value = asked[name] if asked[name] in labels else labels[int(asked[name])]
                assert sum(each[place] == value for each in found) >= 32, (name, value, found)

    @given(asked=ASKED, seed=st.integers(0, 99))
    def test_what_is_not_asked_for_is_drawn_as_without(self, model: Model, asked: dict[str, Any], seed: int) -> None:
        manifest = model.manifest
        noise, free = (Draw(manifest, 20, seed, values=each).noise(slice(0, 20)) for each in (asked, {}))
        moved = {a.coordinate for a in manifest.attributes if a.name in asked}
        same = [i for i in range(manifest.noise) if i not in moved]
        assert np.array_equal(noise[:, same], free[:, same])

    def test_each_image_may_have_its_own(self, model: Model) -> None:
        values = [*COLOURS, *COLOURS]
        found = seen(model.sample(6, seed=1, attributes={"main colour": values, "shape": np.array([0, 1] * 3)}))
        assert [colour for _, colour in found] == values
        assert next(iter(model.stream("sample", 2, attributes={"shape": 0}))).shape == (2, 3, 16, 16)

    def test_a_model_of_labels_has_the_attribute_label(self) -> None:
        style = load("mnist-style")
        assert style.attributes == {"label": style.labels}
        assert np.array_equal(style.sample(3, label=7), style.sample(3, attributes={"label": "7"}))
        redrawn = style.reconstruct(style.sample(4, label=3), attributes={"label": [5, 6, 7, 0]})
        assert style.classify(redrawn).names == ["5", "6", "7", "0"]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({"shap": "ring"}, "shapes-style has no attribute 'shap', expected one of shape, main colour"),
            ({"main colour": "grin"}, "has no main colour 'grin', expected one of green, red, blue"),
            ({"shape": 2}, "has no shape 2, expected one of square, ring"),
            ({"shape": [0, 1]}, "shape has 2 entries, expected one, or one for each of 3 images"),
        ],
    )
    def test_what_there_is_not_is_refused(self, model: Model, asked: dict[str, Any], expected: str) -> None:
        images = model.sample(3)
        with pytest.raises(InvalidInput, match=expected):
            model.sample(3, attributes=asked)
        with pytest.raises(InvalidInput, match=expected):
            model.reconstruct(images, attributes=asked)

    @pytest.mark.parametrize("asked", ["shape=ring", ["shape=ring"], 5])
    def test_what_is_not_by_name_is_refused(self, model: Model, asked: Any) -> None:
        images, expected = model.sample(2), 'expected values by name, such as {"glasses": "yes"}'
        with pytest.raises(InvalidInput, match=expected):
            model.sample(2, attributes=asked)
        with pytest.raises(InvalidInput, match=expected):
            model.reconstruct(images, attributes=asked)

    def test_a_label_is_asked_for_once(self, refused: Callable[..., str]) -> None:
        said = "the label is asked for twice, by itself and among the attributes; give it once"
        with pytest.raises(InvalidInput, match=said):
            load("fashion-style").sample(1, label=7, attributes={"label": "Bag"})
        assert said in refused("sample", "fashion-style", "--label", "7", "--with", "label=Bag")

    def test_a_label_is_no_attribute(self, model: Model) -> None:
        with pytest.raises(InvalidInput, match="has no attribute 'label', expected one of shape, main colour"):
            model.sample(1, label=0)

    def test_a_model_that_knows_none_says_so(self) -> None:
        gauss = load("digits-gauss")
        assert gauss.attributes == {}
        with pytest.raises(InvalidInput, match="digits-gauss has no labels to choose from"):
            gauss.reconstruct(gauss.sample(1), attributes={"shape": "ring"})
        mixture = load("mnist-mixture")
        with pytest.raises(InvalidInput, match="redraws nothing with another label: its decoder takes z alone"):
            mixture.reconstruct(mixture.sample(1), attributes={"label": 3})


class TestPictures:
    def test_they_are_told_with_how_sure_it_is(self, model: Model, images: Images, data: Dataset) -> None:
        found = model.tell(images)
        assert list(found) == NAMES
        assert data.test_attributes is not None
        for name, truth in zip(NAMES, data.test_attributes[:40].T.tolist(), strict=True):
            assert (found[name].numbers != truth).sum() <= 1
            assert ((found[name].probabilities > 0.3) & (found[name].probabilities <= 1)).all()
        y = model.codes(images)["y"]
        assert y.shape == (40, 5)
        assert np.allclose(np.stack([y[:, :2].sum(1), y[:, 2:].sum(1)]), 1, atol=1e-5)
        with pytest.raises(InvalidInput, match="shapes-style tells shape, main colour; take one of them from"):
            model.classify(images)

    def test_numbers_of_values_are_classes(self, model: Model) -> None:
        z = np.zeros((6, 2), np.float32)
        numbers = np.stack([np.arange(6) % 2, np.arange(6) % 3], 1)
        y = np.concatenate([np.eye(2)[numbers[:, 0]], np.eye(3)[numbers[:, 1]]], 1)
        assert np.array_equal(model.decode(z, numbers), model.decode(z, y))
        with pytest.raises(InvalidInput, match="y holds the classes 0 to 2, expected 0 to 1"):
            model.decode(z, numbers[:, ::-1])

    @settings(max_examples=30)
    @given(asked=ASKED)
    def test_they_are_redrawn_with_what_is_asked_for(self, model: Model, images: Images, asked: dict[str, Any]) -> None:
        """The code and the other attributes stay."""
        codes = model.codes(images)
        for attribute, part in zip(ATTRIBUTES, (slice(0, 2), slice(2, 5)), strict=True):
            if attribute.name in asked:
                value = asked[attribute.name]
                k = attribute.labels.index(value) if value in attribute.labels else int(value)
                codes["y"][:, part] = np.eye(len(attribute.labels))[k]
        expected = model.decode(codes["z"], codes["y"])
        assert np.allclose(model.reconstruct(images, attributes=asked), expected, atol=1e-5)

    def test_a_square_becomes_a_green_ring_on_the_same_ground(self, model: Model, images: Images) -> None:
        again = model.reconstruct(images, attributes={"shape": "ring", "main colour": "green"})
        assert sum(each == ("ring", "green") for each in seen(again)) >= 38
        grounds = np.stack([each[:, :, :2].mean((1, 2, 3)) for each in (images, again)])
        assert np.corrcoef(grounds)[0, 1] > 0.9

    def test_walks_are_redrawn_too(self, model: Model, images: Images) -> None:
        asked = {"shape": "ring", "main colour": "blue"}
        walks = [model.interpolate(images[:3], 4, attributes=asked), model.traverse(images[:1], 3, attributes=asked)]
        assert {colour for walk in walks for _, colour in seen(walk)} == {"blue"}


class TestCommands:
    def test_images_are_drawn_as_asked(self, bundle: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        asked = ("--with", "shape=ring", "--with", "main colour=red")
        assert aae_zoo("sample", bundle, "-n", 20, *asked, "-o", tmp_path / "asked.npy").status == 0
        assert sum(each == ("ring", "red") for each in seen(np.load(tmp_path / "asked.npy"))) >= 19

    @pytest.mark.parametrize("command", ["reconstruct", "interpolate", "traverse"])
    @pytest.mark.parametrize("output", ["out.png", "out.npy"])
    def test_pictures_are_redrawn_as_asked(
        self, command: str, output: str, bundle: Path, pictures: Path, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        found = {}
        for colour in COLOURS[:2]:
            asked = ("--with", f"main colour={colour}")
            assert aae_zoo(command, bundle, pictures, *asked, "-o", tmp_path / colour / output, "--force").status == 0
            found[colour] = (tmp_path / colour / output).read_bytes()
            if output.endswith("npy"):
                assert {each for _, each in seen(np.load(tmp_path / colour / output))} == {colour}
        assert found["red"] != found["green"]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            (["--with", "shape"], "'shape' asks for nothing, expected NAME=VALUE such as glasses=yes"),
            (["--with", "shape=ring", "--with", "shape=square"], "'shape' is asked for twice, as 'ring' and as"),
            (["--with", "shape=rings"], "has no shape 'rings', expected one of ring, square"),
            (["--with", "colour=red"], "has no attribute 'colour', expected one of main colour, shape"),
        ],
    )
    def test_what_cannot_be_asked_is_one_sentence(
        self, asked: list[str], expected: str, bundle: Path, refused: Callable[..., str], no_leftovers: Path
    ) -> None:
        assert expected in refused("sample", bundle, *asked, "-o", no_leftovers / "x.png")

    def test_encode_tells_each(
        self, bundle: Path, pictures: Path, data: Dataset, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        told = aae_zoo("encode", bundle, pictures, "-o", tmp_path / "codes.npz", "--json")
        rows = json.loads(told.out)["images"]
        assert data.test_attributes is not None
        expected = [(SHAPES[a], COLOURS[b]) for a, b in data.test_attributes[:3].tolist()]
        assert [(row["shape"], row["main colour"]) for row in rows] == expected
        assert all(0.3 < row[f"{name} probability"] <= 1 for row in rows for name in NAMES)
        table = aae_zoo("encode", bundle, pictures, "-o", tmp_path / "again.npz").out
        assert "main colour probability" in table
        many = tmp_path / "many.npy"
        np.save(many, data.test_images[:60].numpy())
        counted = aae_zoo("encode", bundle, many, "-o", tmp_path / "many.npz").out
        assert counted.splitlines()[0].split() == ["shape", "images"]

    def test_info_names_them(self, bundle: Path, aae_zoo: AaeZoo) -> None:
        assert "attribute main colour" in aae_zoo("info", bundle).out
        assert json.loads(aae_zoo("info", bundle, "--json").out)["attributes"][0]["labels"] == ["square", "ring"]

    @pytest.mark.parametrize(
        ("typed", "expected"), [("sha", ["shape=square", "shape=ring"]), ("shape=r", ["shape=ring"]), ("x", [])]
    )
    def test_shells_complete_them(
        self, typed: str, expected: list[str], bundle: Path, aae_zoo: AaeZoo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("_AAE_ZOO_COMPLETE", "complete_zsh")
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", f"aae-zoo reconstruct {bundle} x.png --with {typed}")
        told = aae_zoo().out
        assert [each for name in SHAPES for each in [f"shape={name}"] if each in told] == expected


class TestService:
    def ask(self, server: Server, path: str, *asked: str, body: bytes | None = None, **fields: Any) -> Any:
        query = urllib.parse.urlencode([*fields.items(), *(("with", each) for each in asked)])
        return server.ask(f"{path}?{query}", body, "image/png" if body else "")

    def test_samples_are_what_is_asked_for(self, server: Server) -> None:
        found = self.ask(server, "/sample", "main colour=green", "shape=square", n=20, format="npy").array
        assert sum(each == ("square", "green") for each in seen(found)) >= 19

    def test_pictures_are_redrawn_and_told(self, server: Server, pictures: Path, data: Dataset) -> None:
        body = (pictures / "0.png").read_bytes()
        again = self.ask(server, "/reconstruct", "main colour=blue", body=body, format="npy").array
        assert seen(again)[0][1] == "blue"
        told = self.ask(server, "/encode", body=body).json["attributes"]
        assert data.test_attributes is not None
        shape, colour = data.test_attributes[0].tolist()
        assert (told["shape"]["value"], told["main colour"]["value"]) == ([SHAPES[shape]], [COLOURS[colour]])
        assert 0.3 < told["shape"]["probability"][0] <= 1
        answer = server.ask("/decode?format=npy", json.dumps({"z": [[0, 0]], "y": [[0, 1, 1, 0, 0]]}).encode())
        assert seen(answer.array) == [("ring", "red")]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            (["shape=disc"], "has no shape 'disc', expected one of square, ring"),
            (["shape"], "'shape' asks for nothing, expected NAME=VALUE"),
            (["shape=ring", "shape=ring"], "'shape' is asked for twice"),
        ],
    )
    def test_what_cannot_be_asked_is_one_sentence(self, server: Server, asked: list[str], expected: str) -> None:
        answer = self.ask(server, "/sample", *asked)
        assert answer.status == 422
        assert expected in answer.error

    def test_its_description_has_all_that_can_be_asked_for(self, server: Server) -> None:
        (parameter,) = (
            p for p in server.ask("/openapi.json").json["paths"]["/sample"]["get"]["parameters"] if p["name"] == "with"
        )
        assert "main colour=blue" in parameter["schema"]["items"]["enum"]


class TestElsewhere:
    def test_an_embedded_model_says_how_to_ask(self, bundle: Path, tmp_path: Path) -> None:
        embed(str(bundle), "node", tmp_path / "node")
        text = (tmp_path / "node" / "README.md").read_text()
        assert "main colour: 0 `red`, 1 `green`, 2 `blue`; coordinate 3 of `u` chooses one" in text
        facts = (tmp_path / "node" / "facts.js").read_text()
        assert '"y": 5' in facts
        assert json.loads(facts.split("export default ")[1].split(";\n")[0])["attributes"][1]["name"] == "main colour"

    def test_triton_takes_all_of_them(self, bundle: Path, tmp_path: Path, aae_zoo: AaeZoo) -> None:
        assert aae_zoo("export-triton", bundle, "-o", tmp_path / "triton").status == 0
        assert "dims: [5]" in (tmp_path / "triton" / "shapes-style-decoder" / "config.pbtxt").read_text()


class TestPage:
    def test_every_picture_is_pythons_for_the_same_code(self, seen_there: dict[str, Any], model: Model) -> None:
        assert seen_there["faults"] == []
        states = [state for state in seen_there.values() if isinstance(state, dict)]
        assert len(states) == 6
        for state in states:
            z, y, image = (np.array(state[key], np.float32) for key in ("z", "y", "image"))
            assert np.abs(model.decode(z[None], y[None])[0].ravel() - image).max() <= 1e-5

    def test_a_control_for_each_changes_it_alone(self, seen_there: dict[str, Any]) -> None:
        first, ring, blue, random = (seen_there[key] for key in ("first", "ring", "blue", "random"))
        assert first["z"] == ring["z"] == blue["z"] != random["z"]
        assert ring["y"] == [0, 1, *first["y"][2:]]
        assert blue["y"] == random["y"] == [0, 1, 0, 0, 1]

    def test_a_picture_is_told_and_redrawn_with_every_value(
        self, seen_there: dict[str, Any], model: Model, bundle: Path
    ) -> None:
        encoded, green = seen_there["test"], seen_there["green"]
        found = told(np.array([encoded["y"]], np.float32), model.manifest)
        assert f" Shape: \u2068{found['shape'].names[0]}\u2069, " in seen_there["said"]
        assert f" Main colour: \u2068{found['main colour'].names[0]}\u2069, " in seen_there["said"]
        assert seen_there["buttons"] == [f"{a.name}: {label}" for a in ATTRIBUTES for label in a.labels]
        assert green["z"] == encoded["z"]
        assert green["y"] == [*encoded["y"][:2], 0, 1, 0]
        assert seen_there["asked"] == ["any", "green"]
