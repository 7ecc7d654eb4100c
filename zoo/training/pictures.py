"""Pictures of a model: images that it draws, the plane of its codes, and its losses.

Plots are Matplotlib's, without its global state.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from aae_zoo.runtime.drawing.grid import grid
from aae_zoo.runtime.latent.noise import percentile_grid
from aae_zoo.zoo.autoencoder import Autoencoder
from aae_zoo.zoo.data.dataset import to_float
from aae_zoo.zoo.measure.measured import Codes, Networks

CODES: Final = 5000  # as many as a plane shows
PRIOR_DRAWS: Final = 2000
_BATCH: Final = 500
_LONGEST: Final = 24  # characters of a class's name beside a plane
_NOT_LOSSES: Final = {"step", "epoch", "rate"}


@torch.no_grad()
def model_pictures(
    model: Autoencoder, images: Tensor, labels: Tensor, names: Sequence[str]
) -> Iterator[tuple[str, Image.Image]]:
    """Pictures by name: reconstructions below their images, samples, and codes of images, uint8 [n, C, H, W].

    `labels` [n] are numbers of the classes in `names`.
    """
    model.eval()
    x = to_float(images[:10])
    again = model.logits(model.encode(x)).sigmoid()
    yield "reconstructions", grid(torch.cat([x, again]).cpu().numpy(), len(x))
    yield "samples", grid(model.logits(_codes_to_draw(model, x.device)).sigmoid().cpu().numpy())
    if model.prior.latent >= 2:
        z = torch.cat([model.encode(to_float(part))["z"] for part in images[:CODES].split(_BATCH)])
        prior = Networks(model).draw(PRIOR_DRAWS, torch.Generator().manual_seed(0)).codes["z"]
        yield "codes", code_scatter(z.cpu().numpy(), labels[:CODES].cpu().numpy(), names, prior.cpu().numpy())


def _codes_to_draw(model: Autoencoder, device: torch.device) -> Codes:
    """The plane of a 2-D prior, 64 draws of any other."""
    if model.prior.noise == 2:
        codes: Codes = model.prior(torch.from_numpy(percentile_grid(16)).to(device))
        return codes
    return Networks(model).draw(64, torch.Generator().manual_seed(0)).codes


def loss_curves(rows: Iterable[Mapping[str, Any]]) -> Image.Image:
    """Each loss by step, one above the other; `rows` are those of log.jsonl; the rows of epochs are left out."""
    from matplotlib.figure import Figure  # slow to import, and drawn only at intervals

    batches = [row for row in rows if "validation" not in row]
    names = [name for name in batches[0] if name not in _NOT_LOSSES]
    figure = Figure(figsize=(6.4, 0.4 + 1.6 * len(names)), layout="constrained")
    plots = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
    for name, plot in zip(names, plots, strict=True):
        plot.plot([row["step"] for row in batches], [row[name] for row in batches], linewidth=1)
        plot.set_ylabel(name)
    plots[-1].set_xlabel("step")
    return _drawn(figure)


def code_scatter(
    z: NDArray[np.float32], labels: NDArray[np.int64], names: Sequence[str], prior: NDArray[np.float32]
) -> Image.Image:
    """The first two coordinates of codes [n, 2 or more], coloured by class, before the prior's draws in gray.

    Labels are int64 [n]; without names of classes, all codes have one colour.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0 if names else 4.8, 4.8), layout="constrained")
    plot = figure.add_subplot(aspect="equal")
    plot.scatter(prior[:, 0], prior[:, 1], s=2, linewidths=0, color="lightgray")
    colours = colormaps["tab10" if len(names) <= 10 else "turbo"].resampled(max(len(names), 10))
    for k in range(len(names)):
        of_class = z[labels == k]
        plot.scatter(of_class[:, 0], of_class[:, 1], s=3, linewidths=0, color=colours(k), label=str(k))
    if not names:
        plot.scatter(z[:, 0], z[:, 1], s=3, linewidths=0, color=colours(0))
    elif len(names) <= 20:
        legend = figure.legend(loc="outside right upper", markerscale=4, fontsize="small", frameon=False)
        for text, name in zip(legend.get_texts(), names, strict=True):  # neither formulas nor hidden, as labels may be
            text.set(text=name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…", parse_math=False)
    return _drawn(figure)


def _drawn(figure: Any) -> Image.Image:
    """The figure in 64 colours, which are enough for a plot: a third of the bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of characters that its font does not have
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(64)
