"""What the shipped models compute on two machines: run on the first it keeps it, run on the second it compares.

    python tests/support/elsewhere.py FOLDER [MODEL]...

prints a line for each model, and ends with the status 1 if a graph misses its gate.
"""

import platform
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import aae_zoo
from aae_zoo.runtime.checks.verify import Comparison, verify
from aae_zoo.runtime.drawing.grid import to_uint8

SAMPLES: Final = 200
SCORED: Final = 40


def computed(name: str) -> dict[str, NDArray[Any]]:
    """The bytes of samples, and the scores of the first of them and of noise."""
    model = aae_zoo.load(name)
    samples = to_uint8(model.sample(SAMPLES))
    noise = np.random.default_rng(0).integers(0, 256, samples[:SCORED].shape, np.uint8)
    scores = model.score(np.concatenate([samples[:SCORED], noise]))
    return {"samples": samples, "score": scores.score, "anomalous": scores.anomalous}


def verified(found: list[Comparison]) -> str:
    """How many comparisons with PyTorch are within their gates, and the worst of each measure."""
    values = {measure: [c.value or 0.0 for c in found if c.measure == measure] for measure in ("difference", "psnr")}
    text = f"{sum(c.passed for c in found)} of {len(found)} within their gates, at most {max(values['difference']):.1e}"
    return text + (f" and for int8 {min(values['psnr']):.1f} dB" if values["psnr"] else "")


def beside(here: dict[str, NDArray[Any]], there: dict[str, NDArray[Any]]) -> str:
    """What differs between two machines."""
    pictures = (here["samples"] != there["samples"]).reshape(SAMPLES, -1).any(axis=1).sum()
    scores = np.abs(here["score"] / there["score"] - 1).max()
    verdicts = (here["anomalous"] != there["anomalous"]).sum()
    return f"{pictures} of {SAMPLES} pictures differ, scores by {scores:.1e}, {verdicts} of {2 * SCORED} verdicts"


def main(folder: Path, names: list[str]) -> bool:
    """Whether every graph is within its gate."""
    right = True
    for name in names or sorted(entry.name for entry in aae_zoo.list_models() if entry.shipped):
        kept, here, found = folder / f"{name}.npz", computed(name), verify(name, device="cpu")
        if kept.exists():
            with np.load(kept) as there:
                text = beside(here, dict(there))
        else:
            np.savez(kept, allow_pickle=False, **here)
            text = "kept"
        right &= all(comparison.passed for comparison in found)
        print(f"{platform.machine()} {name}: {verified(found)}; {text}", flush=True)
    return right


if __name__ == "__main__":
    sys.exit(not main(Path(sys.argv[1]), sys.argv[2:]))
