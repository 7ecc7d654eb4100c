"""The example with Ray Data, on a real Ray with two workers, one of which is killed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from conftest import ROOT
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime import Model

EXAMPLES = ROOT / "examples"

# The third batch that is taken kills the worker that took it, as a machine's end would: without a word.
PROGRAM = """
import itertools, os, pathlib, signal, sys
import ray, ray_encode

folder = pathlib.Path(sys.argv[1])

class Mortal(ray_encode.Encoder):
    def __call__(self, batch):
        for number in itertools.count():
            try:
                (folder / f"batch-{number}").touch(exist_ok=False)
                break
            except FileExistsError:
                pass
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)

alone = {"_node_ip_address": "127.0.0.1", "include_dashboard": False, "log_to_driver": False}
ray.init(num_cpus=4, object_store_memory=10**8, **alone)
ray_encode.encode("mnist-plane", folder / "parquet", folder / "from_parquet", batch=16)
ray_encode.Encoder = Mortal
ray_encode.encode("mnist-plane", folder / "pictures", folder / "from_pictures", batch=4)
"""


def test_a_killed_worker_loses_nothing(shipped: Model, digits: NDArray[np.float32], tmp_path: Path) -> None:
    pixels = np.rint(digits[:60] * 255).astype(np.uint8)
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image[0]).save(tmp_path / "pictures" / f"{number:02}.png")
    table = pa.table({"number": np.arange(60), "image": list(pixels.reshape(60, -1))})
    (tmp_path / "parquet").mkdir()
    for part in range(4):
        pq.write_table(table.slice(part * 15, 15), tmp_path / "parquet" / f"{part}.parquet")
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    assert len(list(tmp_path.glob("batch-*"))) > 60 // 4  # some were taken twice
    for folder, name in (("from_pictures", "path"), ("from_parquet", "number")):
        rows = pq.read_table(tmp_path / folder).to_pylist()
        numbers = [int(Path(str(row[name])).stem) for row in rows]
        assert sorted(numbers) == list(range(60))
        assert np.allclose([row["z"] for row in rows], shipped.encode(pixels[numbers]), atol=1e-5)
