"""Fetches objects: keeps the clock and the counters for `fetches`, and reads frames."""

import time
from collections import deque

import zmq

from btard.hashing import object_digest
from btard_transports.fetches import Fetches, JunkError, Progress
from btard_transports.interface import new_buffer
from btard_transports.tally import Tally
from btard_transports.wire import Range, WireError, decode_header


class BulkClient:
    """Knows what to ask each peer for, and puts together what it sends."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._fetches = Fetches()
        self.at_once: deque[tuple[bytes, memoryview]] = deque()
        """Objects that were complete as soon as they were asked for."""

    def fetch(self, peer: int, digest: bytes, size: int) -> Range | None:
        """Begin to fetch an object; return the range to ask for, if any: an empty object is here at once."""
        if size > 0:
            return self._fetches.start(peer, digest, size, time.monotonic())
        if digest == object_digest(b""):
            self.at_once.append((digest, new_buffer(0)))
        else:
            self._tally.junk("discarded an object with a wrong digest", peer)
        return None

    def accept(self, peer: int, frames: list[zmq.Frame]) -> Progress:
        """Take a message from an owner. Hostile ones are counted, whatever they hold (NET-7)."""
        try:
            if len(frames) != 2:
                raise WireError("discarded a malformed chunk")
            digest, offset = decode_header(frames[0].bytes)
            payload = frames[1].buffer
            progress = self._fetches.accept(peer, digest, offset, payload, time.monotonic())
        except (WireError, JunkError) as error:
            self._tally.junk(str(error), peer)
            return Progress()
        self._tally.counters.bulk_bytes_received += len(payload)
        return progress

    def ask_again(self, peer: int) -> list[Range]:
        """What to ask a peer for anew, after the connection to it came up."""
        return self._fetches.again(peer)

    def overdue(self) -> list[tuple[int, Range]]:
        """What to ask for anew because nobody has answered for long."""
        return self._fetches.overdue(time.monotonic())

    def forget(self, digest: bytes) -> None:
        """Drop all requests for an object."""
        self._fetches.forget(digest)

    def drop(self, peer: int) -> None:
        """Drop all requests to a peer."""
        self._fetches.drop(peer)
