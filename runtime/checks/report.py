"""The parity report of a bundle: what was compared with the networks that the graphs come from, and how it went."""

from typing import Final

from aae_zoo.runtime.bundles.bundle import Bundle
from aae_zoo.runtime.documents import parse_document
from aae_zoo.runtime.errors import InvalidBundle, ParityError

PARITY: Final = "parity.json"


def check_report(bundle: Bundle) -> None:
    """Check that the parity report is one, and has nothing but comparisons that passed, with some of every graph.

    Raises:
        InvalidBundle: it is damaged, or has no comparison of a graph.
        ParityError: a comparison failed.
    """
    path, content = bundle.folder / PARITY, bundle.read(PARITY)
    try:
        report = parse_document(content)
    except ValueError as error:
        raise InvalidBundle(f"{path} {error}; export the model again") from None
    rows = report.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidBundle(f"{path} has no rows of comparisons with PyTorch; export the model again")
    if missing := sorted(set(bundle.manifest.graphs) - {str(row.get("graph")) for row in rows}):
        raise InvalidBundle(f"{path} has no comparison of the {missing[0]} with PyTorch; export the model again")
    if not all(passed is True for passed in (report.get("passed"), *(row.get("passed") for row in rows))):
        raise ParityError(f"{path} has comparisons with PyTorch that failed; export the model again")
