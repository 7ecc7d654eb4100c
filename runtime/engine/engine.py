"""What a model's calls have in common: its open graphs, and the jobs that they do batch by batch.

Nothing is checked here: what users give was checked before it gets here.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from copy import copy
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.graph_check import CheckedGraph, only, read_graph
from aae_zoo.runtime.bundles.names import DETECTOR
from aae_zoo.runtime.engine.devices import Device, memory_of
from aae_zoo.runtime.engine.forks import call_after_forks, never_free
from aae_zoo.runtime.engine.graph import Graph
from aae_zoo.runtime.engine.session import open_session, pool_is_shared
from aae_zoo.runtime.errors import DeviceUnavailable, InvalidInput
from aae_zoo.runtime.formats.arrays import Arrays, lies_on_card
from aae_zoo.runtime.formats.images import Images
from aae_zoo.runtime.formats.stream import Finish, Job
from aae_zoo.runtime.latent.attributes import Asked
from aae_zoo.runtime.latent.draw import Draw
from aae_zoo.runtime.latent.maps import local_error
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.latent.score import DRAWS, contrast_of, distance_from_prior

if TYPE_CHECKING:
    from aae_zoo.runtime.engine.cuda.arrays import DeviceArray
    from aae_zoo.runtime.engine.cuda.card import Card
    from aae_zoo.runtime.engine.isolated import Worker
    from aae_zoo.runtime.engine.kept import KeptCodes

# The part of a detector that gives the score: half of it is for the map.
SCORE: Final = "score"


class Engine:
    """The graphs of a bundle, each opened when it is first needed, by the thread that needs it first."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: Device,
        threads: int | None = None,
        precision: str = "fp32",
        tf32: bool = False,
        isolate: bool = False,
        deterministic: bool = False,
        arrays: str = "host",
    ) -> None:
        self.manifest = bundle.manifest
        self.device, self.arrays = device, arrays
        self._bundle = bundle
        self._threads, self._precision, self._tf32, self._deterministic = threads, precision, tf32, deterministic
        self._card: Card | None = None
        self._worker = _worker(bundle, device, threads, precision) if isolate else None
        self._graphs: dict[str, Graph] = {}
        self._lock = threading.Lock()
        call_after_forks(self)

    def __getstate__(self) -> dict[str, Any]:
        made_here = ("_graphs", "_lock", "_card", "prior_draws")
        return {name: value for name, value in self.__dict__.items() if name not in made_here}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._graphs, self._lock, self._card = {}, threading.Lock(), None
        call_after_forks(self)

    def after_fork(self) -> None:
        """In a forked child: forget the parent's sessions, whose threads do not exist here."""
        for graph in self._graphs.values():
            never_free(graph.session)
        self._card = None
        self._graphs, self._lock = {}, threading.Lock()  # another thread of the parent may have held the lock
        self._worker = copy(self._worker)  # with a process of its own

    def close(self) -> None:
        """Free the sessions; a graph that is needed again is opened again."""
        with self._lock:
            with self._card.turns if self._card else nullcontext():
                self._graphs = {}
            self._card = None
            if self._worker:
                self._worker.close()

    def graph(self, role: str) -> Graph:
        """The open graph of a role, or of what gives the score alone.

        Raises:
            InvalidBundle: its file is not the manifest's, or it is not what the manifest says.
            DeviceUnavailable: the device is not available.
        """
        graph = self._graphs.get(role)
        if graph is None:
            with self._lock:  # a second thread finds what the first has opened
                graph = self._graphs.get(role) or self._open(role)
                self._graphs[role] = graph
        return graph

    def _open(self, role: str) -> Graph:
        checked = self._checked(role)
        if self._worker:
            return Graph(self._worker.session(role), self.manifest, checked)
        # The prior is a few sums a row: a pool of threads for it would only wait.
        threads = 1 if role == "prior" and not pool_is_shared() else self._threads
        session = open_session(
            checked,
            device=self.device,
            threads=threads,
            tf32=self._tf32,
            deterministic=self._deterministic,
            stream=self._stream,
        )
        if self._card and memory_of(session) == ("cuda", self._card.number):
            from aae_zoo.runtime.engine.cuda.graph import CardGraph  # the CPU does not need it

            return CardGraph(session, self.manifest, checked, self._card)
        self._card = None
        return Graph(session, self.manifest, checked)

    def _stream(self, number: int) -> int | None:
        """The stream that all graphs compute on, where they do so on the card of that number."""
        from aae_zoo.runtime.engine.cuda.card import Card  # the CPU does not need it

        if self._card is None:
            try:
                self._card = Card(number)
            except DeviceUnavailable:  # ONNX Runtime says why
                return None
        return self._card.stream

    def _checked(self, role: str) -> CheckedGraph:
        if role == SCORE:
            return only(self._checked(DETECTOR), "score")
        return read_graph(self._bundle, role, self.manifest.precision_of(role, self._precision))

    @cached_property
    def conditional(self) -> bool:
        """Whether the decoder takes the class y beside the code z."""
        return "y" in self.graph("decoder").inputs

    @property
    def batch(self) -> int:
        """How many images are worked on at a time."""
        return self.graph("decoder").batch

    def lent(self, role: str, values: Any, name: str, shape: tuple[int, ...]) -> "DeviceArray | None":
        """An input [n, *shape] of a graph, as it lies on the model's card; None for whatever goes to numpy.

        Raises:
            InvalidInput: it is on another card, of another shape, not float32 or not contiguous.
        """
        if not lies_on_card(values) or (card := self.graph(role).card) is None:
            return None
        return card.borrow(values, name, shape)

    def on_host(self, values: Any, name: str) -> Any:
        """What lies on a card, brought to the host by the model's card; all else as it is, for its own library."""
        if not lies_on_card(values) or (card := self.graph("encoder").card) is None:
            return values
        try:
            return card.seen(values, name).numpy()
        except InvalidInput:  # of other numbers, or a part of an array
            return values

    def job(self, graph: Graph, inputs: Arrays) -> Job:
        """A graph's outputs for inputs of any number of rows, placed where this model's results are."""
        return graph.job(inputs)._replace(room=self._room(graph))

    def run(self, graph: Graph, inputs: Arrays, out: Arrays | None = None) -> Arrays:
        """The same for as many rows as the graph works on at a time, or fewer."""
        if out is None and self.arrays == "device":
            return graph.run_there(inputs)
        return graph.run(inputs, out)

    def _room(self, graph: Graph) -> Callable[[int], Any] | None:
        """What makes arrays for some rows of a graph's results, where they are not to be numpy's."""
        return graph.room if self.arrays == "device" else None

    @cached_property
    def prior_draws(self) -> NDArray[np.float32]:
        """The codes [1000, latent] that stand for the prior, of the same noise on every machine."""
        return self.graph("prior").run({"u": uniform_noise(DRAWS, self.manifest.noise, 0)})["z"]

    def sample_job(self, draw: Draw) -> Job:
        """Images of draws of the prior."""
        prior = self.graph("prior")  # before the decoder, which is large: a fault of the prior is reported at once
        decoder, noise = self.graph("decoder"), draw.noise
        if decoder.ahead and draw.count > decoder.batch:
            from aae_zoo.runtime.engine.cuda.workers import Ahead  # the CPU does not need it

            noise = Ahead(draw.noise, draw.count, decoder.batch)

        def begin(part: slice, out: Arrays | None) -> Finish:
            if draw.temperature == 1:
                return _decoded(prior, decoder, noise(part), part, out)
            given = noise(part)
            codes, middle = prior.run({"u": given}), prior.run({"u": draw.middle(given)})["z"]
            z = middle + np.float32(draw.temperature) * (codes["z"] - middle)
            return decoder.begin(codes | {"z": z}, out, padded=part.start > 0)

        return self._images(draw.count, begin)

    def noise_job(self, noise: NDArray[np.float32]) -> Job:
        """Images of noise [n, noise]."""
        prior, decoder = self.graph("prior"), self.graph("decoder")
        return self._images(len(noise), lambda part, out: _decoded(prior, decoder, noise[part], part, out))

    def encode_job(self, images: Images) -> Job:
        """Every output of the encoder."""
        graph = self.graph("encoder")
        return Job(
            len(images),
            graph.batch,
            graph.outputs,
            lambda part, out: graph.begin({"image": images.rows(part)}, out, padded=part.start > 0),
            graph.ahead,
            self._room(graph),
        )

    def reconstruct_job(self, images: Images, asked: Asked | None) -> Job:
        """Images of the codes of images, with what is asked for in place of their own attributes.

        Encoder and `asked` give all that the decoder takes.
        """
        encoder, decoder = self.graph("encoder"), self.graph("decoder")
        if asked:
            return self._images(
                len(images), lambda part, out: decoder.begin(self.redrawn(images.rows(part), asked, part), out)
            )
        names = sorted(decoder.inputs)

        def begin(part: slice, out: Arrays | None) -> Finish:
            padded = part.start > 0
            codes = encoder.keep({"image": images.rows(part)}, names, padded=padded)
            return decoder.begin(codes, out, padded=padded)

        return self._images(len(images), begin)

    @property
    def detects(self) -> bool:
        """Whether a detector's graph gives the score."""
        return DETECTOR in self.manifest.graphs

    def score_job(self, images: Images, *, maps: bool = False) -> Job:
        """What the anomaly score is made of: error, distance and contrast; the codes z and the brightness beside it.

        With `maps` there is the map of the error too.
        """
        shapes = {"z": (self.manifest.latent,), "error": (), "distance": (), "contrast": (), "brightness": ()}
        return self._figures(images, self.batch, shapes, self._score, maps=maps)

    def detect_job(self, images: Images, *, maps: bool) -> Job:
        """The detector's score, the contrast, and with `maps` the detector's map."""
        shapes: dict[str, tuple[int, ...]] = {"score": (), "contrast": ()}
        batch = self.graph(DETECTOR if maps else SCORE).batch
        return self._figures(images, batch, shapes, self._detect, maps=maps)

    def _figures(
        self,
        images: Images,
        batch: int,
        shapes: Mapping[str, tuple[int, ...]],
        work: Callable[[NDArray[np.float32], bool], Arrays],
        *,
        maps: bool,
    ) -> Job:
        """Figures of images by name, and their map if there is to be one."""
        outputs = {**shapes, "map": (1, *self.manifest.image.axes[1:])} if maps else shapes

        def begin(part: slice, out: Arrays | None) -> Finish:
            found = work(images.rows(part), maps)
            for name, values in (out or {}).items():
                values[:] = found[name]
            return lambda: found

        return Job(len(images), batch, outputs, begin)

    def redrawn(self, images: NDArray[np.float32], asked: Asked, part: slice) -> Arrays:
        """The decoder's inputs for images, which are the rows `part` of those that something is asked for."""
        codes = self.graph("encoder").run({"image": images})
        return {"z": codes["z"], "y": asked.replace(codes.get("y"), part)}

    @property
    def kept_codes(self) -> "KeptCodes | None":
        """The codes of test images that the bundle keeps, if any."""
        from aae_zoo.runtime.engine.kept import read_kept_codes  # slow to import, and drift alone asks for it

        return read_kept_codes(self._bundle)

    def decoder_inputs(self, codes: Arrays) -> Arrays:
        """What the decoder takes of the encoder's outputs."""
        return {name: codes[name] for name in self.graph("decoder").inputs}

    def _images(self, count: int, begin: Callable[[slice, Arrays | None], Finish]) -> Job:
        decoder = self.graph("decoder")
        return Job(count, decoder.batch, decoder.outputs, begin, decoder.ahead, self._room(decoder))

    def _detect(self, images: NDArray[np.float32], maps: bool) -> Arrays:
        graph = self.graph(DETECTOR if maps else SCORE)
        return {**graph.run({"image": images}), "contrast": contrast_of(images)}

    def _score(self, images: NDArray[np.float32], maps: bool) -> Arrays:
        codes = self.graph("encoder").run({"image": images})
        found: Arrays = {
            "z": codes["z"],
            "distance": distance_from_prior(codes["z"], self.prior_draws),
            "contrast": contrast_of(images),
            "brightness": images.mean((1, 2, 3)),
        }
        for inputs in self._readings(codes):
            again = self.graph("decoder").run(inputs)["image"]
            error = np.square(again - images).mean((1, 2, 3))
            best = found.get("error", error)
            if maps:  # of the reading that fits best
                better = (error <= best)[:, None, None, None]
                found["map"] = np.where(better, local_error(images, again), found.get("map", np.float32(0)))
            found["error"] = np.minimum(best, error)
        return found

    def _readings(self, codes: Arrays) -> Iterator[Arrays]:
        """The decoder's inputs for codes: one set, or one for each class where the encoder does not give the class.

        Of several attributes, each with each.
        """
        if not self.conditional or "y" in codes:
            yield self.decoder_inputs(codes)
            return
        for rows in product(*(np.eye(width, dtype=np.float32) for width in self.manifest.widths)):
            yield {"z": codes["z"], "y": np.tile(np.concatenate(rows), (len(codes["z"]), 1))}


def _decoded(prior: Graph, decoder: Graph, noise: NDArray[np.float32], part: slice, out: Arrays | None) -> Finish:
    """The images of noise, which is that of the rows `part`."""
    padded = part.start > 0
    codes = prior.keep({"u": noise}, sorted(decoder.inputs), padded=padded)
    return decoder.begin(codes, out, padded=padded)


def _worker(bundle: Bundle, device: Device, threads: int | None, precision: str) -> "Worker":
    from aae_zoo.runtime.engine.isolated import Worker  # slow to import, and few models are isolated

    return Worker(bundle, device=device, threads=threads, precision=precision)
