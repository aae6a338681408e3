"""Looks at a running peer now and then: keeps its status file, and says whom it has been waiting for.

It only reads the peer, in the peer's own thread, between two events.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field

from btard.errors import BtardError
from btard.node.lateness import Lateness
from btard.node.peer import Peer
from btard.node.snapshot import awaited, snapshot, why_awaited
from btard.node.status_file import write_status
from btard.statemachine.table import Phase

INTERVAL: Final = 1.0  # seconds between two status files
PATIENCE: Final = 4.0  # seconds in a phase until that is worth a line; then twice as long, and so on
PACE_SECONDS: Final = 60.0  # over which the pace is measured


@define(eq=False)
class Watch:
    """Watches one peer. A context manager: on leaving it, the status says how the peer ended."""

    peer: Peer
    folder: Path
    constant: Mapping[str, Any]  # what the status says of this peer from beginning to end
    figures: Callable[[], Mapping[str, Any]]  # loss, accuracy, who is out
    report: Callable[..., None]
    clock: Callable[[], float] = time.monotonic
    lateness: Lateness = field(init=False)
    _place: tuple[bool, int, int, Phase] | None = None
    _since: float = 0.0  # when this phase began
    _next_line: float = 0.0
    _next_file: float = 0.0
    _paces: deque[tuple[float, int]] = field(factory=deque)

    def __attrs_post_init__(self) -> None:
        config = self.peer.config
        self.lateness = Lateness(config.me, config.timing.delta / 1000, self.report)

    def look(self) -> None:
        """Do what is due; call it after each event, and once a second at least."""
        state, now = self.peer.state, self.clock()
        place = (self.peer.started, state.epoch, state.at.number, state.phase)
        if place != self._place:
            self._place, self._since, self._next_line = place, now, now + PATIENCE
        if self.peer.started:
            self.lateness.look(state, now)
        if now >= self._next_line:
            self._next_line = now + (now - self._since)
            self._tell(now - self._since)
        if now >= self._next_file:
            self._next_file = now + INTERVAL
            self.write("running" if self.peer.started else "waiting")

    def write(self, stage: str, reason: str | None = None) -> None:
        """Write the status file now. Raises BtardError where the disk refuses."""
        now = self.clock()
        values = snapshot(self.peer)
        self._paces.append((now, self.peer.state.model_step))
        while self._paces[0][0] < now - PACE_SECONDS:
            self._paces.popleft()
        (begun, first), (ended, last) = self._paces[0], self._paces[-1]
        pace = (last - first) / (ended - begun) * 60 if ended > begun else None
        values |= {"seconds": round(now - self._since, 1), "pace": pace and round(pace, 1)}
        values |= {"delays": self.lateness.values()}
        write_status(
            self.folder, {**self.constant, "stage": stage, "reason": reason, **values, **self.figures()}
        )

    def _tell(self, seconds: float) -> None:
        """Say whom this peer waits for; before the start, it says so itself."""
        state = self.peer.state
        if self.peer.started and state.phase not in (Phase.DONE, Phase.STOPPED):
            missing = awaited(self.peer)
            self.report(
                "awaiting",
                step=state.at.number,
                phase=state.phase.name,
                missing=missing,
                reasons=[why_awaited(self.peer, member) for member in missing],
                seconds=round(seconds, 1),
            )

    def __enter__(self) -> Self:
        self.write("waiting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.write("finished")
            return
        stage = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
        with contextlib.suppress(BtardError):  # what ended the peer matters more
            self.write(stage, str(error) or type(error).__name__)
            if stage == "interrupted":
                self.report(stage, step=self.peer.state.at.number)
