"""Golden inputs and PyTorch's own outputs for them: what an exported graph must reproduce, anywhere."""

import copy
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data import to_float

ROWS: Final = 65
_SIGMAS: Final = 6.0

References = dict[str, NDArray[np.generic]]


def golden_inputs(model: Autoencoder, images: Tensor, seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """For each graph, 65 rows of each input by name, ordinary and extreme.

    Encoder: real images (uint8 [n, C, H, W]), black, white, and uniform noise. Prior: uniform noise and its
    borders. Decoder: codes of the prior, zeros, and uniform codes out to six standard deviations of the prior.
    """
    generator = torch.Generator().manual_seed(seed)
    some = images[torch.randperm(len(images), generator=generator)[:43]]
    static = torch.randint(256, (ROWS - len(some) - 2, *images.shape[1:]), generator=generator, dtype=torch.uint8)
    black_white = torch.stack([torch.zeros_like(images[0]), torch.full_like(images[0], 255)])

    noise = torch.rand(ROWS, model.prior.noise, generator=generator).clamp(2.0**-24, 1 - 2.0**-24)
    noise[-3:] = torch.tensor([2.0**-24, 0.5, 1 - 2.0**-24])[:, None]

    codes = model.prior.draw(ROWS, generator)
    extreme = (2 * torch.rand(21, model.prior.latent, generator=generator) - 1) * _SIGMAS * codes["z"].std()
    codes["z"] = torch.cat([codes["z"][: ROWS - 22], torch.zeros(1, model.prior.latent), extreme])
    return {
        "encoder": {"image": to_float(torch.cat([some, black_white, static]))},
        "decoder": codes,
        "prior": {"u": noise},
    }


@torch.no_grad()
def references(networks: Mapping[str, nn.Module], inputs: Mapping[str, Mapping[str, Tensor]]) -> References:
    """PyTorch's outputs in float32 and float64, with the inputs.

    Keys are "<graph>.<name>", and "<graph>.<name>.float64" for the float64 outputs. Networks are run as they
    stand: put them in evaluation mode first.
    """
    arrays: References = {}
    for role, network in networks.items():
        outputs = network(**inputs[role])
        exact = copy.deepcopy(network).double()(**{name: values.double() for name, values in inputs[role].items()})
        for name, values in {**inputs[role], **outputs}.items():
            arrays[f"{role}.{name}"] = values.numpy()
        for name, values in exact.items():
            arrays[f"{role}.{name}.float64"] = values.numpy()
    return arrays


def save_npz(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write an .npz whose bytes depend on the arrays alone, not on the time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, values in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(values), allow_pickle=False)
