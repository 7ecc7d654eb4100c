"""A model behind a batcher: every request's arrays are checked on their own, and run together with those of others."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.names import DETECTOR, ROLES
from aae_zoo.runtime.drawing.maps import Maps
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.formats.arrays import Arrays, check_classes, check_codes, check_noise
from aae_zoo.runtime.formats.images import check_images
from aae_zoo.runtime.formats.plan import Plan
from aae_zoo.runtime.latent.score import Figures, Scores
from aae_zoo.runtime.model import Model
from aae_zoo.runtime.serving.batching import Batcher
from aae_zoo.runtime.serving.limits import AT_ONCE, Result, off_the_loop

# How often a request's arrays are there at most, as float32: as they came and checked, joined with those of others, as
# the model's result, as pixels, and as an answer. And what an answer with few of them takes.
_COPIES: Final = 8
_ANSWER: Final = 1 << 20


class Part(NamedTuple):
    """A model of the inference protocol: what it does, and the tensors that it takes and gives."""

    work: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Service:
    """What the routes ask: `run` does works on arrays by name.

    They are "encode", "reconstruct", "score", "map" and "detect" (image), "decode" (z, y) and "draw" (u).
    `parts` are the models of the inference protocol by name, the names being those of the Triton repository too.
    """

    def __init__(self, model: Model) -> None:
        # The first run opens the graphs: an error in them is reported before the service says that it is ready.
        codes = model.codes(model.sample(1))
        self.manifest, self.conditional = model.manifest, model.conditional
        name = model.manifest.name
        self.parts = {
            name: Part("draw", ("u",), ("image",)),
            f"{name}-encoder": Part("encode", ("image",), tuple(codes)),
            f"{name}-decoder": Part("decode", ("z", "y") if model.conditional else ("z",), ("image",)),
        }
        self.detects = DETECTOR in model.manifest.graphs
        self.threshold = model.threshold if self.detects or model.manifest.score else None
        if self.detects:
            self.parts[f"{name}-detector"] = Part("detect", ("image",), tuple(model.graph(DETECTOR).names))
        encoder, decoder, prior = (model.graph(role) for role in ROLES)

        def decode(codes: Arrays) -> Arrays:
            # Codes that overflow must not fail the others' that are decoded with them: `run` looks at each request's.
            return decoder.job({name: codes[name] for name in decoder.inputs}, finite=False).collect()

        # What comes here was checked, each request on its own.
        self._batcher = Batcher(
            {
                "encode": lambda arrays: encoder.job(arrays).collect(),
                "decode": decode,
                "draw": lambda arrays: decode(prior.job(arrays).collect()),
                "reconstruct": lambda arrays: {"image": model.reconstruct(arrays["image"])},
                "score": lambda arrays: _named(*model.score_parts(arrays["image"])),
                "detect": lambda arrays: model.graph(DETECTOR).job(arrays).collect(),
                "map": lambda arrays: {"map": _maps(model.score(arrays["image"], maps=True))},
            }
        )
        self._alone = asyncio.Lock()
        self.rows: Counter[str] = Counter()

    def cost(self, rows: int) -> int:
        """The bytes of memory that `rows` rows of any work take at most, from what comes in to the answer."""
        numbers = sum(math.prod(shape) for shape in self.manifest.row_shapes.values())
        return _ANSWER + _COPIES * 4 * rows * numbers

    async def run(self, work: str, inputs: Arrays) -> Arrays:
        """The outputs by name for inputs of 1 to ROWS rows.

        Raises:
            InvalidInput: inputs that the model cannot take, or whose outputs are not finite.
        """
        size = sum(values.nbytes for values in inputs.values())
        arrays = await off_the_loop(size, self._checked, inputs)
        outputs = await asyncio.wrap_future(self._batcher.submit(work, arrays))
        self.rows[work] += len(next(iter(arrays.values())))
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise InvalidInput("the result is not finite; give numbers such as the encoder gives")
        return outputs

    async def alone(self, size: int, work: Callable[..., Result], *arguments: Any) -> Result:
        """The result of work on `size` bytes; what is large is done one at a time.

        For what keeps Python's own lock, such as reading JSON: the event loop is only one of several that want it.
        """
        if size <= AT_ONCE:
            return work(*arguments)
        async with self._alone:
            return await off_the_loop(size, work, *arguments)

    def close(self) -> None:
        """Return when all waiting requests are done."""
        self._batcher.close()

    def _checked(self, inputs: Arrays) -> Arrays:
        checks: dict[str, Callable[[Any], NDArray[np.float32]]] = {
            "image": lambda values: check_images(values, Plan.of(self.manifest, {"invert": "no"})),
            "z": lambda values: check_codes(values, self.manifest.latent, "z"),
            "y": lambda values: check_classes(values, self.manifest.widths),
            "u": lambda values: check_noise(values, self.manifest.noise),
        }
        return {name: checks[name](values) for name, values in inputs.items()}


def _maps(scores: Scores) -> Figures:
    assert isinstance(scores.maps, Maps)  # noqa: S101 - as was asked for
    return scores.maps.values


def _named(reconstruction: Figures, distance: Figures, contrast: Figures) -> Arrays:
    return {"reconstruction": reconstruction, "distance": distance, "contrast": contrast}
