"""What holds for every bundle, clause by clause: the table that docs/bundle.md shows and `aae-zoo check` goes through.

Each clause is a function over a bundle that says what is wrong with it, one sentence for each thing. An InvalidBundle
or ParityError on the way is one more.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn

import numpy as np

from aae_zoo.runtime.bundles.bundle import leads_outside
from aae_zoo.runtime.bundles.graph_check import check_graph, check_interface
from aae_zoo.runtime.bundles.graph_metadata import metadata_faults
from aae_zoo.runtime.bundles.manifest import SCHEMA, Attribute
from aae_zoo.runtime.bundles.names import MANIFEST, MAX_MANIFEST_BYTES, SIGNATURE
from aae_zoo.runtime.bundles.signature import OF_GIT, compare, contents, read_signature, signed_files
from aae_zoo.runtime.checks.parity import COMPARED_BATCHES, golden_of, problem_with
from aae_zoo.runtime.checks.report import PARITY, check_report
from aae_zoo.runtime.checks.subject import Subject
from aae_zoo.runtime.checks.verify import GATES, verify
from aae_zoo.runtime.errors import InvalidBundle
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.latent.attributes import parts_of
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.words import counted

OPSET: Final = 18
IR_VERSION: Final = 8
# What git keeps in a clone, and the Hub's client in a folder that it downloads to.
_OF_OTHERS: Final = (*OF_GIT, ".cache")
# The least and the greatest number that noise of 23 random bits has.
_ENDS: Final = (2.0**-24, 1 - 2.0**-24)
_DRAWS: Final = 64
# Where in its share of the coordinate a class is chosen, and how near to 1 and 0 its probabilities must be.
_WITHIN: Final = (0.01, 0.5, 0.99)
_NEAR: Final = 1e-6

Check = Callable[[Subject], Iterator[str]]


@dataclass(frozen=True)
class Clause:
    """A thing that holds for every bundle: `needs` are the clauses without which it cannot be looked at."""

    id: str
    text: str
    needs: tuple[str, ...]
    check: Check


CLAUSES: Final[list[Clause]] = []


def _clause(id_: str, text: str, *needs: str) -> Callable[[Check], Check]:
    """Enter a function into the table of clauses."""

    def enter(check: Check) -> Check:
        CLAUSES.append(Clause(id_, text, needs, check))
        return check

    return enter


@_clause(
    "manifest-file",
    f"`manifest.json` is a file of the folder itself, no link, and has at most {MAX_MANIFEST_BYTES:,} bytes.",
)
def _manifest_file(subject: Subject) -> Iterator[str]:
    if len(subject.text) > MAX_MANIFEST_BYTES:
        yield f"{MANIFEST} has over {MAX_MANIFEST_BYTES} bytes"


@_clause(
    "manifest-json",
    "It is one JSON object (RFC 8259) in UTF-8 without a byte order mark, nested at most 32 deep, in which no "
    "object has a name twice; NaN and infinities, which JSON does not have, do not occur.",
    "manifest-file",
)
def _manifest_json(subject: Subject) -> Iterator[str]:
    _ = subject.document
    try:
        json.loads(subject.text.decode("utf-8"), parse_constant=_refuse)
    except ValueError as error:
        yield f"{MANIFEST} is not JSON in UTF-8 ({error})"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it has {constant}")


@_clause("manifest-version", f"Its `schema` is {SCHEMA}.", "manifest-json")
def _manifest_version(subject: Subject) -> Iterator[str]:
    if (found := subject.document.get("schema")) != SCHEMA or type(found) is not int:
        yield f"schema is {found!r:.80}, expected {SCHEMA}"


@_clause(
    "manifest-fields",
    "It has every field of the table below that is not optional, each of its type and within its range. Whole "
    "numbers are written without a point or an exponent. `label_coordinate`, every `coordinate` of an attribute and "
    "every one of `choices` are below `noise`. A model has `labels` or `attributes`, not both. Every role has a graph "
    "in `fp32`, and every graph's file is among `files`. `detector` is there where `graphs` has a detector, and "
    "nowhere else. Names of files differ in more than capitals.",
    "manifest-version",
)
def _manifest_fields(subject: Subject) -> Iterator[str]:
    _ = subject.bundle
    yield from ()


@_clause(
    "labels",
    "Names of classes differ from each other, as do those of attributes and of the values of each. Where there is a "
    "`label_coordinate`, or a `coordinate` of an attribute, it chooses among at least two, no other attribute has it, "
    "and it is one of `choices`.",
    "manifest-fields",
)
def _labels(subject: Subject) -> Iterator[str]:
    manifest = subject.manifest
    yield from _twice("attributes", [attribute.name for attribute in manifest.attributes])
    yield from _twice("coordinate", [str(a.coordinate) for a in manifest.attributes if a.coordinate is not None])
    choosing = [("labels", "label_coordinate", manifest.labels, manifest.label_coordinate)]
    choosing += [(f"{a.name}: labels", f"{a.name}: coordinate", a.labels, a.coordinate) for a in manifest.attributes]
    for names, place, labels, coordinate in choosing:
        yield from _twice(names, labels)
        if coordinate is not None and len(labels) < 2:
            yield f"{place} is {coordinate}, but {names} has {counted(len(labels), 'name')}"
        if coordinate is not None and coordinate not in manifest.choices:
            yield f"{place} is {coordinate}, which is not among choices"


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        yield f"{what} has {', '.join(twice)!r:.80} more than once"


@_clause(
    "files-there",
    "Every file of `files` is in the folder, a plain file and no link; only `model.safetensors` may be left out.",
    "manifest-fields",
)
def _files_there(subject: Subject) -> Iterator[str]:
    for name in subject.manifest.files:
        path = subject.folder / name
        if leads_outside(path) or (path.exists() and not path.is_file()):
            yield f"{name} is not a file of the bundle itself"
        elif not path.exists() and not subject.bundle.leaves_out(name):
            yield f"{name} is missing"


@_clause("files-whole", "Every file that is there has the size and the SHA-256 of `files`.", "manifest-fields")
def _files_whole(subject: Subject) -> Iterator[str]:
    for name in subject.manifest.files:
        if (subject.folder / name).is_file():
            yield from _fault(partial(subject.bundle.read, name))


@_clause(
    "files-others",
    "The folder has nothing else but `manifest.json`, `model.sig`, and what git and the Hub's client keep there "
    f"({', '.join(f'`{name}`' for name in _OF_OTHERS)}).",
    "manifest-fields",
)
def _files_others(subject: Subject) -> Iterator[str]:
    known = {*subject.manifest.files, MANIFEST, SIGNATURE, *_OF_OTHERS}
    for name in sorted(path.name for path in subject.folder.iterdir()):
        if name not in known:
            yield f"{name!r:.120} is not in the manifest"


@_clause(
    "signature",
    "`model.sig`, where there is one, is over `manifest.json` and every file of `files`, as they are, and nothing "
    "else.",
    "manifest-fields",
)
def _signature(subject: Subject) -> Iterator[str]:
    signature = read_signature(subject.folder)
    if signature and (differences := compare(signed_files(signature, SIGNATURE), contents(subject.bundle))):
        yield f"{SIGNATURE} is over other files ({differences})"


@_clause(
    "graph-version",
    f"Every graph's file is ONNX of IR version {IR_VERSION}, with one operator set, ONNX's own of version {OPSET}.",
    "manifest-fields",
)
def _graph_version(subject: Subject) -> Iterator[str]:
    for graph in subject.graphs:
        if graph.head.ir_version != IR_VERSION:
            yield f"{graph.name} has IR version {graph.head.ir_version}, expected {IR_VERSION}"
        if graph.head.opsets not in ([("", OPSET)], [("ai.onnx", OPSET)]):
            found = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in graph.head.opsets)
            yield f"{graph.name} has the operator sets {found[:80] or 'none'}, expected ai.onnx {OPSET}"


@_clause(
    "graph-interface",
    "Its inputs and outputs are those of its role, by name, float32, of the manifest's sizes; the first axis of "
    "each is the dimension `batch`.",
    "graph-version",
)
def _graph_interface(subject: Subject) -> Iterator[str]:
    for graph in subject.graphs:
        inputs, outputs = graph.head.inputs, graph.head.outputs
        yield from _fault(partial(check_interface, graph.role, inputs, outputs, subject.manifest))
        for name, _, shape in (*inputs, *outputs):
            if shape[:1] != ["batch"]:
                yield f"{graph.name}: the first axis of {name:.80} is {shape[:1]}, expected batch"


@_clause(
    "graph-plain",
    "It is complete and plain: no data in other files, no functions, subgraphs, sparse tensors or texts, only "
    "operators of the list below, nothing beyond the limits below, no name twice, every tensor as long as its shape "
    "says, and at most six times its size and 64 MiB of memory to be opened.",
    "graph-interface",
)
def _graph_plain(subject: Subject) -> Iterator[str]:
    for graph in subject.graphs:
        yield from _fault(partial(check_graph, graph.content, graph.name, graph.role, subject.manifest))


@_clause(
    "graph-metadata",
    "Its metadata have every key of the table below, once, and say what the manifest says.",
    "graph-version",
)
def _graph_metadata(subject: Subject) -> Iterator[str]:
    for graph in subject.graphs:
        yield from metadata_faults(graph.head.metadata, graph.name, graph.role, subject.manifest)


@_clause(
    "graph-chain",
    "The prior gives exactly what the decoder takes, in every precision.",
    "graph-interface",
)
def _graph_chain(subject: Subject) -> Iterator[str]:
    given = {g.name: {v.name for v in g.head.outputs} for g in subject.graphs if g.role == "prior"}
    taken = {g.name: {v.name for v in g.head.inputs} for g in subject.graphs if g.role == "decoder"}
    for prior, gives in given.items():
        for decoder, takes in taken.items():
            if gives != takes:
                yield f"{prior} gives {', '.join(sorted(gives))}, but {decoder} takes {', '.join(sorted(takes))}"


@_clause(
    "graph-draws",
    "Noise through the prior and its codes through the decoder give finite images in [0, 1], also where a "
    "coordinate is as near to 0 or 1 as 2⁻²⁴.",
    "graph-plain",
    "graph-chain",
)
def _graph_draws(subject: Subject) -> Iterator[str]:
    prior, decoder = subject.engine.graph("prior"), subject.engine.graph("decoder")
    ends = [np.full(subject.manifest.noise, end, np.float32) for end in _ENDS]
    noise = np.concatenate([uniform_noise(_DRAWS, subject.manifest.noise, 0), ends])
    for start in range(0, len(noise), decoder.batch):  # images may be huge
        codes = prior.run({"u": noise[start : start + decoder.batch]})
        for role, found in (("prior", codes), ("decoder", decoder.run(codes))):
            if problem := problem_with(found, found, widths=subject.manifest.widths):
                yield f"the {role}: {problem}"
                return


@_clause(
    "graph-classes",
    "u = (k + v) / classes in `label_coordinate`, with v in (0, 1), chooses class k, and in the `coordinate` of an "
    "attribute its value k of so many: a prior that gives `y` gives 1 for it and 0 for the others.",
    "labels",
    "graph-draws",
)
def _graph_classes(subject: Subject) -> Iterator[str]:
    if "y" in subject.engine.graph("prior").outputs:
        for attribute, part in parts_of(subject.manifest):
            yield from _wrong_values(subject, attribute, part)


def _wrong_values(subject: Subject, attribute: Attribute, part: slice) -> Iterator[str]:
    """The values of an attribute, whose part of y this is, that the prior does not give where they are chosen."""
    count = len(attribute.labels) if attribute.coordinate is not None else 0
    for first in range(0, count, _DRAWS):  # there may be very many
        chosen = np.arange(first, min(first + _DRAWS, count)).repeat(len(_WITHIN))
        noise = uniform_noise(len(chosen), subject.manifest.noise, 0)
        noise[:, attribute.coordinate] = (chosen + np.resize(_WITHIN, len(chosen))) / count
        y = subject.engine.graph("prior").run({"u": noise})["y"][:, part]
        y[np.arange(len(chosen)), chosen] -= 1
        what = "class" if subject.manifest.labels else attribute.name
        for number in dict.fromkeys(chosen[np.abs(y).max(1) > _NEAR].tolist()):
            yield f"the prior does not give {what} {attribute.labels[number]!r:.80} where its coordinate chooses that"


@_clause(
    "golden-file",
    "`golden.npz` is among `files`: arrays in NumPy's format, without pickles, called `<role>.<name>`, or "
    "`<role>.<precision>.<name>` for a precision that has its own.",
    "manifest-fields",
)
def _golden_file(subject: Subject) -> Iterator[str]:
    _ = subject.golden
    yield from ()


@_clause(
    "golden-arrays",
    "It has every input and output of every graph, of the same number of rows, at least one, in the manifest's "
    "sizes; float32, or bytes, which mean byte / 255; `u` is in (0, 1), `image` in [0, 1], `map` not below 0, and a "
    "row of `y`, or each attribute's part of it, sums to 1.",
    "golden-file",
    "graph-interface",
)
def _golden_arrays(subject: Subject) -> Iterator[str]:
    for graph in subject.graphs:
        given, expected = golden_of(graph.role, subject.golden, graph.precision)
        arrays = {**given, **expected}
        names = [value.name for value in (*graph.head.inputs, *graph.head.outputs)]
        if sorted(arrays) != sorted(names):
            yield f"for {graph.name} it has {', '.join(sorted(arrays)):.80}, expected {', '.join(sorted(names))}"
        else:
            yield from (f"for {graph.name}, {problem}" for problem in _array_problems(arrays, subject))


def _array_problems(arrays: Arrays, subject: Subject) -> Iterator[str]:
    shapes = subject.manifest.row_shapes
    for name, values in arrays.items():
        if values.shape[1:] != shapes[name]:
            yield f"{name} has rows of {list(values.shape[1:])[:8]}, expected {list(shapes[name])}"
        elif problem := problem_with({name: values}, {name: values}, widths=subject.manifest.widths):
            yield problem
        elif name == "u" and not 0 < values.min() <= values.max() < 1:
            yield f"u has values from {values.min():g} to {values.max():g}, expected (0, 1)"


@_clause(
    "golden-replayed",
    f"On the CPU, in batches of {', '.join(map(str, COMPARED_BATCHES))} rows, every graph gives its golden outputs: in "
    f"`fp32` and `lite` within {GATES['cpu', 'fp32'].limit:g} times the larger of 1 and the largest of them, in `fp16` "
    f"within {GATES['cpu', 'fp16'].limit:g} times that, in `int8` with a PSNR of at least "
    f"{GATES['cpu', 'int8'].limit:g} dB.",
    "golden-arrays",
    "graph-plain",
)
def _golden_replayed(subject: Subject) -> Iterator[str]:
    for c in verify(str(subject.folder.absolute()), device="cpu"):
        if not c.passed:
            yield f"the {c.graph} in {c.precision} at batch {c.batch}: {c.found}"


@_clause(
    "parity",
    "`parity.json`, where there is one, is a JSON object: `passed` is true, and `rows` has for every role at least "
    "one object with it as `graph`, and `passed` true in each.",
    "manifest-fields",
)
def _parity(subject: Subject) -> Iterator[str]:
    if PARITY in subject.manifest.files:
        check_report(subject.bundle)
    yield from ()


def _fault(look: Callable[[], Any]) -> Iterator[str]:
    """What is wrong, if it is: so that one graph's fault does not hide another's."""
    try:
        look()
    except InvalidBundle as error:
        yield str(error)
