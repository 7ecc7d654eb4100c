"""Networks in the folders and repositories of the Hub's mixin: exact there and back, and whatever is amiss refused."""

import copy
import json
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from hub import Hub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from aae_zoo.runtime import AaeZooError, HubError, InvalidBundle, ModelNotFound
from aae_zoo.zoo import PretrainedAutoencoder, load_networks

# A Gaussian code, and one with a class and learnt heads of the prior.
NAMES = ("digits-gauss", "mnist-embed", "mnist-style")


def outputs(networks: PretrainedAutoencoder) -> list[Tensor]:
    """What the networks make of images and of noise that are always the same."""
    generator = torch.Generator().manual_seed(1)
    height = 8 if "digits" in networks.recipe.name else 28
    images = torch.rand(5, 1, height, height, generator=generator)
    noise = torch.rand(5, networks.prior.noise, generator=generator)
    with torch.no_grad():
        return [networks(images), *networks.encode(images).values(), *networks.prior(noise).values()]


def same(one: PretrainedAutoencoder, other: PretrainedAutoencoder) -> bool:
    return all(torch.equal(a, b) for a, b in zip(outputs(one), outputs(other), strict=True))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    PretrainedAutoencoder.from_pretrained("digits-gauss").save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_is_loaded_exactly(name: str, tmp_path: Path) -> None:
    networks = PretrainedAutoencoder.from_pretrained(name)
    with torch.no_grad():
        for values in networks.parameters():
            values.mul_(1.01)  # as another training leaves them
    assert not same(networks, PretrainedAutoencoder.from_pretrained(name))
    networks.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    again = PretrainedAutoencoder.from_pretrained(tmp_path)
    assert same(networks, again)
    assert not again.training
    again.save_pretrained(tmp_path / "again")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / file).read_bytes()


def test_processes_that_are_started_anew_are_given_them() -> None:
    networks = PretrainedAutoencoder.from_pretrained("mnist-style")
    again = pickle.loads(pickle.dumps(networks))  # noqa: S301 - as torch.multiprocessing.spawn sends its arguments
    assert again.recipe.to_toml() == networks.recipe.to_toml()
    assert same(again, networks)


def test_a_replica_encodes_with_its_own_encoder() -> None:
    """As torch.nn.DataParallel makes one for each GPU: a copy of what the module has but its networks, then these."""
    networks = PretrainedAutoencoder.from_pretrained("digits-gauss")
    replica = copy.copy(networks)
    replica._modules = {name: copy.deepcopy(module) for name, module in networks.named_children()}
    for values in replica.parameters():
        values.data.zero_()
    assert not replica.encode(torch.rand(2, 1, 8, 8))["z"].any()
    assert networks.encode(torch.rand(2, 1, 8, 8))["z"].all()


def test_the_mixins_own_loader_reads_it_too(saved: Path) -> None:
    theirs = super(PretrainedAutoencoder, PretrainedAutoencoder).from_pretrained(saved)
    assert same(theirs, PretrainedAutoencoder.from_pretrained(saved))


@pytest.mark.parametrize("name", NAMES)
def test_a_bundles_own_folder_is_loaded_as_load_networks_does(name: str) -> None:
    weights = PretrainedAutoencoder.from_pretrained(ROOT / "runtime" / "models" / name).state_dict()
    expected = load_networks(name).state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(values, expected[key]) for key, values in weights.items())


def test_the_random_state_stays_as_it_is() -> None:
    torch.manual_seed(0)
    PretrainedAutoencoder.from_pretrained("digits-gauss")
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(0)))


def test_they_are_pushed_to_a_repository_and_come_from_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = PretrainedAutoencoder.from_pretrained("digits-gauss")
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)  # read from the environment at its import
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # too; the test hub has none
        networks.push_to_hub("org/networks")
    assert same(networks, PretrainedAutoencoder.from_pretrained("org/networks"))
    assert same(networks, PretrainedAutoencoder.from_pretrained("org/networks", revision="main"))
    with pytest.raises(ModelNotFound, match="org/networks@v9: the repository has no such revision"):
        PretrainedAutoencoder.from_pretrained("org/networks", revision="v9")


def test_a_hub_that_is_down(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's error says that a file is missing."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    hub.close()
    with pytest.raises(HubError, match="cannot be reached .*; check the network and HF_ENDPOINT"):
        PretrainedAutoencoder.from_pretrained("org/nowhere")


def test_a_bundles_repository_is_loaded_too(hub: Hub) -> None:
    hub.add("org/digits", ROOT / "runtime" / "models" / "digits-gauss")
    networks = PretrainedAutoencoder.from_pretrained("org/digits")
    assert same(networks, PretrainedAutoencoder.from_pretrained("org/digits", revision="main"))
    assert same(networks, PretrainedAutoencoder.from_pretrained("digits-gauss"))


def refused(folder: Path, config: bytes) -> str:
    (folder / "config.json").write_bytes(config)
    with pytest.raises(InvalidBundle) as caught:
        PretrainedAutoencoder.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(folder: Path, **settings: Any) -> bytes:
    return json.dumps(json.loads((folder / "config.json").read_text()) | settings).encode()


def test_a_hostile_config_is_refused(saved: Path) -> None:
    recipe = json.loads((saved / "config.json").read_text())["recipe"]
    large, wide = (recipe.replace("hidden = [256, 256]", f"hidden = [{n}]") for n in ("1000000000", "40000, 40000"))
    nested = "x = " + "[" * 10_000 + "]" * 10_000
    for config, message in (
        (b"", "is not JSON"),
        (b"\x80\x04.", "is not JSON"),
        (b"[" * 10_000 + b"]" * 10_000, "nested more than 32 deep"),
        (b'{"recipe":' * 10_000 + b"1" + b"}" * 10_000, "nested more than 32 deep"),
        (b"[1, 2]", "holds list, expected a JSON object"),
        (b'{"recipe": "", "recipe": ""}', "occurs twice"),
        (b" " * (1 << 20) + b"{}", "has more than 1,048,576 bytes"),
        (b"{}", "has nothing, expected recipe and image"),
        (changed(saved, hidden=3), "has image, recipe, hidden, expected recipe and image"),
        (changed(saved, recipe=7), "the recipe is int, expected a text in TOML"),
        (changed(saved, recipe="[["), "is not TOML"),
        (changed(saved, recipe=nested), "makes no networks"),
        (changed(saved, recipe=recipe + "\n[more]\nx = 1\n"), "there is no such setting"),
        (changed(saved, recipe=large), "makes no networks"),
        (changed(saved, recipe=wide), "parameters, expected at most"),
        (changed(saved, image=[1, 10**9, 10**9]), r"the shape of the images is [1, 1000000000, 1000000000], expected"),
        (changed(saved, image=[1, 8.5, 8]), "the shape of the images is [1, 8.5, 8], expected"),
        (changed(saved, image="188"), "the shape of the images is '188', expected"),
        (changed(saved, image={"0": 1}), "the shape of the images is {'0': 1}, expected"),
        (changed(saved, image=[3, 8, 8]), "of the shape"),
    ):
        assert message in refused(saved, config)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    config=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["recipe", "image", "format", "x"]), inner),
    )
)
def test_any_other_config_is_refused_in_one_sentence(config: Any, saved: Path) -> None:
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(AaeZooError) as caught:
        PretrainedAutoencoder.from_pretrained(saved)
    assert "\n" not in str(caught.value)


def test_weights_that_are_amiss_are_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    weights = load_file(path)
    first = "encoder.layers.0.weight"
    for change, message in (
        ({first: weights[first] * torch.nan}, f"weights {first} that are not finite"),
        ({first: weights[first][:3]}, f"weights {first} of the shape"),
        ({"more": torch.zeros(1)}, "weights more of the shape"),
    ):
        save_file(weights | change, path)
        with pytest.raises(InvalidBundle, match=message):
            PretrainedAutoencoder.from_pretrained(saved)
    save_file({name: values for name, values in weights.items() if name != first}, path)
    with pytest.raises(InvalidBundle, match=f"has no weights {first}"):
        PretrainedAutoencoder.from_pretrained(saved)


def test_nothing_is_unpickled(saved: Path, hub: Hub) -> None:
    """Neither in the place of the weights, nor beside where they are missing, which the mixin's own loader reads."""
    weights = saved / "model.safetensors"
    torch.save(load_file(weights), saved / "pytorch_model.bin")
    weights.unlink()
    hub.add("org/pickled", saved)
    with pytest.raises(InvalidBundle, match=r"model.safetensors cannot be read \(No such file or directory\)"):
        PretrainedAutoencoder.from_pretrained(saved)
    with pytest.raises(InvalidBundle, match=r"lacks a file that a bundle has \(model.safetensors\)"):
        PretrainedAutoencoder.from_pretrained("org/pickled")
    (saved / "pytorch_model.bin").rename(weights)
    with pytest.raises(InvalidBundle, match="is not a safetensors file"):
        PretrainedAutoencoder.from_pretrained(saved)


def test_no_folder_and_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=r"config.json cannot be read .*; give a folder or repository that"):
        PretrainedAutoencoder.from_pretrained(tmp_path)
    with pytest.raises(ModelNotFound, match="did you mean"):
        PretrainedAutoencoder.from_pretrained("mnist-gaus")
    with pytest.raises(ModelNotFound, match=r"there is no folder ./nowhere"):
        PretrainedAutoencoder.from_pretrained("./nowhere")
