"""How much memory opening a graph takes at most, told from its nodes before ONNX Runtime sees them.

ONNX Runtime works out what constants alone decide when it opens a graph, copies weights into the order that its
products want, and keeps some kilobytes for each node. Each is counted here, and never below what was measured
(docs/hostile-bundles.md); what cannot be told is refused.
"""

from typing import Final, NamedTuple

from aae_zoo.runtime.bundles.graph_operators import BROADCASTS, COPIES, KEEPS_ROWS, PACKS, SHRINKS, SMALL
from aae_zoo.runtime.errors import InvalidBundle

# Results of so few numbers may be worked out; weights are copied in blocks of so many rows or columns.
_FEW: Final = 1024
_BLOCK: Final = 16
# What a graph may take beside this many times its file: 10 times and 100 MB hold with what every session takes.
_TIMES: Final = 6
_MOST: Final = 1 << 26
# The bytes that ONNX Runtime takes for a node, tensor or value, for each name, and for each number outside raw data.
NODE: Final = 8192
VALUE: Final = 2048
NAME: Final = 256
NUMBER: Final = 32


class Constant(NamedTuple):
    """What is known when a graph is opened: how many numbers, of how many bytes each, and which if they are few.

    `axes` is the shape, None where it is not known. `integers` are all numbers, where they are few and whole.
    """

    name: str
    size: int
    width: int
    axes: tuple[int, ...] | None
    integers: list[int]


class Node(NamedTuple):
    """An operator, the names of what it takes and gives, its attributes' whole numbers, and their tensors."""

    operator: str
    takes: list[str]
    gives: list[str]
    numbers: dict[str, list[int]]
    tensors: list[Constant]


class Memory:
    """Counts the bytes that opening a graph file of `size` bytes takes; errors call it `name`."""

    def __init__(self, size: int, name: str) -> None:
        self._left = self._most = _TIMES * size + _MOST
        self.name = name

    def take(self, size: int) -> None:
        """Count `size` bytes more.

        Raises:
            InvalidBundle: these are more than a file of that size may take.
        """
        self._left -= size
        if self._left < 0:
            raise InvalidBundle(
                f"{self.name} would take more than {self._most / 1e6:,.0f} MB of memory when it is opened, more than "
                "its size allows; do not trust this bundle"
            )


class Known:
    """What is known of a graph's values before it runs, node after node.

    `constants` are those that ONNX Runtime may know when it opens the graph, by name. Of the values of `rows`, by name
    with how many axes they have, it cannot know the first axis, which is the batch.
    """

    def __init__(self, memory: Memory, constants: dict[str, Constant], rows: dict[str, int]) -> None:
        self.memory, self.constants, self.rows = memory, constants, rows

    def add(self, node: Node, declared: frozenset[str]) -> None:
        """Count the memory that a node takes, and find what is known of what it gives.

        Of `declared` values the file claims a shape of its own, which ONNX Runtime believes.

        Raises:
            InvalidBundle: it takes too much, or could take any amount.
        """
        self.memory.take(NODE + NAME * (len(node.takes) + len(node.gives)))
        taken = [self.constants[name] for name in dict.fromkeys(node.takes) if name in self.constants]
        if node.operator in ("Shape", "Size"):
            made = [] if self._tells_rows(node) else [Constant(name, 8, 8, (8,), []) for name in node.gives]
        elif all(name in self.constants for name in node.takes if name):  # an optional input that is left out has none
            made = self._folded(node, taken)
        else:
            made = []
            self.memory.take(sum(_used(node.operator, constant) for constant in taken))
        self.memory.take(sum(constant.size * constant.width for constant in made))
        self.constants.update((constant.name, constant) for constant in made)
        axes = 0 if made else self._axes(node)
        # The others that a node gives, such as a normalization's means, may be the same for all rows.
        self.rows.update((name, axes) for name in node.gives[:1] if axes and name not in declared)

    def _tells_rows(self, node: Node) -> bool:
        """Whether a shape or size has the batch in it, so that it is not known before the graph runs."""
        begins_with_rows = not any(node.numbers.get("start", [])) and min(node.numbers.get("end", []), default=1) > 0
        return begins_with_rows and bool(node.takes) and node.takes[0] in self.rows

    def _folded(self, node: Node, taken: list[Constant]) -> list[Constant]:
        """What a node of constants alone gives."""
        if node.operator in COPIES:
            first, *others = taken or node.tensors or [Constant("", 0, 8, (), [])]
            size = max(constant.size for constant in (first, *others))
            copy = Constant("", size, _width(node, first), _axes(node, first), _integers(node, first))
            return [copy._replace(name=name) for name in node.gives]
        size = self._computed(node)
        if node.operator not in SMALL or size > _FEW:
            raise InvalidBundle(
                f"{self.memory.name} has {node.operator} of constants alone, expected one of {', '.join(COPIES)}; "
                "do not trust this bundle"
            )
        return [Constant(name, size, 8, None, []) for name in node.gives]

    def _computed(self, node: Node) -> int:
        """How many numbers, other than a copy, a node of constants alone gives at most."""
        sizes = [self.constants[name].size for name in node.takes if name]
        if node.operator in SHRINKS and sizes:
            return max(sizes)
        if node.operator == "Concat":
            return sum(sizes)
        product = 1
        for size in (*sizes, *(tensor.size for tensor in node.tensors)):
            product = min(product * max(1, size), _FEW + 1)
        return max(product, *sizes, 0)

    def _axes(self, node: Node) -> int:
        """How many axes the output has if its first one is the batch, or 0 if that is not certain."""
        first, second, *_ = *node.takes, "", ""
        axes = self.rows.get(first, 0)
        if node.operator in KEEPS_ROWS:
            return axes
        if node.operator == "Gemm":
            return 0 if any(node.numbers.get("transA", [])) else axes
        if node.operator == "MatMul":
            weight = self.constants.get(second)
            return axes if weight and weight.axes and len(weight.axes) == 2 else 0
        if node.operator == "Reshape":
            shape = self.constants[second].integers if second in self.constants else []
            batch = (-1,) if any(node.numbers.get("allowzero", [])) else (0, -1)
            return len(shape) if axes and len(shape) > 1 and shape[0] in batch else 0
        if node.operator == "Concat":
            return axes if all(self.rows.get(name) == axes for name in node.takes) else 0
        if node.operator in BROADCASTS:
            found = {self.rows[name] for name in node.takes if name in self.rows}
            axes = found.pop() if len(found) == 1 else 0
            same = axes and all(self._is_the_same_for_each_row(name, axes) for name in node.takes)
            return axes if same else 0
        return 0

    def _is_the_same_for_each_row(self, name: str, axes: int) -> bool:
        """Whether an input has as many rows as the batch, or one that is added, say, to each."""
        constant = self.constants.get(name)
        if constant is None:
            return name in self.rows
        shape = constant.axes
        return shape is not None and (len(shape) < axes or (len(shape) == axes and shape[0] == 1))


def _width(node: Node, source: Constant) -> int:
    """The bytes of each number that a copy has: a cast gives eight at most."""
    if node.operator == "Cast":
        return 4 if node.numbers.get("to") in ([1], [6], [10]) else 8
    return 4 if node.operator == "DequantizeLinear" else source.width


def _axes(node: Node, source: Constant) -> tuple[int, ...] | None:
    """The shape of a copy."""
    if node.operator == "Transpose" and source.axes is not None:
        straight = node.numbers.get("perm") == [0, 1]
        return None if len(source.axes) > 2 else source.axes if straight else source.axes[::-1]
    return None if node.operator == "Reshape" else source.axes


def _integers(node: Node, source: Constant) -> list[int]:
    """The numbers of a copy, where they stay what they are: a cast to fewer bits, or to truth, makes others of them."""
    if node.operator in ("DequantizeLinear", "QuantizeLinear"):
        return []
    return [] if node.operator == "Cast" and node.numbers.get("to") not in ([6], [7]) else source.integers


def _used(operator: str, constant: Constant) -> int:
    """The bytes that a node may take for its own copy of a constant: of float16, one in float32 before that."""
    if constant.size <= _BLOCK:
        return 0
    size = _packed(constant) if operator in PACKS else constant.size
    return size * (8 if constant.width == 2 else max(4, constant.width))


def _packed(constant: Constant) -> int:
    """How many numbers a weight has in whole blocks, whichever of its first two axes they are laid along."""
    if constant.axes is None:
        return constant.size * _BLOCK
    if len(constant.axes) < 2:
        return constant.size
    rows, columns, *others = constant.axes
    whole = _whole(rows) * _whole(columns)
    for size in others:
        whole *= size
    return whole


def _whole(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
