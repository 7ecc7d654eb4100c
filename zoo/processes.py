"""Several processes that train one model together, as `accelerate launch` starts them. One alone shares nothing.

All have the same weights and see the training images in the same random order. Of each batch each takes its own
share, with noise of its own; gradients are averaged before every step, so that all take the same step. A loss that
is a mean over the images of a batch is then what one process would have. What compares the images of a batch with each
other compares those of one share only: the MMD of the objective wae; of semi, how even the classes are, what the two
images of a pair say of each other, and the normalisation of the logits.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env
from torch import Tensor, distributed

from aae_zoo.runtime.errors import AaeZooError, TrainingError
from aae_zoo.runtime.escapes import words_of


class Processes:
    """This process among all: its number, its device, and what they tell each other.

    Every method that says so must be called by all processes at the same point.
    """

    def __init__(self) -> None:
        # accelerate assumes a GPU unless told otherwise, and then lets processes without one train apart.
        self._state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available())
        self.count: int = self._state.num_processes
        self.index: int = self._state.process_index
        self.main: bool = self._state.is_main_process
        self.first_of_machine: bool = self._state.is_local_main_process
        self.of_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self.device: torch.device = self._state.device

    def seed(self, seed: int) -> int:
        """A seed for the noise of this process, of 32 bits: torch's generator on the CPU ignores any further ones."""
        return int(np.random.SeedSequence([seed, self.index]).generate_state(1)[0])

    def command(self, command: str) -> str:
        """The command line that does what `command` does, in as many processes."""
        if self.count == 1:
            return command
        launched = f"accelerate launch --multi_gpu --num_processes {self.count} -m aae_zoo.cli.main"
        return command.replace("aae-zoo", launched, 1)

    def share(self, rows: Tensor) -> Tensor:
        """The rows of a batch that are this process's."""
        return rows[self.index * len(rows) // self.count : (self.index + 1) * len(rows) // self.count]

    def mean(self, losses: Mapping[str, float]) -> dict[str, float]:
        """The means of numbers over all processes, each of which calls this."""
        if self.count == 1:
            return dict(losses)
        values = torch.tensor(list(losses.values()), device=self.device)
        average(values)
        return dict(zip(losses, values.tolist(), strict=True))

    def gather(self, value: Any) -> list[Any]:
        """The value that each process gives, by their numbers; each of them calls this."""
        with _connected():
            values: list[Any] = gather_object([value])
        return values

    def from_main(self, value: Any) -> Any:
        """The value that the main process gives; each process calls this."""
        with _connected():
            return broadcast_object_list([value])[0]

    @contextmanager
    def agree(self) -> Iterator[None]:
        """What fails in one process ends all: the main one raises the error, the others end without a word.

        Raises:
            AaeZooError: what was raised in this process or, in the main one, in another.
        """
        failed: AaeZooError | None = None
        try:
            yield
        except AaeZooError as error:
            if self.count == 1:
                raise
            failed = error
        if self.count == 1:
            return
        messages = [message for message in self.gather(failed and str(failed)) if message]
        if messages:
            leave(failed or TrainingError(f"another process failed: {messages[0]}"))

    def part(self) -> None:
        """Disconnect the processes: from here on each is alone."""
        self._state.destroy_process_group()


def leave(error: AaeZooError) -> NoReturn:
    """End for a reason that every process knows of: the main one says it.

    Raises:
        AaeZooError: `error`, in the main process.
    """
    if distributed.is_initialized() and distributed.get_rank():
        sys.exit(0)  # with any other status the launcher might end the main process before it has said why
    raise error from None


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over all processes, each of which calls this; nothing where there is only one.

    Raises:
        TrainingError: another process has ended.
    """
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    together = torch.cat([g.flatten() for g in gradients])
    average(together)
    for gradient, values in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(values.view_as(gradient))


def average(values: Tensor) -> None:
    """Replace values by their means over all processes, each of which calls this; nothing where there is only one.

    Raises:
        TrainingError: another process has ended.
    """
    if not distributed.is_initialized():
        return
    with _connected():
        distributed.all_reduce(values)
    values /= distributed.get_world_size()


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what all of torch.distributed's errors are
        reason = words_of(error)
        leave(
            TrainingError(
                f"another process has ended, and with it this training ({reason}); mend what it named, "
                "then give the same command with --resume"
            )
        )
