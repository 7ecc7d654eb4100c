"""ONNX Runtime sessions: threads by what this process may use, and devices that are what was asked for."""

import contextlib
import re
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from io import StringIO
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from aae_zoo.runtime.bundles.graph_check import CheckedGraph
from aae_zoo.runtime.engine.cpus import available_cpus
from aae_zoo.runtime.engine.devices import CPU, CUDA, NVIDIA, Device, Provider, missing_providers, wanted_providers
from aae_zoo.runtime.errors import DeviceUnavailable, InvalidBundle, InvalidInput, MissingBackend, reinstalling, whole

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# ONNX Runtime's levels of its log; warnings are its default.
_WARNING: Final = 2
_ERROR: Final = 3
FATAL: Final = 4
# What a call of CUDA's libraries that failed says of itself, in the words of ONNX Runtime, and which call it was.
_FAILURE: Final = re.compile(r"(\w+ failure -?\d+: .*?) ; GPU=.*? ; expr=(.*?);")
# A file of ONNX Runtime's, a line, the function with what it takes, and the types of a template; on Windows its name.
_PLACE: Final = re.compile(
    r"/onnxruntime_src/\S*:\d+ .*?\) (?:const )?(?:\[with [^]]*\] )?|\b[A-Z]:\\\S*:\d+ onnxruntime::\S+ "
)
# More than any machine has CPUs; starting many more takes minutes.
_MOST_THREADS: Final = 4096

_shared_threads: int | None = None
_auto_is_cpu = False
_log_level = _WARNING


def open_session(
    graph: CheckedGraph,
    *,
    device: Device = "auto",
    threads: int | None = None,
    tf32: bool = False,
    deterministic: bool = False,
    stream: Callable[[int], int | None] | None = None,
) -> "InferenceSession":
    """Make a session for a graph.

    `threads` is how many threads one operator uses: by default as many as the CPUs that this process may use, or
    the pool that `share_threads` made. `tf32` lets CUDA compute with fewer digits, `deterministic` chooses algorithms
    that give the same bits each time. `stream` gives the address of the stream that a CUDA card of a number shall
    compute on, or none; ONNX Runtime then makes its own.

    Raises:
        MissingBackend: ONNX Runtime is not installed.
        DeviceUnavailable: an explicit device is not available. ONNX Runtime itself falls back silently.
        InvalidInput: `device` is unknown, or `threads` is below 1 or not the size of the shared pool.
        InvalidBundle: ONNX Runtime refuses the graph.
    """
    global _auto_is_cpu  # what one session has found out, the next does not try again
    ort = import_onnxruntime()
    wanted = (
        [(CPU, {})]
        if device == "auto" and _auto_is_cpu
        else wanted_providers(ort, device, tf32=tf32, deterministic=deterministic)
    )
    if wanted[0][0] == CPU:
        return _session(ort, graph, wanted, threads, deterministic)
    try:
        return _on_device(ort, graph, wanted, threads, deterministic, stream)
    except (InvalidBundle, DeviceUnavailable) as error:
        # raises where the graph, not the device, is at fault
        on_cpu = _session(ort, graph, [(CPU, {})], threads, deterministic)
        if device != "auto":
            raise DeviceUnavailable(
                f"device {device} was asked for, but cannot be used: {error}; "
                "aae-zoo doctor shows what is missing, device='cpu' runs without it"
            ) from None
        _auto_is_cpu = True
        warnings.warn(
            f"no GPU can be used, running on the CPU: {error} (aae-zoo doctor shows more)",
            RuntimeWarning,
            stacklevel=2,
        )
        return on_cpu


def share_threads(threads: int | None = None) -> int:
    """Let all models of this process share one pool of threads, by default as many as the CPUs it may use.

    For a program with several models; without it every encoder and decoder has a pool of its own. Call it once, before
    the first model runs. ONNX Runtime then refuses sessions that insist on their own threads, in other libraries too,
    unless they set `use_per_session_threads = False`: that is why it is only done on request. Returns the pool's size.

    Raises:
        MissingBackend: ONNX Runtime is missing, or too old to share threads.
        InvalidInput: `threads` is below 1, or not the size of the existing pool.
    """
    global _shared_threads  # ONNX Runtime has one such pool a process
    ort = import_onnxruntime()
    size = (_shared_threads or available_cpus()) if threads is None else whole(threads, "threads")
    if not 1 <= size <= _MOST_THREADS or size != (_shared_threads or size):
        expected = _shared_threads or f"1 to {_MOST_THREADS}"
        raise InvalidInput(f"threads is {threads}, expected {expected}; the pool is made once")
    if not hasattr(ort, "set_global_thread_pool_sizes"):
        raise MissingBackend(f"ONNX Runtime {ort.__version__} cannot share threads; pip install -U onnxruntime")
    if _shared_threads is None:
        ort.set_global_thread_pool_sizes(size, 1)
        _shared_threads = size
    return size


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that no session can have.

    Raises:
        InvalidInput: it is not whole, below 1, or more than any machine has CPUs.
    """
    if threads is not None and not 1 <= whole(threads, "threads") <= _MOST_THREADS:
        raise InvalidInput(f"threads is {threads}, expected 1 to {_MOST_THREADS}")


def pool_is_shared() -> bool:
    """Whether `share_threads` was called."""
    return _shared_threads is not None


def import_onnxruntime() -> ModuleType:
    """The module onnxruntime.

    Raises:
        MissingBackend: neither the CPU nor the GPU wheel is installed, or Windows cannot load it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt | SystemExit):  # a signal came as its library was loaded
            raise error.__cause__ from None
        install = reinstalling("pip install 'aae-zoo[cpu]', or for NVIDIA GPUs pip install 'aae-zoo[gpu]'")
        mend = f"install one of the two: {install}"
        if str(error).startswith("DLL load failed"):  # the wheel is there; a new Windows lacks what it is linked with
            mend = "it needs Microsoft's Visual C++ runtime: winget install Microsoft.VCRedist.2015+.x64"
        raise MissingBackend(f"ONNX Runtime cannot be imported ({error}); {mend}") from None
    module: ModuleType = onnxruntime
    return module


def _on_device(
    ort: ModuleType,
    graph: CheckedGraph,
    wanted: Sequence[Provider],
    threads: int | None,
    deterministic: bool,
    stream: Callable[[int], int | None] | None,
) -> "InferenceSession":
    """A session on other providers than the CPU's, or an error with what is known of the reason."""
    from aae_zoo.runtime.engine.cuda.recording import undisturbed  # the CPU does not need them
    from aae_zoo.runtime.engine.gpus import check_gpu

    for name, options in wanted:
        if name in NVIDIA and "device_id" in options:
            check_gpu(int(options["device_id"]))
    missing = preload_libraries(ort)
    global _log_level  # ONNX Runtime has one such log a process
    if deterministic:  # without a choice of algorithms each convolution warns that it may be slow, when it first runs
        _log_level = _ERROR
    first, options = wanted[0]
    if stream and first == CUDA and "user_compute_stream" not in options:
        address = stream(int(options.get("device_id", 0)))
        options |= {"user_compute_stream": str(address)} if address else {}
    ort.set_default_logger_severity(FATAL)  # what goes wrong is said in one sentence, not by ONNX Runtime on stderr
    try:
        session = undisturbed(_session, ort, graph, wanted, threads, deterministic)
    finally:
        ort.set_default_logger_severity(_log_level)
    if absent := missing_providers(session, wanted):
        raise DeviceUnavailable(f"ONNX Runtime left out {absent}" + (f" ({missing})" if missing else ""))
    return session


@cache
def preload_libraries(ort: ModuleType) -> str:
    """Load CUDA's libraries from the packages that pip installed: the first that is missing, or an empty text."""
    said = StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it cannot load
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
    failed = [line for line in said.getvalue().splitlines() if line.startswith("Failed to load")]
    return failed[0].removeprefix("Failed to load ").partition(":")[2].strip() if failed else ""


def _session(
    ort: ModuleType, graph: CheckedGraph, wanted: Sequence[Provider], threads: int | None, deterministic: bool
) -> "InferenceSession":
    options = _options(ort, threads)
    options.use_deterministic_compute = deterministic
    make = partial(ort.InferenceSession, graph.content, options, providers=list(wanted))
    try:
        try:
            session: InferenceSession = make(enable_fallback=0)  # its own way to fall back prints to stdout
        except RuntimeError as error:
            if "use_per_session_threads" not in str(error):
                raise
            options.use_per_session_threads = False  # another library has made all of this process share one pool
            session = make(enable_fallback=0)
    except Exception as error:  # the module's exceptions share no base class but Exception
        raise InvalidBundle(f"ONNX Runtime {ort.__version__} refuses {graph.name}: {reason_of(error)}") from None
    return session


def reason_of(error: Exception) -> str:
    """The first line of an error, without the places in ONNX Runtime's source that some begin with."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    if failure := _FAILURE.search(line):
        return "{} ({})".format(*failure.groups())
    return (_PLACE.sub("", line) or line)[:300]


def _options(ort: ModuleType, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = FATAL  # errors reach the user as exceptions, and are said once
    if _shared_threads is None:
        check_threads(threads)
        options.intra_op_num_threads = threads or available_cpus()
    elif threads in (None, _shared_threads):
        options.use_per_session_threads = False
    else:
        raise InvalidInput(f"threads is {threads}, but the models of this process share a pool of {_shared_threads}")
    return options
