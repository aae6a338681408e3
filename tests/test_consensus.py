"""Hashes, draws and sums: what every peer has to compute bit for bit alike."""

import math
import random
from collections import Counter
from fractions import Fraction

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from btard.consensus import Draws, exact_sum, row_norm
from btard.hashing import HASH_SIZE, digest, object_digest, xof

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
PIECES = st.lists(st.binary(max_size=12), max_size=4)


@pytest.mark.shows("CNS-1")
@pytest.mark.parametrize(
    ("pieces", "known"),
    [
        ((), "5afe5d62fa4091e718e9b8a4db9453aa6295c09d8ef1ef378f03c9e8f5dde58e"),
        ((b"ab", b"c"), "eeeeac10b81528dc8e4598fcc57b7f958568c677e83c4b1d6e1f7fff976f341d"),
        ((b"a", b"bc"), "4750f7370cfa0400acb7773c4f5c04dc13d55af968fbe3d25dbd17d995b0672a"),
    ],
)
def test_digests_are_known(pieces: tuple[bytes, ...], known: str) -> None:
    assert digest("example", *pieces).hex() == known


@pytest.mark.shows("CNS-1")
@given(PIECES)
def test_a_digest_is_blake3_of_the_pieces_behind_their_lengths(pieces: list[bytes]) -> None:
    data = b"".join(len(piece).to_bytes(8, "little") + piece for piece in pieces)
    assert digest("here", *pieces) == blake3(data, derive_key_context="btard 1 here").digest()


@pytest.mark.refuses("CNS-1")
@given(PIECES, PIECES)
def test_other_pieces_or_another_context_give_another_digest(some: list[bytes], others: list[bytes]) -> None:
    assert (digest("x", *some) == digest("x", *others)) == (some == others)
    assert digest("x", *some) != digest("y", *some)


@pytest.mark.shows("CNS-1", "CNS-2")
def test_views_hash_as_their_bytes() -> None:
    words = memoryview(bytes(range(16))).cast("I")
    assert digest("x", words) == digest("x", bytes(range(16)))
    assert object_digest(words) == object_digest(bytearray(range(16))) == object_digest(bytes(range(16)))


@pytest.mark.shows("CNS-2")
@pytest.mark.parametrize(
    ("data", "known"),
    [
        (b"", "103705dae0bc31b39fcb80764ea50d666c4a7b7f35c0b06bd9e13dee7cea7357"),
        (bytes(range(256)), "f55ab7cdd1a30805ffeabeea509aa2a387e9526c70979a82c55f3d032b7d27de"),
    ],
)
def test_content_addresses_are_known(data: bytes, known: str) -> None:
    assert object_digest(data).hex() == known
    assert len(bytes.fromhex(known)) == HASH_SIZE


@pytest.mark.refuses("CNS-2")
def test_a_content_address_stands_for_one_object_and_for_nothing_else() -> None:
    assert object_digest(b"\x00") != object_digest(b"\x00\x00")
    assert object_digest(b"\x00") != digest("object", b"\x00")


@pytest.mark.shows("CNS-3")
def test_streams_are_known_far_out_too() -> None:
    stream = xof("example", b"ab")
    assert stream.read(16).hex() == "41d5d70e2733cc41b7a0da3d491cc6b5"
    stream.seek(1 << 40)
    assert stream.read(8).hex() == "470127fcef1c8d84"


@pytest.mark.shows("CNS-3")
@given(st.lists(st.integers(0, 200), max_size=8), st.integers(0, 500))
def test_a_stream_is_the_same_in_whatever_pieces_it_is_read(sizes: list[int], begin: int) -> None:
    whole = xof("x").read(begin + sum(sizes))
    stream = xof("x")
    stream.seek(begin)
    assert b"".join(map(stream.read, sizes)) == whole[begin:]


@pytest.mark.refuses("CNS-3")
def test_a_stream_has_no_bytes_before_its_start() -> None:
    with pytest.raises(ValueError, match="starts at 0"):
        xof("x").seek(-1)
    with pytest.raises(ValueError, match="0 or more"):
        xof("x").read(-1)
    assert xof("x", b"ab").read(32) != xof("x", b"a", b"b").read(32)


@pytest.mark.shows("CNS-4")
def test_draws_are_known() -> None:
    draws = Draws("example", b"seed")
    assert [draws.below(10) for _ in range(12)] == [1, 4, 4, 3, 9, 6, 8, 1, 8, 6, 7, 3]
    assert draws.below(2**64) == 3951068683657119856
    assert draws.below(3 * 2**62) == 11296579007172940940
    assert draws.permutation(8) == (2, 4, 1, 3, 7, 0, 5, 6)
    assert draws.sample(3, 10**12) == (973619774964, 136650390718, 967573414667)


@pytest.mark.shows("CNS-4")
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 999))
def test_samples_are_distinct_and_a_permutation_is_the_longest_sample(k: int, extra: int, seed: int) -> None:
    n = k + extra
    drawn = Draws("x", bytes([seed % 256])).sample(k, n)
    assert len(set(drawn)) == len(drawn) == k
    assert all(0 <= index < n for index in drawn)
    permutation = Draws("x", bytes([seed % 256])).permutation(n)
    assert sorted(permutation) == list(range(n))
    assert permutation[:k] == drawn


@pytest.mark.shows("CNS-4")
def test_words_that_would_bias_a_draw_are_skipped() -> None:
    bound = 3 * 2**62  # words from there up, a quarter of them, are skipped
    stream = xof("draws x")
    words = [int.from_bytes(stream.read(8), "little") for _ in range(400)]
    kept = [word for word in words if word < bound]
    draws = Draws("x")
    assert [draws.below(bound) for _ in kept] == kept
    assert 60 < len(words) - len(kept) < 140


@pytest.mark.shows("CNS-4")
def test_all_permutations_are_equally_likely() -> None:
    draws = Draws("uniform")
    counts = Counter(draws.permutation(4) for _ in range(4800))
    assert len(counts) == 24
    chi_square = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert chi_square < 50  # 23 degrees of freedom: exceeded with probability 0.001


@pytest.mark.refuses("CNS-4")
@pytest.mark.parametrize("bound", [0, -1, 2**64 + 1])
def test_there_is_no_draw_below(bound: int) -> None:
    with pytest.raises(ValueError, match="bound"):
        Draws("x").below(bound)


@pytest.mark.refuses("CNS-4")
@pytest.mark.parametrize(("k", "n"), [(3, 2), (-1, 2), (0, -1)])
def test_there_is_no_such_sample(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="distinct"):
        Draws("x").sample(k, n)


@pytest.mark.shows("CNS-5")
@given(st.lists(FINITE, max_size=20), st.randoms(use_true_random=False))
def test_a_sum_is_exact_in_every_order(values: list[float], order: random.Random) -> None:
    exact = sum(map(Fraction, values), Fraction(0))
    try:
        expected = float(exact)
    except OverflowError:
        expected = math.inf if exact > 0 else -math.inf
    assert exact_sum(values) == expected
    order.shuffle(values)
    assert exact_sum(values) == expected


@pytest.mark.shows("CNS-5")
@pytest.mark.parametrize(
    ("values", "known"),
    [
        ([0.1] * 10, 1.0),
        ([1e308, 1e308, -1e308], 1e308),
        ([1e308, 1e308], math.inf),
        ([-1e308, -1e308], -math.inf),
        ([math.inf, 1e308, 1e308], math.inf),
    ],
)
def test_sums_are_known(values: list[float], known: float) -> None:
    assert exact_sum(values) == known


@pytest.mark.shows("CNS-5")
def test_a_zero_sum_has_no_sign() -> None:
    assert math.copysign(1, exact_sum([-0.0, -0.0])) == 1
    assert math.copysign(1, exact_sum([])) == 1


@pytest.mark.refuses("CNS-5", "CNS-6")
@given(st.lists(FLOATS, max_size=20))
def test_hostile_numbers_raise_nothing(values: list[float]) -> None:
    infinities = {x for x in values if math.isinf(x)}
    is_nan = any(map(math.isnan, values))
    assert math.isnan(exact_sum(values)) == (is_nan or len(infinities) == 2)
    assert math.isnan(row_norm(values)) == is_nan


@pytest.mark.refuses("CNS-5")
@pytest.mark.parametrize("odd", [math.nan, -math.inf])
def test_not_a_number_stays_so_beside_huge_numbers(odd: float) -> None:
    assert math.isnan(exact_sum([1e308, 1e308, math.inf, odd]))


@pytest.mark.shows("CNS-6")
@given(st.lists(FINITE, max_size=16))
def test_a_row_norm_is_right_at_every_scale(row: list[float]) -> None:
    square = sum((Fraction(x) ** 2 for x in row), Fraction(0))
    norm = row_norm(row)
    if math.isinf(norm):
        assert square > Fraction(1.797e308) ** 2
    else:
        slack = Fraction(norm) / 2**50 + Fraction(1, 2**1074)
        assert max(Fraction(norm) - slack, Fraction(0)) ** 2 <= square <= (Fraction(norm) + slack) ** 2


@pytest.mark.shows("CNS-6")
def test_row_norms_are_known() -> None:
    assert row_norm([0.1, 0.2, 0.3, -0.4]).hex() == "0x1.186f174f88473p-1"
    assert row_norm([3e-320, 4e-320]) == pytest.approx(5e-320, rel=1e-3)
    assert row_norm([3e307, -4e307]) == pytest.approx(5e307)
    assert row_norm([]) == row_norm([0.0, -0.0]) == 0.0
    assert row_norm([1.0, -math.inf]) == math.inf
