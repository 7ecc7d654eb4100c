"""Changes of bytes, of numbers in them and of JSON documents, such as attackers and bad disks make."""

import json
import math
from collections.abc import Sequence
from random import Random
from typing import Any, Final

NUMBERS: Final = (0, 1, 2, 3, 7, 8, 13, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
NAMES: Final = ("", ".", "..", "../x", "/etc/passwd", "C:\\x", "a/b", "u", "z", "prior.onnx", "PRIOR.ONNX", "\x1b[2J")
_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    [],
    {},
    [[[]]] * 5,
    math.inf,
    math.nan,
    -1,
    0.5,
    "0" * 64,
    10**30,
    -(10**400),
    "\ud800",
)


def change_bytes(data: bytes, random: Random) -> bytes:
    """The bytes with some turned over, cut off, left out, or put in."""
    start, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    kind = random.randrange(4 if data else 1)
    if kind == 0:
        changed = bytearray(data)
        for _ in range(random.randrange(1, 9) if data else 0):
            changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
        return bytes(changed)
    if kind == 1:
        return data[:end]
    if kind == 2:
        return data[:start] + data[end:]
    return data[:start] + random.randbytes(random.randrange(1, 20)) + data[start:]


def change_number(data: bytes, random: Random, within: int = 96) -> bytes:
    """The bytes with a number of one to eight of them replaced, mostly in the first `within`, where headers are."""
    if not data:
        return data
    size = random.choice((1, 2, 2, 4, 4, 8))
    place = random.randrange(min(len(data), within) if random.random() < 0.8 else len(data))
    old = int.from_bytes(data[place : place + size], "little")
    number = random.choice((*NUMBERS, old + 1, old - 1, 2 * old, random.getrandbits(8 * size)))
    new = (number % (1 << 8 * size)).to_bytes(size, random.choice(("little", "big")))
    return data[:place] + new + data[place + size :]


def splice(one: bytes, other: bytes, random: Random) -> bytes:
    """The first part of one and the last of another."""
    return one[: random.randrange(len(one) + 1)] + other[random.randrange(len(other) + 1) :]


def change_file(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A file with up to three changes that need no knowledge of its format; `others` are what it is spliced with."""
    for _ in range(random.randrange(1, 4)):
        kind = random.random()
        if kind < 0.6:
            data = change_number(data, random)
        elif kind < 0.9:
            data = change_bytes(data, random)
        else:
            data = splice(data, random.choice(others), random)
    return data


def change_document(value: Any, random: Random) -> Any:
    """The document with one value, here or further inside, replaced, left out or put under another name."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        changed = {k: v for k, v in value.items() if k != key}
        if random.random() < 0.7:
            return changed | {key: change_document(value[key], random)}
        return changed if random.random() < 0.3 else changed | {random.choice(NAMES): value[key]}
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        return [*value[:place], *random.choice(([], [change_document(value[place], random)])), *value[place + 1 :]]
    return random.choice([*_VALUES, *NAMES, *NUMBERS, [value], {"x": value}, [value, value]])


def change_json(text: bytes, random: Random) -> bytes:
    """JSON with one or two values changed, and sometimes what a well-behaved program never writes."""
    document = json.loads(text)
    for _ in range(random.randrange(1, 3)):
        document = change_document(document, random)
    changed = json.dumps(document).encode()
    kind = random.random()
    if kind < 0.1:
        return change_bytes(changed, random)
    if kind < 0.15:
        return deepened(changed, random)
    if kind < 0.2:  # all names twice
        return changed[:-1] + b"," + changed[1:]
    return changed


def deepened(text: bytes, random: Random) -> bytes:
    """JSON with something nested very deep put behind one of its colons or commas, or in place of all."""
    depth = random.choice((10, 40, 500, 5000, 100_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    deep = opening * depth + b"1" + closing * (depth if random.random() < 0.8 else 0)
    places = [place + 1 for place, byte in enumerate(text) if byte in b":,"]
    place = random.choice(places) if places else 0
    return text[:place] + deep + (b"," + text[place:] if random.random() < 0.7 else b"")
