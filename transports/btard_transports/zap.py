"""Who may connect: answers libzmq's authentication requests (ZAP, RFC 27) from the set of members.

pyzmq has an authenticator of its own, but one exception ends it for good, and it refuses with status 400,
after which libzmq's client never tries again: a peer whose admission came a moment later would stay shut out.
Status 300 makes it try again.
"""

import threading

import structlog
import zmq
from zmq.utils import z85

from btard_transports.interface import Counters

log = structlog.get_logger()

# Not empty, since libzmq does not ask at all for a socket with an empty domain.
DOMAIN = b"btard"
_ADDRESS = "inproc://zeromq.zap.01"
_VERSION = b"1.0"


class AllowList:
    """Lets in the keys in `keys` (Z85), which may be replaced at any time; CURVE only (NET-1).

    It must exist before any socket of its context binds: without it libzmq would let everybody in. It runs in
    a thread of its own, so that handshakes do not wait for a handler, and ends with its context.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], me: int, counters: Counters) -> None:
        self.keys: frozenset[bytes] = frozenset()
        self._me = me
        self._counters = counters
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(_ADDRESS)
        self._thread = threading.Thread(target=self._serve, name="btard-zap", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread; call it after the context was terminated."""
        self._thread.join()

    def _serve(self) -> None:
        try:
            while True:
                self._socket.send_multipart(self._answer(self._socket.recv_multipart()))
        except zmq.ContextTerminated:
            self._socket.close()

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        """The reply to one request; never raises. The user id of an admitted peer is its key in Z85."""
        _, request, domain, address, _, mechanism, *credentials = [*frames, *[b""] * (6 - len(frames))]
        key = z85.encode(credentials[0]) if len(credentials) == 1 and len(credentials[0]) == 32 else b""
        if domain == DOMAIN and mechanism == b"CURVE" and key in self.keys:
            return [_VERSION, request, b"200", b"OK", key, b""]
        self._refuse(key.decode("ascii"), address.decode("ascii", "replace"))
        return [_VERSION, request, b"300", b"not a member", b"", b""]

    def _refuse(self, key: str, address: str) -> None:
        self._counters.handshakes_refused += 1
        count = self._counters.handshakes_refused
        if count & (count - 1) == 0:
            log.warning(
                "refused a connection: its key is that of no member",
                me=self._me,
                key=key,
                address=address,
                count=count,
            )
