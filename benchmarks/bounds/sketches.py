"""How often a row of a sketch is much shorter than its vector (spec/45-bounds.md, lemma 1).

Everything here is about one row; the four rows of a sketch are independent, so all of them are short with the
fourth power of the probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import torch

from btard.robust.encoding import BUCKETS
from btard.robust.sketch import Sketcher

Array = npt.NDArray[np.float64]

SEEN = 3.0
"""A residual so many times as long as the threshold is missed with probability at most 2**-20 (BND-1)."""

WORST_ROW = 1 / (2 * BUCKETS)
"""Probability that a row is blind for two equal coordinates of opposite signs, and the most for any vector."""

_POSITIONS = 2 * BUCKETS  # a coordinate adds or subtracts itself in one of the buckets
_LONGEST_TABLE = 150.0  # flat vectors of more coordinates than this are bounded as normal ones


def sparse_lengths(entries: Sequence[float]) -> Array:
    """Return all equally likely lengths of a row of a vector with these few non-zero entries.

    There are 32**(k-1) of them for k entries: by symmetry the first one stands in bucket 0 with its own sign.
    """
    signed = [(bucket, sign) for bucket in range(BUCKETS) for sign in (1.0, -1.0)]
    rows = np.zeros((1, BUCKETS))
    rows[0, 0] = entries[0]
    for entry in entries[1:]:
        steps = np.zeros((_POSITIONS, BUCKETS))
        for place, (bucket, sign) in enumerate(signed):
            steps[place, bucket] = sign * entry
        rows = (rows[:, None, :] + steps[None, :, :]).reshape(-1, BUCKETS)
    lengths: Array = np.sqrt((rows * rows).sum(axis=1))
    return lengths


def equal_lengths(count: int) -> dict[int, float]:
    """Return the distribution of the squared length of a row of ``count`` entries of size 1, exactly.

    It is a walk of so many steps from the origin of a grid of 16 dimensions: the walks are counted bucket by
    bucket, with as many steps in one as end there at each distance.
    """
    walks: dict[tuple[int, int], int] = {(0, 0): 1}  # by steps and squared distance
    for _ in range(BUCKETS):
        longer: dict[tuple[int, int], int] = {}
        for (steps, square), ways in walks.items():
            for more, plus in product(range(count - steps + 1), repeat=2):
                if plus <= more:
                    end = (steps + more, square + (2 * plus - more) ** 2)
                    split = math.comb(steps + more, more) * math.comb(more, plus)
                    longer[end] = longer.get(end, 0) + ways * split
        walks = longer
    total = _POSITIONS**count
    return {square: ways / total for (steps, square), ways in walks.items() if steps == count}


def sampled_lengths(vector: torch.Tensor, keys: int, start: int = 0) -> Array:
    """Return the lengths of the rows of ``vector`` under so many sketch values, shape [keys, 4]."""
    squares = []
    for key in range(keys):
        rows = Sketcher(key.to_bytes(32, "big")).rows(vector, start)
        squares.append((rows * rows).sum(dim=1))
    lengths: Array = torch.stack(squares).sqrt().numpy()
    return lengths


def flat_row_bound(factor: float, spread: float = 16.0, ratio: float = 1.03) -> float:
    """Return what no flat vector exceeds: a bound of P[row <= length / factor].

    Flat means that no entry is longer than sqrt(2) / factor times the vector; where one is, the probability
    is at most 1/32, see the proof of lemma 1. ``spread`` is the free variance of the proof, ``ratio`` the
    fineness of the table of entry sizes. Rigorous but for rounding.
    """
    worst, count = 0.0, factor * factor / 2
    while count < _LONGEST_TABLE:
        finer = count * ratio
        even = int(count // 2)
        share = count / 2 - even
        scale = spread / (2 * finer)
        moment = _walk(2 * even, scale) ** (1 - share) * _walk(2 * even + 2, scale) ** share
        worst = max(worst, moment)
        count = finer
    edge = math.pi / 2
    curvature = 2 / edge**2  # cos u <= 1 - curvature u**2 / 2 up to the edge
    outside = BUCKETS * math.erfc(edge * math.sqrt(_LONGEST_TABLE / (2 * spread)))
    normal = (1 + curvature * spread / BUCKETS) ** (-BUCKETS / 2) + outside
    return float(math.exp(spread / (2 * factor * factor)) * max(worst, normal))


def _walk(steps: int, scale: float) -> float:
    """Return E exp(-scale ||Z||**2) for the end Z of a walk of so many steps in 16 dimensions.

    The steps of the 16 buckets are independent if their number is Poisson distributed; the coefficients are
    weighted so, which keeps them in range.
    """
    if steps == 0:
        return 1.0
    mean = steps / BUCKETS
    factorials = np.array([math.lgamma(k + 1) for k in range(steps + 1)])
    one = np.empty(steps + 1)
    for k in range(steps + 1):
        plus = np.arange(k + 1)
        ways = factorials[k] - factorials[plus] - factorials[k - plus] - k * math.log(2)
        one[k] = np.exp(ways - scale * (k - 2.0 * plus) ** 2).sum()
    all_buckets = one * np.exp(np.arange(steps + 1) * math.log(mean) - mean - factorials)
    for _ in range(int(math.log2(BUCKETS))):
        all_buckets = np.convolve(all_buckets, all_buckets)[: steps + 1]
    return float(all_buckets[steps] / math.exp(steps * math.log(steps) - steps - factorials[steps]))
