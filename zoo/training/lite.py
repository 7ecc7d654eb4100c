"""A lite decoder: a small network that is taught to draw what a model's own decoder draws.

Distillation (Hinton, Vinyals and Dean, arXiv 1503.02531) of images: the small network learns the large one's pixels
as soft targets, on draws of the prior and on codes of training images. Its last layer is the product of two narrow
matrices, which starts as the principal components of the large one's logits (Jolliffe, "Principal Component
Analysis", 2002, chapter 3): between neighbouring codes, images differ in few directions.
"""

import hashlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from aae_zoo.runtime.errors import CheckpointError
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.data.loading import load_data
from aae_zoo.zoo.measure.measured import Codes, Networks
from aae_zoo.zoo.measure.metrics import match, measure
from aae_zoo.zoo.measure.samples import batch_size, in_features, likelihood
from aae_zoo.zoo.networks import BaseDecoder
from aae_zoo.zoo.training.run import Run, load_model
from aae_zoo.zoo.training.stored import read_weights, write_weights

FILE: Final = "lite.safetensors"
STEPS: Final = 8000
_HIDDEN: Final = (128, 128, 128)
_RANK: Final = 64
_BATCH: Final = 256
_LEARNING_RATE: Final = 3e-3
_DRAWS: Final = 60_000
_NUMBERS: Final = 2**28  # in all images of a lesson: half a gigabyte
_COMPONENTS_FROM: Final = 4000
_SEED: Final = 0
_OF_DECODER: Final = (
    *("mse", "bce", "parzen", "parzen_error", "frechet"),
    *("classifier_score", "class_entropy", "label_agreement", "attribute_agreement"),
)


class LiteDecoder(BaseDecoder):
    """P(x|z) as a narrow perceptron whose last layer is of low rank."""

    def __init__(self, code: int, image: Sequence[int]) -> None:
        super().__init__()
        self.image = tuple(image)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([code, *_HIDDEN]):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.coefficients = nn.Sequential(*layers, nn.Linear(_HIDDEN[-1], _RANK))
        self.components = nn.Linear(_RANK, math.prod(image))

    def outputs(self, code: Tensor) -> Tensor:
        """The images, linear."""
        images: Tensor = self.components(self.coefficients(code)).unflatten(1, self.image)
        return images

    @torch.no_grad()
    def round_components(self) -> None:
        """Round the components, which are most weights, to whole numbers to 127; the layer before has their scales."""
        scales = self.components.weight.abs().amax(0).clamp(min=1e-12) / 127
        self.components.weight.copy_((self.components.weight / scales).round())
        before = self.coefficients[-1]
        assert isinstance(before, nn.Linear)  # noqa: S101 - the constructor put it there
        before.weight.mul_(scales[:, None])
        before.bias.mul_(scales)


def distil(folder: Path, *, data: Path | None = None, steps: int | None = None) -> dict[str, Any]:
    """Teach a lite decoder what a finished run's decoder draws, write it into the run, and measure it on the test set.

    The same run gives the same decoder. The metrics are those of `metrics.measure` that depend on the decoder.

    Raises:
        CheckpointError: the run is missing, unfinished or damaged.
        DatasetError: its data set is missing or damaged.
    """
    run = Run.open(folder)
    dataset = load_data(run.recipe.data, run.data(data))
    model, _ = load_model(run, dataset.image_shape)
    kept = dataset.train_images[: -run.recipe.data.validation_count(len(dataset.train_images))]
    with _one_thread():
        lite = _train(model, kept, steps or STEPS)
    lite.round_components()
    write_weights(run.folder / FILE, lite.state_dict(), {"teacher_sha256": _sha256(run.weights)})
    return measure_lite(model, lite, dataset, run)


def load_lite(run: Run, image: Sequence[int]) -> LiteDecoder | None:
    """The lite decoder of a run for images (C, H, W), or None where it has none.

    Raises:
        CheckpointError: it is damaged, or was taught by other weights than the run's.
    """
    path = run.folder / FILE
    if not path.exists():
        return None
    mend = f"make it again with aae-zoo distil {run.folder}, or remove it"
    try:
        weights, metadata = read_weights(path)
        teacher = metadata["teacher_sha256"]
        lite = LiteDecoder(weights["coefficients.0.weight"].shape[1], image)
        lite.load_state_dict(weights)
    except Exception as error:  # weights of another network raise whatever is met first
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}); {mend}") from None
    if teacher != _sha256(run.weights):
        raise CheckpointError(f"{path} was taught by other weights than {run.weights}; {mend}")
    return lite.eval()


class _Taught(Networks):
    """A model with the lite decoder in the place of its own."""

    def __init__(self, model: Autoencoder, lite: LiteDecoder) -> None:
        super().__init__(model)
        self.lite = lite.eval()

    def decode(self, codes: Codes) -> Tensor:
        """The lite decoder's images of codes, before the sigmoid."""
        return self.lite.logits(codes["z"], codes["y"] if self.model.prior.conditional else None)


def measure_lite(model: Autoencoder, lite: LiteDecoder, dataset: Dataset, run: Run) -> dict[str, Any]:
    """The metrics on the test set that depend on the decoder, with the lite one in its place."""
    found = measure(_Taught(model, lite), dataset, run.recipe.data, (match, likelihood, in_features))
    return {name: found[name] for name in _OF_DECODER if name in found}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: several would add numbers in other orders, and give other weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(model: Autoencoder, images: Tensor, steps: int) -> LiteDecoder:
    """Adam with one cycle of the learning rate (Smith and Topin, arXiv 1708.07120) on the summed cross-entropy."""
    torch.manual_seed(_SEED)
    codes, targets = _lesson(model, images)
    lite = LiteDecoder(codes.shape[1], targets.shape[1:])
    _start(lite, model, codes)
    optimiser = torch.optim.Adam(lite.parameters(), _LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=steps)
    started = time.perf_counter()
    for step, some in enumerate(islice(_batches(len(codes)), steps), 1):
        target = targets[some].float()
        loss = F.binary_cross_entropy_with_logits(lite.logits(codes[some]), target, reduction="sum") / len(some)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 1000 == 0:
            sys.stderr.write(
                f"step {step}/{steps}  loss {float(loss.detach()):.2f}  {time.perf_counter() - started:.0f} s\n"
            )
    return lite.eval()


def _batches(count: int) -> Iterator[Tensor]:
    generator = Generator().manual_seed(_SEED)
    while True:
        yield torch.randint(count, (min(_BATCH, count),), generator=generator)


@torch.no_grad()
def _lesson(model: Autoencoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Codes [n, size], classes beside them where the decoder takes them, and their images, as float16 to save memory.

    They are draws of the prior, shuffled with the codes of the images where the encoder gives all that is needed,
    and of large images only some.
    """
    model.eval()
    draws = model.prior.draw(_DRAWS, Generator().manual_seed(_SEED + 1))
    found = [model.encode(to_float(batch)) for batch in images.split(batch_size(images))]
    sets = [draws, *found] if draws.keys() <= found[0].keys() else [draws]
    codes = torch.cat([torch.cat([part[name] for name in draws], 1) for part in sets])
    order = torch.randperm(len(codes), generator=Generator().manual_seed(_SEED))
    codes = codes[order[: _NUMBERS // images[0].numel()]]
    return codes, torch.cat([model.decoder.logits(part).sigmoid().half() for part in codes.split(1000)])


@torch.no_grad()
def _start(lite: LiteDecoder, model: Autoencoder, codes: Tensor) -> None:
    """Begin with the principal components of the logits of some codes, each as long as its standard deviation."""
    logits = torch.cat([model.decoder.logits(part) for part in codes[:_COMPONENTS_FROM].split(1000)]).flatten(1)
    mean = logits.mean(0)
    _, lengths, components = torch.linalg.svd(logits - mean, full_matrices=False)
    some = min(_RANK, len(components))
    scaled = components[:some] * (lengths[:some] / len(logits) ** 0.5)[:, None]
    lite.components.weight[:, :some].copy_(scaled.T)
    lite.components.bias.copy_(mean)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
