"""The codes of test images that a bundle keeps, read without trusting its sizes."""

import io
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.formats.npz import Npz

CODES_FILE: Final = "codes.npz"
# What export writes takes some 50 kB, and the names of the classes.
_MOST_CODES: Final = 1 << 22
# What else is kept of an image, a number each: older bundles do not have them.
FIGURES: Final = ("error", "distance", "contrast", "brightness")


class KeptCodes(NamedTuple):
    """Codes of test images, their classes' numbers `label` [n], or none of them, and the classes' `names`.

    `parts` are z float32 [n, latent], and where the bundle has them those of `FIGURES`, [n] each.
    """

    parts: Arrays
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
        if not sizes or not known:
            raise ValueError(f"z {z.shape}, label {label.shape}, names {names.shape}")
        figures = {name: saved.read(name) for name in FIGURES} if set(FIGURES) <= set(saved.names) else {}
        parts = {"z": _checked(z, z.shape)} | {name: _checked(values, z.shape[:1]) for name, values in figures.items()}
        texts = [str(name).encode().decode() for name in names]  # raises where there is half a character
        return KeptCodes(parts, label, texts)
    except InvalidBundle:
        raise
    except Exception as error:  # a damaged file raises whatever its reader meets first
        raise InvalidBundle(
            f"{CODES_FILE} of {bundle.manifest.name} is damaged ({words_of(error)}); export the model again"
        ) from None


def _checked(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if values.dtype.kind != "f" or values.shape != shape or not np.isfinite(values).all():
        raise ValueError(f"an array is {str(values.dtype)[:40]} {list(values.shape)[:8]}, expected finite floats")
    return values.astype(np.float32)
