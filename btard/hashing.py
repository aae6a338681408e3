"""BLAKE3 as the protocol uses it: domain-separated digests, content addresses and byte streams.

Every use has a context of its own (BLAKE3's key derivation mode), so a digest made for one purpose never
stands for another. Pure Python over the `blake3` package; no torch.
"""

from collections.abc import Iterable

from blake3 import blake3

HASH_SIZE = 32
"""Bytes in every digest of the protocol."""


def _hasher(context: str, pieces: Iterable[bytes | memoryview]) -> blake3:
    """Hash each piece behind its length (8 bytes, little-endian), so no two lists of pieces collide."""
    hasher = blake3(derive_key_context=f"btard 1 {context}")
    for piece in pieces:
        view = memoryview(piece).cast("B")
        hasher.update(view.nbytes.to_bytes(8, "little"))
        hasher.update(view)
    return hasher


def digest(context: str, *pieces: bytes | memoryview) -> bytes:
    """Return the 32-byte digest of a list of byte strings for one purpose (CNS-1)."""
    return _hasher(context, pieces).digest()


def object_digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the 32-byte content address of a bulk object, which depends on its bytes alone (CNS-2)."""
    return streamed_object_digest([data])


def streamed_object_digest(pieces: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """Return the content address of the bulk object that `pieces` make up in their order (CNS-2)."""
    hasher = blake3(derive_key_context="btard 1 object")
    for piece in pieces:
        hasher.update(memoryview(piece).cast("B"))
    return hasher.digest()


class Xof:
    """An endless byte stream that depends on context and pieces alone; constant memory (CNS-3)."""

    def __init__(self, context: str, *pieces: bytes | memoryview) -> None:
        self._hasher = _hasher(context, pieces)
        self._position = 0

    def seek(self, position: int) -> None:
        """Continue at byte `position` of the stream, at the same cost wherever that is."""
        if position < 0:
            raise ValueError(f"position is {position}; a stream starts at 0")
        self._position = position

    def read(self, n: int) -> bytes:
        """Return the next `n` bytes."""
        if n < 0:
            raise ValueError(f"n is {n}; ask for 0 or more bytes")
        block = self._hasher.digest(length=n, seek=self._position)
        self._position += n
        return block


def xof(context: str, *pieces: bytes | memoryview) -> Xof:
    """Return the byte stream of a list of byte strings for one purpose, at its start (CNS-3)."""
    return Xof(context, *pieces)
