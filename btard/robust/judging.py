"""The numeric verdicts: whether an aggregate, scalars or a gradient are off by more than a threshold.

The numbers come from `centered_clip` and `scalars`, the thresholds from `tolerances`; this is the one place
that puts them together.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from btard.consensus import row_norm
from btard.robust.arithmetic import consensus_norm
from btard.robust.centered_clip import distances, residual_norm
from btard.robust.encoding import unpack_norms, unpack_rows
from btard.robust.scalars import Scalars, rows_differ
from btard.robust.tolerances import (
    Level,
    aggregate_tolerance,
    credible_norm,
    gradient_tolerance,
    scalar_tolerance,
)


def aggregate_is_off(parts: Sequence[Tensor], aggregate: Tensor, tau: float, level: Level) -> bool:
    """Whether `aggregate` is not CenteredClip's fixed point of the contributors' `parts` (TOL-2, TOL-6).

    Takes what `centered_clip` takes, and the aggregate of the same shape and type. One that holds NaN or an
    infinity is off.
    """
    residual = residual_norm(parts, aggregate, tau)
    lengths = distances(parts, torch.zeros_like(aggregate))
    norm = credible_norm(consensus_norm(aggregate), lengths, tau)
    return not residual <= aggregate_tolerance(distances(parts, aggregate), norm, tau, level)


def scalars_are_off(own: Scalars, sketch: bytes, norm: bytes, tau: float, level: Level) -> bool:
    """Whether a peer's broadcast sketch and norm do not fit the part that they are of (TOL-3).

    `own` are the judge's own scalars of that part, by the function that the peer had to use.
    """
    return _differ(own, sketch, norm, scalar_tolerance(own.norm, tau, level))


def gradient_is_off(
    own: Scalars, length: float, sketch: bytes, norm: bytes, tau: float, gradient_rtol: float, level: Level
) -> bool:
    """Whether a target's broadcast sketch and norm do not fit a recomputed gradient (TOL-4).

    `own` are the scalars of one part of the recomputed gradient, `length` is that part's own norm.
    """
    return _differ(own, sketch, norm, gradient_tolerance(length, own.norm, tau, gradient_rtol, level))


def gradient_excess(
    own: Scalars, length: float, sketch: bytes, norm: bytes, tau: float, gradient_rtol: float
) -> float:
    """Return how far off a target's numbers are, in units of what judges let pass (TOL-4); inf for NaN.

    Takes what `gradient_is_off` takes.
    """
    (claimed,) = unpack_norms(norm)
    pairs = zip(own.rows.tolist(), unpack_rows(sketch), strict=True)
    rows = max(row_norm([a - b for a, b in zip(mine, row, strict=True)]) for mine, row in pairs)
    tolerances = gradient_tolerance(length, own.norm, tau, gradient_rtol, Level.VOTE)
    shares = [
        off / allowed if allowed else 0.0 if off == 0 else math.inf
        for off, allowed in zip((rows, abs(own.norm - claimed)), tolerances, strict=True)
    ]
    return math.inf if any(map(math.isnan, shares)) else max(shares)


def _differ(own: Scalars, sketch: bytes, norm: bytes, tolerance: tuple[float, float]) -> bool:
    (claimed,) = unpack_norms(norm)
    return rows_differ(own, unpack_rows(sketch), claimed, *tolerance)
