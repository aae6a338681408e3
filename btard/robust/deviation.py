"""How far two peers' scalars of one gradient are apart, relative to its length, as judges compare (TRN-20).

Without torch: what it is given may come from the network.
"""

from __future__ import annotations

import math

from btard.consensus import row_norm
from btard.robust.encoding import NORM_SIZE, SKETCH_SIZE, unpack_norms, unpack_rows

RECORD_SIZE = SKETCH_SIZE + NORM_SIZE
"""Bytes of one part: its sketch, then its norm."""


def largest_deviation(mine: bytes, theirs: bytes) -> float:
    """Return the largest relative deviation of a sketch row or a norm in any part; inf where nothing fits.

    Both hold RECORD_SIZE bytes for each part. The length that a deviation is relative to is the smaller of the
    two norms. Other sizes than one's own, NaN, infinities and negative norms give inf.
    """
    if len(mine) != len(theirs) or len(mine) % RECORD_SIZE:
        return math.inf
    pairs = deviations(mine, theirs)
    return max((off / length if off else 0.0 for off, length in pairs), default=math.inf)


def deviations(mine: bytes, theirs: bytes) -> list[tuple[float, float]]:
    """Return for each part how far apart a row or the norms are, and the smaller norm; (inf, 1) for nonsense.

    Takes what `largest_deviation` takes, of one size.
    """
    starts = range(0, len(mine), RECORD_SIZE)
    return [_deviation(mine[at : at + RECORD_SIZE], theirs[at : at + RECORD_SIZE]) for at in starts]


def _deviation(mine: bytes, theirs: bytes) -> tuple[float, float]:
    if mine == theirs:
        return 0.0, 1.0
    (own,), (other,) = unpack_norms(mine[SKETCH_SIZE:]), unpack_norms(theirs[SKETCH_SIZE:])
    pairs = zip(unpack_rows(mine[:SKETCH_SIZE]), unpack_rows(theirs[:SKETCH_SIZE]), strict=True)
    rows = [[a - b for a, b in zip(row, counterpart, strict=True)] for row, counterpart in pairs]
    numbers = [own, other, *(number for row in rows for number in row)]
    length = min(own, other)
    if not all(map(math.isfinite, numbers)) or not length > 0:
        return math.inf, 1.0
    return max(abs(own - other), *map(row_norm, rows)), length
