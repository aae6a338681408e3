"""Arithmetic whose every bit must be the same at all peers: random draws, sums and norms.

What peers decide from broadcast numbers alone (elections, orders, whether a sum is disputed) is computed
here, from integers, correctly rounded operations and exact sums. No torch, no libm beyond `sqrt`.
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from btard.hashing import xof

_WORD = 1 << 64


class Draws:
    """Uniform draws that depend on a context and a list of byte strings alone (CNS-4).

    They come in order from one BLAKE3 stream, read as 64-bit little-endian words.
    """

    def __init__(self, context: str, *pieces: bytes | memoryview) -> None:
        self._stream = xof(f"draws {context}", *pieces)

    def below(self, bound: int) -> int:
        """Return a uniform integer in [0, bound), for 1 <= bound <= 2**64.

        Words at or above the largest multiple of `bound` are skipped, so there is no modulo bias.
        """
        if not 1 <= bound <= _WORD:
            raise ValueError(f"bound is {bound}; it must be from 1 to 2**64")
        limit = _WORD - _WORD % bound
        while True:
            word = int.from_bytes(self._stream.read(8), "little")
            if word < limit:
                return word % bound

    def sample(self, k: int, n: int) -> tuple[int, ...]:
        """Return k distinct integers of [0, n) in the order drawn; every such tuple is equally likely.

        The first k swaps of a Fisher-Yates shuffle: position i takes what stands at i + below(n - i).
        Time and memory grow with k, not n.
        """
        if not 0 <= k <= n:
            raise ValueError(f"cannot draw {k} distinct integers out of {n}")
        moved: dict[int, int] = {}
        drawn = []
        for i in range(k):
            j = i + self.below(n - i)
            drawn.append(moved.get(j, j))
            moved[j] = moved.get(i, i)
        return tuple(drawn)

    def permutation(self, n: int) -> tuple[int, ...]:
        """Return a uniform permutation of 0..n-1: `sample(n, n)`."""
        return self.sample(n, n)


def exact_sum(values: Iterable[float]) -> float:
    """Return the exact sum rounded once to float64, the same for every order of the values (CNS-5).

    Never raises: NaN where a value is NaN or infinities of both signs meet, an infinity where the exact sum
    is beyond the float64 range. A zero sum is +0.0.
    """
    terms = list(values)
    try:
        return math.fsum(terms) + 0.0
    except ValueError:
        return math.nan  # +inf and -inf
    except OverflowError:
        return _sum_of_huge(terms)


def _sum_of_huge(terms: list[float]) -> float:
    """Sum where a partial sum left the float64 range, though the whole may lie within it."""
    if not all(map(math.isfinite, terms)):
        return sum(term for term in terms if not math.isfinite(term))
    total = sum(map(Fraction, terms), Fraction(0))
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def row_norm(row: Sequence[float]) -> float:
    """Return the Euclidean length of a row, the same at all peers for every order of the row (CNS-6).

    The entries are scaled by a power of two (largest magnitude in [0.5, 1)), squared, summed by
    `exact_sum`; the root is scaled back. Never raises: NaN where an entry is NaN, else an infinity where an
    entry is infinite or the length is beyond the float64 range. An empty row has length 0.
    """
    largest = max((abs(x) for x in row), default=0.0)
    if not all(map(math.isfinite, row)):
        return math.nan if any(map(math.isnan, row)) else math.inf
    if largest == 0.0:
        return 0.0
    exponent = math.frexp(largest)[1]
    scaled = [math.ldexp(x, -exponent) for x in row]
    root = math.sqrt(exact_sum(x * x for x in scaled))
    try:
        return math.ldexp(root, exponent)
    except OverflowError:
        return math.inf
