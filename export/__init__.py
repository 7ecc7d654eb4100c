"""From networks to a bundle: graphs, the parity gate, golden outputs, model card and catalogue.

    from aae_zoo.export import export_modules
    export_modules("mine", encoder=encoder, decoder=decoder, prior="fitted", images=images, out="mine")

Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import aae_zoo.runtime  # sets what ONNX Runtime reads when it is imported
import aae_zoo.zoo  # noqa: F401 - and what OpenMP reads

if TYPE_CHECKING:
    from aae_zoo.export.detecting.detector import make_detector
    from aae_zoo.export.detecting.findings import Detector
    from aae_zoo.export.making.make import Made, make_model
    from aae_zoo.export.own.export import export_modules
    from aae_zoo.export.own.modules import Facts, Modules
    from aae_zoo.export.own.pythae import from_pythae

_HOME = {
    "Detector": "detecting.findings",
    "Facts": "own.modules",
    "Made": "making.make",
    "Modules": "own.modules",
    "export_modules": "own.export",
    "from_pythae": "own.pythae",
    "make_detector": "detecting.detector",
    "make_model": "making.make",
}
__all__ = ["Detector", "Facts", "Made", "Modules", "export_modules", "from_pythae", "make_detector", "make_model"]


if not TYPE_CHECKING:  # to type checkers, a module with __getattr__ has every name

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
