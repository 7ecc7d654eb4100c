"""Texts that others wrote, in names, answers and files, do nothing where they are shown but say what they say."""

import html
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import AaeZoo, Change, replace_graph, rewrite
from google.protobuf import text_format
from hub import Hub
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image
from tritonclient.grpc import model_config_pb2

from aae_zoo.export.card.card import model_card
from aae_zoo.runtime import InvalidBundle, InvalidInput, load
from aae_zoo.runtime.bundles.manifest import parse_manifest
from aae_zoo.runtime.escapes import (
    html_text,
    is_line,
    line,
    markdown,
    markdown_block,
    markdown_code,
    protobuf_text,
    shell_word,
    words_of,
)
from aae_zoo.runtime.store.catalogue import SHIPPED

# It clears the screen, sets the window's title, goes back over the line, reverses text, and writes lines of its own.
ATTACK = "\x1b[2J\x1b]0;owned\x07\r\u202edlrow\u2028\nok: all checks passed\n\x9b31m"


def harmless(output: str) -> bool:
    """Whether a terminal shows all of it as text, and no line begins with what the attack would say."""
    return all(map(is_line, output.split("\n"))) and "\nok: " not in output


@pytest.mark.parametrize("key", ["title", "description", "licence", "dataset", "data_licence"])
@pytest.mark.parametrize("character", ["\n", "\t", "\r", "\x1b", "\x85", "\u2028", "\u202e", "\u200f"])
def test_a_line_of_the_manifest_is_one_line(digits_bundle: Path, key: str, character: str) -> None:
    rewrite(digits_bundle, lambda d: d.update({key: f"a{character}b"}))
    with pytest.raises(InvalidBundle, match=f"{key} is .*, expected a line of text without control characters"):
        load(digits_bundle)


def test_names_of_classes_are_lines(digits_bundle: Path) -> None:
    rewrite(digits_bundle, lambda d: d.update(labels=["a\nb"]))
    with pytest.raises(InvalidBundle, match="labels is .*, expected a list of texts without control characters"):
        load(digits_bundle)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["metrics"].update({ATTACK: 1.0}),
        lambda d: d["metrics"].update(classifier=ATTACK),
        lambda d: d["provenance"].update(command=ATTACK, commit=ATTACK),
    ],
    ids=["a metric's name", "a metric", "where it came from"],
)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_info_shows_texts_as_texts(digits_bundle: Path, change: Change, options: list[str], aae_zoo: AaeZoo) -> None:
    rewrite(digits_bundle, change)
    result = aae_zoo("info", digits_bundle, *options)
    assert result.status == 0
    assert "owned" in result.out
    assert harmless(result.out)


@pytest.mark.parametrize("change", [lambda d: d.update(title=ATTACK), lambda d: d.update({"name": ATTACK})])
def test_refusals_show_what_they_found_as_text(
    digits_bundle: Path, change: Change, refused: Callable[..., str]
) -> None:
    rewrite(digits_bundle, change)
    assert harmless(refused("info", digits_bundle))


def test_names_of_folders_are_shown_as_text(refused: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / ATTACK.replace("/", "")
    folder.mkdir()
    sentence = refused("info", f"{folder}/")
    assert "owned" in sentence
    assert harmless(sentence)


def test_names_that_are_no_unicode_are_shown_as_text(refused: Callable[..., str], tmp_path: Path) -> None:
    sentence = refused("info", f"{tmp_path}/" + os.fsdecode(b"\xff\xfe") + "/")
    assert r"\udcff\udcfe" in sentence


def test_names_of_pictures_are_shown_as_text(aae_zoo: AaeZoo, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "pictures" / f"{ATTACK}.png")
    result = aae_zoo("score", "digits-gauss", tmp_path / "pictures")
    assert result.status == 0, result.err
    assert "owned" in result.out
    assert harmless(result.out)


@pytest.mark.parametrize("what", ["trained on", "exported"])
def test_what_is_said_on_the_way_is_shown_as_text(what: str, aae_zoo: AaeZoo, tmp_path: Path) -> None:
    """Before both end with an error: there is one picture, and the code gives no networks."""
    if what == "trained on":
        folder = tmp_path / ATTACK.replace("/", "")
        folder.mkdir()
        (folder / "notes.txt").write_text("of the camera")
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "one.png")
        result = aae_zoo("train", "folder-small", "--data", folder, "--out", tmp_path / "run")
    else:
        code = tmp_path / f"{ATTACK}.py"
        code.write_text("def make(): return None")
        result = aae_zoo("export", f"{code}:make", "-o", tmp_path / "out")
    *said, error = result.err.splitlines()
    assert "owned" in said[0]
    assert error.startswith("error: ")
    assert harmless(result.err)


def test_warnings_are_shown_as_text() -> None:
    program = f"""
import sys, warnings
from aae_zoo.cli import hub, main
hub.cached_models = lambda: [warnings.warn({ATTACK!r})] and []
sys.argv = ["aae-zoo", "cache"]
main.main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)
    assert result.returncode == 0
    assert "warning: " in result.stderr
    assert "owned" in result.stderr
    assert harmless(result.stderr)


@pytest.mark.parametrize("name", ["z\x1b[2J", 'z"\n}', "z z", "z\u202e", "<b>", "`z`", "z" * 501])
def test_names_in_graphs_are_plain(digits_bundle: Path, name: str) -> None:
    model = onnx.load(digits_bundle / "prior.onnx")
    model.graph.node.add(op_type="Relu", input=["u"], output=[name])
    replace_graph(digits_bundle, "prior.onnx", model.SerializeToString())
    with pytest.raises(InvalidBundle, match=r"has the name .*, expected letters, digits and"):
        load(digits_bundle).sample(1)


@pytest.mark.parametrize("field", ["input", "initializer", "node", "attribute", "dimension"])
def test_every_kind_of_name_in_a_graph_is_plain(digits_bundle: Path, field: str) -> None:
    model = onnx.load(digits_bundle / "prior.onnx")
    graph = model.graph
    if field == "dimension":
        graph.input[0].type.tensor_type.shape.dim[0].dim_param = ATTACK
    elif field == "attribute":
        graph.node[0].attribute.add(name=ATTACK, i=1)
    else:
        getattr(graph, field)[0].name = ATTACK
    replace_graph(digits_bundle, "prior.onnx", model.SerializeToString())
    with pytest.raises(InvalidBundle, match="has the name") as caught:
        load(digits_bundle).sample(1)
    assert is_line(str(caught.value))


def test_errors_are_one_line_in_python_too() -> None:
    assert str(InvalidInput(f"found {ATTACK}")) == f"found {line(ATTACK)}"
    assert is_line(str(InvalidInput(ATTACK)))


def test_what_the_hub_answers_is_shown_as_text(hub: Hub, refused: Callable[..., str]) -> None:
    hub.order("/api/models/org/name", status=403, body=json.dumps({"error": ATTACK}).encode())
    sentence = refused("pull", "org/name")
    assert "owned" in sentence
    assert harmless(sentence)


def test_a_card_of_hostile_texts_has_no_markup_of_theirs() -> None:
    folder = SHIPPED / "digits-gauss"
    markup = "<img src=x onerror=alert(1)> [link](javascript:x) `code` | **bold**"
    document = json.loads((folder / "manifest.json").read_text())
    document |= {"title": markup, "description": markup, "licence": markup, "label_coordinate": 0}
    document["labels"] = ["'; rm -rf ~; '"]
    document["provenance"] |= {"command": "```\n\n# free\n", "recipe": "````\n<script>\n", "machine": markup}
    manifest = parse_manifest(json.dumps(document).encode(), "manifest.json")
    card = model_card(manifest, json.loads((folder / "parity.json").read_text()))
    body = card.partition("\n---\n")[2]
    assert f"# {markdown(markup)}" in body
    assert "\n````\n```\n\n# free\n````\n" in body
    assert "\n`````toml\n````\n<script>\n`````" in body
    command = next(text for text in body.splitlines() if "--label" in text)
    assert shlex.split(command)[-1] == "'; rm -rf ~; '"
    assert f"({markdown(markup)})" in body


@given(st.text())
def test_a_line_is_one_line_and_says_the_rest(text: str) -> None:
    assert is_line(line(text))
    if is_line(text):
        assert line(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_protobuf_text_is_one_string(text: str) -> None:
    config = text_format.Parse(f"name: {protobuf_text(text)}", model_config_pb2.ModelConfig())
    assert config.name == text


@given(st.text())
def test_html_is_text(text: str) -> None:
    assert not {"<", ">", '"', "'"} & set(html_text(text))
    assert html.unescape(html_text(text)) == line(text)


@given(st.text())
def test_a_shells_word_is_one_word(text: str) -> None:
    assert shlex.split(shell_word(text)) == [line(text)]


@given(st.text())
def test_markdown_is_text(text: str) -> None:
    rendered = MarkdownIt("commonmark").enable("table").render(markdown(f"a{text}"))
    assert rendered == f"<p>{html.escape(line(f'a{text}').rstrip(), quote=False).replace(chr(34), '&quot;')}</p>\n"


@given(st.text(), st.text())
def test_code_in_markdown_ends_where_it_is_ended(text: str, other: str) -> None:
    reader = MarkdownIt("commonmark")
    inline = reader.parse(f"{markdown_code(text)} end")[1].children or []
    assert [token.type for token in inline] == ["code_inline", "text"]
    block = [token for token in reader.parse(markdown_block(f"{text}\n{other}", "x")) if token.level == 0]
    assert [token.type for token in block] == ["fence"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (ValueError("two\n  lines\n"), "two lines"),
        (MemoryError(), "MemoryError"),
        ("", "it says nothing"),
        (RuntimeError("x" * 10_000), "x" * 200 + "..."),
    ],
)
def test_whatever_an_error_says_fits_into_a_sentence(said: Exception | str, words: str) -> None:
    assert words_of(said) == words
