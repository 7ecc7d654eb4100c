"""Devices and threads: the one that was asked for or an error, never another in silence."""

import os
import platform
import re
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conftest import AaeZoo
from drivers import write_driver

from aae_zoo.runtime import DeviceUnavailable, InvalidInput, Model, load, share_threads
from aae_zoo.runtime.engine import gpus, wheels
from aae_zoo.runtime.engine import session as sessions
from aae_zoo.runtime.engine.cpus import available_cpus, cgroup_cpus, cgroup_folders
from aae_zoo.runtime.engine.devices import CPU, PROVIDERS, wanted_providers

CODES = np.zeros((1, 2), np.float32)


def built_with(*providers: str) -> Any:
    """An ONNX Runtime that was built with some providers."""
    return SimpleNamespace(get_available_providers=lambda: [*providers, "CPUExecutionProvider"], __version__="1.30")


def test_each_device_is_its_providers_with_the_cpu_last() -> None:
    everything = built_with(*{p for names in PROVIDERS.values() for p in names} - {"CPUExecutionProvider"})
    for device, names in PROVIDERS.items():
        assert [name for name, _ in wanted_providers(everything, device)] == list(names)
    assert wanted_providers(everything, "auto") == wanted_providers(everything, "cuda")
    assert wanted_providers(built_with("CoreMLExecutionProvider"), "auto") == [("CPUExecutionProvider", {})]


def test_a_devices_number_and_tf32_are_options() -> None:
    cuda = built_with("CUDAExecutionProvider")
    assert wanted_providers(cuda, "cuda")[0] == ("CUDAExecutionProvider", {"use_tf32": "0"})
    assert wanted_providers(cuda, "cuda:1", tf32=True)[0][1] == {"use_tf32": "1", "device_id": "1"}
    assert wanted_providers(cuda, "cuda:1")[1] == ("CPUExecutionProvider", {})


def test_a_list_of_providers_is_taken_as_it_is() -> None:
    cuda = built_with("CUDAExecutionProvider")
    listed = wanted_providers(cuda, [("CUDAExecutionProvider", {"use_tf32": "1", "gpu_mem_limit": 1 << 30})])
    assert listed == [("CUDAExecutionProvider", {"use_tf32": "1", "gpu_mem_limit": 1 << 30})]
    with pytest.raises(DeviceUnavailable, match="the provider 'QNN' was asked for, .* has CUDAExecutionProvider, CPU"):
        wanted_providers(cuda, ["QNN"])
    with pytest.raises(InvalidInput, match="device is an empty list"):
        wanted_providers(cuda, [])


@pytest.mark.parametrize("device", ["tpu", "", "CPU", "cpu:0", "auto:1", "cuda:x", "cuda:²", None, 3, b"cpu"])
def test_what_is_no_device_is_refused_before_a_model_is_looked_for(device: Any) -> None:
    with pytest.raises(InvalidInput, match=f"device is {device!r}, expected one of auto, cpu, .* or cuda:1 for a sec"):
        load("no-such-model", device=device)


@pytest.mark.parametrize("threads", [0, -1, 4097, 1.5, "2"])
def test_a_number_of_threads_too(threads: Any) -> None:
    with pytest.raises(InvalidInput, match=f"threads is {threads!r}, expected (1 to 4096|a whole number)"):
        load("no-such-model", threads=threads)


def driver(folder: Path, monkeypatch: pytest.MonkeyPatch, count: int, *, fails: int = 0) -> None:
    """Let NVIDIA's driver be one that lists so many GPUs."""
    write_driver(folder, count, fails=fails)
    monkeypatch.setattr(gpus, "_DRIVER", ("libmissing.so.1", str(folder / "libcuda.so.1")))
    monkeypatch.setattr(gpus, "_MANAGEMENT", ("libmissing.so.1", str(folder / "libnvidia-ml.so.1")))


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, r"there is 1 GPU here, cuda:0 \(NVIDIA H100 80GB HBM3\)"),
        (2, r"there are 2 GPUs here, cuda:0 \(NVIDIA H100 80GB HBM3\), cuda:1 \(NVIDIA L4\)"),
    ],
)
def test_a_gpu_that_is_not_there_is_told_from_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, said: str
) -> None:
    driver(tmp_path, monkeypatch, count)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    with pytest.raises(DeviceUnavailable, match=f"device cuda:3 was asked for, but cannot be used: {said}; "):
        load("digits-gauss", device="cuda:3").sample(1)


def test_doctor_names_each_gpu_and_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aae_zoo: AaeZoo) -> None:
    driver(tmp_path, monkeypatch, 2)
    out = aae_zoo("doctor").out
    assert re.search(r"ok +GPU cuda:0 +NVIDIA H100 80GB HBM3, 79 GiB, driver 580.95.05\n", out)
    assert re.search(r"ok +GPU cuda:1 +NVIDIA L4, 22 GiB, driver 580.95.05\n", out)
    monkeypatch.setattr(gpus, "_MANAGEMENT", (str(tmp_path / "nothing"),))
    assert re.search(r"ok +GPU cuda:1 +NVIDIA L4, 22 GiB\n", aae_zoo("doctor").out)


@pytest.mark.parametrize(
    ("missing", "package"),
    [
        ("libcublasLt.so.13", "nvidia-cublas"),
        ("libcudart.so.13", "nvidia-cuda-runtime"),
        ("libcudnn.so.9", "nvidia-cudnn-cu13"),
        ("libcufft.so.12", "nvidia-cufft"),
        ("libcurand.so.10", "nvidia-curand"),
        ("libnvrtc.so.13", "nvidia-cuda-nvrtc"),
    ],
)
def test_doctor_names_the_package_that_brings_a_missing_library(
    missing: str, package: str, monkeypatch: pytest.MonkeyPatch, aae_zoo: AaeZoo
) -> None:
    """The GPU wheel, whose extras are known by its metadata, without some of CUDA's libraries."""
    required = [
        "numpy>=1.21.6",
        'nvidia-cublas~=13.0; extra == "cuda"',
        'nvidia-cufft~=12.0; extra == "cuda"',
        'nvidia-cuda-runtime~=13.0; extra == "cuda"',
        'nvidia-cuda-nvrtc~=13.0; extra == "cuda"',
        'nvidia-curand~=10.4; extra == "cuda"',
        'nvidia-cudnn-cu13~=9.0; extra == "cudnn"',
    ]
    monkeypatch.setattr(wheels, "requires", lambda name: required if name == "onnxruntime-gpu" else None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    said = f"Failed to load {missing}: {missing}: cannot open shared object file: No such file or directory"
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print(said), raising=False)
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda graph, options, providers, enable_fallback: session(graph, options)
    )
    sessions.preload_libraries.cache_clear()
    out = aae_zoo("doctor").out
    sessions.preload_libraries.cache_clear()
    assert f"pip install {package}, which brings {missing}; pip install 'aae-zoo[gpu]' brings all" in out


def test_a_library_of_no_known_package_is_left_to_the_whole_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "requires", lambda name: ["nvidia-cublas-cu12~=12.0"])
    assert wheels.package_of("cublasLt64_12.dll") == "nvidia-cublas-cu12"
    assert wheels.package_of("libcudnn.so.9") is None
    assert wheels.package_of("libstdc++.so.6") is None
    monkeypatch.undo()
    monkeypatch.setattr(wheels, "requires", requires_nothing)
    assert wheels.package_of("libcublas.so.13") is None


def requires_nothing(name: str) -> list[str]:
    raise PackageNotFoundError(name)


def test_without_a_driver_or_with_one_that_fails_there_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(tmp_path, monkeypatch, 2, fails=999)
    assert gpus.nvidia_gpus() == []
    assert gpus.driver_version() is None
    monkeypatch.setattr(gpus, "_DRIVER", (str(tmp_path / "nothing"),))
    assert gpus.nvidia_gpus() == []
    gpus.check_gpu(3)  # that CUDA does not work is for ONNX Runtime to say


def test_a_list_of_providers_runs(small_bundle: Path) -> None:
    model = load(small_bundle, device=[("CPUExecutionProvider", {"use_arena": "0"})])
    assert np.allclose(model.decode(CODES), load(small_bundle, device="cpu").decode(CODES), atol=1e-6)


@pytest.mark.parametrize("device", ["gpu", "cuda:one", "cuda:²", "cpu:1", "", "auto:0", 0, None])
def test_devices_that_there_are_not(small_bundle: Path, device: Any) -> None:
    with pytest.raises(InvalidInput, match="device is .*, expected one of auto, cpu, cuda, .*, or cuda:1"):
        load(small_bundle, device=device).decode(CODES)


@pytest.mark.parametrize("device", sorted(set(PROVIDERS) - {"cpu"}))
def test_a_device_that_is_not_built_in_names_what_installs_it(small_bundle: Path, device: str) -> None:
    if PROVIDERS[device][0] in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has it")
    with pytest.raises(DeviceUnavailable, match=rf"device {device} was asked for, .* built without it; .*"):
        load(small_bundle, device=device).sample(1)


@pytest.mark.parametrize("machine", [("Linux", "aarch64"), ("Darwin", "arm64"), ("Darwin", "x86_64")])
@pytest.mark.parametrize("device", ["cuda", "tensorrt", "openvino"])
def test_no_wheel_is_named_where_pypi_has_none(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, device: str, machine: tuple[str, str]
) -> None:
    """Else who follows the advice uninstalls ONNX Runtime, and then finds nothing to install."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(platform, "system", lambda: machine[0])
    monkeypatch.setattr(platform, "machine", lambda: machine[1])
    with pytest.raises(DeviceUnavailable, match=f"PyPI has no wheel with it for {' on '.join(machine)}$"):
        load(small_bundle, device=device).sample(1)


class TestGpuWheelWithoutGpu:
    """A GPU wheel on a machine without a GPU: CUDA is built in, yet the session gets the CPU."""

    @pytest.fixture(autouse=True)
    def _gpu_wheel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
        said = "Failed to load libcublas.so.13: libcublas.so.13: cannot open shared object file\nPlease follow"
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print(said), raising=False)
        session = onnxruntime.InferenceSession
        monkeypatch.setattr(
            onnxruntime, "InferenceSession", lambda graph, options, providers, enable_fallback: session(graph, options)
        )
        monkeypatch.setattr(sessions, "_auto_is_cpu", False)
        sessions.preload_libraries.cache_clear()

    def test_an_explicit_device_is_an_error_with_the_reason(
        self, small_bundle: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(
            DeviceUnavailable, match=r"cuda was asked for, .* left out CUDA\w+ \(libcublas.so.13: cannot open .*doctor"
        ):
            load(small_bundle, device="cuda").sample(1)
        assert capsys.readouterr().out == ""  # stdout is for results

    def test_auto_says_once_that_it_is_the_cpu(self, small_bundle: Path) -> None:
        with pytest.warns(RuntimeWarning, match="no GPU can be used, running on the CPU: .*libcublas"):
            load(small_bundle).decode(CODES)
        with warnings.catch_warnings(action="error"):
            load(small_bundle).sample(1)


def test_threads(small_bundle: Path) -> None:
    assert load(small_bundle, device="cpu", threads=1).decode(CODES).shape == (1, 1, 14, 14)
    with pytest.raises(InvalidInput, match="threads is 0, expected 1 to 4096"):
        load(small_bundle, threads=0).decode(CODES)


def test_threads_follow_the_cgroup_quota(tmp_path: Path) -> None:
    for text, expected in (("max 100000", 8), ("300000 100000", 3), ("50000 100000", 1), ("nonsense", 8)):
        (tmp_path / "cpu.max").write_text(text)
        assert cgroup_cpus(tmp_path, 8) == expected
    assert cgroup_cpus(tmp_path / "missing", 8) == 8
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("quota", "cpus"), [(-1, 8), (250_000, 2), (50_000, 1), (9_000_000, 8)])
def test_threads_follow_the_quota_of_cgroups_of_version_1(tmp_path: Path, quota: int, cpus: int) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert cgroup_cpus(tmp_path, 8) == cpus


def test_quotas_of_all_groups_around_count(tmp_path: Path) -> None:
    root, own = Path("/sys/fs/cgroup"), tmp_path / "cgroup"
    own.write_text("5:memory:/m\n4:cpu,cpuacct:/c/d\n0::/a/b\n")
    cpu = root / "cpu"
    expected = {root, cpu, cpu / "c", cpu / "c/d", root / "a", root / "a/b"}
    assert set(cgroup_folders(root, own)) == expected
    assert set(cgroup_folders(root, tmp_path / "missing")) == {root, cpu}


def in_a_process(program: str, small_bundle: Path) -> str:
    """What a program of its own prints; `model` is the small one."""
    start = f"""
import os, sys
import numpy as np
import onnxruntime
from aae_zoo.runtime import load, share_threads, InvalidInput
def threads():
    return len(os.listdir("/proc/self/task"))
path = {str(small_bundle)!r}
"""
    command = [sys.executable, "-W", "error", "-c", start + program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_models_share_one_pool_when_asked(small_bundle: Path) -> None:
    out = in_a_process(
        """
assert share_threads(3) == 3 == share_threads()
first = load(path); images = first.sample(300)
before = threads()
second = load(path); assert np.allclose(second.sample(300), images, atol=1e-6); second.encode(images)
print(threads() - before)
for wrong in (lambda: share_threads(2), lambda: load(path, threads=2).sample(1)):
    try: wrong()
    except InvalidInput as error: print(error)
""",
        small_bundle,
    )
    added, again, other = out.splitlines()
    assert added == "0"
    assert again == "threads is 2, expected 3; the pool is made once"
    assert other == "threads is 2, but the models of this process share a pool of 3"


def test_a_pool_that_another_library_shares_is_used(small_bundle: Path) -> None:
    out = in_a_process(
        "onnxruntime.set_global_thread_pool_sizes(2, 1); print(load(path).sample(2).shape)", small_bundle
    )
    assert out == "(2, 1, 14, 14)\n"


def test_share_threads_refuses_what_is_no_number_of_threads() -> None:
    for threads in (-1, 0, 100_000):
        with pytest.raises(InvalidInput, match=f"threads is {threads}, expected 1 to 4096"):
            share_threads(threads)


@pytest.mark.parametrize("threads", ["2", 2.5, [1]])
def test_a_number_of_threads_is_whole(small_bundle: Path, threads: Any) -> None:
    for use in (lambda: load(small_bundle, threads=threads).decode(CODES), lambda: share_threads(threads)):
        with pytest.raises(InvalidInput, match="threads is .*, expected a whole number"):
            use()


def test_forked_children_work_and_leave_in_peace(small_bundle: Path) -> None:
    """With threads in the parent's pools, after its sessions were used, and with an opened model that is dropped."""
    in_a_process(
        """
model, other = load(path, threads=3), load(path, threads=2)
expected = model.sample(2500); other.encode(expected)
for _ in range(3):
    child = os.fork()
    if child == 0:
        del other
        same = np.allclose(model.sample(2500), expected, atol=1e-6)
        model.close()
        sys.exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(model.sample(2500), expected)
""",
        small_bundle,
    )


def test_forked_children_of_a_shared_pool_work(small_bundle: Path) -> None:
    in_a_process(
        """
share_threads(3)
model = load(path); expected = model.sample(2500)
child = os.fork()
if child == 0:
    sys.exit(0 if np.allclose(model.sample(2500), expected, atol=1e-6) else 1)
assert os.waitpid(child, 0)[1] == 0
""",
        small_bundle,
    )


def test_arrays_go_through_io_binding_where_the_device_is_no_cpu(small_bundle: Path) -> None:
    """As on a GPU, with the CPU's memory in its place: prior and decoder are chained by values that stay there."""
    plain, bound = load(small_bundle, device="cpu"), load(small_bundle, device="cpu")
    for role in ("encoder", "decoder", "prior"):
        bound.graph(role).binds = True
    kept = bound.graph("prior").keep({"u": np.full((3, 2), 0.5, np.float32)}, ["z"])
    assert isinstance(kept["z"], onnxruntime.OrtValue)
    for count in (1, 1024, 2500):
        images = plain.sample(count, seed=4)
        assert np.array_equal(bound.sample(count, seed=4), images)
        assert np.array_equal(bound.encode(images), plain.encode(images))
        assert np.array_equal(bound.reconstruct(images), plain.reconstruct(images))
        assert np.array_equal(bound.sample(count, temperature=0.5), plain.sample(count, temperature=0.5))
    assert np.array_equal(np.concatenate(list(bound.stream("encode", images))), plain.encode(images))


@pytest.mark.parametrize("count", [1, 1024, 2500])
def test_decode_writes_into_a_given_array(small: Model, count: int, tmp_path: Path) -> None:
    z = np.random.default_rng(0).standard_normal((count, 2)).astype(np.float32)
    shape = (count, 1, 14, 14)
    mapped = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.float32, shape)
    for out in (np.full(shape, np.nan, np.float32), mapped):
        assert small.decode(z, out=out) is out
        assert np.allclose(out, small.decode(z), atol=1e-6)


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 1, 14, 14), np.float64),
        np.empty((3, 1, 14, 14), np.float32),
        np.empty((2, 1, 14, 28), np.float32)[..., ::2],
        np.frombuffer(bytes(2 * 196 * 4), np.float32).reshape(2, 1, 14, 14),
        [[0.0]],
    ],
)
def test_arrays_that_cannot_be_written_into(small: Model, out: Any) -> None:
    with pytest.raises(InvalidInput, match="out is .*, expected"):
        small.decode(np.zeros((2, 2)), out=out)
