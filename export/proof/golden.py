"""Golden inputs and PyTorch's own outputs for them: what an exported graph must reproduce, anywhere."""

import copy
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aae_zoo.zoo.data.dataset import to_float
from aae_zoo.zoo.priors import BasePrior

_SIGMAS: Final = 6.0
_LEAST: Final = 2.0**-24
# Of images with more numbers than 32 x 32 in colour has, the file keeps fewer that the decoder drew: they would be the
# largest part of a bundle.
_LARGE: Final = 3 * 32 * 32

References = dict[str, NDArray[np.generic]]


def golden_inputs(prior: BasePrior, images: Tensor) -> dict[str, dict[str, Tensor]]:
    """For each graph, rows of each input by name, ordinary and extreme.

    Encoder, 64: real images (uint8 [n, C, H, W]), black, white, and uniform noise. Prior, 64: uniform noise and its
    borders. Decoder, 32: codes of the prior, zeros, ones, and uniform codes out to six standard deviations of the
    prior, in each coordinate and beyond the usual norm of a code; where it takes classes, those rows have random
    probabilities instead of one class.
    """
    generator = torch.Generator().manual_seed(0)
    some = images[torch.randperm(len(images), generator=generator)[:42]]
    static = torch.randint(256, (62 - len(some), *images.shape[1:]), generator=generator, dtype=torch.uint8)
    black_white = torch.stack([torch.zeros_like(images[0]), torch.full_like(images[0], 255)])

    noise = torch.rand(64, prior.noise, generator=generator).clamp(_LEAST, 1 - _LEAST)
    noise[-3:] = torch.tensor([_LEAST, 0.5, 1 - _LEAST])[:, None]
    return {
        "encoder": {"image": to_float(torch.cat([some, black_white, static]))},
        "decoder": _codes(prior, generator),
        "prior": {"u": noise},
    }


@torch.no_grad()
def _codes(prior: BasePrior, generator: torch.Generator) -> dict[str, Tensor]:
    codes = prior.draw(32, generator)
    z = codes["z"]
    extreme = (2 * torch.rand(14, z.shape[1], generator=generator) - 1) * _SIGMAS * z.std()
    # Of many coordinates that are uniform so far out the norm would be many times what any code has.
    furthest = (math.sqrt(z.shape[1]) + _SIGMAS) * z.std()
    extreme = extreme * (furthest / extreme.norm(dim=1, keepdim=True)).clamp(max=1)
    codes["z"] = torch.cat([z[:16], torch.zeros_like(z[:1]), torch.ones_like(z[:1]), extreme])
    if "y" in codes:
        logits = torch.randn(16, codes["y"].shape[1], generator=generator)
        parts = logits.split([*prior.widths] or logits.shape[1], 1)
        codes["y"][16:] = torch.cat([part.softmax(1) for part in parts], 1)
    return codes


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


def golden_file(arrays: Mapping[str, NDArray[np.generic]]) -> References:
    """What golden.npz keeps of references: all but float64, and images given as bytes / 255 as those bytes.

    Of large images every other of the decoder's rows, or fewer, with the last one, which is the worst that was found.
    """
    every = max(1, arrays["decoder.image"][0].size // _LARGE)
    of_decoder = slice((len(arrays["decoder.image"]) - 1) % every, None, every)
    rows = {key: values[of_decoder] if key.startswith("decoder.") else values for key, values in arrays.items()}
    kept = {key: values for key, values in rows.items() if not key.endswith(".float64")}
    for key in ("encoder.image", "detector.image"):
        if key in kept:
            kept[key] = np.rint(255 * kept[key].astype(np.float64)).astype(np.uint8)
    return kept


def save_npz(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write an .npz whose bytes depend on the arrays alone, not on the time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, values in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(values), allow_pickle=False)
