"""A bound ROUTER, and who sent what comes in on it."""

from collections.abc import Iterator

import attrs
import zmq

from btard.keys import KeyPair
from btard_transports.delivery import Delivery
from btard_transports.guard import FloodGuard
from btard_transports.limits import Limits
from btard_transports.monitored import Monitored
from btard_transports.poll import Action, Watch
from btard_transports.sockets import Context, bind, descriptor_of, receive, secure_server


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
        self, context: Context, address: str, keys: KeyPair | None, limits: Limits, guard: FloodGuard
    ) -> None:
        self._guard = guard
        self._max_body = limits.max_body
        self._router = Monitored(context, zmq.ROUTER, limits, guard)
        self.socket = self._router.socket
        try:
            if keys is not None:
                secure_server(self.socket, keys)
            bind(self.socket, address)
        except BaseException:
            self.close(0)
            raise

    def register(self, watch: Watch, read: Action) -> None:
        """Have the loop call `read` when there are messages."""
        watch.add(self.socket, read)
        watch.add(self._router.events, self._watch_connections)

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

    def hang_up(self, descriptor: int) -> None:
        """Close one connection."""
        # Its first message may be read in the turn in which it was accepted.
        self._watch_connections()
        self._guard.close(descriptor)

    def _watch_connections(self) -> Iterator[Delivery]:
        # The guard is told of new connections; what else happens to them is nobody's business here.
        for _ in self._router.changes():
            pass
        return iter(())

    def close(self, linger: int) -> None:
        """Listen no longer; what is queued for sending gets `linger` milliseconds."""
        self._router.close(linger)


def _key_of(frame: zmq.Frame) -> str | None:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return None
