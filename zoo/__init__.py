"""Train autoencoders from recipes: data, networks, priors, objectives, training and metrics, in PyTorch.

    from aae_zoo.zoo import load_networks
    networks = load_networks("mnist-gauss8")
    codes = networks.encoder(images)["z"]  # ordinary modules, to train further

Names are imported when they are first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aae_zoo.zoo.bundled.networks import BundleNetworks, load_networks
    from aae_zoo.zoo.bundled.pretrained import PretrainedAutoencoder

__all__ = ["BundleNetworks", "PretrainedAutoencoder", "load_networks"]

# OpenMP's threads wait for each other by spinning. Where another process has one of the CPUs, they spin for as long as
# one of them does not run, and training takes many times as long. OpenMP reads this when PyTorch is imported, so it is
# set before any file of this package does that, unless the user has set it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


if not TYPE_CHECKING:  # to type checkers, a module with __getattr__ has every name

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = "pretrained" if name == "PretrainedAutoencoder" else "networks"
        return getattr(import_module(f"{__name__}.bundled.{module}"), name)


def __dir__() -> list[str]:
    return __all__
