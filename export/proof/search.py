"""A seeded search for the input at which an exported graph differs most from its PyTorch module."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from onnxruntime import InferenceSession
from torch import Generator, Tensor, nn

from aae_zoo.export.proof.own import open_own

_ROWS: Final = 64
_NUMBERS: Final = 1 << 22
_ROUNDS: Final = 100
_CULL: Final = 20
_LEAST: Final = 2.0**-24

Inputs = dict[str, Tensor]


class Worst(NamedTuple):
    """The input found, one row of each input by name, its error, and how many inputs were tried.

    The error is the largest difference of an output from PyTorch's, relative to max(1, the row's largest).
    """

    inputs: Inputs
    error: float
    tried: int


@torch.no_grad()
def worst_input(network: nn.Module, graph: bytes, inputs: Mapping[str, Tensor], widths: Sequence[int] = ()) -> Worst:
    """Climb from the rows of `inputs` to the row at which the graph's outputs differ most from the module's.

    64 rows, or fewer of large images, are changed at random, in a few places or in all, by little or much. A
    changed row takes the place of the old one if it differs more, and every 20 rounds the better half replaces the
    other. Images stay bytes / 255, noise in the open interval (0, 1), classes probabilities, and codes no further out
    than the furthest of `inputs`, in any coordinate and as a whole: the corners of a box of many coordinates are far
    from every code. `widths` are how many numbers of y each attribute has, by default all.
    """
    generator = Generator().manual_seed(0)
    session = open_own(graph)
    one = {name: values[:1] for name, values in inputs.items()}
    count = max(2, min(_ROWS, _NUMBERS // max(v.numel() for v in {**one, **network(**one)}.values())))
    limits = {name: (float(values.abs().max()), float(_norms(values).max())) for name, values in inputs.items()}
    order = torch.arange(count) % len(next(iter(inputs.values())))
    rows = {name: values[order] for name, values in inputs.items()}
    best = _errors(network, session, rows)
    for round_ in range(1, _ROUNDS + 1):
        changed = {name: _change(name, values, limits[name], generator, widths) for name, values in rows.items()}
        found = _errors(network, session, changed)
        better = found > best
        best = torch.where(better, found, best)
        for name, values in rows.items():
            values[better] = changed[name][better]
        if round_ % _CULL == 0:
            ranking = best.argsort(descending=True, stable=True)[: (count + 1) // 2].repeat(2)[:count]
            best, rows = best[ranking], {name: values[ranking] for name, values in rows.items()}
    place = int(best.argmax())
    return Worst({n: v[place : place + 1] for n, v in rows.items()}, float(best[place]), count * (_ROUNDS + 1))


def _errors(network: nn.Module, session: InferenceSession, rows: Inputs) -> Tensor:
    """The error [n] of each row, infinite where the graph does not run."""
    wanted = network(**rows)
    try:
        found = session.run(list(wanted), {name: values.numpy() for name, values in rows.items()})
    except Exception:  # whatever ONNX Runtime raises: the gate will say why
        return torch.full((len(next(iter(rows.values()))),), torch.inf)
    each = [_row_errors(torch.from_numpy(f), w) for f, w in zip(found, wanted.values(), strict=True)]
    return torch.stack(each).amax(0)


def _row_errors(found: Tensor, wanted: Tensor) -> Tensor:
    """The error [n] of each row, infinite where the number of rows is not the module's or a number is not finite."""
    if found.shape != wanted.shape:
        return torch.full((len(wanted),), torch.inf)
    difference = _largest(found - wanted) / _largest(wanted).clamp(min=1)
    return difference.nan_to_num(nan=torch.inf)


def _largest(values: Tensor) -> Tensor:
    """The largest magnitude [n] of each row."""
    return values.abs().reshape(len(values), -1).amax(1)


def _norms(values: Tensor) -> Tensor:
    """The Euclidean norm [n] of each row."""
    norms: Tensor = values.flatten(1).norm(dim=1)
    return norms


def _change(
    name: str, values: Tensor, limits: tuple[float, float], generator: Generator, widths: Sequence[int]
) -> Tensor:
    """Change each row: between all and 1 in 64 of its numbers, by steps of the whole range down to 1/64 of it.

    `limits` are the largest magnitude of a number, and the largest norm of a row.
    """
    limit, norm = limits
    share, step = (0.5 ** torch.randint(7, (len(values),), generator=generator) for _ in range(2))
    shape = (-1, *[1] * (values.dim() - 1))
    noise = torch.randn(values.shape, generator=generator) * step.reshape(shape) * limit
    chosen = torch.rand(values.shape, generator=generator) < share.reshape(shape)
    changed = torch.where(chosen, values + noise, values)
    if name == "image":
        return (changed.clamp(0, 1) * 255).round() / 255
    if name == "u":
        return changed.clamp(_LEAST, 1 - _LEAST)
    if name == "y":
        positive = (changed.clamp(min=0) + _LEAST).split([*widths] or values.shape[1], 1)
        return torch.cat([part / part.sum(1, keepdim=True) for part in positive], 1)
    changed = changed.clamp(-limit, limit)
    within: Tensor = (norm / _norms(changed)).clamp(max=1).reshape(shape)
    return changed * within
