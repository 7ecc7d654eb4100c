"""Where JSON from outside becomes objects, and records become JSON: what is read here, no later use stumbles over."""

import json
from collections.abc import Mapping
from typing import Any, Final

# What we write has ten levels at most; printing and comparing go down them one by one, with Python's own stack.
_MOST_LEVELS: Final = 32


def parse_document(text: bytes) -> dict[str, Any]:
    """The JSON object in a text.

    Raises:
        ValueError: it is not JSON or holds no object, is nested too deeply, has a name twice, or a text with half a
            character; the message goes on from what the text is called.
    """
    try:
        document = json.loads(text, object_pairs_hook=_object)
        _check(document)
    except RecursionError:
        raise ValueError(f"is not JSON (it is nested more than {_MOST_LEVELS} deep)") from None
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    if not isinstance(document, dict):
        raise ValueError(f"holds {type(document).__name__}, expected a JSON object")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name occurs twice, which programs read differently."""
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise ValueError(f"the name {name[:80]!r} occurs twice")
        document[name] = value
    return document


def _check(document: object) -> None:
    pending = [(document, 0)]
    while pending:
        value, level = pending.pop()
        if level > _MOST_LEVELS:
            raise ValueError(f"it is nested more than {_MOST_LEVELS} deep")
        if isinstance(value, dict):
            pending += [(each, level + 1) for each in (*value, *value.values())]
        elif isinstance(value, list):
            pending += [(each, level + 1) for each in value]
        elif isinstance(value, str):
            value.encode()  # raises where there is half a character


def as_document(record: Any) -> dict[str, Any]:
    """A named tuple as a JSON object of its fields; those within it are objects too."""
    return {name: _as_json(value) for name, value in record._asdict().items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_json(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return as_document(value) if hasattr(value, "_asdict") else [_as_json(each) for each in value]
    return value
