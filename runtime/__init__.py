"""Run the models of aae-zoo with numpy and ONNX Runtime, without PyTorch.

    from aae_zoo.runtime import load
    model = load("mnist-gauss")
    images = model.sample(64, seed=0)   # float32 [64, 1, 28, 28] in [0, 1]

Names are imported when they are first used, so that listing models loads neither numpy nor ONNX Runtime.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aae_zoo.runtime.bundles.manifest import Manifest
    from aae_zoo.runtime.engine.session import share_threads
    from aae_zoo.runtime.errors import (
        AaeZooError,
        DeviceUnavailable,
        HubError,
        InvalidBundle,
        InvalidInput,
        MissingBackend,
        ModelNotFound,
        OutputError,
    )
    from aae_zoo.runtime.formats.stream import Stream
    from aae_zoo.runtime.latent.classes import Classes
    from aae_zoo.runtime.latent.drift import Drift
    from aae_zoo.runtime.latent.neighbours import Neighbours
    from aae_zoo.runtime.latent.score import Scores
    from aae_zoo.runtime.model import Model, load
    from aae_zoo.runtime.showing import grid
    from aae_zoo.runtime.store.catalogue import CatalogueEntry, find_model, list_models

# When it is imported, ONNX Runtime 1.32 writes a device ID and a database of events into the user's cache, and later it
# looks up a telemetry host, offline or not. Set here, before any file of this project or a child process imports it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "AaeZooError",
    "CatalogueEntry",
    "Classes",
    "DeviceUnavailable",
    "Drift",
    "HubError",
    "InvalidBundle",
    "InvalidInput",
    "Manifest",
    "MissingBackend",
    "Model",
    "ModelNotFound",
    "Neighbours",
    "OutputError",
    "Scores",
    "Stream",
    "find_model",
    "grid",
    "list_models",
    "load",
    "share_threads",
]

_HOME = {
    "CatalogueEntry": "store.catalogue",
    "Classes": "latent.classes",
    "Drift": "latent.drift",
    "find_model": "store.catalogue",
    "grid": "showing",
    "list_models": "store.catalogue",
    "Manifest": "bundles.manifest",
    "Model": "model",
    "load": "model",
    "Neighbours": "latent.neighbours",
    "Scores": "latent.score",
    "Stream": "formats.stream",
    "share_threads": "engine.session",
}


if not TYPE_CHECKING:  # to type checkers, a module with __getattr__ has every name

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return __all__
