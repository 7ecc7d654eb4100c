"""What an image looks like by its edges: histograms of oriented gradients, little moved by how it is lit or drawn.

N. Dalal and B. Triggs, "Histograms of oriented gradients for human detection", CVPR 2005, here of overlapping cells on
two grids; the square root is that of R. Arandjelović and A. Zisserman, "Three things everyone should know to improve
object retrieval", CVPR 2012: distances then are Hellinger's, in which one strong edge does not drown all others.
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_DIRECTIONS: Final = 8
# About how many cells a side of the image has, on the fine grid and on the coarse one.
_GRIDS: Final = (7, 4)
# What is weaker is no edge of a picture of 8 bits, but rounding, in which engines differ on flat parts.
LEAST_EDGE: Final = 1e-3
# Edges weaker than this count as noise of the flat parts of a picture; and what keeps the root smooth at 0.
_WEAK, _SMOOTH = 1e-3, 1e-4


class OrientedGradients(nn.Module):
    """Images [n, C, H, W] in [0, 1] to their oriented gradients [n, size], each from 0.01 to 1.74.

    They stand grid by grid; on each, direction by direction; `grids` are the grids' heights and widths. Of colours,
    the gradients are added; one below `least_edge`, of at most 1, is none. Made of plain operators, so that it can be a
    part of a graph.
    """

    edges: Tensor
    threshold: Tensor

    def __init__(self, image: Sequence[int], least_edge: float = LEAST_EDGE) -> None:
        super().__init__()
        self.channels, height, width = image
        self.side = (height, width)
        self.strides = [tuple(max(1, round(side / cells)) for side in (height, width)) for cells in _GRIDS]
        self.grids = [(_cells(height, down), _cells(width, across)) for down, across in self.strides]
        self.size = _DIRECTIONS * sum(map(math.prod, self.grids))
        self.register_buffer("edges", _edges(), persistent=False)
        self.register_buffer("threshold", torch.full((_DIRECTIONS,), -least_edge), persistent=False)
        for number, (down, across) in enumerate(self.strides):
            window = (_ramp(down)[:, None] * _ramp(across)).repeat(_DIRECTIONS, 1, 1, 1)
            self.register_buffer(f"window{number}", window, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The square roots of every cell's normalised strengths of edges, by direction."""
        planes = image.reshape(-1, 1, *image.shape[2:])
        strengths = F.conv2d(planes, self.edges, self.threshold, padding=1).relu()
        if self.channels > 1:
            strengths = strengths.reshape(-1, self.channels, *strengths.shape[1:]).sum(1)
        return torch.cat([self._gathered(strengths, number).flatten(1) for number in range(len(self.grids))], dim=1)

    def by_cell(self, values: Tensor) -> Tensor:
        """What forward gives, or values of that shape, added up over the directions: [n, cells], grid by grid."""
        fine = _DIRECTIONS * math.prod(self.grids[0])
        # Slices, because some engines know only the Split of older opsets.
        parts = values[:, :fine], values[:, fine:]
        return torch.cat([part.unflatten(1, (_DIRECTIONS, -1)).sum(1) for part in parts], dim=1)

    def spread(self) -> Tensor:
        """How cells lie over the pixels, [cells, H * W]: with one value in all cells, each pixel has it."""
        parts = [
            F.interpolate(torch.eye(math.prod(grid)).unflatten(1, (1, *grid)), self.side, mode="bilinear").flatten(1)
            for grid in self.grids
        ]
        return torch.cat(parts) / len(parts)

    def _gathered(self, strengths: Tensor, number: int) -> Tensor:
        """Strengths [n, directions, H, W] gathered in the cells of a grid, by the strength of the nine around each."""
        (down, across), window = self.strides[number], getattr(self, f"window{number}")
        cells = F.conv2d(strengths, window, stride=(down, across), padding=(down // 2, across // 2), groups=_DIRECTIONS)
        around = F.avg_pool2d(cells.square().sum(1, keepdim=True), 3, stride=1, padding=1)
        return (cells / (around + _WEAK).sqrt() + _SMOOTH).sqrt()


def _edges() -> Tensor:
    """Sobel's filters turned to each direction: [directions, 1, 3, 3]."""
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    angles = torch.arange(_DIRECTIONS)[:, None, None] * (2 * math.pi / _DIRECTIONS)
    return (angles.cos() * across + angles.sin() * across.T)[:, None]


def _cells(side: int, stride: int) -> int:
    """How many cells there are along a side: what a convolution with the window of `_ramp` and its padding gives."""
    return (side + 1 - stride % 2) // stride


def _ramp(stride: int) -> Tensor:
    """Weights [2 stride - 1] that rise to the middle of a cell and fall to the middles of its neighbours."""
    rising = torch.arange(1.0, stride + 1) / stride**2
    return torch.cat([rising, rising[:-1].flip(0)])
