"""aae-zoo bench: how fast a model is here."""

from dataclasses import asdict

from aae_zoo.cli.options import Device, Json, Name, Threads
from aae_zoo.cli.printing import print_json, print_table


def bench(name: Name, json: Json = False, device: Device = "auto", threads: Threads = None) -> None:
    """Measure how fast a model starts and runs here.

    Import, session and run are timed apart, and each call beside a bare ONNX Runtime session.
    """
    from aae_zoo.runtime.checks.bench import bench as measure

    timings = measure(name, device=device, threads=threads)
    if json:
        print_json([asdict(timing) for timing in timings])
        return
    rows = [
        [t.what, _ms(t.seconds), _ms(t.bare), _text(t.ratio, ".3f"), _text(t.images_per_second, ",.0f")]
        for t in timings
    ]
    print_table(["what", "ms", "bare, ms", "ours / bare", "images/s"], rows)


def _ms(seconds: float | None) -> str:
    return _text(seconds and seconds * 1e3, ".3f")


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
