"""How much of each kind of connection may wait in memory (NET-8)."""

from typing import Final

import attrs

from btard_transports.wire import CHUNK, GET_BYTES

# What a frame may be longer than its body: CURVE's box, and handshakes where bodies are small.
_OVERHEAD: Final = 1024


@attrs.frozen
class Limits:
    """Limits of one connection: bytes in the body of one frame, and messages waiting in each direction."""

    max_body: int
    send_hwm: int
    receive_hwm: int

    @property
    def max_frame(self) -> int:
        """The longest frame that libzmq accepts, in bytes; it ends the connection of a longer one."""
        return self.max_body + _OVERHEAD

    @property
    def max_waiting(self) -> int:
        """Bytes that may wait on one connection, having been received."""
        return self.max_frame * self.receive_hwm


# Sending queues are deep where a full one loses something, that is for control frames and requests. Receiving
# queues of large frames are shallow, because a full one only makes the sender wait. Where nothing is ever
# sent or received the mark is 1, since 0 would stand for no limit.
CONTROL_DIAL: Final = Limits(max_body=0, send_hwm=1024, receive_hwm=1)
BULK_DIAL: Final = Limits(max_body=CHUNK, send_hwm=1024, receive_hwm=16)
BULK_LISTEN: Final = Limits(max_body=GET_BYTES, send_hwm=16, receive_hwm=1024)


def control_listen(max_body: int) -> Limits:
    """The limits of incoming control connections."""
    return Limits(max_body, send_hwm=1, receive_hwm=16)
