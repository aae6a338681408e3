"""Checks on vectors: aggregates, scalars and gradients against what was broadcast (spec VER, TOL).

Every check takes a level: judges use VOTE, accusers ACCUSE. What was broadcast arrives as little-endian
float64 bytes; NaN in it counts as a difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from attrs import frozen

from btard.robust.arithmetic import consensus_norm
from btard.robust.centered_clip import residual_norm
from btard.robust.encoding import unpack_norms, unpack_rows
from btard.robust.scalars import Scalars, rows_differ, scalars
from btard.robust.sketch import Sketcher
from btard.robust.tolerances import Level, aggregate_tolerance, gradient_tolerance, scalar_tolerance


@frozen
class Broadcast:
    """A contributor's scalars for one part, as broadcast: 512 bytes of rows, 8 bytes of norm."""

    rows: bytes
    norm: bytes


def finite_or_zero(vector: torch.Tensor) -> torch.Tensor:
    """Return the vector, or zeros in its place if anything in it is NaN or Inf (spec VER-3, VER-4)."""
    # One float64 sum instead of a mask: float32 entries cannot overflow it, NaN and Inf survive it.
    return vector if math.isfinite(vector.double().sum().item()) else torch.zeros_like(vector)


def aggregate_is_off(
    vectors: Sequence[torch.Tensor], aggregate: torch.Tensor, tau: float, level: Level
) -> bool:
    """Whether ``aggregate`` is not the vectors' fixed point (spec TOL-2)."""
    norms = [torch.linalg.vector_norm(vector.double() - aggregate.double()).item() for vector in vectors]
    bound = aggregate_tolerance(norms, consensus_norm(aggregate), tau, level)
    return not residual_norm(vectors, aggregate, tau) <= bound


def scalars_are_off(
    vector: torch.Tensor,
    aggregate: torch.Tensor,
    tau: float,
    sketcher: Sketcher,
    start: int,
    claimed: Broadcast,
    level: Level,
) -> bool:
    """Whether broadcast scalars do not fit the part that they are about (spec TOL-3)."""
    own = scalars(vector, aggregate, tau, sketcher, start)
    return _differ(own, claimed, *scalar_tolerance(own.norm, tau, level))


def gradient_is_off(
    vector: torch.Tensor,
    aggregate: torch.Tensor,
    tau: float,
    sketcher: Sketcher,
    start: int,
    claimed: Broadcast,
    gradient_rtol: float,
    level: Level,
) -> bool:
    """Whether broadcast scalars do not fit a recomputed part, whose bits may differ (spec TOL-4)."""
    own = scalars(vector, aggregate, tau, sketcher, start)
    length = consensus_norm(vector)
    return _differ(own, claimed, *gradient_tolerance(length, own.norm, tau, gradient_rtol, level))


def _differ(own: Scalars, claimed: Broadcast, row_tolerance: float, norm_tolerance: float) -> bool:
    (norm,) = unpack_norms(claimed.norm)
    return rows_differ(own, unpack_rows(claimed.rows), norm, row_tolerance, norm_tolerance)
