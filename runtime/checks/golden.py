"""The golden file of a bundle: inputs, and PyTorch's own outputs for them, read without trusting its sizes."""

import io
import math
import zipfile
import zlib
from typing import Final

import numpy as np

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.manifest import ROLES
from aae_zoo.runtime.checks.parity import Array, golden_of
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.formats.arrays import Arrays

GOLDEN: Final = "golden.npz"
# For each number of an image, a code, noise and classes: eight times what export writes.
_MOST_BYTES: Final = 4096
_PACKED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DTYPES: Final = (np.dtype(np.float32), np.dtype(np.uint8))


def read_golden(bundle: Bundle) -> Arrays:
    """The golden arrays "<graph>.<input or output>" of a bundle, float32 [n, ...], all of a graph with as many rows.

    Images that are kept as bytes are returned as floats in [0, 1].

    Raises:
        InvalidBundle: the file is missing or altered, not an .npz of such arrays, or would unpack to far more than
            such arrays take.
    """
    content = bundle.read(GOLDEN)
    m = bundle.manifest
    most = _MOST_BYTES * (math.prod(m.image.axes) + m.latent + m.noise + len(m.labels))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > most:
                raise ValueError(f"its arrays have more than {most} bytes")
            if any(entry.compress_type not in _PACKED for entry in entries):
                raise ValueError("its arrays are not packed as .npz files are")
            arrays = {e.filename.removesuffix(".npy"): _array(archive.read(e)) for e in entries}
    except (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidBundle(f"{GOLDEN} of {bundle.manifest.name} is not a file of arrays ({error})") from None
    for role, precision in [(r, p) for r in ROLES for p in bundle.manifest.graphs[r]]:
        given, expected = golden_of(role, arrays, precision)
        if not given or not expected or len({len(values) for values in (given | expected).values()}) != 1:
            raise InvalidBundle(
                f"{GOLDEN} of {bundle.manifest.name} lacks inputs or outputs of the {role}, "
                f"or does not have the same number of each; export the model again"
            )
    return arrays


def _array(content: bytes) -> Array:
    """An array from the bytes of an .npy file, whose number must be what its header says."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"an array has the format {version}, expected 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    values = content[stream.tell() :]
    if fortran or dtype not in _DTYPES or not shape or shape[0] < 1 or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"an array of {dtype} {list(shape)[:8]} has {len(values)} bytes")
    array = np.frombuffer(values, dtype).reshape(shape)
    return array / np.float32(255) if dtype == np.uint8 else array
