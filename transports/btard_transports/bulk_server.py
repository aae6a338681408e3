"""Serves offered objects from one ROUTER: in chunks, without copies, and never waiting for anybody."""

from collections import deque

import attrs
import zmq

from btard_transports.interface import Buffer
from btard_transports.offers import OfferBook
from btard_transports.sockets import Socket
from btard_transports.tally import Tally
from btard_transports.wire import CHUNK, Range, WireError, decode_get, encode_header

# Ranges queued for one connection while its pipe is full. An honest peer asks again for what was dropped.
MAX_QUEUED = 1024
# Chunks handed to one connection in one turn, so that one fast reader does not hold up the loop.
BURST = 16
# A ROUTER cannot be polled for room in one certain pipe, so a full one is tried again after this long, then
# after twice as long, and so on.
FIRST_RETRY = 0.002
LAST_RETRY = 0.1


@attrs.frozen
class Get:
    """A request as it came: over which connection, from which peer (None: not authenticated), for what."""

    connection: bytes
    peer: int | None
    wanted: Range

    @property
    def requester(self) -> int | bytes:
        """Whom limits apply to."""
        return self.connection if self.peer is None else self.peer


@attrs.define
class _Queue:
    """What one connection still is to be sent."""

    jobs: deque[Get] = attrs.field(factory=deque)
    sent: int = 0
    """Bytes of the first job that are sent."""
    retry_at: float = 0.0
    delay: float = FIRST_RETRY


class BulkServer:
    """Answers requests on `router`, which must be mandatory so that a full pipe is an error and no loss."""

    def __init__(self, router: Socket, tally: Tally) -> None:
        self._router = router
        self._tally = tally
        self._book: OfferBook[Get] = OfferBook()
        self._queues: dict[bytes, _Queue] = {}

    def offer(self, digest: bytes, data: Buffer, to: frozenset[int] | None) -> None:
        """Serve an object from now on, to those who wait for it first."""
        for get in self._book.offer(digest, data, to):
            self._consider(get)

    def withdraw(self, digest: bytes) -> None:
        """Serve the object no longer."""
        self._book.withdraw(digest)

    def drop(self, peer: int) -> None:
        """Serve `peer` no longer."""
        self._book.drop(peer)
        for queue in self._queues.values():
            if queue.jobs and queue.jobs[0].peer == peer:
                queue.jobs.clear()

    def request(self, connection: bytes, peer: int | None, frame: bytes) -> None:
        """Take a request frame. Hostile ones are counted, whatever they hold (NET-7)."""
        try:
            wanted = decode_get(frame)
        except WireError as error:
            self._tally.junk(str(error), peer)
            return
        self._consider(Get(connection, peer, wanted))

    def _consider(self, get: Get) -> None:
        data = self._book.find(get.wanted.digest, get.peer)
        if data is None:
            self._book.wait(get.requester, get.wanted.digest, get)
            return
        if get.wanted.end > len(data) or (get.wanted.end % CHUNK and get.wanted.end != len(data)):
            self._tally.junk("discarded a request of a range that the object does not have", get.peer)
            return
        queue = self._queues.setdefault(get.connection, _Queue())
        if len(queue.jobs) >= MAX_QUEUED:
            self._tally.dropped("dropped a request: too many of this peer are queued", get.peer)
        elif not self._book.charge(get.wanted.digest, get.requester, get.wanted.end - get.wanted.start):
            self._tally.dropped("dropped a request: this peer was sent the object often enough", get.peer)
        else:
            queue.jobs.append(get)

    def flush(self, now: float) -> float | None:
        """Send what there is room for; return when to try again, or None if nothing is queued."""
        for connection in list(self._queues):
            queue = self._queues[connection]
            if queue.retry_at <= now:
                self._pump(connection, queue, now)
            if not queue.jobs:
                del self._queues[connection]
        return min((queue.retry_at for queue in self._queues.values()), default=None)

    def _pump(self, connection: bytes, queue: _Queue, now: float) -> None:
        """Send up to BURST chunks to one connection."""
        try:
            for _ in range(BURST):
                if not queue.jobs:
                    return
                self._send_next(connection, queue)
                queue.delay = FIRST_RETRY
        except zmq.Again:
            queue.retry_at = now + queue.delay
            queue.delay = min(2 * queue.delay, LAST_RETRY)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            # The connection is gone, and with it everything that it asked for.
            queue.jobs.clear()

    def _send_next(self, connection: bytes, queue: _Queue) -> None:
        get = queue.jobs[0]
        wanted = get.wanted
        # Looked up anew for every chunk, so that withdrawing takes effect at once.
        data = self._book.find(wanted.digest, get.peer)
        start = wanted.start + queue.sent
        end = min(start + CHUNK, wanted.end)
        if data is not None:
            header = encode_header(wanted.digest, start)
            self._router.send_multipart([connection, header, data[start:end]], zmq.DONTWAIT, copy=False)
            self._tally.counters.bulk_bytes_sent += end - start
            queue.sent += end - start
        if data is None or end == wanted.end:
            queue.jobs.popleft()
            queue.sent = 0
