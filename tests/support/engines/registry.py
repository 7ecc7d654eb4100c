"""Every engine that the graphs are tried in; each runs all cases of a folder in one process of its own.

    python tests/support/engines/registry.py docs/embedding.md

runs all shipped graphs in all engines and rewrites that document's table of them.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import cases
import onnxruntime as ort

from aae_zoo.runtime import list_models
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.files import atomic_file
from aae_zoo.runtime.store.catalogue import SHIPPED

HERE: Final = Path(__file__).parent
GATE: Final = 1e-5
# onnx.reference takes seconds for one transposed convolution of all rows, which the export's gate gives it.
FEW_ROWS: Final = 2

Answer = tuple[str, dict[str, str]]  # the engine's version, and what failed, by case


@dataclass(frozen=True)
class Report:
    """What came of the cases in one engine: what failed, by case, and how far the others are from PyTorch."""

    engine: str
    version: str
    failed: dict[str, str]
    differences: dict[str, float]


def shipped_cases(folder: Path, rows: int | None = None) -> Path:
    """Write the cases of all shipped models into a folder, which is returned."""
    cases.write_cases((open_bundle(SHIPPED / entry.name) for entry in list_models() if entry.shipped), folder, rows)
    return folder


def run_engine(name: str, folder: Path, out: Path) -> Report:
    """Run all cases of a folder in one engine, which writes its outputs into the folder `out`."""
    version, failed = ENGINES[name](folder, out)
    differences = {
        case["name"]: cases.difference(cases.read(out, case["outputs"]), cases.read(folder, case["outputs"]))
        for case in cases.read_cases(folder)
        if case["name"] not in failed
    }
    return Report(name, version, failed, differences)


def _json_engine(*command: str | Path, folder: Path, out: Path) -> Answer:
    """An engine that prints JSON last."""
    result = subprocess.run([*command, folder, out], capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {result.returncode}: {result.stderr[-2000:]}")
    answer = json.loads(result.stdout.splitlines()[-1])
    return answer["version"], answer["failed"]


def _python(name: str, folder: Path, out: Path) -> Answer:
    return _json_engine(sys.executable, HERE / "python_engines.py", name, folder=folder, out=out)


def _node(package: str, folder: Path, out: Path) -> Answer:
    return _json_engine("node", HERE / "node.mjs", package, folder=folder, out=out)


def _chromium(folder: Path, out: Path) -> Answer:
    browser = shutil.which("chromium")
    if not browser:
        raise RuntimeError("there is no Chromium on the path; apt-get install chromium")
    return _json_engine("node", HERE / "browser.mjs", browser, folder=folder, out=out)


def _c(folder: Path, out: Path) -> Answer:
    """The library of the pip wheel, from a program in C; it is linked by its own name, which the wheel lacks."""
    (library,) = (Path(ort.__file__).parent / "capi").glob("libonnxruntime.so.*")
    (out / "libonnxruntime.so.1").symlink_to(library)
    link = [f"-L{out}", "-l:libonnxruntime.so.1", f"-Wl,-rpath,{out}"]
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *strict, HERE / "engine.c", "-o", out / "engine", *link], check=True)
    words = "\n".join(_words(folder))
    result = subprocess.run([out / "engine", out], input=words, capture_output=True, text=True, check=True)
    version, *lines = result.stdout.splitlines()
    return version, {name: message for name, _, message in (line.partition(" ") for line in lines)}


def _words(folder: Path) -> Iterator[str]:
    """The cases as engine.c reads them."""
    for case in cases.read_cases(folder):
        yield f"{case['name']} {case['graph']} {len(case['inputs'])} {len(case['outputs'])}"
        for name, tensor in [*case["inputs"].items(), *case["outputs"].items()]:
            yield f"{name} {folder / tensor['file']} {len(tensor['shape'])} {' '.join(map(str, tensor['shape']))}"


ENGINES: Final[dict[str, Callable[[Path, Path], Answer]]] = {
    "onnx.reference": partial(_python, "onnx.reference"),
    "ONNX Runtime, from C": _c,
    "onnxruntime-node": partial(_node, "onnxruntime-node"),
    "onnxruntime-web, in Node": partial(_node, "onnxruntime-web"),
    "onnxruntime-web, in Chromium": _chromium,
    "OpenCV `cv2.dnn`": partial(_python, "OpenCV"),
    "OpenVINO": partial(_python, "OpenVINO"),
    "tract": partial(_python, "tract"),
    "onnx2torch": partial(_python, "onnx2torch"),
}


def table(reports: list[Report]) -> str:
    """The table: engines and versions, how many graphs they run and how far off they are, and what fails."""
    lines = ["| engine | version | graphs | largest difference | does not run |", "|---|---|---|---|---|"]
    for r in reports:
        count = len(r.failed) + len(r.differences)
        worst = f"{max(r.differences.values()):.1e}" if r.differences else "-"
        failed = ", ".join(f"`{name}`" for name in r.failed) or "-"
        lines.append(f"| {r.engine} | {r.version} | {len(r.differences)} of {count} | {worst} | {failed} |")
    return "\n".join(lines)


def with_table(text: str, content: str) -> str:
    """A document with the table of engines between its markers."""
    begin, end = "<!-- engines: generated by make engines -->", "<!-- engines: end -->"
    pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
    return re.sub(pattern, lambda _: f"{begin}\n{content}\n{end}", text, count=1, flags=re.DOTALL)


def main() -> None:
    """Run everything and rewrite the table."""
    document = Path(sys.argv[1])
    reports = []
    for name in ENGINES:
        with tempfile.TemporaryDirectory() as scratch:
            folder, out = Path(scratch) / "cases", Path(scratch) / "out"
            folder.mkdir()
            out.mkdir()
            shipped_cases(folder, FEW_ROWS if name == "onnx.reference" else None)
            reports.append(run_engine(name, folder, out))
        print(f"{name}: {len(reports[-1].differences)} graphs run, {len(reports[-1].failed)} do not")
    with atomic_file(document) as temporary:
        temporary.write_text(with_table(document.read_text("utf-8"), table(reports)), "utf-8")


if __name__ == "__main__":
    main()
