"""Arrays on the card, CUDA graphs and copies, by what tests without a card cannot show of them."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from right import CLOSE, NAMES
from rows import Measured, Missed, Row, held
from torch.utils.dlpack import from_dlpack

from aae_zoo.runtime import DeviceUnavailable, InvalidBundle, Model, load
from aae_zoo.runtime.checks.parity import relative_error
from aae_zoo.runtime.engine.cpus import available_cpus
from aae_zoo.runtime.formats.arrays import Arrays

NAME = "mnist-gauss" if "mnist-gauss" in NAMES else NAMES[0]
ROWS = 24
SEEDS = (1, 2)
# Two thousand million clock cycles: one second, in which a producer is at work.
CYCLES = 2_000_000_000
MIB = 1 << 20


def checks() -> Iterator[Row]:
    yield Row("CUDA graphs of all models, replayed against run", f"all captured, <= {CLOSE:g}", captured)
    yield Row("a NaN among the images of many codes, found on the card", "one sentence", not_finite)
    yield Row("a tensor that its own stream is still making", f"waited for, <= {CLOSE:g}", producer)
    yield Row("a result that PyTorch keeps while the model goes on", "not written over", kept)
    yield Row("the last rows of many", f"<= {CLOSE:g}", last_rows)
    yield Row("more on the card than it holds", "one sentence, and all goes on", too_much)
    yield Row("memory of the card after ten models", "<= 64 MiB", given_back)


def captured() -> Measured:
    with ExitStack() as stack:
        models = [stack.enter_context(load(name, device="cuda")) for name in NAMES]
        with ThreadPoolExecutor(max(2, available_cpus() - 2)) as pool:
            runs = list(pool.map(first_runs, models))
        # Nothing is recorded while another thread opens or runs a session.
        found = {name: replayed(model, each) for name, model, each in zip(NAMES, models, runs, strict=True)}
    problems = [f"{name}: {problem}" for name, (_, problem) in found.items() if problem]
    name = max(found, key=lambda name: found[name][0])
    text = f"{len(NAMES) - len(problems)} of {len(NAMES)} models, {found[name][0]:.2g} at most ({name})"
    return held(not problems and found[name][0] <= CLOSE, "; ".join([text, *problems[:3]]))


def first_runs(model: Model) -> dict[str, list[Arrays]]:
    """What each graph gives for two inputs."""
    return {
        role: [model.graph(role).run(inputs(model, role, seed), finite=False) for seed in SEEDS]
        for role in model.manifest.graphs
    }


def replayed(model: Model, first: dict[str, list[Arrays]]) -> tuple[float, str]:
    """The largest difference between a graph's run and its replay, and which graph has no replay and why."""
    errors, problems = [0.0], []
    for role, runs in first.items():
        graph = model.graph(role)
        given = [inputs(model, role, seed) for seed in SEEDS]
        graph.run(given[0], finite=False)  # the third run is recorded
        replays = [graph.run(each, finite=False) for each in given]
        if ROWS not in graph.captures:
            problems.append(f"{role}: {graph.uncaptured or 'not captured'}")
        for run, replay in zip(runs, replays, strict=True):
            errors += [relative_error(replay[output], run[output]) for output in graph.outputs]
    return max(errors), "; ".join(problems)


def inputs(model: Model, role: str, seed: int) -> Any:
    generator = np.random.default_rng(seed)
    shapes = {name: (ROWS, *model.manifest.row_shapes[name]) for name in model.graph(role).inputs}
    return {name: generator.uniform(0.05, 0.95, shape).astype(np.float32) for name, shape in shapes.items()}


def not_finite() -> Measured:
    with load(NAME, device="cuda") as model:
        z = model.codes_of(np.full((4096, model.manifest.noise), 0.4, np.float32))["z"]
        model.decode(z)
        z[2500] = np.float32(3e38)
        card = model.graph("decoder").card
        try:
            model.decode(z)
        except InvalidBundle as error:
            looks = card is not None and card.driver.looks
            return held(looks, f"{error}{'' if looks else '; found on the host'}")
    raise Missed("not found")


def producer() -> Measured:
    with load(NAME, device="cuda") as model:
        z = model.codes_of(np.full((ROWS, model.manifest.noise), 0.4, np.float32))["z"]
        expected = model.decode(z)
        given = torch.from_numpy(z).cuda()
        made = torch.zeros_like(given)
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            torch.cuda._sleep(CYCLES)
            made += given
            found = model.decode(made)
        error = relative_error(found, expected)
        return held(error <= CLOSE, f"{error:.2g}")


def kept() -> Measured:
    with load(NAME, device="cuda", arrays="device") as model:
        first: Any = model.sample(ROWS, seed=1)
        tensor = from_dlpack(first)
        expected = tensor.clone()
        del first
        for seed in range(2, 60):
            model.sample(ROWS, seed=seed)
        late: Any = model.sample(ROWS, seed=1)
        torch.cuda._sleep(CYCLES)
        read = from_dlpack(late) * 1  # begun, and not done for a second
        del late
        for seed in range(2, 20):
            model.sample(ROWS, seed=seed)
        torch.cuda.synchronize()
        same = torch.equal(tensor, expected) and torch.allclose(read, expected, atol=CLOSE)
        return held(same, "whole" if same else "written over")


def last_rows() -> Measured:
    with load(NAME, device="cuda") as model, load(NAME, device="cpu") as cpu:
        count = model.batch + 5
        found, expected = model.sample(count)[-64:], cpu.sample(count)[-64:]
        error = relative_error(found, expected)
        return held(error <= CLOSE, f"{error:.2g}")


def too_much() -> Measured:
    with load(NAME, device="cuda", arrays="device") as model:
        before = model.sample(ROWS).numpy()  # type: ignore[attr-defined]
        try:
            model.sample(1_000_000_000)
        except DeviceUnavailable as error:
            again = model.sample(ROWS).numpy()  # type: ignore[attr-defined]
            return held(relative_error(again, before) <= CLOSE, str(error))
    raise Missed("taken")


def given_back() -> Measured:
    left = []
    for _ in range(11):
        with load(NAME, device="cuda", arrays="device") as model:
            model.sample(5000)
            card = model.graph("decoder").card
        gc.collect()
        assert card is not None
        with card.driver:
            left.append(card.driver.left()[0])
    lost = (left[0] - left[-1]) / MIB
    return held(lost <= 64, f"{lost:.0f} MiB")
