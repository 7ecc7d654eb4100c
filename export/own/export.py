"""Anyone's PyTorch modules to a bundle, through the same gate as a recipe's."""

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, Unpack

import torch
from torch import Tensor, nn

from aae_zoo.export.bundling.bundle import write_bundle
from aae_zoo.export.bundling.graphs import round_weights
from aae_zoo.export.bundling.source import Source, Words
from aae_zoo.export.bundling.variants import check_precisions
from aae_zoo.export.own.behaviour import check_behaviour, check_prior, check_shapes
from aae_zoo.export.own.checks import check_facts, check_modules, networks
from aae_zoo.export.own.images import own_dataset, validation_count
from aae_zoo.export.own.modules import Facts, Modules
from aae_zoo.export.own.outputs import Mixture, OwnDecoder, OwnEncoder, OwnNetworks, OwnPrior, PriorWithClasses
from aae_zoo.export.proof.golden import golden_inputs
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.names import OWN_MODULES
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.escapes import words_of
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.measure.health import problems
from aae_zoo.zoo.measure.samples import batch_size
from aae_zoo.zoo.priors import BasePrior, fitted, gaussian
from aae_zoo.zoo.recipe import DataSettings
from aae_zoo.zoo.training.provenance import environment

# The most Gaussians of a fitted prior, the most numbers of their means together, which bounds what a row takes, and how
# many codes each has for a number of its mean.
_COMPONENTS: Final = 10
_NUMBERS: Final = 1000
_CODES: Final = 4
_SOME: Final = 64
_MENDS: Final = {
    "far": 'give prior="fitted", or train for longer with more weight on the prior',
    "alike": 'give prior="fitted", or train the decoder for longer',
    "blurred": "train them for longer, and give images such as they were trained on, prepared in the same way",
}


def export_modules(
    name: str,
    *,
    images: Any,
    out: str | PathLike[str],
    labels: Any = None,
    facts: Facts | None = None,
    variants: Sequence[str] = (),
    replace: bool = False,
    anyway: bool = False,
    **modules: Unpack[Modules],
) -> Manifest:
    """Export networks that were not trained here to the bundle folder `out`, which appears whole or not at all.

    `images` are such as the networks were trained on, [n, C, H, W], bytes or floats in [0, 1], a hundred or more; the
    networks' figures, the anomaly score's limits and a fitted prior are of them. They are taken as bytes. `labels` are
    the number or the name of a class for each of them. Or `images` are a `Dataset`, with its own test images and
    labels. `facts` are what the card says, `modules` the networks: see `Facts` and `Modules`. The networks stay as they
    are: copies in evaluation mode are exported, with their weights rounded to what float16 holds. `variants` and
    `replace` are as for a run; networks whose figures show that they do not work are exported only with `anyway`.

    Raises:
        InvalidInput: a network cannot be exported, or something else that is given is wrong; no bundle is written.
        CheckpointError, ParityError, OutputError: as for `export_bundle`.
    """
    check_precisions(variants)
    check_modules(modules)
    said = check_facts(name, facts or {})
    dataset = own_dataset(images, labels, said, modules.get("classes", ()))
    with torch.random.fork_rng([]), torch.no_grad():
        source = _source(name, dataset, said, modules)

    def check(metrics: Mapping[str, Any]) -> None:
        if not anyway and (found := problems(metrics, _MENDS)):
            raise InvalidInput(
                f"the networks do not work on these images, export them with anyway only: {'; '.join(found)}"
            )

    return write_bundle(source, Path(out), check, variants=variants, replace=replace, others={})


def _source(name: str, dataset: Dataset, facts: Facts, given: Modules) -> Source:
    copies, names = _copies(given), given.get("outputs", {})
    conditional = given.get("conditional", False)
    encoder = OwnEncoder(copies["encoder"], names)
    decoder = OwnDecoder(copies["decoder"], names, logits=given.get("logits", False), conditional=conditional)
    some, validation = to_float(dataset.test_images[:_SOME]), validation_count(dataset)
    latent, classes = check_shapes(encoder, decoder, some[:2])
    check_behaviour("encoder", encoder, {"image": some})
    labels = _class_names(given, dataset, classes)
    if "prior" in copies:
        prior = _given_prior(copies["prior"], given, latent, len(labels))
    else:
        z = (
            _gaussian(latent)
            if given.get("prior") == "gaussian"
            else _fitted(encoder, dataset.train_images[:-validation])
        )
        prior = PriorWithClasses(z, len(labels)) if conditional else z
    check_prior(prior, decoder)
    roles: dict[str, nn.Module] = {"encoder": encoder, "decoder": decoder, "prior": prior.eval()}
    for role, inputs in golden_inputs(prior, dataset.test_images).items():
        check_behaviour(role, roles[role], inputs)
    return Source(
        words=_words(name, facts),
        settings=DataSettings(dataset=dataset.name, validation=validation, labels=-1 if dataset.label_names else 0),
        dataset=dataset,
        labels=labels,
        networks=roles,
        measured=OwnNetworks(encoder, decoder, prior),
        prior=prior,
        whole=nn.ModuleDict({**copies, "prior": copies.get("prior", prior)}),
        whole_of={},
        provenance=_provenance(dataset, facts, given),
        figures={},
    )


def _words(name: str, facts: Facts) -> Words:
    return Words(
        name,
        facts.get("version", "1.0.0"),
        facts.get("title", name),
        facts.get("description", "An autoencoder of its author's own modules"),
        facts.get("licence", ""),
    )


def _provenance(dataset: Dataset, facts: Facts, given: Modules) -> dict[str, Any]:
    prior = given.get("prior", "fitted")
    return {
        "source": OWN_MODULES,
        "origin": facts.get("source", ""),
        "modules": {role: f"{type(m).__module__}.{type(m).__qualname__}" for role, m in networks(given)},
        **({"prior": prior} if isinstance(prior, str) else {}),
        "dataset_md5": dataset.md5s,
        **environment(torch.get_num_threads()),
    }


def _copies(given: Modules) -> dict[str, nn.Module]:
    """Copies of the networks in evaluation mode, their weights rounded, which share what the networks share."""
    own = dict(networks(given))
    try:
        copies: dict[str, nn.Module] = copy.deepcopy(own, _computed_weights(own))
    except Exception as error:  # of other people's code
        raise InvalidInput(
            f"the networks cannot be copied ({words_of(error)}); give modules that copy.deepcopy "
            "copies, with no tensors in them but parameters and buffers"
        ) from None
    round_weights(nn.ModuleDict(copies))
    return {role: module.eval() for role, module in copies.items()}


def _computed_weights(own: Mapping[str, nn.Module]) -> dict[int, Tensor]:
    """Copies, by their ids, of tensors that modules keep and compute of their weights, which deepcopy cannot copy.

    torch.nn.utils.weight_norm and spectral_norm leave them behind, and compute them anew in every forward.
    """
    kept = [v for module in own.values() for layer in module.modules() for v in vars(layer).values()]
    return {id(v): v.detach().clone() for v in kept if isinstance(v, Tensor) and not v.is_leaf}


def _class_names(given: Modules, dataset: Dataset, classes: int) -> tuple[str, ...]:
    """The names of the classes, as many as y has, or as the prior chooses from."""
    told = classes or getattr(given.get("prior"), "classes", 0)
    if not told and given.get("label_coordinate") is None:
        return ()
    names = tuple(given.get("classes", ())) or dataset.label_names or tuple(map(str, range(told)))
    if told and len(names) != told:
        raise InvalidInput(
            f"the networks know {told} classes, and there are {len(names)} names of classes; give classes=[...] with "
            "one for each, in the order of y"
        )
    if len(names) < 2 or len(set(names)) < len(names):
        raise InvalidInput(f"the classes are {list(names)[:20]}, expected two or more that differ; give classes=[...]")
    return names


def _given_prior(module: nn.Module, given: Modules, latent: int, classes: int) -> BasePrior:
    if isinstance(module, BasePrior):
        return module
    coordinate = given.get("label_coordinate")
    return OwnPrior(module, noise=given["noise"], latent=latent, classes=classes, label_coordinate=coordinate)


def _gaussian(latent: int) -> BasePrior:
    return gaussian.Prior(gaussian.Settings(kind="gaussian", size=latent))


def _fitted(encoder: OwnEncoder, images: Tensor) -> BasePrior:
    """A mixture of Gaussians fitted to the codes of images, uint8 [n, C, H, W]."""
    codes = torch.cat([encoder(to_float(part))["z"] for part in images.split(batch_size(images))])
    if not codes.isfinite().all():
        raise InvalidInput("the encoder's z holds numbers that are not finite for some of the images; train it again")
    latent = codes.shape[1]
    count = max(1, min(_COMPONENTS, _NUMBERS // latent, len(codes) // (_CODES * latent)))
    prior = Mixture(fitted.Settings(kind="fitted", size=latent, components=count))
    prior.fit(codes, seed=0)
    round_weights(prior)
    return prior
