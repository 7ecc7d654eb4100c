"""The page of what a detector thinks: which of its pictures it shows, and what it says of them."""

import shlex
from collections.abc import Sequence
from typing import Final

import numpy as np

from aae_zoo.export.detecting.findings import Detector, Figures, Scored
from aae_zoo.export.detecting.given import PAGE
from aae_zoo.export.detecting.pictures import Pictures
from aae_zoo.export.detecting.promise import CONFIDENCE, percent
from aae_zoo.export.pages.report import Card, Report, Section, write_report
from aae_zoo.zoo.training.trainer import duration

_SHOWN: Final = 12


def write_page(made: Detector, normal: Pictures, odd: Pictures | None, scored: Scored, *, replace: bool) -> None:
    """Write the page's folder.

    Raises:
        OutputError: it exists and `replace` is false, or is not as aae-zoo wrote it, or cannot be written.
    """
    report = Report(
        title=made.manifest.title,
        lead=made.manifest.description,
        facts=_facts(made),
        warnings=made.warnings,
        scores={"normal, not learned from": _unseen(scored), **({} if scored.odd is None else {"odd": scored.odd})},
        threshold=made.threshold,
        sections=_sections(normal, odd, scored),
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
    # A plain name could be that of a model of the catalogue.
    bundle = str(made.bundle) if len(made.bundle.parts) > 1 else f"./{made.bundle}"
    return ["aae-zoo", "score", bundle, "new/", "--resize"]


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
        ("left out", f"{counts['copies']:,} copies, {counts['unreadable']:,} that cannot be read"),
        ("images", f"{manifest.image}, code of {manifest.latent} numbers"),
        ("training", f"{duration(made.seconds)}, seed {manifest.provenance['seed']}"),
    ]


def _unseen(scored: Scored) -> Figures:
    return np.concatenate([scored.validation, scored.held_out])


def _sections(normal: Pictures, odd: Pictures | None, scored: Scored) -> list[Section]:
    """Pictures of the folder at both ends, and of the odd ones those that are hardest to find."""
    known = len(scored.learned)
    unseen = _cards(normal, _unseen(scored), scored.threshold, start=known)
    learned = _cards(normal, scored.learned, scored.threshold)
    sections = [
        Section("The least usual", "Normal pictures that it did not learn from.", unseen[::-1][:_SHOWN]),
        Section("The most usual", "Of the same pictures.", unseen[:_SHOWN]),
        Section(
            "The least usual of those it learned from",
            "Are they normal? What is odd here is learned as normal: move it away and make the detector again.",
            learned[::-1][:_SHOWN],
        ),
    ]
    if odd is not None and scored.odd is not None:
        cards = _cards(odd, scored.odd, scored.threshold)
        sections += [
            Section("Odd pictures that are hardest to find", "Those with the lowest scores.", cards[:_SHOWN]),
            Section("Odd pictures that are easiest to find", "", cards[::-1][:_SHOWN]),
        ]
    return sections


def _cards(pictures: Pictures, scores: Figures, threshold: float, start: int = 0) -> Sequence[Card]:
    """The pictures from `start` on as cards, the lowest score first."""
    order = np.argsort(scores, kind="stable")
    return [
        Card(pictures.files[start + row], pictures.name(start + row), float(scores[row]), bool(scores[row] > threshold))
        for row in order.tolist()
    ]
