"""Objectives and networks of every kind: each trains, and does what its paper says."""

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import RECIPE, batch_of
from torch import nn

from aae_zoo.export.bundling.bundle import export_bundle
from aae_zoo.export.bundling.graphs import to_onnx
from aae_zoo.runtime import load
from aae_zoo.runtime.errors import InvalidRecipe
from aae_zoo.zoo.build import build
from aae_zoo.zoo.maths import augmentation
from aae_zoo.zoo.objectives import BaseObjective, aae
from aae_zoo.zoo.objectives.semi import mutual_information
from aae_zoo.zoo.objectives.vae import gaussian_kl
from aae_zoo.zoo.parts import kinds, load_part
from aae_zoo.zoo.recipe import Recipe, parse_recipe
from aae_zoo.zoo.steps.rates import Rates
from aae_zoo.zoo.training.trainer import train

IMAGES: dict[str, Any] = {
    "weight": 4.0,
    "learning_rate": 0.001,
    "noise": 0.2,
    "discriminator": {"kind": "conv", "channels": [8, 16], "hidden": 32},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "aae": tomllib.loads(RECIPE)["objective"],
    "vae": {"kind": "vae", "reconstruction": "bce"},
    "wae": {"kind": "wae", "reconstruction": "mse", "mmd_weight": 200.0},
}
OBJECTIVES |= {
    "ae": {"kind": "ae", "reconstruction": "mse"},
    "dae": {"kind": "ae", "reconstruction": "mse", "corruption": 0.3},
    "aae-gaussian": {**OBJECTIVES["aae"], "posterior": "gaussian"},
    "aae-entropy": {**OBJECTIVES["aae"], "posterior": "gaussian", "entropy_weight": 1.0},
    "aae-universal": {**OBJECTIVES["aae"], "posterior": "universal"},
    "aae-informed": {**OBJECTIVES["aae"], "label_informed": True},
    "supervised": {**OBJECTIVES["aae"], "kind": "supervised", "label_weight": 10.0},
    "aae-images": {**OBJECTIVES["aae"], "images": IMAGES},
    "supervised-images": {**OBJECTIVES["aae"], "kind": "supervised", "label_weight": 10.0, "images": IMAGES},
    "oneclass": {**OBJECTIVES["aae"], "kind": "oneclass", "hog_weight": 10.0, "corruption": 0.1},
    "semi": {
        "temperature": 0.5,
        "balance_weight": 1.0,
        **OBJECTIVES["aae"],
        "kind": "semi",
        "class_adversarial_weight": 1.0,
        "label_weight": 10.0,
        "consistency_weight": 10.0,
        "confidence": 0.5,
        "augmentation": {"rotation": 15.0, "scale": 0.1, "shift": 0.05, "shear": 0.1},
    },
}
OBJECTIVES["oneclass-defects"] = {**OBJECTIVES["oneclass"], "segmenter": {"channels": [4, 8], "learning_rate": 0.01}}
OBJECTIVES["cluster"] = {k: v for k, v in OBJECTIVES["semi"].items() if k not in ("confidence", "temperature")}
OBJECTIVES["cluster"] |= {"label_weight": 0.0, "overclusters": 20}
PRIORS: dict[str, dict[str, Any]] = {
    "gaussian": {"kind": "gaussian", "size": 3},
    "normalised": {"kind": "gaussian", "size": 3, "std": 3.0, "normalised": True},
    "bits": {"kind": "bits", "size": 6},
    "mixture": {
        "kind": "mixture",
        "size": 2,
        "classes": 10,
        "radius": 2.0,
        "std_outwards": 0.5,
        "std_sideways": 0.2,
    },
    "swissroll": {
        "kind": "swissroll",
        "size": 2,
        "classes": 10,
        "first_turn": 0.5,
        "turns": 1.5,
        "radius": 3.0,
        "width": 0.5,
    },
    "categorical": {"kind": "categorical", "size": 2, "classes": 10},
    "clusters": {"kind": "categorical", "size": 2, "classes": 6, "scale": 2.0, "subheads": 3},
    "heads": {"kind": "heads", "size": 2, "classes": 10, "std": 1.0, "distance": 6.0},
    "fitted": {"kind": "fitted", "size": 3, "components": 4},
    "attributes": {"kind": "attributes", "size": 2, "classes": [2, 2]},
}
# Every objective with a prior that it is for: (objective, prior, labels it knows).
LINES = [
    *(("ae", "fitted", 0), ("dae", "fitted", 0), ("vae", "gaussian", 0), ("wae", "gaussian", 0)),
    *(("wae", "swissroll", 0), ("aae", "gaussian", 0), ("aae", "bits", 0), ("aae", "mixture", 0)),
    *(("aae-gaussian", "gaussian", 0), ("aae-universal", "gaussian", 0), ("aae-informed", "mixture", 500)),
    *(("aae-informed", "swissroll", 500), ("supervised", "categorical", -1), ("semi", "categorical", 100)),
    *(("cluster", "clusters", 0), ("semi", "heads", 100), ("oneclass", "gaussian", 0)),
    *(("oneclass-defects", "gaussian", 0), ("aae-images", "gaussian", 0), ("supervised-images", "categorical", -1)),
    ("supervised", "attributes", 0),
]
# Those whose graphs differ from those of all others.
GRAPHS = {
    *(("ae", "fitted"), ("vae", "gaussian"), ("aae", "bits"), ("aae-universal", "gaussian")),
    *(("aae-informed", "mixture"), ("aae-informed", "swissroll"), ("supervised", "categorical"), ("semi", "heads")),
    ("cluster", "clusters"),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "hidden": [32], "dropout": 0.1},
    "conv": {"kind": "conv", "channels": [4, 8], "hidden": 16},
    "hog": {"kind": "hog", "hidden": 32},
}
# The objective that is for networks of one kind.
NETWORK_OF = {"oneclass": "hog", "oneclass-defects": "hog"}


def recipe(
    objective: str, prior: str = "gaussian", labels: int = 0, network: str | None = None, **settings: Any
) -> Recipe:
    document = tomllib.loads(RECIPE)
    document["objective"] = OBJECTIVES[objective]
    document["prior"] = PRIORS[prior]
    document["data"]["labels"] = labels
    document["training"] |= settings
    if network := network or NETWORK_OF.get(objective):
        document["encoder"] = document["decoder"] = NETWORKS[network]
    return parse_recipe(document, "recipe.toml")


@pytest.mark.parametrize("kind", kinds("objectives"))
def test_every_objective_says_which_paper_it_is_of(kind: str) -> None:
    """For cards; None where the paper is not on arXiv."""
    objective = load_part("objectives", kind)
    assert objective.ARXIV is None or re.fullmatch(r"\d{4}\.\d{4,5}", objective.ARXIV)
    assert f"arXiv {objective.ARXIV}" in str(objective.__doc__) or objective.ARXIV is None


# A new file of zoo/objectives/, priors/ or networks/ is trained and exported by the tests below.


@pytest.mark.parametrize("kind", kinds("objectives"))
def test_every_kind_of_objective_is_here(kind: str) -> None:
    names = {name for name, settings in OBJECTIVES.items() if settings["kind"] == kind}
    assert names, f"add settings of the objective {kind} to OBJECTIVES"
    assert names & {name for name, _, _ in LINES}, f"add a line that trains the objective {kind} to LINES"


@pytest.mark.parametrize("kind", kinds("priors"))
def test_every_kind_of_prior_is_here(kind: str) -> None:
    names = {name for name, settings in PRIORS.items() if settings["kind"] == kind}
    assert names, f"add settings of the prior {kind} to PRIORS"
    assert names & {prior for _, prior, _ in LINES}, f"add a line that trains with the prior {kind} to LINES"
    exported = {prior for _, prior in GRAPHS} | {"attributes"}  # tests/test_attributes.py exports it
    assert names & exported, f"add the line with the prior {kind} to GRAPHS"


@pytest.mark.parametrize("kind", kinds("networks"))
def test_every_kind_of_network_is_here(kind: str) -> None:
    assert kind in NETWORKS, f"add settings of the network {kind} to NETWORKS"


@pytest.mark.parametrize(
    ("objective", "prior", "labels", "network"),
    [
        *((*line, None) for line in LINES),
        *((objective, "gaussian", 0, name) for objective in ("aae", "aae-universal") for name in NETWORKS),
    ],
)
def test_every_objective_learns(objective: str, prior: str, labels: int, network: str | None) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    _, trained = build(recipe(objective, prior, labels, network), (1, 12, 12))
    x = torch.rand(4, 1, 12, 12, generator=generator).round().repeat(16, 1, 1, 1)
    label = torch.arange(4).repeat(16) if labels else None
    trained.train()
    batch = batch_of(x, label, known=8 if labels > 0 else 0)
    if prior == "attributes":
        numbers = torch.arange(4).repeat(16)
        batch = batch._replace(attributes=torch.stack([numbers // 2, numbers % 2], 1))
    losses = [float(trained.step(batch, generator)["reconstruction"]) for _ in range(150)]
    assert all(math.isfinite(loss) for loss in losses)
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:10])


@pytest.mark.parametrize(("objective", "prior", "labels"), [line for line in LINES if line[:2] in GRAPHS])
def test_from_recipe_to_samples(objective: str, prior: str, labels: int, small_data: Path, tmp_path: Path) -> None:
    """Every kind of model through the same runtime: train, export through the gate, load, and all that a model does."""
    train(recipe(objective, prior, labels, epochs=1), tmp_path / "run", data=small_data)
    export_bundle(tmp_path / "run", tmp_path / "bundle", data=small_data, anyway=True)
    model = load(tmp_path / "bundle")
    parity = json.loads((tmp_path / "bundle" / "parity.json").read_text())
    assert parity["passed"]
    images = model.sample(5, seed=1)
    assert images.shape == model.reconstruct(images).shape == (5, 1, 14, 14)
    assert model.interpolate(images, 3).shape == (12, 1, 14, 14)
    codes = model.codes(images)
    extra = {"vae": ["log_var"], "aae-gaussian": ["log_var"]}.get(objective, [])
    assert list(codes) == ["z", *(["y"] if prior in ("categorical", "heads", "clusters") else []), *extra]
    assert (tmp_path / "bundle" / "manifold.png").exists() == (prior == "swissroll")  # the one with 2-D noise
    if prior in ("mixture", "swissroll", "categorical", "heads"):
        assert len(model.manifest.labels) == 10
        first, second = (model.sample(3, seed=2, label=label) for label in (3, 7))
        assert not np.array_equal(first, second)
    elif prior == "clusters":
        assert model.manifest.labels == tuple(f"cluster {k}" for k in range(6))
        assert len(model.manifest.metrics["clusters"]) == 6
    else:
        assert model.manifest.labels == ()


@pytest.mark.parametrize(
    ("objective", "prior", "message"),
    [
        ("vae", "bits", "needs prior.kind = 'gaussian'"),
        ("aae", "categorical", "has no labels for the decoder"),
        ("aae-informed", "gaussian", "needs a prior of classes"),
        ("supervised", "gaussian", "needs prior.kind = 'categorical'"),
        ("semi", "mixture", "needs prior.kind = 'categorical' or 'heads'"),
        ("oneclass", "categorical", "learns no classes"),
        ("oneclass", "heads", "learns no classes"),
        ("ae", "categorical", "has no labels for the decoder"),
        ("wae", "attributes", "has no labels for the decoder"),
        *((kind, "fitted", f"'{kind}' brings codes to the prior.*'fitted' is for 'ae'") for kind in ("wae", "aae")),
        ("oneclass", "fitted", "'oneclass' brings codes to the prior"),
        ("vae", "normalised", "leave out prior.normalised"),
        ("supervised", "clusters", "knows the classes; leave out prior.subheads"),
        ("semi", "clusters", "judged by mutual information; leave out objective.confidence"),
    ],
)
def test_an_objective_refuses_a_prior_that_it_is_not_for(objective: str, prior: str, message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        build(recipe(objective, prior), (1, 14, 14))


@pytest.mark.parametrize(
    ("objective", "setting", "message"),
    [
        ("cluster", {"temperature": 0.5}, "objective.temperature is 0.5, which is of targets; give"),
        ("semi", {"overclusters": 20}, "objective.overclusters is 20, which is of mutual information; leave it out"),
    ],
)
def test_settings_that_others_disable_are_refused(objective: str, setting: dict[str, Any], message: str) -> None:
    wanted = recipe(objective, "categorical").model_dump(exclude_none=True)
    wanted["objective"] |= setting
    with pytest.raises(InvalidRecipe, match=message):
        build(parse_recipe(wanted, "the recipe"), (1, 14, 14))


@pytest.mark.parametrize(("objective", "prior"), [("ae", "bits"), ("wae", "normalised")])
def test_training_decodes_the_codes_that_the_model_gives(objective: str, prior: str) -> None:
    """Where the prior changes what the encoder gives, such as to bits, a model restores as well as its training did."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model, trained = build(recipe(objective, prior, network="conv"), (1, 12, 12))
    x = torch.rand(4, 1, 12, 12, generator=generator).round().repeat(16, 1, 1, 1)
    trained.train()
    rates, losses = Rates(trained, 300, 0.05), []
    for step in range(300):
        rates.set(step)
        losses.append(float(trained.step(batch_of(x), generator)["reconstruction"]))
    trained.eval()
    with torch.no_grad():
        codes = model.encode(x)
        again = model.logits(codes).sigmoid()
    assert float((again - x).square().sum() / len(x)) < 1.1 * np.mean(losses[-10:])
    assert float(codes["z"].std(0, correction=0).max()) < 1.1 * model.prior.variance(generator) ** 0.5


def test_one_class_is_learnt_by_networks_that_restore_histograms() -> None:
    wanted = recipe("oneclass")
    with pytest.raises(InvalidRecipe, match="needs encoder.kind and decoder.kind = 'hog'"):
        build(wanted.model_copy(update={"decoder": recipe("aae").decoder}), (1, 14, 14))


def test_with_an_adversary_on_images_whatever_is_drawn_looks_real() -> None:
    """Of one image there is one code: what is drawn from all others is nothing that squared error sees."""
    real = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0)).round()

    def distance(objective: str) -> float:
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        model, trained = build(recipe(objective, network="conv"), (1, 12, 12))
        for _ in range(200):
            trained.step(batch_of(real.repeat(32, 1, 1, 1)), generator)
        with torch.no_grad():
            drawn = model.logits(model.prior.draw(500, generator)).sigmoid()
        return float((drawn - real).flatten(1).norm(dim=1).mean())

    assert distance("aae-images") < 0.5 * distance("aae")


def test_every_attribute_is_to_be_named() -> None:
    """The loss is the sum of the cross-entropies of all of them, and each conditions the decoder."""
    torch.manual_seed(0)
    model, trained = build(recipe("supervised", "attributes"), (1, 12, 12))
    trained.eval()  # no dropout
    x, told = torch.rand(8, 1, 12, 12), torch.randint(2, (8, 2))
    y = torch.cat([torch.eye(2)[told[:, 0]], torch.eye(2)[told[:, 1]]], 1)
    with torch.no_grad():
        codes = model.encoder(x)
        images = model.decoder.logits(codes["z"], y).sigmoid()
        again = torch.nn.functional.binary_cross_entropy(images, x, reduction="sum") / 8
        chances = codes["y"].reshape(8, 2, 2).softmax(2).gather(2, told[:, :, None])
        named = -chances.log().mean(0).sum()
    losses = trained.step(batch_of(x)._replace(attributes=told), torch.Generator().manual_seed(0))
    assert float(losses["label"]) == pytest.approx(float(named), rel=1e-5)
    assert float(losses["reconstruction"]) == pytest.approx(float(again), rel=1e-5)


class TestPosteriors:
    """Draws of Q(z|x) for 4,000 copies of one image."""

    def draws(self, objective: str) -> tuple[torch.Tensor, torch.Tensor | None, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        model, trained = build(recipe(objective), (1, 14, 14))
        trained.eval()
        image = torch.rand(1, 1, 14, 14).expand(4000, -1, -1, -1)
        assert isinstance(trained, aae.Objective)
        with torch.no_grad():
            return *trained.posterior(image, torch.Generator().manual_seed(0)), model.encode(image[:1])

    def test_a_deterministic_encoder_gives_its_code(self) -> None:
        z, entropy, code = self.draws("aae")
        assert entropy is None
        assert torch.allclose(z, code["z"].expand_as(z), atol=1e-6)

    def test_a_gaussian_posterior_has_the_encoders(self) -> None:
        z, entropy, code = self.draws("aae-gaussian")
        std = (code["log_var"][0] / 2).exp()
        assert torch.allclose(z.std(0), std, rtol=0.05)
        assert entropy is not None
        assert float(entropy) == pytest.approx(float(torch.distributions.Normal(0, std).entropy().sum()), rel=1e-5)

    def test_the_universal_approximator_turns_noise_into_codes(self) -> None:
        z, entropy, _ = self.draws("aae-universal")
        assert float(z.std(0).min()) > 0
        assert entropy is None

    def test_the_entropys_weight_keeps_a_gaussian_posterior_wide(self) -> None:
        def entropy_after_training(objective: str) -> float:
            torch.manual_seed(0)
            _, trained = build(recipe(objective), (1, 14, 14))
            batch, generator = batch_of(torch.rand(32, 1, 14, 14)), torch.Generator().manual_seed(0)
            return [float(trained.step(batch, generator)["entropy"]) for _ in range(60)][-1]

        assert entropy_after_training("aae-entropy") > entropy_after_training("aae-gaussian") + 0.5

    @pytest.mark.parametrize("posterior", ["deterministic", "universal"])
    def test_an_unknown_entropy_has_no_weight(self, posterior: str) -> None:
        wanted = recipe("aae-entropy")
        objective = wanted.objective.model_copy(update={"posterior": posterior})
        with pytest.raises(InvalidRecipe, match="entropy_weight needs posterior = 'gaussian'"):
            build(wanted.model_copy(update={"objective": objective}), (1, 14, 14))


class TestStrokes:
    """What an image may get beside being turned, stretched, slanted and moved."""

    def changed(self, images: torch.Tensor, stroke: float) -> torch.Tensor:
        settings = augmentation.Settings(rotation=20.0, scale=0.2, shift=0.1, shear=0.2, stroke=stroke)
        return augmentation.change(images, settings, torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("size", [(28, 28), (14, 20), (9, 8)])
    def test_a_stroke_is_a_small_part_of_an_image(self, size: tuple[int, int]) -> None:
        covered = self.changed(torch.zeros(300, 1, *size), 1.0).mean((1, 2, 3))
        assert float(covered.min()) > 0.005
        assert float(covered.max()) < 0.12

    def test_it_is_added_to_the_share_of_images_that_is_asked_for(self) -> None:
        images = torch.rand(400, 1, 28, 28, generator=torch.Generator().manual_seed(1))
        without, half = self.changed(images, 0.0), self.changed(images, 0.5)
        assert bool((half >= without).all())
        assert float(half.max()) <= 1
        share = (half != without).flatten(1).any(1).float().mean()
        assert float(share) == pytest.approx(0.5, abs=0.1)


class TestMutualInformation:
    """Of 720 pairs of images, from the probabilities of their classes."""

    IMAGES = torch.arange(720)

    def of(self, first: torch.Tensor, second: torch.Tensor) -> float:
        pair = (torch.eye(6)[classes][:, None] for classes in (first, second))
        return float(mutual_information(*pair))

    def test_it_is_all_where_classes_are_alike_and_nothing_where_they_are_independent(self) -> None:
        assert self.of(self.IMAGES % 6, self.IMAGES % 6) == pytest.approx(math.log(6), abs=1e-4)
        assert self.of(self.IMAGES % 6, self.IMAGES // 120) == pytest.approx(0, abs=1e-4)

    def test_an_image_and_its_changed_one_are_to_be_in_the_same_class(self) -> None:
        """Each other class in turn says as much, but not of pairs either of which may be the changed one."""
        assert self.of(self.IMAGES % 6, (self.IMAGES + 1) % 6) == pytest.approx(math.log(3), abs=1e-4)

    def test_every_guess_has_its_own_and_merged_classes_less(self) -> None:
        """Two classes in one, and another in two which a changed image falls into as it likes."""
        merged = torch.where(self.IMAGES % 6 == 1, 0, self.IMAGES % 6)
        split = [torch.where((merged == 2) & (self.IMAGES // 6 % divisor == 0), 1, merged) for divisor in (2, 3)]
        good = torch.eye(6)[self.IMAGES % 6]
        found = mutual_information(*(torch.stack([good, torch.eye(6)[bad]], 1) for bad in split))
        assert found.tolist() == pytest.approx([math.log(6), self.of(*split)], abs=1e-5)
        assert float(found[1]) < float(found[0]) - 0.2


def losses_of(objective: str, prior: str, x: torch.Tensor, known: int = 0, **settings: Any) -> dict[str, Any]:
    """The losses of the first step on images, without dropout: those of networks that are the same each time."""
    torch.manual_seed(0)
    wanted = recipe(objective, prior, known)
    wanted = wanted.model_copy(update={"objective": wanted.objective.model_copy(update=settings)})
    _, trained = build(wanted, (1, 14, 14))
    trained.eval()
    label = torch.zeros(len(x), dtype=torch.int64) if known else None
    losses = trained.step(batch_of(x, label, known), torch.Generator().manual_seed(0))
    return {name: float(loss) for name, loss in losses.items()}


@pytest.mark.parametrize(
    ("objective", "prior", "known", "weights"),
    [
        ("aae-entropy", "gaussian", 0, {"generator": "adversarial_weight", "entropy": "entropy_weight"}),
        ("supervised", "categorical", 32, {"generator": "adversarial_weight", "label": "label_weight"}),
        ("aae-images", "gaussian", 0, {"generator": "adversarial_weight", "image_generator": 4.0}),
        (
            *("supervised-images", "categorical", 32),
            {"generator": "adversarial_weight", "label": "label_weight", "image_generator": 4.0},
        ),
        ("wae", "gaussian", 0, {"mmd": "mmd_weight"}),
        ("oneclass", "gaussian", 0, {"hog": "hog_weight", "generator": "adversarial_weight"}),
        (
            *("semi", "categorical", 4),
            {
                "generator": "adversarial_weight",
                "class_generator": "class_adversarial_weight",
                "balance": "balance_weight",
                "consistency": "consistency_weight",
                "label": "label_weight",
            },
        ),
    ],
)
def test_every_loss_weighs_what_the_recipe_says(
    objective: str, prior: str, known: int, weights: dict[str, str | float]
) -> None:
    """The entropy is not a loss: the more of it the better."""
    given = {weight: 2.0 + number for number, weight in enumerate(weights.values()) if isinstance(weight, str)}
    with mock.patch.object(BaseObjective, "update") as update:
        images = torch.rand(32, 1, 14, 14, generator=torch.Generator().manual_seed(0))
        losses = losses_of(objective, prior, images, known, **given)
    name, total = update.call_args.args
    signed = {**losses, "entropy": -losses.get("entropy", 0.0)}
    weighted = [signed[n] * (given[weight] if isinstance(weight, str) else weight) for n, weight in weights.items()]
    assert name == "autoencoder"
    assert float(total.detach()) == pytest.approx(losses["reconstruction"] + sum(weighted), rel=1e-5)


class TestSemi:
    IMAGES = torch.rand(32, 1, 14, 14, generator=torch.Generator().manual_seed(0))

    def test_an_image_is_a_target_if_it_is_sure_of_its_class_at_the_temperature(self) -> None:
        consistency = {
            t: losses_of("semi", "categorical", self.IMAGES, 4, confidence=0.999, temperature=t)["consistency"]
            for t in (1.0, 1e-4)
        }
        assert consistency[1.0] == 0
        assert consistency[1e-4] > 1

    def test_the_balance_is_how_far_the_classes_are_from_being_alike(self) -> None:
        torch.manual_seed(0)
        model, _ = build(recipe("semi", "categorical", 4), (1, 14, 14))
        model.eval()
        with torch.no_grad():
            mean = model.encode(self.IMAGES)["y"].mean(0)
        alike, found = (torch.distributions.Categorical(probs=p) for p in (torch.ones(10) / 10, mean))
        expected = float(torch.distributions.kl_divergence(found, alike))
        balance = losses_of("semi", "categorical", self.IMAGES, 4)["balance"]
        assert balance == pytest.approx(expected, abs=1e-5)

    def test_both_numbers_of_clusters_are_to_say_much_of_a_pair(self) -> None:
        """Here of pairs that are alike."""
        torch.manual_seed(0)
        model, _ = build(recipe("cluster", "categorical"), (1, 14, 14))
        with torch.no_grad():
            few = model.eval().encode(self.IMAGES)["y"][:, None]
            many = model.encoder(self.IMAGES)["over"].softmax(1)[:, None]
        expected = mutual_information(few, few) + mutual_information(many, many)
        still = augmentation.Settings(rotation=0, scale=0, shift=0, shear=0)
        found = losses_of("cluster", "categorical", self.IMAGES, augmentation=still)["consistency"]
        assert found == pytest.approx(-float(expected), rel=1e-3)

    def test_to_the_styles_discriminator_drawn_codes_have_the_classes_of_the_images(self) -> None:
        _, trained = build(recipe("semi", "categorical", 4), (1, 14, 14))
        seen: list[torch.Tensor] = []
        trained.get_submodule("discriminator").register_forward_hook(lambda _, given, __: seen.append(given[0]))
        trained.step(batch_of(self.IMAGES, torch.zeros(32).long(), known=4), torch.Generator().manual_seed(0))
        drawn, encoded = seen[0][:, 2:].chunk(2)
        assert torch.equal(drawn, encoded)


def test_of_one_class_only_what_is_restored_is_restored_from_noise() -> None:
    """The codes that the discriminator sees are those without, and so are the histograms that are to be restored."""
    x = torch.rand(32, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    clean, noisy = (losses_of("oneclass", "gaussian", x, corruption=corruption) for corruption in (0.0, 5.0))
    for name in ("discriminator", "generator"):
        assert noisy[name] == pytest.approx(clean[name], rel=1e-5), name
    assert noisy["reconstruction"] > clean["reconstruction"]
    assert noisy["hog"] < 10 * clean["hog"]


def test_to_the_discriminator_no_label_is_a_class_of_its_own() -> None:
    _, trained = build(recipe("aae-informed", "mixture", 2), (1, 14, 14))
    seen: list[torch.Tensor] = []
    trained.get_submodule("discriminator").register_forward_hook(lambda _, given, __: seen.append(given[0]))
    label = torch.tensor([5, 6, -1, -1, 3, 1])
    trained.step(batch_of(torch.rand(6, 1, 14, 14), label, known=2), torch.Generator().manual_seed(0))
    assert seen[0][:8, 2:].argmax(1).tolist() == [5, 6, 10, 10, 3, 1, 5, 6]


class TestVae:
    def test_it_decodes_a_draw_of_the_posterior_of_each_image(self) -> None:
        class Wide(nn.Module):
            def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
                return {"z": torch.ones(len(image), 3), "log_var": torch.full((len(image), 3), 2 * math.log(0.2))}

        _, trained = build(recipe("vae"), (1, 14, 14))
        trained.encoder = Wide()
        decoder = trained.get_submodule("decoder")
        with mock.patch.object(decoder, "logits", side_effect=decoder.logits) as logits:
            trained.step(batch_of(torch.rand(4000, 1, 14, 14)), torch.Generator().manual_seed(0))
        z = logits.call_args.args[0]
        assert torch.allclose(z.mean(0), torch.ones(3), atol=0.02)
        assert torch.allclose(z.std(0), torch.full((3,), 0.2), rtol=0.05)

    def test_the_kl_is_that_of_torch(self) -> None:
        mean, log_var = torch.randn(5, 3), torch.randn(5, 3)
        posterior = torch.distributions.Normal(mean, (log_var / 2).exp())
        for std in (1.0, 5.0):
            expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, std)).sum(1).mean()
            assert torch.allclose(gaussian_kl(mean, log_var, std), expected)

    def test_the_kl_of_the_prior_itself_is_zero(self) -> None:
        kl = gaussian_kl(torch.zeros(2, 3), torch.full((2, 3), 2 * math.log(5.0)), 5.0)
        assert float(kl) == pytest.approx(0, abs=1e-6)


class TestNetworks:
    @pytest.mark.parametrize("network", NETWORKS)
    @pytest.mark.parametrize("image", [(1, 28, 28), (3, 32, 32), (2, 8, 12), (1, 14, 14), (1, 13, 28), (3, 5, 3)])
    def test_shapes(self, image: tuple[int, int, int], network: str) -> None:
        model, _ = build(recipe("vae", network=network), image)
        codes = model.encoder(torch.rand(7, *image))
        assert {name: tuple(values.shape) for name, values in codes.items()} == {"z": (7, 3), "log_var": (7, 3)}
        assert model.decoder(codes["z"])["image"].shape == (7, *image)

    @pytest.mark.parametrize("network", NETWORKS)
    def test_graphs(self, network: str) -> None:
        model, _ = build(recipe("vae", network=network), (1, 13, 28))
        model.eval()
        inputs = {"encoder": {"image": torch.rand(5, 1, 13, 28)}, "decoder": {"z": torch.randn(5, 3)}}
        for role, given in inputs.items():
            part = getattr(model, role)
            expected = {name: values.detach().numpy() for name, values in part(**given).items()}
            session = onnxruntime.InferenceSession(to_onnx(part, given, list(expected), {}))
            outputs = session.run(list(expected), {name: values.numpy() for name, values in given.items()})
            for output, values in zip(outputs, expected.values(), strict=True):
                assert np.abs(output - values).max() < 1e-5
