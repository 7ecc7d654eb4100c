"""Counts in sentences."""


def counted(count: int, noun: str) -> str:
    """A count and its noun, as in "no images", "1 image" and "1,000 images"; the noun takes an s."""
    number = f"{count:,}" if count else "no"
    return f"{number} {agreeing(count, noun, f'{noun}s')}"


def agreeing(count: int, one: str, more: str) -> str:
    """The word that goes with a count: `one` with 1, `more` with any other."""
    return one if count == 1 else more
