"""What a row gives does not depend on the rows beside it, on the CPU in float32; bit for bit, but for detectors."""

import asyncio
from contextlib import closing

import numpy as np
import pytest

from aae_zoo.runtime import find_model, list_models, load
from aae_zoo.runtime.engine.graph import Graph
from aae_zoo.runtime.formats.arrays import Arrays
from aae_zoo.runtime.latent.noise import uniform_noise
from aae_zoo.runtime.serving.service import Service

SHIPPED = [entry.name for entry in list_models() if entry.shipped]
# What lies across every border: of a register's four, eight or sixteen numbers, of a batch, and none at all.
SIZES = (1, 2, 3, 5, 7, 17, 63, 64)


def in_parts(graph: Graph, inputs: Arrays, size: int) -> Arrays:
    rows = len(next(iter(inputs.values())))
    parts = [graph.run({n: v[i : i + size] for n, v in inputs.items()}) for i in range(0, rows, size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def same(found: Arrays, expected: Arrays) -> bool:
    return all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_row_is_the_same_in_every_batch(name: str) -> None:
    with load(name, device="cpu") as model:
        noise = {"u": uniform_noise(1100, model.manifest.noise, 1)}
        codes = model.graph("prior").run(noise)
        few = {n: values[:70] for n, values in model.codes_of(noise["u"]).items()}
        images = model.graph("decoder").run(few)
        read = model.graph("encoder").run(images)
        for size in SIZES:
            assert same(in_parts(model.graph("prior"), noise, size), codes)
            assert same(in_parts(model.graph("decoder"), few, size), images)
            if model.manifest.detector is None:
                assert same(in_parts(model.graph("encoder"), images, size), read)


@pytest.mark.parametrize("name", [name for name in SHIPPED if find_model(name).manifest.detector])
def test_of_a_detector_a_row_is_nearly_the_same_in_every_batch(name: str) -> None:
    """Their roots are taken four at a time, and those that are left over one by one, which rounds otherwise."""
    with load(name, device="cpu") as model:
        images = {"image": model.sample(70, seed=1)}
        for role in ("encoder", "detector"):
            graph = model.graph(role)
            read = graph.run(images)
            for size in SIZES:
                found = in_parts(graph, images, size)
                assert all(np.allclose(found[key], read[key], rtol=1e-5, atol=2e-6) for key in read), (role, size)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_samples_of_many_are_those_of_a_few(name: str, threads: int) -> None:
    with load(name, device="cpu", threads=threads) as model:
        many = model.sample(64, seed=3)
        for count in (1, 2, 10, 63):
            assert np.array_equal(model.sample(count, seed=3), many[:count])


def test_an_answer_is_the_same_whoever_shares_its_batch() -> None:
    async def answers() -> None:
        noise = [uniform_noise(rows, 2, seed) for seed, rows in enumerate((1, 3, 1, 6, 2, 1) * 6)]
        alone = [await service.run("draw", {"u": u}) for u in noise]
        together = await asyncio.gather(*(service.run("draw", {"u": u}) for u in noise))
        assert all(map(same, together, alone))

    with load("mnist-swissroll", device="cpu") as model, closing(Service(model)) as service:
        asyncio.run(answers())
