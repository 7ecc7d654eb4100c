"""Work on a card, with a driver whose card is this machine's memory: ONNX Runtime computes there as it does on the CPU.

What only a card can show, such as that a recorded graph gives what its operators give, tests/gpu shows.
"""

import ctypes
import gc
import os
import pickle
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from aae_zoo.runtime import DeviceUnavailable, InvalidBundle, InvalidInput, Model, load
from aae_zoo.runtime.checks.verify import verify
from aae_zoo.runtime.engine import engine as engines
from aae_zoo.runtime.engine import gpus
from aae_zoo.runtime.engine import graph as opened
from aae_zoo.runtime.engine import session as sessions
from aae_zoo.runtime.engine.cuda import arrays
from aae_zoo.runtime.engine.cuda import driver as drivers
from aae_zoo.runtime.engine.cuda import graph as graphs
from aae_zoo.runtime.engine.cuda import recording as records
from aae_zoo.runtime.engine.cuda.arrays import DeviceArray
from aae_zoo.runtime.engine.cuda.recording import TURNS, undisturbed
from aae_zoo.runtime.engine.cuda.slot import Slot
from aae_zoo.runtime.engine.session import open_session, reason_of

SOURCE = Path(__file__).parents[2] / "support" / "fake_cuda.c"
INTS = ("node_kind", "capture_fails", "end_fails", "module_fails", "under_way", "most", "spoiled")
REPLAY = ctypes.CFUNCTYPE(None, ctypes.c_long)


class FakeCard:
    """The driver's numbers, by name: what a test sets, and what it counts."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def __getitem__(self, name: str) -> int:
        return int(self._number(name).value)

    def __setitem__(self, name: str, value: int) -> None:
        self._number(name).value = value

    def _number(self, name: str) -> Any:
        return (ctypes.c_int if name in INTS else ctypes.c_size_t).in_dll(self._library, name)

    def replays_with(self, replay: Callable[[int], None] | None) -> None:
        """Call `replay` for each graph that is launched, with its number."""
        self._kept = REPLAY(replay) if replay else None
        address = ctypes.cast(self._kept, ctypes.c_void_p).value if self._kept else None
        ctypes.c_void_p.in_dll(self._library, "replay").value = address


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", built, SOURCE], check=True)
    return built


@pytest.fixture
def card(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCard]:
    """The card that every model of a test runs on, though it is loaded for the CPU."""
    monkeypatch.setattr(gpus, "_DRIVER", (str(library),))
    drivers._drivers.clear()

    def opened(graph: Any, *, stream: Callable[[int], int | None], **options: Any) -> Any:
        assert stream(0)
        return open_session(graph, **options)

    monkeypatch.setattr(engines, "open_session", opened)
    monkeypatch.setattr(engines, "memory_of", lambda session: ("cuda", 0))
    fake = FakeCard(library)
    yield fake
    drivers._drivers.clear()
    fake.replays_with(None)
    fake["room"] = 1 << 40
    for name in INTS:
        fake[name] = 0


@pytest.fixture
def replays(card: FakeCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launching a graph does what was recorded: it runs the session with the same buffers."""
    slots: WeakSet[Slot] = WeakSet()
    made = Slot.__init__

    def remember(slot: Slot, *given: Any) -> None:
        made(slot, *given)
        slots.add(slot)

    def replay(number: int) -> None:
        for slot in list(slots):
            if slot._executable == number:
                slot._run(None)

    monkeypatch.setattr(Slot, "__init__", remember)
    card.replays_with(replay)


def near(found: Any, expected: NDArray[np.float32]) -> bool:
    return np.allclose(found, expected, rtol=0, atol=1e-6)


def model(name: str = "digits-gauss", **options: Any) -> Model:
    return load(name, device="cpu", threads=1, **options)


@pytest.fixture(scope="module")
def plain() -> Model:
    """On the CPU: it is opened before there is a card."""
    made = model()
    for role in ("prior", "decoder", "encoder"):
        made.graph(role)
    return made


class Lent:
    """An array of another library on the card; it tells which stream was to wait for its producer's."""

    def __init__(self, values: NDArray[Any], number: int = 0, strides: tuple[int, ...] | None = None) -> None:
        self.values, self.number, self.strides = values, number, strides
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, self.number)

    def __dlpack__(self, *, stream: int) -> object:
        self.streams.append(stream)
        capsule = self.values.__dlpack__()
        place = ctypes.cast(arrays._pointer(id(capsule), b"dltensor"), ctypes.POINTER(arrays._Managed))
        place.contents.tensor.kind, place.contents.tensor.number = 2, self.number
        return capsule


class LentByInterface:
    """The same by the CUDA array interface."""

    def __init__(self, values: NDArray[Any], stream: int | None = 1) -> None:
        self.values, self.dtype = values, values.dtype
        self.__cuda_array_interface__ = {**values.__array_interface__, "version": 3, "stream": stream}


@pytest.mark.parametrize("count", [1, 7, 64, 1500])
def test_all_calls_give_what_the_cpu_gives(card: FakeCard, plain: Model, count: int) -> None:
    ours = model()
    for _ in range(4):
        images = plain.sample(count, seed=4)
        z = plain.encode(images)
        assert ours.graph("decoder").card is not None
        assert near(ours.sample(count, seed=4), images)
        assert near(ours.encode(images), z)
        assert near(ours.decode(z), plain.decode(z))
        assert near(ours.reconstruct(images), plain.reconstruct(images))
        assert near(ours.sample(count, temperature=0.5), plain.sample(count, temperature=0.5))
        assert near(np.concatenate(list(ours.stream("sample", count, seed=4))), images)
        assert np.allclose(ours.score(images).score, plain.score(images).score, rtol=1e-4)
    out = np.full_like(images, np.nan)
    assert ours.decode(z, out=out) is out
    assert near(out, plain.decode(z))


@pytest.mark.parametrize("count", [2, 64, 1500])
def test_arrays_stay_on_the_card(card: FakeCard, plain: Model, count: int) -> None:
    ours = model(arrays="device")
    images = plain.sample(count, seed=4)
    drawn: Any = ours.sample(count, seed=4)
    z: Any = ours.encode(drawn)
    for array in (drawn, z):
        assert isinstance(array, DeviceArray)
        assert array.device == "cuda:0"
    assert near(drawn, images)
    assert near(z, plain.encode(images))
    assert near(ours.decode(z), plain.reconstruct(images))
    assert near(ours.reconstruct(drawn), plain.reconstruct(images))
    assert np.allclose(ours.interpolate(images[:2]), plain.interpolate(images[:2]), atol=1e-5)
    assert np.allclose(ours.nearest(drawn, drawn).distances, 0, atol=1e-3)
    assert np.allclose(np.concatenate([np.asarray(part) for part in ours.stream("decode", z)]), drawn, atol=1)
    assert drawn.__cuda_array_interface__["data"] == (drawn.address, False)


class LikeCupy(Lent):
    """One that numpy cannot see by itself, as CuPy's."""

    def __array__(self, *given: Any, **named: Any) -> NDArray[Any]:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def get(self) -> NDArray[Any]:
        return self.values


@pytest.mark.parametrize("lent", [Lent, LentByInterface, LikeCupy])
def test_what_is_needed_on_the_host_is_brought_there(
    card: FakeCard, plain: Model, lent: Callable[[NDArray[Any]], Any]
) -> None:
    ours = model()
    images = plain.sample(20)
    z = plain.encode(images)
    assert near(ours.score(lent(images)).score, plain.score(images).score)
    assert near(ours.nearest(lent(images), z).distances, plain.nearest(images, z).distances)
    assert near(ours.nearest(Lent(z), images).distances, plain.nearest(z, images).distances)
    assert ours.drift(Lent(z), Lent(z)).p_value == plain.drift(z, z).p_value


def test_an_array_of_cupy_may_be_of_any_numbers_where_it_goes_to_the_host(card: FakeCard, plain: Model) -> None:
    pixels = np.arange(256, dtype=np.uint8)[: 4 * 64].reshape(4, 1, 8, 8)
    for ours in (model(), plain):
        assert near(ours.score(LikeCupy(pixels)).score, plain.score(pixels).score)


@pytest.mark.parametrize("lent", [Lent, LentByInterface])
@pytest.mark.parametrize("where", ["host", "device"])
def test_arrays_of_other_libraries_are_taken_where_they_lie(
    card: FakeCard, plain: Model, lent: Callable[[NDArray[Any]], Any], where: str
) -> None:
    ours = model(arrays=where)
    images = plain.sample(20)
    z = plain.encode(images)
    for _ in range(4):
        assert near(ours.decode(lent(z)), plain.decode(z))
        assert near(ours.encode(lent(images)), z)
        assert near(ours.reconstruct(lent(images)), plain.reconstruct(images))
        noise = np.full((20, 2), 0.3, np.float32)
        assert near(ours.sample_from(lent(noise)), plain.sample_from(noise))
    given = Lent(z)
    ours.decode(given)
    assert given.streams == [1]  # the default stream, for which the model's waits


def test_a_class_may_lie_on_the_card_too(card: FakeCard) -> None:
    ours = model("fashion-style")
    y = np.eye(10, dtype=np.float32)[:3]
    z = np.zeros((3, ours.manifest.latent), np.float32)
    expected = ours.decode(z, y)
    for given in (Lent(y), LentByInterface(y), np.arange(3)):
        assert near(ours.decode(Lent(z), given), expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Lent(np.zeros((3, 2), np.float16)), "z lies on cuda:0 as float16, expected contiguous float32; make it that"),
        (Lent(np.zeros((2, 3), np.float32).T), "z lies on cuda:0 as float32 that is not contiguous"),
        (
            LentByInterface(np.zeros((2, 3), np.float32).T),
            "z lies on cuda:0 as float32 that is not contiguous",
        ),
        (LentByInterface(np.zeros((3, 2), np.int64)), "z lies on cuda:0 as int64, expected contiguous float32"),
        (Lent(np.zeros((3, 5), np.float32)), r"z has shape \[3, 5\], expected \[n, 2\] with n >= 1"),
        (Lent(np.zeros((0, 2), np.float32)), r"z has shape \[0, 2\], expected \[n, 2\] with n >= 1"),
        (Lent(np.zeros((3, 2), np.float32), 1), "z lies on cuda:1 and the model runs on cuda:0; .* device='cuda:1'"),
    ],
)
def test_arrays_that_cannot_be_used_as_they_lie(card: FakeCard, given: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        model().decode(given)


def test_an_array_on_a_card_and_a_model_on_the_cpu(plain: Model) -> None:
    with pytest.raises(InvalidInput, match="z lies on a GPU, .* load the model with device='cuda', or give a numpy"):
        plain.decode(Lent(np.zeros((3, 2), np.float32)))
    with pytest.raises(InvalidInput, match="arrays is 'gpu', expected host or device"):
        load("digits-gauss", arrays="gpu")  # type: ignore[arg-type]


def test_large_arrays_of_other_libraries_are_free_again_when_the_call_returns(card: FakeCard, plain: Model) -> None:
    ours = model(arrays="device")
    images = np.tile(plain.sample(50), (400, 1, 1, 1))
    given = Lent(images)
    for call, expected in ((ours.encode, plain.encode), (ours.reconstruct, plain.reconstruct)):
        assert near(call(given), expected(images))
    decoder, encoder = (ours.graph(role) for role in ("decoder", "encoder"))
    gc.collect()
    assert [slot.holds for graph in (decoder, encoder) for slot in vars(graph)["_slots"] if slot.holds] == []


def test_the_last_rows_of_many_are_computed_with_as_many_as_before(card: FakeCard, plain: Model) -> None:
    """A new number of rows costs cuDNN's search; what is beyond the last row is no garbage, and nobody sees it."""
    ours = model()
    batch = ours.batch
    for count in (batch + 1, 3 * batch - 1, 3 * batch):
        images = plain.sample(count, seed=9)
        assert near(ours.sample(count, seed=9), images)
        assert near(ours.encode(images), plain.encode(images))
        assert near(ours.reconstruct(images), plain.reconstruct(images))
        assert near(ours.decode(plain.encode(images)), plain.reconstruct(images))
    assert {slot.rows for slot in vars(ours.graph("decoder"))["_slots"]} == {batch}


def test_pinned_arrays_are_written_by_the_card_itself(card: FakeCard, plain: Model) -> None:
    ours = model()
    z = np.random.default_rng(0).standard_normal((5000, 2)).astype(np.float32)
    out = np.full((5000, 1, 8, 8), np.nan, np.float32)
    card["pinned_from"], card["pinned_to"] = out.ctypes.data, out.ctypes.data + out.nbytes
    assert ours.decode(z, out=out) is out
    assert near(out, plain.decode(z))
    with pytest.raises(InvalidBundle, match="gives numbers for image that are not finite"):
        ours.decode(np.full((5000, 2), 3e38, np.float32), out=out)
    card["pinned_from"] = card["pinned_to"] = 0


def test_a_card_that_cannot_look_for_nan_leaves_it_to_the_host(card: FakeCard, plain: Model) -> None:
    card["module_fails"] = 1
    ours = model()
    decoder: Any = ours.graph("decoder")
    assert not decoder.card.driver.looks
    assert near(ours.sample(3000), plain.sample(3000))
    with pytest.raises(InvalidBundle, match="gives numbers for image that are not finite"):
        ours.decode(np.full((5000, 2), 3e38, np.float32))


def test_a_driver_without_what_is_needed_leaves_all_to_onnx_runtime(
    card: FakeCard, plain: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "old.c").write_text("int cuInit(unsigned flags) { return 0; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "old.c"], check=True)
    monkeypatch.setattr(gpus, "_DRIVER", (str(tmp_path / "libcuda.so.1"),))
    monkeypatch.setattr(engines, "open_session", lambda graph, *, stream, **options: open_session(graph, **options))
    ours = model()
    assert ours.graph("decoder").card is None
    assert np.array_equal(ours.sample(30), plain.sample(30))


@pytest.mark.usefixtures("replays")
class TestCapture:
    """From the third call on with as many rows, the work is one graph."""

    def test_work_that_repeats_is_recorded(self, card: FakeCard, plain: Model) -> None:
        ours = model()
        z = np.random.default_rng(0).standard_normal((64, 2)).astype(np.float32)
        for call in range(6):
            before = card["launches"]
            assert near(ours.decode(z + call), plain.decode(z + call))
            assert ours.graph("decoder").captures == ([64] if call >= 2 else [])
            assert card["launches"] - before == (0 if call < 2 else 2 if call == 2 else 1)
        assert ours.graph("decoder").uncaptured == ""
        assert plain.graph("decoder").captures == []

    def test_there_are_few_of_them(self, card: FakeCard, plain: Model) -> None:
        ours = model()
        for rows in [*range(1, 30), *range(1, 30)]:
            z = np.full((rows, 2), rows / 30, np.float32)
            for _ in range(4):
                assert near(ours.decode(z), plain.decode(z))
            assert len(ours.graph("decoder").captures) <= graphs._MOST_SLOTS
        assert card["used"] < 1 << 23

    def test_sixteen_threads_at_once(self, card: FakeCard, plain: Model) -> None:
        ours = {where: model(arrays=where) for where in ("host", "device")}
        wrong: list[object] = []

        def work(thread: int) -> None:
            for call in range(12):
                rows = (1, 3, 64, 700)[(thread + call) % 4]
                z = np.full((rows, 2), thread / 16, np.float32)
                found: Any = ours["host" if call % 2 else "device"].decode(z)
                if isinstance(found, DeviceArray):
                    found.__dlpack__()  # when it is free again, the card is waited for
                if not near(found, plain.decode(z)):
                    wrong.append((thread, call))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert card["waits"] > 0
        assert all(not each.graph("decoder").uncaptured for each in ours.values())

    def test_nobody_waits_for_the_whole_card_while_work_is_recorded(
        self, card: FakeCard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """CUDA would refuse to wait, and the record would be lost."""
        ours = model()
        decoder: Any = ours.graph("decoder")
        recording, order, run = threading.Event(), [], Slot._run

        def slow(slot: Slot, options: Any) -> None:
            if options is vars(decoder)["_recording"]:
                recording.set()
                waiting.join(0.1)  # it does not end
                order.append("recorded")
            run(slot, options)

        def wait() -> None:
            recording.wait()
            decoder.card.driver.synchronize_all()
            order.append("waited")

        monkeypatch.setattr(Slot, "_run", slow)
        waiting = threading.Thread(target=wait)
        waiting.start()
        for _ in range(3):
            ours.decode(np.zeros((8, 2), np.float32))
        waiting.join()
        assert order == ["recorded", "waited"]
        assert decoder.captures == [8]

    @pytest.mark.parametrize(
        ("fault", "value", "reason"),
        [
            ("capture_fails", 1, r"cuStreamBeginCapture_v2 failed with CUDA_ERROR_UNKNOWN \(801\)"),
            ("end_fails", 1, r"cuStreamEndCapture failed with CUDA_ERROR_STREAM_CAPTURE_INVALIDATED \(901\)"),
            ("node_kind", 3, r"the graph goes through the host \(host\)"),
            ("node_kind", 1, r"the graph goes through the host \(memcpy\)"),
        ],
    )
    def test_what_cannot_be_recorded_runs_as_before(
        self, card: FakeCard, plain: Model, fault: str, value: int, reason: str
    ) -> None:
        card[fault] = value
        self._refuses(card, plain, reason)

    def test_a_record_that_gives_something_else_is_not_used(self, card: FakeCard, plain: Model) -> None:
        card.replays_with(None)
        self._refuses(card, plain, "a replay of the graph gives something else than a run")

    def _refuses(self, card: FakeCard, plain: Model, reason: str) -> None:
        ours = model()
        before = card["launches"]
        for call in range(5):
            z = np.full((8, 2), call, np.float32)
            assert near(ours.decode(z), plain.decode(z))
        graph = ours.graph("decoder")
        assert graph.captures == []
        assert re.fullmatch(reason, graph.uncaptured), graph.uncaptured
        assert card["launches"] - before <= graphs._MOST_REFUSALS


UNSUPPORTED = "operation not permitted when stream is capturing"
IN_SOURCE = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:146 std::conditional_t<THRW, void, "
    "onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, "
    "const char*, int) [with ERRTYPE = cudaError; bool THRW = true; SUCCTYPE = cudaError; "
    "std::conditional_t<THRW, void, common::Status> = void] "
)
CANNOT_WAIT = (
    f"{2 * IN_SOURCE}CUDA failure 900: {UNSUPPORTED} ; GPU=0 ; hostname=host ; file=/onnxruntime_src/onnxruntime/core/"
    "providers/cuda/cuda_execution_provider.cc ; line=301 ; expr=cudaDeviceSynchronize(); \n\n"
)
FOUND = (
    f"Non-zero status code returned while running Sub node. CUDA error cudaErrorStreamCaptureUnsupported:{UNSUPPORTED}"
)
CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def cuda(card: FakeCard, library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CUDA as ONNX Runtime uses it: it waits to open a session, and asks for the last error after a run."""
    monkeypatch.undo()
    runtime = ctypes.CDLL(str(library))

    def wait() -> None:
        if runtime.cudaDeviceSynchronize():
            runtime.cudaGetLastError()
            runtime.cudaDeviceSynchronize()  # as it does again to put the error into words
            raise RuntimeError(CANNOT_WAIT)

    def look() -> None:
        if runtime.cudaGetLastError():
            raise RuntimeError(FOUND)

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, graph: bytes, options: Any, providers: list[Any], **fallback: int) -> None:
            self.on_cuda = providers[0][0] == CUDA[0]
            if self.on_cuda:
                wait()
            super().__init__(graph, options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return CUDA if self.on_cuda else CUDA[1:]

        def get_provider_options(self) -> dict[str, dict[str, str]]:
            return {name: {} for name in self.get_providers()}

        def run(self, *given: Any) -> Any:
            found = super().run(*given)
            if self.on_cuda:
                look()
            return found

        def run_with_iobinding(self, *given: Any) -> None:
            super().run_with_iobinding(*given)
            if card["spoiled"] and card["under_way"]:
                wait()
            look()

    monkeypatch.setattr(gpus, "_DRIVER", (str(library),))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: CUDA)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(records, "_RUNTIMES", (str(library),))
    monkeypatch.setattr(opened, "memory_of", lambda session: ("cpu", 0))  # where the card's memory is
    sessions.preload_libraries.cache_clear()
    yield runtime
    sessions.preload_libraries.cache_clear()
    runtime.cudaGetLastError()


class TestRecordsAndOtherWork:
    """While a stream is recorded, CUDA refuses much to all threads, and what it refuses leaves an error behind."""

    def test_models_are_opened_run_verified_and_closed_while_others_record(
        self, cuda: Any, card: FakeCard, plain: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorded = Slot._recorded

        def slow(slot: Slot, options: Any) -> Any:
            threading.Event().wait(0.005)
            return recorded(slot, options)

        monkeypatch.setattr(Slot, "_recorded", slow)
        monkeypatch.setattr(Slot, "_prove", lambda slot, options: slot.forget())  # nothing is replayed here

        def work(number: int) -> bool:
            right = all(c.passed for c in verify("digits-gauss", device="cuda", precision="fp32"))
            for rows in (3, 8, 17):
                with load("digits-gauss", device="cuda", threads=1) as ours:
                    for _ in range(4):
                        z = np.full((rows, 2), number / 8, np.float32)
                        right &= near(ours.decode(z), plain.decode(z))
                    right &= ours.graph("decoder").uncaptured == ""
            return right

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(work, range(6))) == [True] * 6
        assert card["most"] == 1

    @pytest.mark.parametrize("loaded", [True, False])
    def test_a_failed_record_leaves_no_error_behind(
        self, cuda: Any, card: FakeCard, plain: Model, monkeypatch: pytest.MonkeyPatch, loaded: bool
    ) -> None:
        if not loaded:
            monkeypatch.setattr(records, "_RUNTIMES", ("libcudart.so.none",))
        card["spoiled"] = 1
        ours = load("digits-gauss", device="cuda", threads=1)
        for call in range(6):
            z = np.full((8, 2), call, np.float32)
            assert near(ours.decode(z), plain.decode(z))
        assert ours.graph("decoder").uncaptured == f"CUDA failure 900: {UNSUPPORTED} (cudaDeviceSynchronize())"

    def test_another_librarys_record_is_waited_for(self, cuda: Any, plain: Model) -> None:
        cuda.cuStreamBeginCapture_v2(ctypes.c_void_p(7), 1)
        end = threading.Timer(
            0.05, lambda: cuda.cuStreamEndCapture(ctypes.c_void_p(7), ctypes.byref(ctypes.c_void_p()))
        )
        end.start()
        assert near(load("digits-gauss", device="cuda", threads=1).sample(3), plain.sample(3))
        end.join()

    def test_one_that_does_not_end_is_one_sentence(self, cuda: Any) -> None:
        cuda.cuStreamBeginCapture_v2(ctypes.c_void_p(7), 1)
        try:
            with pytest.raises(DeviceUnavailable) as caught:
                load("digits-gauss", device="cuda", threads=1).sample(3)
        finally:
            cuda.cuStreamEndCapture(ctypes.c_void_p(7), ctypes.byref(ctypes.c_void_p()))
        assert f"refuses prior.onnx: CUDA failure 900: {UNSUPPORTED} (cudaDeviceSynchronize()); aae-zoo" in str(
            caught.value
        )

    @pytest.mark.usefixtures("replays")
    def test_a_record_is_put_off_while_another_thread_works(self, card: FakeCard, plain: Model) -> None:
        ours, z = model(), np.zeros((8, 2), np.float32)
        entered, leave = threading.Event(), threading.Event()

        def work() -> None:
            with TURNS:
                entered.set()
                leave.wait()

        other = threading.Thread(target=work)
        other.start()
        entered.wait()
        try:
            for _ in range(5):
                assert near(ours.decode(z), plain.decode(z))
            assert ours.graph("decoder").captures == []
        finally:
            leave.set()
            other.join()
        ours.decode(z)
        assert ours.graph("decoder").captures == [8]
        assert ours.graph("decoder").uncaptured == ""

    def test_work_waits_for_the_end_of_a_record(self) -> None:
        order: list[str] = []
        other = threading.Thread(target=undisturbed, args=(order.append, "worked"))
        with TURNS.recording():
            other.start()
            other.join(0.1)  # it does not end
            order.append("recorded")
        other.join()
        assert order == ["recorded", "worked"]

    def test_whoever_records_does_not_wait_for_itself(self) -> None:
        with TURNS.recording() as alone, TURNS:
            assert alone
            with TURNS.recording() as again:
                assert not again
        with TURNS, TURNS.recording() as alone:
            assert not alone
        assert not TURNS.are_taken


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (CANNOT_WAIT, f"CUDA failure 900: {UNSUPPORTED} (cudaDeviceSynchronize())"),
        (FOUND, FOUND),
        (f"{IN_SOURCE}something else", "something else"),
        ("/onnxruntime_src/onnxruntime/core/graph/model.cc:9 void f(int) const No such opset", "No such opset"),
        (
            "N:\\_work\\1\\s\\onnxruntime\\core\\graph\\model.cc:9 onnxruntime::Model::Model No such opset",
            "No such opset",
        ),
    ],
)
def test_what_onnx_runtime_says_is_shown_without_its_source(said: str, reason: str) -> None:
    assert reason_of(RuntimeError(said)) == reason


def test_too_little_memory_is_one_sentence_and_passes(card: FakeCard, plain: Model) -> None:
    ours = model(arrays="device")
    ours.sample(4)
    card["room"] = 1 << 22
    with pytest.raises(DeviceUnavailable) as caught:
        ours.sample(200_000)
    assert str(caught.value) == (
        "there is no room for 51,200,000 bytes on the GPU cuda:0; ask for fewer rows at a time, use model.stream, "
        "let go of arrays that are no longer needed, or end other programs that use the card"
    )
    card["room"] = 1 << 40
    assert near(ours.sample(2000), plain.sample(2000))


def test_onnx_runtimes_own_memory_may_be_too_little(card: FakeCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arena says so in many words."""
    ours = model()
    ours.decode(np.zeros((3, 2), np.float32))

    def fails(*given: object) -> None:
        raise RuntimeError(
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Gemm node. "
            "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 52428800"
        )

    decoder: Any = ours.graph("decoder")
    session = SimpleNamespace(run_with_iobinding=fails)
    for slot in decoder._slots:
        monkeypatch.setattr(slot, "_session", session)
    with pytest.raises(DeviceUnavailable, match="there is no room for 52,428,800 bytes on the GPU cuda:0; ask for"):
        ours.decode(np.zeros((3, 2), np.float32))


def test_what_is_not_finite_is_refused(card: FakeCard) -> None:
    ours = load("digits-gauss", device="cpu")
    with pytest.raises(InvalidBundle, match="gives numbers for image that are not finite"):
        ours.decode(np.full((1, 2), 3e38, np.float32))
    with pytest.raises(InvalidBundle, match="gives numbers for image that are not finite"):
        ours.decode(np.full((5000, 2), 3e38, np.float32))
    assert np.isfinite(ours.sample(3)).all()


def test_memory_and_events_are_given_back(card: FakeCard) -> None:
    gc.collect()
    before = card["allocations"] - card["frees"], card["events"]
    for where in ("host", "device"):
        with model(arrays=where) as ours:
            kept = [ours.sample(count) for count in (1, 64, 1500, 64)]
            ours.reconstruct(kept[1])
            list(ours.stream("sample", 3000))
            next(iter(ours.stream("sample", 3000)))  # and no more of it
        del ours, kept
    gc.collect()
    assert (card["allocations"] - card["frees"], card["events"]) == before


def test_an_array_outlives_its_model(card: FakeCard, plain: Model) -> None:
    with model(arrays="device") as ours:
        drawn = ours.sample(10)
    del ours
    gc.collect()
    assert near(drawn, plain.sample(10))


def test_a_closed_model_opens_again_and_a_copy_has_a_card_of_its_own(card: FakeCard, plain: Model) -> None:
    ours = model()
    ours.sample(3)
    ours.close()
    copy = pickle.loads(pickle.dumps(ours))  # noqa: S301 - our own
    for each in (ours, copy):
        assert near(each.sample(3), plain.sample(3))


def test_a_model_may_be_closed_while_its_results_are_asked_for(card: FakeCard, plain: Model) -> None:
    expected = plain.sample(3000)
    for where in ("host", "device"):
        ours = model(arrays=where)
        parts = iter(ours.stream("sample", 3000))
        found = [np.asarray(next(parts))]
        ours.close()
        gc.collect()
        found += [np.asarray(part) for part in parts]
        assert near(np.concatenate(found), expected)


def test_a_forked_child_leaves_the_card_alone(card: FakeCard, plain: Model) -> None:
    ours = model(arrays="device")
    drawn = ours.sample(2000)
    frees = card["frees"]
    child = os.fork()
    if child == 0:
        ours.close()
        del ours, drawn
        gc.collect()
        os._exit(0 if card["frees"] == frees else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert near(drawn, plain.sample(2000))


def test_on_the_cpu_arrays_are_of_the_same_kind(plain: Model) -> None:
    """So that a program that uses the card is tried without one."""
    ours = model(arrays="device")
    drawn: Any = ours.sample(1500)
    expected = plain.sample(1500)
    assert repr(drawn) == "<DeviceArray float32 [1500, 1, 8, 8] on cpu>"
    assert np.array_equal(drawn.numpy(), expected)
    assert np.array_equal(np.from_dlpack(drawn), expected)
    assert torch.equal(from_dlpack(drawn), torch.from_numpy(expected))
    assert (len(drawn), drawn.ndim, drawn.size, drawn.nbytes) == (1500, 4, 96_000, 384_000)
    assert np.array_equal(drawn[5:7], expected[5:7])
    assert not hasattr(drawn, "__cuda_array_interface__")
    with pytest.raises(InvalidInput, match=r"a DeviceArray is cut by rows, such as array\[2:5\], not 3"):
        drawn[3]
    with pytest.raises(BufferError, match="this array is given as it is, on cpu"):
        drawn.__dlpack__(dl_device=(2, 0))
    assert near(ours.decode(ours.encode(drawn)), plain.reconstruct(expected))
    assert ours.score(drawn).score.shape == (1500,)


def test_memory_lives_as_long_as_another_library_uses_it(plain: Model) -> None:
    before = len(arrays._lent)
    drawn: Any = model(arrays="device").sample(50)
    tensor = from_dlpack(drawn)
    unused = drawn.__dlpack__()
    assert len(arrays._lent) == before + 2
    del drawn, unused
    gc.collect()
    assert len(arrays._lent) == before + 1
    assert torch.equal(tensor, torch.from_numpy(plain.sample(50)))
    del tensor
    gc.collect()
    assert len(arrays._lent) == before
