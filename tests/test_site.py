"""The documentation site: it builds without a warning, its links lead somewhere, and it works from disk, offline."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import ROOT
from programs import node

from aae_zoo import export, runtime, zoo

# What a browser fetches by itself when it shows an element that has this.
FETCHED = {("img", "src"), ("script", "src"), ("iframe", "src"), ("link", "href"), ("source", "src"), ("video", "src")}


class Links(HTMLParser):
    """The anchors of a page, what it links to, and what it fetches."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                (self.fetched if (tag, name) in FETCHED else self.links).add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does; --strict makes every warning an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {page: Links(page) for page in site.rglob("*.html") if page.name != "404.html"}


def test_every_link_leads_somewhere(pages: dict[Path, Links]) -> None:
    assert len(pages) > 40  # the documents, and a card of each model
    astray = []
    for page, found in pages.items():
        for link in found.links | found.fetched:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchors = pages[target].anchors if target in pages else {unquote(parts.fragment)}
            if not target.is_file() or unquote(parts.fragment) not in anchors:
                astray.append(f"{page.name}: {link}")
    assert astray == []


def test_no_page_asks_another_host(site: Path, pages: dict[Path, Links]) -> None:
    fetched = {link for found in pages.values() for link in found.fetched if not link.startswith("data:")}
    assert {link for link in fetched if urlsplit(link).netloc} == set()
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import\s)[\"']?(?:https?:)?//[^)\"']+", styles) == []


def test_the_command_line_and_the_api_are_generated(site: Path) -> None:
    commands = (site / "command-line.html").read_text("utf-8")
    assert "Draw new images from a model." in commands
    assert "--temperature" in commands
    api = (site / "api.html").read_text("utf-8")
    for package in (runtime, export, zoo):
        for name in package.__all__:
            assert f'id="{package.__name__}.{name}"' in api
    assert 'id="aae_zoo.runtime.Model.sample"' in api


def test_it_is_read_and_searched_from_disk(site: Path) -> None:
    seen = node("site.mjs", (site / "index.html").as_uri())
    assert seen["faults"] == []
    assert "Swiss" in seen["found"] or "swiss" in seen["found"]
    assert seen["unseen"] == []


def test_the_readme_is_short() -> None:
    words = [word for word in (ROOT / "README.md").read_text("utf-8").split() if re.search(r"\w", word)]
    assert len(words) < 1500  # the bars of tables are no words
