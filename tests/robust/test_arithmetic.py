import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from btard.robust.arithmetic import consensus_norm

BLOCK = 1 << 18


def by_definition(entries: list[float], block: int = BLOCK) -> float:
    """The documented tree in plain Python; a shorter block only leaves out additions of zeros."""

    def halved(numbers: list[float]) -> float:
        while len(numbers) > 1:
            half = len(numbers) // 2
            numbers = [a + b for a, b in zip(numbers[:half], numbers[half:], strict=True)]
        return numbers[0]

    sums = []
    for start in range(0, max(1, len(entries)), block):
        piece = entries[start : start + block]
        sums.append(halved([x * x for x in piece] + [0.0] * (block - len(piece))))
    while len(sums) & (len(sums) - 1):
        sums.append(0.0)
    return math.sqrt(halved(sums))


@pytest.mark.shows("CNS-7")
@pytest.mark.parametrize("length", [0, 1, 1000, BLOCK, 2 * BLOCK + 3])
def test_it_adds_in_the_order_of_its_definition(length: int) -> None:
    t = torch.randn(length, generator=torch.Generator().manual_seed(length)) * 1e3
    assert consensus_norm(t) == by_definition(t.tolist())


@pytest.mark.shows("CNS-7")
def test_the_order_shows_in_the_last_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.randn(256, generator=generator) for _ in range(50)]
    sums = [numbers.double() ** 2 for numbers in vectors]
    while len(sums[0]) > 1:
        sums = [numbers[::2] + numbers[1::2] for numbers in sums]  # another tree
    others = [math.sqrt(total.item()) for total in sums]
    assert [consensus_norm(t) for t in vectors] == [by_definition(t.tolist(), block=256) for t in vectors]
    assert [consensus_norm(t) for t in vectors] != others


@pytest.mark.shows("CNS-7")
@pytest.mark.parametrize(
    ("length", "known"),
    [
        (1, "0x1.24924a0000000p-3"),
        (5, "0x1.0f38923a31e41p+0"),
        (1000, "0x1.464514471013fp+11"),
        (BLOCK + 3, "0x1.51d6d2a935a2bp+23"),
    ],
)
def test_norms_are_known(length: int, known: str) -> None:
    assert consensus_norm((torch.arange(length) + 1).float() / 7).hex() == known


@pytest.mark.shows("CNS-7")
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=50))
def test_it_is_the_norm_at_every_scale(entries: list[float]) -> None:
    assert consensus_norm(torch.tensor(entries, dtype=torch.float32)) == pytest.approx(
        math.hypot(*entries), rel=1e-12
    )


@pytest.mark.shows("CNS-7")
def test_memory_layout_and_threads_change_no_bit() -> None:
    t = torch.randn(2 * BLOCK, generator=torch.Generator().manual_seed(0))
    strided = torch.stack([t, t], dim=1)[:, 0]
    threads = torch.get_num_threads()
    norm = consensus_norm(t)
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert consensus_norm(strided) == consensus_norm(t) == norm
    finally:
        torch.set_num_threads(threads)


@pytest.mark.refuses("CNS-7")
def test_not_a_number_stays_so_and_other_tensors_are_refused() -> None:
    assert math.isnan(consensus_norm(torch.tensor([1.0, math.nan])))
    assert consensus_norm(torch.tensor([1.0, -math.inf])) == math.inf
    for t in (torch.zeros(2, 2), torch.zeros(2, dtype=torch.float64)):
        with pytest.raises(ValueError, match="1-D float32"):
            consensus_norm(t)
