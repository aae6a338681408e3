import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from btard.hashing import xof
from btard.robust.centered_clip import centered_clip
from btard.robust.encoding import BUCKETS, ROWS
from btard.robust.scalars import scalars
from btard.robust.sketch import Sketcher
from btard.robust.tolerances import sum_threshold

KEY = bytes(range(32))
BLOCK = 1 << 14  # what is decoded at once, so its edges are worth a test


def by_definition(r: bytes, delta: list[float], start: int) -> list[list[float]]:
    """The sketch as it is specified, in exact sums."""
    stream = xof("sketch", r)
    stream.seek(4 * start)
    terms: list[list[list[float]]] = [[[] for _ in range(BUCKETS)] for _ in range(ROWS)]
    for x in delta:
        for row, byte in enumerate(stream.read(4)):
            terms[row][byte & 15].append(-x if byte & 128 else x)
    return [[math.fsum(bucket) for bucket in row] for row in terms]


def randn(length: int, seed: int) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.shows("SKT-1", "SKT-2")
@pytest.mark.parametrize("start", [0, 7, BLOCK - 20, 3 * BLOCK, 10**12])
def test_rows_are_those_of_the_definition(start: int) -> None:
    delta = randn(50, seed=start)
    expected = torch.tensor(by_definition(KEY, delta.tolist(), start), dtype=torch.float64)
    rows = Sketcher(KEY).rows(delta, start)
    assert rows.shape == (ROWS, BUCKETS)
    assert rows.dtype == torch.float64
    assert torch.allclose(rows, expected, rtol=0, atol=1e-14)


@pytest.mark.shows("SKT-1")
def test_rows_are_known() -> None:
    rows = Sketcher(KEY).rows(torch.arange(1.0, 41.0), 65_520)
    assert rows[0].tolist() == [0, 24, 1, 19, -34, -29, 19, 0, -24, 20, -28, 16, 46, 1, -32, -25]
    assert rows[3].tolist() == [25, -82, -50, -62, 8, -13, -14, 21, -9, 1, 10, 33, 27, -22, -12, 53]


@pytest.mark.shows("SKT-2")
@given(st.integers(0, 2 * BLOCK), st.lists(st.integers(0, 300), max_size=4), st.integers(0, 99))
def test_sketches_of_pieces_and_of_sums_add_up(start: int, sizes: list[int], seed: int) -> None:
    sketcher = Sketcher(KEY)
    x, y = randn(2 * sum(sizes), seed).chunk(2) if sum(sizes) else (randn(0, seed), randn(0, seed))
    pieces, position = torch.zeros(ROWS, BUCKETS, dtype=torch.float64), 0
    for size in sizes:
        pieces += sketcher.rows(x[position : position + size], start + position)
        position += size
    whole = sketcher.rows(x, start)
    assert torch.allclose(pieces, whole, rtol=0, atol=1e-11)
    both = sketcher.rows(3 * x + y, start)
    assert torch.allclose(both, 3 * whole + sketcher.rows(y, start), rtol=0, atol=1e-11)


@pytest.mark.shows("SKT-1")
def test_keys_and_coordinates_get_other_buckets() -> None:
    delta = torch.ones(1000)
    first = Sketcher(KEY).rows(delta, 0)
    assert not torch.equal(first, Sketcher(bytes(32)).rows(delta, 0))
    assert not torch.equal(first, Sketcher(KEY).rows(delta, 1))
    assert len({tuple(row) for row in first.tolist()}) == ROWS


@pytest.mark.shows("SKT-2")
def test_a_row_is_about_as_long_as_its_vector() -> None:
    delta = randn(3000, seed=1)
    squares = torch.stack([Sketcher(bytes([k] * 32)).rows(delta, 0) for k in range(40)]).pow(2).sum(dim=2)
    assert float(squares.mean() / delta.pow(2).sum()) == pytest.approx(1, abs=0.15)
    assert float((squares / delta.pow(2).sum()).sqrt().min()) > 0.2


@pytest.mark.shows("SKT-2")
def test_the_worst_direction_escapes_one_row_in_thirty_two_times_and_hardly_ever_all() -> None:
    delta = torch.tensor([1.0, -1.0])
    trials = 2000
    escaped = torch.stack([Sketcher(k.to_bytes(32, "big")).rows(delta, 0) == 0 for k in range(trials)])
    blind = escaped.all(dim=2)
    assert trials * ROWS / 32 * 0.7 < int(blind.sum()) < trials * ROWS / 32 * 1.3
    assert not bool(blind.all(dim=1).any())


@pytest.mark.shows("SKT-3", "TOL-5")
@pytest.mark.parametrize("shift", [1e-5, 1e-3, 0.3])
@pytest.mark.parametrize("dense", [True, False])
def test_a_shifted_aggregate_shows_in_the_sum_and_a_right_one_does_not(shift: float, dense: bool) -> None:
    tau, start = 20.0, 12345
    parts = [randn(1000, seed).float() for seed in range(15)]
    aggregate = centered_clip(parts, tau)
    direction = randn(1000, seed=99).float() if dense else torch.eye(1000)[17]
    moved = aggregate + shift * tau * direction / direction.norm()
    sketcher = Sketcher(KEY)
    for v, disputed in ((aggregate, False), (moved, True)):
        numbers = [scalars(part, v, tau, sketcher, start) for part in parts]
        total = torch.stack([number.rows for number in numbers]).sum(dim=0)
        longest = float(total.norm(dim=1).max())
        threshold = sum_threshold([number.norm for number in numbers], float(v.double().norm()), tau)
        assert (longest > threshold) == disputed


@pytest.mark.refuses("SKT-1")
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_sketch_value_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="need 32"):
        Sketcher(bytes(size))
