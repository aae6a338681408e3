"""One peer of a `memory.MemoryNetwork`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from btard.hashing import object_digest
from btard_transports import delivery
from btard_transports.delivery import Delivery
from btard_transports.interface import Buffer, Counters, Handler, check_frame, check_object, new_buffer
from btard_transports.offers import OfferBook
from btard_transports.tally import Tally
from btard_transports.worker import call

if TYPE_CHECKING:
    from btard_transports.memory import MemoryNetwork


class MemoryHost:
    """The Host of one peer of a MemoryNetwork; made by `attach`."""

    def __init__(self, network: MemoryNetwork, me: int, handler: Handler) -> None:
        self.me = me
        self.counters = Counters()
        self.stopped = False
        self._network = network
        self._handler = handler
        self._members: frozenset[int] | None = None
        self._tally = Tally(me, self.counters)
        self._book: OfferBook[tuple[int, int]] = OfferBook()
        self._wanted: dict[bytes, dict[int, int]] = {}
        self._up: set[int] = set()
        self._timers: dict[Hashable, object] = {}
        self._busy_until = 0.0

    @property
    def outstanding(self) -> int:
        """How many objects this host waits for."""
        return len(self._wanted)

    # -- Host ------------------------------------------------------------------------------------------

    def send(self, peer: int, frame: bytes) -> None:
        """See Host."""
        check_frame(frame, self._network.max_frame)
        if self._is_member(peer):
            self.counters.control_frames_sent += 1
            self.counters.control_bytes_sent += len(frame)
            self._network.carry_frame(self.me, peer, frame)
        else:
            self._tally.dropped("dropped a frame to a peer: it is no member", peer)

    def fetch(self, peer: int, digest: bytes, size: int) -> None:
        """See Host."""
        check_object(digest, size)
        if not self._is_member(peer):
            self._tally.dropped("dropped a request to a peer: it is no member", peer)
        elif peer not in self._wanted.get(digest, {}):
            self._wanted.setdefault(digest, {})[peer] = size
            if size == 0:
                self._network.after(0.0, partial(self.object_arrives, peer, digest, b""))
            else:
                self._ask(peer, digest, size)

    def offer(self, digest: bytes, data: Buffer, to: frozenset[int] | None) -> None:
        """See Host."""
        for requester, size in self._book.offer(digest, data, to):
            self.request_arrives(requester, digest, size)

    def withdraw(self, digest: bytes) -> None:
        """See Host."""
        self._book.withdraw(digest)

    def forget(self, digest: bytes) -> None:
        """See Host."""
        self._wanted.pop(digest, None)

    def set_timer(self, timer: Hashable, delay: float) -> None:
        """See Host."""
        setting = object()
        self._timers[timer] = setting
        self._network.after(delay, partial(self._timer_expires, timer, setting))

    def submit(self, token: Hashable, function: Callable[[], object]) -> None:
        """See Host. The function runs, in no virtual time, when its turn is over: things happen before that."""
        self._busy_until = max(self._busy_until, self._network.now) + self._network.compute_time
        self._network.after(self._busy_until - self._network.now, partial(self._compute, token, function))

    def store(self, token: Hashable, function: Callable[[], object]) -> None:
        """See Host. It takes no time, but things happen before it, the end of this peer for instance."""
        self._network.after(0.0, partial(self._compute, token, function))

    def _compute(self, token: Hashable, function: Callable[[], object]) -> None:
        if not self.stopped:
            self._deliver(delivery.done(*call(token, function)))

    def set_members(self, peers: frozenset[int]) -> None:
        """See Host."""
        old, self._members = self._members, peers
        self._up &= peers
        for digest, owners in list(self._wanted.items()):
            self._wanted[digest] = {peer: size for peer, size in owners.items() if peer in peers}
            if not self._wanted[digest]:
                del self._wanted[digest]
        for peer in self._network.hosts.keys() - peers:
            self._book.drop(peer)
        if old is not None:
            self.links_come_up(sorted(peers - old))

    def trouble(self, peer: int) -> str | None:
        """See Host: in memory every link comes up."""
        return None

    def now(self) -> float:
        """See Host: virtual time."""
        return self._network.now

    def stop(self) -> None:
        """See Host."""
        if not self.stopped:
            self.stopped = True
            for other in self._network.hosts.values():
                self._network.after(0.0, partial(other.link_breaks, self.me))

    # -- what the network brings -----------------------------------------------------------------------

    def frame_arrives(self, sender: int, frame: bytes) -> None:
        """A control frame."""
        if not self._is_member(sender):
            self._tally.refused("refused a message: its sender is no member", sender)
            return
        self.counters.control_frames_received += 1
        self.counters.control_bytes_received += len(frame)
        self._deliver(delivery.control(sender, frame))

    def request_arrives(self, requester: int, digest: bytes, size: int) -> None:
        """A request for an object."""
        data = self._book.find(digest, requester)
        if not self._is_member(requester):
            self._tally.refused("refused a message: its sender is no member", requester)
        elif data is None:
            self._book.wait(requester, digest, (requester, size))
        elif size != len(data):
            self._tally.junk("discarded a request of a range that the object does not have", requester)
        elif not self._book.charge(digest, requester, size):
            self._tally.dropped("dropped a request: this peer was sent the object often enough", requester)
        else:
            self.counters.bulk_bytes_sent += size
            self._network.carry_object(self.me, requester, digest, data)

    def object_arrives(self, owner: int, digest: bytes, data: Buffer) -> None:
        """An object, or what its owner or the filter made of it."""
        size = self._wanted.get(digest, {}).get(owner)
        if size is None:
            return
        self.counters.bulk_bytes_received += len(data)
        if len(data) != size or object_digest(data) != digest:
            self._give_up(owner, digest)
            self._tally.junk("discarded an object with a wrong digest", owner)
            return
        self.forget(digest)
        # The receiver's own memory, as if it came from a socket.
        copy = new_buffer(size)
        copy[:] = data
        self._deliver(delivery.bulk(digest, copy))

    def links_come_up(self, peers: Sequence[int]) -> None:
        """Links come up in a moment; requests to these peers are made then, or again."""
        if peers:
            self._network.after(self._network.draw_latency(), partial(self._links_are_up, peers))

    def _links_are_up(self, peers: Sequence[int]) -> None:
        for peer in peers:
            if self._is_member(peer) and self._network.is_running(peer):
                self._up.add(peer)
                self._deliver(delivery.link(peer, True))
        for digest, owners in list(self._wanted.items()):
            for peer in owners.keys() & set(peers):
                self._ask(peer, digest, owners[peer])

    def link_breaks(self, peer: int) -> None:
        """The link to a peer breaks."""
        if peer in self._up:
            self._up.discard(peer)
            self._deliver(delivery.link(peer, False))

    def _ask(self, owner: int, digest: bytes, size: int) -> None:
        if owner in self._up:
            self._network.carry_request(self.me, owner, digest, size)

    def _is_member(self, peer: int) -> bool:
        return peer != self.me and (self._members is None or peer in self._members)

    def _give_up(self, owner: int, digest: bytes) -> None:
        del self._wanted[digest][owner]
        if not self._wanted[digest]:
            del self._wanted[digest]

    def _timer_expires(self, timer: Hashable, setting: object) -> None:
        if self._timers.get(timer) is setting:
            del self._timers[timer]
            self._deliver(delivery.timer(timer))

    def _deliver(self, deliver: Delivery) -> None:
        if not self.stopped:
            deliver(self._handler)
