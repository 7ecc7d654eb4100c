"""Whether a bundle is what docs/bundle.md says, clause by clause."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aae_zoo.runtime.checks.clauses import CLAUSES, Clause
from aae_zoo.runtime.checks.subject import Subject
from aae_zoo.runtime.errors import InvalidBundle, ParityError, path_text
from aae_zoo.runtime.store.catalogue import list_models


@dataclass(frozen=True)
class Verdict:
    """Whether a clause holds for a bundle: `found` are the faults, or the clauses that must hold first."""

    id: str
    text: str
    state: Literal["holds", "fails", "not checked"]
    found: tuple[str, ...]


def check(name: str | os.PathLike[str]) -> list[Verdict]:
    """Whether each clause holds for a bundle: a folder, or a name of the catalogue or the Hub, which is pulled.

    Raises:
        InvalidInput, ModelNotFound, HubError, OutputError, InvalidBundle: as for `pull`, where it is not a folder.
        MissingBackend: ONNX Runtime is not installed.
    """
    subject = Subject(_folder(path_text(name, "the name")))
    verdicts: dict[str, Verdict] = {}
    for clause in CLAUSES:
        missing = tuple(each for each in clause.needs if verdicts[each].state != "holds")
        verdicts[clause.id] = _verdict(clause, subject, missing)
    return list(verdicts.values())


def _folder(name: str) -> Path:
    """The folder itself, in whatever state it is; otherwise what pull brings whole."""
    if os.path.isdir(name) and name not in {entry.name for entry in list_models()}:
        return Path(name)
    from aae_zoo.runtime.store.pull import pull  # slow to import, and a folder does not need it

    return pull(name).bundle.folder


def _verdict(clause: Clause, subject: Subject, missing: tuple[str, ...]) -> Verdict:
    if missing:
        return Verdict(clause.id, clause.text, "not checked", missing)
    found: list[str] = []
    try:
        found += clause.check(subject)
    except (InvalidBundle, ParityError) as error:
        found.append(str(error))
    return Verdict(clause.id, clause.text, "fails" if found else "holds", tuple(found))
