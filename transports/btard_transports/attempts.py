"""Why a connection does not come up, in a few words, from what libzmq tells of its attempts."""

from enum import StrEnum
from typing import Final

import zmq

_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
PATIENCE: Final = 2.0  # seconds without a word from the other end until that is worth telling


class Cause(StrEnum):
    """What keeps a connection from coming up.

    Whom a listener shuts out it may hang up on or leave without a word, as what is not libzmq does: one cause.
    """

    NOBODY = "nobody listens there"
    NO_NAME = "there is no such host name"
    NO_ANSWER = "no answer: a firewall drops it, or no machine has this address"
    REFUSED = "what listens there has another key, does not know this peer's, or is not btard"


class Attempts:
    """The attempts of one dialling socket; told every event of its monitor, and the time."""

    EVENTS: Final = (
        zmq.EVENT_CONNECTED
        | zmq.EVENT_CONNECT_DELAYED
        | zmq.EVENT_CONNECT_RETRIED
        | zmq.EVENT_CLOSED
        | zmq.EVENT_DISCONNECTED
        | zmq.EVENT_HANDSHAKE_SUCCEEDED
        | _FAILED
    )

    def __init__(self) -> None:
        self._cause: Cause | None = None  # of the last attempt that failed
        self._last = 0
        self._since = 0.0  # of the last event

    def note(self, event: int, now: float) -> None:
        """Take in one event of EVENTS."""
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._cause = None
        elif event == zmq.EVENT_CLOSED and self._last == zmq.EVENT_CONNECT_DELAYED:
            self._cause = Cause.NOBODY if now - self._since < PATIENCE else Cause.NO_ANSWER
        elif event == zmq.EVENT_CONNECT_RETRIED and self._last in (0, zmq.EVENT_CONNECT_RETRIED):
            self._cause = Cause.NO_NAME  # given up before it even tried an address
        elif event & _FAILED:
            self._cause = Cause.REFUSED
        self._last, self._since = event, now

    def cause(self, now: float) -> Cause | None:
        """Say what keeps the connection down; None where it is up, or that is not known yet."""
        if now - self._since >= PATIENCE and self._last == zmq.EVENT_CONNECT_DELAYED:
            return Cause.NO_ANSWER
        if now - self._since >= PATIENCE and self._last == zmq.EVENT_CONNECTED:
            return Cause.REFUSED
        return self._cause
