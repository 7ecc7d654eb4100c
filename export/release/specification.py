"""What is generated from the manifest's named tuples: its JSON Schema, and the tables of docs/bundle.md."""

import json
import textwrap
import types
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from aae_zoo.export.release.marked import with_part
from aae_zoo.runtime.bundles.graph_operators import OPERATORS
from aae_zoo.runtime.bundles.manifest import SCHEMA, Manifest
from aae_zoo.runtime.bundles.names import ALL_ROLES, PRECISIONS, ROLES
from aae_zoo.runtime.bundles.rules import MOST_RECORDS, MOST_TEXT, MOST_TEXTS, Rule, rules_of
from aae_zoo.runtime.checks.clauses import CLAUSES
from aae_zoo.runtime.escapes import CONTROL

Schema = dict[str, Any]

_UNIONS: Final = (Union, types.UnionType)


def specification(root: Path) -> dict[Path, str]:
    """The generated files of a checkout that the format consists of, and what they must hold.

    Raises:
        InvalidBundle: docs/bundle.md lacks a pair of markers.
    """
    document = root / "docs" / "bundle.md"
    text = document.read_text("utf-8")
    for name, lines in {"fields": _fields(), "clauses": _clauses(), "operators": _operators()}.items():
        text = with_part(text, "docs/bundle.md", name, f"\n{lines}\n")
    schema = json.dumps(manifest_schema(), indent=2) + "\n"
    return {root / "runtime" / "bundles" / "manifest.schema.json": schema, document: text}


def manifest_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a manifest: what can be said of each field by itself."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:aae-zoo:manifest:{SCHEMA}",
        "title": "The manifest of a bundle",
        **_record(Manifest),
    }


def _record(record: type) -> Schema:
    """The schema of an object with a named tuple's fields; others may be there, which readers pass over."""
    hints, rules = get_type_hints(record), rules_of(record)
    return {
        "type": "object",
        "required": [name for name, rule in rules.items() if not rule.optional],
        "properties": {name: {"description": rules[name].says, **_field(hints[name], rules[name])} for name in hints},
    }


def _field(hint: Any, rule: Rule) -> Schema:
    """The schema of a field; what is optional may be null too."""
    if get_origin(hint) in _UNIONS:
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    schema = _value(hint, rule)
    return {"anyOf": [schema, {"type": "null"}]} if rule.optional else schema


def _value(hint: Any, rule: Rule) -> Schema:
    if hint is str:
        return _text(rule)
    if hint in (int, float):
        return {"type": "integer" if hint is int else "number", "minimum": rule.low, "maximum": rule.high}
    if _is_record(hint):
        return _record(hint)
    kinds = get_args(hint)
    if get_origin(hint) is tuple:
        return _list(kinds, rule)
    return _table(kinds[1], rule)


def _text(rule: Rule) -> Schema:
    """A line of text. That `$` may stand before a last line end does not matter: texts have none."""
    return {
        "type": "string",
        "maxLength": MOST_TEXT,
        "not": {"pattern": CONTROL},
        **({"pattern": f"^{rule.pattern}$"} if rule.pattern else {}),
        **({"enum": list(rule.known)} if rule.known else {}),
    }


def _list(kinds: tuple[Any, ...], rule: Rule) -> Schema:
    if kinds[1] is not ...:
        return {"type": "array", "items": _value(kinds[0], rule), "minItems": len(kinds), "maxItems": len(kinds)}
    if kinds[0] is str:
        return {"type": "array", "items": {"type": "string", "not": {"pattern": CONTROL}}, "maxItems": MOST_TEXTS}
    bound = {"maxItems": MOST_RECORDS} if _is_record(kinds[0]) else {}
    return {"type": "array", "items": _value(kinds[0], rule), **bound}


def _table(kind: Any, rule: Rule) -> Schema:
    """An object whose names are not those of a named tuple's fields: any, files by their names, or graphs by roles."""
    if kind is Any:
        return {"type": "object"}
    if _is_record(kind):
        return {"type": "object", "propertyNames": _text(rule), "additionalProperties": _value(kind, rule)}
    role = {"type": "object", "required": [PRECISIONS[0]], "properties": dict.fromkeys(PRECISIONS, _text(rule))}
    roles = {name: role if name in ROLES else {"anyOf": [role, {"type": "null"}]} for name in ALL_ROLES}
    return {"type": "object", "required": list(ROLES), "properties": roles}


def _is_record(kind: Any) -> bool:
    """Whether a type is that of a named tuple."""
    return hasattr(kind, "_fields")


def _fields() -> str:
    return _table_text([["field", "value", "what it is"], *_rows(manifest_schema(), "")])


def _rows(schema: Schema, prefix: str) -> list[list[str]]:
    """A row for each field, and after that of an object a row for each field in it."""
    rows = []
    for name, about in schema["properties"].items():
        value, end = (about["anyOf"][0], " (optional)") if "anyOf" in about else (about, "")
        rows.append([f"`{prefix}{name}`", _kind(value) + end, about["description"]])
        if "additionalProperties" in value:
            rows += _rows(value["additionalProperties"], f"{prefix}{name}.*.")
        elif "properties" in value.get("items", {}):
            rows += _rows(value["items"], f"{prefix}{name}[].")
        elif name != "graphs":  # whose description says it all
            rows += _rows({"properties": {}, **value}, f"{prefix}{name}.")
    return rows


def _kind(schema: Schema) -> str:
    """What a value is, in words."""
    kind = schema["type"]
    if kind == "array":
        of = _kind(schema["items"])
        return f"list of {schema['minItems']}: each {of}" if "minItems" in schema else f"list, each {of}"
    if kind in ("integer", "number"):
        noun = "whole number" if kind == "integer" else "number"
        low, high = (
            f"{end:,}" if isinstance(end, int) else f"{end:g}" for end in (schema["minimum"], schema["maximum"])
        )
        return low if low == high else f"{noun} from {low} to {high}"
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if "pattern" in schema:
        return f"`{schema['pattern']}`"
    return {"string": "text", "object": "object"}[kind]


def _clauses() -> str:
    return _table_text([["clause", "what holds"], *([f"`{clause.id}`", clause.text] for clause in CLAUSES)])


def _operators() -> str:
    return textwrap.fill(", ".join(sorted(OPERATORS)) + ".", 120)


def _table_text(rows: list[list[str]]) -> str:
    header, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([header, "|" + " --- |" * len(rows[0]), *others])
