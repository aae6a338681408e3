"""How this project's ZeroMQ sockets are set up, and what goes wrong with addresses, in plain words."""

import errno
import os
from typing import Final, TypeAlias

import zmq

from btard.keys import KeyPair
from btard_transports.interface import PortInUseError, TransportError
from btard_transports.limits import Limits
from btard_transports.zap import DOMAIN

Context: TypeAlias = zmq.Context[zmq.Socket[bytes]]
Socket: TypeAlias = zmq.Socket[bytes]

_HANDSHAKE_MS: Final = 3_000  # how long a stranger holds a descriptor, and a refused peer waits
_HEARTBEAT_MS: Final = 5_000
_HEARTBEAT_TIMEOUT_MS: Final = 20_000  # finds connections that died without a word
_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 2_000


def open_socket(context: Context, kind: int) -> Socket:
    """A socket that closes at once; raises TransportError where there are too many."""
    try:
        socket = context.socket(kind)
    except zmq.ZMQError as error:
        raise TransportError(
            f"cannot open a socket: {os.strerror(error.errno or 0)}; allow more with: ulimit -n 65536"
        ) from None
    socket.setsockopt(zmq.LINGER, 0)
    return socket


def limited_socket(context: Context, kind: int, limits: Limits) -> Socket:
    """A socket with every limit set (NET-8); raises TransportError."""
    socket = open_socket(context, kind)
    socket.setsockopt(zmq.MAXMSGSIZE, limits.max_frame)
    socket.setsockopt(zmq.SNDHWM, limits.send_hwm)
    socket.setsockopt(zmq.RCVHWM, limits.receive_hwm)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
    if kind == zmq.ROUTER:
        # Without it, what a full or broken connection cannot take is lost without an error.
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return socket


def secure_server(socket: Socket, keys: KeyPair) -> None:
    """Let only authenticated peers connect (NET-1)."""
    socket.curve_server = True
    socket.curve_secretkey = keys.curve_secret
    socket.zap_domain = DOMAIN
    # Fail closed: no handshake without somebody to ask.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_client(socket: Socket, keys: KeyPair, server: str) -> None:
    """Connect only to whoever holds the secret key of `server` (Z85) (NET-2)."""
    try:
        socket.curve_serverkey = server.encode("ascii")
    except (UnicodeEncodeError, zmq.ZMQError):
        raise TransportError(f"{server!r} is no CURVE public key; take it from the peer's keygen") from None
    socket.curve_publickey = keys.curve_public.encode("ascii")
    socket.curve_secretkey = keys.curve_secret


def bind(socket: Socket, address: str) -> None:
    """Listen on tcp://host:port; raises TransportError (NET-10)."""
    _check_port(address, "listen on")
    try:
        socket.setsockopt(zmq.IPV6, "[" in address)
        socket.bind(address)
    except zmq.ZMQError as error:
        kind = PortInUseError if error.errno == errno.EADDRINUSE else TransportError
        raise kind(f"cannot listen on {address}: {_BIND_HELP.get(error.errno or 0, _other(error))}") from None


def connect(socket: Socket, address: str) -> None:
    """Connect, now or as soon as somebody listens there, to tcp://host:port; raises TransportError."""
    _check_port(address, "connect to")
    try:
        socket.setsockopt(zmq.IPV6, "[" in address)
        socket.connect(address)
    except zmq.ZMQError as error:
        raise TransportError(f"cannot connect to {address}: {_other(error)}") from None


def receive(socket: Socket) -> list[zmq.Frame] | None:
    """One message without copying it, or None if there is none."""
    try:
        return socket.recv_multipart(zmq.DONTWAIT, copy=False)
    except zmq.Again:
        return None


def descriptor_of(frame: zmq.Frame) -> int:
    """The descriptor of the connection that a frame came over; it may be closed by now, or used anew."""
    return int(frame.get("__fd"))


def port_of(address: str) -> int:
    """The port of tcp://host:port, or -1 if there is none."""
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else -1


def _check_port(address: str, what: str) -> None:
    # libzmq takes port 70000 for 70000 - 65536, and port 0 for any.
    if not 0 < port_of(address) < 65536:
        raise TransportError(f"cannot {what} {address}: {_FORM}")


def _other(error: zmq.ZMQError) -> str:
    if error.errno in (errno.EINVAL, errno.EPROTONOSUPPORT):
        return _FORM
    return os.strerror(error.errno or 0)


_FORM = "it must be of the form tcp://host:port"
_ABSENT = "this machine has no such address; bind another one, for instance tcp://0.0.0.0:PORT"
_BIND_HELP: Final = {
    errno.EADDRINUSE: "another program listens on this port; stop it, or choose another port",
    errno.EADDRNOTAVAIL: _ABSENT,
    errno.ENODEV: _ABSENT,
    errno.EACCES: "this port needs privileges; choose one above 1023",
}
