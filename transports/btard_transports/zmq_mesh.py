"""The transport over ZeroMQ: every peer has a direct, authenticated link with every other one.

Each peer binds two ROUTERs, one for control frames and one for bulk (`intake`), and connects two DEALERs to
each other peer (`link`). Control frames go from DEALER to ROUTER. Bulk is asked for and sent on the
requester's own connection. Control and bulk never share a connection, so that a small frame does not wait
behind a large one. The sender of a message is the CURVE key of its connection, never the routing id, which
its sender chooses (NET-3).

One thread and one poll loop; computations run in a worker thread. Only `stop` may be called from others.

With bulk_security="digest" bulk connections are plain TCP: the owner does not know who asks, so `to` of an
offer has no effect there and objects are public, also for strangers who reach the port. What a requester gets
is verified by its digest all the same.
"""

import contextlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import TracebackType
from typing import Final, Self

import zmq

from btard.keys import KeyPair
from btard_transports import delivery
from btard_transports.allocator import keep_large_blocks
from btard_transports.bulk_client import BulkClient
from btard_transports.delivery import Delivery
from btard_transports.guard import FloodGuard
from btard_transports.intake import Intake
from btard_transports.interface import (
    MAX_FRAME,
    Buffer,
    BulkSecurity,
    Counters,
    Endpoint,
    Handler,
    TransportError,
    check_frame,
    check_object,
)
from btard_transports.link import Link
from btard_transports.poll import Watch
from btard_transports.sockets import Context
from btard_transports.tally import Tally
from btard_transports.timers import Timers
from btard_transports.worker import Waker, Worker
from btard_transports.zap import AllowList

# Seconds between looks at overdue requests and at connections that send without end.
HOUSEKEEPING: Final = 1.0
# libzmq's own limit is 1023, and a link takes six; open files are limited by the system anyway.
MAX_SOCKETS: Final = 65_535


class ZmqMesh:
    """The Host of one peer, `me`, among the peers of `endpoints`, who are its members at first.

    `bind_control` and `bind_bulk` are where it listens, if that is not where others reach it (for instance
    tcp://0.0.0.0:7000). `linger` is how many seconds closing may take to flush what was sent. Raises
    TransportError for bad addresses and keys and for ports in use. A context manager; else `close` it.
    """

    def __init__(
        self,
        me: int,
        endpoints: Mapping[int, Endpoint],
        keys: KeyPair,
        *,
        bind_control: str | None = None,
        bind_bulk: str | None = None,
        max_frame: int = MAX_FRAME,
        bulk_security: BulkSecurity = "curve",
        linger: float = 2.0,
    ) -> None:
        _check_endpoints(me, endpoints, keys)
        keep_large_blocks()
        self.me = me
        self.counters = Counters()
        self._endpoints = dict(endpoints)
        self._keys = keys
        self._max_frame = max_frame
        self._bulk_security: BulkSecurity = bulk_security
        self._linger_ms = round(linger * 1000)
        self._tally = Tally(me, self.counters)
        self._timers = Timers()
        self._guard = FloodGuard()
        self._client = BulkClient(self._tally)
        self._links: dict[int, Link] = {}
        self._watch = Watch()
        self._stopping = False
        self._next_check = time.monotonic() + HOUSEKEEPING
        with contextlib.ExitStack() as closing:
            self._open(closing, bind_control or endpoints[me].control, bind_bulk or endpoints[me].bulk)
            self.set_members(frozenset(endpoints))
            self._closing = closing.pop_all()

    def _open(self, closing: contextlib.ExitStack, control: str, bulk: str) -> None:
        """Open what has to be closed; that happens in the opposite order."""
        self._waker = Waker()
        closing.callback(self._waker.close)
        self._context: Context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        # Before anything listens: without somebody to ask, libzmq would let everybody in.
        self._allowed = AllowList(self._context, self.me, self.counters)
        closing.callback(self._allowed.join)
        closing.callback(self._context.term)
        self._intake = Intake(
            self._context,
            control,
            bulk,
            self._keys,
            max_frame=self._max_frame,
            bulk_security=self._bulk_security,
            guard=self._guard,
            tally=self._tally,
        )
        closing.callback(lambda: self._intake.close(self._linger_ms))
        closing.callback(self._hang_up_all)
        self._worker, self._disk = Worker(self._waker), Worker(self._waker)
        closing.callback(self._worker.close)
        closing.callback(self._disk.close)
        self._intake.register(self._watch)
        self._watch.add(self._waker.fileno(), self._read_workers)

    def close(self) -> None:
        """End the worker thread, flush what was sent and close every socket. Closing again does nothing."""
        self._stopping = True
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- Host ------------------------------------------------------------------------------------------

    def send(self, peer: int, frame: bytes) -> None:
        """See Host. Frames wait in the queue while the link is down."""
        check_frame(frame, self._max_frame)
        link = self._links.get(peer)
        if link is not None and link.send(frame):
            self.counters.control_frames_sent += 1
            self.counters.control_bytes_sent += len(frame)
        else:
            why = "it is no member" if link is None else "its queue is full"
            self._tally.dropped(f"dropped a frame to a peer: {why}", peer)

    def fetch(self, peer: int, digest: bytes, size: int) -> None:
        """See Host."""
        check_object(digest, size)
        link = self._links.get(peer)
        if link is None:
            self._tally.dropped("dropped a request to a peer: it is no member", peer)
        else:
            link.fetch(digest, size)

    def offer(self, digest: bytes, data: Buffer, to: frozenset[int] | None) -> None:
        """See Host. With bulk_security="digest" anybody is served, whatever `to` says."""
        self._intake.server.offer(digest, data, to)

    def withdraw(self, digest: bytes) -> None:
        """See Host."""
        self._intake.server.withdraw(digest)

    def forget(self, digest: bytes) -> None:
        """See Host."""
        self._client.forget(digest)

    def set_timer(self, timer: Hashable, delay: float) -> None:
        """See Host."""
        self._timers.set(timer, time.monotonic() + delay)

    def submit(self, token: Hashable, function: Callable[[], object]) -> None:
        """See Host."""
        self._worker.submit(token, function)

    def store(self, token: Hashable, function: Callable[[], object]) -> None:
        """See Host."""
        self._disk.submit(token, function)

    def set_members(self, peers: frozenset[int]) -> None:
        """See Host. Raises ValueError for a peer without an endpoint."""
        if not peers <= self._endpoints.keys():
            raise ValueError(f"peers {sorted(peers - self._endpoints.keys())} have no endpoint")
        members = {self._endpoints[peer].curve_public: peer for peer in peers - {self.me}}
        self._allowed.keys = frozenset(key.encode("ascii") for key in members)
        self._intake.members = members
        for peer in self._links.keys() - peers:
            self._hang_up(peer)
        for peer in sorted(peers - self._links.keys() - {self.me}):
            self._dial(peer)

    def trouble(self, peer: int) -> str | None:
        """See Host."""
        link = self._links.get(peer)
        return None if link is None else link.trouble()

    def now(self) -> float:
        """See Host."""
        return time.monotonic()

    def stop(self) -> None:
        """See Host: `run` closes the host and returns. Safe from any thread and from signal handlers."""
        self._stopping = True
        self._waker.wake()

    # -- links -----------------------------------------------------------------------------------------

    def _dial(self, peer: int) -> None:
        link = Link(
            self._context,
            peer,
            self._endpoints[peer],
            self._keys,
            bulk_security=self._bulk_security,
            guard=self._guard,
            client=self._client,
        )
        link.register(self._watch)
        self._links[peer] = link

    def _hang_up(self, peer: int) -> None:
        link = self._links.pop(peer)
        link.unregister(self._watch)
        link.close(self._linger_ms)
        self._client.drop(peer)
        self._intake.server.drop(peer)

    def _hang_up_all(self) -> None:
        for peer in list(self._links):
            self._hang_up(peer)

    # -- the loop --------------------------------------------------------------------------------------

    def run(self, handler: Handler, until: Callable[[], bool]) -> None:
        """Turn the loop until `until()` holds, which leaves the host open, or until `stop`, which closes it.

        Whatever is raised, KeyboardInterrupt included, closes it too.
        """
        try:
            while not (self._stopping or until()):
                self.step(handler, HOUSEKEEPING)
        except BaseException:
            self.close()
            raise
        if self._stopping:
            self.close()

    def step(self, handler: Handler, timeout: float) -> None:
        """Wait at most `timeout` seconds for something to happen, then deliver what has."""
        if self._stopping:
            return
        for deliver in self._turn(timeout):
            deliver(handler)
            if self._stopping:
                return

    def _turn(self, timeout: float) -> Iterator[Delivery]:
        yield from self._watch.turn(self._patience(timeout))
        while self._client.at_once:
            yield delivery.bulk(*self._client.at_once.popleft())
        now = time.monotonic()
        yield from map(delivery.timer, self._timers.expired(now))
        if now >= self._next_check:
            self._next_check = now + HOUSEKEEPING
            self._check()

    def _patience(self, timeout: float) -> float:
        """How long to wait for input; before that, what can be sent is sent."""
        now = time.monotonic()
        retry_at = self._intake.server.flush(now)
        if self._client.at_once:
            return 0.0
        dues = (due for due in (retry_at, self._timers.next_due(), self._next_check) if due is not None)
        return max(0.0, min(timeout, min(dues) - now))

    def _read_workers(self) -> Iterator[Delivery]:
        self._waker.clear()
        for worker in (self._worker, self._disk):
            while (finished := worker.finished()) is not None:
                yield delivery.done(*finished)

    def _check(self) -> None:
        for link in self._links.values():
            link.redial()
        for peer, wanted in self._client.overdue():
            self._links[peer].get(wanted)
        for _ in range(self._guard.check()):
            self._tally.junk("closed a connection that sends a message without end", None)


def _check_endpoints(me: int, endpoints: Mapping[int, Endpoint], keys: KeyPair) -> None:
    if me not in endpoints:
        raise TransportError(f"peer {me} has no endpoint; its place in the run file is missing")
    if endpoints[me].curve_public != keys.curve_public:
        raise TransportError(f"the key file is not that of peer {me}: their CURVE public keys differ")
    owners: dict[str, int] = {}
    for peer, endpoint in endpoints.items():
        other = owners.setdefault(endpoint.curve_public, peer)
        if other != peer:
            raise TransportError(f"peers {other} and {peer} have the same CURVE key; each needs its own")
