"""Run every row that needs an NVIDIA GPU and print them as a table; tests/gpu/check.sh says how."""

import argparse
import importlib
import json
import os
import platform
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# The modules beside this one, each run in a process of its own, so that what one breaks does not break the others; and
# the most seconds of each. Those of a stage run at once: what is timed has the card and the machine to itself, and so
# has what fills the card's memory.
STAGES = (
    {"right": 80, "tensors": 60},
    {"speed": 80},
    {"training_checks": 90},
    {"device_checks": 80},
    {"starting": 30},
    {"recipes": 60},
)
GROUPS = {name: seconds for stage in STAGES for name, seconds in stage.items()}
SECONDS = 350.0
PACKAGES = ("aae-zoo", "onnxruntime-gpu", "onnxruntime", "numpy", "torch", "cupy-cuda13x", "jax", "nvidia-cudnn-cu13")
SUPPORT = Path(__file__).parents[1] / "support"

Found = dict[str, Any]


def main() -> int:
    arguments = parsed()
    if arguments.group:
        return run_group(arguments.group)
    from aae_zoo.runtime.engine.gpus import nvidia_gpus

    gpus = nvidia_gpus()
    if not gpus:
        print("there is no NVIDIA GPU here, or no driver for it: nothing was checked (nvidia-smi says more)")
        return 3
    report: Found = {"card": str(gpus[0]), **surroundings(), "rows": []}
    print(", ".join(f"{name} {value}" for name, value in report.items() if name != "rows"), flush=True)
    started = time.perf_counter()
    for group, row in every_row(arguments.only or list(GROUPS), started + arguments.seconds):
        report["rows"].append({"group": group, **row})
        report["seconds"] = round(time.perf_counter() - started, 1)
        print(line(row), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    missed = [row["row"] for row in report["rows"] if not row["ok"]]
    print_table(report["rows"])
    print(f"{len(report['rows'])} rows, {len(missed)} missed, in {time.perf_counter() - started:.0f} s")
    return 1 if missed or not report["rows"] else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="check.sh", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows and figures there, as they come")
    parser.add_argument("--only", action="append", choices=GROUPS, help="run this group alone; may be given again")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="end after so many; what is left is missed")
    parser.add_argument("--group", choices=GROUPS, help=argparse.SUPPRESS)
    return parser.parse_args()


def surroundings() -> dict[str, str]:
    """What the figures were measured with."""
    from aae_zoo.runtime.engine.gpus import driver_version

    found = {"driver": driver_version() or "unknown", "python": platform.python_version(), "cpus": str(os.cpu_count())}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def every_row(groups: Sequence[str], end: float) -> Iterator[tuple[str, Found]]:
    """The rows of the groups, stage by stage, each with its group, until the time has come to end."""
    for stage in STAGES:
        chosen = [group for group in stage if group in groups]
        left = end - time.perf_counter()
        rows: queue.SimpleQueue[tuple[str, Found] | None] = queue.SimpleQueue()
        for group in chosen:
            threading.Thread(target=gather, args=(group, min(GROUPS[group], left), rows)).start()
        for _ in chosen:
            while row := rows.get():
                yield row


def gather(group: str, seconds: float, rows: "queue.SimpleQueue[tuple[str, Found] | None]") -> None:
    """Put the rows of a group into a queue, and None after the last."""
    try:
        for row in rows_of(group, seconds):
            rows.put((group, row))
    finally:
        rows.put(None)


def rows_of(group: str, seconds: float) -> Iterator[Found]:
    """The judged rows of a group, as its process prints them; and one more if it does not come to its end."""
    if seconds <= 0:
        yield unfinished(group, "there was no time left for it")
        return
    command = [sys.executable, str(Path(__file__)), "--group", group]
    path = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH")]))
    # JAX would take most of the card's memory for itself.
    environment = os.environ | {"PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    said: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        alarm = threading.Timer(seconds, process.kill)
        listener = threading.Thread(target=lambda: said.extend(process.stderr or ()))
        alarm.start()
        listener.start()
        for text in process.stdout or ():
            if text.startswith("{"):
                yield json.loads(text)
        listener.join()
        status = process.wait()
        alarm.cancel()
    if status:
        last = " ".join("".join(said).split())[-400:] or "it said nothing"
        yield unfinished(group, f"its process ended with status {status} after at most {seconds:.0f} s: {last}")


def unfinished(group: str, why: str) -> Found:
    return {"row": group, "measured": why, "wanted": "all its rows", "ok": False, "seconds": 0, "figures": {}}


def run_group(group: str) -> int:
    """Print each row of a group as a line of JSON as soon as it has been judged."""
    from rows import Row, judged

    output, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no row
    try:
        rows = importlib.import_module(group).checks()
        for row in rows:
            made = row if isinstance(row, Row) else Row(row[0], "holds", row[1])
            print(json.dumps(judged(made)), file=output, flush=True)
    except Exception:
        traceback.print_exc()
        return 1
    # Some libraries crash when they are torn down with others beside them; all that counts has been said.
    output.flush()
    sys.stderr.flush()
    os._exit(0)


def line(row: Found) -> str:
    return f"{'ok' if row['ok'] else 'MISSED':<7}{row['row']}: {row['measured']} (wanted: {row['wanted']})"


def print_table(rows: list[Found]) -> None:
    cells = [["row", "measured", "wanted", "", "s"]]
    cells += [[r["row"], r["measured"], r["wanted"], "ok" if r["ok"] else "MISSED", str(r["seconds"])] for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print()
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
