"""What others send to this host: control frames, and requests for bulk."""

from collections.abc import Iterator, Mapping
from typing import Final

from btard.keys import KeyPair
from btard_transports import delivery
from btard_transports.bulk_server import BulkServer
from btard_transports.delivery import Delivery
from btard_transports.guard import FloodGuard
from btard_transports.interface import BulkSecurity
from btard_transports.limits import BULK_LISTEN, control_listen
from btard_transports.listener import Incoming, Listener
from btard_transports.poll import Watch
from btard_transports.sockets import Context
from btard_transports.tally import Tally

# Messages taken from one socket in one turn of the loop, so that none starves the others.
BATCH: Final = 64


class Intake:
    """Two listening sockets, for control and bulk. Raises TransportError where it cannot listen."""

    def __init__(
        self,
        context: Context,
        control_address: str,
        bulk_address: str,
        keys: KeyPair,
        *,
        max_frame: int,
        bulk_security: BulkSecurity,
        guard: FloodGuard,
        tally: Tally,
    ) -> None:
        self.members: Mapping[str, int] = {}
        """Who may send: peer index by CURVE key in Z85."""
        self._bulk_keys = keys if bulk_security == "curve" else None
        self._tally = tally
        self._control = Listener(context, control_address, keys, control_listen(max_frame), guard)
        try:
            self._bulk = Listener(context, bulk_address, self._bulk_keys, BULK_LISTEN, guard)
        except BaseException:
            self._control.close(0)
            raise
        self.server = BulkServer(self._bulk.socket, tally)

    def register(self, watch: Watch) -> None:
        """Have the loop read what comes."""
        self._control.register(watch, self._read_control)
        self._bulk.register(watch, self._read_bulk)

    def close(self, linger: int) -> None:
        """Listen no longer; what is queued for sending gets `linger` milliseconds."""
        self._control.close(linger)
        self._bulk.close(linger)

    def _read_control(self) -> Iterator[Delivery]:
        for incoming in self._control.receive(BATCH):
            peer = self._member(self._control, incoming)
            if peer is not None and incoming.body is not None:
                self._tally.counters.control_frames_received += 1
                self._tally.counters.control_bytes_received += len(incoming.body)
                yield delivery.control(peer, incoming.body)
            elif peer is not None:
                self._tally.junk("discarded a control message: several frames, or too long", peer)

    def _read_bulk(self) -> Iterator[Delivery]:
        for incoming in self._bulk.receive(BATCH):
            peer = None if self._bulk_keys is None else self._member(self._bulk, incoming)
            if peer is None and self._bulk_keys is not None:
                continue
            if incoming.body is None:
                self._tally.junk("discarded a request: several frames, or too long", peer)
            else:
                self.server.request(incoming.connection, peer, incoming.body)
        return iter(())

    def _member(self, listener: Listener, incoming: Incoming) -> int | None:
        """Which member sent this; if none did, None, and its connection is closed (NET-3)."""
        peer = self.members.get(incoming.key or "")
        if peer is None:
            self._tally.refused("refused a message: its sender is no member", None)
            listener.hang_up(incoming.descriptor)
        return peer
