"""How samples are drawn: noise row by row, a class chosen, and draws kept near the middle of the prior.

Truncation and temperature act on the coordinates of the noise that spread codes, never on those that choose a class
or a component.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.latent.noise import check_draw, choose_label, uniform_noise
from aae_zoo.runtime.latent.sobol import sobol_noise

_HIGHEST_TEMPERATURE: Final = 10.0

Array = NDArray[np.float32]
# The class of all samples, or of each: names or numbers.
Labels = int | str | Sequence[int | str] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Draw:
    """A number of samples of a model, by what a user may choose of them.

    `truncation` draws from the central share of each coordinate's distribution: at 0.9 the outer 5 % at both ends are
    left out, which makes of a Gaussian a truncated Gaussian (the truncation trick of Brock et al., "Large scale GAN
    training for high fidelity natural image synthesis", ICLR 2019). `temperature` scales the distance of each code
    from the middle of the prior or, where the noise chooses a class or component, from the middle of that. `quasi`
    takes Sobol points instead of pseudo-random noise. `label` is the class of all samples, or a list of one for each.

    Raises:
        InvalidInput: any of these out of range, not possible with this model, or not as many labels as samples.
    """

    manifest: Manifest
    count: int
    seed: int = 0
    label: Labels | None = None
    temperature: float = 1.0
    truncation: float = 1.0
    quasi: bool = False

    def __post_init__(self) -> None:
        check_draw(self.count, self.seed)
        if not 0 < self.truncation <= 1:
            raise InvalidInput(f"truncation is {self.truncation}, expected more than 0 and at most 1")
        if not 0 <= self.temperature <= _HIGHEST_TEMPERATURE:
            raise InvalidInput(f"temperature is {self.temperature}, expected 0 to {_HIGHEST_TEMPERATURE:g}")
        if (self.truncation, self.temperature) != (1, 1) and not self._spread.size:
            raise InvalidInput(
                f"{self.manifest.name} has a discrete prior, all of whose noise chooses; "
                "sample it without temperature and truncation"
            )
        _ = self._classes  # wrong labels are reported at once

    def noise(self, part: slice) -> Array:
        """The rows `part` of the noise, [rows, noise]."""
        draw = sobol_noise if self.quasi else uniform_noise
        noise = draw(part.stop - part.start, self.manifest.noise, self.seed, part.start)
        if self.truncation != 1:
            share = self.truncation
            noise[:, self._spread] = (1 - share) / 2 + share * noise[:, self._spread].astype(np.float64)
        if self._classes is not None:
            coordinate, classes = self._classes
            choose_label(noise, coordinate, classes[part], len(self.manifest.labels))
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
    def _classes(self) -> tuple[int, NDArray[np.int64]] | None:
        """The coordinate of the noise that chooses the class and the class's number for each sample [count], or None.

        Raises:
            InvalidInput: the model has no labels to choose from or not these, or there are not as many as samples.
        """
        if self.label is None:
            return None
        if self.manifest.label_coordinate is None:
            raise InvalidInput(f"{self.manifest.name} has no labels to choose from; sample it without one")
        label: Any = self.label.tolist() if hasattr(self.label, "tolist") else self.label  # an array's as Python's
        if isinstance(label, str) or not isinstance(label, Sequence):
            label = [label]
        elif len(label) != self.count:
            raise InvalidInput(f"label has {len(label)} entries, expected one, or one for each of {self.count} images")
        numbers = _class_numbers(self.manifest, label)
        return self.manifest.label_coordinate, np.broadcast_to(numbers, self.count)


def _class_numbers(manifest: Manifest, given: Sequence[object]) -> NDArray[np.int64]:
    """The numbers of classes that are given by their names or numbers."""
    labels = manifest.labels
    numbers = {str(number): number for number in range(len(labels))}
    found = []
    for label in given:
        if isinstance(label, str) and label in labels:
            found.append(labels.index(label))
        elif str(label) in numbers:
            found.append(numbers[str(label)])
        else:
            raise InvalidInput(f"{manifest.name} has no label {label!r}, expected one of {', '.join(labels)}")
    return np.array(found, np.int64)
