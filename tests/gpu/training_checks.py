"""What of training needs a GPU: that a step replayed as a CUDA graph is the step as it is written, and how fast it is.

`checks` gives each by its name, as a function that returns its figures or raises an AssertionError. Each works in a
folder of its own that is removed. Pictures are made up, but for the whole training, which is of MNIST.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

import torch
from made_up import RECIPES, made_up, recipe
from safetensors.torch import load_file
from torch import Generator, Tensor
from tqdm import tqdm

from aae_zoo.runtime.errors import TrainingError
from aae_zoo.zoo.objectives import Batch
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.recipe import load_recipe
from aae_zoo.zoo.steps.convolutions import repeatable
from aae_zoo.zoo.steps.replayed import WARM_UP
from aae_zoo.zoo.training.trainer import Trainer, train

STEPS: Final = 50
# Of float32, over so many steps of adversaries that answer each other.
NOISE: Final = 1e-4
_SECONDS: Final = 20.0


def checks() -> Iterator[tuple[str, Callable[[], str]]]:
    """All of them by name."""
    for name in RECIPES:
        yield f"training: {name}, replayed against as written", partial(_in_folder, partial(_replayed, name))
    yield "training: a resumed run has the weights of one that was not", partial(_in_folder, _resumed)
    yield "training: a step that cannot be replayed is made as written", partial(_in_folder, _refused)
    yield "training: a loss that is no number is found when losses are read", partial(_in_folder, _not_finite)
    yield "training: a data set that the card has no room for", partial(_in_folder, _no_room)
    yield "training: mnist-gauss from start to metrics", partial(_in_folder, _whole)


def started(name: str, folder: Path, *, written: bool = False, resume: bool = False, **settings: float) -> Trainer:
    """A training of a recipe with other settings that has begun; with `written` its steps are never replayed."""
    chosen = recipe(name, *(f"training.{key}={value}" for key, value in settings.items()))
    trainer = Trainer(chosen, made_up(chosen), folder, Processes())
    trainer.start(resume=resume)
    assert trainer.card is not None, f"training goes to {trainer.processes.device}, expected one CUDA device"
    if written:
        trainer.card.make = trainer.card.step
    trainer.objective.train()
    return trainer


def losses_of(trainer: Trainer, steps: int) -> Tensor:
    """The losses [steps, losses] of the next steps."""
    torch.manual_seed(0)  # what dropout and drawn bits take their noise from, of which all trainers share one
    rows: list[list[float]] = []
    while len(rows) < steps:
        for _ in trainer.steps():
            rows.append(list(trainer.losses.read()[1].values()))
            trainer.step += 1
            if len(rows) == steps:
                break
    return torch.tensor(rows)


def milliseconds(trainer: Trainer, steps: int = 100) -> float:
    """How long a step takes when nobody looks at its losses."""
    make = trainer.steps()
    next(make)
    torch.cuda.synchronize()
    began, done = time.perf_counter(), 0
    while done < steps:
        for _ in make:
            done += 1
            if done == steps:
                break
        else:
            make = trainer.steps()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - began) / steps


def _in_folder(check: Callable[[Path], str]) -> str:
    with tempfile.TemporaryDirectory() as folder, repeatable():
        return check(Path(folder))


def _replayed(name: str, folder: Path) -> str:
    """The losses of 50 steps, the first of which are made as written both ways: an epoch is longer than the warm-up."""
    written, replayed = (started(name, folder / str(way), written=way == 0) for way in range(2))
    a, b = losses_of(written, STEPS), losses_of(replayed, STEPS)
    assert replayed.card is not None
    assert replayed.card.refused is None, f"it cannot be replayed: {replayed.card.refused}"
    assert len(a) > WARM_UP
    apart = float(((a - b).abs() / a.abs().clamp(min=1)).max())
    text = f"{apart:.1e} over {STEPS} steps, {milliseconds(replayed):.2f} against {milliseconds(written):.2f} ms"
    for trainer in (written, replayed):
        trainer.log.close()
    assert apart <= NOISE, f"{text}, expected at most {NOISE:g}"
    return text


class _Bar:
    def update(self) -> None:
        """Show nothing."""


def _resumed(folder: Path) -> str:
    """Two epochs at one stretch, and the second in another trainer: the same weights, bit for bit."""
    bar: Any = _Bar()
    whole = started("mnist-gauss", folder / "whole")
    for _ in range(2):
        whole.train_epoch(bar)
    first = started("mnist-gauss", folder / "parts")
    first.train_epoch(bar)
    second = started("mnist-gauss", folder / "parts", resume=True)
    second.train_epoch(bar)
    for trainer in (whole, first, second):
        trainer.log.close()
    a, b = (load_file(folder / name / "model.safetensors") for name in ("whole", "parts"))
    apart = max(float((a[key].double() - b[key].double()).abs().max()) for key in a)
    assert a.keys() == b.keys()
    assert apart == 0, f"weights differ by {apart:.1e}, expected the same bits"
    return f"the same bits in {len(a)} tensors"


def _refused(folder: Path) -> str:
    """A step that waits for the device: it trains as if nobody had tried to replay it, and says why it is not."""
    trainers = [started("mnist-plane", folder / str(way), written=way == 0) for way in range(2)]
    for trainer in trainers:
        _wait_in_each_step(trainer)
    a, b = (losses_of(trainer, STEPS) for trainer in trainers)
    reason = trainers[1].card and trainers[1].card.refused
    for trainer in trainers:
        trainer.log.close()
    assert reason, "a step that waits for the device was replayed"
    apart = float(((a - b).abs() / a.abs().clamp(min=1)).max())
    assert apart <= NOISE, f"{apart:.1e} from the same steps as written, expected at most {NOISE:g}"
    return f"{apart:.1e} over {STEPS} steps; it says: {reason[:60]}"


def _wait_in_each_step(trainer: Trainer) -> None:
    step = trainer.objective.step

    def waiting(batch: Batch, generator: Generator) -> dict[str, Tensor]:
        losses = step(batch, generator)
        assert all(float(loss) == float(loss) for loss in losses.values())
        return losses

    trainer.objective.step = waiting  # type: ignore[method-assign]


def _not_finite(folder: Path) -> str:
    bar: Any = _Bar()
    trainer = started("mnist-plane", folder, learning_rate=1e30)
    try:
        trainer.train_epoch(bar)
    except TrainingError as error:
        assert " loss is nan in the steps 1 to " in str(error), error
        assert not trainer.run.weights.exists(), "weights that are no numbers were kept"
        return str(error).partition(";")[0]
    finally:
        trainer.log.close()
    raise AssertionError("it trained on without a word")


def _no_room(folder: Path) -> str:
    """It stays in the machine's memory, batches are copied, and epochs are measured on the CPU."""
    bar: Any = _Bar()
    chosen = recipe("mnist-semi100")
    with mock.patch("torch.cuda.mem_get_info", return_value=(1, 1)):
        trainer = Trainer(chosen, made_up(chosen), folder, Processes())
    trainer.start(resume=False)
    assert trainer.card is None
    assert trainer.images.device.type == "cpu"
    trainer.train_epoch(bar)
    trainer.log.close()
    last = json.loads(trainer.run.log.read_text().splitlines()[-1])
    return f"an epoch of {trainer.steps_per_epoch} steps, squared error {last['validation']['mse']:.4f}"


def _whole(folder: Path) -> str:
    """The recipe as it is shipped, with all its epochs, pictures and figures."""
    began = time.perf_counter()
    metrics = train(load_recipe("mnist-gauss"), folder / "run")
    assert metrics is not None
    seconds = time.perf_counter() - began
    text = f"{seconds:.1f} s, Fréchet {metrics['frechet']:.2f}, squared error {metrics['mse']:.4f}"
    assert seconds <= _SECONDS, f"{text}, expected at most {_SECONDS:g} s"
    return text


def main() -> int:
    """Make all checks, one line each; those whose names have one of the arguments in them, where there are any."""
    failed = 0
    for name, check in checks():
        if len(sys.argv) > 1 and not any(word in name for word in sys.argv[1:]):
            continue
        try:
            tqdm.write(f"ok    {name}: {check()}")
        except AssertionError as error:
            failed += 1
            tqdm.write(f"WRONG {name}: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main() if torch.cuda.is_available() else 3)
