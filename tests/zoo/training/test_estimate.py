"""How long a training takes is said from what most of its steps take, on a machine that does other things too."""

import itertools

import pytest
import torch

from aae_zoo.zoo.estimate import estimate
from aae_zoo.zoo.objectives import Batch
from aae_zoo.zoo.recipe import load_recipe


def test_a_step_that_was_held_up_is_not_what_steps_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one always takes longer; here the second waits four seconds for another program."""
    took = itertools.chain([1.0, 4.0], itertools.repeat(0.1))
    clock = itertools.accumulate(itertools.chain.from_iterable((0.0, seconds) for seconds in took))
    images, labels = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    with monkeypatch.context() as patched:
        patched.setattr("time.perf_counter", lambda: next(clock))
        found = estimate(load_recipe("digits-gauss"), (1, 8, 8), Batch(images, labels, images, labels))
    assert found.step == pytest.approx(0.1)
