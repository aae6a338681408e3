"""What an aggregator gains that nobody covers: lemmas 2 and 3, and CenteredClip's own bound."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.bounds.measure import directions, disputed, dragged, normal, shifts
from benchmarks.bounds.shifts import displacement, seen_residual
from btard.robust.centered_clip import centered_clip, distances, residual_norm
from btard.robust.sketch import Sketcher

DIMENSION = 300
KEYS = 8


def moved(v: Tensor, u: Tensor, shift: float) -> Tensor:
    return (v.double() + shift * u).float()


@pytest.mark.shows("BND-1")
@pytest.mark.refuses("BND-1")
@pytest.mark.parametrize("peers", [3, 9])
@pytest.mark.parametrize("tau", [2.0, 0.1])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_a_residual_above_the_bound_is_disputed_in_every_direction(
    peers: int, tau: float, scale: float
) -> None:
    """Also where contributors lie outside of the ball, and where the aggregate is long."""
    (centre,) = normal(1, DIMENSION, seed=50)
    parts = [scale * centre + part for part in normal(peers, DIMENSION, seed=peers)]
    v = centered_clip(parts, tau)
    for direction in directions(DIMENSION):
        shift = tau * 1e-5
        while True:
            wrong = moved(v, direction.vector, shift)
            norms, own = distances(parts, wrong), float(wrong.double().norm())
            if residual_norm(parts, wrong, tau) > seen_residual(norms, own, tau):
                break
            shift *= 1.2
        for key in range(KEYS):
            sketcher = Sketcher(key.to_bytes(32, "little"))
            assert disputed(parts, wrong, tau, sketcher), direction.name
            assert not disputed(parts, v, tau, sketcher)


@pytest.mark.parametrize("peers", [8, 16])
@pytest.mark.parametrize("dimension", [100, 2000])
def test_what_an_uncovered_aggregator_gains_is_within_the_bound_and_a_hundred_thousandth_of_tau(
    peers: int, dimension: int
) -> None:
    for shift in shifts(peers, dimension, keys=500):
        assert shift.bound / 4 < shift.measured <= shift.bound < 1.2e-5, shift.direction


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    honest=st.integers(2, 8),
    others=st.integers(0, 6),
    spread=st.floats(0.01, 0.9),
    share=st.floats(0.01, 0.99),
)
def test_a_small_residual_means_a_small_shift_if_some_contributors_lie_inside(
    seed: int, honest: int, others: int, spread: float, share: float
) -> None:
    """Lemma 2, with tau = 1: the others lie anywhere and are no more than those inside."""
    others = min(others, honest - 1)
    near = [spread * part / part.norm() for part in normal(honest, 20, seed)]
    far = [10.0 ** (k + 1) * part for k, part in enumerate(normal(others, 20, seed + 1))]
    parts = near + far
    v = centered_clip(parts, 1.0)
    inside = [norm for norm in distances(parts, v) if norm < 1]
    if not inside:
        return
    margin = 1 - max(inside)
    direction = normal(1, 20, seed + 2)[0].double()
    wrong = moved(v, direction / direction.norm(), share * 2 * margin)
    residual = residual_norm(parts, wrong, 1.0)
    slack = 1e-5 * len(parts) * (1 + float(v.norm()))
    if residual < len(inside) * margin - slack:
        assert len(inside) * distances([v], wrong)[0] <= residual + slack


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    honest=st.integers(1, 12),
    bad=st.integers(0, 11),
    exponent=st.floats(-3, 3),
    scales=st.lists(st.floats(-2, 8), min_size=11, max_size=11),
    together=st.booleans(),
)
def test_a_minority_of_vectors_moves_the_aggregate_no_farther_than_stated(
    seed: int, honest: int, bad: int, exponent: float, scales: list[float], together: bool
) -> None:
    """Lemma 3, for cheats that send what they like; honest vectors lie within 1 of the centre."""
    bad = min(bad, honest - 1)
    tau = 10.0**exponent
    good = [part / max(1.0, float(part.norm())) for part in normal(honest, 12, seed)]
    direction = normal(1, 12, seed + 1)[0]
    cheats = [
        10.0**scale * (direction if together else other)
        for scale, other in zip(scales, normal(bad, 12, seed + 2), strict=False)
    ]
    v = centered_clip([*good, *cheats], tau)
    share = bad / honest
    limit = max(1 + share * tau, 1 / math.sqrt(1 - share**2))
    assert float(v.norm()) <= limit * (1 + 1e-4)


@pytest.mark.parametrize(("byzantine", "usual"), [(7, 1.8), (5, 0.577), (3, 0.26)])
@pytest.mark.parametrize("tau", [0.01, 1.0])
def test_far_vectors_drag_the_aggregate_of_spread_out_ones_as_far_as_stated(
    byzantine: int, usual: float, tau: float
) -> None:
    """Out of 15: 8 to 7 by 1.8 times the honest spread, 12 to 3 by 0.26."""
    reached = dragged(15, byzantine, tau, 4000)
    share = byzantine / (15 - byzantine)
    assert reached == pytest.approx(share / math.sqrt(1 - share**2), rel=0.01) == pytest.approx(usual, rel=0.02)
    assert reached <= displacement(1.0, tau, 15 - byzantine, byzantine)


@pytest.mark.parametrize("byzantine", [1, 3, 5])
def test_within_tau_the_stated_shift_is_reached(byzantine: int) -> None:
    bound = displacement(1.0, 4.0, 15 - byzantine, byzantine)
    assert dragged(15, byzantine, 4.0, 4000) == pytest.approx(bound, rel=1e-3)


def test_an_even_split_has_no_bound() -> None:
    assert displacement(1.0, 1.0, 7, 7) == math.inf
    assert dragged(14, 7, 1.0, 100) > 1e3


def test_an_even_number_of_vectors_far_apart_leaves_the_aggregator_a_choice() -> None:
    """All points between the middle two are fixed points where these are farther than tau from each."""
    parts = [torch.tensor([x]) for x in (-10.0, -9.0, 9.0, 10.0)]
    for point in (-7.0, 0.0, 7.0):
        assert residual_norm(parts, torch.tensor([point]), 1.0) < 1e-15  # the order of a sum is not ours
