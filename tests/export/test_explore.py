"""The pages of aae-zoo explore in Chromium, on a desktop and a phone: what they show is what Python computes."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import AaeZoo, replace_graph, rewrite
from numpy.typing import NDArray
from PIL import Image
from programs import NODE_MODULES, node, served

from aae_zoo.export.pages import atlas, web_runtime
from aae_zoo.export.pages import explore as pages
from aae_zoo.export.proof.golden import save_npz
from aae_zoo.runtime import MissingBackend, Model, list_models, load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.drawing.maps import Maps
from aae_zoo.runtime.store.cache import cache_folder

PLANE, NOISE = "mnist-plane", "mnist-style"
Seen = dict[str, Any]


@pytest.fixture(scope="module")
def site(
    small_bundle: Path,
    labelled_bundle: Callable[..., Path],
    detector_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Pages: a plane, sliders, a small model, planes of labels, a wide label, a detector, two models in a catalogue."""
    folder = tmp_path_factory.mktemp("site")
    labelled = labelled_bundle(encoder_tells=False)
    wide = Path(shutil.copytree(labelled, tmp_path_factory.mktemp("wide") / "bundle"))
    rewrite(wide, lambda d: d.update(labels=["a-folder-that-is-called-" + "so-" * 20, *d["labels"][1:]]))
    for page, name in (
        ("plane", PLANE),
        ("noise", NOISE),
        ("small", str(small_bundle)),
        ("labelled", str(labelled)),
        ("wide", str(wide)),
        ("detector", str(detector_bundle)),
    ):
        pages.explore(name, folder / page, node_modules=NODE_MODULES)
    entries = [entry for entry in list_models() if entry.name in (PLANE, NOISE)]
    with mock.patch.object(pages, "list_models", return_value=entries):
        pages.explore_all(folder / "all", node_modules=NODE_MODULES)
    return folder


@pytest.fixture(scope="module")
def digit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of MNIST's size as a user may have it."""
    path = tmp_path_factory.mktemp("digit") / "digit.png"
    image = load(PLANE).sample(1, seed=18)[0, 0]
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def seen(site: Path, digit: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What a person sees who uses the pages; the screenshots go to $SCREENSHOTS, `make screenshots` sets it."""
    screenshots = os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")
    with served(site) as url:
        return node("explore.mjs", url, digit, screenshots)


def desktop(seen: Seen, page: str) -> Seen:
    found: Seen = seen[f"{page}/desktop"]
    return found


def array(values: Any) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_no_page_has_a_console_error_or_asks_another_host(seen: Seen) -> None:
    assert {page: found["faults"] for page, found in seen.items() if found["faults"]} == {}


def test_axe_finds_no_serious_fault_in_light_or_dark(seen: Seen) -> None:
    assert {page: found["grave"] for page, found in seen.items() if found["grave"]} == {}


def test_the_keyboard_alone_reaches_every_control(seen: Seen) -> None:
    assert {page: found["unreached"] for page, found in seen.items() if found.get("unreached")} == {}


def as_in_the_page(name: str) -> Model:
    """The model with the graphs that its page has: the lite ones where there are any."""
    return load(name, precision="lite" if name == PLANE else "fp32")


@pytest.mark.parametrize(("page", "name"), [("plane", PLANE), ("noise", NOISE)])
def test_every_picture_is_pythons_for_the_same_code(seen: Seen, page: str, name: str) -> None:
    model = as_in_the_page(name)
    states = {key: value for key, value in desktop(seen, page).items() if isinstance(value, dict)}
    assert len(states) >= 6
    for key, state in states.items():
        y = None if state["y"] is None else array([state["y"]])
        expected = model.decode(array([state["z"]]), y)[0].ravel()
        assert np.abs(array(state["image"]) - expected).max() <= 1e-5, key


def test_dragging_changes_the_picture_before_the_next_frame(seen: Seen) -> None:
    assert desktop(seen, "plane")["frame"] is True


def test_the_point_is_where_it_was_dragged_or_tapped(seen: Seen, site: Path) -> None:
    reach = json.loads((site / "plane" / "model.json").read_text())["plane"]["high"]
    dragged, tapped = desktop(seen, "plane")["dragged"]["z"], seen["plane/phone"]["tapped"]["z"]
    assert np.allclose(dragged, [-0.4 * reach, 0.2 * reach], atol=0.02 * reach)
    assert np.allclose(tapped, [0.4 * reach, -0.2 * reach], atol=0.02 * reach)


def test_keys_move_the_point_and_a_screen_reader_is_told(seen: Seen, site: Path) -> None:
    reach = json.loads((site / "plane" / "model.json").read_text())["plane"]["high"]
    found = desktop(seen, "plane")
    assert found["home"]["z"] == [0, 0]
    assert np.allclose(found["right"]["z"], [0.02 * reach, 0])
    assert np.allclose(found["up"]["z"], [0.02 * reach, 0.1 * reach])
    assert found["spoken"] == f"{0.02 * reach:.2f}, {0.1 * reach:.2f}"


def test_a_picture_file_is_encoded_as_python_encodes_it(seen: Seen, digit: Path) -> None:
    image = np.asarray(Image.open(digit))[None, None]
    found = desktop(seen, "plane")
    assert np.allclose(found["file"]["z"], load(PLANE).encode(image)[0], atol=1e-4)
    assert found["dropped"] == found["file"]
    assert found["choice"] == "", "the same file can be opened again"
    error = np.square(as_in_the_page(PLANE).reconstruct(image) - image / 255).mean()
    assert f"Squared error per pixel: {error:.4f}." in found["live"]


def test_another_polarity_reads_the_file_again(seen: Seen, digit: Path) -> None:
    image = np.asarray(Image.open(digit))[None, None]
    expected = load(PLANE).encode(image, invert="yes")[0]
    assert np.allclose(desktop(seen, "plane")["inverted"]["z"], expected, atol=1e-4)


def test_of_many_files_the_first_is_read_and_the_others_are_counted(seen: Seen) -> None:
    found = desktop(seen, "plane")
    assert found["many"]["z"] == found["file"]["z"]
    assert found["left"].endswith(" It is the first of 200 files; the others were not read.")


def test_of_files_that_come_at_once_the_last_is_shown_though_the_first_takes_longer(seen: Seen) -> None:
    both, last = desktop(seen, "plane")["order"]
    assert both == last


def test_the_picture_is_saved_as_it_is_shown(seen: Seen) -> None:
    name, content = desktop(seen, "plane")["saved"]
    saved = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("L"))
    image = array(desktop(seen, "plane")["file"]["image"]).reshape(28, 28)
    assert name == f"{PLANE}.png"
    assert np.abs(saved[10::20, 10::20] - image * 255).max() <= 1


def test_noise_labels_and_pictures_of_a_larger_model(seen: Seen, site: Path) -> None:
    found, model = desktop(seen, "noise"), load(NOISE)
    assert np.abs(np.array(found["slider"]["z"]) - found["first"]["z"]).argmax() == 1
    assert np.argmax(found["label"]["y"]) == np.argmax(found["random"]["y"]) == 4
    assert found["label"]["z"] == found["slider"]["z"]  # the style is kept
    test_picture = np.asarray(Image.open(site / "noise" / "pictures.png"))[None, None, :, :28]
    codes = model.codes(test_picture)
    assert np.allclose(found["test"]["z"], codes["z"][0], atol=1e-4)
    assert np.allclose(found["test"]["y"], codes["y"][0], atol=1e-4)
    classes = model.classify(test_picture)
    assert f"Class: \u2068{classes.names[0]}\u2069, {100 * classes.probabilities[0]:.0f} %." in found["live"]
    assert found["relabelled"]["z"] == found["a"]["z"]
    assert np.argmax(found["relabelled"]["y"]) == 4
    for key in ("z", "y"):
        expected = 0.75 * array(found["a"][key]) + 0.25 * array(found["b"][key])
        assert np.allclose(found["between"][key], expected, atol=1e-6)


def test_a_picture_is_redrawn_with_every_label_in_the_same_hand(seen: Seen, site: Path) -> None:
    found, model = desktop(seen, "noise"), load(NOISE)
    z = np.repeat(array([found["test"]["z"]]), len(model.manifest.labels), axis=0)
    expected = model.decode(z, np.arange(len(z)))
    assert np.abs(np.array(found["redraws"]) - 255 * expected.reshape(len(z), -1)).max() <= 0.51
    assert np.argmax(found["redrawn"]["y"]) == 7
    assert found["redrawn"]["z"] == found["test"]["z"]


def test_the_sliders_move_to_the_code_of_an_encoded_picture(seen: Seen) -> None:
    found = desktop(seen, "noise")
    assert np.allclose(found["sliders"], found["test"]["z"], atol=0.0051)


def test_the_anomaly_score_is_pythons(seen: Seen, site: Path, digit: Path) -> None:
    image = np.asarray(Image.open(digit))[None, None]
    plane = as_in_the_page(PLANE)
    assert np.isclose(desktop(seen, "plane")["score"], plane.score(image).score[0], rtol=1e-3)
    test_picture = np.asarray(Image.open(site / "noise" / "pictures.png"))[None, None, :, :28]
    assert np.isclose(desktop(seen, "noise")["score"], load(NOISE).score(test_picture).score[0], rtol=1e-3)
    said = desktop(seen, "plane")["scored"]
    assert f"{plane.score(image).score[0]:.2f}: ordinary." in said
    assert f"99 % are at most at {plane.score_limits.threshold:.2f}." in said


def test_a_detector_scores_and_shows_where_as_python_does(seen: Seen, site: Path, detector_bundle: Path) -> None:
    found, model = desktop(seen, "detector"), load(detector_bundle)
    with Image.open(site / "detector" / "pictures.png") as strip:
        picture = np.asarray(strip)[None, None, :, : model.manifest.image.width]
    scores = model.score(picture, maps=True)
    assert np.isclose(found["score"], scores.score[0], atol=1e-4)
    assert "1 % of ordinary pictures are above 1, as was set on 200 of them." in found["scored"]
    assert isinstance(scores.maps, Maps)
    expected = np.asarray(scores.maps.overlay(0), int)
    assert np.abs(np.array(found["heat"]).reshape(14, 14, 4)[..., :3] - expected).max() <= 1


def test_the_plane_of_a_model_with_labels_is_that_of_the_chosen_one(
    seen: Seen, site: Path, labelled_bundle: Callable[..., Path]
) -> None:
    found, model = desktop(seen, "labelled"), load(labelled_bundle(encoder_tells=False))
    plane = json.loads((site / "labelled" / "model.json").read_text())["plane"]
    picture, cells = atlas.plane(model, plane["high"], label=[1])
    assert cells == plane["cells"]
    assert found["label"]["y"] == [0, 1, 0]
    assert np.abs(array(found["map"]).reshape(picture.size) - np.asarray(picture)).max() <= 1


def test_where_the_encoder_tells_no_class_the_score_is_that_of_the_best_one(
    seen: Seen, site: Path, labelled_bundle: Callable[..., Path]
) -> None:
    model = load(labelled_bundle(encoder_tells=False))
    with Image.open(site / "labelled" / "pictures.png") as strip:
        picture = np.asarray(strip)[None, None, :, : model.manifest.image.width]
    assert np.isclose(desktop(seen, "labelled")["score"], model.score(picture).score[0], rtol=1e-3)


def test_a_drawn_stroke_is_read_as_a_one(seen: Seen) -> None:
    assert np.argmax(desktop(seen, "noise")["drawn"]["y"]) == 1


def test_a_tap_on_the_pad_is_a_dot(seen: Seen) -> None:
    found = desktop(seen, "noise")
    assert found["dot"]["z"] != found["between"]["z"]


def test_a_pointer_that_went_down_beside_the_pad_draws_nothing(seen: Seen) -> None:
    assert desktop(seen, "noise")["left"] is True


def test_a_phone_shows_all_of_the_page(seen: Seen) -> None:
    assert seen["plane/phone"]["overflow"] <= 0


def test_the_longest_label_is_no_wider_than_a_phone(seen: Seen) -> None:
    assert seen["wide/phone"]["overflow"] <= 0


def test_the_picture_leaves_half_of_a_window_of_any_height_to_what_moves_it(seen: Seen) -> None:
    """320 x 256 pixels are what is left of 1280 x 1024 at 400 % (WCAG 2.2, success criterion 1.4.10)."""
    assert seen["plane/phone"]["low"] == {"overflow": 0, "picture": pytest.approx(128, abs=1)}


def test_decoding_takes_less_than_two_seconds_of_work_to_begin(seen: Seen) -> None:
    """The page's own seconds of computing, which other work on the machine does not stretch as it does the clock's."""
    assert {page: found["work"] for page, found in seen.items() if found.get("work", 0) >= 2} == {}


def test_a_page_says_what_it_shows_and_its_figures(seen: Seen) -> None:
    said = " ".join(desktop(seen, "plane")["named"])
    manifest = load(PLANE).manifest
    assert manifest.title in said
    assert f"squared error per pixel{manifest.metrics['mse']:.4g}" in said
    assert "licenceMIT" in said


def test_the_catalogue_leads_to_each_models_page(seen: Seen) -> None:
    first, second = load(NOISE).manifest.description, load(PLANE).manifest.description
    assert seen["all"]["links"] == [first, second]
    assert seen["all"]["title"] == first


def test_the_plane_has_the_codes_of_test_images_by_class(
    seen: Seen, site: Path, small: Model, small_bundle: Path
) -> None:
    facts = json.loads((site / "small" / "model.json").read_text())
    assert facts["codes"]["of"] == "codes of test images"
    with np.load(small_bundle / "codes.npz") as saved:
        assert np.allclose(np.reshape(facts["codes"]["z"], (-1, 2)), saved["z"], atol=1e-4)
        assert facts["codes"]["label"] == saved["label"].tolist()
    assert desktop(seen, "small")["legend"] == facts["codes"]["names"]
    assert len(facts["codes"]["names"]) == 10


def test_without_them_it_has_draws_of_the_prior(bundle: Path) -> None:
    (bundle / "codes.npz").unlink()
    rewrite(bundle, lambda d: d["files"].pop("codes.npz"))
    facts = pages.page_facts(open_bundle(bundle), load(bundle))
    assert facts["codes"]["of"] == "draws of the prior"
    assert facts["codes"]["label"] == []


def test_a_labelled_priors_draws_have_their_classes(labelled_bundle: Callable[..., Path]) -> None:
    bundle = labelled_bundle()
    rewrite(bundle, lambda d: d["files"].pop("codes.npz", None))
    codes = pages.page_facts(open_bundle(bundle), load(bundle))["codes"]
    assert codes["names"] == ("zero", "one", "2")
    assert codes["label"][:4] == [0, 1, 2, 0]


@pytest.mark.parametrize(
    "arrays",
    [
        {"z": np.zeros((3, 2)), "label": np.array([0, 1, 9]), "names": np.array(["a", "b"])},
        {"z": np.zeros((3, 3)), "label": np.zeros(3, int), "names": np.array(["a"])},
        {"z": np.zeros((3, 2)), "label": np.zeros(2, int), "names": np.array(["a"])},
        {"z": np.zeros((3, 2))},
        {"z": np.full((3, 2), np.nan), "label": np.zeros(3, int), "names": np.array(["a"])},
    ],
)
def test_damaged_codes_are_refused(bundle: Path, tmp_path: Path, arrays: Any, refused: Callable[..., str]) -> None:
    save_npz(tmp_path / "codes.npz", arrays)
    replace_graph(bundle, "codes.npz", (tmp_path / "codes.npz").read_bytes())
    said = refused("explore", bundle, "-o", tmp_path / "site", "--node-modules", NODE_MODULES)
    assert "codes.npz" in said
    assert not (tmp_path / "site").exists()


def test_text_of_a_manifest_is_no_markup(bundle: Path, tmp_path: Path) -> None:
    rewrite(
        bundle, lambda d: d.update(title="<script>alert(1)</script>", description='"><img src=x>', licence="$name <b>")
    )
    pages.explore(str(bundle), tmp_path / "site", node_modules=NODE_MODULES)
    page = (tmp_path / "site" / "index.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<img src=x" not in page
    assert "$name &lt;b&gt;" in page
    assert '"title": "<script>' not in page


def test_a_site_is_a_static_space(site: Path) -> None:
    for page in ("plane", "all"):
        _, front, _ = (site / page / "README.md").read_text().split("---\n", 2)
        lines = dict(line.split(": ", 1) for line in front.splitlines())
        assert json.loads(lines["sdk"]) == "static"
        assert (site / page / json.loads(lines["app_file"])).is_file()
        assert json.loads(lines["license"]) == "mit"


def test_no_module_has_a_name_that_servers_may_not_know(site: Path) -> None:
    """Nginx 1.22, Debian's, has no type for .mjs, and browsers run no module without that of JavaScript."""
    assert list(site.rglob("*.mjs")) == []
    assert [path for path in site.rglob("*.html") if ".mjs" in path.read_text()] == []


def test_a_site_names_no_other_host(site: Path) -> None:
    for path in (*site.rglob("*.html"), *site.rglob("*.css"), *site.glob("*/assets/*.js")):
        assert not re.findall(r"https?://(?!127\.0\.0\.1:)", path.read_text()), path


# ---- the command


def test_the_command_writes_a_site_and_replaces_only_when_told(
    aae_zoo: AaeZoo, refused: Callable[..., str], small_bundle: Path, tmp_path: Path
) -> None:
    arguments = ["explore", small_bundle, "-o", tmp_path / "site", "--node-modules", NODE_MODULES]
    result = aae_zoo(*arguments)
    assert result.status == 0
    assert "give the address it will have: --url https://example.org/zoo/" in result.err
    assert result.out == f"a page of small in {tmp_path / 'site'}; any static server shows it\n"
    assert "exists already" in refused(*arguments)
    assert aae_zoo(*arguments, "--replace").status == 0


def test_all_of_the_catalogue_are_cards(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    entries = [entry for entry in list_models() if entry.name.startswith("fashion")]
    with mock.patch.object(pages, "list_models", return_value=entries):
        result = aae_zoo("explore", "--all", "-o", tmp_path / "site", "--node-modules", NODE_MODULES)
    assert result.out == f"pages of {len(entries)} models in {tmp_path / 'site'}; any static server shows them\n"
    page = (tmp_path / "site" / "index.html").read_text()
    for entry in entries:
        assert f'href="{entry.name}/index.html"' in page
        assert (tmp_path / "site" / entry.name / "decoder.onnx").is_file()


def test_a_name_and_all_are_too_much(aae_zoo: AaeZoo) -> None:
    result = aae_zoo("explore", "mnist-plane", "--all")
    assert result.status == 2
    assert "either the model mnist-plane or --all" in result.err


@pytest.mark.parametrize("option", ["--serve", "--open"])
def test_serve_opens_the_browser_at_a_page_on_loopback(
    option: str, aae_zoo: AaeZoo, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", mock.Mock(side_effect=KeyboardInterrupt))
    site = tmp_path / "site"
    result = aae_zoo("explore", small_bundle, "-o", site, option, "--node-modules", NODE_MODULES)
    assert result.status == 0
    (url,) = opened
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
    assert result.err == f"serving {url} until Ctrl-C\n"


# ---- where onnxruntime-web comes from


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Puts an npm on the path that does what a line of shell says; its last argument is a folder."""

    def put(line: str) -> Path:
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\nfor folder; do :; done\n{line}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return tmp_path / "calls"

    yield put


def archive(path: Path) -> str:
    """Writes an archive as npm packs it: its SHA-512."""
    with tarfile.open(path, "w:gz") as package:
        for name in web_runtime.FILES:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            package.addfile(member, io.BytesIO(name.encode()))
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def pin(sha512: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the package whose files say their names the pinned one."""
    monkeypatch.setattr(web_runtime, "SHA512", sha512)
    files = {name: hashlib.sha256(name.encode()).hexdigest() for name in web_runtime.FILES}
    monkeypatch.setattr(web_runtime, "FILES", files)


# The files that say their names as npm has them, by their names in a page's folder.
AS_SERVED = {name.replace(".mjs", ".js"): name for name in web_runtime.FILES}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_npm_fetches_the_pinned_package_once(
    npm: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(archive(tmp_path / "a.tgz"), monkeypatch)
    calls = npm(f'cp {tmp_path}/a.tgz "$folder"')
    for copy in ("one", "two"):
        web_runtime.copy_web_runtime(tmp_path / copy)
        assert contents(tmp_path / copy) == AS_SERVED
    assert calls.read_text() == "called\n"


def test_npm_has_another_name_on_windows(
    npm: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(archive(tmp_path / "a.tgz"), monkeypatch)
    npm(f'cp {tmp_path}/a.tgz "$folder"')
    program = (tmp_path / "bin" / "npm").rename(tmp_path / "bin" / "npm.cmd")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(shutil, "which", {"npm": str(program)}.get)
    web_runtime.copy_web_runtime(tmp_path / "one")
    assert contents(tmp_path / "one") == AS_SERVED


def test_a_page_that_is_opened_from_a_disk_says_what_shows_it(tmp_path: Path) -> None:
    """What it says works: the command serves the folder, the address is the page's."""
    one, all_ = tmp_path / "my pages, ü" / "one", tmp_path / "all"
    pages.explore("digits-gauss", one, node_modules=NODE_MODULES)
    entries = [entry for entry in list_models() if entry.name == "digits-gauss"]
    with mock.patch.object(pages, "list_models", return_value=entries):
        pages.explore_all(all_, node_modules=NODE_MODULES)
    files = {one / "index.html": (one, "index.html"), all_ / "digits-gauss" / "index.html": (all_, "digits-gauss/")}
    said = node("disk.mjs", *files)
    for file, (folder, page) in files.items():
        text = said[str(file)]
        assert text.startswith("This page was opened from a disk, from where browsers load no model.")
        assert f'run python -m http.server --bind 127.0.0.1 --directory "{folder}/" in a terminal' in text
        assert f"open http://127.0.0.1:8000/{page}" in text


@pytest.mark.parametrize("name", web_runtime.FILES)
def test_a_cached_script_that_was_altered_is_fetched_again(
    npm: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pin(archive(tmp_path / "a.tgz"), monkeypatch)
    calls = npm(f'cp {tmp_path}/a.tgz "$folder"')
    web_runtime.copy_web_runtime(tmp_path / "one")
    (cached,) = cache_folder().glob(f"onnxruntime-web-*/{name}")
    cached.write_text("alert(1)")
    with pytest.warns(RuntimeWarning, match=f"{name} has SHA-256 .* it was altered, and is fetched again"):
        web_runtime.copy_web_runtime(tmp_path / "two")
    web_runtime.copy_web_runtime(tmp_path / "three")
    assert contents(tmp_path / "two") == contents(tmp_path / "three") == AS_SERVED
    assert calls.read_text() == "called\ncalled\n"
    cached.write_text("alert(1)")
    npm("exit 1")
    with (
        pytest.warns(RuntimeWarning, match="it was altered"),
        pytest.raises(MissingBackend, match="npm could not fetch onnxruntime-web"),
    ):
        web_runtime.copy_web_runtime(tmp_path / "four")
    assert not (tmp_path / "four").exists()


def test_the_pins_are_those_of_the_package() -> None:
    for name, sha256 in web_runtime.FILES.items():
        content = (NODE_MODULES / web_runtime.PACKAGE / "dist" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "echo ENOTFOUND >&2; exit 1",
            "npm could not fetch onnxruntime-web 1.30.0 (ENOTFOUND)",
        ),
        (
            """echo '{"error": {"code": "EX", "summary": "ENOSPC: \\"no\\" space left on device, write"}}'; exit 1""",
            'npm could not fetch onnxruntime-web 1.30.0 (ENOSPC: "no" space left on device, write)',
        ),
        ('echo other > "$folder/x.tgz"', "npm fetched onnxruntime-web 1.30.0 with SHA-512"),
    ],
)
def test_a_package_that_does_not_come_or_is_another_leaves_nothing(
    npm: Callable[[str], Path], refused: Callable[..., str], no_leftovers: Path, line: str, expected: str
) -> None:
    npm(line)
    said = refused("explore", "mnist-plane", "-o", no_leftovers / "site")
    assert expected in said
    assert "--node-modules node_modules" in said


def test_without_room_for_temporary_files(
    refused: Callable[..., str], no_leftovers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is another disk than that of the output, as a rule."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    said = refused("explore", "mnist-plane", "-o", no_leftovers / "site")
    assert f"cannot write temporary files into {tmp_path / 'gone'}: No such file or directory; set TMPDIR to" in said


def test_without_npm(
    refused: Callable[..., str], no_leftovers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "npm, which fetches" in refused("embed", "mnist-plane", "--lang", "browser", "-o", no_leftovers / "page")


def test_a_node_modules_folder_without_the_package(refused: Callable[..., str], no_leftovers: Path) -> None:
    said = refused("explore", "mnist-plane", "-o", no_leftovers / "site", "--node-modules", no_leftovers)
    assert "npm install onnxruntime-web" in said


def test_embed_knows_its_languages(refused: Callable[..., str], no_leftovers: Path) -> None:
    said = refused("embed", "mnist-plane", "--lang", "cobol", "-o", no_leftovers / "x")
    assert "expected one of python, node, browser, c, cpp" in said


def test_no_serving_without_a_site(refused: Callable[..., str], no_leftovers: Path) -> None:
    shutil.rmtree(no_leftovers)
    no_leftovers.mkdir()
    assert "did you mean" in refused("explore", "mnist-gaus", "--serve", "-o", no_leftovers / "site")
