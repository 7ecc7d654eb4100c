"""Picture files to pixels of one shape: whatever their size, colours, transparency and orientation."""

import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from aae_zoo.runtime.errors import DatasetError

DATASET_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
# Decoded, on white and cut, a pixel takes up to 20 bytes, so many of them 1.3 GB; a telephone takes pictures of 48
# million.
_MOST_PIXELS: Final = 1 << 26
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


def read_pictures(paths: list[Path], size: int, channels: int) -> Tensor:
    """Picture files as uint8 [n, channels, size, size], with a progress bar on stderr.

    Raises:
        DatasetError: a file cannot be read as a picture.
    """
    images = torch.empty(len(paths), channels, size, size, dtype=torch.uint8)
    for row, path in zip(images, progress(paths, "pictures"), strict=True):
        pixels = torch.from_numpy(np.array(_read(path, size, channels)))
        row.copy_(pixels.reshape(size, size, channels).permute(2, 0, 1))
    return images


def progress(paths: list[Path], what: str) -> "tqdm[Path]":
    """The paths one by one, with a progress bar on stderr where a person looks at it."""
    return tqdm(paths, desc=what, unit="file", disable=not sys.stderr.isatty())


def _read(path: Path, size: int, channels: int) -> Image.Image:
    """The central square of a picture's first frame, upright, on white, in size x size pixels of gray or RGB."""
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            opened.draft(None, (2 * size, 2 * size))  # a JPEG much larger than that is decoded at a part of its size
            if opened.width * opened.height > _MOST_PIXELS:
                raise ValueError(f"it has {opened.width} x {opened.height} pixels, expected at most {_MOST_PIXELS}")
            picture = _on_white(_in_bytes(ImageOps.exif_transpose(opened)))
            picture = picture.convert("L" if channels == 1 else "RGB")
            return ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    except Exception as error:  # a damaged file raises whatever its decoder meets first
        raise DatasetError(
            f"{path} cannot be read as a picture ({error or type(error).__name__}); remove it, or get it again"
        ) from None


def _in_bytes(picture: Image.Image) -> Image.Image:
    """A gray picture of 16 bits a pixel in 8, which Pillow would cut off at 255 instead of scaling."""
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers, expected whole ones")
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    colours = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
