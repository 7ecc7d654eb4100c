"""An open graph: a session, what goes in and comes out, and arrays that stay on its device."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.graph_check import CheckedGraph
from aae_zoo.runtime.bundles.manifest import Manifest
from aae_zoo.runtime.engine.devices import CPU, memory_of
from aae_zoo.runtime.engine.session import reason_of
from aae_zoo.runtime.errors import AaeZooError, InvalidBundle
from aae_zoo.runtime.formats.arrays import Arrays, is_finite, is_number
from aae_zoo.runtime.formats.stream import Finish, Job

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding, OrtValue

    from aae_zoo.runtime.engine.cuda.arrays import DeviceArray
    from aae_zoo.runtime.engine.cuda.card import Card
    from aae_zoo.runtime.engine.isolated import IsolatedSession

# Arrays of numpy, or values where the session computes.
Values = Mapping[str, "NDArray[np.float32] | OrtValue | DeviceArray"]

# Work is cut into batches of images that take this many bytes, or fewer. On a CPU what a convolution makes of them then
# stays in its caches, while matrix products get faster the more rows share one reading of the weights; a GPU needs more
# to be busy. docs/benchmarks.md has the speed of other batches. Not tuned by the clock, so that a call always does the
# same.
_BYTES: Final = {"convolutions": 1 << 20, "products": 1 << 22, "cuda": 1 << 24}
_MOST_ROWS: Final = {"convolutions": 256, "products": 1024, "cuda": 4096}
# ONNX Runtime takes the logarithms, sines and cosines of four numbers at a time, as many as fit into a register of the
# CPU, and of those that are left over one by one, which rounds differently. A prior is run on fours alone, so that a
# code is the same in every batch. Of the other operators of the shipped models only a detector's roots do so, by 5e-7:
# four rows instead of one would make a score cost four times as much.
_TOGETHER: Final = 4


class Graph:
    """A session and what the manifest promises of it: its inputs' names, its outputs' names and shapes of a row.

    `batch` is how many rows are worked on at a time. `binds` says whether arrays go in and out by I/O binding, as they
    do on a GPU; where the session uses the CPU's memory, plain runs are as good and do less. `ahead` is how many
    batches are begun before one is finished, and `uncaptured` why a card cannot start the work of a batch as one CUDA
    graph: see `cuda.graph.CardGraph`.
    """

    card: "Card | None" = None
    uncaptured: str = ""
    ahead: int = 0

    def __init__(
        self, session: "InferenceSession | IsolatedSession", manifest: Manifest, checked: CheckedGraph
    ) -> None:
        shapes = manifest.row_shapes
        self._where = f"{checked.name} of {manifest.name}"
        self.session: Any = session
        self._isolated = not hasattr(session, "io_binding")
        self.inputs = frozenset(checked.inputs)
        self.outputs = {name: shapes[name] for name in checked.outputs}
        self.names = list(self.outputs)
        self._in_fours = "u" in self.inputs
        sound = {name: is_number if name in checked.fractions else is_finite for name in self.names}
        self._checks = [(name, shape, sound[name]) for name, shape in self.outputs.items()]
        self.memory = ("cpu", 0) if self._isolated else memory_of(self.session)
        convolves = not checked.operators.isdisjoint(("Conv", "ConvTranspose", "ConvInteger", "QLinearConv"))
        work = "cuda" if self.memory[0] == "cuda" else "convolutions" if convolves else "products"
        self.batch = _batch_rows(manifest, work)
        self.binds = session.get_providers()[0] != CPU

    @property
    def captures(self) -> list[int]:
        """The numbers of rows whose work a card starts as one CUDA graph."""
        return []

    def run(self, inputs: Values, out: Arrays | None = None, *, finite: bool = True) -> Arrays:
        """The outputs by name, written into the arrays `out` where they are given.

        `finite` is false where the caller looks for NaN and infinity itself.

        Raises:
            InvalidBundle: ONNX Runtime cannot run the graph, or an output is not of the manifest's shape, with one row
                for each of the inputs', or not finite.
        """
        if out is not None and type(next(iter(out.values()))) is not np.ndarray:
            return self._run_placed(inputs, out, finite)
        first = next(iter(inputs.values()))
        rows = len(first) if type(first) is np.ndarray else _rows(inputs)  # another call counts beside a run of 0.03 ms
        if self._in_fours and rows % _TOGETHER and isinstance(noise := inputs["u"], np.ndarray):
            return self._run_in_fours(noise, out)
        try:
            if self._isolated or (out is None and not self.binds):
                found = dict(zip(self.names, self.session.run(self.names, inputs)))  # noqa: B905 - as was asked for
            else:
                found = self._run_into(inputs, out or self._empty(rows))
        except AaeZooError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
            raise self._failed(error) from None
        for name, shape, is_sound in self._checks:
            values = found[name]
            if values.shape != (rows, *shape):
                raise self._misshapen(name, values.shape, rows)
            if finite and not is_sound(values):
                raise self._not_finite(name)
        if out is None or found is out:
            return found
        for name, values in found.items():
            out[name][:] = values
        return out

    def run_there(self, inputs: Values) -> Arrays:
        """The outputs by name as `DeviceArray`s, where the session computes."""
        return self.run(inputs, self.room(_rows(inputs)))

    def room(self, rows: int) -> Any:
        """`DeviceArray`s for `rows` rows of the outputs, by name, with nothing in them yet."""
        from aae_zoo.runtime.engine.cuda.arrays import of_host  # few ask for them

        return {name: of_host(values) for name, values in self._empty(rows).items()}

    def begin(self, inputs: Values, out: Arrays | None = None, *, finite: bool = True, padded: bool = False) -> Finish:
        """Start a run; what is returned gives the outputs, as `run` does. On the CPU all is done at once.

        `padded` says that these are the last rows of many, for which a card may compute a whole batch.
        """
        del padded
        found = self.run(inputs, out, finite=finite)
        return lambda: found

    def job(self, inputs: Arrays, *, finite: bool = True) -> Job:
        """The outputs for inputs of any number of rows, batch by batch; `finite` is that of `run`."""
        rows = len(next(iter(inputs.values())))
        return Job(
            rows,
            self.batch,
            self.outputs,
            lambda part, out: self.begin(_part(inputs, part), out, finite=finite, padded=part.start > 0),
            self.ahead,
        )

    def keep(self, inputs: Values, names: Sequence[str], *, padded: bool = False) -> Values:
        """The outputs `names`, left where the session computes, for the next graph of the same device.

        Raises:
            InvalidBundle: as for `run`; on a GPU only the next graph's outputs tell whether all is finite.
        """
        del padded
        if not self.binds:
            found = self.run(inputs)
            return {name: found[name] for name in names}
        try:
            binding = self._bound(inputs)
            for name in names:
                binding.bind_output(name, *self.memory)
            self._carefully(self.session.run_with_iobinding, binding)
        except Exception as error:
            raise self._failed(error) from None
        kept, rows = dict(zip(names, binding.get_outputs(), strict=True)), _rows(inputs)
        for name, value in kept.items():
            if tuple(value.shape()) != (rows, *self.outputs[name]):
                raise self._misshapen(name, value.shape(), rows)
        return kept

    def _run_placed(self, inputs: Values, out: Any, finite: bool) -> Arrays:
        """A run whose outputs go into `DeviceArray`s on the host."""
        self.run(inputs, {name: values.on_host() for name, values in out.items()}, finite=finite)
        placed: Arrays = out
        return placed

    def _empty(self, rows: int) -> Arrays:
        return {name: np.empty((rows, *shape), np.float32) for name, shape in self.outputs.items()}

    def _run_into(self, inputs: Values, out: Arrays) -> Arrays:
        binding = self._bound(inputs)
        for name in self.names:
            binding.bind_output(name, "cpu", 0, np.float32, out[name].shape, out[name].ctypes.data)
        self._carefully(self.session.run_with_iobinding, binding)
        self._carefully(binding.synchronize_outputs)
        return out

    def _carefully(self, work: Callable[..., object], *given: object) -> None:
        """Do something on the device; on a card nothing may be recorded meanwhile."""
        if self.memory[0] == "cuda":
            from aae_zoo.runtime.engine.cuda.recording import undisturbed  # the CPU does not need it

            undisturbed(work, *given)
        else:
            work(*given)

    def _run_in_fours(self, noise: NDArray[np.float32], out: Arrays | None) -> Arrays:
        """The outputs for noise, whose last row is repeated meanwhile."""
        rows = len(noise)
        whole = np.concatenate([noise, noise[-1:].repeat(-rows % _TOGETHER, 0)])
        found = {name: values[:rows] for name, values in self.run({"u": whole}).items()}
        for name, values in (out or {}).items():
            values[:] = found[name]
        return out or found

    def _not_finite(self, name: str) -> InvalidBundle:
        return InvalidBundle(
            f"{self._where} gives numbers for {name} that are not finite; "
            "give inputs such as the model's own, or do not trust this bundle"
        )

    def _failed(self, error: Exception) -> AaeZooError:
        return InvalidBundle(f"ONNX Runtime cannot run {self._where}: {reason_of(error)}; do not trust this bundle")

    def _misshapen(self, name: str, shape: Sequence[int], rows: int) -> InvalidBundle:
        return InvalidBundle(
            f"{self._where} gives {name} of the shape {list(shape)} for {rows} rows, "
            f"expected {[rows, *self.outputs[name]]}; do not trust this bundle"
        )

    def _bound(self, inputs: Values) -> "IOBinding":
        binding = self.session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, np.ndarray):
                binding.bind_cpu_input(name, value)
            else:
                binding.bind_ortvalue_input(name, value)
        return binding


def _batch_rows(manifest: Manifest, work: str) -> int:
    """How many images are worked on at a time: as many as their bytes allow, a power of two."""
    channels, height, width = manifest.image.axes
    fitting = max(1, _BYTES[work] // (4 * channels * height * width))
    return int(min(_MOST_ROWS[work], 1 << (fitting.bit_length() - 1)))


def _part(inputs: Arrays, part: slice) -> Arrays:
    return {name: values[part] for name, values in inputs.items()}


def _rows(inputs: Values) -> int:
    values: Any = next(iter(inputs.values()))
    if type(values) is np.ndarray:
        return len(values)
    shape = values.shape
    return int((shape() if callable(shape) else shape)[0])  # ONNX Runtime's values have a method
