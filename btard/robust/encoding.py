"""How sketches and norms travel: little-endian float64, without torch."""

import struct
from collections.abc import Iterable, Sequence

ROWS = 4
"""Rows of a sketch, each independent of the others."""

BUCKETS = 16
"""Buckets of a row."""

SKETCH_SIZE = 8 * ROWS * BUCKETS
"""Bytes of one part's sketch."""

NORM_SIZE = 8
"""Bytes of one part's norm."""

_ROW = struct.Struct(f"<{BUCKETS}d")


def pack_rows(rows: Iterable[Sequence[float]]) -> bytes:
    """Return rows of 16 buckets as bytes, row after row (SKT-5)."""
    return b"".join(_ROW.pack(*row) for row in rows)


def unpack_rows(sketches: bytes) -> list[tuple[float, ...]]:
    """Return the rows of 16 buckets in whole sketches (512 bytes each); ValueError for any other size."""
    if len(sketches) % SKETCH_SIZE:
        raise ValueError(f"{len(sketches)} bytes are no whole sketches of {SKETCH_SIZE} bytes")
    return list(_ROW.iter_unpack(sketches))


def pack_norms(norms: Sequence[float]) -> bytes:
    """Return norms as bytes (SKT-5)."""
    return struct.pack(f"<{len(norms)}d", *norms)


def unpack_norms(norms: bytes) -> tuple[float, ...]:
    """Return the norms in 8 bytes each; ValueError for any other size."""
    if len(norms) % NORM_SIZE:
        raise ValueError(f"{len(norms)} bytes are no whole norms of {NORM_SIZE} bytes")
    return struct.unpack(f"<{len(norms) // NORM_SIZE}d", norms)
