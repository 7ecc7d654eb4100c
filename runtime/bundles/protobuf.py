"""Reading and writing the wire format of Protocol Buffers, as much of it as ONNX files need.

https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from aae_zoo.runtime.errors import InvalidBundle

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
_WIDTHS: Final = {FIXED64: 8, FIXED32: 4}

Value = int | memoryview


class Field(NamedTuple):
    """What a message may have under one number: the name, the wire types, and how many of it.

    A field that must not occur has no wire types.
    """

    name: str
    wires: tuple[int, ...]
    most: int


Fields = dict[str, list[Value]]


def read_message(data: memoryview, fields: Mapping[int, Field], where: str) -> Fields:
    """The values of a message by name, in order; bytes are views, nothing is copied.

    They are counted while they are read: a message of millions of empty fields is refused before it takes memory.

    Raises:
        InvalidBundle: the bytes are cut short, a field is not in `fields`, of another wire type, or occurs too often.
    """
    found: Fields = {field.name: [] for field in fields.values()}
    for number, wire, value in _fields(data, where):
        field = fields.get(number)
        if field is None or not field.wires:
            what = field.name if field else f"a field {number}"
            raise InvalidBundle(f"{where} has {what}, which a model has no use for; do not trust this bundle")
        values = found[field.name]
        if wire not in field.wires or (field.most == 1 and values):
            raise InvalidBundle(f"{where} has {field.name} twice or of another type than it should be")
        if len(values) == field.most:
            raise InvalidBundle(f"{where} has {field.name} more than {field.most:,} times; do not trust this bundle")
        values.append(value)
    return found


def _fields(data: memoryview, where: str) -> Iterator[tuple[int, int, Value]]:
    place, end = 0, len(data)
    while place < end:
        key, place = _varint(data, place, where)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, place = _varint(data, place, where)
            yield number, wire, value
            continue
        if wire == BYTES:
            width, place = _varint(data, place, where)
        elif wire in _WIDTHS:
            width = _WIDTHS[wire]
        else:
            raise InvalidBundle(f"{where} is not an ONNX file: it has a field of the wire type {wire}")
        if width > end - place:
            raise InvalidBundle(f"{where} is cut short: a field of {width} bytes has {end - place}")
        yield number, wire, data[place : place + width]
        place += width


def _varint(data: memoryview, place: int, where: str) -> tuple[int, int]:
    """The unsigned number of at most 64 bits at a place, and the place after it."""
    value = shift = 0
    while shift < 64:
        if place >= len(data):
            raise InvalidBundle(f"{where} is cut short within a number")
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, place
        shift += 7
    raise InvalidBundle(f"{where} is not an ONNX file: it has a number of more than 64 bits")


def integers(values: list[Value], where: str, most: int = 1) -> list[int]:
    """The signed numbers of a repeated field, which may be packed: at most `most`.

    Raises:
        InvalidBundle: there are more, or the last is cut short.
    """
    numbers: list[int] = []
    for value in values:
        if isinstance(value, int):
            numbers.append(value)
            continue
        place = 0
        while place < len(value):
            number, place = _varint(value, place, where)
            numbers.append(number)
            if len(numbers) > most:
                raise InvalidBundle(f"{where} has more than {most:,} numbers in one list; do not trust this bundle")
    return [n - (1 << 64) if n >> 63 else n for n in numbers]


def text(values: list[Value], where: str) -> str:
    """The text of a field that occurs at most once; empty where it is missing.

    Raises:
        InvalidBundle: it is not UTF-8.
    """
    try:
        return "" if not values else bytes(values[0]).decode("utf-8")
    except (UnicodeDecodeError, TypeError):
        raise InvalidBundle(f"{where} has a name that is not UTF-8") from None


def varint(value: int) -> bytes:
    """The wire form of an unsigned number."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: Value | bytes) -> bytes:
    """The wire form of one field."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return b"".join((varint(number << 3 | BYTES), varint(len(value)), value))
