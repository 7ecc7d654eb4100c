"""Every shipped graph in every engine: the golden outputs, to the parity gate's 1e-5."""

import re
from pathlib import Path

import cases
import pytest
import registry
import torch
from conftest import ROOT, batch_of

from aae_zoo.export.bundling.detector import scaled
from aae_zoo.export.bundling.graphs import fold_normalisations, to_onnx
from aae_zoo.zoo.build import build
from aae_zoo.zoo.recipe import load_recipe


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The cases of each engine."""
    every = registry.shipped_cases(tmp_path_factory.mktemp("cases"))
    few = registry.shipped_cases(tmp_path_factory.mktemp("few"), registry.FEW_ROWS)
    return {**dict.fromkeys(registry.ENGINES, every), "onnx.reference": few}


@pytest.mark.parametrize("name", registry.ENGINES)
def test_every_shipped_graph_gives_its_golden_outputs(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    report = registry.run_engine(name, folders[name], tmp_path)
    assert report.failed == {}
    assert {case: e for case, e in report.differences.items() if not e <= registry.GATE} == {}


@pytest.fixture(scope="module")
def keen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cases of detectors with a segmenter, of which none is shipped: gray ones and large ones in colour."""
    folder, written = tmp_path_factory.mktemp("keen"), []
    for size, channels in ((28, 1), (64, 3)):
        sizes = [f"data.size={size}", f"data.channels={channels}", "encoder.hidden=32", "decoder.hidden=32"]
        model, objective = build(load_recipe("detector", sizes), (channels, size, size))
        images = torch.rand(90, channels, size, size, generator=torch.Generator().manual_seed(size))
        # Some steps, as a network that has learned nothing gives all images nearly the same logit.
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            objective.step(batch_of(images[:60]), generator)
        fold_normalisations(objective)
        made = objective.detector(model, images[:60], images[60:])
        assert made is not None
        detector, _ = scaled(made, (255 * images[60:]).byte())
        with torch.no_grad():
            expected = detector(images[60:63])
        path, name = folder / f"detector{size}.onnx", f"detector-{size}"
        path.write_bytes(to_onnx(detector, {"image": images[60:63]}, list(expected), {}))
        golden = {f"detector.{n}": values.numpy() for n, values in ({"image": images[60:63]} | expected).items()}
        written.append(cases.case_of(name, path, "detector", golden, None, folder))
    cases.write_list(written, folder)
    return folder


@pytest.mark.parametrize("name", registry.ENGINES)
def test_a_detector_with_a_segmenter_gives_what_pytorch_does(name: str, keen: Path, tmp_path: Path) -> None:
    report = registry.run_engine(name, keen, tmp_path)
    assert report.failed == {}
    assert {case: e for case, e in report.differences.items() if not e <= registry.GATE} == {}


def test_the_document_names_every_engine() -> None:
    text = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    (table,) = re.findall(f"{registry.BEGIN}\n(.*?){registry.END}", text, re.DOTALL)
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]] == list(registry.ENGINES)
