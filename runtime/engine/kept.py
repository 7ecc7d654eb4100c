"""The codes of test images that a bundle keeps, read without trusting its sizes."""

import io
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.formats.decoded import reason
from aae_zoo.runtime.formats.npz import Npz

# Written by the export of a model with a 2-D code.
CODES_FILE: Final = "codes.npz"
# What export writes takes 10 kB, and the names of the classes.
_MOST_CODES: Final = 1 << 22


class KeptCodes(NamedTuple):
    """Codes z float32 [n, latent], their classes' numbers `label` [n], or none of them, and the classes' `names`."""

    z: NDArray[np.float32]
    label: NDArray[np.integer]
    names: list[str]


def read_kept_codes(bundle: Bundle) -> KeptCodes | None:
    """The codes that a bundle keeps, or None where it keeps none.

    Raises:
        InvalidBundle: the file is damaged.
    """
    if CODES_FILE not in bundle.manifest.files:
        return None
    try:
        saved = Npz(io.BytesIO(bundle.read(CODES_FILE, _MOST_CODES)), _MOST_CODES)
        z, label, names = (saved.read(key) for key in ("z", "label", "names"))
        known = label.dtype.kind in "iu" and set(np.unique(label)) <= set(range(len(names)))
        sizes = z.ndim == 2 and z.shape[1] == bundle.manifest.latent and label.shape in ((0,), z.shape[:1])
        if not sizes or not known or not np.isfinite(z).all():
            raise ValueError(f"z {z.shape}, label {label.shape}, names {names.shape}")
        texts = [str(name).encode().decode() for name in names]  # raises where there is half a character
        return KeptCodes(z.astype(np.float32), label, texts)
    except InvalidBundle:
        raise
    except Exception as error:  # a damaged file raises whatever its reader meets first
        raise InvalidBundle(
            f"{CODES_FILE} of {bundle.manifest.name} is damaged ({reason(error)}); export the model again"
        ) from None
