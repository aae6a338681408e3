import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btard.robust.encoding import (
    BUCKETS,
    NORM_SIZE,
    ROWS,
    SKETCH_SIZE,
    pack_norms,
    pack_rows,
    unpack_norms,
    unpack_rows,
)

NUMBERS = st.floats(allow_nan=False)
SKETCHES = st.integers(0, 2).flatmap(
    lambda parts: st.lists(st.tuples(*[NUMBERS] * BUCKETS), min_size=ROWS * parts, max_size=ROWS * parts)
)


@pytest.mark.shows("SKT-5")
@given(SKETCHES, st.lists(NUMBERS, max_size=5))
def test_rows_and_norms_come_back_as_they_were(rows: list[tuple[float, ...]], norms: list[float]) -> None:
    assert unpack_rows(pack_rows(rows)) == rows
    assert unpack_norms(pack_norms(norms)) == tuple(norms)


@pytest.mark.shows("SKT-5")
def test_rows_travel_one_after_another_in_little_endian_float64() -> None:
    rows = [[float(16 * row + bucket) for bucket in range(BUCKETS)] for row in range(ROWS)]
    assert pack_rows(rows) == struct.pack("<64d", *range(64))
    assert len(pack_rows(rows)) == SKETCH_SIZE == 512
    assert pack_norms([1.0]) == bytes.fromhex("000000000000f03f")
    assert len(pack_norms([1.0])) == NORM_SIZE


@pytest.mark.refuses("SKT-5")
@pytest.mark.parametrize("size", [1, 128, 511, 513])
def test_bytes_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes are no whole sketches"):
        unpack_rows(bytes(size))
    with pytest.raises(ValueError, match=f"{8 * size + 1} bytes are no whole norms"):
        unpack_norms(bytes(8 * size + 1))
