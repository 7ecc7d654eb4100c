"""Drift: whether new pictures still look like old ones, by a kernel two-sample test of what a model makes of them.

A picture is a point: its code z, which is what the model keeps of it, and the logarithm of its reconstruction error,
which tells how much the model loses. Every coordinate is in standard deviations of all points together. How far two
samples are apart is their maximum mean discrepancy, with a mean of three Gaussian kernels whose bandwidths are half,
one and two times the median distance of all points (Gretton et al., "A kernel two-sample test", JMLR 2012). Random
splits of the same points tell how often chance does as much: p = (1 + b) / (1 + B), where b of B splits are as far
apart or further (Phipson and Smyth, "Permutation p-values should never be zero", 2010). So on samples of one
distribution at most 5 % have p <= 0.05, whatever the model, the kernel and the pictures are.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.bundles.manifest import ScoreLimits
from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.latent.neighbours import nearest_codes
from aae_zoo.runtime.latent.noise import check_draw
from aae_zoo.runtime.latent.score import judge
from aae_zoo.runtime.notebook import table
from aae_zoo.runtime.words import agreeing, counted

# Of fewer pictures hardly any drift can be told; of more than the most, as many are chosen: see `permutation_test`.
FEWEST: Final = 20
MOST: Final = 1000
LEVEL: Final = 0.05
PERMUTATIONS: Final = 999
_BANDWIDTHS: Final = (0.5, 1.0, 2.0)
# How many splits are tried at a time.
_BLOCK: Final = 100
# Below what float64 tells apart: so splits of equal points are as far apart as each other.
_ROUNDING: Final = 1e-12
# A model may rebuild an image exactly.
_SMALLEST_ERROR: Final = 1e-9
# How near codes of the same image are, however a machine rounds.
_SAME_CODE: Final = 1e-5
# By how many standard errors a fact has moved.
_MOVED: Final = 3.0
# What is said of a fact whose mean has fallen, or risen.
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "brightness": ("darker", "brighter"),
    "contrast": ("of less contrast", "of more contrast"),
    "reconstruction": ("easier to rebuild", "harder to rebuild"),
    "anomalous": ("less often anomalous", "more often anomalous"),
}

Figures = NDArray[np.float32]


class Sample(NamedTuple):
    """What is compared of one of two sets of images.

    `given` is how many images there are, and `digests` are those of their pixels, or none where these are not known.
    `figures` are of images that are `chosen`: codes z [n, latent], and where more than codes is known brightness,
    contrast, reconstruction and perhaps anomalous, [n] each.
    """

    given: int
    digests: Sequence[bytes]
    figures: Mapping[str, NDArray[Any]]

    @property
    def copies(self) -> int:
        """How many are equal to another one before them."""
        return len(self.digests) - len(set(self.digests))


def check_enough(count: int, what: str) -> None:
    """Refuse too few images; `what` names one of them in the message.

    Raises:
        InvalidInput: there are fewer than 20.
    """
    if count < FEWEST:
        raise InvalidInput(f"drift has {counted(count, what)}, expected {FEWEST} or more, and better some hundreds")


def digests_of(items: Iterable[bytes | memoryview], seed: int) -> list[bytes]:
    """Hashes of bytes: equal where those are, and in an order that the seed makes random.

    Raises:
        InvalidInput: the seed is not in [0, 2^64).
    """
    check_draw(1, seed)
    key = int(seed).to_bytes(8)
    return [hashlib.blake2b(item, digest_size=16, key=key).digest() for item in items]


def chosen(digests: Sequence[bytes]) -> list[int]:
    """The numbers of those that are compared, in an order that does not depend on the one in which they are given."""
    return sorted(range(len(digests)), key=digests.__getitem__)[:MOST]


def figures_of(parts: Mapping[str, Figures], limits: ScoreLimits | None) -> dict[str, NDArray[Any]]:
    """The figures of images from their codes z, and where these are known error, distance, contrast and brightness."""
    if "error" not in parts:
        return {"z": parts["z"]}
    figures: dict[str, NDArray[Any]] = {name: parts[name] for name in ("z", "brightness", "contrast")}
    figures["reconstruction"] = parts["error"]
    if limits is not None:
        figures["anomalous"] = judge(parts["error"], parts["distance"], parts["contrast"], limits).anomalous
    return figures


def of_parts(parts: Mapping[str, Figures], limits: ScoreLimits | None, seed: int) -> Sample:
    """The sample of what is left of images: their codes, and perhaps more."""
    z = parts["z"]
    rows = chosen(digests_of((code.data for code in z), seed))
    return Sample(len(z), [], figures_of({name: values[rows] for name, values in parts.items()}, limits))


class Fact(NamedTuple):
    """A mean over the pictures, of the reference where it is known, and whether it moved by three standard errors."""

    name: str
    reference: float | None
    new: float
    moved: bool


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Whether new pictures look like the reference's.

    `drifted` says that `p_value` is at most 0.05. `mmd2` is the unbiased squared maximum mean discrepancy, at most 2,
    about 0 for samples of one distribution, where 95 % of random splits are below `chance`. `new` and `reference` are
    how many pictures of each were compared, chosen by the `seed` out of `new_given` and `reference_given`. Of the new
    ones `shared` are in the reference too; `new_copies` and `reference_copies` are equal to one before them in their
    own set.
    """

    p_value: float
    drifted: bool
    mmd2: float
    chance: float
    new: int
    reference: int
    new_given: int
    reference_given: int
    shared: int
    new_copies: int
    reference_copies: int
    seed: int
    facts: tuple[Fact, ...]

    @property
    def verdict(self) -> str:
        """One sentence."""
        splits = f"{self.p_value:.1%} of random splits differ as much".replace("%", " %")
        if not self.drifted:
            return f"the new pictures look like the reference: {splits} (p = {self.p_value:.3f})"
        words = [_WORDS[fact.name][fact.new > (fact.reference or 0)] for fact in self.facts if fact.moved]
        how = f"; they are {', '.join(words)}" if words else ""
        return f"the new pictures do not look like the reference: {splits} (p = {self.p_value:.3f}){how}"

    @property
    def warnings(self) -> list[str]:
        """Why the p-value may be too small or too large, a sentence for each reason."""
        sentences = []
        if self.shared:
            sentences.append(
                f"{self.shared} of the {self.new_given} new pictures {agreeing(self.shared, 'is', 'are')} in the "
                "reference too, which hides drift"
            )
        for copies, given, what in (
            (self.new_copies, self.new_given, "new"),
            (self.reference_copies, self.reference_given, "reference"),
        ):
            if copies:
                are = agreeing(copies, "is a copy of another, and counts", "are copies of others, and count")
                sentences.append(
                    f"{copies} of the {given} {what} pictures {are} as if each were another: p is too small"
                )
        return sentences

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """The facts as people read them: a header, and rows of a name, the two means and whether it moved."""
        rows = [
            [
                fact.name,
                "-" if fact.reference is None else f"{fact.reference:.4g}",
                f"{fact.new:.4g}",
                "moved" if fact.moved else "",
            ]
            for fact in self.facts
        ]
        return ["mean", "reference", "new", ""], rows

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, and the facts."""
        header, rows = self.table
        return table(self.verdict, dict(zip(header, zip(*rows, strict=True), strict=True)))


def compare(new: Sample, reference: Sample, seed: int) -> Drift:
    """Compare two samples by what both of them have."""
    names = [name for name in _WORDS if name in new.figures]
    p_value, mmd2, chance = permutation_test(*_points(new.figures, reference.figures), seed=seed)
    return Drift(
        p_value=p_value,
        drifted=p_value <= LEVEL,
        mmd2=mmd2,
        chance=chance,
        new=len(new.figures["z"]),
        reference=len(reference.figures["z"]),
        new_given=new.given,
        reference_given=reference.given,
        shared=_shared(new, reference),
        new_copies=new.copies,
        reference_copies=reference.copies,
        seed=seed,
        facts=tuple(_fact(name, new.figures[name], reference.figures.get(name)) for name in names),
    )


def permutation_test(
    new: NDArray[np.floating], reference: NDArray[np.floating], seed: int, permutations: int = PERMUTATIONS
) -> tuple[float, float, float]:
    """The p-value of points [n, d] against others [m, d], their MMD^2, and its 95th percentile of random splits.

    The same on every machine for a seed, up to rounding. Takes some 44 (n + m)^2 bytes: 180 MB for 1,000 and 1,000.
    """
    kernel = _kernel(np.concatenate([new, reference]).astype(np.float64))
    found = _discrepancies(kernel, np.arange(len(kernel))[None] < len(new))[0]
    splits = _random_splits(len(new), len(kernel), permutations, seed)
    chance = np.concatenate([_discrepancies(kernel, block) for block in splits])
    as_far = int((chance >= found - _ROUNDING).sum())
    return (1 + as_far) / (1 + permutations), float(found), float(np.quantile(chance, 1 - LEVEL))


def _random_splits(count: int, total: int, splits: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Blocks of splits [b, total]: those `count` of the points with the smallest of random numbers are chosen.

    The numbers are Philox's raw ones, as in `noise.uniform_noise`: numpy promises never to change them.
    """
    raw = np.random.Philox(key=seed)
    for start in range(0, splits, _BLOCK):
        keys = raw.random_raw(min(_BLOCK, splits - start) * total).reshape(-1, total)
        first = np.zeros(keys.shape, np.bool_)
        np.put_along_axis(first, keys.argpartition(count, axis=1)[:, :count], True, axis=1)
        yield first


def _shared(new: Sample, reference: Sample) -> int:
    """How many of the new ones are in the reference too: by their pixels, or where those are not known by their codes.

    Codes of a discrete prior are equal where images are not: they tell nothing.
    """
    if new.digests and reference.digests:
        return sum(map(set(reference.digests).__contains__, new.digests))
    z, others = new.figures["z"], reference.figures["z"]
    if len(np.unique(others, axis=0)) < len(others):
        return 0
    return int((nearest_codes(z, others, 1).distances < _SAME_CODE).sum())


def _points(
    new: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points [n, latent + 1] and [m, latent + 1], or without the error where one of the two does not have it."""
    sets = [figures["z"].astype(np.float64) for figures in (new, reference)]
    if "reconstruction" in new and "reconstruction" in reference:
        errors = [np.log(np.maximum(figures["reconstruction"], _SMALLEST_ERROR)) for figures in (new, reference)]
        sets = [np.column_stack([z, error]) for z, error in zip(sets, errors, strict=True)]
    both = np.concatenate(sets)
    scale = both.std(axis=0)
    both = (both - both.mean(axis=0)) / np.where(scale > 0, scale, 1)
    return both[: len(sets[0])], both[len(sets[0]) :]


def _kernel(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The kernel [n, n] of all pairs of points, 1 for equal ones."""
    norms = (points * points).sum(1)
    squared = np.maximum(norms[:, None] + norms - 2 * points @ points.T, 0)
    np.fill_diagonal(squared, 0)
    pairs = squared[np.triu_indices(len(points), 1)]
    median = float(np.median(pairs)) or float(pairs.mean()) or 1.0  # most points may be equal, or all
    return np.asarray(sum(np.exp(squared / (-2 * median * h * h)) for h in _BANDWIDTHS) / len(_BANDWIDTHS))


def _discrepancies(kernel: NDArray[np.float64], first: NDArray[np.bool_]) -> NDArray[np.float64]:
    """MMD^2 [b], unbiased (Gretton et al., equation 3), of splits [b, n]: which of the points are in the first set."""
    weights = first.astype(np.float64)
    n, rows = float(weights[0].sum()), kernel.sum(axis=1)
    m = len(kernel) - n
    inside = ((weights @ kernel) * weights).sum(axis=1)
    across = weights @ rows - inside
    outside = rows.sum() - inside - 2 * across
    return np.asarray((inside - n) / (n * (n - 1)) + (outside - m) / (m * (m - 1)) - 2 * across / (n * m))


def _fact(name: str, new: NDArray[Any], reference: NDArray[Any] | None) -> Fact:
    mean = float(new.mean(dtype=np.float64))
    if reference is None:
        return Fact(name, None, mean, moved=False)
    before = float(reference.mean(dtype=np.float64))
    error = np.sqrt(sum(values.var(dtype=np.float64) / len(values) for values in (new, reference)))
    return Fact(name, before, mean, moved=bool(abs(mean - before) > _MOVED * error + _ROUNDING))
