"""A checkpoint: everything that decides how training goes on, as it is when an epoch ends."""

from typing import Any

import torch
from torch import Generator, Tensor

from aae_zoo.runtime.errors import CheckpointError
from aae_zoo.runtime.escapes import words_of
from aae_zoo.runtime.words import agreeing
from aae_zoo.zoo.objectives import BaseObjective
from aae_zoo.zoo.processes import Processes
from aae_zoo.zoo.training.run import Run


class Checkpoint:
    """The weights, optimisers and random state of one process's training, which are saved and restored in place.

    `order` shuffles the training images, alike in all processes; `noise` is what this process's objective draws from.
    """

    def __init__(
        self, run: Run, objective: BaseObjective, order: Generator, noise: Generator, processes: Processes
    ) -> None:
        self.run = run
        self.objective = objective
        self.order = order
        self.noise = noise
        self.processes = processes

    def first(self) -> dict[str, Any]:
        """The state that a new run begins with: the weights, in which processes may differ, and nothing done."""
        weights = {name: values.cpu() for name, values in self.objective.state_dict().items()}
        return {"epoch": 0, "seconds": 0.0, "log_bytes": 0, "weights": weights}

    def load(self) -> dict[str, Any]:
        """The state that `save` wrote last.

        Raises:
            CheckpointError: it is missing, damaged, of another recipe or of another number of processes.
        """
        state = self.run.load_state()
        if (count := len(state["random"])) != self.processes.count:
            by = f"{count} {agreeing(count, 'process', 'processes')}"
            raise CheckpointError(
                f"{self.run.state} was written by {by}, found {self.processes.count}: "
                "give the --num_processes it was trained with, or train into a new folder"
            )
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Take on a state that `first` or `load` gave, in this process or in the main one.

        Raises:
            CheckpointError: it does not fit the networks or their optimisers; they are then no use any more.
        """
        try:
            self._restore(state)
        except Exception as error:  # PyTorch raises whatever it meets first in a state that is not of these networks
            reason = words_of(error)
            raise CheckpointError(
                f"{self.run.state} does not fit {self.run.recipe.name} ({reason}); train again into another folder"
            ) from None

    def _restore(self, state: dict[str, Any]) -> None:
        self.objective.load_state_dict(state["weights"])
        if not state["epoch"]:
            return
        for name, optimiser in self.objective.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.order.set_state(state["order"])
        random = state["random"][self.processes.index]
        self.noise.set_state(random["noise"])
        torch.set_rng_state(random["torch"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.processes.device)

    def random(self) -> dict[str, Tensor]:
        """The state of this process's own noise: what objectives draw, and dropout."""
        state = {"noise": self.noise.get_state(), "torch": torch.get_rng_state()}
        if self.processes.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.processes.device)
        return state

    def save(
        self,
        random: list[dict[str, Tensor]],
        *,
        epoch: int,
        step: int,
        seconds: float,
        log_bytes: int,
        began_with: dict[str, Any] | None,
        dataset_md5: dict[str, str],
    ) -> None:
        """Write the weights, and with them everything that an exact continuation needs.

        `random` is what `random` gave in each process, by their numbers; `began_with` goes into run.json in the end,
        and only the data set with these md5s is gone on with.
        """
        self.run.save_weights(self.objective.state_dict(), epoch=epoch, step=step)
        self.run.save_state(
            {
                "epoch": epoch,
                "seconds": seconds,
                "log_bytes": log_bytes,
                "began_with": began_with,
                "dataset_md5": dataset_md5,
                "weights": self.objective.state_dict(),
                "optimisers": {name: _plain(o.state_dict()) for name, o in self.objective.optimisers.items()},
                "order": self.order.get_state(),
                "random": random,
            }
        )


def _plain(optimiser: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state as it is on a CPU, whatever device it was on: with plain numbers for its rates."""
    groups = [{**group, "lr": float(group["lr"]), "capturable": False} for group in optimiser["param_groups"]]
    return {**optimiser, "param_groups": groups}
