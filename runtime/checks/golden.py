"""The golden file of a bundle: inputs, and PyTorch's own outputs for them, read without trusting its sizes."""

import io
import math
from typing import Final

import numpy as np

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.checks.parity import Array, golden_of
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.formats.npz import Npz

GOLDEN: Final = "golden.npz"
# For each number of an image, a code, noise and classes: eight times what export writes.
_MOST_BYTES: Final = 4096
# Whatever the manifest says: what export writes for colour images of 256 x 256 pixels takes 40 MB.
_MOST: Final = 1 << 27
_DTYPES: Final = (np.dtype(np.float32), np.dtype(np.uint8))


def read_golden(bundle: Bundle) -> Arrays:
    """The golden arrays "<graph>.<input or output>" of a bundle, float32 [n, ...], all of a graph with as many rows.

    Images that are kept as bytes are returned as floats in [0, 1].

    Raises:
        InvalidBundle: the file is missing or altered, not an .npz of such arrays, or would unpack to far more than
            such arrays take.
    """
    m = bundle.manifest
    most = min(_MOST, _MOST_BYTES * (math.prod(m.image.axes) + m.latent + m.noise + m.classes))
    content = bundle.read(GOLDEN, _MOST)
    try:
        npz = Npz(io.BytesIO(content), most)
        arrays = {name: _checked(npz.read(name)) for name in npz.names}
    except Exception as error:  # a damaged file raises whatever its reader meets first
        raise InvalidBundle(f"{GOLDEN} of {bundle.manifest.name} is not a file of arrays ({words_of(error)})") from None
    for role, precision in [(r, p) for r, graphs in bundle.manifest.graphs.items() for p in graphs]:
        given, expected = golden_of(role, arrays, precision)
        if not given or not expected or len({len(values) for values in (given | expected).values()}) != 1:
            raise InvalidBundle(
                f"{GOLDEN} of {bundle.manifest.name} lacks inputs or outputs of the {role}, "
                f"or does not have the same number of each; export the model again"
            )
    return arrays


def _checked(array: Array) -> Array:
    if not array.flags.c_contiguous or array.dtype not in _DTYPES or not array.shape or len(array) < 1:
        raise ValueError(f"an array is {str(array.dtype)[:40]} {list(array.shape)[:8]}, expected float32 or uint8 rows")
    return array / np.float32(255) if array.dtype == np.uint8 else array
