"""Try ONNX Runtime's two wheels, each in a fresh environment on this machine, with every device, and write the table.

    python tests/benchmarks/wheels.py docs/devices.md

Downloads about 300 MB.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aae_zoo.runtime.engine.devices import DEVICES
from aae_zoo.runtime.files import atomic_file

ROOT = Path(__file__).parents[2]
WHEELS = ("onnxruntime", "onnxruntime-gpu")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def trials(wheel: str, folder: Path) -> Iterator[tuple[str, str]]:
    """What `aae-zoo sample` does on each device, and whether `aae-zoo doctor` finds faults."""
    run(sys.executable, "-m", "venv", folder).check_returncode()
    run(folder / "bin" / "pip", "install", "--quiet", ROOT, wheel).check_returncode()
    aae_zoo = folder / "bin" / "aae-zoo"
    for device in DEVICES:
        result = run(aae_zoo, "sample", "-n", "2", "--device", device, "-o", folder / "x.png")
        said = " ".join(result.stderr.split())
        yield f"`--device {device}`", f"{said or 'draws'}{' (and draws)' if said and result.returncode == 0 else ''}"
    doctor = run(aae_zoo, "doctor").stdout
    faults = [" ".join(line.split()[1:]) for line in doctor.splitlines() if line.startswith("FAULT")]
    yield "`aae-zoo doctor`", "; ".join(faults) or "no fault"


def main() -> None:
    lines = [
        "# Devices",
        "",
        "Written by `tests/benchmarks/wheels.py`: each wheel of ONNX Runtime in a fresh environment, on a machine",
        "without a GPU.",
    ]
    for wheel in WHEELS:
        with tempfile.TemporaryDirectory() as folder:
            rows = list(trials(wheel, Path(folder) / "environment"))
            version = run(Path(folder) / "environment" / "bin" / "pip", "show", wheel).stdout.splitlines()[1].split()[1]
        lines += ["", f"## {wheel} {version}", "", "| | what happens |", "|---|---|"]
        lines += [f"| {what} | {happens} |" for what, happens in rows]
        print("\n".join(lines[-len(rows) :]))
    with atomic_file(Path(sys.argv[1])) as temporary:
        temporary.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
