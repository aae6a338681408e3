"""This host's two connections to one other peer: control frames out, bulk requests out and chunks in."""

import contextlib
import time
from collections.abc import Iterator
from typing import Final

import zmq

from btard.keys import KeyPair
from btard_transports import delivery
from btard_transports.bulk_client import BulkClient
from btard_transports.delivery import Delivery
from btard_transports.guard import FloodGuard
from btard_transports.interface import BulkSecurity, Endpoint
from btard_transports.limits import BULK_DIAL, CONTROL_DIAL
from btard_transports.monitored import Monitored
from btard_transports.poll import Watch
from btard_transports.sockets import Context, connect, descriptor_of, receive, secure_client
from btard_transports.wire import Range, encode_get

# Chunks taken in one turn of the loop, so that one fast owner does not hold up the others.
BATCH: Final = 8


class Link:
    """The dialling side of the links with `peer`; both connections come up by themselves, now or later."""

    def __init__(
        self,
        context: Context,
        peer: int,
        endpoint: Endpoint,
        keys: KeyPair,
        *,
        bulk_security: BulkSecurity,
        guard: FloodGuard,
        client: BulkClient,
    ) -> None:
        self.peer = peer
        self._control_up = self._bulk_up = False
        self._guard = guard
        self._client = client
        self._endpoint = endpoint
        with contextlib.ExitStack() as failing:
            self._control = Monitored(context, zmq.DEALER, CONTROL_DIAL, guard)
            failing.callback(self._control.close, 0)
            self._bulk = Monitored(context, zmq.DEALER, BULK_DIAL, guard)
            failing.callback(self._bulk.close, 0)
            # Requests are made anew when a connection comes up, so none may wait in the socket for the next.
            self._bulk.socket.setsockopt(zmq.IMMEDIATE, 1)
            secure_client(self._control.socket, keys, endpoint.curve_public)
            if bulk_security == "curve":
                secure_client(self._bulk.socket, keys, endpoint.curve_public)
            connect(self._control.socket, endpoint.control)
            connect(self._bulk.socket, endpoint.bulk)
            failing.pop_all()

    def register(self, watch: Watch) -> None:
        """Have the loop read what comes."""
        watch.add(self._control.events, self._watch_control)
        watch.add(self._bulk.events, self._watch_bulk)
        watch.add(self._bulk.socket, self._read_bulk)

    def unregister(self, watch: Watch) -> None:
        """End what `register` began."""
        for source in (self._control.events, self._bulk.events, self._bulk.socket):
            watch.remove(source)

    def send(self, frame: bytes) -> bool:
        """Send a control frame, also before the connection is up; False if the queue is full."""
        try:
            self._control.socket.send(frame, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def fetch(self, digest: bytes, size: int) -> None:
        """Ask for an object."""
        self.get(self._client.fetch(self.peer, digest, size))

    def get(self, wanted: Range | None) -> None:
        """Ask for a range. While the connection is down nothing happens: it is asked for when it comes up."""
        if wanted is not None and self._bulk_up:
            # The queue is full, or the connection has just ended: it is asked for again in both cases.
            with contextlib.suppress(zmq.Again):
                self._bulk.socket.send(encode_get(wanted), zmq.DONTWAIT)

    def redial(self) -> None:
        """Connect again where libzmq has given up. Call it about once a second."""
        for dealer, address in ((self._control, self._endpoint.control), (self._bulk, self._endpoint.bulk)):
            if dealer.is_given_up():
                with contextlib.suppress(zmq.ZMQError):  # libzmq may have forgotten the address too
                    dealer.socket.disconnect(address)
                connect(dealer.socket, address)

    def trouble(self) -> str | None:
        """Say why a connection is down, with its address; None where none is or that is not known yet."""
        now = time.monotonic()
        for dealer, address in ((self._control, self._endpoint.control), (self._bulk, self._endpoint.bulk)):
            if cause := dealer.attempts.cause(now):
                return f"{address}: {cause}"
        return None

    def close(self, linger: int) -> None:
        """Close both connections; control frames that are queued get `linger` milliseconds, if they can go."""
        hopeless = self._control.attempts.cause(time.monotonic()) is not None
        self._control.close(0 if hopeless else linger)
        self._bulk.close(0)

    def _watch_control(self) -> Iterator[Delivery]:
        for up in self._control.changes():
            if up != self._control_up:
                self._control_up = up
                yield delivery.link(self.peer, up)

    def _watch_bulk(self) -> Iterator[Delivery]:
        for up in self._bulk.changes():
            self._bulk_up = up
            for wanted in self._client.ask_again(self.peer) if up else ():
                self.get(wanted)
        return iter(())

    def _read_bulk(self) -> Iterator[Delivery]:
        for _ in range(BATCH):
            # The handler may have closed this link while it was given an object.
            frames = None if self._bulk.socket.closed else receive(self._bulk.socket)
            if frames is None:
                return
            self._guard.delivered(descriptor_of(frames[-1]))
            progress = self._client.accept(self.peer, frames)
            self.get(progress.more)
            if progress.data is not None:
                yield delivery.bulk(progress.digest, progress.data)
