"""Compiling C and C++ against the ONNX Runtime of Python's wheel."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

SUPPORT = Path(__file__).parent
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror")
# The sanitizers end a program that reads, writes or forgets memory wrongly; C++'s stand-in for the header forgets all.
COMPILERS = {
    ".c": ["cc", "-std=c11", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"],
    ".cpp": ["c++", "-std=c++17"],
}


def build(sources: Sequence[Path]) -> Path:
    """Compile sources of one language into the program `draw` beside the first of them.

    Its headers are the official ones where a machine has them, else as much of them as the examples use.
    """
    library = _library()
    folder = sources[0].parent
    (folder / "libonnxruntime.so.1").symlink_to(library)
    command = [*COMPILERS[sources[0].suffix], "-O1", *WARNINGS, *map(str, sources)]
    options = ["-idirafter", str(SUPPORT / "ort"), "-o", str(folder / "draw"), str(folder / "libonnxruntime.so.1")]
    subprocess.run([*command, *options, f"-Wl,-rpath,{folder}"], check=True)
    return folder / "draw"


def unpack(folder: Path) -> None:
    """Make a folder as ONNX Runtime's archive for Linux is when unpacked."""
    (folder / "lib").mkdir(parents=True)
    (folder / "include").symlink_to(SUPPORT / "ort")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / "lib" / name).symlink_to(_library())


def _library() -> Path:
    return next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
