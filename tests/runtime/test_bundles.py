"""Bundles and the catalogue: what `load` opens, and everything it refuses."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import AaeZoo, Change, replace_graph, rewrite
from hypothesis import given
from hypothesis import strategies as st

from aae_zoo.runtime import InvalidBundle, InvalidInput, MissingBackend, Model, ModelNotFound, load
from aae_zoo.runtime.bundles.bundle import open_bundle
from aae_zoo.runtime.bundles.manifest import parse_manifest
from aae_zoo.runtime.bundles.names import MAX_MANIFEST_BYTES
from aae_zoo.runtime.store.cache import model_folder
from aae_zoo.runtime.store.catalogue import SHIPPED, list_models


@pytest.mark.parametrize("name", ["decoder.onnx", "prior.onnx"])
class TestDamagedFiles:
    def test_missing(self, bundle: Path, name: str, refused: Callable[..., str], no_leftovers: Path) -> None:
        (bundle / name).unlink()
        assert f"{name} is missing; get small again" in refused("sample", bundle, "-o", no_leftovers / "x.png")

    def test_truncated(self, bundle: Path, name: str, refused: Callable[..., str], no_leftovers: Path) -> None:
        size = (bundle / name).stat().st_size
        os.truncate(bundle / name, size - 1)
        message = refused("sample", bundle, "-o", no_leftovers / "x.png")
        assert f"{name} has {size - 1} bytes, expected {size}" in message

    def test_altered(self, bundle: Path, name: str, refused: Callable[..., str], no_leftovers: Path) -> None:
        content = bytearray((bundle / name).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / name).write_bytes(content)
        message = refused("sample", bundle, "-o", no_leftovers / "x.png")
        assert f"{name} has SHA-256" in message
        assert name in refused("pull", bundle)


def test_info_says_of_a_matrix_from_what_to_what_its_numbers_are(aae_zoo: AaeZoo) -> None:
    lines = aae_zoo("info", "avatars-gauss").out.splitlines()
    (covariance,) = [line for line in lines if line.startswith("metric code_covariance ")]
    numbers = json.loads(aae_zoo("info", "avatars-gauss", "--json").out)["metrics"]["code_covariance"]
    lowest, highest = (f"{choose(map(choose, numbers)):.4g}" for choose in (min, max))
    assert covariance.endswith(f" 1,024 numbers from {lowest} to {highest}")
    assert max(map(len, lines)) < 500


class TestWeightsLeftOut:
    """Wheels have every file of a bundle but PyTorch's weights, which only fine-tuning needs."""

    def test_a_bundle_without_them_is_whole(self, bundle: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        assert "every file as it should be: " in aae_zoo("pull", bundle).out
        assert "left out" not in aae_zoo("info", bundle).out
        (bundle / "model.safetensors").unlink()
        assert "every file as it should be (without model.safetensors): " in aae_zoo("pull", bundle).out
        assert "bytes, left out here" in aae_zoo("info", bundle).out
        assert aae_zoo("sample", bundle, "-n", 2, "-o", tmp_path / "x.png").status == 0

    def test_damaged_weights_are_not(self, bundle: Path, refused: Callable[..., str]) -> None:
        os.truncate(bundle / "model.safetensors", 100)
        assert "model.safetensors has 100 bytes" in refused("pull", bundle)

    @pytest.mark.parametrize("name", ["golden.npz", "README.md", "samples.png", "encoder.onnx"])
    def test_any_other_file_is_missed(self, bundle: Path, name: str, refused: Callable[..., str]) -> None:
        (bundle / name).unlink()
        assert f"{name} is missing" in refused("pull", bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=2), "schema is 2, expected 1, the one this version of aae-zoo reads"),
        (lambda d: d.pop("schema"), "schema is missing"),
        (lambda d: d.pop("name"), "name is missing, expected a plain name"),
        (lambda d: d.update(name="../x"), r"name is '\.\./x', expected a plain name"),
        (lambda d: d.update(latent=0), "latent is 0, expected a whole number from 1"),
        (lambda d: d.update(latent=True), "latent is True"),
        (lambda d: d.update(noise=10**9), "noise is 1000000000"),
        (lambda d: d.update(label_coordinate=2), "label_coordinate is 2, expected a whole number from 0 to 1"),
        (lambda d: d.update(labels=[1]), r"labels is \[1\], expected a list of texts"),
        (lambda d: d.update(image=[28, 28]), "image is .*, expected an object|holds list"),
        (lambda d: d["image"].update(channels=9), "image: channels is 9"),
        (lambda d: d["files"].update({"../evil": {}}), r"'\.\./evil' is not a plain file name"),
        (lambda d: d["files"].update({"/etc/passwd": {}}), "'/etc/passwd' is not a plain file name"),
        (lambda d: d["files"].update({"a\\b": {}}), "is not a plain file name"),
        (lambda d: d["files"].update({"x": {"sha256": "0", "size": 1}}), "sha256 is '0', expected 64 hexadecimal"),
        (lambda d: d["files"]["decoder.onnx"].update(size=2**40), "size is 1099511627776"),
        (lambda d: d["graphs"].pop("prior"), "prior is missing|prior"),
        (lambda d: d["graphs"]["prior"].clear(), "fp32 is missing, expected the name of a file"),
        (
            lambda d: d["graphs"]["prior"].update(fp32="nowhere.onnx"),
            "'nowhere.onnx' is not among the manifest's files",
        ),
        (lambda d: d.update(score=[]), r"score is \[\], expected an object"),
        (lambda d: d["score"].pop("threshold"), "score: threshold is missing, expected a number from 1e-09 to 1e"),
        (lambda d: d["score"].update(distance=0), "score: distance is 0, expected a number from 1e-09"),
        (lambda d: d["score"].update(distance=10**400), "score: distance is 1000"),
        (lambda d: d["score"].update(reconstruction=float("nan")), "score: reconstruction is nan"),
        (lambda d: d["score"].update(images=0), "score: images is 0"),
        (lambda d: d.update(metrics=[]), r"metrics is \[\], expected an object"),
    ],
)
def test_malformed_manifests_are_refused(bundle: Path, change: Change, message: str) -> None:
    rewrite(bundle, change)
    with pytest.raises(InvalidBundle, match=message):
        load(bundle)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_json_is_parsed_or_refused(document: object) -> None:
    with pytest.raises(InvalidBundle):
        parse_manifest(json.dumps(document).encode(), "manifest.json")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidBundle):
        parse_manifest(content, "manifest.json")


def test_deep_and_huge_json_is_refused() -> None:
    with pytest.raises(InvalidBundle, match="is not JSON"):
        parse_manifest(b"[" * 100_000, "manifest.json")
    with pytest.raises(InvalidBundle, match="a manifest has at most"):
        parse_manifest(b" " * (MAX_MANIFEST_BYTES + 1), "manifest.json")


def test_a_graph_that_is_not_what_the_manifest_says(bundle: Path) -> None:
    rewrite(bundle, lambda d: d.update(latent=3))
    with pytest.raises(InvalidBundle, match=r"the prior of small has 'z' as tensor\(float\) \['batch', 2\], expected"):
        load(bundle).sample(1)


def test_a_graph_with_other_names(bundle: Path) -> None:
    model = onnx.load(bundle / "prior.onnx")
    model.graph.input[0].name = "v"
    for node in model.graph.node:
        node.input[:] = ["v" if name == "u" else name for name in node.input]
    replace_graph(bundle, "prior.onnx", model.SerializeToString())
    with pytest.raises(InvalidBundle, match="the prior of small has 'v'"):
        load(bundle).sample(1)


def test_a_graph_that_onnx_runtime_refuses(bundle: Path) -> None:
    model = onnx.load(bundle / "prior.onnx")
    model.graph.node.add(op_type="Relu", input=["nowhere"], output=["lost"])
    replace_graph(bundle, "prior.onnx", model.SerializeToString())
    with pytest.raises(InvalidBundle, match=r"ONNX Runtime .* refuses prior\.onnx"):
        load(bundle).sample(1)


@pytest.fixture(scope="module")
def labelled(labelled_bundle: Callable[..., Path]) -> Model:
    return load(labelled_bundle())


class TestLabels:
    @pytest.mark.parametrize(("label", "number"), [(0, 0), ("zero", 0), ("one", 1), ("1", 1), ("2", 2), (2, 2)])
    def test_a_label_is_chosen_by_number_or_name(self, labelled: Model, label: int | str, number: int) -> None:
        images = labelled.sample(50, seed=1, label=label)
        assert (images[:, 0, 0, :3] == np.eye(3)[number]).all()
        assert np.allclose(images[:, 0, 0, 3:5], labelled.sample(50, seed=1)[:, 0, 0, 3:5])  # the style is the same

    @pytest.mark.parametrize("label", [3, -1, "three", "-1", ""])
    def test_labels_that_there_are_not(self, labelled: Model, label: int | str) -> None:
        with pytest.raises(InvalidInput, match=r"small has no label .*, expected one of zero, one, 2"):
            labelled.sample(1, label=label)

    def test_codes_classes_and_reconstructions(self, labelled: Model) -> None:
        images = labelled.sample(300, seed=2)
        codes = labelled.codes(images)
        assert {name: values.shape for name, values in codes.items()} == {"z": (300, 2), "y": (300, 3)}
        assert np.array_equal(labelled.decode(codes["z"], codes["y"]), images)
        assert np.array_equal(labelled.reconstruct(images), images)
        with pytest.raises(InvalidInput, match="the decoder of small takes z, y, given z"):
            labelled.decode(codes["z"])

    def test_classify_tells_the_most_probable_class(self, labelled: Model, small: Model) -> None:
        images = np.zeros((3, 1, 14, 14))
        images[:, 0, 0, :3] = [[0.1, 0.7, 0.2], [0.9, 0.0, 0.1], [0.5, 0.5, 0.0]]
        classes = labelled.classify(images)
        assert classes.names == ["one", "zero", "zero"]
        assert classes.numbers.tolist() == [1, 0, 0]
        assert classes.probabilities.tolist() == pytest.approx([0.7, 0.9, 0.5])
        assert classes.counts() == {"label": ["zero", "one"], "images": [2, 1]}
        with pytest.raises(InvalidInput, match="small does not classify: its encoder gives z, expected y too"):
            small.classify(images)

    @pytest.mark.parametrize("dtype", [np.int64, np.uint8])
    def test_class_numbers_are_decoded_as_one_hot_rows(self, labelled: Model, dtype: type) -> None:
        z, numbers = np.zeros((300, 2)), np.arange(300) % 3
        assert np.array_equal(labelled.decode(z, numbers.astype(dtype)), labelled.decode(z, np.eye(3)[numbers]))

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            ([0, 3], "y holds the classes 0 to 3, expected 0 to 2"),
            ([-1, 1], "y holds the classes -1 to 1, expected 0 to 2"),
            ([0.0, 1.0], r"y has shape \[2\] and dtype float64, expected \[n, 3\], or the numbers of classes"),
            (["zero", "one"], r"y has shape \[2\] and dtype <U4, expected .*, or the numbers of classes, as integers"),
            ([[0, 1], [1, 0]], r"y has shape \[2, 2\], expected \[n, 3\]"),
            ([0, 1, 2], "z has 2 rows and y has 3, expected the same number"),
        ],
    )
    def test_classes_that_are_refused(self, labelled: Model, y: object, message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            labelled.decode(np.zeros((2, 2)), y)


class TestLabelsOnTheCommandLine:
    @pytest.fixture
    def images(self, labelled: Model, tmp_path: Path) -> Path:
        """Three images, of the classes one, zero and zero."""
        images = np.zeros((3, 1, 14, 14))
        images[:, 0, 0, :3] = [[0.1, 0.7, 0.2], [0.9, 0.0, 0.1], [0.5, 0.25, 0.25]]
        np.save(tmp_path / "x.npy", images)
        return tmp_path / "x.npy"

    @pytest.fixture
    def folder(self, labelled_bundle: Callable[..., Path]) -> Path:
        return labelled_bundle()

    def test_encode_tells_the_classes_of_a_few_images(
        self, folder: Path, images: Path, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        output = tmp_path / "z.npz"
        header, *rows, where = aae_zoo("encode", folder, images, "-o", output).out.splitlines()
        assert [line.split() for line in (header, *rows)] == [
            ["image", "label", "probability"],
            ["0", "one", "0.7"],
            ["1", "zero", "0.9"],
            ["2", "zero", "0.5"],
        ]
        assert where == f"codes [3, 2] in {output}"
        document = json.loads(aae_zoo("encode", folder, images, "-o", output, "--force", "--json").out)
        assert document["codes"] == str(output)
        assert document["images"][0] == {"image": "0", "label": "one", "probability": 0.7}

    def test_of_many_images_it_counts_them(self, folder: Path, images: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        np.save(tmp_path / "many.npy", np.tile(np.load(images), (100, 1, 1, 1)))
        lines = aae_zoo("encode", folder, tmp_path / "many.npy", "-o", tmp_path / "z.npy").out.splitlines()
        assert [line.split() for line in lines[:-1]] == [["label", "images"], ["zero", "200"], ["one", "100"]]

    def test_codes_on_stdout_are_alone_there(
        self, folder: Path, images: Path, aae_zoo: AaeZoo, refused: Callable[..., str]
    ) -> None:
        assert "label" not in aae_zoo("encode", folder, images, "-o", "-").out
        assert "both --json and -o - write to stdout" in refused("encode", folder, images, "-o", "-", "--json")

    def test_decode_takes_what_encode_wrote_and_class_numbers(
        self, folder: Path, images: Path, labelled: Model, aae_zoo: AaeZoo, tmp_path: Path
    ) -> None:
        aae_zoo("encode", folder, images, "-o", tmp_path / "z.npz")
        np.savez(tmp_path / "numbers.npz", z=np.zeros((3, 2)), y=[2, 0, 1])
        for name, y in (("z.npz", np.load(images)[:, 0, 0, :3]), ("numbers.npz", np.eye(3)[[2, 0, 1]])):
            assert aae_zoo("decode", folder, tmp_path / name, "-o", tmp_path / "again.npy", "--force").status == 0
            assert np.allclose(np.load(tmp_path / "again.npy")[:, 0, 0, :3], y, atol=1e-6)

    def test_decode_without_classes(self, folder: Path, refused: Callable[..., str], tmp_path: Path) -> None:
        np.save(tmp_path / "z.npy", np.zeros((3, 2)))
        message = refused("decode", folder, tmp_path / "z.npy", "-o", tmp_path / "x.png")
        assert "the decoder of small takes z, y, given z" in message

    def test_classes_that_the_decoder_has_no_use_for(self, small_bundle: Path, aae_zoo: AaeZoo, tmp_path: Path) -> None:
        """An encoder may tell classes that its decoder does not take: what it wrote is decoded all the same."""
        np.savez(tmp_path / "z.npz", z=np.zeros((3, 2)), y=np.zeros((3, 3)))
        assert aae_zoo("decode", small_bundle, tmp_path / "z.npz", "-o", tmp_path / "x.npy").status == 0


def test_a_precision_that_is_not_there(small_bundle: Path) -> None:
    with pytest.raises(InvalidBundle, match="small has no int8 graphs; its precisions are fp32"):
        load(small_bundle, precision="int8")


def test_unknown_models_and_the_nearest_name(refused: Callable[..., str], no_leftovers: Path) -> None:
    output = no_leftovers / "x.png"
    assert "there is no model 'mnist-gaus'; did you mean mnist-gauss?" in refused("sample", "mnist-gaus", "-o", output)
    assert "there is no model 'zzz'; there are: avatars-gauss, avatars-style, avatars-vae, " in refused("info", "zzz")
    assert "there is no folder ./nowhere" in refused("info", "./nowhere")
    assert "org/nowhere is not in the cache" in refused("info", "org/nowhere")
    assert "org/nowhere@v1 is not in the cache" in refused("info", "org/nowhere@v1")


def test_a_folder_that_is_no_bundle(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "is not a bundle: it has no manifest.json" in refused("info", tmp_path)


def test_a_shipped_manifest_must_be_the_catalogues(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from aae_zoo.runtime.store import catalogue

    copy = Path(shutil.copytree(catalogue.SHIPPED, tmp_path / "models"))
    monkeypatch.setattr(catalogue, "SHIPPED", copy)
    assert load("mnist-plane").manifest.name == "mnist-plane"
    rewrite(copy / "mnist-plane", lambda d: d.update(title="another"))
    with pytest.raises(InvalidBundle, match=r"has SHA-256 .*, expected .*; pip install --force-reinstall aae-zoo"):
        load("mnist-plane")
    in_cache = shutil.copytree(
        SHIPPED / "mnist-plane", model_folder(open_bundle(SHIPPED / "mnist-plane").manifest_sha256)
    )
    shutil.rmtree(copy / "mnist-plane")
    assert load("mnist-plane").manifest.name == "mnist-plane"
    shutil.rmtree(in_cache)
    with pytest.raises(ModelNotFound, match="mnist-plane is not shipped with this package, not in the cache .* ORG"):
        load("mnist-plane")
    (copy / "catalogue.json").write_text("{")
    with pytest.raises(InvalidBundle, match="the catalogue .* is missing or damaged"):
        list_models()


def test_without_onnx_runtime_one_error_names_both_commands(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingBackend, match=r"pip install 'aae-zoo\[cpu\]', or .* pip install 'aae-zoo\[gpu\]'"):
        load(small_bundle).sample(1)


def test_where_windows_cannot_load_onnx_runtime_the_error_says_what_is_missing(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = "DLL load failed while importing onnxruntime_pybind11_state: The specified module could not be found."
    (tmp_path / "onnxruntime.py").write_text(f"raise ImportError({said!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime")
    with pytest.raises(MissingBackend, match=r"could not be found\.\); it needs .*: winget install [\w.+]+$"):
        load(small_bundle).sample(1)


@pytest.mark.parametrize("signalled", ["KeyboardInterrupt()", "SystemExit(143)"])
def test_a_signal_as_onnx_runtime_is_loaded_is_no_missing_backend(
    signalled: str, small_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its library, which is made with pybind11, turns what a handler raises into an ImportError."""
    (tmp_path / "onnxruntime.py").write_text(f"raise ImportError('initialization failed') from {signalled}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime")
    with pytest.raises((KeyboardInterrupt, SystemExit)) as raised:
        load(small_bundle).sample(1)
    assert repr(raised.value) == signalled


def test_nothing_that_is_loaded_imports_torch_onnx_or_the_hub(small_bundle: Path) -> None:
    program = f"""
import sys
from aae_zoo.runtime import load
load({str(small_bundle)!r}).sample(2)
print(sorted({{"torch", "onnx", "huggingface_hub", "pydantic", "aae_zoo.zoo", "aae_zoo.export"}} & set(sys.modules)))
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    assert output.strip() == "[]"


def test_open_bundle_reads_only_what_the_manifest_names(small_bundle: Path) -> None:
    with pytest.raises(InvalidBundle, match="has no file 'manifest.json' in its manifest"):
        open_bundle(small_bundle).read("manifest.json")
