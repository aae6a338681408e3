"""Bare sockets, for what no honest host does."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from btard.keys import KeyPair

# ZMTP 3.0 with the NULL mechanism, as RFC 23 has it: greeting and READY of a DEALER.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY_BODY = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
READY = b"\x04" + bytes([len(READY_BODY)]) + READY_BODY


class Intruder:
    """A context whose sockets have no limits and any keys."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._monitors: list[zmq.Socket[bytes]] = []

    def dial(
        self,
        address: str,
        keys: KeyPair | None = None,
        server: str | None = None,
        *,
        receive_hwm: int = 1000,
        routing_id: bytes | None = None,
    ) -> zmq.Socket[bytes]:
        dealer = self._new(zmq.DEALER)
        dealer.rcvhwm = receive_hwm
        if routing_id is not None:
            dealer.routing_id = routing_id
        if keys is not None and server is not None:
            dealer.curve_serverkey = server.encode()
            dealer.curve_publickey = keys.curve_public.encode()
            dealer.curve_secretkey = keys.curve_secret
        dealer.connect(address)
        return dealer

    def listen(self, address: str, keys: KeyPair | None = None) -> zmq.Socket[bytes]:
        """A ROUTER that lets everybody in; with keys, over CURVE."""
        router = self._new(zmq.ROUTER)
        if keys is not None:
            router.curve_server = True
            router.curve_secretkey = keys.curve_secret
        router.bind(address)
        return router

    def watch(self, watched: zmq.Socket[bytes], events: int) -> zmq.Socket[bytes]:
        """A socket on which these events of another arrive."""
        self._monitors.append(watched.get_monitor_socket(events))
        return self._monitors[-1]

    def _new(self, kind: int) -> zmq.Socket[bytes]:
        self._sockets.append(self.context.socket(kind))
        return self._sockets[-1]

    def close(self) -> None:
        for watched in self._sockets:
            watched.disable_monitor()
        for one in [*self._monitors, *self._sockets]:
            one.close(linger=0)
        self.context.destroy(linger=0)


@contextmanager
def raw_connection(address: str) -> Iterator[socket.socket]:
    """A TCP connection to tcp://host:port."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        yield connection


def shake_hands(connection: socket.socket) -> None:
    """Become a ZMTP peer without any security."""
    connection.sendall(GREETING)
    missing = len(GREETING)
    while missing:
        received = len(connection.recv(missing))
        assert received, "the connection was closed"
        missing -= received
    connection.sendall(READY)
