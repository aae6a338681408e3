"""What happens to the connections of one ZeroMQ socket."""

import struct
from collections.abc import Iterator
from typing import Final

import zmq

from btard_transports.guard import FloodGuard
from btard_transports.sockets import Context, Socket, port_of

_OPENED: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED
_TRYING: Final = _OPENED | zmq.EVENT_CONNECT_DELAYED | zmq.EVENT_CONNECT_RETRIED
_EVENTS: Final = _TRYING | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
_EVENT: Final = struct.Struct("=Hi")


class Monitor:
    """Reports the connections of `watched` to `guard`; make it before that socket binds or connects.

    `limit` is how many bytes may wait on one of them.
    """

    def __init__(self, context: Context, watched: Socket, guard: FloodGuard, limit: int) -> None:
        self._watched = watched
        self._guard = guard
        self._limit = limit
        self._given_up = self._overdue = False
        address = f"inproc://monitor.{id(self)}"
        watched.monitor(address, _EVENTS)
        self.socket = context.socket(zmq.PAIR)
        self.socket.setsockopt(zmq.LINGER, 0)
        # With a limit, a full queue would stop libzmq's I/O thread, and with it every link.
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.connect(address)

    def changes(self) -> Iterator[bool]:
        """True for each connection that is ready, both ends authenticated, and False for each that ended."""
        while not self.socket.closed and self.socket.poll(0):
            head, address = self.socket.recv_multipart()
            event, value = _EVENT.unpack(head)
            if event & _OPENED:
                self._guard.opened(value, port_of(address.decode("ascii", "replace")), self._limit)
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

    def close(self) -> None:
        """Stop watching; call it before the watched socket is closed."""
        # In this order: libzmq's I/O thread would wait for ever for a reader that is gone.
        self._watched.disable_monitor()
        self.socket.close()
