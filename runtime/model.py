"""A model that runs: encode, decode, sample and reconstruct through ONNX Runtime, whatever its prior is."""

import os
import threading
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.arrays import check_classes, check_codes, check_images
from aae_zoo.runtime.bundle import Bundle
from aae_zoo.runtime.classes import Classes, most_probable
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.manifest import Manifest, ScoreLimits
from aae_zoo.runtime.noise import choose_label, percentile_grid, uniform_noise
from aae_zoo.runtime.onnxfile import check_graph
from aae_zoo.runtime.pull import obtain
from aae_zoo.runtime.score import DRAWS, Scores, distance_from_prior, judge
from aae_zoo.runtime.session import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Work is cut into batches of this many rows, so that memory beyond the result stays bounded.
BATCH: Final = 256

Arrays = dict[str, NDArray[np.float32]]


class _Graph(NamedTuple):
    """An open session and the names of its inputs and outputs, which are slow to ask it for."""

    session: "InferenceSession"
    inputs: frozenset[str]
    outputs: list[str]


def load(
    name: str | os.PathLike[str], *, device: str = "auto", threads: int | None = None, precision: str = "auto"
) -> "Model":
    """Load a model by catalogue name, bundle folder, or Hub repository "org/repo[@revision]".

    `device` is "auto", "cpu" or "cuda"; `threads` those of one operator, by default the CPUs that this process
    may use. `precision` is "fp32", which "auto" is too, or another that the bundle has, "fp16", "int8" or "lite":
    graphs that it has not in that precision are run in fp32. A model that is neither shipped nor in the cache is
    pulled: its graphs of that precision. One that is there is taken as it was pulled, and no network is used. Graphs
    are read, checked against their SHA-256 and opened on first use.

    Raises:
        ModelNotFound: there is no such model.
        InvalidBundle: its manifest is malformed, or it has no graphs of that precision.
        HubError, OutputError: it is not here and cannot be pulled, or the cache cannot be written.
    """
    bundle = obtain(name, precision)
    for role in bundle.manifest.graphs:
        bundle.manifest.precision_of(role, precision)
    return Model(bundle, device=device, threads=threads, precision=precision)


class Model:
    """A loaded model. Safe to call from many threads at once.

    Images are float32 [n, C, H, W] in [0, 1], codes z float32 [n, latent], classes y float32 [n, classes].
    """

    def __init__(self, bundle: Bundle, *, device: str, threads: int | None, precision: str) -> None:
        self.manifest: Manifest = bundle.manifest
        self._bundle = bundle
        self._device, self._threads, self._precision = device, threads, precision
        self._graphs: dict[str, _Graph] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        m = self.manifest
        return f"<Model {m.name} {m.version}: images {m.image}, {m.latent}-D code, on {self._device}>"

    def sample(self, count: int, *, seed: int = 0, label: int | str | None = None) -> NDArray[np.float32]:
        """Draw `count` images from the model: noise -> prior -> decoder.

        The same seed gives the same images on every machine. `label`, a class's number or name, chooses the class.

        Raises:
            InvalidInput: a count below 1, a seed out of range, or a label that the model does not have.
        """
        noise = uniform_noise(count, self.manifest.noise, seed)
        if label is not None:
            coordinate, index = self._label_place(label)
            choose_label(noise, coordinate, index, len(self.manifest.labels))
        return self.sample_from(noise)

    def sample_from(self, noise: Any) -> NDArray[np.float32]:
        """The images of given noise [n, noise], each number in the open interval (0, 1).

        Raises:
            InvalidInput: wrong shape or dtype, or a number outside (0, 1).
        """
        noise = check_codes(noise, self.manifest.noise, "u")
        if not (noise.min() > 0 and noise.max() < 1):
            raise InvalidInput(
                f"u has values from {noise.min():g} to {noise.max():g}, expected the open interval (0, 1)"
            )
        return self._run("decoder", self._run("prior", {"u": noise}))["image"]

    def encode(self, images: Any) -> NDArray[np.float32]:
        """The codes z [n, latent] of images, uint8 or floats in [0, 1] of shape [n, C, H, W] (or gray [n, H, W]).

        Raises:
            InvalidInput: wrong rank, size, dtype or range, or a NaN.
        """
        return self.codes(images)["z"]

    def codes(self, images: Any) -> Arrays:
        """Every output of the encoder by name: z, and log_var or y where the model has them.

        Raises:
            InvalidInput: as for `encode`.
        """
        return self._run("encoder", {"image": check_images(images, self.manifest.image)})

    def classify(self, images: Any) -> Classes:
        """The most probable class of each image, by the encoder's categorical head.

        Raises:
            InvalidInput: the model has no such head, or images as for `encode`.
        """
        if "y" not in self._graph("encoder").outputs:
            given = ", ".join(self._graph("encoder").outputs)
            raise InvalidInput(f"{self.manifest.name} tells no classes: its encoder gives {given}, expected y too")
        return most_probable(self.codes(images)["y"], self.manifest.labels)

    @property
    def conditional(self) -> bool:
        """Whether the decoder takes the class y beside the code z."""
        return "y" in self._graph("decoder").inputs

    def decode(self, z: Any, y: Any = None) -> NDArray[np.float32]:
        """The images of codes z [n, latent], and of classes where the decoder is conditional.

        The classes y are [n, classes], such as an encoder's probabilities, or class numbers, integers [n].

        Raises:
            InvalidInput: wrong shape or dtype, a value that is not finite, or y missing or not wanted.
        """
        given = {"z"} if y is None else {"z", "y"}
        if given != self._graph("decoder").inputs:
            names = (", ".join(sorted(words, reverse=True)) for words in (self._graph("decoder").inputs, given))
            raise InvalidInput("the decoder of {} takes {}, given {}".format(self.manifest.name, *names))
        inputs = {"z": check_codes(z, self.manifest.latent, "z")}
        if y is not None:
            inputs["y"] = check_classes(y, len(self.manifest.labels))
            if len(inputs["y"]) != len(inputs["z"]):
                raise InvalidInput(f"z has {len(inputs['z'])} rows and y has {len(inputs['y'])}, expected as many")
        return self._run("decoder", inputs)["image"]

    def reconstruct(self, images: Any) -> NDArray[np.float32]:
        """The images decoded from the codes of `images`.

        Raises:
            InvalidInput: as for `encode`.
        """
        return self._run("decoder", self._decoder_inputs(self.codes(images)))["image"]

    def score(self, images: Any) -> Scores:
        """How unlike the model's training images each image is, and whether that makes it anomalous.

        Raises:
            InvalidInput: the bundle does not say what is usual, or images as for `encode`.
        """
        limits = self.score_limits
        return judge(*self.score_parts(images), limits)

    @property
    def score_limits(self) -> ScoreLimits:
        """What the anomaly score measures against.

        Raises:
            InvalidInput: the bundle does not say.
        """
        if self.manifest.score is None:
            raise InvalidInput(
                f"{self.manifest.name} has no anomaly score: its manifest has no table score; export the model again"
            )
        return self.manifest.score

    def score_parts(self, images: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the score is made of, each [n]: squared error per pixel, and distance of the code from the prior.

        Raises:
            InvalidInput: as for `encode`.
        """
        images = check_images(images, self.manifest.image)
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        errors, distances = zip(*map(self._score_batch, batches), strict=True)
        return np.concatenate(errors), np.concatenate(distances)

    def interpolate(self, images: Any, steps: int = 9) -> NDArray[np.float32]:
        """Images along straight lines in code space, from each image to the next: [(n - 1) * steps, C, H, W].

        Each line has `steps` images, its two ends among them.

        Raises:
            InvalidInput: fewer than two images or steps, or images as for `encode`.
        """
        codes = self._decoder_inputs(self.codes(images))
        if len(codes["z"]) < 2 or steps < 2:
            raise InvalidInput(
                f"interpolate has {len(codes['z'])} images and {steps} steps, expected 2 or more of each"
            )
        t = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        lines = {name: np.concatenate([(1 - t) * a + t * b for a, b in pairwise(c)]) for name, c in codes.items()}
        return self._run("decoder", lines)["image"]

    def manifold(self, side: int = 20) -> NDArray[np.float32]:
        """The images of a regular grid of percentiles of a 2-D prior: [side * side, C, H, W], row by row from the top.

        Raises:
            InvalidInput: the prior's noise is not 2-D, or `side` is below 1.
        """
        if self.manifest.noise != 2:
            raise InvalidInput(f"{self.manifest.name} has {self.manifest.noise}-D noise, a manifold picture needs 2-D")
        if side < 1:
            raise InvalidInput(f"the side of the grid is {side}, expected 1 or more")
        return self.sample_from(percentile_grid(side))

    def _label_place(self, label: int | str) -> tuple[int, int]:
        """The coordinate of the noise that chooses the class, and the number of the class `label`."""
        labels, coordinate = self.manifest.labels, self.manifest.label_coordinate
        if coordinate is None:
            raise InvalidInput(f"{self.manifest.name} has no labels to choose from; sample it without one")
        if isinstance(label, str) and label in labels:
            return coordinate, labels.index(label)
        if str(label).isdigit() and int(label) < len(labels):
            return coordinate, int(label)
        raise InvalidInput(f"{self.manifest.name} has no label {label!r}, expected one of {', '.join(labels)}")

    def _score_batch(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        codes = self._run("encoder", {"image": images})
        again = (self._run("decoder", inputs)["image"] for inputs in self._readings(codes))
        errors = [np.square(image - images).mean((1, 2, 3)) for image in again]
        return np.minimum.reduce(errors), distance_from_prior(codes["z"], self._prior_draws)

    def _readings(self, codes: Arrays) -> Iterator[Arrays]:
        """The decoder's inputs for codes: one set, or one a class where the encoder leaves the class open."""
        if not self.conditional or "y" in codes:
            yield self._decoder_inputs(codes)
            return
        for row in np.eye(len(self.manifest.labels), dtype=np.float32):
            yield {"z": codes["z"], "y": np.tile(row, (len(codes["z"]), 1))}

    @cached_property
    def _prior_draws(self) -> NDArray[np.float32]:
        """The codes [1000, latent] that stand for the prior, the same for a model on every machine."""
        return self._run("prior", {"u": uniform_noise(DRAWS, self.manifest.noise, 0)})["z"]

    def _decoder_inputs(self, codes: Arrays) -> Arrays:
        if self.conditional and "y" not in codes:
            raise InvalidInput(
                f"the decoder of {self.manifest.name} takes y, which its encoder does not give; decode its z with a y"
            )
        return {name: codes[name] for name in self._graph("decoder").inputs}

    def _run(self, role: str, inputs: Arrays) -> Arrays:
        session, _, names = self._graph(role)
        count = len(next(iter(inputs.values())))
        if count <= BATCH:
            return dict(zip(names, session.run(names, inputs)))  # noqa: B905 - a session gives what was asked for
        results: Arrays = {}
        for start in range(0, count, BATCH):
            part = slice(start, start + BATCH)
            outputs = session.run(names, {name: values[part] for name, values in inputs.items()})
            for name, values in zip(names, outputs, strict=True):
                if start == 0:
                    results[name] = np.empty((count, *values.shape[1:]), np.float32)
                results[name][part] = values
        return results

    def _graph(self, role: str) -> _Graph:
        graph = self._graphs.get(role)
        if graph is None:
            with self._lock:  # whoever comes second finds what the first has opened
                graph = self._graphs.get(role) or self._open(role)
                self._graphs[role] = graph
        return graph

    def _open(self, role: str) -> _Graph:
        name = self.manifest.graph_file(role, self.manifest.precision_of(role, self._precision))
        content = self._bundle.read(name)
        check_graph(content, name, role, self.manifest)
        session = open_session(content, name, device=self._device, threads=self._threads)
        inputs = frozenset(i.name for i in session.get_inputs())
        return _Graph(session, inputs, [o.name for o in session.get_outputs()])
