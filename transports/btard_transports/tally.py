"""Counted log lines: hostile input must not be able to fill the log."""

from collections import Counter

import structlog

from btard_transports.interface import Counters

log = structlog.get_logger()


class Tally:
    """Keeps a host's counters of what went wrong, and logs the 1st, 2nd, 4th, 8th ... event of each kind.

    Events are a few fixed texts and peers are indices (None: nobody known), so that memory is bounded too.
    """

    def __init__(self, me: int, counters: Counters) -> None:
        self.counters = counters
        self._me = me
        self._counts: Counter[tuple[str, int | None]] = Counter()

    def dropped(self, event: str, peer: int | None) -> None:
        """Something of our own, or a request, was not sent or kept."""
        self.counters.dropped += 1
        self._log(event, peer)

    def refused(self, event: str, peer: int | None) -> None:
        """A peer that is no member wants something."""
        self.counters.refused += 1
        self._log(event, peer)

    def junk(self, event: str, peer: int | None) -> None:
        """A peer broke the rules."""
        self.counters.junk += 1
        self._log(event, peer)

    def _log(self, event: str, peer: int | None) -> None:
        self._counts[event, peer] += 1
        count = self._counts[event, peer]
        if count & (count - 1) == 0:
            log.warning(event, me=self._me, peer=peer, count=count)
