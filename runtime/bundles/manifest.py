"""The manifest of a bundle: what a model is, and the hash and size of every file in it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

from aae_zoo.runtime.documents import parse_document
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.escapes import is_line

SCHEMA: Final = 1
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 1 << 20
MAX_FILE_BYTES: Final = 1 << 30
ROLES: Final = ("encoder", "decoder", "prior")
# The precisions that a graph can have; lite is a smaller network that was taught to give what the graph gives.
PRECISIONS: Final = ("fp32", "fp16", "int8", "lite")
# PyTorch's weights are half of a bundle, and only fine-tuning needs them: wheels leave them out.
WEIGHTS: Final = "model.safetensors"
CARD: Final = "README.md"
# What the model is, in a few lines: the Hub counts requests for it as downloads.
CONFIG: Final = "config.json"
# Over the manifest and all files that it names.
SIGNATURE: Final = "model.sig"
FITS: Final = ("crop", "pad", "squash", "digit")
GROUNDS: Final = ("white", "black")
POLARITIES: Final = ("dark", "light", "any")

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


_LINE: Final = "a line of text without control characters"


@dataclass(frozen=True)
class ImageShape:
    """The shape of one image: channels (1 gray, 3 colour), height and width in pixels."""

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels} x {self.height} x {self.width}"

    @cached_property
    def axes(self) -> tuple[int, int, int]:
        """The shape as a tuple (C, H, W)."""
        return (self.channels, self.height, self.width)


@dataclass(frozen=True)
class FileRecord:
    """What a file of the bundle must be: its SHA-256 in hexadecimal and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Preparation:
    """How a picture of any kind becomes an image of the model: as the pictures that it was trained on did.

    `fit` is how another size becomes the model's: "crop" cuts to the middle, "pad" fills up with the ground, "squash"
    changes the proportions, and "digit" scales the ink into the middle as MNIST does. `ground` lies under
    transparency, "white" or "black". `polarity` says what the images' ground is: "dark", "light", or "any" where they
    have none in common. `range` is the pair of raw values that became 0 and 1, or None for all that a file can hold.
    """

    fit: str
    ground: str
    polarity: str
    range: tuple[int, int] | None


# What a manifest without it means: pictures were always cut to their middle and put on white.
USUAL_PREPARATION: Final = Preparation(fit="crop", ground="white", polarity="any", range=None)


@dataclass(frozen=True)
class ScoreLimits:
    """What the anomaly score measures against: the 99th percentiles on so many validation `images`.

    `reconstruction` and `distance` are those of its two parts, `threshold` that of the score itself. `contrast` is the
    smallest standard deviation of an image's pixels among them: what is flatter is anomalous.
    """

    reconstruction: float
    distance: float
    threshold: float
    images: int
    contrast: float


@dataclass(frozen=True)
class Manifest:
    """A model's manifest, checked.

    `graphs` maps a role ("encoder", "decoder", "prior") to its file for each precision ("fp32", ...);
    `licence` is that of the weights, `data_licence` that of the data which they were trained on, empty where nobody
    has said; `preparation` is how pictures become images;
    `labels` names the classes, empty where the model has none; `label_coordinate` is the coordinate of the
    prior's noise that chooses the class, or None; `choices` are all coordinates that choose a class, a component or a
    bit instead of spreading codes; `score` is None where it was not measured; `metrics` and
    `provenance` are as the export wrote them.
    """

    schema: int
    name: str
    version: str
    title: str
    description: str
    licence: str
    dataset: str
    data_licence: str
    image: ImageShape
    preparation: Preparation
    latent: int
    noise: int
    labels: tuple[str, ...]
    label_coordinate: int | None
    choices: tuple[int, ...]
    graphs: Mapping[str, Mapping[str, str]]
    files: Mapping[str, FileRecord]
    score: ScoreLimits | None
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def to_document(self) -> dict[str, Any]:
        """The manifest as its file has it: of its JSON, `parse_manifest` makes the same manifest again."""
        document = asdict(self)
        score = document.pop("score")  # the last of the file, and not there where it was not measured
        return document if score is None else {**document, "score": score}

    @property
    def size(self) -> int:
        """The bytes of all files but the manifest itself."""
        return sum(record.size for record in self.files.values())

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of a row of each input and output that a graph may have, by name."""
        return {
            "image": self.image.axes,
            "z": (self.latent,),
            "log_var": (self.latent,),
            "y": (len(self.labels),),
            "u": (self.noise,),
        }

    def precision_of(self, role: str, precision: str) -> str:
        """The precision that a graph is run in where `precision` is asked for: fp32 where it does not have that one.

        "auto" is fp32, which alone gives the same images on every machine, to about 1e-6, and the figures of `metrics`.

        Raises:
            InvalidBundle: no graph of the bundle has that precision.
        """
        if precision == "auto":
            return "fp32"
        has = sorted({p for files in self.graphs.values() for p in files}, key=PRECISIONS.index)
        if precision not in has:
            raise InvalidBundle(f"{self.name} has no {precision} graphs; its precisions are {', '.join(has)}")
        return precision if precision in self.graphs[role] else "fp32"

    def graph_file(self, role: str, precision: str = "fp32") -> str:
        """The file name of a graph.

        Raises:
            InvalidBundle: the bundle has no such graph.
        """
        try:
            return self.graphs[role][precision]
        except KeyError:
            raise InvalidBundle(
                f"{self.name} has no {precision} {role}; it has "
                + ", ".join(f"{r} ({', '.join(p)})" for r, p in self.graphs.items())
            ) from None


def metric_text(value: object) -> str:
    """A metric as people read it: four significant digits."""
    if isinstance(value, list):
        return "[" + ", ".join(map(metric_text, value)) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {metric_text(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def is_plain_name(name: str) -> bool:
    """Whether `name` is a file name that cannot lead out of the bundle's folder."""
    return _PLAIN_NAME.fullmatch(name) is not None


def parse_manifest(text: bytes, where: str) -> Manifest:
    """Parse and check a manifest; `where` names it in errors.

    Raises:
        InvalidBundle: it is too large, not JSON, has a name twice, is of another schema, or a field is missing or
            wrong.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise InvalidBundle(f"{where} has {len(text)} bytes, a manifest has at most {MAX_MANIFEST_BYTES}")
    try:
        document = parse_document(text)
    except ValueError as error:
        raise InvalidBundle(f"{where} {error}; pull or export the model again") from None
    return _manifest(_Fields(document, where))


class _Fields:
    """The fields of one JSON object, each read with its check and an error that says where it is."""

    def __init__(self, document: object, where: str) -> None:
        self.where = where
        if not isinstance(document, dict):
            raise InvalidBundle(f"{where} holds {type(document).__name__}, expected a JSON object")
        self.document: dict[str, Any] = document

    def _get(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        value = self.document.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(key, expected)
        return value

    def wrong(self, key: str, expected: str) -> InvalidBundle:
        found = repr(self.document[key])[:80] if key in self.document else "missing"
        return InvalidBundle(f"{self.where}: {key} is {found}, expected {expected}; pull or export the model again")

    def text(
        self,
        key: str,
        pattern: re.Pattern[str] | None = None,
        expected: str = _LINE,
    ) -> str:
        value: str = self._get(key, str, expected)
        if len(value) > 10_000 or not is_line(value) or (pattern and not pattern.fullmatch(value)):
            raise self.wrong(key, expected)
        return value

    def one_of(self, key: str, known: Sequence[str]) -> str:
        value = self.text(key)
        if value not in known:
            raise self.wrong(key, f"one of {', '.join(known)}")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        expected = f"a whole number from {low} to {high}"
        value: int = self._get(key, int, expected)
        if not low <= value <= high:
            raise self.wrong(key, expected)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        expected = f"a number from {low:g} to {high:g}"
        value: float = self._get(key, (int, float), expected)
        if not low <= value <= high:
            raise self.wrong(key, expected)
        return float(value)

    def table(self, key: str) -> dict[str, Any]:
        value: dict[str, Any] = self._get(key, dict, "an object")
        return value

    def fields(self, key: str) -> "_Fields":
        return _Fields(self.table(key), f"{self.where}: {key}")

    def texts(self, key: str) -> tuple[str, ...]:
        values: list[object] = self._get(key, list, "a list of texts")
        if len(values) > 100_000 or not all(isinstance(v, str) and is_line(v) for v in values):
            raise self.wrong(key, "a list of texts without control characters")
        return tuple(str(v) for v in values)


def _manifest(fields: _Fields) -> Manifest:
    if fields.document.get("schema") != SCHEMA:
        raise fields.wrong("schema", f"{SCHEMA}, the one this version of aae-zoo reads (pip install -U aae-zoo)")
    noise = fields.integer("noise", 1, 1 << 16)
    files = _files(fields.fields("files"))
    label_coordinate = (
        None if fields.document.get("label_coordinate") is None else fields.integer("label_coordinate", 0, noise - 1)
    )
    return Manifest(
        schema=SCHEMA,
        name=fields.text("name", _PLAIN_NAME, "a plain name"),
        version=fields.text("version", _PLAIN_NAME, "a version such as 1.0.0"),
        title=fields.text("title"),
        description=fields.text("description"),
        licence=fields.text("licence"),
        dataset=fields.text("dataset"),
        data_licence="" if fields.document.get("data_licence") is None else fields.text("data_licence"),
        image=_image(fields.fields("image")),
        preparation=_preparation(fields),
        latent=fields.integer("latent", 1, 1 << 16),
        noise=noise,
        labels=fields.texts("labels"),
        label_coordinate=label_coordinate,
        choices=_choices(fields, noise, label_coordinate),
        graphs=_graphs(fields.fields("graphs"), files),
        files=files,
        score=None if fields.document.get("score") is None else _score(fields.fields("score")),
        metrics=fields.table("metrics"),
        provenance=fields.table("provenance"),
    )


def _choices(fields: _Fields, noise: int, label_coordinate: int | None) -> tuple[int, ...]:
    """The coordinates that choose; where the manifest does not say, the one that chooses the class."""
    if fields.document.get("choices") is None:
        return () if label_coordinate is None else (label_coordinate,)
    values = fields.document["choices"]
    if not isinstance(values, list) or not all(type(v) is int and 0 <= v < noise for v in values):
        raise fields.wrong("choices", f"a list of whole numbers from 0 to {noise - 1}")
    return tuple(values)


def _image(fields: _Fields) -> ImageShape:
    return ImageShape(
        channels=fields.integer("channels", 1, 4),
        height=fields.integer("height", 1, 4096),
        width=fields.integer("width", 1, 4096),
    )


def _preparation(fields: _Fields) -> Preparation:
    """How pictures are prepared; as they always were where the manifest does not say."""
    if fields.document.get("preparation") is None:
        return USUAL_PREPARATION
    entry = fields.fields("preparation")
    return Preparation(
        fit=entry.one_of("fit", FITS),
        ground=entry.one_of("ground", GROUNDS),
        polarity=entry.one_of("polarity", POLARITIES),
        range=_range(entry),
    )


def _range(fields: _Fields) -> tuple[int, int] | None:
    values = fields.document.get("range")
    if values is None:
        return None
    whole = isinstance(values, list) and [type(value) for value in values] == [int, int]
    if not whole or not 0 <= values[0] < values[1] < 1 << 32:
        raise fields.wrong("range", "null or two whole numbers, the smaller one first")
    return (values[0], values[1])


def _score(fields: _Fields) -> ScoreLimits:
    reconstruction, distance, threshold = (
        fields.number(key, 1e-9, 1e9) for key in ("reconstruction", "distance", "threshold")
    )
    images = fields.integer("images", 1, 1 << 40)
    contrast = 0.0 if fields.document.get("contrast") is None else fields.number("contrast", 0, 1)
    return ScoreLimits(reconstruction, distance, threshold, images, contrast)


def _files(fields: _Fields) -> dict[str, FileRecord]:
    if len({name.lower() for name in fields.document}) < len(fields.document):
        raise InvalidBundle(f"{fields.where} has one name twice, apart from capitals; do not trust this bundle")
    records = {}
    for name in fields.document:
        if not is_plain_name(name):
            raise InvalidBundle(f"{fields.where}: {name[:80]!r} is not a plain file name; do not trust this bundle")
        entry = fields.fields(name)
        sha256 = entry.text("sha256", _SHA256, "64 hexadecimal digits")
        records[name] = FileRecord(sha256=sha256, size=entry.integer("size", 0, MAX_FILE_BYTES))
    return records


def _graphs(fields: _Fields, files: Mapping[str, FileRecord]) -> dict[str, dict[str, str]]:
    graphs: dict[str, dict[str, str]] = {}
    for role in ROLES:
        entry = fields.fields(role)
        graphs[role] = {p: entry.text(p) for p in PRECISIONS if p in entry.document}
        for name in graphs[role].values():
            if name not in files:
                raise InvalidBundle(f"{entry.where}: {name[:80]!r} is not among the manifest's files")
        if "fp32" not in graphs[role]:
            raise entry.wrong("fp32", "the name of a file")
    return graphs
