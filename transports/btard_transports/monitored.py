"""A ZeroMQ socket with its limits, whose connections are watched."""

import contextlib
import itertools
import struct
import time
from collections.abc import Iterator
from typing import Final

import zmq

from btard_transports.attempts import Attempts
from btard_transports.guard import FloodGuard
from btard_transports.limits import Limits
from btard_transports.sockets import Context, limited_socket, open_socket, port_of

_OPENED: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED
_TRYING: Final = _OPENED | zmq.EVENT_CONNECT_DELAYED | zmq.EVENT_CONNECT_RETRIED
_EVENTS: Final = _TRYING | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_EVENT: Final = struct.Struct("=Hi")
_numbers = itertools.count()


class Monitored:
    """A socket, and the events of its connections on `events`; new connections are told to `guard`."""

    def __init__(self, context: Context, kind: int, limits: Limits, guard: FloodGuard) -> None:
        self._guard = guard
        self._limits = limits
        self._given_up = self._overdue = False
        self.attempts = Attempts()
        # Never used twice: an address is free again only some time after its socket was closed.
        address = f"inproc://monitor.{next(_numbers)}"
        with contextlib.ExitStack() as failing:
            self.socket = limited_socket(context, kind, limits)
            failing.callback(self.socket.close)
            self.events = open_socket(context, zmq.PAIR)
            failing.callback(self.events.close)
            # With a limit, a full queue would stop libzmq's I/O thread, and with it every link.
            self.events.setsockopt(zmq.RCVHWM, 0)
            # What attempts fail of is of interest where this end dials; elsewhere it is the strangers'.
            self.socket.monitor(address, _EVENTS | Attempts.EVENTS if kind == zmq.DEALER else _EVENTS)
            self.events.connect(address)
            failing.pop_all()

    def changes(self) -> Iterator[bool]:
        """True for each connection that is ready, both ends authenticated, and False for each that ended."""
        while not self.events.closed and self.events.poll(0):
            head, address = self.events.recv_multipart()
            event, value = _EVENT.unpack(head)
            if event & Attempts.EVENTS:
                self.attempts.note(event, time.monotonic())
            if not event & _EVENTS:
                continue
            if event & _OPENED:
                port = port_of(address.decode("ascii", "replace"))
                self._guard.opened(value, port, self._limits.max_waiting)
            if event in (zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED):
                yield bool(event == zmq.EVENT_HANDSHAKE_SUCCEEDED)
            self._given_up = event == zmq.EVENT_DISCONNECTED
            self._overdue = False

    def is_given_up(self) -> bool:
        """Whether libzmq does not try to connect any more, as it does after any breach of its protocol.

        Call it now and then: an ended connection is given up if nothing has happened between two calls.
        """
        given_up, self._overdue = self._overdue, self._given_up
        return given_up

    def close(self, linger: int) -> None:
        """Close; what is queued for sending gets `linger` milliseconds."""
        # In this order: libzmq's I/O thread would wait for ever for a reader of events that is gone.
        self.socket.disable_monitor()
        self.events.close()
        self.socket.close(linger)
