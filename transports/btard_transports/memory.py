"""The transport in memory, in virtual time: every run is a function of one seed.

No threads, no sockets, no clock: all that happens is an event in one heap, ordered by virtual time, and all
delays are drawn from one generator. Hosts keep the same contract as those of `zmq_mesh`.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from btard.errors import BtardError
from btard_transports.interface import MAX_FRAME, Buffer, Handler
from btard_transports.memory_host import MemoryHost

ControlFilter: TypeAlias = Callable[[int, int, bytes], list[tuple[float, bytes]]]
"""(sender, receiver, frame) -> what arrives instead: (further delay in seconds, frame), in any number."""
BulkFilter: TypeAlias = Callable[[int, int, bytes, bytes], list[tuple[float, bytes]]]
"""(owner, requester, digest, data) -> the same, for an object on its way."""


class Stalled(BtardError):
    """What a run waits for cannot happen any more, or does not happen in time."""


class MemoryNetwork:
    """Peers in one process. `latency` is the range of delays of a link, in seconds.

    Frames of one link arrive in order unless `filter` delays them. Computations take `compute_time` seconds.
    """

    def __init__(
        self,
        seed: int,
        latency: tuple[float, float] = (0.001, 0.01),
        *,
        compute_time: float = 0.001,
        max_frame: int = MAX_FRAME,
    ) -> None:
        self.now = 0.0
        self.filter: ControlFilter | None = None
        self.bulk_filter: BulkFilter | None = None
        self.hosts: dict[int, MemoryHost] = {}
        self.compute_time = compute_time
        self.max_frame = max_frame
        self._latency = latency
        self._random = random.Random(seed)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._new: set[int] = set()
        self._last_arrival: dict[tuple[int, int], float] = {}

    def attach(self, peer: int, handler: Handler) -> MemoryHost:
        """Add a peer, or put a new one in its place, as after a restart. All peers are members at first."""
        if peer in self.hosts:
            self.hosts[peer].stop()
        self.hosts[peer] = MemoryHost(self, peer, handler)
        self._new.add(peer)
        return self.hosts[peer]

    def run(self, until: Callable[[], bool], limit: float) -> None:
        """Let things happen in order until `until()` holds, for at most `limit` seconds of virtual time.

        Raises Stalled if nothing is left to happen, or the time is over, before `until()` holds.
        """
        end = self.now + limit
        while not until():
            if self._new:
                self._introduce()
            if not self._heap:
                raise Stalled(f"nothing is left to happen at {self.now:.3f} s; {self._pending()}")
            if self._heap[0][0] > end:
                raise Stalled(f"not done after {limit:.3f} s, at {end:.3f} s; {self._pending()}")
            self.now, _, happen = heapq.heappop(self._heap)
            happen()

    def _introduce(self) -> None:
        """Let the links of new peers come up: in one event per host, or a thousand peers made a million."""
        new, self._new = sorted(self._new), set()
        everybody = [peer for peer, host in self.hosts.items() if not host.stopped]
        for peer in everybody:
            self.hosts[peer].links_come_up(everybody if peer in new else new)

    def _pending(self) -> str:
        waiting = {peer: host.outstanding for peer, host in sorted(self.hosts.items()) if host.outstanding}
        requests = ", ".join(f"peer {peer} waits for {count} objects" for peer, count in waiting.items())
        return f"{len(self._heap)} events are pending; {requests or 'nobody waits for an object'}"

    def after(self, delay: float, happen: Callable[[], None]) -> None:
        """Let something happen in `delay` seconds; what is due at the same time happens in order of calls."""
        self._at(self.now + delay, happen)

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (time, next(self._numbers), happen))

    def draw_latency(self) -> float:
        """The delay of one message, in seconds."""
        return self._random.uniform(*self._latency)

    def is_running(self, peer: int) -> bool:
        """Whether there is such a peer and it has not stopped."""
        return peer in self.hosts and not self.hosts[peer].stopped

    def carry_frame(self, sender: int, receiver: int, frame: bytes) -> None:
        """Bring a control frame, in order and through the filter, to whoever is `receiver` by then."""
        link = (sender, receiver)
        arrival = max(self.now + self.draw_latency(), self._last_arrival.get(link, 0.0))
        self._last_arrival[link] = arrival
        for delay, body in [(0.0, frame)] if self.filter is None else self.filter(sender, receiver, frame):
            self._at(arrival + delay, partial(self._reach, receiver, MemoryHost.frame_arrives, sender, body))

    def carry_request(self, requester: int, owner: int, digest: bytes, size: int) -> None:
        """Bring a request to the owner."""
        request = partial(self._reach, owner, MemoryHost.request_arrives, requester, digest, size)
        self.after(self.draw_latency(), request)

    def carry_object(self, owner: int, requester: int, digest: bytes, data: memoryview) -> None:
        """Bring an object, through the filter, to whoever is `requester` by then."""
        latency = self.draw_latency()
        copies: list[tuple[float, Buffer]] = [(0.0, data)]
        if self.bulk_filter is not None:
            copies = list(self.bulk_filter(owner, requester, digest, bytes(data)))
        for delay, body in copies:
            arrive = partial(self._reach, requester, MemoryHost.object_arrives, owner, digest, body)
            self.after(latency + delay, arrive)

    def _reach(self, peer: int, arrive: Callable[..., None], *what: object) -> None:
        """Call a method of the host that is `peer` now, if there is one."""
        if self.is_running(peer):
            arrive(self.hosts[peer], *what)
