"""A model that runs: encode, decode, sample and reconstruct through ONNX Runtime, whatever its prior is."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.bundles.manifest import Manifest, ScoreLimits
from aae_zoo.runtime.bundles.names import ALL_ROLES
from aae_zoo.runtime.engine.devices import Device, check_device
from aae_zoo.runtime.engine.engine import SCORE, Engine
from aae_zoo.runtime.engine.graph import Graph
from aae_zoo.runtime.engine.session import check_threads
from aae_zoo.runtime.errors import InvalidInput, path_text, whole
from aae_zoo.runtime.formats.arrays import Arrays, check_classes, check_codes, check_noise, check_output
from aae_zoo.runtime.formats.images import Images, Pick, as_images, check_range, is_plain, one_image, read_images
from aae_zoo.runtime.formats.plan import How, Plan
from aae_zoo.runtime.formats.stream import Job, Stream
from aae_zoo.runtime.latent.attributes import Asked, Values, told, with_label
from aae_zoo.runtime.latent.classes import Classes
from aae_zoo.runtime.latent.draw import Draw
from aae_zoo.runtime.latent.maps import LOCAL
from aae_zoo.runtime.latent.neighbours import Neighbours, nearest_codes
from aae_zoo.runtime.latent.noise import chosen_seed, percentile_grid
from aae_zoo.runtime.latent.score import Scores, judge, judge_detected, judge_detected_one
from aae_zoo.runtime.latent.walks import arcs, lines, traversals, traversed
from aae_zoo.runtime.store.catalogue import shipped_or_folder
from aae_zoo.runtime.words import counted

if TYPE_CHECKING:
    from aae_zoo.runtime.engine.kept import KeptCodes
    from aae_zoo.runtime.latent.drift import Drift, Sample

# Where results are: numpy's, or where the model runs.
_ARRAYS: Final = ("host", "device")


def load(
    name: str | os.PathLike[str],
    *,
    device: Device = "auto",
    threads: int | None = None,
    precision: str = "auto",
    tf32: bool = False,
    isolate: bool = False,
    deterministic: bool = False,
    arrays: Literal["host", "device"] = "host",
) -> "Model":
    """Load a model by catalogue name, bundle folder, or Hub repository "org/repo[@revision]".

    Each may end in a pin, "#sha256=" and the SHA-256 of the manifest: no other model is taken, wherever it comes from.

    `device` is "auto" (a GPU where ONNX Runtime has CUDA, else the CPU), "cpu", "cuda", "cuda:1", "tensorrt",
    "coreml", "dml", "openvino", or a list of ONNX Runtime's providers, each a name or a name and its options.
    `threads` is how many threads one operator uses, by default as many as the CPUs that this process may use.
    `precision` is "fp32", which "auto" is too, or another that the bundle has, "fp16", "int8" or "lite": a graph that
    does not come in that precision is run in fp32. `tf32` lets CUDA compute with fewer digits. `isolate` runs the
    graphs of a bundle that nobody trusts in a process of their own, on the CPU, with bounds on memory and time
    (docs/hostile-bundles.md). `deterministic` gives the same bits for the same call each time on one GPU, for which
    CUDA's convolutions do without the fastest algorithms; the CPU does so anyway. With `arrays="device"` images and
    codes that a model gives are `DeviceArray`s where it runs, which torch.from_dlpack, cupy.from_dlpack and
    jax.dlpack.from_dlpack take without a copy; they are not looked at for NaN. Tensors on the card of the model are
    taken as they lie there in either case: contiguous float32, images from 0 to 1, which is not checked there either.

    A model that is neither shipped nor in the cache is pulled: its graphs of that precision. A model that is there is
    used as it was pulled, without a network. Graphs are read, checked against their SHA-256 and opened on first use.

    Raises:
        InvalidInput: the pin is malformed, there is no such device, `threads` is not from 1 to 4096, `arrays` is
            neither "host" nor "device", or `isolate` is not on the CPU.
        MissingBackend: this is a frozen program, which cannot `isolate`.
        ModelNotFound: there is no such model.
        InvalidBundle: its manifest is malformed or not the pinned one, or it has no graphs of that precision.
        HubError, OutputError: it is not here and cannot be pulled, or the cache cannot be written.
    """
    if arrays not in _ARRAYS:
        raise InvalidInput(f"arrays is {arrays!r}, expected {' or '.join(_ARRAYS)}")
    check_device(device)
    check_threads(threads)
    text = path_text(name, "the name")
    bundle = shipped_or_folder(text) or _obtain(text, precision)
    for role in bundle.manifest.graphs:
        bundle.manifest.precision_of(role, precision)
    engine = Engine(
        bundle,
        device=device,
        threads=threads,
        precision=precision,
        tf32=tf32,
        isolate=isolate,
        deterministic=deterministic,
        arrays=arrays,
    )
    return Model(engine)


def _obtain(text: str, precision: str) -> Bundle:
    from aae_zoo.runtime.store.pull import obtain  # slow to import, and what is shipped does not need it

    return obtain(text, precision)


class Model:
    """A loaded model. Safe to call from many threads at once, to pickle, and to use in forked processes.

    Images are float32 [n, C, H, W] in [0, 1], codes z float32 [n, latent], classes y float32 [n, classes]. What is
    given may also be uint8, booleans, other floats, channels last, gray or colour, Pillow images, paths of files, lists
    of these, or tensors of torch and others. Every method that takes images also takes `resize=True` for images of any
    size, `invert` ("yes", "no", or "auto": those on another ground than the model's) and `range`, the raw values of
    black and white, such as (0, 4095). `with load(...) as model` frees threads and memory at the end.
    """

    def __init__(self, engine: Engine) -> None:
        self.manifest: Manifest = engine.manifest
        self._engine = engine
        self._widths = engine.manifest.widths  # worked out once: it would count beside a run of 0.03 ms

    @property
    def name(self) -> str:
        """The model's name, such as "mnist-gauss"."""
        return self.manifest.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, by their numbers; empty where the model has none."""
        return self.manifest.labels

    @property
    def attributes(self) -> dict[str, tuple[str, ...]]:
        """What can be asked of a picture, and the values of each; the labels of a model that has one class are "label".

        Empty where there is nothing to ask for.
        """
        return {attribute.name: attribute.labels for attribute in self.manifest.asked}

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image (C, H, W): channels (1 gray, 3 colour), height and width in pixels."""
        return self.manifest.image.axes

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The figures that were measured on the test images when the model was exported, by their names."""
        return self.manifest.metrics

    def __repr__(self) -> str:
        m = self.manifest
        return f"<Model {m.name} {m.version}: images {m.image}, {m.latent}-D code, on {self._engine.device}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: 16 samples, and a table of what the model is."""
        from aae_zoo.runtime.showing import model_html  # imports Pillow, which drawing does not need

        return model_html(self.manifest, self.sample(16))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the sessions with their threads and memory; a later call opens them again."""
        self._engine.close()

    def sample(
        self,
        count: int,
        *,
        seed: int | None = 0,
        label: Values | None = None,
        attributes: Mapping[str, Values] | None = None,
        temperature: float = 1.0,
        truncation: float = 1.0,
        quasi: bool = False,
    ) -> NDArray[np.float32]:
        """Draw `count` images from the model: noise -> prior -> decoder.

        The same seed gives the same noise everywhere, and the same images on one machine, however many are drawn: the
        first 10 of 64 are those of `sample(10)`. Another CPU, GPU or version of ONNX Runtime rounds differently, which
        moves float32 by about 1e-6. With the seed None the noise is new each time. `label` chooses the class, by its
        number or name; a list of them chooses one for each image. `attributes` chooses several things at once, such as
        {"glasses": "yes"}, each by its values' names or numbers: those of `self.attributes`. What is not asked for is
        drawn. `temperature` scales how far codes are from the middle of the prior (or of their class), `truncation`
        draws from that central share of it, `quasi` spreads the samples more evenly than chance (Sobol points).

        Raises:
            InvalidInput: a number out of range, a label or attribute that the model does not have, not as many labels
                as images, or a temperature or truncation where the prior is discrete.
        """
        chosen = {"temperature": temperature, "truncation": truncation, "quasi": quasi}
        return self._sample_job(count, seed, label, attributes, **chosen).collect()["image"]

    def _sample_job(
        self,
        count: int,
        seed: int | None = 0,
        label: Values | None = None,
        attributes: Mapping[str, Values] | None = None,
        **chosen: Any,
    ) -> Job:
        values = with_label(attributes or {}, label)
        number = whole(count, "the number of samples")  # a product with one of numpy's small integers overflows
        return self._engine.sample_job(Draw(self.manifest, number, chosen_seed(seed), values=values, **chosen))

    def sample_from(self, noise: Any) -> NDArray[np.float32]:
        """The images of given noise [n, noise], each number in the open interval (0, 1).

        Raises:
            InvalidInput: wrong shape or dtype, or a number outside (0, 1).
        """
        return self._engine.noise_job(self._noise(noise)).collect()["image"]

    def _noise(self, noise: Any) -> NDArray[np.float32]:
        lent: Any = self._engine.lent("prior", noise, "u", (self.manifest.noise,))
        return check_noise(noise, self.manifest.noise) if lent is None else lent

    def codes_of(self, noise: Any) -> Arrays:
        """The prior's codes of given noise [n, noise] by name: z, and y where the model draws classes too.

        Raises:
            InvalidInput: as for `sample_from`.
        """
        return self._engine.job(self.graph("prior"), {"u": self._noise(noise)}).collect()

    def read_images(
        self, path: str | os.PathLike[str], *, strict: bool = False, pick: Pick | None = None, **how: Unpack[How]
    ) -> Images:
        """The images of a file, or of all pictures of a folder, prepared as those that the model was trained on.

        Every method takes them as images. Pictures that cannot be read are in their `failed`, with why, the others in
        their `names`; with `strict` such a picture is an error. `pick` is given a list of a folder's paths, and gives
        the list of those that are read.

        Raises:
            InvalidInput: there is nothing that can be read.
        """
        return read_images(Path(path_text(path, "the path")), Plan.of(self.manifest, how), strict=strict, pick=pick)

    def encode(self, images: Any, **how: Unpack[How]) -> NDArray[np.float32]:
        """The codes z [n, latent] of images.

        Raises:
            InvalidInput: wrong rank, size, dtype or range, or a NaN.
        """
        return self.codes(images, **how)["z"]

    def codes(self, images: Any, **how: Unpack[How]) -> Arrays:
        """Every output of the encoder by name: z, and log_var or y where the model has them.

        Raises:
            InvalidInput: as for `encode`.
        """
        graph = self._engine.graph("encoder")
        # What needs no conversion and fits into a batch is run at once: planning would count beside a run of 0.06 ms.
        plain = not how and is_plain(images, self.manifest.image.axes) and len(images) <= graph.batch
        if plain and not self._seems_inverted(images):
            return self._engine.run(graph, {"image": check_range(images)})
        return self._engine.encode_job(self._given(images, **how)).collect()

    def classify(self, images: Any, **how: Unpack[How]) -> Classes:
        """The most probable class of each image, by the encoder's categorical head.

        Raises:
            InvalidInput: the model has no such head, or several attributes, or images as for `encode`.
        """
        found = self.tell(images, **how)
        if len(found) > 1:
            raise InvalidInput(f"{self.name} tells {', '.join(found)}; take one of them from model.tell(images)")
        return next(iter(found.values()))

    def tell(self, images: Any, **how: Unpack[How]) -> dict[str, Classes]:
        """What each image is: for each of `attributes` its most probable value and how probable that is.

        Raises:
            InvalidInput: the encoder does not tell, or images as for `encode`.
        """
        outputs = self._engine.graph("encoder").outputs
        if "y" not in outputs:
            given = ", ".join(outputs)
            raise InvalidInput(f"{self.manifest.name} does not classify: its encoder gives {given}, expected y too")
        return told(np.asarray(self.codes(images, **how)["y"]), self.manifest)

    def graph(self, role: str) -> Graph:
        """The open graph of a role, "encoder", "decoder", "prior" or "detector": its session, its names and shapes.

        Raises:
            InvalidInput: there is no such role, or the model has no detector.
            InvalidBundle: the graph's file is not the manifest's, or it is not what the manifest says.
            DeviceUnavailable: the device is not available.
        """
        if role not in ALL_ROLES:
            raise InvalidInput(f"the role is {role!r}, expected one of {', '.join(ALL_ROLES)}")
        if role not in self.manifest.graphs:
            raise InvalidInput(f"{self.name} has no {role}; it has {', '.join(self.manifest.graphs)}")
        return self._engine.graph(role)

    @property
    def conditional(self) -> bool:
        """Whether the decoder takes the class y beside the code z."""
        return self._engine.conditional

    @property
    def batch(self) -> int:
        """How many images are worked on at a time; any number may be given."""
        return self._engine.batch

    def decode(self, z: Any, y: Any = None, *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """The images of codes z [n, latent], and of classes where the decoder is conditional.

        The classes y are [n, classes], such as an encoder's probabilities, or class numbers, integers [n]. Of several
        attributes each has its part of y, in the order of `attributes`, and the numbers are [n, attributes]. With
        `out`, an array float32 [n, C, H, W], the images are written into it, and it is given back.

        Raises:
            InvalidInput: wrong shape or dtype, a value that is not finite, or y missing or not wanted.
        """
        codes = self._checked_codes(z, y)
        if out is None:
            return self._decode(codes)["image"]
        shape = (len(codes["z"]), *self.manifest.image.axes)
        self._decode(codes, {"image": check_output(out, shape)})
        return out

    def reconstruct(
        self, images: Any, *, attributes: Mapping[str, Values] | None = None, **how: Unpack[How]
    ) -> NDArray[np.float32]:
        """The images decoded from the codes of `images`.

        With `attributes`, such as {"glasses": "yes"}, they are redrawn with these: of all images or, with a list, of
        each. The codes, and the other attributes, are kept.

        Raises:
            InvalidInput: there are no such attributes, the decoder does not take them, or as for `encode`.
        """
        return self._reconstruct_job(images, attributes=attributes, **how).collect()["image"]

    @overload
    def stream(
        self,
        work: Literal["sample"],
        count: int,
        *,
        seed: int | None = 0,
        label: Values | None = None,
        attributes: Mapping[str, Values] | None = None,
        temperature: float = 1.0,
        truncation: float = 1.0,
        quasi: bool = False,
    ) -> Stream: ...

    @overload
    def stream(self, work: Literal["encode"], images: Any, **how: Unpack[How]) -> Stream: ...

    @overload
    def stream(self, work: Literal["decode"], z: Any, y: Any = None) -> Stream: ...

    @overload
    def stream(
        self,
        work: Literal["reconstruct"],
        images: Any,
        *,
        attributes: Mapping[str, Values] | None = None,
        **how: Unpack[How],
    ) -> Stream: ...

    @overload
    def stream(
        self,
        work: Literal["interpolate"],
        images: Any,
        steps: int = 9,
        *,
        spherical: bool = False,
        attributes: Mapping[str, Values] | None = None,
        **how: Unpack[How],
    ) -> Stream: ...

    @overload
    def stream(
        self,
        work: Literal["traverse"],
        images: Any,
        steps: int = 9,
        *,
        attributes: Mapping[str, Values] | None = None,
        **how: Unpack[How],
    ) -> Stream: ...

    def stream(self, work: str, *given: object, **options: object) -> Stream:
        """The result of `sample`, `encode`, `decode`, `reconstruct` or a walk, batch by batch while it is asked for.

        `model.stream("sample", 100_000, seed=1)` takes the arguments of `model.sample`, and so on. Iterate over it,
        or `save` it to an .npy file: memory for one batch is enough, and for the codes of a walk.

        Raises:
            InvalidInput: `work` is something else, or as for the work itself.
        """
        jobs: dict[str, Callable[..., Job]] = {
            "sample": self._sample_job,
            "encode": lambda images, **chosen: self._engine.encode_job(self._given(images, **chosen)),
            "decode": self._decoding(self._checked_codes),
            "reconstruct": self._reconstruct_job,
            "interpolate": self._decoding(self._lines),
            "traverse": self._decoding(self._traversals),
        }
        if not isinstance(work, str) or work not in jobs:
            raise InvalidInput(f"the work to stream is {work!r}, expected one of {', '.join(jobs)}")
        return jobs[work](*given, **options).stream("z" if work == "encode" else "image")

    def _decoding(self, codes: Callable[..., Arrays]) -> Callable[..., Job]:
        """The work of decoding what `codes` makes of its arguments."""
        return lambda *given, **options: self._engine.job(self.graph("decoder"), codes(*given, **options))

    def score(self, images: Any, *, maps: bool = False, **how: Unpack[How]) -> Scores:
        """How unlike the model's training images each image is, and whether that makes it anomalous.

        Where the model has a detector, that gives the score. With `maps` the scores have `maps`, which tell where an
        image is odd, each [height, width] in the size of what was given: 0 where it is not, about 1 where it is. That
        of pictures is worked out from them when it is asked for.

        Raises:
            InvalidInput: the bundle has no anomaly score, or images as for `encode`.
        """
        if self._engine.detects and not maps and not how and self._is_one(images):
            image = check_range(images)
            score = self._engine.graph(SCORE).run({"image": image})["score"]
            return judge_detected_one(score, image, self.manifest.score)
        given = self._images(images, **how)
        return self._scores(self._score_job(given, maps=maps).collect(), given)

    def score_batches(self, images: Any, *, maps: bool = False, **how: Unpack[How]) -> Iterator[Scores]:
        """The same as `score`, batch by batch while it is asked for: memory for one batch is enough.

        Raises:
            InvalidInput: as for `score`.
        """
        given = self._images(images, **how)
        job = self._score_job(given, maps=maps)
        return (self._scores(job.step(part, None), given, part.start) for part in job.parts())

    def _score_job(self, images: Images, *, maps: bool) -> Job:
        if self._engine.detects:
            return self._engine.detect_job(images, maps=maps)
        _ = self.score_limits
        return self._engine.score_job(images, maps=maps)

    def _scores(self, parts: Arrays, images: Images, start: int = 0) -> Scores:
        """The scores of images from what their job gives; `start` is the number of the first."""
        scores = self._judged(parts)
        if "map" in parts:
            from aae_zoo.runtime.drawing.maps import Maps  # imports Pillow, which most scores do not need

            unit = 1.0 if self._engine.detects else LOCAL * self.score_limits.reconstruction
            scores.maps = Maps(parts["map"] / np.float32(unit), images, start)
        return scores

    def _judged(self, parts: Arrays) -> Scores:
        if self._engine.detects:
            return judge_detected(parts["score"], parts["contrast"], self.manifest.score)
        return judge(parts["error"], parts["distance"], parts["contrast"], self.score_limits)

    @property
    def threshold(self) -> float:
        """Above which score an image is anomalous.

        Raises:
            InvalidInput: the bundle has no anomaly score.
        """
        return 1.0 if self._engine.detects else self.score_limits.threshold

    @property
    def score_limits(self) -> ScoreLimits:
        """What the anomaly score measures against.

        Raises:
            InvalidInput: the bundle has no anomaly score.
        """
        if self.manifest.score is None:
            raise InvalidInput(
                f"{self.manifest.name} has no anomaly score: its manifest has no table score; export the model again"
            )
        return self.manifest.score

    def score_parts(
        self, images: Any, **how: Unpack[How]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Each [n]: squared error per pixel, distance of the code from the prior, contrast.

        They are what the score is made of where there is no detector.

        Raises:
            InvalidInput: as for `encode`.
        """
        parts = self._engine.score_job(self._images(images, **how)).collect()
        return parts["error"], parts["distance"], parts["contrast"]

    def drift(self, new: Any, reference: Any = None, *, seed: int = 0, **how: Unpack[How]) -> "Drift":
        """Whether new images still look like those of the reference, as this model sees them.

        Without a reference they are compared with what the bundle keeps of test images. Each of the two may also be
        codes [n, latent]: codes are compared by themselves, images by their reconstruction errors too. Of more than
        1,000, `seed` chooses as many; their order does not matter. The reference should be images that the model was
        not trained on, as it rebuilds those better than any new ones.

        Raises:
            InvalidInput: fewer than 20 images, a seed out of range, no reference where the bundle keeps no codes, or
                images as for `encode`.
            InvalidBundle: what the bundle keeps is damaged.
        """
        from aae_zoo.runtime.latent.drift import compare, of_parts  # slow to import, and few models are asked

        fresh = self._sample(new, "new image", seed, **how)
        if reference is None:
            known = of_parts(self._kept.parts, self.manifest.score, seed)
        else:
            known = self._sample(reference, "reference image", seed, **how)
        return compare(fresh, known, seed)

    @property
    def kept_codes(self) -> NDArray[np.float32]:
        """The codes [n, latent] of test images that the bundle keeps.

        Raises:
            InvalidInput: it keeps none.
            InvalidBundle: they are damaged.
        """
        return self._kept.parts["z"]

    @property
    def _kept(self) -> "KeptCodes":
        from aae_zoo.runtime.latent.drift import FEWEST  # as in `drift`

        kept = self._engine.kept_codes
        count = len(kept.parts["z"]) if kept else 0
        if kept is None or count < FEWEST:
            raise InvalidInput(
                f"{self.name} keeps {counted(count, 'code')} to compare with, expected {FEWEST} or more; give the "
                f"pictures that new ones should look like: aae-zoo drift {self.name} NEW --reference OLD"
            )
        return kept

    def _sample(self, given: Any, what: str, seed: int, **how: Unpack[How]) -> "Sample":
        from aae_zoo.runtime.latent.drift import Sample, check_enough, chosen, digests_of, figures_of, of_parts

        if getattr(given, "ndim", 0) == 2:
            z = self._as_codes(given)
            check_enough(len(z), what)
            return of_parts({"z": z}, None, seed)
        images = self._images(given, **how)
        check_enough(len(images), what)
        digests = digests_of((image.data for batch in images.batches() for image in batch), seed)
        parts = self._engine.score_job(images.some(chosen(digests))).collect()
        return Sample(len(images), digests, figures_of(parts, self.manifest.score))

    def interpolate(
        self,
        images: Any,
        steps: int = 9,
        *,
        spherical: bool = False,
        attributes: Mapping[str, Values] | None = None,
        **how: Unpack[How],
    ) -> NDArray[np.float32]:
        """Images along lines in code space, from each image to the next: [(n - 1) * steps, C, H, W].

        Each line has `steps` images, its two ends among them; it is straight, or with `spherical` a great arc. With
        `attributes` the images are redrawn with these, as by `reconstruct`.

        Raises:
            InvalidInput: fewer than two images or steps, or images and attributes as for `reconstruct`.
        """
        return self._decode(self._lines(images, steps, spherical=spherical, attributes=attributes, **how))["image"]

    def _lines(
        self,
        images: Any,
        steps: int = 9,
        *,
        spherical: bool = False,
        attributes: Mapping[str, Values] | None = None,
        **how: Unpack[How],
    ) -> Arrays:
        codes = self._decoder_inputs(images, attributes, **how)
        if len(codes["z"]) < 2 or whole(steps, "the number of steps") < 2:
            raise InvalidInput(
                f"interpolate has {counted(len(codes['z']), 'image')} and {counted(steps, 'step')}, expected 2 or "
                "more of each"
            )
        return {name: (arcs if spherical and name == "z" else lines)(c, steps) for name, c in codes.items()}

    def traverse(
        self, images: Any, steps: int = 9, *, attributes: Mapping[str, Values] | None = None, **how: Unpack[How]
    ) -> NDArray[np.float32]:
        """What each coordinate of the code does: each image with one at a time moved, [n * latent * steps, C, H, W].

        A coordinate goes in even steps from the first to the 99th percentile of the prior, the others stay. With
        `attributes` the images are redrawn with these, as by `reconstruct`.

        Raises:
            InvalidInput: fewer than two steps, or images and attributes as for `reconstruct`.
        """
        return self._decode(self._traversals(images, steps, attributes=attributes, **how))["image"]

    def _traversals(
        self, images: Any, steps: int = 9, *, attributes: Mapping[str, Values] | None = None, **how: Unpack[How]
    ) -> Arrays:
        values = self.traversed(steps)
        codes = self._decoder_inputs(images, attributes, **how)
        walk = {name: np.repeat(c, values.size, axis=0) for name, c in codes.items()}
        walk["z"] = traversals(codes["z"], values)
        return walk

    def traversed(self, steps: int = 9) -> NDArray[np.float32]:
        """The values that each coordinate of the code goes through in `traverse`: [latent, steps].

        Raises:
            InvalidInput: fewer than two steps.
        """
        if whole(steps, "the number of steps") < 2:
            raise InvalidInput(f"traverse has {counted(steps, 'step')}, expected 2 or more")
        return traversed(self._engine.prior_draws, steps)

    def nearest(self, images: Any, among: Any, k: int = 1, **how: Unpack[How]) -> Neighbours:
        """The `k` images of `among` whose codes z are nearest to the code of each image: numbers and distances, [n, k].

        Each of the two may also be codes [n, latent].

        Raises:
            InvalidInput: `k` is not from 1 to the number of `among`, or images as for `encode`.
        """
        return nearest_codes(self._as_codes(images, **how), self._as_codes(among, **how), k)

    def manifold(self, side: int = 20) -> NDArray[np.float32]:
        """The images of a regular grid of percentiles of a 2-D prior: [side * side, C, H, W], row by row from the top.

        Raises:
            InvalidInput: the prior's noise is not 2-D, or `side` is below 1.
        """
        if self.manifest.noise != 2:
            raise InvalidInput(f"{self.manifest.name} has {self.manifest.noise}-D noise, a manifold picture needs 2-D")
        if whole(side, "the side of the grid") < 1:
            raise InvalidInput(f"the side of the grid is {side}, expected 1 or more")
        return self.sample_from(percentile_grid(side))

    def _images(self, images: Any, **how: Unpack[How]) -> Images:
        # Planning one image would take as long as scoring it.
        if not how and self._is_one(images):
            return one_image(images)
        return as_images(self._engine.on_host(images, "the images"), Plan.of(self.manifest, how))

    def _given(self, images: Any, **how: Unpack[How]) -> Any:
        """Images for a graph: those that lie on the model's card as they lie there, where nothing is to be prepared."""
        lent = None if how else self._engine.lent("encoder", images, "image", self.manifest.image.axes)
        return self._images(images, **how) if lent is None else lent

    def _is_one(self, images: Any) -> bool:
        """Whether that is one image that needs no conversion."""
        one = is_plain(images, self.manifest.image.axes) and len(images) == 1
        return one and not self._seems_inverted(images)

    def _seems_inverted(self, images: NDArray[np.float32]) -> bool:
        """Whether the first pixel calls for a look at the images' grounds: to look at more would show at batch 1."""
        polarity = self.manifest.preparation.polarity
        return polarity != "any" and (images.item(0) > 0.5) == (polarity == "dark")

    def _decoder_inputs(
        self, images: Any, attributes: Mapping[str, Values] | None = None, **how: Unpack[How]
    ) -> Arrays:
        codes = {name: np.asarray(values) for name, values in self.codes(images, **how).items()}
        if asked := self._redrawn(attributes, len(codes["z"])):
            return {"z": codes["z"], "y": asked.replace(codes.get("y"), slice(None))}
        self._check_class_is_given(codes)
        return self._engine.decoder_inputs(codes)

    def _decode(self, codes: Arrays, out: Arrays | None = None) -> Arrays:
        graph = self._engine.graph("decoder")
        if len(codes["z"]) <= graph.batch:  # at once, as in `codes`
            return self._engine.run(graph, codes, out)
        return self._engine.job(graph, codes).collect(out)

    def _reconstruct_job(self, images: Any, attributes: Mapping[str, Values] | None = None, **how: Unpack[How]) -> Job:
        given = self._given(images, **how)
        asked = self._redrawn(attributes, len(given))
        if not asked:
            self._check_class_is_given(self.graph("encoder").outputs)
        return self._engine.reconstruct_job(given, asked)

    def _redrawn(self, attributes: Mapping[str, Values] | None, count: int) -> Asked | None:
        """What is asked of images that are redrawn, if anything."""
        if not attributes:
            return None
        asked = Asked(self.manifest, attributes, count)
        asked.check_redrawn(conditional=self.conditional)
        return asked

    def _check_class_is_given(self, outputs: Collection[str]) -> None:
        """Refuse to decode an encoder's outputs that lack the class y, where the decoder takes it."""
        if self.conditional and "y" not in outputs:
            raise InvalidInput(
                f"the decoder of {self.manifest.name} takes y, which its encoder does not give; decode its z with a y"
            )

    def _checked_codes(self, z: Any, y: Any = None) -> Arrays:
        """The decoder's inputs as a user gives them."""
        if (y is not None) != self._engine.conditional:
            takes, given = ("z, y", "z") if y is None else ("z", "z, y")
            raise InvalidInput(f"the decoder of {self.manifest.name} takes {takes}, given {given}")
        # Arrays of numpy, the usual case, are not asked where they lie: that would count beside a run of 0.03 ms.
        lent: Any = None if type(z) is np.ndarray else self._engine.lent("decoder", z, "z", (self.manifest.latent,))
        codes = {"z": check_codes(z, self.manifest.latent, "z") if lent is None else lent}
        if y is not None:
            lent = None
            if type(y) is not np.ndarray and str(getattr(y, "dtype", "")).endswith("float32"):
                lent = self._engine.lent("decoder", y, "y", (self.manifest.classes,))  # numbers become rows on the host
            codes["y"] = check_classes(y, self._widths) if lent is None else lent
            if len(codes["y"]) != len(codes["z"]):
                raise InvalidInput(
                    f"z has {counted(len(codes['z']), 'row')} and y has {len(codes['y'])}, expected the same number"
                )
        return codes

    def _as_codes(self, given: Any, **how: Unpack[How]) -> NDArray[np.float32]:
        if getattr(given, "ndim", 0) == 2:
            return check_codes(self._engine.on_host(given, "z"), self.manifest.latent, "z")
        return np.asarray(self.encode(given, **how))
