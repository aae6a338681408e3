"""What a node asks of a transport (`Host`) and what a transport tells a node (`Handler`).

Two transports keep this contract: `zmq_mesh` over real sockets and `memory` in virtual time; one test suite
checks both. Control frames are small, unordered across peers, in order per link, and may be lost where a link
breaks. Bulk objects are named by their BLAKE3 digest and move only on request, so that nothing unsolicited is
ever allocated (NET-4).
"""

from collections.abc import Callable, Hashable
from typing import Literal, Protocol, TypeAlias

import attrs
import numpy as np

from btard.errors import BtardError

Buffer: TypeAlias = bytes | bytearray | memoryview
BulkSecurity: TypeAlias = Literal["curve", "digest"]

# The largest control frame: far above what a roster of a thousand peers sends, and small enough to hold.
MAX_FRAME = 4 * 1024 * 1024
DIGEST_BYTES = 32


class TransportError(BtardError):
    """The transport cannot work as it was set up; the message is one line that says what to do."""


class PortInUseError(TransportError):
    """Another process listens there; a moment later it may not."""


@attrs.frozen
class Endpoint:
    """Where a peer listens, and its key: `control` and `bulk` as tcp://host:port, `curve_public` in Z85."""

    control: str
    bulk: str
    curve_public: str


@attrs.frozen
class Failure:
    """What `on_done` gets in place of a result where the computation raised `exception`."""

    exception: Exception


@attrs.define
class Counters:
    """What a host did so far. Bytes are those of bodies and objects, without any framing."""

    control_frames_sent: int = 0
    control_bytes_sent: int = 0
    control_frames_received: int = 0
    control_bytes_received: int = 0
    bulk_bytes_sent: int = 0
    bulk_bytes_received: int = 0
    dropped: int = 0
    """Frames and requests that were not sent or kept: the queue was full or the peer is no member."""
    refused: int = 0
    """Frames and requests of peers that are no members."""
    handshakes_refused: int = 0
    """Connections that strangers and peers that are no members tried to make."""
    junk: int = 0
    """What a member sent against the rules: malformed, oversized, unasked for, with a wrong digest."""


class Handler(Protocol):
    """The node's side. Called from one thread, one call at a time, never from within a call of the host."""

    def on_control(self, peer: int, frame: bytes) -> None:
        """A control frame came; `peer` is authenticated, the frame is not checked at all."""

    def on_bulk(self, digest: bytes, data: memoryview | bytearray) -> None:
        """A fetched object came. Size and digest are verified; the writable memory is the handler's own."""

    def on_timer(self, timer: Hashable) -> None:
        """A timer expired."""

    def on_done(self, token: Hashable, result: object) -> None:
        """A submitted computation ended; `result` is a Failure if it raised."""

    def on_link(self, peer: int, up: bool) -> None:
        """The link on which this host sends to a member came up or broke. For logs and progress only."""


class Host(Protocol):
    """The transport's side. No method blocks, and none calls the handler."""

    counters: Counters

    def send(self, peer: int, frame: bytes) -> None:
        """Send a control frame, or drop and count it where the queue is full or `peer` is no member.

        Raises ValueError if the frame is larger than the host's `max_frame`.
        """

    def fetch(self, peer: int, digest: bytes, size: int) -> None:
        """Ask `peer` for an object of `size` bytes; it comes with `on_bulk` once it is there and verified.

        Several peers may be asked for one digest: the first good answer wins and ends the other requests.
        A request waits until the object is offered, it comes, or it is forgotten.
        """

    def offer(self, digest: bytes, data: Buffer, to: frozenset[int] | None) -> None:
        """Serve an object to these members (None: all), also to those that asked before.

        The memory is sent without a copy: nobody may write to it any more, not even after `withdraw`.
        """

    def withdraw(self, digest: bytes) -> None:
        """Serve the object no longer."""

    def forget(self, digest: bytes) -> None:
        """Drop all requests for the object."""

    def set_timer(self, timer: Hashable, delay: float) -> None:
        """Call `on_timer` in `delay` seconds. Setting a timer again moves it."""

    def submit(self, token: Hashable, function: Callable[[], object]) -> None:
        """Compute aside, one at a time in order of submission; the result comes with `on_done`."""

    def store(self, token: Hashable, function: Callable[[], object]) -> None:
        """Write files aside, as `submit` computes, and beside that: no computation holds it up."""

    def set_members(self, peers: frozenset[int]) -> None:
        """From now on have links with these peers alone; requests to others are forgotten."""

    def trouble(self, peer: int) -> str | None:
        """Say in words why the link to a member does not come up; None where it does, or nobody knows."""

    def now(self) -> float:
        """The host's clock in seconds; only differences mean anything."""

    def stop(self) -> None:
        """End the host: nothing is delivered any more; what was sent is still flushed."""


def byte_view(data: Buffer) -> memoryview:
    """The bytes of a contiguous buffer, without a copy; raises ValueError for one that is not contiguous."""
    view = memoryview(data)
    if not view.c_contiguous:
        raise ValueError("bulk data must be contiguous; copy it with numpy.ascontiguousarray first")
    # An empty view with several dimensions cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(b"")


def new_buffer(size: int) -> memoryview:
    """`size` writable bytes, not cleared: they are all written before anybody reads them."""
    return np.empty(size, dtype=np.uint8).data


def check_frame(frame: bytes, max_frame: int) -> None:
    """Raise ValueError for a control frame that no peer would accept."""
    if len(frame) > max_frame:
        raise ValueError(f"a control frame of {len(frame)} bytes is larger than max_frame = {max_frame}")


def check_object(digest: bytes, size: int) -> None:
    """Raise ValueError for what names no object."""
    if len(digest) != DIGEST_BYTES or size < 0:
        raise ValueError(f"no object has a digest of {len(digest)} bytes and {size} bytes of data")
