"""Hashes and draws of the specification (CNS-1, CNS-4), written once more and without `btard`."""

import struct
from collections.abc import Sequence

from blake3 import blake3


def number(value: int) -> bytes:
    """Eight bytes, little-endian."""
    return struct.pack("<Q", value)


def _content(pieces: Sequence[bytes]) -> bytes:
    return b"".join(number(len(piece)) + piece for piece in pieces)


def hashed(context: str, *pieces: bytes) -> bytes:
    """H("context"; pieces)."""
    return blake3(_content(pieces), derive_key_context=f"btard 1 {context}").digest()


def drawn(context: str, *pieces: bytes, k: int, n: int) -> list[int]:
    """Draws("context"; pieces).sample(k, n), by shuffling a whole list."""
    stream = blake3(_content(pieces), derive_key_context=f"btard 1 draws {context}").digest(length=8 * (k + 64))
    words = iter(struct.unpack(f"<{k + 64}Q", stream))
    places = list(range(n))
    for i in range(k):
        bound = n - i
        word = next(words)
        while word >= 2**64 - 2**64 % bound:
            word = next(words)
        j = i + word % bound
        places[i], places[j] = places[j], places[i]
    return places[:k]
