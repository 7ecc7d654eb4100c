"""A small data set of two attributes: coloured shapes on a gray ground, 16 x 16 pixels."""

from typing import Final

import torch
from torch import Tensor

from aae_zoo.zoo.data.dataset import Attribute, Dataset

COLOURS: Final = ("red", "green", "blue")
SHAPES: Final = ("square", "ring")
ATTRIBUTES: Final = (Attribute("shape", SHAPES), Attribute("main colour", COLOURS))
SIDE: Final = 16


def shapes(training: int = 1200, test: int = 200) -> Dataset:
    """Random ones, shape, colour, and how bright shape and ground are, which is left to the style, independent."""
    generator = torch.Generator().manual_seed(0)
    count = training + test
    values = torch.stack([torch.randint(len(a.labels), (count,), generator=generator) for a in ATTRIBUTES], 1)
    bright = torch.randint(130, (count, 2), generator=generator)
    images = torch.stack([_draw(*row) for row in torch.cat([values, bright], 1).tolist()])
    return Dataset(
        name="shapes",
        train_images=images[:training],
        train_labels=torch.full((training,), -1),
        test_images=images[training:],
        test_labels=torch.full((test,), -1),
        label_names=(),
        md5s={"shapes": "0" * 32},
        attributes=ATTRIBUTES,
        train_attributes=values[:training],
        test_attributes=values[training:],
    )


def _draw(shape: int, colour: int, brightness: int, ground: int) -> Tensor:
    image = torch.full((3, SIDE, SIDE), ground, dtype=torch.uint8)
    image[:, 2:-2, 2:-2] = 0
    image[colour, 2:-2, 2:-2] = 125 + brightness
    if SHAPES[shape] == "ring":
        image[:, 5:-5, 5:-5] = ground
    return image
