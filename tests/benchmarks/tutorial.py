"""The training loop of the tutorial, with its mistakes mended (docs/tutorial.md): what our step is measured against.

Three passes a batch, each with its own forward pass of the encoder, over a DataLoader of torchvision's MNIST.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def network(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(inputs, 1000), nn.Dropout(dropout), nn.ReLU()),
        *(nn.Linear(1000, 1000), nn.Dropout(dropout), nn.ReLU()),
        nn.Linear(1000, outputs),
    )


def steps(data: Path, batch: int = 100) -> Iterator[None]:
    """Train for ever; one item a step."""
    torch.manual_seed(10)
    q, p, d = network(784, 2, 0.25), network(2, 784, 0.25), network(2, 1, 0.2)
    p_optimiser = torch.optim.Adam(p.parameters(), 0.0006)
    q_reconstruction = torch.optim.Adam(q.parameters(), 0.0006)
    q_generator = torch.optim.Adam(q.parameters(), 0.0008)
    d_optimiser = torch.optim.Adam(d.parameters(), 0.0008)
    images = datasets.MNIST(str(data), train=True, transform=transforms.ToTensor())
    while True:
        for x, _ in DataLoader(images, batch, shuffle=True):
            x = x.flatten(1)
            p_optimiser.zero_grad()
            q_reconstruction.zero_grad()
            F.binary_cross_entropy(p(q(x)).sigmoid(), x, reduction="sum").div(len(x)).backward()
            p_optimiser.step()
            q_reconstruction.step()

            q.eval()
            d_optimiser.zero_grad()
            real, fake = d(torch.randn(len(x), 2)), d(q(x).detach())
            (F.softplus(-real).mean() + F.softplus(fake).mean()).backward()
            d_optimiser.step()

            q.train()
            q_generator.zero_grad()
            F.softplus(-d(q(x))).mean().backward()
            q_generator.step()
            yield
