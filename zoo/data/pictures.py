"""Picture files to pixels of one shape, prepared as the runtime prepares them for the model that is trained on them."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION, ImageShape, Preparation
from aae_zoo.runtime.errors import DatasetError, InvalidInput
from aae_zoo.runtime.formats.pictures import read_picture
from aae_zoo.runtime.formats.plan import Notices, Plan, on_light
from aae_zoo.zoo.bars import bar

# The share of images with a ground that is taken for that of all of them, and how many are looked at at a time.
_NEARLY_ALL: Final = 0.95
_LOOKED_AT: Final = 1024


def read_pictures(
    paths: list[Path],
    size: int,
    channels: int,
    preparation: Preparation = USUAL_PREPARATION,
    failed: dict[Path, str] | None = None,
) -> Tensor:
    """Picture files as uint8 [n, channels, size, size], with a progress bar on stderr.

    A file that cannot be read as a picture goes into `failed`, with why, and its image is black.

    Raises:
        DatasetError: a file cannot be read, and `failed` is not given.
    """
    plan = Plan(ImageShape(channels, size, size), preparation, resize=True, invert="no")
    notices = Notices(quiet=True)
    images = torch.empty(len(paths), channels, size, size, dtype=torch.uint8)
    for row, path in zip(images, progress(paths, "pictures"), strict=True):
        try:
            row.copy_(torch.from_numpy(read_picture(path, plan, notices).copy()))
        except InvalidInput as error:
            if failed is None:
                raise DatasetError(f"{error}, remove it, or get it again") from None
            failed[path] = str(error)
            row.zero_()
    notices.tell()
    return images


def polarity(images: Tensor) -> str:
    """The ground that nearly all images uint8 [n, C, H, W] are on, "dark" or "light", or "any"."""
    dark = light = 0
    for part in images.split(_LOOKED_AT):
        gray = part.numpy().mean(axis=1, dtype=np.float32) / 255
        dark, light = dark + int(on_light(1 - gray).sum()), light + int(on_light(gray).sum())
    found = {"dark": dark, "light": light}
    return next((name for name, count in found.items() if count >= _NEARLY_ALL * len(images)), "any")


def progress(paths: list[Path], what: str) -> "tqdm[Path]":
    """The paths one by one, with a progress bar on stderr where a person looks at it."""
    return bar(paths, desc=what, unit="file")
