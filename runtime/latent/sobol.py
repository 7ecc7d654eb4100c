"""Quasi-random noise: Sobol points, which fill the cube more evenly than chance, the same on every machine.

I. M. Sobol, USSR Comput. Math. Math. Phys. 7 (1967), in the Gray-code order of Antonov and Saleev (1979), with the
direction numbers of S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better two-dimensional projections",
SIAM J. Sci. Comput. 30 (2008), table new-joe-kuo-6, as scipy and torch have them. A seed shifts all points alike, by
exclusive or with random bits, which keeps them even.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aae_zoo.runtime.errors import InvalidInput
from aae_zoo.runtime.latent.noise import check_draw

_BITS: Final = 32
# For each coordinate from the second on: its primitive polynomial, as bits, and its first direction numbers.
_TABLE: Final = """
    3:1 7:1,3 11:1,3,1 13:1,1,1 19:1,1,3,3 25:1,3,5,13 37:1,1,5,5,17 41:1,1,5,5,5 47:1,1,7,11,19 55:1,1,5,1,1
    59:1,1,1,3,11 61:1,3,5,5,31 67:1,3,3,9,7,49 91:1,1,1,15,21,21 97:1,3,1,13,27,49 103:1,1,1,15,7,5
    109:1,3,1,15,13,25 115:1,1,5,5,19,61 131:1,3,7,11,23,15,103 137:1,3,7,13,13,15,69 143:1,1,3,13,7,35,63
    145:1,3,5,9,1,25,53 157:1,3,1,13,9,35,107 167:1,3,1,5,27,61,31 171:1,1,5,11,19,41,61 185:1,3,5,3,3,13,69
    191:1,1,7,13,1,19,1 193:1,3,7,5,13,19,59 203:1,1,3,9,25,29,41 211:1,3,5,13,23,1,55 213:1,3,7,3,13,59,17
    229:1,3,1,3,5,53,69 239:1,1,5,5,23,33,13 241:1,1,7,7,1,61,123 247:1,1,7,9,13,61,49 253:1,3,3,5,3,55,33
    285:1,3,1,15,31,13,49,245 299:1,3,5,15,31,59,63,97 301:1,3,1,11,11,11,77,249 333:1,3,1,11,27,43,71,9
    351:1,1,7,15,21,11,81,45 355:1,3,7,3,25,31,65,79 357:1,3,1,1,19,11,3,205 361:1,1,5,9,19,21,29,157
    369:1,3,7,11,1,33,89,185 391:1,3,3,3,15,9,79,71 397:1,3,7,11,15,39,119,27 425:1,1,3,1,11,31,97,225
    451:1,1,1,3,23,43,57,177 463:1,3,7,7,17,17,37,71 487:1,3,1,5,27,63,123,213 501:1,1,3,5,11,43,53,133
    529:1,3,5,5,29,17,47,173,479 539:1,3,3,11,3,1,109,9,69 545:1,1,1,5,17,39,23,5,343 557:1,3,1,5,25,15,31,103,499
    563:1,1,1,11,11,17,63,105,183 601:1,1,5,11,9,29,97,231,363 607:1,1,5,15,19,45,41,7,383
    617:1,3,7,7,31,19,83,137,221 623:1,1,1,3,23,15,111,223,83 631:1,1,5,13,31,15,55,25,161
    637:1,1,3,13,25,47,39,87,257
"""
MOST_COORDINATES: Final = 1 + len(_TABLE.split())


def sobol_noise(count: int, size: int, seed: int, start: int = 0) -> NDArray[np.float32]:
    """Sobol points [count, size] in the open interval (0, 1): rows `start` to `start + count` of the seed's.

    Numbers of samples that are powers of two are the most even.

    Raises:
        InvalidInput: `count` or `seed` as for uniform noise, or more coordinates than the table has.
    """
    check_draw(count, seed)
    if size > MOST_COORDINATES:
        raise InvalidInput(f"the noise has {size} coordinates, quasi-random noise has at most {MOST_COORDINATES}")
    numbers = np.arange(start, start + count, dtype=np.uint32)
    gray = numbers ^ (numbers >> np.uint32(1))
    shift = (np.random.Philox(key=seed).random_raw(size) >> np.uint64(_BITS)).astype(np.uint32)
    points = np.tile(shift, (count, 1))
    for bit, directions in enumerate(_directions(size)[: int(gray.max()).bit_length()]):
        points ^= ((gray >> np.uint32(bit)) & np.uint32(1))[:, None] * directions
    odd = (points >> np.uint32(8)) | np.uint32(1)  # as for uniform noise: neither 0 nor 1, and exact in float32
    return odd.astype(np.float32) * np.float32(2.0**-24)


@cache
def _directions(size: int) -> NDArray[np.uint32]:
    """The direction numbers [bit, coordinate], each with its first bit leftmost."""
    columns = [[1 << (_BITS - 1 - bit) for bit in range(_BITS)]]  # of the first coordinate: bits in reverse
    for entry in _TABLE.split()[: size - 1]:
        polynomial, first = entry.split(":")
        columns.append(_recur(int(polynomial), [int(number) for number in first.split(",")]))
    return np.array(columns, np.uint32).T


def _recur(polynomial: int, m: list[int]) -> list[int]:
    """Joe and Kuo's equations 2 and 3: the direction numbers of a primitive polynomial from its first ones."""
    degree = len(m)
    for k in range(degree, _BITS):
        number = m[k - degree]
        for i in range(1, degree + 1):
            if polynomial >> (degree - i) & 1:
                number ^= m[k - i] << i
        m.append(number)
    return [number << (_BITS - 1 - k) for k, number in enumerate(m)]
