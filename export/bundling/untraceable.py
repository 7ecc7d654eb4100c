"""Why a network cannot become a graph, in one sentence: the exporter's own messages are pages long."""

import copy
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn

from aae_zoo.runtime.bundles.graph_operators import OPERATORS
from aae_zoo.runtime.checks.clauses import OPSET
from aae_zoo.runtime.errors import AaeZooError, InvalidInput, MissingBackend
from aae_zoo.runtime.escapes import words_of

_OPERATOR: Final = re.compile(r"target=torch\.ops\.([\w.]+?)(\.default)?\]")
# Where the code lies that is not the user's: PyTorch, this package and the standard library. Of torchvision, which has
# checks that cannot be traced, it is the line that calls it.
_OTHERS: Final = (
    Path(torch.__file__).parent,
    Path(torch.__file__).parents[1] / "torchvision",
    Path(__file__).parents[1],
    Path(traceback.__file__).parent,
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's deprecations, and the pages that it logs where it fails, from its callers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def why_not(role: str, module: nn.Module, inputs: Mapping[str, Tensor], shapes: Any, error: Exception) -> AaeZooError:
    """The error for a network that the exporter refused with `error`; it is traced again to find the line of code."""
    for cause in _chain(error):
        if isinstance(cause, ImportError) and (cause.name or "").startswith("onnxscript"):
            return MissingBackend(
                f"onnxscript {version('onnxscript')} cannot export what PyTorch {torch.__version__} traces ({cause}); "
                "pip install -U onnxscript"
            )
        if operator := _OPERATOR.search(str(cause)):
            return InvalidInput(
                f"the {role} uses the operator {operator[1]}, which ONNX does not have in opset {OPSET}; "
                "compute the same with other operators"
            )
    try:
        torch.export.export(copy.deepcopy(module), (), kwargs=dict(inputs), dynamic_shapes=shapes, strict=False)
    except Exception as traced:  # what the exporter met first, before it tried other ways
        error = traced
    where = _user_line(error)
    if any(type(cause).__name__.startswith("GuardOnDataDependent") for cause in _chain(error)):
        return InvalidInput(
            f"the {role} does one thing or another depending on the values that it is given{where}; compute both and "
            "choose by torch.where, or leave it out where it only checks them"
        )
    return InvalidInput(
        f"the {role} cannot be traced by torch.export ({words_of(error)}){where}; make its forward "
        "of PyTorch's operators on whole batches"
    )


def check_traced(role: str, model: onnx.ModelProto) -> None:
    """Refuse a graph that is not that of its network for every number of rows, or not one of a bundle.

    Raises:
        InvalidInput: it is such a graph.
    """
    for value in model.graph.output:
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise InvalidInput(
                f"the {role} has the number of rows of a batch baked in: its {value.name} would always have "
                f"{value.type.tensor_type.shape.dim[0].dim_value}; do not loop over rows in its forward or make a "
                "number of len(x), but compute on the whole batch, with -1 for the batch in shapes"
            )
    if others := sorted({node.op_type for node in model.graph.node} - OPERATORS):
        raise InvalidInput(
            f"the {role} uses {', '.join(others)}, which graphs of bundles do not have; compute the same with other "
            "operators"
        )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _user_line(error: BaseException) -> str:
    """The last line of the user's own code on the way to an error: ", in net.py, line 7: if x.sum() > 0:"."""
    frames = [frame for cause in _chain(error) for frame in traceback.extract_tb(cause.__traceback__)]
    own = [frame for frame in frames if _is_own(Path(frame.filename))]
    return (
        f", in {Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line or ''}".rstrip(": ") if own else ""
    )


def _is_own(path: Path) -> bool:
    return not any(map(path.is_relative_to, _OTHERS)) and not path.name.startswith("<")
