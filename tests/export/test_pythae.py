"""Models that pythae trained: its networks and a user's own, with the weights of the folder and without its pickles."""

import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pythae import models, trainers
from pythae.data.datasets import BaseDataset
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from sklearn.datasets import load_digits
from torch import Tensor, nn

from aae_zoo.export import export_modules, from_pythae
from aae_zoo.runtime import load
from aae_zoo.runtime.checks.parity import relative_error
from aae_zoo.runtime.errors import CheckpointError, InvalidInput

SHAPE, LATENT = (1, 8, 8), 4
# The trainer that pythae has for each model, its prior here, and whether its codes have variances.
MODELS = {
    "AE": ("Base", "fitted", False),
    "RAE_L2": ("CoupledOptimizer", "fitted", False),
    "WAE_MMD": ("Base", "gaussian", False),
    "VAE": ("Base", "gaussian", True),
    "BetaVAE": ("Base", "gaussian", True),
    "Adversarial_AE": ("Adversarial", "gaussian", True),
    "VAEGAN": ("CoupledOptimizerAdversarial", "gaussian", True),
}


class OwnEncoder(BaseEncoder):  # type: ignore[misc]
    """Convolutions with batch normalisation and dropout, which evaluation changes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten())
        self.mean, self.variance = nn.Linear(128, LATENT), nn.Linear(128, LATENT)

    def forward(self, x: Tensor) -> Any:
        hidden = self.body(x)
        return ModelOutput(embedding=self.mean(hidden), log_covariance=self.variance(hidden))


class OwnDecoder(BaseDecoder):  # type: ignore[misc]
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(LATENT, width * 16)
        self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Sigmoid())

    def forward(self, z: Tensor) -> Any:
        return ModelOutput(reconstruction=self.last(self.first(z).reshape(z.shape[0], -1, 4, 4)))


class Trained(NamedTuple):
    folder: Path
    model: Any


def digits(count: int = 200) -> Tensor:
    """Images [count, 1, 8, 8] in [0, 1]."""
    return torch.from_numpy(load_digits().images[:count, None].astype(np.float32) / 16)


def train(name: str, folder: Path, networks: Mapping[str, nn.Module] | None = None, **settings: object) -> Trained:
    """A model of pythae, after two epochs on 200 digits, as its trainer keeps it and pythae reads it again."""
    torch.manual_seed(0)
    config = getattr(models, f"{name}_Config", None) or getattr(models, f"{name}Config")
    model = getattr(models, name)(config(input_dim=SHAPE, latent_dim=LATENT, **settings), **(networks or {}))
    kind = MODELS[name][0]
    trainer = getattr(trainers, f"{kind}Trainer")(
        model=model,
        train_dataset=BaseDataset(digits(), torch.ones(200)),
        training_config=getattr(trainers, f"{kind}TrainerConfig")(
            output_dir=str(folder), num_epochs=2, per_device_train_batch_size=50, no_cuda=True
        ),
    )
    trainer.train()
    folder = Path(trainer.training_dir) / "final_model"
    return Trained(folder, type(model).load_from_folder(str(folder)).eval())  # of the best epoch


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    return train("VAE", tmp_path)


@pytest.fixture
def no_pythae(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes every further import of pythae fail."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "pythae"]:
            monkeypatch.setitem(sys.modules, name, None)

    return forget


@torch.no_grad()
def assert_equal(modules: Any, model: Any) -> None:
    """The adapted networks give what pythae's give, bit by bit."""
    images, names = digits(), modules["outputs"]
    codes, theirs = modules["encoder"](images), model.encoder(images)
    assert torch.equal(codes[names["z"]], theirs.embedding)
    if "log_var" in names:
        assert torch.equal(codes[names["log_var"]], theirs.log_covariance)
    found, expected = modules["decoder"](theirs.embedding), model.decoder(theirs.embedding)
    assert torch.equal(found[names["image"]], expected.reconstruction)


@pytest.mark.parametrize("name", MODELS)
def test_the_default_networks(name: str, tmp_path: Path, no_pythae: Callable[[], None]) -> None:
    folder, model = train(name, tmp_path)
    no_pythae()
    modules = from_pythae(folder)
    assert_equal(modules, model)
    _, prior, variances = MODELS[name]
    assert modules["prior"] == prior
    assert ("log_var" in modules["outputs"]) == variances
    assert modules["image"] == SHAPE
    assert not any(network.training for network in (modules["encoder"], modules["decoder"]))


def test_codes_without_variances_of_a_deterministic_posterior(tmp_path: Path) -> None:
    """Nothing trained them."""
    folder, model = train("Adversarial_AE", tmp_path, deterministic_posterior=True)
    modules = from_pythae(folder)
    assert_equal(modules, model)
    assert "log_var" not in modules["outputs"]


class Bomb:
    """An object whose unpickling makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["AE", "VAE"])
def test_networks_of_ones_own(name: str, tmp_path: Path) -> None:
    folder, model = train(name, tmp_path, {"encoder": OwnEncoder(), "decoder": OwnDecoder()})
    for role in ("encoder", "decoder"):  # pythae would run them
        assert (folder / f"{role}.pkl").exists()
        (folder / f"{role}.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(InvalidInput, match=r"its own encoder, .* pickles are not read; give .*, encoder=MyEncoder\(\)"):
        from_pythae(folder, decoder=OwnDecoder)
    with pytest.raises(InvalidInput, match=r"its own decoder, .* decoder=MyDecoder\(\)"):
        from_pythae(folder, encoder=OwnEncoder)
    assert_equal(from_pythae(folder, encoder=OwnEncoder, decoder=OwnDecoder()), model)
    assert not (tmp_path / "ran").exists()


def test_a_bundle_gives_what_pythae_gives(tmp_path: Path) -> None:
    folder, model = train("Adversarial_AE", tmp_path, {"decoder": OwnDecoder()})
    # What has been trained for a moment is not good at anything: it is exported as it is.
    export_modules(
        "mine", **from_pythae(folder, decoder=OwnDecoder), images=digits(), out=tmp_path / "mine", anyway=True
    )
    bundle, images = load(tmp_path / "mine"), digits(20)
    codes = bundle.encode(images.numpy())
    with torch.no_grad():
        expected = model.encoder(images).embedding
        pictures = model.decoder(expected).reconstruction
    # An export rounds weights to what float16 holds.
    assert relative_error(codes, expected.numpy()) < 5e-3
    assert relative_error(bundle.decode(expected.numpy()), pictures.numpy()) < 5e-3


def test_networks_that_are_none_or_others(trained: Trained) -> None:
    for given, message in (
        ("OwnDecoder", "decoder is a str, expected a torch.nn.Module or its class"),
        (dict, "decoder is a dict, expected"),
        (nn.Linear, "decoder's class is not made without arguments .* give an instance"),
    ):
        with pytest.raises(InvalidInput, match=message):
            from_pythae(trained.folder, decoder=given)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"nothing called decoder.first.bias, expected numbers \[128"):
        from_pythae(trained.folder, decoder=OwnDecoder)


class Counting(OwnDecoder):
    """Keeps more than tensors in its state dict."""

    calls = 7

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]


class Lazy(OwnDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LazyLinear(128)


def test_networks_whose_state_is_more_or_less_than_tensors(tmp_path: Path) -> None:
    folder, _ = train("AE", tmp_path / "counting", {"decoder": Counting()})
    with pytest.raises(CheckpointError, match=r"no plain tensor called decoder._extra_state"):
        from_pythae(folder, decoder=Counting)
    folder, _ = train("AE", tmp_path / "usual", {"decoder": OwnDecoder()})
    with pytest.raises(CheckpointError, match=r"called decoder.first.bias, expected one that has no shape before"):
        from_pythae(folder, decoder=Lazy)


def test_weights_in_half_precision_become_floats(trained: Trained) -> None:
    half = {name: values.half() for name, values in trained.model.state_dict().items()}
    torch.save({"model_state_dict": half}, trained.folder / "model.pt")
    modules = from_pythae(trained.folder)
    trained.model.load_state_dict(half)
    assert_equal(modules, trained.model)
    assert all(values.dtype == torch.float32 for values in modules["decoder"].state_dict().values())


def put(**values: object) -> Callable[[dict[str, Any]], bytes]:
    return lambda config: json.dumps({**config, **values}).encode()


def without(name: str) -> Callable[[dict[str, Any]], bytes]:
    return lambda config: json.dumps({key: value for key, value in config.items() if key != name}).encode()


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "empty": (lambda config: b"", "not as pythae writes it .*JSON"),
    "cut": (lambda config: json.dumps(config).encode()[:50], "not as pythae writes it .*JSON"),
    "no text": (lambda config: b"\xff\xfe\x00", "not as pythae writes it .*JSON"),
    "a list": (lambda config: b"[1]", "not as pythae writes it .*object"),
    "nested": (lambda config: b'{"name":' + b"[" * 500_000, "not as pythae writes it .*recursion"),
    "larger than pythae's": (put(padding="0" * (1 << 21)), "not as pythae writes it .*JSON"),
    "no latent_dim": (without("latent_dim"), r"\(latent_dim: Field required\)"),
    "latent_dim in words": (put(latent_dim="ten"), "latent_dim: Input should be a valid integer"),
    "latent_dim a truth": (put(latent_dim=True), "latent_dim: Input should be a valid integer"),
    "latent_dim zero": (put(latent_dim=0), "latent_dim: Input should be greater"),
    "latent_dim huge": (put(latent_dim=10**40), "latent_dim: Input should be less"),
    "a width that is huge": (put(input_dim=[1, 8, 10**9]), "input_dim.2: Input should be less"),
    "many axes": (put(input_dim=[1] * 100_000), "input_dim: List should have at most 8"),
    "input_dim in words": (put(input_dim="1x8x8"), "input_dim: Input should be a valid array"),
    "data that are no images": (put(input_dim=[64]), r"input_dim \[64\], expected \[channels, height, width\]"),
    "no shape of the data": (put(input_dim=None), r"input_dim None, expected \[channels, height, width\]"),
    "no name": (without("name"), "name: Field required"),
    "a name that is none": (put(name={"VAEConfig": 1}), "name: Input should be a valid string"),
    "another model": (put(name="VQVAEConfig"), "is a 'VQVAEConfig', expected one of AEConfig, RAE_L2_Config, "),
    "a long name": (put(name="\x1b" * 100_000), "expected one of AEConfig"),
    "gigantic networks": (
        put(input_dim=[4096, 4096, 4096], latent_dim=65536),  # a hundred terabytes
        r"model.pt has numbers \[4\] called encoder.embedding.bias, expected numbers \[65536\]",
    ),
    "an encoder without variances": (put(name="AEConfig"), "called encoder.log_var.bias, expected nothing"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_configurations_that_are_damaged_or_hostile(what: str, trained: Trained) -> None:
    change, message = CONFIGS[what]
    path = trained.folder / "model_config.json"
    path.write_bytes(change(json.loads(path.read_text("utf-8"))))
    assert_refused(trained.folder, message)


def assert_refused(folder: Path, message: str) -> None:
    """In one sentence of moderate length."""
    with pytest.raises(CheckpointError, match=message) as caught:
        from_pythae(folder)
    assert len(str(caught.value).removeprefix(str(folder))) < 500


def weight(change: Callable[[Tensor], object], name: str = "decoder.layers.0.0.bias") -> Callable[[Trained], object]:
    """A state dict in which one weight is another."""

    def made(trained: Trained) -> object:
        state = trained.model.state_dict()
        return {"model_state_dict": {**state, name: change(state.get(name, torch.ones(3)))}}

    return made


def fewer(trained: Trained) -> object:
    return {"model_state_dict": {n: v for n, v in trained.model.state_dict().items() if n != "encoder.embedding.bias"}}


def nested(values: Tensor) -> Tensor:
    return torch._nested_tensor_from_tensor_list([values, values[:3]])


NOTHING_ELSE = r"model.pt is not a state dict as pythae writes it, and nothing else is unpickled \(.*\); save it again"
STATES: dict[str, tuple[Callable[[Trained], object], str]] = {
    "the model itself": (lambda trained: trained.model, NOTHING_ELSE),
    "a pickle": (lambda trained: Bomb(trained.folder / "ran"), NOTHING_ELSE),
    "a tensor": (lambda trained: torch.ones(3), "model.pt has no weights called model_state_dict"),
    "no state dict": (lambda trained: trained.model.state_dict(), "has no weights called model_state_dict"),
    "a state dict that is none": (lambda trained: {"model_state_dict": [1]}, "has no weights called model_state_dict"),
    "no weights": (lambda trained: {"model_state_dict": {}}, "has nothing called encoder.embedding.bias"),
    "one too few": (fewer, r"has nothing called encoder.embedding.bias, expected numbers \[4\]"),
    "names that are none": (lambda trained: {"model_state_dict": {7: 8}}, "nothing called encoder.embedding.bias"),
    "one too many": (
        weight(lambda _: torch.ones(3), "decoder.more"),
        r"numbers \[3\] called decoder.more, expected nothing",
    ),
    "a long name": (
        weight(lambda _: torch.ones(3), f"decoder.{'a' * 10**6}"),
        "called decoder.aaaa.*, expected nothing",
    ),
    "another shape": (
        weight(lambda v: v[:7]),
        r"numbers \[7\] called decoder.layers.0.0.bias, expected numbers \[512\]",
    ),
    "whole numbers": (
        weight(lambda v: v.long()),
        r"torch.int64 \[512\] called decoder.layers.0.0.bias, expected numbers",
    ),
    "complex numbers": (weight(lambda v: v + 1j), r"torch.complex64 \[512\] called decoder.layers.0.0.bias"),
    "none where none is needed": (weight(lambda _: None, "decoder.more"), "has nothing called decoder.more"),
    "a number": (weight(lambda v: 3.5), "no plain tensor called decoder.layers.0.0.bias"),
    "a sparse tensor": (weight(lambda v: v.to_sparse()), "no plain tensor called decoder.layers.0.0.bias"),
    "a nested tensor": (weight(nested), "no plain tensor called decoder.layers.0.0.bias"),
    "more than the file holds": (
        weight(lambda _: torch.ones(1).expand(512)),
        "no plain tensor called decoder.layers.0.0.bias",
    ),
    "a tensor without numbers": (weight(lambda v: v.to("meta")), "has no weights called model_state_dict"),
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("what", STATES)
def test_state_dicts_that_do_not_fit(what: str, trained: Trained) -> None:
    make, message = STATES[what]
    torch.save(make(trained), trained.folder / "model.pt")
    assert_refused(trained.folder, message)
    assert not (trained.folder / "ran").exists()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb(path.parent / "ran")))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "cannot be read .* give a folder that pythae's model.save wrote, or the final_model"),
    "a folder": (a_folder, "cannot be read"),
    "a pipe": (a_pipe, "cannot be read"),
    "a pickle": (pickled, "as pythae writes it"),
    "empty": (lambda path: path.write_bytes(b""), "as pythae writes it"),
    "truncated": (truncated, "as pythae writes it"),
}


@pytest.mark.parametrize("name", ["model_config.json", "model.pt"])
@pytest.mark.parametrize("what", FILES)
def test_files_that_are_none(what: str, name: str, trained: Trained) -> None:
    change, message = FILES[what]
    change(trained.folder / name)
    assert_refused(trained.folder, f"{name} .*{message}")
    assert not (trained.folder / "ran").exists()


def test_a_weight_that_has_changed_on_disk(trained: Trained) -> None:
    path = trained.folder / "model.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert_refused(trained.folder, r"model.pt is not a state dict .* \(the checksum of .* is wrong")


def test_folders_that_are_none(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        assert_refused(folder, "model_config.json cannot be read .*final_model")
