"""A page of one file that shows what a detector thinks of pictures: the pictures themselves, and how scores spread.

Every text in it may come from files that others named: all of it is escaped.
"""

import base64
import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aae_zoo.runtime.bundles.manifest import USUAL_PREPARATION, ImageShape, Preparation
from aae_zoo.runtime.escapes import html_text
from aae_zoo.runtime.files import atomic_folder
from aae_zoo.runtime.formats.pictures import read_picture
from aae_zoo.runtime.formats.plan import Notices, Plan

# How large a picture is shown, and the chart, in pixels; what is over this many limits is at its right end.
_SIDE: Final = 144
_WIDTH, _HEIGHT = 640, 200
_BINS: Final = 48
_FARTHEST: Final = 3.0
_WHOLE: Final = Plan(
    ImageShape(3, _SIDE, _SIDE),
    Preparation("pad", "white", USUAL_PREPARATION.polarity, USUAL_PREPARATION.range),
    resize=True,
    invert="no",
)

Figures = NDArray[np.float32]


@dataclass(frozen=True)
class Card:
    """A picture with its score: itself, what it is called, whether it is odd, and maybe the picture of where it is."""

    picture: Image.Image
    name: str
    score: float
    is_odd: bool
    where: Image.Image | None = None


@dataclass(frozen=True)
class Section:
    """Some pictures under a heading."""

    heading: str
    text: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class Report:
    """What the page says: `facts` as (name, value), the `scores` of sets of pictures, and the words of a `command`."""

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    scores: Mapping[str, Figures]
    threshold: float
    sections: Sequence[Section]
    command: Sequence[str]


def write_report(report: Report, out: Path, kind: str, *, replace: bool) -> None:
    """Write the page as index.html of the folder `out`, which is marked as a `kind`.

    Raises:
        OutputError: the folder exists and `replace` is false, or is not as aae-zoo wrote it, or cannot be written.
    """
    template = Template(files("aae_zoo.export.pages").joinpath("site", "report.html").read_text("utf-8"))
    page = template.substitute(
        title=html_text(report.title),
        lead=html_text(report.lead),
        facts="".join(
            f"<div><dt>{html_text(name)}</dt><dd>{html_text(text)}</dd></div>" for name, text in report.facts
        ),
        warnings=_warnings(report.warnings),
        chart=_chart(report.scores, report.threshold),
        sections="\n".join(_section(number, each) for number, each in enumerate(report.sections)),
        command=html_text(shlex.join(report.command)),
    )
    with atomic_folder(out, kind, replace=replace) as folder:
        (folder / "index.html").write_text(page, "utf-8")


def _warnings(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{html_text(sentence)}</li>" for sentence in sentences)
    heading = '<h2 id="warnings">Please note</h2>'
    return f'<section class="card warnings" aria-labelledby="warnings">{heading}<ul>{items}</ul></section>'


def _section(number: int, section: Section) -> str:
    cards = "".join(map(_card, section.cards))
    return (
        f'<section class="card" aria-labelledby="section-{number}"><h2 id="section-{number}">'
        f'{html_text(section.heading)}</h2><p class="quiet">{html_text(section.text)}</p><ul class="cards">{cards}</ul>'
        "</section>"
    )


def _card(card: Card) -> str:
    name, verdict = html_text(card.name), "odd" if card.is_odd else "normal"
    pictures = _picture(card.picture, f"{name}, {verdict}")
    if card.where:
        pictures += _picture(card.where, f"Where {name} is odd")
    return f'<li class="{verdict}">{pictures}<b>{card.score:.3g} {verdict}</b><span>{name}</span></li>'


def thumbnail(path: Path, prepared: Preparation = USUAL_PREPARATION) -> Image.Image:
    """The whole of a picture's file on a white square, as the page shows it, its range as it is `prepared` elsewhere.

    Raises:
        InvalidInput: the file is gone, or not a picture any more.
    """
    plan = replace(_WHOLE, preparation=_WHOLE.preparation._replace(range=prepared.range))
    return Image.fromarray(read_picture(path, plan, Notices(quiet=True)).transpose(1, 2, 0))


def _picture(picture: Image.Image, says: str) -> str:
    """A picture in the page itself; `says` is escaped already."""
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=85)
    content = base64.b64encode(stream.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{content}" width="{_SIDE}" height="{_SIDE}" alt="{says}">'


def _chart(scores: Mapping[str, Figures], threshold: float) -> str:
    """How the scores of each set spread, as shares, one over the other, and the threshold."""
    every = np.concatenate(list(scores.values()))
    low = min(0.0, float(every.min()))
    high = max(float(min(every.max(), _FARTHEST * threshold)), threshold * 1.05, low + 1e-6)
    counts = {name: np.histogram(np.clip(values, low, high), _BINS, (low, high))[0] for name, values in scores.items()}
    shares = {name: count / max(1, count.sum()) for name, count in counts.items()}
    tallest = max(float(share.max()) for share in shares.values())
    bars = "".join(
        f'<g class="set-{number}">{"".join(_bars(share / tallest))}</g>' for number, share in enumerate(shares.values())
    )
    place = _WIDTH * (threshold - low) / (high - low)
    anchor, beside = ("start", place + 6) if place < _WIDTH / 2 else ("end", place - 6)
    said = "; ".join(
        f"{name}: {len(values):,}, {int((values > threshold).sum()):,} above the limit"
        for name, values in scores.items()
    )
    keys = "".join(f'<li><i class="set-{n}"></i>{html_text(name)}</li>' for n, name in enumerate(scores))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 24}" role="img" aria-label="How scores spread. {html_text(said)}">'
        f"{bars}"
        f'<line x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="{_HEIGHT}" class="limit"/>'
        f'<text x="{beside:.1f}" y="14" text-anchor="{anchor}">limit {threshold:.3g}</text>'
        f'<text x="0" y="{_HEIGHT + 18}">{low:.3g}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 18}" text-anchor="end">{high:.3g}{" and more" * bool(every.max() > high)}'
        f'</text></svg><ul class="keys">{keys}</ul><p class="quiet">{html_text(said)}.</p>'
    )


def _bars(heights: NDArray[np.float64]) -> Iterator[str]:
    """The bars of a histogram, whose heights are at most 1."""
    width = _WIDTH / len(heights)
    for number, height in enumerate(heights.tolist()):
        if height:
            tall = max(1.0, height * (_HEIGHT - 20))
            yield (
                f'<rect x="{number * width:.1f}" y="{_HEIGHT - tall:.1f}" width="{width - 1:.1f}" height="{tall:.1f}"/>'
            )
