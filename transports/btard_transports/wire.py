"""The bulk protocol's two messages.

A requester sends `GET` = one frame (digest, start, end) and is sent, for each chunk of that range, a header
frame (digest, offset) and a payload frame. Numbers are 8 bytes, little-endian. Ranges start at a multiple of
CHUNK, end at one or at the object's end, and are at most WINDOW long: what an owner has under way for one
request is bounded, and the requester asks for more only as fast as it reads (NET-6).
"""

import struct

import attrs

from btard_transports.interface import DIGEST_BYTES

CHUNK = 1024 * 1024
# Enough to keep a link of 1 Gbit/s busy over 60 ms of round trip.
WINDOW = 8 * CHUNK

_GET = struct.Struct(f"<{DIGEST_BYTES}sQQ")
_HEADER = struct.Struct(f"<{DIGEST_BYTES}sQ")
GET_BYTES = _GET.size
HEADER_BYTES = _HEADER.size


class WireError(ValueError):
    """A malformed bulk message; the text is one of a few fixed ones."""


@attrs.frozen
class Range:
    """The bytes [start, end) of an object."""

    digest: bytes
    start: int
    end: int


def encode_get(wanted: Range) -> bytes:
    """One request frame."""
    return _GET.pack(wanted.digest, wanted.start, wanted.end)


def decode_get(frame: bytes) -> Range:
    """The range that a request frame asks for; raises WireError for one that no honest peer sends."""
    if len(frame) != GET_BYTES:
        raise WireError("discarded a malformed request")
    digest, start, end = _GET.unpack(frame)
    if not start < end <= start + WINDOW or start % CHUNK:
        raise WireError("discarded a request of an impossible range")
    return Range(digest, start, end)


def encode_header(digest: bytes, offset: int) -> bytes:
    """The header frame of one chunk."""
    return _HEADER.pack(digest, offset)


def decode_header(frame: bytes) -> tuple[bytes, int]:
    """Digest and offset of a chunk; raises WireError for a malformed header."""
    if len(frame) != HEADER_BYTES:
        raise WireError("discarded a malformed chunk")
    digest, offset = _HEADER.unpack(frame)
    return digest, offset
