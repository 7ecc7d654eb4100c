"""Networks that were not trained here: what becomes a bundle, and each thing that is refused, in one sentence."""

import copy
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import AaeZoo
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from aae_zoo.export import Facts, Modules, export_modules
from aae_zoo.export.bundling.graphs import to_onnx
from aae_zoo.export.own.reading import read_data
from aae_zoo.runtime import load
from aae_zoo.runtime.checks.check import check
from aae_zoo.runtime.errors import AaeZooError, InvalidBundle, InvalidInput, ParityError
from aae_zoo.runtime.model import Model
from aae_zoo.zoo import load_networks

SIDE, LATENT, CLASSES = 8, 4, 10
PIXELS = SIDE * SIDE
FACTS: Facts = {
    "title": "Digits",
    "licence": "MIT",
    "data_licence": "CC BY 4.0",
    "source": "https://example.org/digits",
}


class Digits(NamedTuple):
    images: Tensor
    labels: Tensor


@pytest.fixture(scope="module")
def digits() -> Digits:
    """scikit-learn's 1,797 small digits, [n, 1, 8, 8] in [0, 1]."""
    found = load_digits()
    return Digits(torch.from_numpy(found.images / 16).float()[:, None], torch.from_numpy(found.target))


@dataclass
class Posterior:
    """What someone's encoder returns."""

    mu: Tensor
    logvar: Tensor
    probabilities: Tensor


class Classifier(nn.Module):
    """A variational encoder that tells classes too, with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.05))
        self.mu, self.logvar, self.y = nn.Linear(64, LATENT), nn.Linear(64, LATENT), nn.Linear(64, CLASSES)

    def forward(self, image: Tensor) -> Posterior:
        found = self.trunk(image)
        return Posterior(self.mu(found), self.logvar(found), self.y(found).softmax(1))


class Conditional(nn.Module):
    """Codes and classes to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(LATENT + CLASSES, 64), nn.ReLU(), nn.Linear(64, PIXELS))

    def forward(self, z: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"image": self.layers(torch.cat([z, y], 1)).unflatten(1, (1, SIDE, SIDE))}


@pytest.fixture(scope="module")
def conditional(digits: Digits) -> Modules:
    """Networks that work: trained for a second, left in evaluation mode."""
    torch.manual_seed(0)
    encoder, decoder = Classifier(), Conditional()
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 0.005)
    for _ in range(8):
        for some in torch.randperm(len(digits.images)).split(100):
            image, label = digits.images[some], digits.labels[some]
            found = encoder(image)
            logits = decoder(found.mu, F.one_hot(label, CLASSES).float())["image"]
            loss = F.binary_cross_entropy_with_logits(logits, image, reduction="sum") / len(image)
            loss = loss + F.cross_entropy(found.probabilities.log(), label) + found.mu.square().sum(1).mean() / 10
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return {
        "encoder": encoder.eval(),
        "decoder": decoder.eval(),
        "prior": "fitted",
        "logits": True,
        "conditional": True,
        "outputs": {"z": "mu", "log_var": "logvar", "y": "probabilities"},
    }


@pytest.fixture(scope="module")
def bundle(conditional: Modules, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "mine"
    before, random = copy.deepcopy(conditional["encoder"].state_dict()), torch.get_rng_state()
    export_modules("mine", images=digits.images, labels=digits.labels, out=out, facts=FACTS, **conditional)
    after = conditional["encoder"].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(random, torch.get_rng_state())
    return out


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return load(bundle)


class TestBundle:
    def test_every_clause_holds(self, bundle: Path) -> None:
        assert {verdict.id: verdict.found for verdict in check(bundle) if verdict.state != "holds"} == {}

    @torch.no_grad()
    def test_it_gives_what_the_networks_give(self, model: Model, conditional: Modules, digits: Digits) -> None:
        """To what rounding the weights to float16 costs."""
        some = digits.images[:50]
        found, codes = conditional["encoder"](some), model.codes(some)
        for name, wanted in (("z", found.mu), ("log_var", found.logvar), ("y", found.probabilities)):
            assert np.abs(codes[name] - wanted.numpy()).max() < 0.02
        images = conditional["decoder"](found.mu, found.probabilities)["image"].sigmoid()
        assert np.abs(model.reconstruct(some) - images.numpy()).max() < 0.02

    def test_it_draws_every_class(self, model: Model) -> None:
        drawn = model.sample(100, seed=0, label="3")
        assert float((model.codes(drawn)["y"].argmax(1) == 3).mean()) > 0.5

    def test_it_scores(self, model: Model, digits: Digits) -> None:
        static = np.random.default_rng(0).random((50, 1, SIDE, SIDE), np.float32)
        assert model.score(digits.images[:200]).anomalous.mean() < 0.1
        assert model.score(static).anomalous.mean() > 0.9

    def test_the_card_says_where_it_is_from(self, bundle: Path, model: Model) -> None:
        card = (bundle / "README.md").read_text("utf-8")
        for said in (
            "# Digits",
            "license: mit",
            "https://example.org/digits",
            "CC BY 4.0",
            "were not trained with aae-zoo",
        ):
            assert said in card
        assert "adversarial-autoencoder" not in card
        assert "networks.Classifier" in card.replace("\\", "")
        assert model.manifest.provenance["source"] == "own modules"
        assert model.manifest.metrics["error"] < 10
        assert {"samples.png", "labels.png", "reconstructions.png"} <= set(model.manifest.files)

    def test_commands_take_it(self, bundle: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        assert "own modules" in aae_zoo("info", bundle).out
        assert aae_zoo("verify", bundle).status == 0
        assert aae_zoo("embed", bundle, "--lang", "python", "-o", tmp_path / "mine").status == 0

    def test_the_weights_are_those_of_the_networks(self, bundle: Path, conditional: Modules) -> None:
        from safetensors.torch import load_file

        weights = load_file(bundle / "model.safetensors")
        own = copy.deepcopy(conditional["decoder"])
        own.load_state_dict({n.removeprefix("decoder."): v for n, v in weights.items() if n.startswith("decoder.")})
        with pytest.raises(InvalidBundle, match=r"load the weights of its model\.safetensors into modules"):
            load_networks(bundle)


class Encoder(nn.Module):
    """A plain encoder, whose forward others change."""

    def __init__(self, latent: int = LATENT) -> None:
        super().__init__()
        self.layer = nn.Linear(PIXELS, latent)

    def forward(self, image: Tensor) -> Any:
        return self.layer(image.flatten(1))


class Decoder(nn.Module):
    """A plain decoder, whose forward others change."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(LATENT, PIXELS)

    def forward(self, z: Tensor) -> Any:
        return self.layer(z).sigmoid().unflatten(1, (1, SIDE, SIDE))


def changed(network: type[nn.Module], forward: Callable[[Any, Tensor], Any]) -> nn.Module:
    """A network with another forward."""
    made: nn.Module = type(network.__name__, (network,), {"forward": forward})()
    return made.eval()


def images(*shape: int, high: float = 1.0) -> Tensor:
    return high * torch.rand(*shape, generator=torch.Generator().manual_seed(0))


Refusal = Callable[..., str]


@pytest.fixture
def refusal(digits: Digits, no_leftovers: Path) -> Refusal:
    """The one sentence with which plain networks are refused, with changes; there is no bundle then."""

    def call(error: type[AaeZooError] = InvalidInput, **changes: Any) -> str:
        torch.manual_seed(0)
        plain = {"encoder": Encoder(), "decoder": Decoder(), "prior": "gaussian"}
        given = {"images": digits.images[:100], "anyway": True, **plain, **changes}
        with pytest.raises(error) as caught:
            export_modules("refused", out=no_leftovers / "refused", **given)
        sentence = str(caught.value)
        assert len(sentence) < 700
        return sentence

    return call


def half(module: nn.Module) -> nn.Module:
    return module.half()


def with_weight(value: float) -> nn.Module:
    encoder = Encoder()
    encoder.layer.weight.data[1, 2] = value
    return encoder


def on_a_gpu() -> nn.Module:
    """There may be no GPU here: what is seen of one is the device of its weights."""

    class OnGpu(torch.Tensor):
        device = torch.device("cuda", 1)

    encoder = Encoder()
    encoder.layer.weight = nn.Parameter(encoder.layer.weight.detach().as_subclass(OnGpu))
    return encoder


def scripted_layer() -> nn.Module:
    return cast(nn.Module, torch.jit.script(nn.Flatten()))


def compiled_layer() -> nn.Module:
    return cast(nn.Module, torch.compile(nn.Linear(PIXELS, LATENT)))


def in_complex_numbers() -> nn.Module:
    network = Encoder()
    network.layer.weight = nn.Parameter(network.layer.weight.to(torch.cfloat))
    return network


def quantised() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, LATENT)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch moves it to a package of its own
        return cast(nn.Module, torch.ao.quantization.quantize_dynamic(network, {nn.Linear}))


class WithExtraState(Encoder):
    """One whose state dict has more than tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 1}

    def set_extra_state(self, state: object) -> None: ...


class Vae(nn.Module):
    """One that draws at inference."""

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1)[:, :LATENT] + torch.randn(len(image), LATENT)


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        (lambda: half(Encoder()), "layer.weight of the encoder is float16, expected float32; give encoder.float()"),
        (lambda: Encoder().double(), "is float64, expected float32"),
        (
            in_complex_numbers,
            "is complex64, expected float32; keep its real and its imaginary part as two",
        ),
        (quantised, "is a dtype, expected tensors alone; give the encoder as it was before it was quantised"),
        (WithExtraState, "_extra_state in the state dict of the encoder is a dict, expected tensors alone"),
        (on_a_gpu, "layer.weight of the encoder is on the device cuda:1, expected cpu; give encoder.cpu()"),
        (lambda: Encoder().to("meta"), "is on the device meta and has no numbers; load the weights of the encoder"),
        (lambda: with_weight(np.nan), "layer.weight of the encoder holds nan, expected finite numbers"),
        (lambda: with_weight(1e5), "holds 100000, expected finite numbers of at most 65504"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(LATENT)), "1.weight of the encoder has no shape yet"),
        (lambda: nn.DataParallel(Encoder()), "is a DataParallel around a module; give encoder.module"),
        (lambda: torch.compile(Encoder()), "is a OptimizedModule around a module; give encoder._orig_mod"),
        (
            lambda: nn.Sequential(nn.Flatten(), compiled_layer()),
            "the layer 1 of the encoder is a",
        ),
        (
            lambda: nn.Sequential(scripted_layer(), nn.Linear(PIXELS, LATENT)),
            "the layer 0 of the encoder",
        ),
        (lambda: torch.jit.script(nn.Flatten()), "is a TorchScript module, expected an nn.Module of Python"),
        (
            lambda: Encoder().forward,
            "the encoder is a method, expected a torch.nn.Module; give a module whose forward calls it",
        ),
        (lambda: Encoder, "the encoder is the class Encoder, expected a torch.nn.Module; make one of it, Encoder(...)"),
        (lambda: Encoder().state_dict(), "make it of its class and load the weights by load_state_dict"),
        (lambda: "encoder.pt", "the encoder is a str, expected a torch.nn.Module"),
        (lambda: None, "the encoder is missing, expected a torch.nn.Module"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_encoder_whose_weights_cannot_be_taken(encoder: Callable[[], Any], said: str, refusal: Refusal) -> None:
    assert said in refusal(encoder=encoder())


def test_a_whole_autoencoder_as_both(refusal: Refusal) -> None:
    both = nn.Sequential(Encoder(), Decoder())
    assert "are one Sequential; give its two parts, or two modules whose" in refusal(encoder=both, decoder=both)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.BatchNorm1d(PIXELS), "the layer 1 of the encoder, a BatchNorm1d, is in training mode"),
        (nn.Dropout(0.5), "the layer 1 of the encoder, a Dropout, is in training mode"),
        (nn.BatchNorm1d(PIXELS, track_running_stats=False).eval(), "a BatchNorm1d, has no running statistics"),
    ],
)
def test_layers_that_do_not_do_what_they_do_at_inference(layer: nn.Module, said: str, refusal: Refusal) -> None:
    assert said in refusal(encoder=nn.Sequential(nn.Flatten(), layer, nn.Linear(PIXELS, LATENT)))


CODES: list[tuple[Callable[[Any, Tensor], Any], str]] = [
    (lambda s, x: [s.layer(x.flatten(1))], "the encoder returns a list, expected a tensor, or a tuple, dict"),
    (lambda s, x: {"mu": s.layer(x.flatten(1)), "b": x}, "returns 'mu' [2, 4], 'b' [2, 1, 8, 8], and none of"),
    (lambda s, x: (s.layer(x.flatten(1)), 1), "returns 0 [2, 4], 1, and none of these is said to be z; say which is"),
    (lambda s, x: {"z": 1.0}, "the encoder gives float as z, expected a tensor"),
    (lambda _, x: x, "the encoder gives z of the images' shape, [1, 8, 8], as a whole autoencoder does; give the part"),
    (
        lambda _, x: x[:, :, ::2],
        "the encoder's z is a map [2, 1, 4, 8], expected a vector [n, size] for each row; end it with",
    ),
    (lambda s, x: s.layer(x.flatten(1)).mean(1), "the encoder's z is [2] for 2 rows, expected [2, size]"),
    (
        lambda s, x: s.layer(x.flatten(1)).argmax(1),
        "is int64, expected float32; end its forward with .float(), or if these",
    ),
    (
        lambda s, x: s.layer(x.flatten(1)).squeeze(),
        "gives z [4] for 1 row, expected [1, 4]; let its forward say which axis",
    ),
    (lambda s, x: s.layer(x.reshape(64, -1)), "the encoder takes 64 rows and not 2: the size of a batch is baked in"),
    (lambda s, x: s.layer(x.view(1, -1, PIXELS)[0][:2]), "the encoder gives 2 rows of z for 25: the size of a batch"),
    (lambda s, x: s.layer(x.flatten(1)) / 0, "the encoder's z holds numbers that are not finite"),
    (lambda s, x: s.layer(x.sub_(0.5).flatten(1)), "the encoder changes what it is given; let it write x = x - 1"),
    (lambda s, x: s.layer(x.flatten(1)).double(), "the encoder's z is float64, expected float32"),
    (
        lambda s, x: s.layer(F.dropout(x.flatten(1))),
        "gives other outputs each time that it runs, first in its layer layer",
    ),
    (
        lambda s, x: s.layer(x.flatten(1)) + torch.randn(len(x), LATENT),
        "gives other outputs each time that it runs; leave",
    ),
    (
        lambda s, x: s.layer(F.batch_norm(x.flatten(1), None, None, training=True)),
        "the encoder gives other outputs for a row where other rows are in its batch, first in its layer layer; use no",
    ),
    (lambda s, x: s.layer(x.flatten(1)) * (1 if len(x) > 2 else 2), "do not ask for its size"),
    (lambda s, x: s.layer(x.flatten(1) @ torch.eye(PIXELS)), "the encoder fails in float64, to which its graph"),
]


@pytest.mark.parametrize(("forward", "said"), CODES)
def test_an_encoder_that_does_what_the_contract_does_not_allow(
    forward: Callable[[Any, Tensor], Any], said: str, refusal: Refusal
) -> None:
    assert said in refusal(encoder=changed(Encoder, forward))


TRACED: list[tuple[Callable[[Any, Tensor], Any], str]] = [
    (lambda s, image: torch.stack([s.layer(x.flatten()) for x in image]), "the number of rows of a batch baked in"),
    (lambda s, image: s.layer(torch.special.i0(image.flatten(1))), "the operator prims.bessel_i0, which ONNX does not"),
    (lambda s, image: s.layer(torch.fft.fft(image.flatten(1)).abs()), "the encoder uses DFT, which graphs of bundles"),
    (lambda s, image: s.layer(image.flatten(1)) * len(image.numpy().tobytes()), "cannot be traced by torch.export ("),
]


@pytest.mark.parametrize(("forward", "said"), TRACED)
def test_a_network_that_cannot_become_a_graph(
    forward: Callable[[Any, Tensor], Any], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_onnx(changed(Encoder, forward), {"image": images(3, 1, SIDE, SIDE)}, ["z"], {"role": "encoder"})
    assert said in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_line_that_branches_is_named() -> None:
    def forward(self: Any, image: Tensor) -> Tensor:
        flat = image.flatten(1)
        if flat.mean() > 0.5:
            flat = 1 - flat
        return cast(Tensor, self.layer(flat))

    with pytest.raises(
        InvalidInput, match=rf"in {Path(__file__).name}, line \d+: if flat.mean\(\) > 0.5; compute both"
    ):
        to_onnx(changed(Encoder, forward), {"image": images(3, 1, SIDE, SIDE)}, ["z"], {"role": "encoder"})


IMAGES: list[tuple[Callable[[Any, Tensor], Any], str]] = [
    (lambda s, z: s.layer(z).unflatten(1, (1, SIDE, SIDE)), "the decoder's images have values from -"),
    (lambda s, z: s.layer(z).tanh().unflatten(1, (1, SIDE, SIDE)), "map [-1, 1] to [0, 1] by (image + 1) / 2"),
    (
        lambda s, z: s.layer(z).sigmoid(),
        "the decoder makes rows of 64 numbers, expected images [1, 8, 8]; end it with unflatten(1, (1, 8, 8))",
    ),
    (lambda s, z: s.layer(z).sigmoid().view(-1, 1, 4, 16), "the decoder makes [2, 1, 4, 16] of 2 codes"),
    (lambda s, z: s.layer(torch.cat([z, z], 1)), "the decoder cannot take codes of 4 numbers ("),
]


@pytest.mark.parametrize(("forward", "said"), IMAGES)
def test_a_decoder_that_does_what_the_contract_does_not_allow(
    forward: Callable[[Any, Tensor], Any], said: str, refusal: Refusal
) -> None:
    assert said in refusal(decoder=changed(Decoder, forward))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prior": "normal"}, "the prior is 'normal', expected gaussian, fitted or a module"),
        (
            {"prior": nn.Linear(3, 3), "noise": 3},
            "the prior's codes have 3 numbers and the encoder's 4; give a prior of",
        ),
        ({"prior": nn.Linear(3, 3)}, "noise is missing, expected how many uniform numbers the prior takes"),
        ({"prior": nn.Linear(3, 4), "noise": 5}, "the prior cannot take noise [n, 5] ("),
        (
            {"prior": nn.Linear(3, 4), "noise": 3, "label_coordinate": 3},
            "expected one of the prior's 3 numbers, from 0",
        ),
        ({"noise": 2.5}, "noise is 2.5, expected a whole number from 1"),
        ({"outputs": ["mu"]}, "outputs is ['mu'], expected a dict of our names"),
        ({"classes": "ab"}, "classes is 'ab', expected a list of names"),
        ({"image": (1, 8)}, "image is (1, 8), expected three whole numbers, (C, H, W)"),
        ({"prior": "fitted", "encoder": changed(Encoder, lambda s, x: s.layer(x.view(2, -1)[:, :PIXELS]))}, "baked in"),
        ({"noise": 3}, "noise is given and the prior is 'gaussian'; leave it out"),
        ({"conditional": True}, "the decoder takes y and the encoder gives none; let it give the probabilities"),
        ({"encoders": Encoder()}, "there is no 'encoders' of networks, expected encoder, decoder, prior"),
        (
            {"outputs": {"log_var": 1}, "encoder": changed(Encoder, lambda s, x: {"z": s.layer(x.flatten(1))})},
            "log_var",
        ),
    ],
)
def test_what_does_not_fit_together(changes: dict[str, Any], said: str, refusal: Refusal) -> None:
    assert said in refusal(**changes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (images(0, 1, SIDE, SIDE), "there are no images, expected 100 or more"),
        ([], "there are no images, expected 100 or more"),
        (images(99, 1, SIDE, SIDE), "there are 99 images, expected 100 or more"),
        (images(100, 1, SIDE, SIDE, high=255), "expected [0, 1]; divide by the value that is white, 255 for 8 bits"),
        (2 * images(100, 1, SIDE, SIDE) - 1, "they look normalised: undo the mean and std first"),
        (images(100, 1, SIDE, SIDE, high=float("nan")), "the images have NaN, expected [0, 1]"),
        (images(100, SIDE, SIDE, 3), "expected [n, C, H, W] with C from 1 to 4; move the channels"),
        (images(100, PIXELS), "the images have shape [100, 64], expected [n, C, H, W]"),
        (
            images(100, 1, 16, 16),
            "the encoder cannot take images [1, 16, 16] (mat1 and mat2 shapes cannot be multiplied",
        ),
        (images(100, 1, SIDE, SIDE).to(torch.int32), "the images have dtype int32, expected uint8, bool, or floats"),
    ],
)
def test_images_that_cannot_be_taken(given: Any, said: str, refusal: Refusal) -> None:
    assert said in refusal(images=given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": torch.zeros(99, dtype=torch.int64)}, "the labels are int64 [99], expected the number or the name"),
        ({"labels": torch.arange(100) - 1}, "the labels go from -1 to 98, expected numbers of classes from 0"),
        ({"labels": ["a", "b"] * 50, "classes": ["a", "c"]}, "the labels are a, b, and the classes a, c; give classes"),
        ({"facts": {"dataset": "mnist"}}, "the images of mnist are (1, 28, 28), and these (1, 8, 8); give the fact"),
        ({"facts": {"license": "MIT"}}, "there is no fact 'license', expected title, description, version, licence"),
        ({"facts": {"title": "two\nlines"}}, "the title is 'two\\nlines', expected one line of text"),
        ({"facts": {"version": "one two"}}, "the version is 'one two', expected a plain name"),
        ({"variants": ["fp8"]}, "the variant is 'fp8', expected one of fp16, int8"),
    ],
)
def test_other_things_that_cannot_be_taken(changes: dict[str, Any], said: str, refusal: Refusal) -> None:
    assert said in refusal(**changes)


class Attention(nn.Module):
    """Rows of pixels as a transformer's tokens, with a token for the class."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Parameter(torch.zeros(1, 1, SIDE)), nn.Parameter(torch.zeros(1, SIDE + 1, SIDE))
        self.attention = nn.MultiheadAttention(SIDE, 2, batch_first=True)

    def forward(self, image: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(image.shape[0], -1, -1), image.squeeze(1)], 1) + self.place
        found, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return cast(Tensor, found[:, 0])


class Recurrent(nn.Module):
    """The rows of an image one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(SIDE, SIDE, batch_first=True)

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.layer(z.unsqueeze(1).repeat(1, SIDE, 1))[0].unsqueeze(1).sigmoid())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_networks_that_compute_weights_and_sizes(digits: Digits, tmp_path: Path) -> None:
    torch.manual_seed(0)
    normalised = nn.utils.parametrizations.spectral_norm(nn.Linear(SIDE, SIDE)).eval()
    encoder = nn.Sequential(Attention(), normalised, nn.utils.weight_norm(nn.Linear(SIDE, SIDE)))
    decoder = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(SIDE, SIDE)), Recurrent())
    export_modules(
        "own", encoder=encoder, decoder=decoder, images=digits.images[:100], out=tmp_path / "own", anyway=True
    )
    assert [clause.found for clause in check(tmp_path / "own") if clause.state != "holds"] == []
    with torch.no_grad():
        expected = encoder(digits.images[:9])
    assert np.abs(load(str(tmp_path / "own")).encode(digits.images[:9].numpy()) - expected.numpy()).max() < 0.01


def test_the_line_that_calls_what_torchvision_cannot_trace() -> None:
    def forward(self: Any, image: Tensor) -> Tensor:
        return cast(Tensor, self.layer(normalize(image.expand(-1, 3, -1, -1), 3 * [0.5], 3 * [0.5])[:, 0].flatten(1)))

    with pytest.raises(
        InvalidInput, match=rf"in {Path(__file__).name}, line \d+: return cast.*leave it out where it only"
    ):
        to_onnx(changed(Encoder, forward), {"image": images(3, 1, SIDE, SIDE)}, ["z"], {"role": "encoder"})


def test_networks_that_do_not_work_are_exported_only_on_demand(refusal: Refusal) -> None:
    sentence = refusal(anyway=False)
    assert "the networks do not work on these images, export them with anyway only: " in sentence
    assert "the reconstructions are no better than the mean picture" in sentence


def test_a_network_that_its_graph_does_not_equal_is_refused_by_the_layer(refusal: Refusal) -> None:
    """PyTorch's own code of a layer, which the exporter does not see."""

    class Hidden(nn.Linear):
        def forward(self, given: Tensor) -> Tensor:
            found = super().forward(given)
            return found if torch.compiler.is_exporting() else found * 1.001

    encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 8), nn.ReLU(), Hidden(8, LATENT))
    sentence = refusal(ParityError, encoder=encoder)
    assert "no bundle was written" in sentence
    assert "the difference first appears in module.3 (mul)" in sentence


OWN = '''
from dataclasses import dataclass

import torch
from sizes import LATENT, PIXELS, SIDE
from torch import nn


@dataclass
class Settings:
    """Dataclasses need the module that they are in."""

    size: int = PIXELS


class There(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, image):
        z = image.flatten(1) @ self.weight
        return z, (4 * z[:, :2]).softmax(1)


class Back(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, z):
        return (z @ self.weight.T).unflatten(1, (1, SIDE, SIDE)).clamp(0, 1)


class Ends(nn.Module):
    def forward(self, u):
        end = torch.where(u[:, :1] < 0.5, 0.2, 0.8)
        return torch.cat([end + 0.1 * u[:, 1:2], u[:, 1:LATENT - 1], u[:, LATENT - 1:]], 1)


def make():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.rand(Settings().size, LATENT) / 20)
    return {
        "encoder": There(weight),
        "decoder": Back(weight),
        "prior": Ends(),
        "noise": LATENT,
        "label_coordinate": 0,
        "classes": ["low", "high"],
        "outputs": {"z": 0, "y": 1},
        "facts": {"dataset": "blots"},
    }


def leaves():
    raise SystemExit(0)


def fails():
    return {"encoder": 1 / 0}


def nothing():
    return None
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Someone's own file, with another that it imports."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "own.py").write_text(OWN)
    (folder / "sizes.py").write_text(f"LATENT, PIXELS, SIDE = {LATENT}, {PIXELS}, {SIDE}\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("own", "sizes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder / "own.py"


@pytest.fixture
def pictures(tmp_path: Path, digits: Digits) -> Path:
    """200 digits as picture files."""
    folder = tmp_path / "blots"
    folder.mkdir()
    for number, image in enumerate(digits.images[:200]):
        Image.fromarray((image[0] * 255).byte().numpy()).save(folder / f"{number}.png")
    return folder


def test_the_command_line_runs_a_file_of_ones_own(own: Path, pictures: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
    """Weights that encoder and decoder share are in both graphs; a prior of one's own, and a class that it chooses."""
    out = tmp_path / "mine"
    result = aae_zoo("export", f"{own}:make", "-o", out, "--data", pictures, "--anyway")
    assert result.status == 0, result.err
    assert f"export: running the code in {own}" in result.err
    model = load(out)
    assert (model.manifest.name, model.manifest.dataset, model.labels) == ("mine", "blots", ("low", "high"))
    assert model.sample(2, seed=0, label="high").shape == (2, 1, SIDE, SIDE)
    assert [verdict.found for verdict in check(out) if verdict.state != "holds"] == []


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        ("fails", (), "fails with ZeroDivisionError: division by zero; mend it there"),
        ("leaves", (), "fails with SystemExit: 0; mend it there"),
        ("nothing", (), "nothing of {own} returns a NoneType, expected a dict with encoder, decoder"),
        ("missing", (), "{own} has no function missing; give that which returns the networks"),
        ("make", (), "networks of your own need images; give a folder of pictures or an .npz file with --data"),
        (
            "make",
            ("--data", "{own}"),
            "own.py is not a file of images that aae-zoo reads; give a folder of pictures, or an",
        ),
        ("make", ("--data", "{own}.npz"), "{own}.npz"),
        ("make", ("--seed-run", "."), "--seed-run is for runs of a recipe, expected none with networks of your own"),
    ],
)
def test_a_file_that_does_not_do(
    function: str, options: tuple[str, ...], said: str, own: Path, refused: Callable[..., str], no_leftovers: Path
) -> None:
    given = [option.format(own=own) for option in options]
    assert said.format(own=own) in refused("export", f"{own}:{function}", "-o", no_leftovers / "mine", *given)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("own.py", "own.py names no function, expected path/to/file.py:factory with the function's name"),
        ("none.py:make", "there is no file "),
    ],
)
def test_a_place_that_names_no_function(place: str, said: str, refused: Callable[..., str], tmp_path: Path) -> None:
    assert said in refused("export", place, "-o", tmp_path / "mine")


class TestReading:
    """What --data may be."""

    def test_pictures_of_one_size(self, pictures: Path) -> None:
        dataset, labels = read_data(pictures, None)
        assert labels is None
        assert dataset.image_shape == (1, SIDE, SIDE)
        assert len(dataset.train_images) + len(dataset.test_images) == len(list(pictures.iterdir()))

    def test_pictures_in_folders_are_classes(self, pictures: Path) -> None:
        for number, path in enumerate(sorted(pictures.iterdir())):
            folder = pictures / f"class{number % 2}"
            folder.mkdir(exist_ok=True)
            path.rename(folder / path.name)
        dataset, _ = read_data(pictures, None)
        assert dataset.label_names == ("class0", "class1")

    def test_pictures_of_several_sizes(self, pictures: Path) -> None:
        Image.new("L", (9, 7)).save(pictures / "other.png")
        with pytest.raises(InvalidInput, match=r"have 2 sizes; let the function return image: \(C, H, W\) too"):
            read_data(pictures, None)
        assert read_data(pictures, (3, SIDE, SIDE))[0].image_shape == (3, SIDE, SIDE)
        assert read_data(pictures, (1, 6, 10))[0].shape == (201, 1, 6, 10)

    def test_arrays_with_labels(self, digits: Digits, tmp_path: Path) -> None:
        path = tmp_path / "digits.npz"
        np.savez(path, images=digits.images.numpy(), labels=digits.labels.numpy())
        found, labels = read_data(path, None)
        assert np.array_equal(found, digits.images)
        assert np.array_equal(labels, digits.labels)
        assert read_data(path, (1, 16, 16))[0].shape == (len(found), 1, 16, 16)
        np.savez(path, images=digits.images.numpy())
        assert read_data(path, None)[1] is None

    def test_labels_in_a_column(self, digits: Digits, tmp_path: Path) -> None:
        np.savez(tmp_path / "digits.npz", images=digits.images.numpy(), labels=digits.labels.numpy()[:, None])
        assert np.array_equal(read_data(tmp_path / "digits.npz", None)[1], digits.labels)

    def test_labels_that_cannot_be_read_are_no_missing_labels(self, digits: Digits, tmp_path: Path) -> None:
        pickled = np.array(["zero", "one"], dtype=object)
        np.savez(tmp_path / "digits.npz", images=digits.images.numpy(), labels=pickled)
        with pytest.raises(InvalidInput, match=r"has Python objects, which are pickled, expected numbers or text"):
            read_data(tmp_path / "digits.npz", None)

    def test_arrays_with_the_channels_last(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
        np.save(tmp_path / "images.npy", pixels)
        assert np.array_equal(read_data(tmp_path / "images.npy", None)[0], pixels.transpose(0, 3, 1, 2))

    def test_a_table_needs_the_shape_of_its_images(self, tmp_path: Path) -> None:
        (tmp_path / "images.csv").write_text("0,0,0,0\n")
        with pytest.raises(
            InvalidInput, match="does not say which shape its images have; let the function return image"
        ):
            read_data(tmp_path / "images.csv", None)

    def test_idx_files(self, small_data: Path) -> None:
        dataset, labels = read_data(small_data, None)
        assert labels is None
        assert dataset.image_shape == (1, 14, 14)
        assert len(dataset.label_names) == CLASSES


# Of onnxscript's modules the exporter imports the one that is written for its PyTorch, which older ones do not have.
OLD_ONNXSCRIPT = """
import sys
from importlib.abc import MetaPathFinder

class Older(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith("onnxscript._framework_apis.torch_"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Older())

import torch
from aae_zoo.export.bundling.graphs import to_onnx
from aae_zoo.runtime.errors import MissingBackend

class Same(torch.nn.Module):
    def forward(self, image):
        return {"z": image * 2}

try:
    to_onnx(Same(), {"image": torch.zeros(2, 1, 8, 8)}, ["z"], {"role": "encoder"})
except MissingBackend as error:
    print(error)
"""


def test_an_exporter_that_is_older_than_pytorch_is_named() -> None:
    result = subprocess.run([sys.executable, "-c", OLD_ONNXSCRIPT], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(
        f"onnxscript {version('onnxscript')} cannot export what PyTorch {torch.__version__}"
    )
    assert result.stdout.endswith("; pip install -U onnxscript\n")
