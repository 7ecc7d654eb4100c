"""A model beside pythae's Adversarial_AE, trained for the same time on the same data, measured in the same way.

    pip install pythae
    python tests/benchmarks/pythae_aae.py RUN docs/pythae.md [RATES...]

RUN is a finished run of this machine, of mnist-gauss8 or avatars-gauss. pythae's model has the networks that it comes
with for images of that size and its own trainer, a code of as many numbers, and the batch of our recipe; it is trained
for as many seconds as RUN was, once for each of some learning rates, since the best one for it need not be ours. The
table says how many steps it made in that time.
"""

import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import Adversarial_AE, Adversarial_AE_Config
from pythae.models.nn.benchmarks.celeba import Decoder_Conv_AE_CELEBA, Encoder_Conv_VAE_CELEBA
from pythae.trainers import AdversarialTrainer, AdversarialTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn

from aae_zoo.runtime.files import atomic_file
from aae_zoo.zoo.build import build
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.data.loading import load_data
from aae_zoo.zoo.measure.measured import Networks
from aae_zoo.zoo.measure.metrics import measure
from aae_zoo.zoo.networks import BaseDecoder, BaseEncoder
from aae_zoo.zoo.training.run import Run

RATES = (0.003, 0.001)
FIGURES = {"mse": "MSE per pixel", "mmd2": "MMD²", "frechet": "Fréchet", "parzen": "Parzen, nats"}


class TimeIsUp(Exception):
    pass


class Stopwatch(TrainingCallback):  # type: ignore[misc]
    """Ends the training when its seconds have passed, the time of evaluation on the validation images included."""

    def __init__(self, seconds: float) -> None:
        self.end, self.steps = time.perf_counter() + seconds, 0

    def on_train_step_end(self, *_: Any, **__: Any) -> None:
        self.steps += 1
        if time.perf_counter() > self.end:
            raise TimeIsUp


class Encoder(BaseEncoder):
    def __init__(self, model: Any) -> None:
        super().__init__({"z": model.latent_dim})
        self.model = model

    def outputs(self, image: Tensor) -> Tensor:
        mean: Tensor = self.model.encoder(image).embedding
        return mean


class Decoder(BaseDecoder):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def outputs(self, code: Tensor) -> Tensor:
        image: Tensor = self.model.decoder(code).reconstruction
        return image.clamp(1e-6, 1 - 1e-6).logit()


def train_pythae(run: Run, dataset: Dataset, seconds: float, rate: float) -> tuple[nn.Module, int]:
    """The model of pythae after that many seconds at a learning rate, and how many steps those were."""
    settings = run.recipe.training
    shape = Adversarial_AE_Config(input_dim=dataset.image_shape, latent_dim=run.recipe.prior.size)
    model = Adversarial_AE(shape, **networks(shape))
    config = AdversarialTrainerConfig(
        output_dir=str(run.folder / "pythae"),
        num_epochs=10_000,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=1000,
        autoencoder_learning_rate=rate,
        discriminator_learning_rate=rate,
        seed=settings.seed,
        no_cuda=not torch.cuda.is_available(),
    )
    kept = run.recipe.data.validation_count(len(dataset.train_images))
    images = to_float(dataset.train_images)
    stopwatch = Stopwatch(seconds)
    trainer = AdversarialTrainer(
        model=model,
        train_dataset=as_pythae(images[:-kept]),
        eval_dataset=as_pythae(images[-kept:]),
        training_config=config,
        callbacks=[stopwatch],
    )
    with suppress(TimeIsUp):
        trainer.train()
    trained: nn.Module = model.cpu().eval()
    return trained, stopwatch.steps


def networks(shape: Adversarial_AE_Config) -> dict[str, nn.Module]:
    """Pythae's networks for photographs in 64 x 64, its encoder with the variance that its Adversarial_AE asks for.

    For other sizes those that it chooses itself.
    """
    if shape.input_dim != (3, 64, 64):
        return {}
    return {"encoder": Encoder_Conv_VAE_CELEBA(shape), "decoder": Decoder_Conv_AE_CELEBA(shape)}


def as_pythae(images: Tensor) -> Any:
    return BaseDataset(images, torch.ones(len(images)))


def main() -> None:
    run, target = Run.open(Path(sys.argv[1])), Path(sys.argv[2])
    facts, name = run.read_json("run.json"), run.recipe.name
    torch.set_num_threads(facts["threads"])
    dataset = load_data(run.recipe.data, run.data(None))
    metrics = {name: run.read_json("metrics.json")}
    for rate in [float(text) for text in sys.argv[3:]] or RATES:
        adapter, _ = build(run.recipe, dataset.image_shape)
        theirs, steps = train_pythae(run, dataset, facts["training_seconds"], rate)
        adapter.encoder, adapter.decoder = Encoder(theirs), Decoder(theirs)
        key = f"Adversarial_AE, learning rate {rate:g}, {steps:,} steps"
        metrics[key] = measure(Networks(adapter), dataset, run.recipe.data)
    threads = facts["threads"]
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{threads} thread{'s'[: threads > 1]}"
    lines = [
        f"# {name} beside pythae",
        "",
        f"`Adversarial_AE` of pythae {version('pythae')}, with its own networks and trainer and a code of",
        f"{run.recipe.prior.size} numbers, trained for the {facts['training_seconds']:.0f} seconds that {name} was, on",
        f"the same machine ({card}), with the same batch, and measured in the same way on the test set.",
        "Written by `tests/benchmarks/pythae_aae.py`.",
        "",
        f"| model | {' | '.join(FIGURES.values())} |",
        "|---|" + "---|" * len(FIGURES),
        *(f"| {name} | {' | '.join(f'{m[key]:.4g}' for key in FIGURES)} |" for name, m in metrics.items()),
    ]
    with atomic_file(target) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
