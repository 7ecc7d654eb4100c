"""The game between a discriminator D and a generator, an encoder or a decoder: both losses, in non-saturating form.

Goodfellow et al., "Generative adversarial nets" (arXiv 1406.2661), section 3, on logits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def discriminator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(real) - E log(1 - D(fake)), with a gradient for D, and none for the network that made `fake`."""
    discriminator.requires_grad_(True)
    of_real, of_fake = discriminator(torch.cat([real, fake.detach()])).chunk(2)
    return F.softplus(-of_real).mean() + F.softplus(of_fake).mean()


def generator_loss(discriminator: nn.Module, fake: Tensor) -> Tensor:
    """-E log D(fake), with a gradient for the network that made `fake`, and none for D."""
    discriminator.requires_grad_(False)
    return F.softplus(-discriminator(fake)).mean()
