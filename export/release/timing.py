"""How long the trainings of the shipped models take, kept beside the bundles, because no two runs take as long.

    python -m aae_zoo.export.release.timing NAMES...

times two epochs of each recipe and writes what all its epochs would take. What a run noted that shared its processors
with other work is too much; this is for a machine that has nothing else to do.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from aae_zoo.runtime.errors import AaeZooError
from aae_zoo.runtime.files import atomic_file
from aae_zoo.zoo.recipe import load_recipe

if TYPE_CHECKING:
    from aae_zoo.zoo.training.run import Run

TIMINGS: Final = "timings.json"
_EPOCHS: Final = 2


class Time(NamedTuple):
    """Seconds of training, and on how many threads."""

    seconds: float
    threads: int


def training_times(models: Path) -> dict[str, Time]:
    """How long the training of each shipped model took, or takes by some of its epochs."""
    path = models / TIMINGS
    return {n: Time(**time) for n, time in json.loads(path.read_text("utf-8")).items()} if path.exists() else {}


def note_time(models: Path, run: "Run", share: float = 1.0) -> None:
    """Write how long a run took, which made this `share` of the model's epochs."""
    facts = run.read_json("run.json")
    time = Time(round(facts["training_seconds"] / share, 1), facts["threads"])
    times = {**training_times(models), run.recipe.name: time}
    with atomic_file(models / TIMINGS) as temporary:
        document = {name: times[name]._asdict() for name in sorted(times)}
        temporary.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def main() -> int:
    """The command: status 1 where a recipe cannot be timed."""
    try:
        _time(sys.argv[1:])
    except AaeZooError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _time(names: Sequence[str]) -> None:
    from aae_zoo.zoo.training.run import Run  # these import PyTorch, which reading the times does not need
    from aae_zoo.zoo.training.trainer import train

    for name in names:
        whole = load_recipe(name).training.epochs
        recipe = load_recipe(name, [f"training.epochs={_EPOCHS}"])
        with tempfile.TemporaryDirectory() as folder:
            train(recipe, Path(folder) / "run")
            note_time(Path("runtime/models"), Run(Path(folder) / "run", recipe), _EPOCHS / whole)


if __name__ == "__main__":
    sys.exit(main())
