"""A bound ROUTER, and who sent what comes in on it."""

from collections.abc import Iterator

import attrs
import zmq

from btard.keys import KeyPair
from btard_transports.delivery import Delivery
from btard_transports.guard import FloodGuard
from btard_transports.monitor import Monitor
from btard_transports.sockets import (
    FRAME_OVERHEAD,
    Context,
    bind,
    descriptor_of,
    new_socket,
    receive,
    secure_server,
)


@attrs.frozen
class Incoming:
    """One message: its body, or None if it is not exactly one frame of at most the allowed size."""

    connection: bytes
    """The routing id: good for answering, but chosen by the sender and so no identity."""
    key: str | None
    """The sender's authenticated CURVE key in Z85, None on a plain connection."""
    descriptor: int
    body: bytes | None


class Listener:
    """Listens on `address`; with `keys`, only for authenticated peers. Raises TransportError."""

    def __init__(
        self,
        context: Context,
        address: str,
        keys: KeyPair | None,
        guard: FloodGuard,
        *,
        max_body: int,
        send_hwm: int,
        receive_hwm: int,
    ) -> None:
        self._guard = guard
        self._max_body = max_body
        max_frame = max_body + FRAME_OVERHEAD
        self.socket = new_socket(
            context, zmq.ROUTER, max_frame=max_frame, send_hwm=send_hwm, receive_hwm=receive_hwm
        )
        self.monitor = Monitor(context, self.socket, guard, receive_hwm * max_frame)
        if keys is not None:
            secure_server(self.socket, keys)
        try:
            bind(self.socket, address)
        except Exception:
            self.close(0)
            raise

    def receive(self, limit: int) -> Iterator[Incoming]:
        """Up to `limit` messages that are here."""
        for _ in range(limit):
            frames = receive(self.socket)
            if frames is None:
                return
            yield self._incoming(frames)

    def _incoming(self, frames: list[zmq.Frame]) -> Incoming:
        # libzmq attaches what it knows of the connection to every frame that came over it.
        last = frames[-1]
        descriptor = descriptor_of(last)
        self._guard.delivered(descriptor)
        body = last.bytes if len(frames) == 2 and len(last) <= self._max_body else None
        return Incoming(frames[0].bytes, _key_of(last), descriptor, body)

    def watch_connections(self) -> Iterator[Delivery]:
        """Tell the guard of new connections; nobody else wants to know."""
        for _ in self.monitor.changes():
            pass
        return iter(())

    def close(self, linger: int) -> None:
        """Listen no longer; what is queued for sending gets `linger` milliseconds."""
        self.monitor.close()
        self.socket.close(linger)


def _key_of(frame: zmq.Frame) -> str | None:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return None
