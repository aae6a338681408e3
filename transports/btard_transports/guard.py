"""Closes connections that send without end.

libzmq limits the size of one frame (MAXMSGSIZE) and the number of waiting messages (HWM), but neither limits
the number of frames in one message: a peer that marks every frame as "more to come" fills the receiver's
memory, and the application never sees a thing. What can be seen is that the kernel counts bytes on a
connection from which no message is ever delivered. Linux only: elsewhere the guard finds nothing and memory
has to be limited from outside.
"""

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator

import attrs

# struct tcp_info in <linux/tcp.h>: tcpi_bytes_received, 64 bits.
_RECEIVED = struct.Struct("@Q")
_RECEIVED_AT = 128
# struct sockaddr with the family AF_UNSPEC.
_NO_ADDRESS = struct.pack("H14x", socket.AF_UNSPEC)
# Above the receive buffers of common kernels, whose content counts as received but not as delivered.
SLACK = 64 * 1024 * 1024


@attrs.define
class _Connection:
    remote: object
    limit: int
    baseline: int
    delivered: bool = False


class FloodGuard:
    """Watches connections by file descriptor (NET-8).

    A descriptor may be closed and used anew at any moment, so a connection is always looked at through a
    duplicate, which cannot change, and recognised by its remote address.
    """

    def __init__(self) -> None:
        self._connections: dict[int, _Connection] = {}

    def opened(self, descriptor: int, port: int, limit: int) -> None:
        """Watch a new connection, on which at most `limit` bytes may come without a whole message.

        One of its ends must have this `port`, or the descriptor is somebody else's by now.
        """
        self._connections.pop(descriptor, None)
        with _peek(descriptor) as seen:
            if seen is not None and port in seen.ports:
                self._connections[descriptor] = _Connection(seen.remote, limit, _received(seen.duplicate))

    def delivered(self, descriptor: int) -> None:
        """A whole message came over this connection."""
        connection = self._connections.get(descriptor)
        if connection is not None:
            connection.delivered = True

    def close(self, descriptor: int) -> None:
        """End a connection; libzmq then drops it, with whatever it holds of it."""
        watched = self._connections.pop(descriptor, None)
        with _peek(descriptor) as seen:
            if watched is not None and seen is not None and seen.remote == watched.remote:
                _abort(seen.duplicate)

    def check(self) -> int:
        """End the connections that exceed their limit; return how many. Call it about once a second."""
        over = [descriptor for descriptor in list(self._connections) if self._exceeds(descriptor)]
        for descriptor in over:
            self.close(descriptor)
        return len(over)

    def _exceeds(self, descriptor: int) -> bool:
        watched = self._connections[descriptor]
        with _peek(descriptor) as seen:
            if seen is None or seen.remote != watched.remote:
                del self._connections[descriptor]
                return False
            received = _received(seen.duplicate)
        if watched.delivered:
            watched.baseline, watched.delivered = received, False
        return received - watched.baseline > watched.limit + SLACK


@attrs.frozen
class _Seen:
    duplicate: socket.socket
    remote: object
    ports: frozenset[int]


@contextlib.contextmanager
def _peek(descriptor: int) -> Iterator[_Seen | None]:
    """The TCP connection behind a descriptor, or None where there is none (any more)."""
    with contextlib.ExitStack() as stack:
        yield _look(descriptor, stack)


def _look(descriptor: int, stack: contextlib.ExitStack) -> _Seen | None:
    try:
        copy = os.dup(descriptor)
    except OSError:
        return None
    try:
        duplicate = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None
    stack.enter_context(duplicate)
    if duplicate.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        local, remote = duplicate.getsockname(), duplicate.getpeername()
    except OSError:
        return None
    return _Seen(duplicate, remote, frozenset((local[1], remote[1])))


def _abort(connection: socket.socket) -> None:
    """End a connection at once, whatever its other end does.

    After a mere shutdown the kernel would still hand out data for as long as it keeps coming. Connecting to
    "no address" resets a TCP connection on Linux; other systems have to do with the shutdown.
    """
    libc = ctypes.CDLL(None)
    if libc.connect(connection.fileno(), _NO_ADDRESS, len(_NO_ADDRESS)) != 0:
        with contextlib.suppress(OSError):  # it has ended by itself
            connection.shutdown(socket.SHUT_RDWR)


def _received(connection: socket.socket) -> int:
    """Bytes received on a connection so far; 0 where the system does not tell."""
    if not hasattr(socket, "TCP_INFO"):
        return 0
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + _RECEIVED.size)
    except OSError:
        return 0
    if len(info) < _RECEIVED_AT + _RECEIVED.size:
        return 0
    received: int = _RECEIVED.unpack_from(info, _RECEIVED_AT)[0]
    return received
