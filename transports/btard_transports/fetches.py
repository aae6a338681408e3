"""What a requester has asked for, and what has come of it. No I/O, no clock."""

from collections import OrderedDict

import attrs

from btard.hashing import object_digest
from btard_transports.interface import new_buffer
from btard_transports.wire import CHUNK, WINDOW, Range

# Asked again after this long without progress, then after twice as long, and so on up to the limit. Answers
# come without it; it only makes up for requests that broke with a link or that the owner could not keep.
PATIENCE = 15.0
MAX_PATIENCE = 120.0
# Requests that ended while answers were under way: those late chunks are nobody's fault.
MAX_LATE = 1024


class JunkError(ValueError):
    """A chunk that no honest owner sends; the text is one of a few fixed ones."""


@attrs.define
class _Transfer:
    """One object from one peer: bytes [0, received) are here, [received, requested) are asked for."""

    digest: bytes
    size: int
    retry_at: float
    patience: float = PATIENCE
    buffer: memoryview | None = None
    received: int = 0
    requested: int = 0
    repeated: bool = False

    def ask(self) -> Range:
        """Ask anew for a whole window, from what is here on."""
        self.requested = min(self.size, self.received + WINDOW)
        return Range(self.digest, self.received, self.requested)

    def ask_again(self) -> Range:
        """Ask anew although an answer may be under way: what comes twice from now on is nobody's fault."""
        self.repeated = True
        return self.ask()

    def ask_more(self) -> Range | None:
        """Ask for the next half window, once half a window has come."""
        if self.requested == self.size or self.requested - self.received > WINDOW // 2:
            return None
        start = self.requested
        self.requested = min(self.size, start + WINDOW // 2)
        return Range(self.digest, start, self.requested)


@attrs.frozen
class Progress:
    """What follows from a chunk: a further range to ask for, or the finished object with its digest."""

    more: Range | None = None
    digest: bytes = b""
    data: memoryview | None = None


class Fetches:
    """All outstanding requests, by peer and digest."""

    def __init__(self) -> None:
        self._transfers: dict[int, dict[bytes, _Transfer]] = {}
        self._late: OrderedDict[tuple[int, bytes], None] = OrderedDict()

    def start(self, peer: int, digest: bytes, size: int, now: float) -> Range | None:
        """Begin to fetch `size` > 0 bytes; return the range to ask for, or None if that was done before."""
        transfers = self._transfers.setdefault(peer, {})
        if digest in transfers:
            return None
        self._late.pop((peer, digest), None)
        transfers[digest] = _Transfer(digest, size, now + PATIENCE)
        return transfers[digest].ask()

    def accept(self, peer: int, digest: bytes, offset: int, payload: memoryview, now: float) -> Progress:
        """Take a chunk from `peer` (NET-4, NET-7).

        Raises JunkError for a chunk that was not asked for, is out of order or has the wrong size; it has no
        effect. Raises it too for an object with a wrong digest, whose request is then over.
        """
        transfer = self._transfers.get(peer, {}).get(digest)
        if transfer is None:
            if (peer, digest) in self._late:
                return Progress()
            raise JunkError("discarded a chunk that was not asked for")
        if offset < transfer.received and transfer.repeated:
            return Progress()
        if offset != transfer.received or offset == transfer.requested:
            raise JunkError("discarded a chunk that is out of order")
        if len(payload) != min(CHUNK, transfer.size - offset):
            raise JunkError("discarded a chunk of the wrong size")
        return self._take(peer, transfer, payload, now)

    def _take(self, peer: int, transfer: _Transfer, payload: memoryview, now: float) -> Progress:
        if transfer.buffer is None:
            transfer.buffer = new_buffer(transfer.size)
        end = transfer.received + len(payload)
        transfer.buffer[transfer.received : end] = payload
        transfer.received = end
        transfer.patience, transfer.retry_at = PATIENCE, now + PATIENCE
        if end < transfer.size:
            return Progress(more=transfer.ask_more())
        del self._transfers[peer][transfer.digest]
        if object_digest(transfer.buffer) != transfer.digest:
            raise JunkError("discarded an object with a wrong digest")
        self.forget(transfer.digest)
        return Progress(digest=transfer.digest, data=transfer.buffer)

    def again(self, peer: int) -> list[Range]:
        """What to ask `peer` for anew, after the link to it came up."""
        return [transfer.ask_again() for transfer in self._transfers.get(peer, {}).values()]

    def overdue(self, now: float) -> list[tuple[int, Range]]:
        """What to ask for anew because nothing has come for a while."""
        due = []
        for peer, transfers in self._transfers.items():
            for transfer in transfers.values():
                if transfer.retry_at <= now:
                    transfer.patience = min(2 * transfer.patience, MAX_PATIENCE)
                    transfer.retry_at = now + transfer.patience
                    due.append((peer, transfer.ask_again()))
        return due

    def forget(self, digest: bytes) -> None:
        """Drop every request for the object."""
        for peer, transfers in self._transfers.items():
            if transfers.pop(digest, None) is not None:
                self._late[peer, digest] = None
        while len(self._late) > MAX_LATE:
            self._late.popitem(last=False)

    def drop(self, peer: int) -> None:
        """Drop every request to `peer`."""
        self._transfers.pop(peer, None)
