"""What results show of themselves in a notebook: tables in HTML, every text in them escaped."""

from collections.abc import Mapping, Sequence

from aae_zoo.runtime.escapes import html_text


def facts(rows: Mapping[str, str]) -> str:
    """A table with a row for each fact: what it is, and the fact."""
    lines = (
        f'<tr><th style="text-align: left">{html_text(what)}</th>{_cell(fact)}</tr>' for what, fact in rows.items()
    )
    return f"<table>{''.join(lines)}</table>"


def table(caption: str, columns: Mapping[str, Sequence[str]]) -> str:
    """A table of columns by their names, all as long."""
    head = "".join(f"<th>{html_text(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in zip(*columns.values(), strict=True))
    return f"<table><caption>{html_text(caption)}</caption><tr>{head}</tr>{body}</table>"


def _cell(text: str) -> str:
    return f'<td style="text-align: left">{html_text(text)}</td>'
