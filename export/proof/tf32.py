"""How far TF32 carries a graph: what PyTorch gives where the inputs of every product are rounded as a GPU rounds them.

TF32 has float32's range and ten bits of mantissa; a GPU's tensor cores multiply such numbers exactly and add them up in
float32 ("NVIDIA A100 Tensor Core GPU Architecture", 2020). Kernels either round to the nearest, ties away from zero, as
the instruction cvt.rna.tf32.f32 does, or hand over float32 as it is, of which the cores pass over the last bits. Which
one a library chooses for a shape is its own affair, so both are tried, and the larger error counts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from aae_zoo.runtime.bundles.manifest import Tf32Error
from aae_zoo.runtime.checks.parity import golden_of
from aae_zoo.runtime.checks.verify import worst
from aae_zoo.runtime.formats.arrays import Arrays

# float32 has 23 bits of mantissa, 13 more than TF32.
_DROPPED: Final = (1 << 13) - 1
_HALF: Final = 1 << 12

_ATEN: Final = torch.ops.aten
# Everything that multiplies, as PyTorch's operators come down to it, and which of its arguments are multiplied.
_PRODUCTS: Final[Mapping[Any, Sequence[int]]] = {
    _ATEN.mm.default: (0, 1),
    _ATEN.bmm.default: (0, 1),
    _ATEN.mv.default: (0, 1),
    _ATEN.dot.default: (0, 1),
    _ATEN.linear.default: (0, 1),
    _ATEN.addmm.default: (1, 2),
    _ATEN.addmv.default: (1, 2),
    _ATEN.baddbmm.default: (1, 2),
    _ATEN.addbmm.default: (1, 2),
    _ATEN.convolution.default: (0, 1),
}


def to_nearest(values: Tensor) -> Tensor:
    """Float32 numbers rounded to TF32, ties away from zero."""
    return (values.contiguous().view(torch.int32) + _HALF & ~_DROPPED).view(torch.float32)


def cut_off(values: Tensor) -> Tensor:
    """Float32 numbers without the bits that TF32 does not have."""
    return (values.contiguous().view(torch.int32) & ~_DROPPED).view(torch.float32)


class _Rounding(TorchDispatchMode):
    def __init__(self, rounded: Callable[[Tensor], Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rounded = rounded

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        places = _PRODUCTS.get(func, ())
        given = [
            self._rounded(value) if place in places and value.dtype == torch.float32 else value
            for place, value in enumerate(args)
        ]
        return func(*given, **(kwargs or {}))


@contextmanager
def rounded_products(rounded: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, float32 numbers that are multiplied by others are rounded before."""
    # Recurrent layers and attention that are one operator would hide their products.
    fused, fast = torch.backends.mkldnn.set_flags(_enabled=False, _fp32_precision=None)[0], mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _Rounding(rounded):
            yield
    finally:
        mha.set_fastpath_enabled(fast)
        torch.backends.mkldnn.set_flags(_enabled=fused, _fp32_precision=None)


def tf32_errors(networks: Mapping[tuple[str, str], nn.Module], golden: Arrays) -> tuple[Tf32Error, ...]:
    """The error of each network, which are by role and precision, on its golden inputs; all in evaluation mode.

    A network that gives numbers that are not finite in TF32 has none.
    """
    errors = [_error(network, golden, *graph) for graph, network in networks.items()]
    return tuple(error for error in errors if error is not None)


def _error(network: nn.Module, golden: Arrays, role: str, precision: str) -> Tf32Error | None:
    given, expected = golden_of(role, golden, precision)
    tried = [_outputs(network, given, rounded) for rounded in (to_nearest, cut_off)]
    if not all(np.isfinite(values).all() for found in tried for values in found.values()):
        return None
    difference, rms = (max(worst(measure, found, expected) for found in tried) for measure in ("difference", "rms"))
    return Tf32Error(role, precision, difference, rms)


@torch.no_grad()
def _outputs(network: nn.Module, given: Arrays, rounded: Callable[[Tensor], Tensor]) -> Arrays:
    with rounded_products(rounded):
        outputs: Mapping[str, Tensor] = network(**{name: torch.from_numpy(values) for name, values in given.items()})
    return {name: values.numpy() for name, values in outputs.items()}
