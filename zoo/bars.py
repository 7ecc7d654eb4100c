"""Progress bars."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(items: Iterable[Any] | None = None, **options: Any) -> "tqdm[Any]":
    """A progress bar on stderr where a person looks at it, as wide as the window, with tqdm's options."""
    return tqdm(items, **{"disable": None, "dynamic_ncols": True} | options)
