from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard.robust.partition import bounds


@pytest.mark.shows("AGG-1")
@given(st.integers(1, 40), st.integers(0, 10**9))
def test_parts_cover_the_vector_in_order_and_differ_by_one_at_most(parts: int, extra: int) -> None:
    cut = bounds(parts + extra, parts)
    sizes = [end - start for start, end in cut]
    assert cut[0][0] == 0
    assert cut[-1][1] == parts + extra
    assert all(end == start for (_, end), (start, _) in pairwise(cut))
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.shows("AGG-1")
def test_the_first_parts_are_the_longer_ones() -> None:
    assert bounds(10, 4) == ((0, 3), (3, 6), (6, 8), (8, 10))


@pytest.mark.refuses("AGG-1")
@pytest.mark.parametrize(("dimension", "parts"), [(3, 4), (3, 0), (3, -1), (0, 0), (0, 1)])
def test_no_part_is_empty(dimension: int, parts: int) -> None:
    with pytest.raises(ValueError, match=f"cannot cut {dimension} coordinates into {parts} parts"):
        bounds(dimension, parts)
