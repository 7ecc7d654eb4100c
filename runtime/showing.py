"""How results are looked at: images side by side in one picture, and a model in a notebook."""

import io
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.bundles.names import metric_text
from aae_zoo.runtime.drawing.grid import grid as draw_grid
from aae_zoo.runtime.errors import InvalidInput, whole
from aae_zoo.runtime.escapes import html_text
from aae_zoo.runtime.formats.arrays import as_array, contiguous_float32
from aae_zoo.runtime.formats.images import check_range
from aae_zoo.runtime.notebook import facts
from aae_zoo.runtime.words import counted

_MOST_LABELS: Final = 12
# The figures that say most, and what they are called.
_FIGURES: Final = {
    "mse": "squared error per pixel",
    "error": "test images with a wrong class, percent",
    "frechet": "Fréchet distance of samples",
    "anomaly_auroc": "AUROC of the anomaly score",
}


def grid(images: Any, columns: int | None = None, *, scale: int | None = None) -> Image.Image:
    """One picture of images [n, C, H, W], floats in [0, 1] as models give them, row by row.

    There are `columns` in a row, by default as many as make it as square as can be. Each pixel becomes `scale` x
    `scale` pixels, by default as many as make a small grid about 480 pixels wide. Between images are 2 black pixels,
    scaled alike.

    Raises:
        InvalidInput: another shape or dtype, a value outside [0, 1], a number below 1, or the picture would have more
            than 2^30 pixels.
    """
    array = as_array(images, "the images")
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not array.size:
        raise InvalidInput(
            f"the images have shape {list(array.shape)}, expected [n, C, H, W] with n >= 1 and C 1 (gray) or 3 (colour)"
        )
    if array.dtype.kind != "f":
        raise InvalidInput(f"the images have dtype {array.dtype}, expected floats in [0, 1]; divide bytes by 255")
    columns = columns if columns is None else min(_at_least_1(columns, "columns"), len(array))
    scale = scale if scale is None else _at_least_1(scale, "scale")
    return draw_grid(check_range(contiguous_float32(array)), columns, scale=scale)


def model_html(manifest: Manifest, samples: NDArray[np.float32]) -> str:
    """What a model is in HTML: samples of it, and a table of what they are samples of."""
    stream = io.BytesIO()
    grid(samples, 8).save(stream, "PNG")
    url = f"data:image/png;base64,{b64encode(stream.getvalue()).decode()}"
    alt = html_text(f"{counted(len(samples), 'sample')} of {manifest.name}")
    return f'<div><img alt="{alt}" src="{url}">{facts(_facts(manifest))}</div>'


def _facts(manifest: Manifest) -> dict[str, str]:
    figures = {name: manifest.metrics.get(key) for key, name in _FIGURES.items()}
    return {
        "name": f"{manifest.name} {manifest.version}",
        "title": manifest.title,
        "description": manifest.description,
        "images": f"{manifest.image}, {manifest.dataset}",
        "code": f"{manifest.latent}-D",
        **{attribute.name: _some(attribute.labels) for attribute in manifest.attributes},
        **({} if manifest.attributes else {"labels": _some(manifest.labels) or "none"}),
        **{name: metric_text(value) for name, value in figures.items() if isinstance(value, int | float)},
        "licence": manifest.licence,
        "licence of the data": manifest.data_licence or "not known",
    }


def _some(labels: Sequence[str]) -> str:
    more = len(labels) - _MOST_LABELS
    return ", ".join(labels[:_MOST_LABELS]) + (f" and {more} more" if more > 0 else "")


def _at_least_1(value: Any, name: str) -> int:
    if (number := whole(value, name)) < 1:
        raise InvalidInput(f"{name} is {number}, expected a whole number, 1 or more")
    return number
