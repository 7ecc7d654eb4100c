"""What `export_modules` takes: someone's networks, how they are to be read, and what is known of them."""

from collections.abc import Mapping, Sequence
from typing import Literal, Required, TypedDict

from torch import nn


class Modules(TypedDict, total=False):
    """Networks of a model, as `export_modules` takes them and as a factory of the command line returns them.

    encoder           images [n, C, H, W] in [0, 1] to codes z [n, latent], and maybe log_var [n, latent] and y [n,
                      classes], probabilities: a tensor, which is z, or a tuple, dict or dataclass
    decoder           z, and y as second argument where `conditional`, to images [n, C, H, W] in [0, 1]: a tensor, or
                      a tuple, dict or dataclass
    prior             "gaussian", N(0, I); "fitted", a mixture of Gaussians fitted to codes of images, the default; or a
                      module from uniform noise u [n, noise] in (0, 1) to z, or where `conditional` to z and y
    noise             how many numbers a prior that is a module takes
    label_coordinate  the one of them that chooses the class, (k + uniform) / classes for class k
    logits            whether the decoder gives images before the sigmoid, by default not
    conditional       whether the decoder takes y, by default not
    classes           the names of the classes in the order of y, by default those of the labels, or numbers
    outputs           what networks call their outputs, by our names z, log_var, y and image: a key of a dict, a field
                      of a dataclass, or a place in a tuple; those that have our names need no mention
    image             (C, H, W) of an image, for pictures of other sizes to be made to fit on the command line
    """

    encoder: Required[nn.Module]
    decoder: Required[nn.Module]
    prior: Literal["gaussian", "fitted"] | nn.Module
    noise: int
    label_coordinate: int
    logits: bool
    conditional: bool
    classes: Sequence[str]
    outputs: Mapping[str, str | int]
    image: tuple[int, int, int]


class Facts(TypedDict, total=False):
    """What a model's card says of it; all are texts of one line.

    title         by default the name
    description   what it does
    version       of the model, by default 1.0.0
    licence       of the weights
    dataset       what the images are called, a plain name
    data_licence  of the images
    source        where the networks are from: a repository, a paper
    """

    title: str
    description: str
    version: str
    licence: str
    dataset: str
    data_licence: str
    source: str
