"""Anyone's PyTorch modules to a bundle, through the same gate as a recipe's."""

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, Unpack, cast

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
from aae_zoo.runtime.bundles.manifest import OWN_MODULES, Manifest
from aae_zoo.runtime.errors import InvalidInput
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
_SOME: Final = 2
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
    encoder = OwnEncoder(copies["encoder"], names)
    decoder = OwnDecoder(
        copies["decoder"],
        names,
        logits=given.get("logits", False),
        conditional=given.get("conditional", False),
    )
    latent, classes = check_shapes(encoder, decoder, to_float(dataset.test_images[:_SOME]))
    labels = _class_names(given, dataset, classes)
    validation = validation_count(dataset)
    codes = _codes(encoder, dataset.train_images[:-validation])
    prior = _prior(copies.get("prior"), given, latent, len(labels), codes)
    check_prior(prior, decoder)
    whole = nn.ModuleDict({**copies, "prior": copies.get("prior", prior)})
    round_weights(prior)
    roles = {role: network.eval() for role, network in (("encoder", encoder), ("decoder", decoder), ("prior", prior))}
    for role, inputs in golden_inputs(prior, dataset.test_images).items():
        check_behaviour(role, roles[role], inputs)
    return Source(
        words=Words(
            name,
            facts.get("version", "1.0.0"),
            facts.get("title", name),
            facts.get("description", "An autoencoder of its author's own modules"),
            facts.get("licence", ""),
        ),
        settings=DataSettings(dataset=dataset.name, validation=validation, labels=-1 if dataset.label_names else 0),
        dataset=dataset,
        labels=labels,
        networks=roles,
        measured=OwnNetworks(encoder, decoder, prior),
        prior=prior,
        whole=whole,
        whole_of={},
        provenance={
            "source": OWN_MODULES,
            "origin": facts.get("source", ""),
            "modules": {role: _called(module) for role, module in networks(given)},
            **({} if "prior" in copies else {"prior": given.get("prior", "fitted")}),
            "dataset_md5": dataset.md5s,
            **environment(torch.get_num_threads()),
        },
        figures={},
    )


def _copies(given: Modules) -> dict[str, nn.Module]:
    """Copies of the networks in evaluation mode, their weights rounded, which share what the networks share."""
    own = dict(networks(given))
    try:
        copies: dict[str, nn.Module] = copy.deepcopy(own)
    except Exception as error:  # of other people's code
        raise InvalidInput(
            f"the networks cannot be copied ({' '.join(str(error).split())[:200]}); give modules that copy.deepcopy "
            "copies, with no tensors in them but parameters and buffers"
        ) from None
    round_weights(nn.ModuleDict(copies))
    return {role: module.eval() for role, module in copies.items()}


def _class_names(given: Modules, dataset: Dataset, classes: int) -> tuple[str, ...]:
    """The names of the classes, as many as y has, or as the prior chooses from."""
    names = tuple(given["classes"]) if "classes" in given else ()
    if not classes and given.get("label_coordinate") is None:
        return ()
    names = names or dataset.label_names or tuple(map(str, range(classes)))
    if classes and len(names) != classes:
        raise InvalidInput(
            f"the encoder's y has {classes} classes, and there are {len(names)} names of classes; give classes=[...] "
            "with one for each, in the order of y"
        )
    if len(names) < 2 or len(set(names)) < len(names) or not all(isinstance(each, str) and each for each in names):
        raise InvalidInput(
            f"the classes are {list(names)[:20]}, expected two or more names that differ; give classes=[...]"
        )
    return names


def _codes(encoder: OwnEncoder, images: Tensor) -> Tensor:
    codes = torch.cat([encoder(to_float(part))["z"] for part in images.split(batch_size(images))])
    if not codes.isfinite().all():
        raise InvalidInput("the encoder's z holds numbers that are not finite for some of the images; train it again")
    return codes


def _prior(module: nn.Module | None, given: Modules, latent: int, classes: int, codes: Tensor) -> BasePrior:
    """The prior that is asked for, of codes z [n, latent], and of classes too where the decoder takes them."""
    if module is not None:
        noise = given["noise"] if "noise" in given else cast(int, module.noise)
        if isinstance(module, BasePrior):
            return module
        return OwnPrior(
            module, noise=noise, latent=latent, classes=classes, label_coordinate=given.get("label_coordinate")
        )
    if given.get("prior") == "gaussian":
        prior: BasePrior = gaussian.Prior(gaussian.Settings(kind="gaussian", size=latent))
    else:
        count = max(1, min(_COMPONENTS, _NUMBERS // latent, len(codes) // (_CODES * latent)))
        prior = Mixture(fitted.Settings(kind="fitted", size=latent, components=count))
        prior.fit(codes, seed=0)
    return PriorWithClasses(prior, classes) if given.get("conditional") else prior


def _called(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
