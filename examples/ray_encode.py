"""Encode a large set of images on a Ray cluster: images in, codes in Parquet out, one model a worker.

    pip install 'aae-zoo[cpu]' 'ray[data]' pillow
    python examples/ray_encode.py mnist-gauss pictures/ codes/ --workers 2

The images are a folder of pictures (which become columns `path` and codes), or Parquet files with a column `image` of
C x H x W numbers, uint8 or floats in [0, 1] (whose other columns stay). Workers that die are started again, and what
they had in hand is encoded again: no row is lost, and none is there twice.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import ray

from aae_zoo.runtime import find_model, load


class Encoder:
    """A worker: it loads the model once, and then encodes batch after batch."""

    def __init__(self, name: str) -> None:
        self.model = load(name, threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Columns with `image` become the same columns with the codes in its place."""
        images = np.stack(batch.pop("image")).reshape(-1, *self.model.manifest.image.axes)
        return {**batch, **self.model.codes(images)}


def read(source: Path, name: str) -> Any:
    """The data set of images: colour channels first, pictures resized to the model's size."""
    if not source.is_dir() or any(source.glob("*.parquet")):
        return ray.data.read_parquet(str(source))
    shape = find_model(name).manifest.image
    mode, size = ("L", "RGB")[shape.channels == 3], (shape.height, shape.width)
    pictures = ray.data.read_images(str(source), mode=mode, size=size, include_paths=True)
    return pictures.map(lambda row: {**row, "image": np.atleast_3d(row["image"]).transpose(2, 0, 1)})


def encode(name: str, source: Path, output: Path, *, workers: int = 2, batch: int = 256) -> None:
    """Encode all images of `source` into Parquet files in the folder `output`."""
    codes = read(source, name).map_batches(
        Encoder,
        fn_constructor_args=[name],
        batch_size=batch,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    codes.write_parquet(str(output))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Encode images with Ray Data.")
    parser.add_argument("name", help="a model of aae-zoo")
    parser.add_argument("source", type=Path, help="a folder of pictures, or Parquet")
    parser.add_argument("output", type=Path, help="the folder of the codes, in Parquet")
    parser.add_argument("--workers", type=int, default=2, help="how many models at once")
    arguments = parser.parse_args()
    encode(arguments.name, arguments.source, arguments.output, workers=arguments.workers)
