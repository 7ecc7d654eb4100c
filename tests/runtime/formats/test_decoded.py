"""Files that become something very large: what they cost is known before, and bounded, and a sentence refuses them."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bombs
import numpy as np
import pytest
from conftest import replace_graph
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from aae_zoo.runtime import InvalidInput
from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION, ImageShape
from aae_zoo.runtime.errors import DatasetError
from aae_zoo.runtime.formats.arrays import MOST
from aae_zoo.runtime.formats.idx import read_idx
from aae_zoo.runtime.formats.pictures import measure, read_array, read_picture
from aae_zoo.runtime.formats.plan import Notices, Plan
from aae_zoo.zoo.data.pictures import read_pictures

SQUASH = USUAL_PREPARATION._replace(fit="squash")
GRAY, COLOUR = (Plan(ImageShape(channels, 28, 28), SQUASH, resize=True) for channels in (1, 3))
SLACK = 24 << 20  # what Python, the decoders and the allocator take beside what is counted

# Reads files one after the other and prints for each [what was said, bytes of growth, bytes counted].
PROGRAM = """
import json, sys, warnings
from pathlib import Path
import numpy as np
from PIL import Image
from aae_zoo.runtime import InvalidInput
from aae_zoo.runtime.bundles.manifest import ImageShape
from aae_zoo.runtime.formats.images import read_images
from aae_zoo.runtime.formats.pictures import measure, read_picture
from aae_zoo.runtime.formats.plan import Notices, Plan

warnings.simplefilter("ignore")  # as the command line does

def most():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

for path in map(Path, sys.argv[2:]):
    plan, said, cost = Plan(ImageShape(int(sys.argv[1]), 28, 28), resize=True), "", 0
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is what there is now
    before = most()
    try:
        cost = measure(path, plan).cost if not path.suffix else 0
        read_images(path, plan) if path.suffix else read_picture(path, plan, Notices())
    except InvalidInput as error:
        said = str(error)
    print(json.dumps([said, most() - before, cost]))
"""

Read = tuple[str, int, int]


def read_alone(files: dict[str, Path], channels: int = 1) -> dict[str, Read]:
    """What reading each file says, takes and is said to take, in a process whose first pictures are small."""
    warm = files[next(iter(files))].with_name("warm")
    warm.write_bytes(bombs.saved(Image.new("RGB", (50, 50)), "WEBP"))
    command = [sys.executable, "-c", PROGRAM, str(channels), str(warm), *map(str, files.values())]
    frugal = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back at once, file by file
    output = subprocess.run(command, capture_output=True, check=True, text=True, env=frugal).stdout
    return dict(zip(files, [json.loads(line) for line in output.splitlines()[1:]], strict=True))


def written(folder: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    paths = {name: folder / f"{number}" for number, name in enumerate(contents)}
    for name, path in paths.items():
        path.write_bytes(contents[name])
    return paths


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return written(tmp_path_factory.mktemp("pictures"), bombs.pictures())


REFUSED = {
    "WebP of the largest side": "Image size (268435456 pixels) exceeds limit",
    "PNG of two headers": "it has two headers",
    "PNG without pixels": "image file is truncated",
    "PNG of the largest side": "expected at most 1073741824; make it smaller",
    "TIFF of a large tile": "decoder error",
    "TIFF of many tags": "its tags have 10485760006 bytes, and the whole file 1168626",
    "PPM without pixels": "image file is truncated",
    "PPM of the largest side": "exceeds limit",
    "GIF frame": "image file is truncated",
    "GIF of the largest side": "exceeds limit",
    "BMP of runs": "not enough image data",
    "BMP of the largest side": "exceeds limit",
}


# What is counted is the worst that these headers allow, of which the files do less.
NOT_AS_BAD = ("JPEG", "WebP frames", "PNG of", "PNG tall", "PNG wide", "GIF screen")


@pytest.mark.parametrize("channels", [1, 3])
def test_no_picture_takes_more_than_its_header_was_said_to(pictures: dict[str, Path], channels: int) -> None:
    """And hardly less, or honest pictures would be refused."""
    for name, (said, growth, cost) in read_alone(pictures, channels).items():
        assert growth <= cost + SLACK, (name, said, growth, cost)
        assert said or name.startswith(NOT_AS_BAD) or cost <= 1.5 * growth + SLACK, (name, growth, cost)
        assert (REFUSED.get(name, "nothing") in said) if said else name not in REFUSED, (name, said)
        assert "\n" not in said


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_telephones_photograph_of_48_megapixels_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photograph.jpg"
    picture = Image.linear_gradient("L").resize((8064, 6048), Image.Resampling.NEAREST).convert("RGB")
    picture.save(path, kind, **({"method": 0, "quality": 50} if kind == "WEBP" else {"compress_level": 1}))
    pixels = read_picture(path, COLOUR, Notices())
    expected = np.asarray(picture.resize((28, 28), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    assert np.abs(pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("side", [113, 231, 711, 1411])
@pytest.mark.parametrize("orientation", [1, 3])
def test_a_large_jpeg_is_the_picture_that_it_was_made_of(tmp_path: Path, side: int, orientation: int) -> None:
    """Decoded at an eighth, 1,411 pixels are 176 and a part of one more."""
    squares = np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8)
    picture, exif = Image.fromarray(squares).resize((side, side), Image.Resampling.NEAREST), Image.Exif()
    exif[0x0112] = orientation
    images = []
    for path in (tmp_path / "x.png", tmp_path / "x.jpg"):
        picture.save(path, exif=exif, quality=97)
        images.append(read_picture(path, GRAY, Notices()).astype(int))
    assert np.abs(images[1] - images[0]).max() <= 10


@pytest.mark.parametrize("name", bombs.arrays())
def test_arrays_that_claim_too_much_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    ending, make = bombs.arrays()[name]
    path = tmp_path / f"images{ending}"
    path.write_bytes(make())
    said, growth, _ = read_alone({name: path})[name]
    assert said.startswith(str(path))
    assert "\n" not in said
    assert growth <= SLACK, growth


def test_the_command_line_says_so_too(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "x.npz").write_bytes(bombs.arrays()["unpacks to more"][1]())
    sentence = refused("encode", "mnist-ae", tmp_path / "x.npz", "-o", tmp_path / "z.npy")
    assert f"its arrays have {bombs.SAID} bytes, expected at most {MOST}" in sentence
    (tmp_path / "x.png").write_bytes(bombs.png(1 << 15, 1 << 15))
    sentence = refused("encode", "mnist-ae", tmp_path / "x.png", "-o", tmp_path / "z.npy", "--resize")
    assert "x.png has 32768 x 32768 pixels, which would take" in sentence


@pytest.mark.parametrize("name", ["golden.npz", "codes.npz"])
@pytest.mark.parametrize("bomb", ["unpacks to more", "says it unpacks to little", "a large directory"])
def test_files_of_arrays_in_a_bundle(bundle: Path, name: str, bomb: str) -> None:
    """Whatever the manifest says of the model, and whatever size it gives the file."""
    replace_graph(bundle, name, bombs.arrays()[bomb][1]())
    document = json.loads((bundle / "manifest.json").read_text())
    document["image"] = {"channels": 4, "height": 4096, "width": 4096}
    (bundle / "manifest.json").write_text(json.dumps(document))
    program = f"""
import resource, sys
from pathlib import Path
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.checks.golden import read_golden
from aae_zoo.runtime.engine.kept import read_kept_codes
read, before = {{"golden.npz": read_golden, "codes.npz": read_kept_codes}}[{name!r}], resource.getrusage(0).ru_maxrss
try:
    read(open_bundle(Path({str(bundle)!r})))
except Exception as error:
    print(type(error).__name__, error)
print(resource.getrusage(0).ru_maxrss - before)
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    said, growth = output.splitlines()
    assert said.startswith("InvalidBundle ")
    assert name in said
    assert int(growth) * 1024 < 2 * SLACK  # the file is in memory as well


def test_a_data_set_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(bombs.png(1 << 14, 1 << 14))
    with pytest.raises(
        DatasetError, match=r"x\.png has 16384 x 16384 pixels, which would take .* expected at most 1073741824"
    ):
        read_pictures([tmp_path / "x.png"], 28, 1)


def turned(picture: Image.Image, orientation: int, kind: str) -> io.BytesIO:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return io.BytesIO(bombs.saved(picture, kind, exif=exif))


@pytest.mark.filterwarnings("ignore:the picture has values from:RuntimeWarning")
@given(
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    orientation=st.integers(0, 9),
    mode=st.sampled_from(["1", "L", "P", "RGB", "CMYK"]),
    plan=st.sampled_from([GRAY, COLOUR, replace(COLOUR, shape=ImageShape(3, 5, 40))]),
    seed=st.integers(0, 99),
)
def test_pictures_are_upright_and_resized_as_ever(
    size: tuple[int, int], orientation: int, mode: str, plan: Plan, seed: int
) -> None:
    """Turning and resizing after the colours changes nothing but the memory."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), np.uint8)
    colours = Image.fromarray(noise)
    picture, shape = colours.convert("RGB").convert(mode), plan.shape
    stream = turned(picture, orientation, "TIFF" if mode == "CMYK" else "PNG")
    with Image.open(stream) as opened:
        expected = ImageOps.exif_transpose(opened).convert("L" if shape.channels == 1 else "RGB")
    expected = expected.resize((shape.width, shape.height), Image.Resampling.LANCZOS)
    planes = np.asarray(expected).reshape(shape.height, shape.width, shape.channels).transpose(2, 0, 1)
    assert np.array_equal(read_picture(stream, plan, Notices()), planes)
    decoding = measure(stream, plan)
    assert sorted(size) == sorted(decoding[:2])  # Pillow gives that of a TIFF file as it is upright


def test_a_picture_of_another_size_is_refused_before_it_is_decoded() -> None:
    exact, wide = Plan(ImageShape(1, 28, 28)), Plan(ImageShape(1, 5, 40))
    with pytest.raises(InvalidInput, match="is 2048 x 2048 pixels, expected 28 x 28; resize it"):
        read_picture(io.BytesIO(bombs.png(2048, 2048)), exact, Notices())
    with pytest.raises(InvalidInput, match="is 5 x 40 pixels, expected 40 x 5"):  # it lies, but does not say so
        read_picture(turned(Image.new("L", (5, 40)), 1, "PNG"), wide, Notices())
    assert read_picture(turned(Image.new("L", (5, 40)), 6, "PNG"), wide, Notices()).shape == (1, 5, 40)


SMALL = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
DEEP = Image.fromarray(np.random.default_rng(0).integers(0, 1 << 16, (20, 30), np.uint16))
INTACT = {
    **{kind: bombs.saved(SMALL, kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")},
    "lossless": bombs.saved(SMALL, "WEBP", lossless=True),
    "progressive": bombs.saved(SMALL, "JPEG", progressive=True),
    "deep": bombs.saved(DEEP, "PNG"),
    "deep TIFF": bombs.saved(DEEP, "TIFF", compression="tiff_lzw"),
    "transparent": bombs.saved(SMALL.convert("P"), "PNG", transparency=0),
    "turned": turned(SMALL, 6, "JPEG").getvalue(),
}
IMAGES = np.zeros((2, 28, 28), np.uint8)
ARRAYS = {
    ".npy": bombs.npy_of(IMAGES),
    ".npz": bombs.npz(bombs.npy_of(IMAGES), bombs.npy_of(IMAGES)),
    ".idx": bombs.idx(2, 28, 28, data=IMAGES.tobytes()),
}


@st.composite
def mangled(draw: st.DrawFn, intact: dict[str, bytes]) -> tuple[str, bytes]:
    """A file with some bytes of it, most of them near its beginning or its end, turned into others, or cut off."""
    name = draw(st.sampled_from(sorted(intact)))
    content = bytearray(intact[name])
    near = st.integers(0, min(200, len(content) - 1))
    places = st.one_of(near, near.map(lambda place: -1 - place), st.integers(0, len(content) - 1))
    for place, value in draw(st.lists(st.tuples(places, st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)))):
        content[place] = value
    end = draw(st.none() | st.integers(0, len(content)))
    return name, bytes(content[:end])


@given(mangled(INTACT), st.sampled_from([GRAY, COLOUR]))
@pytest.mark.filterwarnings("ignore::Warning:PIL", "ignore:the picture has values:RuntimeWarning")
def test_mangled_pictures_are_read_or_refused(given_: tuple[str, bytes], plan: Plan) -> None:
    try:
        pixels = read_picture(io.BytesIO(given_[1]), plan, Notices())
    except InvalidInput as error:
        assert "\n" not in str(error)
    else:
        assert pixels.shape == plan.shape.axes


@given(given_=mangled(ARRAYS))
def test_mangled_arrays_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, given_: tuple[str, bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"mangled{given_[0]}"
    path.write_bytes(given_[1])
    try:
        array: NDArray[Any] = read_idx(path) if path.suffix == ".idx" else read_array(path, ("image",))
    except InvalidInput as error:
        assert "\n" not in str(error)
    else:
        assert array.nbytes <= 2 * IMAGES.nbytes
