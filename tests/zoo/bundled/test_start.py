"""Training that begins with a bundle's weights: sooner good, exact when resumed, and honest on where they came from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RECIPE, AaeZoo, write_idx
from safetensors.torch import load_file

from aae_zoo.export.bundling.seeds import over_seeds
from aae_zoo.export.bundling.source import lasting
from aae_zoo.export.card.card import model_card
from aae_zoo.runtime.bundles.names import WEIGHTS
from aae_zoo.runtime.errors import CheckpointError, Interrupted
from aae_zoo.runtime.store.catalogue import find_model
from aae_zoo.zoo.data.idx import FILES
from aae_zoo.zoo.data.loading import load_dataset
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.training.run import Run
from aae_zoo.zoo.training.trainer import train

TUNED = (
    *("data.dataset=clothes", "data.validation=200", "training.epochs=2", "training.pictures_every=9"),
    "name=clothes",
)


def write_dataset(folder: Path, name: str, counts: tuple[int, int], every: int = 1) -> Path:
    """The first training and test images of a data set, or every second pixel of them, as idx files."""
    whole = load_dataset(name)
    folder.mkdir()
    train_, test = counts
    arrays = (
        whole.train_images[:train_, 0, ::every, ::every],
        whole.train_labels[:train_],
        whole.test_images[:test, 0, ::every, ::every],
        whole.test_labels[:test],
    )
    for file, array in zip(FILES, arrays, strict=True):
        write_idx(folder / file, array.numpy().astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 training images of Fashion-MNIST, 200 more for validation, and 300 test images."""
    return write_dataset(tmp_path_factory.mktemp("data") / "clothes", "fashion-mnist", (2200, 300))


@pytest.fixture(scope="module")
def tuned(clothes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that began with mnist-gauss8."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    train(load_recipe("mnist-gauss8", TUNED), folder, data=clothes, begin="mnist-gauss8")
    return folder


def test_two_epochs_from_digits_beat_four_from_nothing(tuned: Path, clothes: Path, tmp_path: Path) -> None:
    """Clothes are no digits, but strokes and shades are learnt already."""
    epochs = [*TUNED, "training.epochs=4"]
    from_nothing = train(load_recipe("mnist-gauss8", epochs), tmp_path / "run", data=clothes)
    assert from_nothing is not None
    assert Run.open(tuned).read_json("metrics.json")["mse"] < 0.85 * from_nothing["mse"]


def test_the_run_says_where_its_weights_came_from(tuned: Path) -> None:
    bundle = find_model("mnist-gauss8")
    facts = Run.open(tuned).read_json("run.json")
    layers = dict.fromkeys(name.rpartition(".")[0] for name in load_file(bundle.folder / WEIGHTS))
    assert facts["command"] == "aae-zoo train recipe.toml --from mnist-gauss8"
    began = facts["began_with"]
    assert sorted(began.pop("layers")) == sorted(layers)
    assert began == {
        "name": "mnist-gauss8",
        "version": "1.0.0",
        "manifest_sha256": bundle.manifest_sha256,
        "new": [],
    }


@pytest.mark.parametrize("new", [[], ["encoder.layers.2", "decoder.layers.5"]])
def test_the_card_tells_it(new: list[str], tuned: Path) -> None:
    bundle, facts = find_model("mnist-gauss8"), lasting(Run.open(tuned).read_json("run.json"))
    facts["began_with"]["new"] = new
    provenance = {**bundle.manifest.provenance, **facts}
    parity = json.loads(bundle.read("parity.json"))
    card = model_card(bundle.manifest._replace(provenance=provenance), parity)
    sha256 = bundle.manifest_sha256
    told = f"Training began with the weights of mnist-gauss8 1.0.0 (the SHA-256 of its manifest is {sha256})"
    assert told not in model_card(bundle.manifest, parity)
    apart = ", apart from these layers, which began anew: encoder.layers.2, decoder.layers.5" if new else ""
    assert f"\n\n{told}{apart}.\n" in card.replace("\\", "")


def test_a_run_that_began_elsewhere_is_no_other_seed_of_it(tuned: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tuned, tmp_path / "other"))
    (other / "recipe.toml").write_text(load_recipe("mnist-gauss8", [*TUNED, "training.seed=5"]).to_toml())
    assert over_seeds(Run.open(tuned), [other])["seeds"] == [Run.open(tuned).recipe.training.seed, 5]
    facts = json.loads((other / "run.json").read_text())
    del facts["began_with"]
    (other / "run.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match="began with other weights than .* the same --from, or without"):
        over_seeds(Run.open(tuned), [other])


def of(size: str, name: str = "small") -> str:
    """A recipe for 14 x 14 images with the networks of mnist-gauss8, whose convolutions have other sizes there."""
    networks = (
        RECIPE.replace('kind = "mlp"\nhidden = [32]\ndropout = 0.1', f'kind = "conv"\nchannels = {size}\nhidden = 128')
        .replace('kind = "mlp"\nhidden = [48]', f'kind = "conv"\nchannels = {size}\nhidden = 256')
        .replace('name = "small"', f'name = "{name}"')
    )
    return networks.replace("epochs = 4", "epochs = 1").replace("pictures_every = 2", "pictures_every = 9")


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a recipe."""

    def write(text: str) -> Path:
        (tmp_path / "my.toml").write_text(text)
        return tmp_path / "my.toml"

    return write


def test_of_images_of_another_shape_the_layers_that_fit_are_taken(
    recipe: Callable[[str], Path], small_data: Path, tmp_path: Path, aae_zoo: AaeZoo
) -> None:
    """Of another code, too; and from a bundle without PyTorch's own weights, as a wheel has it."""
    source = find_model("mnist-gauss8").folder
    wheel = Path(shutil.copytree(source, tmp_path / "wheel", ignore=shutil.ignore_patterns(WEIGHTS)))
    out = tmp_path / "run"
    result = aae_zoo(
        "train", recipe(of("[32, 64]")), "--data", small_data, "--from", wheel, "--out", out, "--set",
        "training.learning_rate=1e-12",
    )  # fmt: skip
    assert result.status == 0, result.err
    new = ["encoder.layers.2", "encoder.layers.5", "encoder.layers.7"]
    new += ["decoder.layers.0", "decoder.layers.2", "decoder.layers.5"]
    assert f"2 of 8 layers begin as in mnist-gauss8 1.0.0; new are {', '.join(new)}\n" in result.err
    assert json.loads((out / "run.json").read_text())["began_with"]["new"] == new
    was, now = load_file(source / WEIGHTS), load_file(out / "model.safetensors")
    for name in (
        "encoder.layers.0.weight",
        "encoder.layers.0.bias",
        "decoder.layers.7.weight",
        "decoder.layers.7.bias",
    ):
        assert torch.allclose(now[name], was[name].float(), atol=1e-6), name


def test_a_resumed_run_is_the_same_and_still_knows(
    recipe: Callable[[str], Path], small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = load_recipe(str(recipe(of("[32, 64]"))), ["training.epochs=2"])
    at_once, resumed = tmp_path / "at-once", tmp_path / "resumed"
    train(checked, at_once, data=small_data, begin="mnist-gauss8")
    interrupt_after_an_epoch(monkeypatch)
    with pytest.raises(Interrupted):
        train(checked, resumed, data=small_data, begin="mnist-gauss8")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"did not begin with the weights of mnist-vae.*leave out --from"):
        train(checked, resumed, data=small_data, resume=True, begin="mnist-vae")
    train(checked, resumed, data=small_data, resume=True)
    first, second = load_file(at_once / "model.safetensors"), load_file(resumed / "model.safetensors")
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    assert json.loads((resumed / "run.json").read_text())["began_with"]["name"] == "mnist-gauss8"


def interrupt_after_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    from aae_zoo.zoo.training.checkpoint import Checkpoint

    save = Checkpoint.save

    def save_and_stop(*arguments: Any, **named: Any) -> None:
        save(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_stop)


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        (RECIPE, "mnist-gauss8", "the encoder of mnist-gauss8 is of the kind conv, expected mlp, that of small; set"),
        (of("[7, 9]"), "mnist-gauss8", "no layer of the encoder and the decoder of mnist-gauss8 fits those of small"),
        (RECIPE, "mnist-gaus8", "mnist-gauss8"),
    ],
)
def test_weights_that_do_not_fit(
    text: str,
    model: str,
    message: str,
    recipe: Callable[[str], Path],
    small_data: Path,
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    out = tmp_path / "run"
    said = refused("train", recipe(text), "--data", small_data, "--from", model, "--out", out)
    assert message in said
    assert not out.exists()  # nothing is begun
