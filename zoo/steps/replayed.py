"""The same work on a card, over and over, as a CUDA graph: one launch in place of hundreds.

A small network's step is made of hundreds of kernels that take microseconds each, and launching them one by one takes
several times as long. Captured are the kernels and the addresses that they work on, so that whatever changes from step
to step has to be in tensors that stay where they are.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Generator

from aae_zoo.runtime.escapes import words_of

# Before capture, libraries have to have made their handles and workspaces, and optimisers their state.
WARM_UP: Final = 3


class Replayed:
    """Work on the current CUDA device: the first times as it is written, then captured, from then on replayed.

    The numbers are those of the work as it is written. `noise` is the generator on the device that it draws from,
    beside the device's own. Work that cannot be captured, such as work that waits for the device, goes on as it is
    written, and `refused` says why.
    """

    def __init__(self, work: Callable[[], object], noise: Generator) -> None:
        self.work, self.noise = work, noise
        self.refused: str | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream()
        self._calls = 0

    def __call__(self) -> None:
        """Do the work once; the device does it after what it was given before."""
        if self._calls == WARM_UP:
            self._capture()
        self._calls += 1
        if self._graph is not None:
            self._graph.replay()
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self.work()
        torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.noise)
        generators = [self.noise, torch.cuda.default_generators[torch.cuda.current_device()]]
        states, stream = [generator.clone_state() for generator in generators], torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self.work()
        except Exception as error:  # of CUDA, of PyTorch, or of what the work did with numbers that are not there
            # What a capture that failed leaves: its stream as the current one, and generators that wait for its end.
            torch.cuda.set_stream(stream)
            for generator, state in zip(generators, states, strict=True):
                generator.graphsafe_set_state(state)
            cause = error.__context__ or error  # where the work failed, ending the capture fails too
            self.refused = words_of(cause)
            return
        self._graph = graph
