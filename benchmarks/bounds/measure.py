"""What cheats gain in fact, with the real aggregation, sketches, thresholds and elections."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from benchmarks.bounds.chances import Cast, played
from benchmarks.bounds.shifts import ROW_LIMIT, covered_pull, displacement, passed_gradient, seen_residual
from benchmarks.bounds.sketches import SEEN, Array, sampled_lengths, sparse_lengths
from btard.hashing import xof
from btard.robust.centered_clip import centered_clip, distances
from btard.robust.judging import gradient_is_off
from btard.robust.scalars import scalars
from btard.robust.sketch import Sketcher
from btard.robust.tolerances import Level, sum_threshold

MISSED = 1e-6
"""The probability at which a shift counts as missed."""

FAR = 1e6
"""Where cheats put their vectors, in spreads of the honest ones."""


def normal(count: int, dimension: int, seed: int) -> list[Tensor]:
    """Return random vectors of about length 1, float32."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(dimension, generator=generator) / math.sqrt(dimension) for _ in range(count)]


# -- verification 2 ---------------------------------------------------------------------------------------


@frozen(eq=False)
class Direction:
    """A direction to cheat in: of length 1, and its few entries if it has but few."""

    name: str
    vector: Tensor
    entries: tuple[float, ...] = ()

    def lengths(self, keys: int) -> Array:
        """Return lengths of rows of it: all equally likely ones, or under so many sketch values."""
        return sparse_lengths(self.entries) if self.entries else sampled_lengths(self.vector, keys).ravel()


def directions(dimension: int) -> list[Direction]:
    """Return the directions that are worth a try, of at least 64 coordinates."""

    def sparse(name: str, entries: Sequence[float]) -> Direction:
        length = math.hypot(*entries)
        vector = torch.zeros(dimension, dtype=torch.float64)
        vector[: len(entries)] = torch.tensor(entries) / length
        return Direction(name, vector, tuple(entry / length for entry in entries))

    dense = normal(1, dimension, seed=99)[0].double()
    return [
        sparse("one coordinate", [1.0]),
        sparse("two equal, opposite signs", [1.0, -1.0]),
        sparse("three equal", [1.0, 1.0, -1.0]),
        sparse("two equal, two of half", [1.0, -1.0, 0.5, -0.5]),
        Direction("one bucket of the last step", _one_bucket(dimension)),
        Direction("dense", dense / dense.norm()),
    ]


def _one_bucket(dimension: int) -> Tensor:
    """Return what fell into one bucket of the first row under another sketch value, and cancelled there."""
    codes = np.frombuffer(xof("sketch", b"\xff" * 32).read(4 * dimension), dtype=np.uint8)[::4]
    signs = np.where(codes & 128, -1.0, 1.0) * (codes & 15 == 0)
    inside = np.flatnonzero(signs)
    signs[inside[::2]] *= -1
    vector = torch.from_numpy(signs)
    unit: Tensor = vector / vector.norm()
    return unit


def missed(lengths: Array, ratio: float) -> float:
    """Return how often all four rows of a residual of ``ratio`` thresholds stay below it."""
    return float((lengths * ratio <= 1).mean()) ** 4


def missed_residual(lengths: Array) -> float:
    """Return the largest residual, in thresholds, that is missed more often than `MISSED`."""
    kept = np.sort(lengths)
    few = int(MISSED**0.25 * len(kept))  # so many shorter ones do not make the probability
    return float(1 / kept[few])


@frozen
class Shift:
    """A shift of the aggregate, in tau: what is missed more often than 1e-6, and the bound."""

    direction: str
    peers: int
    dimension: int
    measured: float
    bound: float


def shifts(peers: int, dimension: int, keys: int) -> list[Shift]:
    """Return what an uncovered aggregator gains whose contributors lie within tau (BND-1, lemma 2)."""
    tau = 2.0
    parts = normal(peers, dimension, seed=peers)
    v = centered_clip(parts, tau)
    norms, own = distances(parts, v), float(v.double().norm())
    threshold = sum_threshold(norms, own, tau)
    bound = seen_residual(norms, own, tau) / peers
    results = []
    for direction in directions(dimension):
        # every contributor lies inside, so a shift by s leaves a residual of peers * s
        reached = missed_residual(direction.lengths(keys)) * threshold / peers
        results.append(Shift(direction.name, peers, dimension, reached / tau, bound / tau))
    return results


def disputed(parts: Sequence[Tensor], v: Tensor, tau: float, sketcher: Sketcher) -> bool:
    """Whether verification 2 disputes an aggregate that nobody covers (VER-7)."""
    said = [scalars(part, v, tau, sketcher, 0) for part in parts]
    longest = float(torch.stack([own.rows for own in said]).sum(dim=0).norm(dim=1).max())
    return not longest <= sum_threshold([own.norm for own in said], float(v.double().norm()), tau)


# -- covered cheats ---------------------------------------------------------------------------------------


@frozen
class Covered:
    """How far liars can move an aggregate, in spreads of the honest contributors."""

    liars: int
    one_coordinate: float  # in which 95 % of the sketch values let it pass
    dense: float  # where half of them do
    rows_as_vectors: float  # the formula where rows are as long as their vectors
    bound: float


def covered(honest: int, byzantine: int, tau: float, dimension: int, keys: int) -> list[Covered]:
    """Return what liars gain whose false rows make the sums vanish (lemma 4); the honest spread is 1."""
    parts = [part.double() for part in normal(honest, dimension, seed=1)]
    rows = torch.stack(parts) - torch.stack(parts).mean(dim=0)
    rows = rows / rows.norm(dim=1, keepdim=True)
    one, dense = (d.vector for d in directions(dimension) if d.name in ("one coordinate", "dense"))
    results = []
    for liars in range(byzantine + 1):
        limit = ROW_LIMIT * liars * tau
        pulls = [covered_pull(liars, byzantine, factor) for factor in (1.0, SEEN)]
        reached = [
            _farthest(rows, u, tau, (byzantine - liars) * tau, limit, keys, odds)
            for u, odds in ((one, 0.95), (dense, 0.5))
        ]
        results.append(Covered(liars, *reached, *(displacement(1.0, tau, honest, pull) for pull in pulls)))
    return results


def _farthest(
    rows: Tensor, u: Tensor, tau: float, followed: float, limit: float, keys: int, odds: float
) -> float:
    """Return how far along ``u`` four rows of the residual stay below ``limit`` with these odds."""

    def covers(distance: float) -> bool:
        away = rows - distance * u
        norms = away.norm(dim=1, keepdim=True)
        residual = (away * (tau / norms).clamp(max=1.0)).sum(dim=0)
        back = -float(residual @ u)
        if limit == 0:
            return back <= followed
        lengths = sampled_lengths(residual + min(back, followed) * u, keys)
        return float((lengths.max(axis=1) <= limit).mean()) >= odds

    return _last(covers, FAR)


def _last(holds: Callable[[float], bool], most: float) -> float:
    """Return about the last positive number for which a monotone property holds; inf beyond ``most``."""
    if holds(most):
        return math.inf
    low, high = 1e-9, most
    while high > low * 1.002:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


# -- CenteredClip, elections, gradients -------------------------------------------------------------------


def dragged(contributors: int, byzantine: int, tau: float, dimension: int, seed: int = 0) -> float:
    """Return how far vectors far away drag the aggregate from the mean of honest ones at distance 1."""
    rows = torch.stack(normal(contributors - byzantine, dimension, seed)).double()
    rows = rows - rows.mean(dim=0)
    rows = rows / rows.norm(dim=1, keepdim=True)
    u = normal(1, dimension, seed + 1)[0]
    v = centered_clip([*rows.float(), *[FAR * u / u.norm()] * byzantine], tau)
    return float((v.double() - rows.mean(dim=0)).norm())


def caught_after(cast: Cast, runs: int) -> Array:
    """Return in which step the lies were found, in so many runs, in increasing order."""
    return np.sort(np.array([played(cast, run) for run in range(runs)], dtype=np.float64))


@frozen
class Passed:
    """How far one contributor moves its clipped difference unseen with even odds, and the bound; in tau."""

    gradient_rtol: float
    dense: float
    one_coordinate: float
    bound: float


def passed(gradient_rtol: float, tau: float, dimension: int, keys: int) -> Passed:
    """Return what ``gradient_rtol`` lets pass (lemma 7), for a part of length 1 and these sketch values."""
    part, aggregate = normal(2, dimension, seed=7)
    norm = distances([part], aggregate)[0]
    length = float(part.double().norm())
    sketchers = [Sketcher(key.to_bytes(32, "big")) for key in range(keys)]
    true = [scalars(part, aggregate, tau, sketcher, 0) for sketcher in sketchers]

    def reached(u: Tensor) -> float:
        def spared(size: float) -> bool:
            wrong = (part.double() + size * u).float()
            said = [scalars(wrong, aggregate, tau, sketcher, 0) for sketcher in sketchers]
            accused = [
                gradient_is_off(
                    own, length, sent.packed_rows(), sent.packed_norm(), tau, gradient_rtol, Level.ACCUSE
                )
                for own, sent in zip(true, said, strict=True)
            ]
            return 2 * sum(accused) <= keys

        error = _last(spared, 10.0) * u
        before = part.double() - aggregate
        return float((_clip(before + error, tau) - _clip(before, tau)).norm()) / tau

    one, dense = (d.vector for d in directions(dimension) if d.name in ("one coordinate", "dense"))
    bound = passed_gradient(length, norm, tau, gradient_rtol) / tau
    return Passed(gradient_rtol, reached(dense), reached(one), bound)


def _clip(x: Tensor, tau: float) -> Tensor:
    norm = float(x.norm())
    return x if norm <= tau else x * (tau / norm)
