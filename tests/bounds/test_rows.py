"""Lemma 1: a row is no longer than a third of its vector with probability at most 1/32."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bounds.measure import MISSED, directions, missed_residual
from benchmarks.bounds.sketches import (
    SEEN,
    WORST_ROW,
    equal_lengths,
    flat_row_bound,
    sampled_lengths,
    sparse_lengths,
)

ENTRIES = st.one_of(st.floats(0.01, 1), st.sampled_from([1.0, 0.5, 1 / 3, 0.1]))
KEYS = 1500
DIRECTIONS = {direction.name: direction for direction in directions(1000)}


def at_most(entries: list[float], factor: float) -> float:
    """The exact probability that a row is no longer than 1/factor of its vector."""
    return float((sparse_lengths(entries) * factor <= math.hypot(*entries)).mean())


def test_four_rows_of_the_worst_case_are_less_than_one_in_a_million() -> None:
    assert WORST_ROW**4 == 2**-20 < MISSED


@given(entry=st.floats(1e-6, 1e6))
def test_one_coordinate_is_seen_at_its_full_length(entry: float) -> None:
    assert sparse_lengths([entry]).tolist() == [entry]


@settings(max_examples=60)
@given(st.lists(ENTRIES, min_size=2, max_size=4))
def test_no_sparse_vector_is_worse_than_two_equal_coordinates(entries: list[float]) -> None:
    assert at_most(entries, SEEN) <= WORST_ROW


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e9])
def test_two_equal_coordinates_are_the_worst_case_at_any_length(size: float) -> None:
    assert at_most([size, -size], SEEN) == at_most([size, -size], 1e9) == WORST_ROW


@settings(max_examples=60)
@given(largest=st.floats(0.01, 1), others=st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_a_vector_with_a_long_entry_leaves_one_position_of_thirty_two(
    largest: float, others: list[float]
) -> None:
    """The case that the proof settles at once: the entry is longer than sqrt(2) times the row may be."""
    entries = [largest, *[entry * largest for entry in others]]
    factor = math.sqrt(2) * math.hypot(*entries) / largest * (1 + 1e-9)
    assert at_most(entries, factor) <= WORST_ROW


def test_flat_vectors_stay_below_with_all_sizes_of_entries() -> None:
    """The other case, bounded over all of them at once."""
    assert flat_row_bound(SEEN) < WORST_ROW
    assert flat_row_bound(2.6) < WORST_ROW < flat_row_bound(2.4), "about the least factor that this proof gives"


def test_two_thresholds_are_missed_less_often_than_seven_times_in_ten_thousand() -> None:
    """What a far aggregate with followers leaves at least where the honest are one more than the cheats."""
    assert max(flat_row_bound(1.99, spread=12.0), WORST_ROW) ** 4 < 7e-4


@pytest.mark.parametrize("count", [6, 8, 9, 12])
def test_vectors_of_equal_coordinates_stay_below_the_bound_on_flat_ones(count: int) -> None:
    squares = equal_lengths(count)
    assert sum(squares.values()) == pytest.approx(1)
    short = sum(odds for square, odds in squares.items() if square * SEEN**2 <= count)
    assert 0 < short < flat_row_bound(SEEN)


def test_the_two_ways_to_count_agree() -> None:
    for count in (1, 2, 3, 4):
        squares = np.rint(sparse_lengths([1.0] * count) ** 2)
        counted = {int(square): float((squares == square).mean()) for square in np.unique(squares)}
        assert counted == equal_lengths(count)


def test_less_than_three_times_the_threshold_would_be_too_little_to_promise() -> None:
    """Some vectors are missed more often than 1e-6 up to 2.2 thresholds."""
    assert at_most([1, 1, 1], 1.7) ** 4 > 50 * MISSED
    assert at_most([1, -1, 0.5, -0.5], 2.2) ** 4 > MISSED


@pytest.mark.parametrize("name", DIRECTIONS)
def test_what_is_missed_more_often_lies_within_the_bound(name: str) -> None:
    assert missed_residual(DIRECTIONS[name].lengths(KEYS)) <= SEEN


@pytest.mark.parametrize("name", ["dense", "one bucket of the last step"])
def test_no_row_of_a_spread_out_direction_is_much_too_short(name: str) -> None:
    """None of 6000: so the odds are below 0.003 with confidence 1e-7, and for four rows below 1e-10."""
    assert sampled_lengths(DIRECTIONS[name].vector, KEYS).min() * SEEN > 1


def test_real_rows_are_blind_as_often_as_counted_and_independent() -> None:
    blind = sampled_lengths(DIRECTIONS["two equal, opposite signs"].vector[:2], 4000) == 0
    assert blind.mean(axis=0) == pytest.approx([WORST_ROW] * 4, rel=0.35)
    pairs = [(blind[:, a] & blind[:, b]).mean() for a in range(4) for b in range(a)]
    assert np.mean(pairs) == pytest.approx(WORST_ROW**2, rel=0.5)
    assert not blind.all(axis=1).any()


def test_real_rows_have_the_lengths_that_are_counted() -> None:
    direction = DIRECTIONS["two equal, two of half"]
    sampled, exact = sampled_lengths(direction.vector[:4], KEYS), direction.lengths(0)
    for limit in (0.5, 0.75, 1.01, 1.2):
        assert (sampled <= limit).mean() == pytest.approx((exact <= limit).mean(), abs=0.02)
