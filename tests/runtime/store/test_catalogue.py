"""The catalogue's models, all of them or those of a pattern."""

from collections.abc import Callable

import pytest

import aae_zoo


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("mnist-*", lambda name: name.startswith("mnist-")),
        ("*-gauss", lambda name: name.endswith("-gauss")),
        ("[!m]*", lambda name: not name.startswith("m")),
        ("MNIST-*", lambda name: False),
    ],
)
def test_models_are_listed_by_pattern(pattern: str, fits: Callable[[str], bool]) -> None:
    everything = [entry.name for entry in aae_zoo.list_models()]
    assert {"digits-gauss", "mnist-plane", "mnist-style"} <= set(everything)
    assert [entry.name for entry in aae_zoo.list_models(pattern)] == list(filter(fits, everything))
