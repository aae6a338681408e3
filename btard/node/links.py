"""Which links are up, told as it changes; a link that goes up and down all the time does not fill the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from btard_transports.interface import Host

SHORTEST: Final = 1.0  # seconds between two reports on one link
LONGEST: Final = 64.0  # what that grows to; as long without a change forgets what was before
TIMER: Final = "links"


@define
class _Told:
    up: bool = False
    quiet: float = SHORTEST  # seconds after a report in which there is no other
    at: float = float("-inf")  # of the last report


@define(eq=False)
class Links:
    """The links of one peer; uses the timer TIMER."""

    host: Host
    report: Callable[..., None]
    up: set[int] = field(factory=set)
    _told: dict[int, _Told] = field(factory=dict)

    def changed(self, peer: int, up: bool) -> None:
        """Take note of a change, and tell it now or once the last report is some time ago."""
        (self.up.add if up else self.up.discard)(peer)
        self._tell(peer)

    def due(self) -> None:
        """Tell what was held back."""
        for peer in list(self._told):
            self._tell(peer)

    def _tell(self, peer: int) -> None:
        told, now, up = self._told.setdefault(peer, _Told()), self.host.now(), peer in self.up
        if up == told.up:
            return
        if now < told.at + told.quiet:
            self.host.set_timer(TIMER, told.at + told.quiet - now)
            return
        told.quiet = SHORTEST if now > told.at + LONGEST else min(2 * told.quiet, LONGEST)
        told.up, told.at = up, now
        self.report("link", peer=peer, up=up)
