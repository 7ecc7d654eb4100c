"""How fast calls are on the card, beside what ONNX Runtime and the machine can do, in one process and in turn."""

import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from right import NAMES
from rows import Measured, Row, held

from aae_zoo.runtime import load
from aae_zoo.runtime.checks.card_bench import CARD_BATCHES, Contenders, in_turn, inputs_of, time_card
from aae_zoo.runtime.model import Model
from aae_zoo.runtime.store.catalogue import find_model

NAME = "mnist-gauss" if "mnist-gauss" in NAMES else NAMES[0]
# The one whose targets of a million samples are.
MANY = "mnist-plane" if "mnist-plane" in NAMES else NAME
# A perceptron beside it, which has other kernels.
OTHERS = [name for name in ("mnist-plane",) if name in NAMES]
MILLION = 1_000_000
SMALL = "host <= 1.05 x the better run, card <= 1.15 x replay"
LARGE = "<= 1.1 x bare run, into pinned memory <= 1.3 x computing"


def checks() -> Iterator[Row]:
    for batch in CARD_BATCHES[:3]:
        yield Row(f"decode, {NAME}, batch {batch:,}", SMALL, partial(small, NAME, batch))
    yield Row(f"sample({MILLION:,}) of {MANY}, left on the card", "8 million a second", left)
    yield Row(f"sample({MILLION:,}) of {MANY}, streamed", "4 million a second", streamed)
    yield Row(f"sample({MILLION:,}) of {MANY}, to a fresh array", "2 million a second", fresh)
    for batch in (16384, 65536):
        yield Row(f"decode, {NAME}, batch {batch:,}", LARGE, partial(large, batch))
    yield Row(f"deterministic=True, decode, {NAME}, batch 64", "its cost, for the docs", deterministic)
    for name in OTHERS:
        for batch in CARD_BATCHES[:3]:
            yield Row(f"decode, {name}, batch {batch:,}", SMALL, partial(small, name, batch))


@cache
def models(name: str = NAME) -> tuple[Model, Any]:
    """The model that gives arrays of numpy, and the one that leaves them on the card."""
    return load(name, device="cuda"), load(name, device="cuda", arrays="device")


def small(name: str, batch: int) -> Measured:
    host, device = models(name)
    contenders = Contenders(find_model(name), "decoder", inputs_of(host, "decoder", batch), "cuda")
    timing = time_card("decode", contenders, host, device)
    better = min(timing.bare, timing.bound)
    on_host = timing.seconds / better
    on_card = None if timing.replay is None else timing.on_card / timing.replay
    figures = {
        **{key: getattr(timing, key) for key in ("seconds", "bare", "bound", "on_card", "bound_on_card", "replay")},
        "model": name,
        "batch": batch,
        "problem": timing.problem,
    }
    text = (
        f"host {ms(timing.seconds)} = {on_host:.2f} x (bare {ms(timing.bare)}, bound {ms(timing.bound)}); "
        f"card {ms(timing.on_card)} = {'-' if on_card is None else f'{on_card:.2f}'} x (replay {ms(timing.replay)}, "
        f"bound {ms(timing.bound_on_card)}){f'; {timing.problem}' if timing.problem else ''}"
    )
    return held(on_host <= 1.05 and on_card is not None and on_card <= 1.15, text, figures)


def large(batch: int) -> Measured:
    host, _ = models()
    inputs = inputs_of(host, "decoder", batch)
    contenders = Contenders(find_model(NAME), "decoder", inputs, "cuda").works()
    out = pinned((batch, *host.shape))
    works: dict[str, Callable[[], object]] = {
        "seconds": partial(host.decode, *inputs.values()),
        "bare": contenders["bare"],
        "pinned": partial(host.decode, *inputs.values(), out=out),
        "computing": contenders["bound_on_card"],
    }
    found = in_turn(works, rounds=5 if batch < 65536 else 2)
    plain, given = found["seconds"] / found["bare"], found["pinned"] / found["computing"]
    text = (
        f"{ms(found['seconds'])} = {plain:.2f} x bare {ms(found['bare'])}; into pinned memory {ms(found['pinned'])} = "
        f"{given:.2f} x computing {ms(found['computing'])}"
    )
    return held(plain <= 1.1 and given <= 1.3, text, {**found, "model": NAME, "batch": batch})


def deterministic() -> Measured:
    host, _ = models()
    with load(NAME, device="cuda", deterministic=True) as same:
        inputs = inputs_of(host, "decoder", 64).values()
        found = in_turn({"usual": partial(host.decode, *inputs), "deterministic": partial(same.decode, *inputs)})
    times = found["deterministic"] / found["usual"]
    return Measured(f"{ms(found['deterministic'])} = {times:.1f} x {ms(found['usual'])}", {**found, "model": NAME})


def pinned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    import torch

    tensor = torch.empty(shape, dtype=torch.float32, pin_memory=True)
    values: NDArray[np.float32] = tensor.numpy()
    values[...] = 0
    return values


def fresh() -> Measured:
    host, _ = models(MANY)
    touched = least(partial(touch, (MILLION, *host.shape)))
    seconds = least(partial(host.sample, MILLION))
    text = f"{rate(seconds)}; one thread that only writes zeros into as much fresh memory: {rate(touched)}"
    return held(MILLION / seconds >= 2e6, text, {"seconds": seconds, "touching_seconds": touched})


def touch(shape: tuple[int, ...]) -> object:
    values = np.empty(shape, np.float32)
    values.fill(0)
    return values


def streamed() -> Measured:
    host, _ = models(MANY)
    seconds = least(partial(drain, host))
    return held(MILLION / seconds >= 4e6, rate(seconds), {"seconds": seconds})


def drain(model: Model) -> None:
    count = sum(len(images) for images in model.stream("sample", MILLION))
    assert count == MILLION, f"the stream gave {count:,} images"


def left() -> Measured:
    host, device = models(MANY)
    batch = host.graph("decoder").batch  # with many more rows at once cuDNN is many times slower
    alone = Contenders(find_model(MANY), "decoder", inputs_of(host, "decoder", batch), "cuda").works()["bound_on_card"]
    computing = MILLION / batch * least(alone)
    seconds = least(lambda: np.asarray(device.sample(MILLION)[-1:]))  # which waits for the card
    text = f"{rate(seconds)}; the decoder alone: {rate(computing)}"
    return held(MILLION / seconds >= 8e6, text, {"seconds": seconds, "computing_seconds": computing})


def least(work: Callable[[], object], times: int = 3) -> float:
    """The least seconds of several times: what else the machine does only adds to them."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def rate(seconds: float) -> str:
    return f"{seconds:.2f} s, {MILLION / seconds / 1e6:.2f} million a second"


def ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.3f} ms"
