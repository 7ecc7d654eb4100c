"""The rows of pictures that compare: images and their reconstructions, walks, neighbours and classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.drawing.captions import Row, columns
from aae_zoo.runtime.latent.neighbours import Neighbours

Array = NDArray[np.float32]


def reconstructions(images: Array, again: Array, names: Sequence[str]) -> list[Row]:
    """Images [n, C, H, W] with their names, and below them their reconstructions with the squared error a pixel."""
    errors = np.square(again - images).mean((1, 2, 3))
    count = columns(images.shape[1:])
    parts = [slice(start, start + count) for start in range(0, len(images), count)]
    return [
        row
        for part in parts
        for row in (
            Row("original", images[part], [(name,) for name in names[part]]),
            Row("reconstruction", again[part], [(f"mse {error:.4f}",) for error in errors[part]]),
        )
    ]


def traversals(images: Array, walks: Array, values: Array, names: Sequence[str]) -> list[Row]:
    """Each image [n, C, H, W], and below it a row for each coordinate of its code, with the values that it takes.

    `walks` are [n * latent * steps, C, H, W], `values` [latent, steps].
    """
    each = walks.reshape(len(images), *values.shape, *images.shape[1:])
    return [
        row
        for image, name, moved in zip(images, names, each, strict=True)
        for row in (
            Row("original", image[None], [(name,)]),
            *(Row(f"z[{i}]", moved[i], [(f"{value:.2f}",) for value in values[i]]) for i in range(len(values))),
        )
    ]


def neighbours(
    images: Array, among: Array, found: Neighbours, names: Sequence[str], choice: Sequence[str]
) -> list[Row]:
    """Each image [n, C, H, W], and after it its neighbours, with their names and distances.

    `among` are the images [n * k, C, H, W] of the neighbours, and `choice` the names of all that there were to choose.
    """
    k, count = found.numbers.shape[1], columns(images.shape[1:])
    rows = []
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        shown = np.concatenate([image[None], among[number * k : (number + 1) * k]])
        pairs = zip(found.numbers[number].tolist(), found.distances[number].tolist(), strict=True)
        below = [(name, "given"), *((choice[other], f"distance {distance:#.3g}") for other, distance in pairs)]
        rows += [Row("", shown[i : i + count], below[i : i + count]) for i in range(0, k + 1, count)]
    return rows


def classes(images: Array, labels: Sequence[str], name: str = "") -> list[Row]:
    """Images [rows * labels, C, H, W], class by class along each row, with the names of the classes below the last.

    What they are classes of is said by `name`.
    """
    each = images.reshape(-1, len(labels), *images.shape[1:])
    return [*(Row(name, row) for row in each[:-1]), Row(name, each[-1], [(label,) for label in labels])]
