"""How far a number may be off: every numeric check of the protocol, each with two thresholds (spec TOL-1).

A judge finds guilty above the *vote* threshold, an honest peer accuses above the higher *accuse* threshold.
Between the two lies more than honest recomputation can deviate, so an honest accusation is always upheld.
Each docstring says what an attacker gains by staying inside. Compare as ``not value <= tolerance``, so that
NaN never passes.

Pure Python: the state machine imports this, and all peers must get the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Final

from attrs import frozen

ROUNDING = 2.0**-24
"""Relative error of rounding to float32."""

SOLVER = 1e-7
"""What CenteredClip's solver may leave of the residual, per contributor and in units of tau."""


class Level(Enum):
    """Which threshold; the values are the relative tolerance of scalars and the factors of the others."""

    VOTE = (1e-9, 4.0, 1.0)
    ACCUSE = (4e-9, 6.0, 2.0)
    COVER = (8e-9, 12.0, 4.0)  # what an aggregator that accuses above ACCUSE cannot have missed

    @property
    def scalar_rtol(self) -> float:
        """Relative tolerance of sketch rows and norms."""
        return self.value[0]

    @property
    def aggregate_factor(self) -> float:
        """How many times nu the residual of an aggregate may be."""
        return self.value[1]

    @property
    def gradient_factor(self) -> float:
        """How many times gradient_rtol a recomputed gradient may be off."""
        return self.value[2]


@frozen
class Looks:
    """How many models a peer looks at a second time, and how far from the true one: in units of ROUNDING."""

    number: int
    distance: float


LOOKS: Final = {Level.VOTE: Looks(8, 16.0), Level.ACCUSE: Looks(24, 64.0)}
"""An accuser looks more often and farther than judges do (spec TRN-21): what they can find, it has found."""


def nu(norms: Sequence[float], aggregate_norm: float, tau: float) -> float:
    """Return the largest residual that an honest aggregate can show (spec TOL-2).

    Rounding the aggregate v to float32 moves it by at most e = 2**-24 ||v||. That moves the clipped
    difference of a contributor at distance ``norm`` by at most e, and by 2 tau e / norm where
    norm > max(tau, 2 e), since clipping to a ball of radius tau shrinks what lies outside. ``norms`` are
    the contributors' distances.

    A bound in ||v|| alone, n * e, would let an aggregator move v so far away that the bound exceeds the
    largest possible residual, n * tau. One contributor that lies to follow it there has the same effect
    on this bound: whoever judges passes `credible_norm`, not ||v||.
    """
    if math.isinf(tau):
        return math.inf
    error = ROUNDING * aggregate_norm
    moved = math.fsum(_shrinkage(norm, tau, error) for norm in norms)
    return moved * error + len(norms) * SOLVER * tau


def _shrinkage(norm: float, tau: float, error: float) -> float:
    if norm <= max(tau, 2 * error):
        return 1.0
    return min(1.0, 2 * tau / norm)


def credible_norm(aggregate_norm: float, lengths: Sequence[float], tau: float) -> float:
    """Return ||v||, or the largest that a fixed point can have if that is smaller (spec TOL-6).

    ``lengths`` are the contributors' ||g_i||; R is the smallest that k = n // 2 + 1 of them do not exceed. If
    ||v|| > R + tau, each of those k pulls v towards zero with at least tau sqrt(1 - (R / ||v||)**2), the
    others away with at most (n - k) tau; so the residual vanishes only where
    ||v|| <= R k / sqrt(n (2 k - n)). The margin of 0.1 % covers what an honest residual leaves.

    Gain: none. Without it, v equal to one liar's vector of 1e9 tau would pass as a rounding error.
    """
    n = len(lengths)
    k = n // 2 + 1
    typical = sorted(lengths)[k - 1]
    limit = max(typical + tau, typical * k / math.sqrt(n * (2 * k - n)))
    return min(aggregate_norm, 1.001 * limit)


def aggregate_tolerance(norms: Sequence[float], aggregate_norm: float, tau: float, level: Level) -> float:
    """Return how long the residual of an aggregate may be (spec TOL-2).

    ``aggregate_norm`` is the `credible_norm` of the aggregate.

    Gain: an aggregator can shift its part until the residual is 4 nu; where all c contributors lie within tau
    that is a shift of 4 nu / c, about 4e-7 tau.
    """
    return level.aggregate_factor * nu(norms, aggregate_norm, tau)


def scalar_tolerance(norm: float, tau: float, level: Level) -> tuple[float, float]:
    """Return by how much a sketch row (Euclidean length) and a norm may be off (spec TOL-3).

    ``norm`` is the judge's own. Differences of float32 numbers are taken in float64 and summed there, so
    honest numbers differ in the order of summation only. Gain: 1e-9 of the clipped difference.
    """
    return level.scalar_rtol * min(tau, norm), level.scalar_rtol * norm


def gradient_tolerance(
    own_norm: float, norm: float, tau: float, gradient_rtol: float, level: Level
) -> tuple[float, float]:
    """Return by how much a target's row and norm may be off from the recomputed gradient's (spec TOL-4).

    ``own_norm`` is the length of the recomputed part, ``norm`` its distance to the aggregate. A part that is
    off by e moves the clipped difference by e * min(1, tau / norm), to first order. gradient_rtol is at least
    four times the largest relative deviation between honest recomputations, since a sketch row of a
    deviation can be longer than the deviation itself. A part shorter than gradient_rtol * tau counts as one
    of that length: what a converged model's small gradients are differences of is not small, and neither are
    its rounding errors. Gain: nobody accuses below twice gradient_rtol, and rows can be a third as long as what
    they sketch; so each contributor can change its clipped difference by 6 gradient_rtol *
    max(own_norm, gradient_rtol * tau) * min(1, tau / norm) (spec/45-bounds.md, lemma 7).
    """
    least = gradient_rtol * tau if math.isfinite(tau) else 0.0
    error = level.gradient_factor * gradient_rtol * max(own_norm, least)
    row, length = scalar_tolerance(norm, tau, level)
    return error * (1.0 if norm <= tau else tau / norm) + row, error + length


def sum_threshold(norms: Sequence[float], aggregate_norm: float, tau: float) -> float:
    """Return how long a summed sketch row may be before the part is disputed (spec TOL-5).

    Above everything that passes the accuse thresholds: twice the scalars' tolerance, and four times (a row of
    a sketch is no longer than that times its vector, but with odds below 1e-20) 8 nu against 6. So a disputed
    sum convicts somebody. Never above tau / 2: the residual of an aggregate that is far from more than half
    of the contributors is at least about tau, so nobody can hide behind huge numbers, though where float32
    cannot hold the fixed point to better than that, a part may be looked at in vain. Gain: a residual three
    times as long, but with odds of 1e-6 (BND-1); where all contributors lie within tau, a shift of about
    1e-5 tau.
    """
    if math.isinf(tau):
        return math.inf
    scalars = math.fsum(2 * Level.ACCUSE.scalar_rtol * min(tau, norm) for norm in norms)
    return min(tau / 2, scalars + 32 * nu(norms, aggregate_norm, tau))


def malformed_row(length: float, norm: float, tau: float) -> bool:
    """Whether a sketch row is longer than 4 min(tau, norm), as no honest one is (spec SKT-4).

    Gain: a liar who covers a wrong aggregate outweighs the rows of four honest contributors, and other cheats
    with wrong gradients one each. Where k liars among f cheats have 3 k + f >= h honest ones, that is any
    residual at all, and only the distances bound the harm (VER-8, BND-2; spec/45-bounds.md, lemma 4).
    """
    return not (norm >= 0 and length <= 4 * min(tau, norm) * (1 + 1e-6))
