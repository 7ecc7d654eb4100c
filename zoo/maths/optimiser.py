"""Adam (Kingma and Ba, arXiv 1412.6980) with a short memory, as adversarial games and plain autoencoders want it."""

from collections.abc import Iterable
from typing import Final

from torch import nn
from torch.optim import Adam, Optimizer

# Adam's usual memory of 0.9 makes the two players of an adversarial game overshoot each other, and a plain
# autoencoder of few epochs learns faster with a shorter one too.
_BETAS: Final = (0.5, 0.99)


def adam(networks: Iterable[nn.Module], learning_rate: float) -> Optimizer:
    """One optimiser of all parameters of some networks."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return Adam(parameters, learning_rate, betas=_BETAS, fused=True)
