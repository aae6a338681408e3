import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from btard.consensus import row_norm
from btard.robust.encoding import BUCKETS, ROWS, unpack_norms, unpack_rows
from btard.robust.scalars import Scalars, plain, rows_differ, scalars
from btard.robust.sketch import Sketcher
from btard.robust.tolerances import Level, malformed_row, scalar_tolerance
from tests.robust.hostile import RADII, vectors

KEY = bytes(range(32))
SKETCHER = Sketcher(KEY)


def randn(length: int, seed: int) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(seed))


def exact(g: Tensor, aggregate: Tensor, tau: float, start: int) -> tuple[list[list[float]], float]:
    """Scalars from correctly rounded sums, each number summed by itself."""
    delta = (g.double() - aggregate.double()).tolist()
    norm = math.sqrt(math.fsum(x * x for x in delta))
    factor = 1.0 if norm <= tau else tau / norm
    stream = SKETCHER.rows  # one coordinate at a time says bucket and sign of each row
    terms: list[list[list[float]]] = [[[] for _ in range(BUCKETS)] for _ in range(ROWS)]
    one = torch.ones(1)
    for k, x in enumerate(delta):
        for row, signs in enumerate(stream(one, start + k).tolist()):
            bucket = next(b for b, sign in enumerate(signs) if sign)
            terms[row][bucket].append(signs[bucket] * x * factor)
    return [[math.fsum(bucket) for bucket in row] for row in terms], norm


@pytest.mark.shows("SKT-3", "TOL-3")
@given(vectors(max_peers=3), RADII)
def test_honest_numbers_differ_by_far_less_than_a_quarter_of_the_tolerance(
    inputs: list[Tensor], tau: float
) -> None:
    g, aggregate = inputs[0], inputs[-1]
    own = scalars(g, aggregate, tau, SKETCHER, 5)
    rows, norm = exact(g, aggregate, tau, 5)
    row_tolerance, norm_tolerance = scalar_tolerance(own.norm, tau, Level.VOTE)
    assert not rows_differ(own, rows, norm, row_tolerance / 1000, norm_tolerance / 1000)


@pytest.mark.shows("TOL-3")
@pytest.mark.parametrize("name", ["equal", "ramp", "heavy", "huge", "near"])
def test_another_order_of_summation_stays_within_a_thousandth_of_the_tolerance(name: str) -> None:
    length, tau = 400_000, 3.0
    heavy = randn(length, 0) * torch.exp(8 * randn(length, 1))
    aggregate = {"huge": torch.full((length,), -3e38), "near": torch.full((length,), 1e6)}.get(
        name, torch.zeros(length)
    )
    g = {
        "equal": torch.full((length,), 0.1),
        "ramp": torch.arange(length).float(),
        "heavy": heavy,
        "huge": torch.full((length,), 3e38),
        "near": 1e6 + randn(length, 2),
    }[name]
    own = scalars(g, aggregate, tau, SKETCHER, 0)
    rows, squares = torch.zeros(ROWS, BUCKETS, dtype=torch.float64), 0.0
    for begin in reversed(range(0, length, 7777)):
        delta = g[begin : begin + 7777].double() - aggregate[begin : begin + 7777].double()
        rows += SKETCHER.rows(delta, begin)
        squares += float(delta @ delta)
    norm = math.sqrt(squares)
    row_tolerance, norm_tolerance = scalar_tolerance(own.norm, tau, Level.VOTE)
    other = (rows * min(1.0, tau / norm)).tolist()
    assert not rows_differ(own, other, norm, row_tolerance / 1000, norm_tolerance / 1000)


@pytest.mark.shows("SKT-3", "SKT-5")
def test_scalars_are_of_the_clipped_difference_and_travel_as_bytes() -> None:
    g, aggregate, tau = randn(500, 1), randn(500, 2), 2.0
    own = scalars(g, aggregate, tau, SKETCHER, 9)
    delta = g.double() - aggregate.double()
    assert own.norm == pytest.approx(float(delta.norm()))
    assert torch.allclose(own.rows, SKETCHER.rows(delta * (tau / own.norm), 9), rtol=0, atol=1e-12)
    assert unpack_rows(own.packed_rows()) == [tuple(row) for row in own.rows.tolist()]
    assert unpack_norms(own.packed_norm()) == (own.norm,)


@pytest.mark.shows("SKT-3")
@pytest.mark.parametrize("tau", [1e3, math.inf])
def test_what_lies_within_tau_is_not_clipped(tau: float) -> None:
    g = randn(500, 1)
    own = scalars(g, torch.zeros(500), tau, SKETCHER, 0)
    assert torch.allclose(own.rows, SKETCHER.rows(g, 0), rtol=0, atol=1e-12)
    equal = scalars(g, g, tau, SKETCHER, 0)
    assert equal.norm == 0
    assert not bool(equal.rows.any())


@pytest.mark.shows("VER-5", "SKT-3")
@pytest.mark.parametrize("tau", [1.0, math.inf])
def test_a_validator_sketches_the_part_itself(tau: float) -> None:
    g = randn(500, 1)
    mine, against_zero = plain(g, tau, SKETCHER, 3), scalars(g, torch.zeros(500), tau, SKETCHER, 3)
    assert torch.equal(mine.rows, against_zero.rows)
    assert mine.norm == against_zero.norm


@pytest.mark.shows("SKT-4")
@given(vectors(max_peers=3), RADII)
def test_no_honest_row_is_malformed(inputs: list[Tensor], tau: float) -> None:
    for own in (scalars(inputs[0], inputs[-1], tau, SKETCHER, 0), plain(inputs[0], tau, SKETCHER, 0)):
        assert not any(malformed_row(row_norm(row), own.norm, tau) for row in own.rows.tolist())


@pytest.mark.refuses("TOL-3")
@given(st.integers(0, ROWS - 1), st.integers(0, BUCKETS - 1), st.sampled_from([2e-9, 1e-3, 1e300, math.nan]))
def test_a_changed_row_differs(row: int, bucket: int, change: float) -> None:
    own = scalars(randn(100, 3), randn(100, 4), 1.0, SKETCHER, 0)
    tolerance = scalar_tolerance(own.norm, 1.0, Level.VOTE)
    claimed = own.rows.tolist()
    assert not rows_differ(own, claimed, own.norm, *tolerance)
    claimed[row][bucket] += change
    assert rows_differ(own, claimed, own.norm, *tolerance)


@pytest.mark.refuses("TOL-3")
@pytest.mark.parametrize("norm", [math.nan, math.inf, -1.0, 0.0])
def test_a_changed_norm_differs(norm: float) -> None:
    own = scalars(randn(100, 3), randn(100, 4), 1.0, SKETCHER, 0)
    assert rows_differ(own, own.rows.tolist(), norm, *scalar_tolerance(own.norm, 1.0, Level.ACCUSE))
    nothing = Scalars(torch.zeros(ROWS, BUCKETS, dtype=torch.float64), 0.0)
    assert rows_differ(nothing, nothing.rows.tolist(), 1e-300, *scalar_tolerance(0.0, 1.0, Level.ACCUSE))


@pytest.mark.refuses("SKT-3")
def test_parts_of_other_lengths_do_not_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        scalars(torch.zeros(3), torch.zeros(4), 1.0, SKETCHER, 0)
