"""A model of aae-zoo: draws, encodes, decodes, scores; numpy and onnxruntime are all that this needs.

Images are float32 [n, channels, height, width] in [0, 1]. Codes are dictionaries of float32 arrays: `z` [n, latent],
`y` [n, classes], the probabilities of the classes, where the model has it, and what else a graph tells.
"""
# Model: any of aae-zoo; what differs between models is read from the graphs.

import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it when it is imported
import onnxruntime as ort  # type: ignore[import-untyped, unused-ignore]

Codes = dict[str, np.ndarray]
Asked = Mapping[str, int | str]


class Model:
    """The model whose graphs are in a folder, by default this file's; open it once and use it from any thread."""

    def __init__(self, folder: str | os.PathLike[str] = Path(__file__).parent) -> None:
        graphs = (str(Path(folder) / f"{role}.onnx") for role in ("prior", "decoder", "encoder"))
        self._prior, self._decoder, self._encoder = (ort.InferenceSession(graph) for graph in graphs)
        detector = Path(folder) / "detector.onnx"
        self._detector = ort.InferenceSession(str(detector)) if detector.exists() else None
        facts = self._prior.get_modelmeta().custom_metadata_map
        self.name: str = facts["aae_zoo.name"]
        self.shape: tuple[int, int, int] = tuple(json.loads(facts["aae_zoo.image_shape"]))
        self.labels: list[str] = json.loads(facts["aae_zoo.labels"])
        self._size = int(facts["aae_zoo.noise"])
        coordinate = json.loads(facts["aae_zoo.label_coordinate"] or "null")
        label = {"name": "label", "labels": self.labels, "coordinate": coordinate}
        asked = json.loads(facts.get("aae_zoo.attributes", "[]")) or [label]
        # What can be asked for, with its values, in the order of `y`; the labels of one class are "label".
        self.attributes: dict[str, list[str]] = {each["name"]: each["labels"] for each in asked if each["labels"]}
        self._chooses: dict[str, int | None] = {each["name"]: each["coordinate"] for each in asked}

    def sample(
        self, count: int = 1, *, seed: int | None = None, label: int | None = None, attributes: Asked | None = None
    ) -> np.ndarray:
        """Draw images, afresh or, with a seed, the same again; `label` is the number of the class to draw.

        `attributes` are what else to draw, such as {"glasses": "yes"}: values by name or number.

        Raises:
            ValueError: count or seed is no whole number, or there is no such label, attribute or value.
        """
        return self.decode(self.codes(self.noise(count, seed=seed, label=label, attributes=attributes)))

    def noise(
        self, count: int = 1, *, seed: int | None = None, label: int | None = None, attributes: Asked | None = None
    ) -> np.ndarray:
        """Uniform noise in (0, 1), float32 [n, noise], of which `codes` makes codes.

        Raises:
            ValueError: count or seed is no whole number, or there is no such label, attribute or value.
        """
        seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        if count % 1 or count < 0:
            raise ValueError(f"the count is {count}, expected a whole number from 0")
        if seed % 1:
            raise ValueError(f"the seed is {seed}, expected a whole number")
        u = uniform(seed, count * self._size)
        u = u.reshape(count, self._size)
        for name, value in {**(attributes or {}), **({} if label is None else {"label": label})}.items():
            k, at = self._number(name, value), self._chooses[name]
            if at is None:
                raise ValueError(f"{self.name} draws every {name} by chance")
            # One number of each row chooses the value: the interval (k, k + 1) / values is value k.
            u[:, at] = (k + 0.5 + 0.99 * (u[:, at].astype(float) - 0.5)) / len(self.attributes[name])
        return u

    def _number(self, name: str, value: int | str) -> int:
        """The number of an attribute's value, which a text names or, where it names none, counts."""
        labels = self.attributes.get(name, [])
        known = {str(k): k for k in range(len(labels))}
        if isinstance(value, str):
            known |= {label: k for k, label in enumerate(labels)}
        if str(value) not in known:
            expected = f"its labels are {labels}" if labels else f"it can be asked for {list(self.attributes)}"
            raise ValueError(f"{self.name} has no {name} {value}; {expected}")
        return known[str(value)]

    def codes(self, u: np.ndarray) -> Codes:
        """The codes that the prior makes of noise."""
        return _run(self._prior, {"u": u})

    def encode(self, images: np.ndarray) -> Codes:
        """The codes of images."""
        return _run(self._encoder, {"image": images})

    def decode(self, codes: Mapping[str, np.ndarray]) -> np.ndarray:
        """The images of codes, of which the decoder takes what it knows, by name.

        Raises:
            ValueError: it takes what is not given.
        """
        taken = [each.name for each in self._decoder.get_inputs()]
        if missing := [name for name in taken if name not in codes]:
            raise ValueError(f"{self.name} takes {missing[0]}, and none is given")
        return _run(self._decoder, {name: codes[name] for name in taken})["image"]

    def reconstruct(self, images: np.ndarray, *, attributes: Asked | None = None) -> np.ndarray:
        """Encode and decode; with `attributes`, such as {"glasses": "yes"}, redraw with these and keep the rest.

        Raises:
            ValueError: there is no such attribute or value, or no `y` that goes from the encoder to the decoder.
        """
        codes = self.encode(images)
        for name, value in (attributes or {}).items():
            k, names = self._number(name, value), list(self.attributes)
            if "y" not in codes or "y" not in [taken.name for taken in self._decoder.get_inputs()]:
                raise ValueError(f"{self.name} redraws nothing with another {name}")
            start = sum(len(self.attributes[before]) for before in names[: names.index(name)])
            codes["y"][:, start : start + len(self.attributes[name])] = np.eye(len(self.attributes[name]))[k]
        return self.decode(codes)

    @property
    def detects(self) -> bool:
        """Whether the model is a detector, which scores images."""
        return self._detector is not None

    def score(self, images: np.ndarray) -> Codes:
        """How odd images are: `score` [n], odd above 1, and `map` [n, 1, height, width], greatest where they are odd.

        Raises:
            ValueError: the model is not a detector.
        """
        if self._detector is None:
            raise ValueError(f"{self.name} is not a detector")
        return _run(self._detector, {"image": images})


def _run(graph: ort.InferenceSession, inputs: Mapping[str, np.ndarray]) -> Codes:
    names = [output.name for output in graph.get_outputs()]
    given = {name: np.asarray(values, np.float32) for name, values in inputs.items()}
    return {name: np.asarray(values) for name, values in zip(names, graph.run(names, given), strict=True)}


def uniform(seed: int, size: int) -> np.ndarray:
    """Uniform in (0, 1): MurmurHash3's finaliser of a counter. Any generator will do; every example has this one."""
    x: np.ndarray = (np.arange(1, size + 1, dtype=np.uint64) + seed % 2**32 * 0x9E3779B9).astype(np.uint32)
    x = (x ^ x >> 16) * np.uint32(0x85EBCA6B)
    x = (x ^ x >> 13) * np.uint32(0xC2B2AE35)
    x = ((x ^ x >> 16) >> 9) * 2 + 1
    return x.astype(np.float32) / 2**24


def png(image: np.ndarray) -> bytes:
    """One image [channels, height, width] in [0, 1] as a PNG file, gray or RGB."""
    channels, height, width = image.shape
    pixels = np.rint(np.clip(image, 0, 1).transpose(1, 2, 0).reshape(height, -1) * 255).astype(np.uint8)
    lines = np.pad(pixels, ((0, 0), (1, 0)))  # a byte that says "as it is" begins each
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
