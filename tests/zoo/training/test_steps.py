"""The steps of training: on a CPU those of a plain loop to the last bit, and on a card the same without waiting."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import RECIPES, made_up, recipe
from torch import Tensor

from aae_zoo.runtime.errors import TrainingError
from aae_zoo.zoo.build import build
from aae_zoo.zoo.data.dataset import Dataset, to_float
from aae_zoo.zoo.data.known_labels import known_labels
from aae_zoo.zoo.objectives import Batch
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.recipe import Recipe
from aae_zoo.zoo.steps.card import CardSteps
from aae_zoo.zoo.steps.examples import placed
from aae_zoo.zoo.steps.losses import Losses
from aae_zoo.zoo.steps.rates import learning_rate_factor
from aae_zoo.zoo.training.trainer import Trainer

EPOCHS = 2


def small(name: str, *overrides: str) -> tuple[Recipe, Dataset]:
    """A recipe with two epochs of three steps, the labels of ten images known where it wants any, and its pictures."""
    few = ["data.labels=10"] if recipe(name).data.labels > 0 else []
    chosen = recipe(name, f"training.epochs={EPOCHS}", "training.steps=0", "training.batch=80", *few, *overrides)
    return chosen, made_up(chosen, 300, 50)


def plain_loop(recipe: Recipe, dataset: Dataset) -> tuple[list[list[float]], dict[str, Tensor]]:
    """What training is, in one function: the losses of every step, and the weights."""
    settings = recipe.training
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    _, objective = build(recipe, dataset.image_shape)
    groups = [group for optimiser in objective.optimisers.values() for group in optimiser.param_groups]
    bases = [group["lr"] for group in groups]
    known, count = known_labels(dataset, recipe), len(dataset.train_images) * 4 // 5
    images, labels = dataset.train_images[:count], torch.full((count,), -1)
    labels[known] = dataset.train_labels[known]
    told = dataset.train_attributes if recipe.data.attributes else None
    steps, rows = settings.steps_per_epoch(count), []
    objective.train()
    for step in range(EPOCHS * steps):
        if step % steps == 0:
            passes = -(-steps * settings.batch // count)
            order = torch.cat([torch.randperm(count, generator=generator) for _ in range(passes)])
        some, few = order.split(settings.batch)[step % steps], known[:0]
        if 0 < len(known) < count:
            few = known[torch.randint(len(known), (settings.labelled_batch,), generator=generator)]
        batch = Batch(to_float(images[some]), labels[some], to_float(images[few]), labels[few])
        for group, base in zip(groups, bases, strict=True):
            group["lr"] = base * learning_rate_factor(step, EPOCHS * steps, settings.warmup)
        losses = objective.step(batch._replace(attributes=None if told is None else told[some]), generator)
        rows.append([float(loss) for loss in losses.values()])
    return rows, objective.state_dict()


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Any]:
    """A function that begins a training in a folder of its own name; with `card`, it is made as on a card."""
    trainers: list[Trainer] = []

    def begin(folder: str, recipe: Recipe, dataset: Dataset, *, card: bool = False, resume: bool = False) -> Trainer:
        trainer = Trainer(recipe, dataset, tmp_path / folder, Processes(), threads=1)
        trainers.append(trainer)
        trainer.noise = trainer.checkpoint.noise = torch.Generator().manual_seed(1) if card else trainer.order
        trainer.start(resume=resume)
        if card:
            trainer.read_every = trainer.settings.log_every
            trainer.card = CardSteps(trainer.objective, trainer.noise, trainer.examples, trainer.rates, trainer.losses)
        trainer.objective.train()
        return trainer

    yield begin
    for trainer in trainers:
        trainer.log.close()


def losses_of(trainer: Trainer) -> list[list[float]]:
    """The losses of all steps of all epochs."""
    rows = []
    for _ in range(EPOCHS):
        for _ in trainer.steps():
            rows.append([*trainer.losses.read()[1].values()])
            trainer.step += 1
    return rows


@pytest.mark.parametrize("name", RECIPES)
def test_training_is_a_plain_loop_to_the_last_bit(name: str, begun: Any) -> None:
    chosen, dataset = small(name)
    trainer = begun("run", chosen, dataset)
    losses = losses_of(trainer)
    expected, weights = plain_loop(chosen, dataset)
    assert losses == expected
    assert all(torch.equal(values, weights[key]) for key, values in trainer.objective.state_dict().items())


@pytest.mark.parametrize("name", RECIPES)
def test_a_cards_steps_are_the_same_steps(name: str, begun: Any) -> None:
    """They look everything up by a counter, and have their rates in a tensor, which rounds them to float32."""
    chosen, dataset = small(name)
    plain = begun("plain", chosen, dataset, card=True)
    plain.card = None
    torch.manual_seed(0)
    expected = torch.tensor(losses_of(plain))
    card = begun("card", chosen, dataset, card=True)
    torch.manual_seed(0)
    found = torch.tensor(losses_of(card))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_data_set_that_a_card_has_no_room_for_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    _, dataset = small("mnist-plane")
    size = sum(values.nbytes for values in vars(dataset).values() if isinstance(values, Tensor))
    for free in (0, 2 * size - 1):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 80 << 30))
        assert placed(dataset, torch.device("cuda")) is dataset


def rows_of(trainer: Trainer) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in trainer.run.log.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("seconds", "validation")} for row in rows]


class _Bar:
    def update(self) -> None: ...


def test_losses_that_are_read_seldom_are_logged_as_if_read_always(begun: Any) -> None:
    chosen, dataset = small("mnist-plane", "training.log_every=2")
    logged = []
    for every in (1, 2):
        trainer = begun(str(every), chosen, dataset, card=True)
        trainer.read_every = every
        for _ in range(EPOCHS):
            trainer.train_epoch(_Bar())
        logged.append(rows_of(trainer))
    assert logged[0] == logged[1]
    assert [row["step"] for row in logged[0]] == [0, 2, 3, 4, 6]  # every second step, and where the next epoch begins


def test_a_loss_that_is_no_number_is_found_among_those_that_were_not_read(begun: Any) -> None:
    chosen, dataset = small("mnist-plane", "training.learning_rate=1e30", "training.epochs=1", "training.log_every=2")
    trainer = begun("run", chosen, dataset, card=True)
    with pytest.raises(TrainingError, match=r"loss is nan in the steps 1 to 2 of epoch 1, expected a finite number"):
        trainer.train_epoch(_Bar())
    assert not trainer.run.weights.exists()


def test_a_run_on_a_card_resumes_exactly(begun: Any) -> None:
    chosen, dataset = small("mnist-gauss")
    whole = begun("whole", chosen, dataset, card=True)
    for _ in range(EPOCHS):
        whole.train_epoch(_Bar())
    begun("parts", chosen, dataset, card=True).train_epoch(_Bar())
    rest = begun("parts", chosen, dataset, card=True, resume=True)
    rest.train_epoch(_Bar())
    weights = rest.objective.state_dict()
    assert all(torch.equal(values, weights[name]) for name, values in whole.objective.state_dict().items())
    assert rows_of(whole) == rows_of(rest)


def test_a_checkpoint_is_the_same_wherever_it_was_made(begun: Any) -> None:
    chosen, dataset = small("mnist-gauss")
    settings = []
    for card in (True, False):
        trainer = begun(str(card), chosen, dataset, card=card)
        trainer.train_epoch(_Bar())
        optimisers = trainer.checkpoint.load()["optimisers"]
        settings.append({name: state["param_groups"] for name, state in optimisers.items()})
    for name, (card_group,) in settings[0].items():
        (group,) = settings[1][name]
        assert card_group.pop("lr") == pytest.approx(group.pop("lr"))
        assert card_group == group


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), st.integers(1, 20))
def test_losses_are_summed_until_they_are_read(values: list[float], at: int) -> None:
    losses = Losses()
    for part in filter(None, (values[:at], values[at:])):
        for value in part:
            losses.add({"a": torch.tensor(value), "b": torch.tensor(-value)})
        sums, last = losses.read()
        assert sums == pytest.approx({"a": math.fsum(part), "b": -math.fsum(part)}, abs=1e-6)
        assert last == {"a": part[-1], "b": -part[-1]}
