import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from btard.robust.centered_clip import centered_clip, distances
from btard.robust.tolerances import (
    ROUNDING,
    SOLVER,
    Level,
    aggregate_tolerance,
    credible_norm,
    gradient_tolerance,
    malformed_row,
    nu,
    scalar_tolerance,
    sum_threshold,
)
from tests.robust.hostile import RADII, vectors

LENGTHS = st.floats(0, 1e30)
NORMS = st.lists(LENGTHS, min_size=1, max_size=16)


def clip(x: Tensor, tau: float) -> Tensor:
    norm = float(x.norm())
    return x if norm <= tau else x * (tau / norm)


@pytest.mark.shows("TOL-1")
@given(NORMS, LENGTHS, RADII, st.floats(1e-9, 0.1))
def test_an_accuser_needs_more_than_a_judge(
    norms: list[float], length: float, tau: float, gradient_rtol: float
) -> None:
    margin = nu(norms, length, tau)
    vote, accuse = (aggregate_tolerance(norms, length, tau, level) for level in (Level.VOTE, Level.ACCUSE))
    assert 2 * margin <= vote
    assert vote + 2 * margin <= accuse * (1 + 1e-12)
    for low, high in zip(
        scalar_tolerance(norms[0], tau, Level.VOTE),
        scalar_tolerance(norms[0], tau, Level.ACCUSE),
        strict=True,
    ):
        assert low <= high
        assert low < high or norms[0] < 1e-300
    levels = [gradient_tolerance(length, norms[0], tau, gradient_rtol, level) for level in Level]
    assert all(low <= high <= highest for low, high, highest in zip(*levels, strict=True))


@pytest.mark.shows("VER-20")
@given(LENGTHS, RADII)
def test_nobody_covers_what_it_need_not_accuse_of_by_far(norm: float, tau: float) -> None:
    levels = [scalar_tolerance(norm, tau, level) for level in (Level.ACCUSE, Level.COVER)]
    assert all(2 * high <= highest * (1 + 1e-12) + 1e-300 for high, highest in zip(*levels, strict=True))


@pytest.mark.shows("TOL-2")
@given(st.integers(0, 10**6), st.floats(-6, 6), st.floats(-6, 6), st.integers(1, 5))
def test_moving_the_aggregate_moves_no_clipped_difference_more_than_nu_allows(
    seed: int, exponent: float, step: float, dimension: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    before, move = torch.randn(2, dimension, generator=generator, dtype=torch.float64)
    tau = 10.0**exponent
    move = move * 10.0**step / move.norm()
    moved = float((clip(before + move, tau) - clip(before, tau)).norm())
    norm = float((before + move).norm())
    allowed = nu([norm], float(move.norm()) / ROUNDING, tau) - SOLVER * tau
    assert moved <= allowed * (1 + 1e-9) + 1e-12 * tau


@pytest.mark.shows("TOL-2")
def test_a_far_aggregate_is_allowed_no_more_than_a_near_one() -> None:
    tau = 1.0
    for distance in (1e3, 1e9, 1e30):
        assert nu([distance] * 16, distance, tau) < 16 * 4e-7 * tau


@pytest.mark.shows("TOL-6")
@given(vectors(), RADII)
def test_every_fixed_point_has_a_credible_norm(inputs: list[Tensor], tau: float) -> None:
    v = centered_clip(inputs, tau)
    zero = torch.zeros_like(v)
    norm = distances([v], zero)[0]
    assert credible_norm(norm, distances(inputs, zero), tau) == norm


@pytest.mark.refuses("TOL-6")
@given(st.integers(1, 31), LENGTHS, st.floats(1e-6, 1e6))
def test_a_minority_of_long_vectors_makes_no_long_aggregate_credible(
    peers: int, typical: float, tau: float
) -> None:
    bad = (peers - 1) // 2
    lengths = [typical] * (peers - bad) + [1e30] * bad
    assert credible_norm(1e300, lengths, tau) <= 3 * typical + 2 * tau
    assert credible_norm(0.5 * typical, lengths, tau) == 0.5 * typical


@pytest.mark.shows("TOL-5")
@given(NORMS, LENGTHS, RADII)
def test_what_passes_the_single_checks_is_not_disputed(norms: list[float], length: float, tau: float) -> None:
    threshold = sum_threshold(norms, length, tau)
    scalars = sum(scalar_tolerance(norm, tau, Level.ACCUSE)[0] for norm in norms)
    aggregate = aggregate_tolerance(norms, length, tau, Level.ACCUSE)
    assert scalars + 4 * aggregate <= threshold * (1 + 1e-12) or threshold == tau / 2


@pytest.mark.refuses("TOL-5")
@given(NORMS, st.floats(0, 1e300), RADII)
def test_huge_numbers_never_hide_an_aggregate_far_from_most(
    norms: list[float], length: float, tau: float
) -> None:
    assert sum_threshold([*norms, 0.0], length, tau) <= tau / 2


@pytest.mark.shows("TOL-3")
@pytest.mark.parametrize("tau", [1e-3, 1.0, math.inf])
def test_the_tolerance_of_scalars_is_that_of_the_clipped_difference(tau: float) -> None:
    assert scalar_tolerance(2.0, tau, Level.VOTE) == (1e-9 * min(2.0, tau), 2e-9)
    assert scalar_tolerance(2.0, tau, Level.ACCUSE) == (4e-9 * min(2.0, tau), 8e-9)
    assert scalar_tolerance(0.0, tau, Level.ACCUSE) == (0.0, 0.0)


@pytest.mark.shows("TOL-3")
def test_a_zero_gradient_is_judged_by_its_distance_to_the_aggregate() -> None:
    distance = 5.0  # g = 0, so the difference is the aggregate
    row, norm = scalar_tolerance(distance, 1.0, Level.VOTE)
    assert row > 0
    assert norm > 0


@pytest.mark.shows("TOL-4")
@pytest.mark.parametrize("tau", [0.5, 100.0, math.inf])
def test_a_gradient_may_be_off_by_its_relative_tolerance(tau: float) -> None:
    row, norm = gradient_tolerance(10.0, 4.0, tau, 1e-3, Level.VOTE)
    assert row == pytest.approx(1e-2 * min(1.0, tau / 4.0), rel=1e-5)
    assert norm == pytest.approx(1e-2, rel=1e-5)
    exact_row, exact_norm = gradient_tolerance(10.0, 4.0, tau, 0.0, Level.VOTE)
    assert (exact_row, exact_norm) == scalar_tolerance(4.0, tau, Level.VOTE)


@pytest.mark.shows("TOL-4")
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-9, -2), st.floats(-2, 2))
def test_an_honest_gradient_on_other_hardware_is_within_the_tolerance(
    seed: int, exponent: float, deviation: float, spread: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    aggregate, apart, error = torch.randn(3, 20, generator=generator, dtype=torch.float64)
    tau, rtol = 10.0**exponent, 4 * 10.0**deviation
    mine = aggregate + 10.0**spread * apart
    theirs = mine + error * (rtol / 4) * mine.norm() / error.norm()
    own = float((mine - aggregate).norm())
    row, norm = gradient_tolerance(float(mine.norm()), own, tau, rtol, Level.VOTE)
    assert float((clip(mine - aggregate, tau) - clip(theirs - aggregate, tau)).norm()) <= row
    assert abs(own - float((theirs - aggregate).norm())) <= norm


@pytest.mark.shows("SKT-4")
def test_a_row_may_be_four_times_as_long_as_what_it_sketches() -> None:
    assert not malformed_row(4.0, 1.0, 10.0)
    assert not malformed_row(4.0, 10.0, 1.0)
    assert not malformed_row(0.0, 0.0, 1.0)
    assert not malformed_row(40.0, 10.0, math.inf)


@pytest.mark.refuses("SKT-4")
@pytest.mark.parametrize(
    ("length", "norm", "tau"),
    [
        (4.001, 1.0, 10.0),
        (4.001, 10.0, 1.0),
        (1e-300, 0.0, 1.0),
        (math.nan, 1.0, 1.0),
        (math.inf, 1.0, 1.0),
        (0.0, math.nan, 1.0),
        (0.0, -1.0, 1.0),
        (0.0, math.nan, math.inf),
        (41.0, 10.0, math.inf),
    ],
)
def test_longer_rows_and_numbers_that_are_none_are_malformed(length: float, norm: float, tau: float) -> None:
    assert malformed_row(length, norm, tau)


@pytest.mark.shows("AGG-4")
@given(NORMS, LENGTHS)
def test_without_clipping_no_aggregate_and_no_sum_is_disputed(norms: list[float], length: float) -> None:
    assert nu(norms, length, math.inf) == math.inf
    assert sum_threshold(norms, length, math.inf) == math.inf
    assert aggregate_tolerance(norms, length, math.inf, Level.VOTE) == math.inf


@pytest.mark.refuses("TOL-1")
def test_no_threshold_lets_nan_pass() -> None:
    assert not math.nan <= aggregate_tolerance([1.0], 1.0, 1.0, Level.ACCUSE)
    assert not math.nan <= sum_threshold([1.0], 1.0, math.inf)
