"""The pages of aae-zoo explore before their decoder has come, their addresses, and the animations that they save."""

import base64
import io
import json
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import AaeZoo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from programs import NODE_MODULES, node, served

from aae_zoo.export.pages import atlas
from aae_zoo.export.pages import explore as pages
from aae_zoo.export.pages.address import link_tags, site_address
from aae_zoo.runtime import InvalidInput, list_models, load

PLANE, NOISE, BITS = "mnist-plane", "mnist-style", "mnist-bits"
MODULES = Path(pages.__file__).parent / "site"
CODE = "z=0.5,-1.25,0,0,1,2,-3,0.0625"
# Fragments that are no code of the page with eight numbers and ten labels.
HOSTILE = (
    "",
    "z=",
    CODE,  # no label
    f"{CODE}&label=10",
    f"{CODE}&label=-1",
    f"{CODE}&label=1e0",
    f"{CODE}&label=__proto__",
    f"{CODE}&y=1,0",
    f"{CODE}&y=2,0,0,0,0,0,0,0,0,0",
    f"{CODE}&y=-1,0,0,0,0,0,0,0,0,0",
    "z=1,2&label=3",
    "z=1,2,3,4,5,6,7,8,9&label=3",
    "z=NaN,0,0,0,0,0,0,0&label=3",
    "z=Infinity,0,0,0,0,0,0,0&label=3",
    "z=1e30,0,0,0,0,0,0,0&label=3",
    "z=0x10,0,0,0,0,0,0,0&label=3",
    "z=9999999,0,0,0,0,0,0,0&label=3",
    "z=<img src=x onerror=alert(1)>,0,0,0,0,0,0,0&label=3",
    f"{CODE}&label=3&pad={'x' * 9000}",
    "%",
    "z=%FF,0,0,0,0,0,0,0&label=3",
)
Seen = dict[str, Any]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for page, name in (("plane", PLANE), ("noise", NOISE), ("bits", BITS)):
        pages.explore(name, folder / page, node_modules=NODE_MODULES)
    return folder


@pytest.fixture(scope="module")
def seen(site: Path) -> Seen:
    with served(site) as url:
        return node("sharing.mjs", url, json.dumps([f"{CODE}&label=3", *HOSTILE]))


def facts(site: Path, page: str) -> Seen:
    found: Seen = json.loads((site / page / "model.json").read_text())
    return found


def grays(values: Any) -> NDArray[np.float64]:
    return np.array(values, np.float64).ravel()


def test_no_page_has_a_console_error_or_asks_another_host(seen: Seen) -> None:
    assert {act: found["faults"] for act, found in seen.items() if found["faults"]} == {}


# ---- before there is a decoder


def test_a_clear_sample_is_shown_while_the_decoder_is_still_loading(seen: Seen, site: Path) -> None:
    found, model = seen["withoutDecoder"], load(PLANE, precision="lite")
    first = found["first"]
    assert first["image"] is None
    assert found["progress"] is True
    assert np.allclose(first["z"], facts(site, "plane")["wall"]["z"][0])
    expected = 255 * model.decode(np.array([first["z"]], np.float32))
    # The plane has a picture for every quarter of a standard deviation; between them the page blends.
    assert np.abs(grays(first["painted"]) - grays(expected)).mean() < 10
    smudge = model.decode(np.zeros((1, 2), np.float32))
    assert atlas.clearness(model.decode(np.array([first["z"]], np.float32))) > 1.5 * atlas.clearness(smudge)


def blended(site: Path, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the page of a plane paints without a decoder: the four pictures around a code, the nearer the stronger."""
    plane = facts(site, "plane")["plane"]
    cells, low, high = plane["cells"], plane["low"], plane["high"]
    with Image.open(site / "plane" / "plane.jpg") as picture:
        side = picture.width // cells
        tiles = np.asarray(picture.convert("L"), np.float64).reshape(cells, side, cells, side).swapaxes(1, 2)
    column, row = ((cells * (z - low) / (high - low)) - 0.5).clip(0, cells - 1)
    near = 1 - np.abs(np.arange(cells) - np.array([[cells - 1 - row], [column]]))
    rows, columns = near.clip(0)
    expected: NDArray[np.float64] = np.einsum("r,c,rcyx->yx", rows, columns, tiles)
    return expected


def test_the_wall_and_the_plane_are_dragged_before_there_is_a_decoder(seen: Seen, site: Path) -> None:
    found, plane = seen["withoutDecoder"], facts(site, "plane")
    assert found["dragged"] == pytest.approx(100, abs=1)
    reach = plane["plane"]["high"]
    assert np.allclose(found["moved"]["z"], [-0.4 * reach, 0.2 * reach], atol=0.02 * reach)
    for key in ("moved", "sample"):
        assert found[key]["image"] is None
        expected = blended(site, np.array(found[key]["z"]))
        assert np.abs(grays(found[f"{key}Painted"]) - expected.ravel()).mean() < 2  # what a browser rounds
    assert found["sample"]["z"] == pytest.approx(plane["wall"]["z"][found["column"]])


def test_what_was_chosen_before_is_decoded_as_soon_as_there_is_a_decoder(seen: Seen) -> None:
    found = seen["withoutDecoder"]
    assert found["live"]["z"] == found["sample"]["z"]
    expected = load(PLANE, precision="lite").decode(np.array([found["live"]["z"]], np.float32))
    assert np.abs(np.array(found["live"]["image"]) - expected.ravel()).max() <= 1e-5
    assert found["loading"] is False


def test_the_wall_drifts_until_it_is_held_and_a_server_may_unpack(seen: Seen) -> None:
    assert seen["drifting"]["held"] < seen["drifting"]["start"]


def test_a_page_without_one_of_its_modules_says_so(seen: Seen) -> None:
    first, needed, later = seen["withoutModule"]["said"]
    assert first == needed
    assert first.startswith("This page cannot start, for some of its program in assets/ was not loaded. Load it again;")
    assert later.startswith("This page cannot show the model: Failed to fetch")


def test_a_page_that_may_run_no_scripts_or_is_in_an_old_browser_says_so(seen: Seen) -> None:
    forbidden, old = seen["withoutMeans"]["said"]
    assert forbidden == "This page decodes in your browser, which has to run its scripts and WebAssembly."
    assert old.startswith(
        "This page cannot show the model: this browser lacks DecompressionStream, or has it switched off;"
    )


def test_every_script_is_fetched_once(site: Path) -> None:
    """A script that is no module would be fetched again, were it preloaded as one."""
    page = (site / "plane" / "index.html").read_text("utf-8")
    modules = re.findall(r'<link rel="modulepreload" href="assets/([^"]*)">', page)
    scripts = re.findall(r'<script src="assets/([^"]*)">', page)
    assert sorted(modules + scripts) == sorted(path.name for path in (site / "plane" / "assets").glob("*.js"))


def test_what_the_network_kept_back_is_said_where_it_is_asked_for_and_fetched_again(seen: Seen, site: Path) -> None:
    found = seen["offline"]
    assert found["said"] == [
        f"The picture cannot be read: {name} could not be fetched (Failed to fetch)."
        for name in ("pictures.png", "encoder.onnx")
    ]
    with Image.open(site / "bits" / "pictures.png") as strip:  # the first of them was lost
        second = np.asarray(strip)[None, None, :, 28:56]
    assert np.allclose(found["test"]["z"], load(BITS).encode(second)[0], atol=1e-4)


def test_what_is_shown_first_is_small(site: Path) -> None:
    """At 1.6 Mbit/s 400 kB take two seconds."""
    first = [*site.glob("plane/*.html"), *site.glob("plane/*.jpg"), site / "plane" / "model.json"]
    first += [path for path in site.glob("plane/assets/*") if path.is_file()]
    first.remove(site / "plane" / "share.jpg")
    assert sum(path.stat().st_size for path in first) < 400_000


@pytest.mark.parametrize(("page", "name"), [("plane", PLANE), ("noise", NOISE)])
def test_the_wall_has_the_samples_of_its_codes(site: Path, page: str, name: str) -> None:
    model, wall = load(name, precision="lite" if name == PLANE else "fp32"), facts(site, page)["wall"]
    label = None if wall["label"] is None else np.array(wall["label"])
    images = model.decode(np.array(wall["z"], np.float32), label)
    with Image.open(site / page / "wall.jpg") as picture:
        shown = np.asarray(picture, np.float64)
    rows, columns = wall["rows"], wall["columns"]
    tiles = shown.reshape(rows, 28, columns, 28).swapaxes(1, 2).reshape(-1, 28, 28)
    assert np.abs(tiles - 255 * images[:, 0]).mean() < 4  # what JPEG loses
    assert len({tile.tobytes() for tile in np.rint(images)}) == rows * columns


def test_the_wall_of_a_model_with_labels_has_them_all(site: Path) -> None:
    assert set(map(tuple, facts(site, "noise")["wall"]["label"])) == {(k,) for k in range(10)}


# ---- bits


def test_a_bit_is_a_switch(seen: Seen) -> None:
    found = seen["bits"]
    changed = np.flatnonzero(np.array(found["flipped"]["z"]) != found["first"]["z"])
    assert changed.tolist() == [4]
    assert found["flippedSwitches"] == [value > 0 for value in found["flipped"]["z"]]
    expected = load(BITS).decode(np.array([found["flipped"]["z"]], np.float32))
    assert np.abs(np.array(found["flipped"]["image"]) - expected.ravel()).max() <= 1e-5


def test_high_contrast_shows_what_is_switched_and_drawn(seen: Seen) -> None:
    assert seen["highContrast"]["flipped"]
    assert seen["highContrast"]["drawn"]


def test_the_switches_follow_an_encoded_picture(seen: Seen, site: Path) -> None:
    found = seen["bits"]
    with Image.open(site / "bits" / "pictures.png") as strip:
        code = load(BITS).encode(np.asarray(strip)[None, None, :, :28])[0]
    assert np.allclose(found["test"]["z"], code, atol=1e-4)
    assert found["testSwitches"] == [value > 0 for value in code]


# ---- addresses


def test_an_address_has_the_code_and_the_label(seen: Seen) -> None:
    found = seen["links"]
    for key in ("opened", "again"):
        assert found[key]["z"] == [0.5, -1.25, 0, 0, 1, 2, -3, 0.0625]
        assert np.argmax(found[key]["y"]) == 3
    assert re.fullmatch(r"#z=[-0-9.,]+&label=[0-9]", found["link"])
    assert np.allclose(
        [float(value) for value in found["link"][3:].split("&")[0].split(",")], found["random"]["z"], atol=1e-4
    )


def test_a_hostile_fragment_changes_nothing(seen: Seen) -> None:
    assert seen["links"]["changed"] == [seen["links"]["random"]["z"]] * len(HOSTILE)


def test_the_pages_own_address_is_not_taken_for_one_that_was_typed(seen: Seen) -> None:
    assert seen["links"]["overwritten"] == seen["links"]["random"]["z"]


@pytest.fixture
def modules(tmp_path: Path) -> Callable[..., Seen]:
    def run(**given: Any) -> Seen:
        (tmp_path / "input.json").write_text(json.dumps(given))
        return node("modules.mjs", MODULES, tmp_path / "input.json")

    return run


DIGITS = [{"name": "label", "labels": [str(k) for k in range(10)], "coordinate": 8, "first": 0}]
CONDITIONAL = {"latent": 8, "attributes": DIGITS, "conditional": True}


def test_whatever_else_a_fragment_has_is_no_code(modules: Callable[..., Seen]) -> None:
    assert modules(model=CONDITIONAL, fragments=HOSTILE)["read"] == [None] * len(HOSTILE)


finite = st.lists(st.floats(-1000, 1000, width=32), min_size=8, max_size=8)
probabilities = st.lists(st.floats(0, 1, width=32), min_size=10, max_size=10)


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(finite, probabilities | st.integers(0, 9)), min_size=20, max_size=40))
def test_the_address_of_a_code_leads_to_it(modules: Callable[..., Seen], drawn: list[tuple[list[float], Any]]) -> None:
    codes = [{"z": z, "y": np.eye(10)[y].tolist() if isinstance(y, int) else y} for z, y in drawn]
    written = modules(model=CONDITIONAL, codes=codes)["written"]
    for code, read in zip(codes, modules(model=CONDITIONAL, fragments=written)["read"], strict=True):
        assert np.allclose(read["z"], code["z"], atol=1e-4)
        if max(code["y"]) >= 1 - 1e-4:  # a class, which may be one of several that are certain
            assert code["y"][int(np.argmax(read["y"]))] >= 1 - 1e-4
        else:
            assert np.allclose(read["y"], code["y"], atol=1e-4)


def test_the_address_has_the_number_of_each_attributes_value(modules: Callable[..., Seen]) -> None:
    several = [
        {"name": "glasses", "labels": ["no", "yes"], "coordinate": 8, "first": 0},
        {"name": "hair", "labels": ["red", "brown", "gray"], "coordinate": 9, "first": 2},
    ]
    model, z = {**CONDITIONAL, "attributes": several}, [0.5] * 8
    codes = [{"z": z, "y": y} for y in ([0, 1, 0, 0, 1], [0.5, 0.5, 0, 0, 1])]
    written = modules(model=model, codes=codes)["written"]
    assert [each.partition("&")[2] for each in written] == ["label=1,2", "y=0.5,0.5,0,0,1"]
    assert [each["y"] for each in modules(model=model, fragments=written)["read"]] == [each["y"] for each in codes]
    wrong = [f"{CODE}&label={label}" for label in ("1", "1,3", "2,0", "1,2,0", "1,-1", "", "1,")]
    assert modules(model=model, fragments=wrong)["read"] == [None] * len(wrong)


# ---- animations


def frames_of(content: str) -> tuple[NDArray[np.uint8], Image.Image]:
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]), picture


def test_a_walk_is_saved_as_an_animation(seen: Seen) -> None:
    found, model = seen["links"]["animation"], load(NOISE)
    name, content = found["saved"]
    frames, picture = frames_of(content)
    assert name == f"{NOISE}-walk.gif"
    assert picture.info["loop"] == 0
    assert frames.shape == (30, 168, 168, 3)
    ends = {key: [np.array([found[end][key]], np.float32) for end in "ab"] for key in ("z", "y")}
    for i, frame in enumerate(frames):
        t = (i if i < 16 else 30 - i) / 15
        z, y = ((1 - t) * a + t * b for a, b in (ends["z"], ends["y"]))
        expected = 255 * model.decode(z.astype(np.float32), y.astype(np.float32))[0, 0]
        assert np.abs(frame[3::6, 3::6, 0] - expected).max() <= 1


def test_an_animation_of_noise_is_exact_in_grays_and_near_in_colours(modules: Callable[..., Seen]) -> None:
    """Noise fills the table of codes again and again; a long even line makes its longest."""
    random = np.random.default_rng(0)
    gray = np.repeat(random.integers(0, 256, (3, 120, 90, 1), np.uint8), 3, axis=3)
    gray[1] = 7
    colours = random.integers(0, 256, (2, 31, 17, 3), np.uint8)
    opaque = [np.concatenate([each, np.full((*each.shape[:3], 1), 255, np.uint8)], axis=3) for each in (gray, colours)]
    animations = [[[f.ravel().tolist() for f in frames], frames.shape[2], frames.shape[1], 5] for frames in opaque]
    exact, near = (frames_of(each)[0] for each in modules(model={}, animations=animations)["animations"])
    assert np.array_equal(exact, gray)
    assert np.abs(near.astype(int) - colours).max() <= 26


# ---- what a link to a page shows elsewhere


@pytest.mark.parametrize("page", ["plane", "noise"])
def test_a_link_to_a_page_has_a_title_words_a_picture_and_an_icon(site: Path, page: str) -> None:
    html = (site / page / "index.html").read_text()
    manifest = load(PLANE if page == "plane" else NOISE).manifest
    tags = dict(re.findall(r'<meta property="og:(\w+)" content="([^"]*)">', html))
    assert tags["title"] == manifest.description
    assert manifest.title in unescape(tags["description"])
    for name, size in ((tags["image"], (1200, 630)), ("icon.png", (112, 112))):
        with Image.open(site / page / name) as picture:
            assert picture.size == size
    assert '<link rel="icon" href="icon.png">' in html


class Links(HTMLParser):
    """What a page says of where it and its picture are, by name; anything else that a tag has is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        match tag, attrs:
            case ("meta", [("property", "og:url" | "og:image" as name), ("content", str() as address)]):
                self.found[name] = address
            case ("link", [("rel", "canonical" as name), ("href", str() as address)]):
                self.found[name] = address


@pytest.mark.parametrize("url", ["https://example.org/zoo", "https://example.org/zoo/", "http://127.0.0.1:8000/zoo"])
def test_with_its_address_a_page_says_where_it_and_its_picture_are(url: str, aae_zoo: AaeZoo, tmp_path: Path) -> None:
    one, all_ = tmp_path / "one", tmp_path / "all"
    command = ("--node-modules", NODE_MODULES, "--url", url)
    assert aae_zoo("explore", "digits-gauss", "-o", one, *command).err == ""
    entries = [entry for entry in list_models() if entry.name == "digits-gauss"]
    with mock.patch.object(pages, "list_models", return_value=entries):
        assert aae_zoo("explore", "--all", "-o", all_, *command).err == ""
    address = url.rstrip("/") + "/"
    for folder, page, picture in (
        (one, "", "share.jpg"),
        (all_, "", "digits-gauss/share.jpg"),
        (all_, "digits-gauss/", "digits-gauss/share.jpg"),
    ):
        links = Links((folder / page / "index.html").read_text()).found
        assert links == {f"og:{k}": address + v for k, v in {"url": page, "image": picture}.items()} | {
            "canonical": address + page
        }
        assert (folder / links["og:image"].removeprefix(address)).is_file()


def test_without_its_address_a_page_names_its_picture_alone(site: Path) -> None:
    assert Links((site / "plane" / "index.html").read_text()).found == {"og:image": "share.jpg"}


@pytest.mark.parametrize(
    "url",
    [
        "example.org/zoo",
        "ftp://example.org/zoo",
        "javascript:alert(1)",
        "https://",
        "https:///zoo",
        "https://example.org:port/",
        "https://example.org:0/",
        "https://[::1/",
        "https://me:secret@example.org/",
        "https://example.org/?q=1",
        "https://example.org/#z=1",
        "https://example.org/a b",
        'https://example.org/"><script>alert(1)</script>',
        "https://example.org/'x",
        "https://example.org/zoo\n",
        "https://example.org/ä",
        "https://example.org/zoo/index.html",
    ],
)
def test_what_is_no_address_of_a_folder_is_refused(url: str, refused: Callable[..., str], no_leftovers: Path) -> None:
    said = refused("explore", "digits-gauss", "-o", no_leftovers / "site", "--url", url)
    assert f"--url is {url!r}" in said
    assert "https://example.org/zoo/" in said


@given(st.text(st.sampled_from("/:.?#[]@!$&'()*+,;=\"<> \n%a0ä")).map("https://example.org/".__add__))
def test_an_address_is_refused_or_is_what_the_tags_say(url: str) -> None:
    try:
        address = site_address(url)
    except InvalidInput:
        return
    assert address == url.rstrip("/") + "/"
    links = {"canonical": address, "og:url": address, "og:image": f"{address}share.jpg"}
    assert Links(link_tags(address, "share.jpg")).found == links


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 96), (3, 300, 200)])
def test_the_pictures_of_larger_and_coloured_images_are_of_use_too(shape: tuple[int, int, int]) -> None:
    """Each sample has a tile of its own, and nothing is larger than a page needs."""
    count = atlas.ROWS * atlas.COLUMNS
    shades = np.linspace(0, 1, count, dtype=np.float32)
    images = np.broadcast_to(shades[:, None, None, None], (count, *shape))
    samples = atlas.Samples(images, np.zeros((count, 2), np.float32), None)
    wall = np.asarray(atlas.wall(samples), np.float64)
    height, width = wall.shape[0] // atlas.ROWS, wall.shape[1] // atlas.COLUMNS
    assert (height * atlas.ROWS, width * atlas.COLUMNS) == wall.shape[:2]
    assert max(height, width) == min(56, max(shape[1:]))
    middles = wall[height // 2 :: height, width // 2 :: width].reshape(count, -1)
    assert np.abs(middles - 255 * shades[:, None]).max() <= 1
    assert atlas.share_picture(samples).size == (1200, 630)
    assert min(atlas.icon(samples).size) >= 96
