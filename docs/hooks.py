"""What the site shows beside docs/: the README as its first page, models' cards, notebooks and the commands' help.

Documents link to files of the repository as they lie there; here each link becomes one to where the site has the file.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click
from typer.main import get_command

from aae_zoo.cli.main import command_line

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside docs/."""
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=as_markdown(path)))
    for path in sorted((ROOT / "runtime" / "models").glob("*/*")):
        if path.name == "README.md" or path.suffix == ".png":
            files.append(File.generated(config, f"models/{path.parent.name}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to where the site has them, and put in the commands' help."""
    uri = page.file.src_uri
    folder = posixpath.dirname(origin(uri))

    def moved(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if not (ROOT / path).is_file():
            return match[1]  # mkdocs says that it is not there
        target = place(path)
        if files.get_file_from_path(target) is None:
            file = File.generated(config, target, abs_src_path=str(ROOT / path))
            files.append(file)
            file.copy_file()
        return posixpath.relpath(target, posixpath.dirname(uri) or ".")

    markdown = LINK.sub(moved, markdown)
    return markdown.replace("<!-- commands -->", commands()) if uri == "command-line.md" else markdown


def place(path: str) -> str:
    """Where the site has a file of the repository: documents and models where mkdocs expects them, sources as text."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith(("docs/", "runtime/models/")):
        return path.removeprefix("docs/").removeprefix("runtime/")
    return f"{path.removesuffix('.ipynb')}.md" if path.endswith(".ipynb") else f"source/{path}.txt"


def origin(uri: str) -> str:
    """The file of the repository that a page of the site is made of."""
    for name, page in PAGES.items():
        if page == uri:
            return name
    if uri.startswith("notebooks/"):
        return uri
    return f"runtime/{uri}" if uri.startswith("models/") else f"docs/{uri}"


def commands() -> str:
    """Every command's help, as typer writes it in Markdown."""
    root = get_command(command_line(""))
    context = typer.Context(root)
    every = [root.get_command(context, name) for name in root.list_commands(context)]
    return "\n".join(get_docs_for_click(obj=c, ctx=typer.Context(c), indent=1, call_prefix="aae-zoo") for c in every)


def as_markdown(notebook: Path) -> str:
    """A notebook as a page: its texts, its code, and what the code printed and drew."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell))


def _parts(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [f"```python\n{source}\n```", *map(_output, cell["outputs"])]


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="output" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        return "".join(data["text/html"])
    text = "".join(output.get("text") or data["text/plain"]).rstrip()
    return f"```text\n{text}\n```"
