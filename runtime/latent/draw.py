"""How samples are drawn: noise row by row, a class chosen, and draws kept near the middle of the prior.

Truncation and temperature act on the coordinates of the noise that spread codes, never on those that choose a class
or a component.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.errors import InvalidInput, real
from aae_zoo.runtime.latent.attributes import Asked, Values
from aae_zoo.runtime.latent.noise import check_draw, uniform_noise
from aae_zoo.runtime.latent.sobol import sobol_noise

_HIGHEST_TEMPERATURE: Final = 10.0

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Draw:
    """A number of samples of a model, by what a user may choose of them.

    `truncation` draws from the central share of each coordinate's distribution: at 0.9 the outer 5 % at both ends are
    left out, which makes of a Gaussian a truncated Gaussian (the truncation trick of Brock et al., "Large scale GAN
    training for high fidelity natural image synthesis", ICLR 2019). `temperature` scales the distance of each code
    from the middle of the prior or, where the noise chooses a class or component, from the middle of that. `quasi`
    takes Sobol points instead of pseudo-random noise. `values` are what each attribute that is asked for shall be, in
    all samples or in each; what is not asked for is drawn.

    Raises:
        InvalidInput: any of these out of range, not possible with this model, or not as many labels as samples.
    """

    manifest: Manifest
    count: int
    seed: int = 0
    temperature: float = 1.0
    truncation: float = 1.0
    quasi: bool = False
    values: Mapping[str, Values] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_draw(self.count, self.seed)
        if not 0 < real(self.truncation, "truncation") <= 1:
            raise InvalidInput(f"truncation is {self.truncation}, expected more than 0 and at most 1")
        if not 0 <= real(self.temperature, "temperature") <= _HIGHEST_TEMPERATURE:
            raise InvalidInput(f"temperature is {self.temperature}, expected 0 to {_HIGHEST_TEMPERATURE:g}")
        if (self.truncation, self.temperature) != (1, 1) and not self._spread.size:
            raise InvalidInput(
                f"{self.manifest.name} has a discrete prior, all of whose noise chooses; "
                "sample it without temperature and truncation"
            )
        self._asked.check_drawn()

    def noise(self, part: slice) -> Array:
        """The rows `part` of the noise, [rows, noise]."""
        draw = sobol_noise if self.quasi else uniform_noise
        noise = draw(part.stop - part.start, self.manifest.noise, self.seed, part.start)
        if self.truncation != 1:
            share = self.truncation
            noise[:, self._spread] = (1 - share) / 2 + share * noise[:, self._spread].astype(np.float64)
        self._asked.choose(noise, part)
        return noise

    def middle(self, noise: Array) -> Array:
        """Noise whose codes are the middles that `temperature` scales distances from, [rows, noise]."""
        noise = noise.copy()
        noise[:, self._spread] = 0.5
        return noise

    @property
    def _spread(self) -> NDArray[Any]:
        return np.setdiff1d(np.arange(self.manifest.noise), self.manifest.choices)

    @cached_property
    def _asked(self) -> Asked:
        return Asked(self.manifest, self.values, self.count)
