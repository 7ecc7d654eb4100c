"""What TF32 does to the graphs of bundles that were exported before their manifests said it.

    python -m aae_zoo.export.release.tf32 NAMES...

run from the root of a checkout, writes it into the manifests of runtime/models, by default of all models there, and
nothing else: `make generated` then does the rest.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from aae_zoo.export.bundling.detector import Scaled
from aae_zoo.export.proof.tf32 import tf32_errors
from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import read_graph
from aae_zoo.runtime.bundles.names import DETECTOR, MANIFEST, ROLES
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.errors import AaeZooError
from aae_zoo.runtime.files import atomic_file
from aae_zoo.zoo import load_networks
from aae_zoo.zoo.build import build
from aae_zoo.zoo.detector import Detector
from aae_zoo.zoo.training.lite import LiteDecoder

_MODELS: Final = Path("runtime/models")


def networks_of(folder: Path) -> tuple[Bundle, dict[tuple[str, str], nn.Module]]:
    """A bundle, and what its graphs in float32 were made from, by role and precision, in evaluation mode.

    Raises:
        InvalidBundle: as for `load_networks`.
    """
    loaded = load_networks(folder)
    bundle, networks = loaded.bundle, {(role, "fp32"): getattr(loaded, role) for role in ROLES}
    image = bundle.manifest.image.axes
    if "lite" in bundle.manifest.graphs["decoder"]:
        weights = _initialisers(bundle, "decoder", "lite")
        lite = LiteDecoder(weights["coefficients.0.weight"].shape[1], image)
        networks["decoder", "lite"] = _with(lite, weights)
    if DETECTOR in bundle.manifest.graphs:
        detector = Detector(build(loaded.recipe, image)[0], image)
        scaled = Scaled(detector, usual=0, width=1, heat=1, contrast=1)
        networks[DETECTOR, "fp32"] = _with(scaled, _initialisers(bundle, DETECTOR, "fp32"))
    return bundle, networks


def _initialisers(bundle: Bundle, role: str, precision: str) -> dict[str, Tensor]:
    """The numbers that a graph keeps, by their names in the network, whatever type it stores them in."""
    graph = onnx.load_model_from_string(read_graph(bundle, role, precision).content).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    return {name.removesuffix(".float16").removesuffix(".int8"): torch.from_numpy(a) for name, a in arrays.items()}


def _with(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The network with those of the weights that are its own; what the graph does not use stays as it is."""
    network.load_state_dict({name: weights[name] for name in network.state_dict() if name in weights}, strict=False)
    return network.eval()


def record(folder: Path) -> None:
    """Write into the manifest of a bundle what TF32 does to its graphs.

    Raises:
        InvalidBundle: as for `load_networks`.
    """
    bundle, networks = networks_of(folder)
    manifest = dataclasses.replace(bundle.manifest, tf32=tf32_errors(networks, read_golden(bundle)))
    with atomic_file(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest.to_document(), indent=2) + "\n", "utf-8")


def main() -> int:
    """The command: status 1 where a bundle's networks cannot be had."""
    names = sys.argv[1:] or sorted(path.name for path in _MODELS.iterdir() if path.is_dir())
    try:
        for name in names:
            record(_MODELS / name)
    except AaeZooError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
