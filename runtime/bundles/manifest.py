"""The manifest of a bundle: what a model is, and the hash and size of every file in it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

from aae_zoo.runtime.bundles.names import (
    ALL_ROLES,
    DETECTOR,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    PLAIN_NAME,
    PRECISIONS,
    is_plain_name,
)
from aae_zoo.runtime.bundles.rules import MOST_RECORDS, MOST_TEXT, MOST_TEXTS, SHA256, Rule, rules_of
from aae_zoo.runtime.documents import as_document, parse_document
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.escapes import is_line

SCHEMA: Final = 1
FITS: Final = ("crop", "pad", "squash", "digit")
GROUNDS: Final = ("white", "black")
POLARITIES: Final = ("dark", "light", "any")
_RAW: Final = (1 << 32) - 1
_FIGURE: Final = (1e-9, 1e9)
# The share of ordinary images that are anomalous, unless another was asked for.
FALSE_ALARMS: Final = 0.01

# Of a code, and of the noise.
_SIZE: Final = 1 << 16
_HASH: Final = "64 hexadecimal digits"


# Records are named tuples: Python makes a dataclass in seven times the time, for which every process would wait.
class ImageShape(NamedTuple):
    """The shape of one image: channels (1 gray, 3 colour), height and width in pixels."""

    channels: Annotated[int, Rule("1 for gray, 3 for colour", 1, 4)]
    height: Annotated[int, Rule("in pixels", 1, 4096)]
    width: Annotated[int, Rule("in pixels", 1, 4096)]

    def __str__(self) -> str:
        return f"{self.channels} x {self.height} x {self.width}"

    @property
    def axes(self) -> tuple[int, int, int]:
        """The shape as a tuple (C, H, W)."""
        return self.channels, self.height, self.width


class FileRecord(NamedTuple):
    """What a file of the bundle must be: its SHA-256 in hexadecimal and its size in bytes."""

    sha256: Annotated[str, Rule("its SHA-256 in small hexadecimal digits", pattern=SHA256, expected=_HASH)]
    size: Annotated[int, Rule("its bytes", 0, MAX_FILE_BYTES)]


class Preparation(NamedTuple):
    """How a picture of any kind becomes an image of the model: as the pictures that it was trained on did.

    `fit` is how another size becomes the model's: "crop" cuts to the middle, "pad" fills up with the ground, "squash"
    changes the proportions, and "digit" scales the ink into the middle as MNIST does. `ground` lies under
    transparency, "white" or "black". `polarity` says what the images' ground is: "dark", "light", or "any" where they
    have none in common. `range` is the pair of raw values that became 0 and 1, or None for all that a file can hold.
    """

    fit: Annotated[str, Rule("how another size becomes the model's", known=FITS)]
    ground: Annotated[str, Rule("what lies under transparency", known=GROUNDS)]
    polarity: Annotated[str, Rule("what the images' ground is, any where they have none in common", known=POLARITIES)]
    range: Annotated[
        tuple[int, int] | None,
        Rule("the raw values of 0 and 1, the smaller first; else all that a file can hold", 0, _RAW, optional=True),
    ]


# What a manifest without it means: pictures were always cut to their middle and put on white.
USUAL_PREPARATION: Final = Preparation(fit="crop", ground="white", polarity="any", range=None)


class Attribute(NamedTuple):
    """Something that can be asked of a picture, such as glasses, and the values that it has.

    In y the attributes stand one after the other, each with a number for each of its values.
    """

    name: Annotated[str, Rule("what it is called", pattern="[^=]+", expected="a line of text without =")]
    labels: Annotated[tuple[str, ...], Rule("the names of its values by number")]
    coordinate: Annotated[
        int | None, Rule("the coordinate of u that chooses a value; else none does", 0, _SIZE - 1, optional=True)
    ]


class ScoreLimits(NamedTuple):
    """What the anomaly score measures against: the 99th percentiles on `images` validation images.

    `reconstruction` and `distance` are those of its two parts, `threshold` that of the score itself, unless it was set
    for another share of `false_alarms` than 1 %. `contrast` is the smallest standard deviation of an image's pixels
    among them, or less: what is flatter is anomalous.
    """

    reconstruction: Annotated[float, Rule("R, the 99th percentile of the squared error per pixel", *_FIGURE)]
    distance: Annotated[float, Rule("D, that of the distance to the prior", *_FIGURE)]
    threshold: Annotated[float, Rule("T, that of the score: what is above it is anomalous", *_FIGURE)]
    images: Annotated[int, Rule("how many validation images these are of", 1, 1 << 40)]
    contrast: Annotated[
        float, Rule("the smallest standard deviation of an image's pixels; else 0", 0, 1, optional=True)
    ]
    false_alarms: Annotated[
        float, Rule("the share of ordinary images that T was set for; else 0.01", 0, 1, optional=True)
    ] = FALSE_ALARMS


class DetectorLimits(NamedTuple):
    """What a detector's score, which is above 1 for an anomalous image, promises: it was set on `images` images.

    They are validation images, on none of which its networks were trained. `false_alarms` is the share of ordinary
    images above 1 that the score was scaled for.
    """

    false_alarms: Annotated[float, Rule("the share of ordinary images that its score of 1 was set for", 0, 1)]
    images: Annotated[int, Rule("how many validation images it was set on", 1, 1 << 40)]


class Tf32Error(NamedTuple):
    """How far a graph is from its golden outputs where the inputs of every product and convolution are rounded to TF32.

    TF32 has ten bits of mantissa. `difference` is the largest difference and `rms` the root mean square of all, each
    relative to the larger of 1 and the largest golden output.
    """

    graph: Annotated[str, Rule("the role of the graph", known=ALL_ROLES)]
    precision: Annotated[str, Rule("the precision of the graph, of those in float32", known=("fp32", "lite"))]
    difference: Annotated[float, Rule("the largest difference", 0, _FIGURE[1])]
    rms: Annotated[float, Rule("the root mean square of the differences", 0, _FIGURE[1])]


class Manifest(NamedTuple):
    """A model's manifest, checked; each field says what it is.

    A field that the file may lack has its usual value here, and None or an empty text or tuple where that is none.
    """

    schema: Annotated[int, Rule("the version of the format", SCHEMA, SCHEMA)]
    name: Annotated[str, Rule("what the model is called", pattern=PLAIN_NAME, expected="a plain name")]
    version: Annotated[str, Rule("the model's own version", pattern=PLAIN_NAME, expected="a version such as 1.0.0")]
    title: Annotated[str, Rule("what it is, as a heading")]
    description: Annotated[str, Rule("what it does, in one line")]
    licence: Annotated[str, Rule("that of the weights, empty where nobody has said")]
    dataset: Annotated[str, Rule("what it was trained on")]
    data_licence: Annotated[str, Rule("that of the data, empty where nobody has said", optional=True)]
    image: Annotated[ImageShape, Rule("the shape of an image")]
    preparation: Annotated[
        Preparation,
        Rule("how pictures become images; else cut to the middle, on white, of any polarity", optional=True),
    ]
    latent: Annotated[int, Rule("how many numbers z has", 1, _SIZE)]
    noise: Annotated[int, Rule("how many numbers u has", 1, _SIZE)]
    labels: Annotated[tuple[str, ...], Rule("the names of the classes by number, empty where there are none")]
    label_coordinate: Annotated[
        int | None, Rule("the coordinate of u that chooses the class; else none does", 0, _SIZE - 1, optional=True)
    ]
    attributes: Annotated[
        tuple[Attribute, ...],
        Rule("what can be asked of a picture, several things at once; else nothing but the labels", optional=True),
    ]
    choices: Annotated[
        tuple[int, ...],
        Rule(
            "all coordinates of u that choose a value, a component or a bit instead of spreading codes; else those "
            "that choose the class or the attributes",
            0,
            _SIZE - 1,
            optional=True,
        ),
    ]
    graphs: Annotated[
        Mapping[str, Mapping[str, str]],
        Rule(
            "for each role an object, which has for each precision the name of a file",
            pattern=PLAIN_NAME,
            expected="the name of a file",
        ),
    ]
    files: Annotated[Mapping[str, FileRecord], Rule("every other file by its plain name", pattern=PLAIN_NAME)]
    score: Annotated[
        ScoreLimits | None, Rule("what the anomaly score measures against; else it has none", optional=True)
    ]
    detector: Annotated[
        DetectorLimits | None, Rule("what the detector's score promises; else there is no detector", optional=True)
    ]
    tf32: Annotated[
        tuple[Tf32Error, ...],
        Rule(
            "how far each graph in float32 is from its golden outputs with TF32, relative to the larger of 1 and the "
            "largest of them; else nobody has worked it out",
            optional=True,
        ),
    ]
    metrics: Annotated[Mapping[str, Any], Rule("the figures on the test set, as the writer has them")]
    provenance: Annotated[Mapping[str, Any], Rule("what made the model, as the writer has it")]

    def to_document(self) -> dict[str, Any]:
        """The manifest as its file has it: of its JSON, `parse_manifest` makes the same manifest again."""
        document = as_document(self)
        if not self.attributes:
            del document["attributes"]  # earlier manifests are without it
        if not self.tf32:
            del document["tf32"]  # so are they without this
        # The last of the file, and not there where they were not measured.
        last = {name: document.pop(name) for name in ("score", "detector")}
        if last["score"] and last["score"]["false_alarms"] == FALSE_ALARMS:
            del last["score"]["false_alarms"]  # earlier manifests are without it
        return document | {name: limits for name, limits in last.items() if limits is not None}

    @property
    def size(self) -> int:
        """The bytes of all files but the manifest itself."""
        return sum(record.size for record in self.files.values())

    @property
    def asked(self) -> tuple[Attribute, ...]:
        """What can be asked of a picture, in the order of y: the attributes, or the labels as one called "label"."""
        if self.attributes or not self.labels:
            return self.attributes
        return (Attribute("label", self.labels, self.label_coordinate),)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many values each of `asked` has."""
        return tuple(len(attribute.labels) for attribute in self.asked)

    @property
    def classes(self) -> int:
        """How many numbers y has: one for each value of each of `asked`."""
        return sum(self.widths)

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of a row of each input and output that a graph of the bundle may have, by name."""
        of_detector = {"score": (), "map": (1, self.image.height, self.image.width)}
        return {
            "image": self.image.axes,
            "z": (self.latent,),
            "log_var": (self.latent,),
            "y": (self.classes,),
            "u": (self.noise,),
            **(of_detector if DETECTOR in self.graphs else {}),
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
        return precision if precision in self.graphs.get(role, ()) else "fp32"

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
    return _manifest(_Fields(document, where, Manifest))


# The text of a field that no rule is for: the name of a graph's file, which is looked up among the files.
_ANY_TEXT: Final = Rule("")


class _Fields:
    """The fields of one JSON object, each read by its rule in a `record`, with an error that says where it is."""

    def __init__(self, document: object, where: str, record: type | None = None) -> None:
        self.where = where
        self._rules = rules_of(record) if record else {}
        if not isinstance(document, dict):
            raise InvalidBundle(f"{where} holds {type(document).__name__}, expected a JSON object")
        self.document: dict[str, Any] = document

    def records(self, key: str, record: type) -> "list[_Fields]":
        """The objects of an optional list."""
        if self.lacks(key):
            return []
        values: list[object] = self._get(key, list, "a list of objects")
        if len(values) > MOST_RECORDS:
            raise self.wrong(key, f"at most {MOST_RECORDS} objects")
        return [_Fields(value, f"{self.where}: {key}[{number}]", record) for number, value in enumerate(values)]

    def _get(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        value = self.document.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(key, expected)
        return value

    def wrong(self, key: str, expected: str) -> InvalidBundle:
        found = repr(self.document[key])[:80] if key in self.document else "missing"
        return InvalidBundle(f"{self.where}: {key} is {found}, expected {expected}; pull or export the model again")

    def lacks(self, key: str) -> bool:
        """Whether an optional field is missing or null."""
        return self.document.get(key) is None

    def text(self, key: str) -> str:
        rule = self._rules.get(key, _ANY_TEXT)
        value: str = self._get(key, str, rule.expected)
        matches = rule.pattern is None or re.fullmatch(rule.pattern, value)
        if len(value) > MOST_TEXT or not is_line(value) or not matches:
            raise self.wrong(key, rule.expected)
        if rule.known and value not in rule.known:
            raise self.wrong(key, f"one of {', '.join(rule.known)}")
        return value

    def integer(self, key: str, high: int | None = None) -> int:
        """A whole number, with `high` in place of the rule's where another field says how large it may be."""
        low, high = int(self._rules[key].low), int(self._rules[key].high) if high is None else high
        expected = f"a whole number from {low} to {high}"
        value: int = self._get(key, int, expected)
        if not low <= value <= high:
            raise self.wrong(key, expected)
        return value

    def number(self, key: str) -> float:
        low, high = self._rules[key].low, self._rules[key].high
        expected = f"a number from {low:g} to {high:g}"
        value: float = self._get(key, (int, float), expected)
        if not low <= value <= high:
            raise self.wrong(key, expected)
        return float(value)

    def table(self, key: str) -> dict[str, Any]:
        value: dict[str, Any] = self._get(key, dict, "an object")
        return value

    def fields(self, key: str, record: type | None = None) -> "_Fields":
        return _Fields(self.table(key), f"{self.where}: {key}", record)

    def texts(self, key: str) -> tuple[str, ...]:
        values: list[object] = self._get(key, list, "a list of texts")
        if len(values) > MOST_TEXTS or not all(isinstance(v, str) and is_line(v) for v in values):
            raise self.wrong(key, "a list of texts without control characters")
        return tuple(str(v) for v in values)


def _manifest(fields: _Fields) -> Manifest:
    schema = fields.document.get("schema")
    if schema != SCHEMA or type(schema) is not int:
        raise fields.wrong("schema", f"{SCHEMA}, the one this version of aae-zoo reads (pip install -U aae-zoo)")
    noise = fields.integer("noise")
    files = _files(fields.fields("files"))
    graphs = _graphs(fields.fields("graphs"), files)
    if (DETECTOR in graphs) == fields.lacks(DETECTOR):
        raise fields.wrong(DETECTOR, "an object where graphs has a detector, and nowhere else")
    coordinate = None if fields.lacks("label_coordinate") else fields.integer("label_coordinate", noise - 1)
    labels, attributes = fields.texts("labels"), _attributes(fields, noise)
    if attributes and (labels or coordinate is not None):
        raise fields.wrong("attributes", "none beside labels")
    return Manifest(
        schema=SCHEMA,
        name=fields.text("name"),
        version=fields.text("version"),
        title=fields.text("title"),
        description=fields.text("description"),
        licence=fields.text("licence"),
        dataset=fields.text("dataset"),
        data_licence="" if fields.lacks("data_licence") else fields.text("data_licence"),
        image=_image(fields.fields("image", ImageShape)),
        preparation=USUAL_PREPARATION
        if fields.lacks("preparation")
        else _preparation(fields.fields("preparation", Preparation)),
        latent=fields.integer("latent"),
        noise=noise,
        labels=labels,
        label_coordinate=coordinate,
        attributes=attributes,
        choices=_choices(fields, noise, (coordinate, *(attribute.coordinate for attribute in attributes))),
        graphs=graphs,
        files=files,
        score=None if fields.lacks("score") else _score(fields.fields("score", ScoreLimits)),
        detector=None if fields.lacks(DETECTOR) else _detector(fields.fields(DETECTOR, DetectorLimits)),
        tf32=_tf32(fields),
        metrics=fields.table("metrics"),
        provenance=fields.table("provenance"),
    )


def _attributes(fields: _Fields, noise: int) -> tuple[Attribute, ...]:
    return tuple(
        Attribute(
            name=entry.text("name"),
            labels=entry.texts("labels"),
            coordinate=None if entry.lacks("coordinate") else entry.integer("coordinate", noise - 1),
        )
        for entry in fields.records("attributes", Attribute)
    )


def _choices(fields: _Fields, noise: int, values: tuple[int | None, ...]) -> tuple[int, ...]:
    """The coordinates that choose; where the manifest does not say, those that choose classes or attributes' values."""
    if fields.lacks("choices"):
        return tuple(coordinate for coordinate in values if coordinate is not None)
    values = fields.document["choices"]
    if not isinstance(values, list) or not all(type(v) is int and 0 <= v < noise for v in values):
        raise fields.wrong("choices", f"a list of whole numbers from 0 to {noise - 1}")
    return tuple(values)


def _image(fields: _Fields) -> ImageShape:
    return ImageShape(fields.integer("channels"), fields.integer("height"), fields.integer("width"))


def _preparation(fields: _Fields) -> Preparation:
    return Preparation(
        fit=fields.text("fit"),
        ground=fields.text("ground"),
        polarity=fields.text("polarity"),
        range=_range(fields),
    )


def _range(fields: _Fields) -> tuple[int, int] | None:
    values = fields.document.get("range")
    if values is None:
        return None
    whole = isinstance(values, list) and [type(value) for value in values] == [int, int]
    if not whole or not 0 <= values[0] < values[1] <= _RAW:
        raise fields.wrong("range", "null or two whole numbers, the smaller one first")
    return (values[0], values[1])


def _score(fields: _Fields) -> ScoreLimits:
    return ScoreLimits(
        fields.number("reconstruction"),
        fields.number("distance"),
        fields.number("threshold"),
        images=fields.integer("images"),
        contrast=0.0 if fields.lacks("contrast") else fields.number("contrast"),
        false_alarms=FALSE_ALARMS if fields.lacks("false_alarms") else fields.number("false_alarms"),
    )


def _detector(fields: _Fields) -> DetectorLimits:
    return DetectorLimits(fields.number("false_alarms"), images=fields.integer("images"))


def _tf32(fields: _Fields) -> tuple[Tf32Error, ...]:
    return tuple(
        Tf32Error(each.text("graph"), each.text("precision"), each.number("difference"), each.number("rms"))
        for each in fields.records("tf32", Tf32Error)
    )


def _files(fields: _Fields) -> dict[str, FileRecord]:
    if len({name.lower() for name in fields.document}) < len(fields.document):
        raise InvalidBundle(f"{fields.where} has one name twice, apart from capitals; do not trust this bundle")
    records = {}
    for name in fields.document:
        if not is_plain_name(name):
            raise InvalidBundle(f"{fields.where}: {name[:80]!r} is not a plain file name; do not trust this bundle")
        entry = fields.fields(name, FileRecord)
        records[name] = FileRecord(sha256=entry.text("sha256"), size=entry.integer("size"))
    return records


def _graphs(fields: _Fields, files: Mapping[str, FileRecord]) -> dict[str, dict[str, str]]:
    graphs: dict[str, dict[str, str]] = {}
    for role in ALL_ROLES:
        if role == DETECTOR and fields.lacks(role):
            continue
        entry = fields.fields(role)
        graphs[role] = {p: entry.text(p) for p in PRECISIONS if p in entry.document}
        for name in graphs[role].values():
            if name not in files:
                raise InvalidBundle(f"{entry.where}: {name[:80]!r} is not among the manifest's files")
        if "fp32" not in graphs[role]:
            raise entry.wrong("fp32", "the name of a file")
    return graphs
