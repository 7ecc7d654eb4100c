"""What the fields of a manifest must be, said once for the parser, the JSON Schema and docs/bundle.md."""

from functools import cache
from typing import Final, NamedTuple, get_type_hints

SHA256: Final = "[0-9a-f]{64}"
# The most characters of a text, and the most texts of a list.
MOST_TEXT: Final = 10_000
MOST_TEXTS: Final = 100_000
# The most objects of a list.
MOST_RECORDS: Final = 100


class Rule(NamedTuple):
    """What a field must be beyond its type.

    `says` is what it means. A number lies from `low` to `high`; a text matches the whole `pattern`, which errors call
    `expected`, and is one of `known` where there are some. What is `optional` may be missing or null.
    """

    says: str
    low: float = 0
    high: float = 1 << 40
    pattern: str | None = None
    expected: str = "a line of text without control characters"
    known: tuple[str, ...] = ()
    optional: bool = False


@cache
def rules_of(record: type) -> dict[str, Rule]:
    """The rule of each field of a record, which is the one annotation beside its type."""
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(record, include_extras=True).items()}
