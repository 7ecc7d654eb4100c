"""The page of what a detector thinks: which of its pictures it shows, and what it says of them."""

import shlex
from typing import Final

import numpy as np

from aae_zoo.export.detecting.findings import Detector, Figures, Scored
from aae_zoo.export.detecting.pictures import Pictures
from aae_zoo.export.detecting.promise import CONFIDENCE, percent
from aae_zoo.export.pages.report import Card, Report, Section, thumbnail, write_report
from aae_zoo.runtime.drawing.maps import Maps
from aae_zoo.runtime.model import Model
from aae_zoo.runtime.ownership import PAGE
from aae_zoo.runtime.store.catalogue import as_name
from aae_zoo.runtime.words import counted
from aae_zoo.zoo.training.trainer import duration

_SHOWN: Final = 12


def write_page(
    made: Detector, model: Model, normal: Pictures, odd: Pictures | None, scored: Scored, *, replace: bool
) -> None:
    """Write the page's folder.

    Raises:
        InvalidInput: a picture has changed since it was read.
        OutputError: it exists and `replace` is false, or is not as aae-zoo wrote it, or cannot be written.
    """
    report = Report(
        title=made.manifest.title,
        lead=made.manifest.description,
        facts=_facts(made),
        warnings=made.warnings,
        scores={"normal, not learned from": _unseen(scored), **({} if scored.odd is None else {"odd": scored.odd})},
        threshold=made.threshold,
        sections=_sections(model, normal, odd, scored),
        command=next_command(made),
    )
    write_report(report, made.page, PAGE, replace=replace)


def lines(made: Detector) -> list[str]:
    """What to say at the end: what there is, what to expect of it, and how to use it."""
    return [
        f"{made.manifest.name}: a detector, {made.manifest.size / 1e6:.1f} MB, in {made.bundle}",
        f"false alarms: {false_alarms_text(made)}",
        *([f"odd pictures: {found_text(made)}"] if made.found else []),
        f"page: {made.page / 'index.html'}",
        f"next: {shlex.join(next_command(made))}",
    ]


def next_command(made: Detector) -> list[str]:
    """The words of the command that uses a detector."""
    return ["aae-zoo", "score", as_name(made.bundle), "new/", "--resize"]


def false_alarms_text(made: Detector) -> str:
    """What the held-out pictures say of false alarms."""
    alarms = made.false_alarms
    return (
        f"{alarms.found:,} of {alarms.of:,} held-out pictures ({percent(alarms.share)}), set for "
        f"{percent(made.promised)}; with {percent(CONFIDENCE)} confidence, of new ones between {percent(alarms.low)} "
        f"and {percent(alarms.high)}"
    )


def found_text(made: Detector) -> str:
    """What the odd pictures say; nothing without them."""
    if made.found is None:
        return ""
    return f"{made.found.found:,} of {made.found.of:,} are found ({percent(made.found.share)}), AUROC {made.auroc:.3f}"


def _facts(made: Detector) -> list[tuple[str, str]]:
    counts, manifest = made.pictures, made.manifest
    return [
        ("false alarms", false_alarms_text(made)),
        *([("odd pictures", found_text(made))] if made.found else []),
        ("limit", f"{made.threshold:.4g}: above it a picture is odd"),
        (
            "pictures",
            f"{counts['learned']:,} learned from, {counts['validation']:,} that set the limit, {counts['held_out']:,} "
            "held out",
        ),
        ("left out", f"copies: {counts['copies']:,}, unreadable: {counts['unreadable']:,}"),
        ("images", f"{manifest.image}, code of {counted(manifest.latent, 'number')}"),
        ("training", f"{duration(made.seconds)}, seed {manifest.provenance['seed']}"),
    ]


def _unseen(scored: Scored) -> Figures:
    return np.concatenate([scored.validation, scored.held_out])


def _sections(model: Model, normal: Pictures, odd: Pictures | None, scored: Scored) -> list[Section]:
    """Pictures of the folder at both ends, and of the odd ones."""
    unseen = _Ranked(model, normal, _unseen(scored), scored.threshold, start=len(scored.learned))
    learned = _Ranked(model, normal, scored.learned, scored.threshold)
    sections = [
        Section("The least usual", "Normal pictures that it did not learn from.", unseen.highest()),
        Section("The most usual", "Of the same pictures.", unseen.lowest()),
        Section(
            "The least usual of those it learned from",
            "Are they normal? What is odd here is learned as normal: move it away and make the detector again.",
            learned.highest(),
        ),
    ]
    if odd is not None and scored.odd is not None:
        ranked = _Ranked(model, odd, scored.odd, scored.threshold)
        sections += [
            Section("Odd pictures that are hardest to find", "Those with the lowest scores.", ranked.lowest()),
            Section("Odd pictures that are easiest to find", "Those with the highest scores.", ranked.highest()),
        ]
    return sections


class _Ranked:
    """Pictures by their scores: those of `pictures` from `start` on."""

    def __init__(self, model: Model, pictures: Pictures, scores: Figures, threshold: float, start: int = 0) -> None:
        self._model, self._pictures, self._scores, self._threshold = model, pictures, scores, threshold
        self._start = start
        self._rows: list[int] = np.argsort(scores, kind="stable").tolist()

    def lowest(self) -> list[Card]:
        return self._cards(self._rows[:_SHOWN])

    def highest(self) -> list[Card]:
        return self._cards(self._rows[::-1][:_SHOWN])

    def _cards(self, rows: list[int]) -> list[Card]:
        """The pictures of some rows, each with the places where it is odd."""
        numbers = [self._start + row for row in rows]
        prepared = self._model.manifest.preparation
        shown = [thumbnail(self._pictures.files[number], prepared) for number in numbers]
        # Their range is seen to by now.
        maps = self._model.score(shown, maps=True, resize=True, invert="no", range=(0, 255)).maps
        assert isinstance(maps, Maps)  # noqa: S101 - as was asked for
        return [
            Card(picture, self._pictures.name(number), score, score > self._threshold, maps.overlay(place))
            for place, (picture, number, score) in enumerate(
                zip(shown, numbers, self._scores[rows].tolist(), strict=True)
            )
        ]
