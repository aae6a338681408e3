"""How far an aggregate can be moved (spec/45-bounds.md, lemmas 2 to 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.bounds.sketches import SEEN
from btard.robust.tolerances import Level, sum_threshold

ROW_LIMIT = 4.0
"""How many times tau a liar's row may be long (SKT-4)."""


def seen_residual(norms: Sequence[float], aggregate_norm: float, tau: float) -> float:
    """Return the residual above which verification 2 disputes but with probability 2**-20 (BND-1)."""
    return SEEN * sum_threshold(norms, aggregate_norm, tau)


def displacement(spread: float, tau: float, honest: int, pull: float) -> float:
    """Return how far from the honest contributors' fixed point their residual is at most ``pull`` tau.

    All ``honest`` contributors lie within ``spread`` of it. Infinite from ``pull`` = ``honest`` on (lemmas 2
    and 3).
    """
    if pull >= honest:
        return math.inf
    share = pull / honest
    if share * tau <= tau - spread:
        return share * tau
    return max(spread + share * tau, spread / math.sqrt(1 - share * share))


def covered_pull(liars: int, byzantine: int, factor: float = 1.0) -> float:
    """Return the residual of the honest, in tau, that so many liars among the Byzantine contributors cover.

    The liars' rows are at most 4 tau long each, the other Byzantine contributors follow the aggregate with
    true scalars. With ``factor`` 1 that works for sure where the rows are as long as the vector, as those of
    one coordinate are; with `SEEN` no direction is better but with probability 2**-20 (lemma 4).
    """
    return factor * ROW_LIMIT * liars + (byzantine - liars)


def passed_gradient(length: float, norm: float, tau: float, gradient_rtol: float) -> float:
    """Return how far a contributor can move its clipped difference without being accused (lemma 7).

    ``length`` is that of the true part, ``norm`` its distance to the aggregate. With probability 2**-20 a
    validator misses more.
    """
    row = Level.ACCUSE.gradient_factor * gradient_rtol * length * min(1.0, tau / norm)
    return SEEN * (row + Level.ACCUSE.scalar_rtol * min(tau, norm))
