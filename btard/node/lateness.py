"""How long each member lets this peer wait: for whoever runs it, and for nothing else (spec OPS-16)."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from statistics import median
from typing import Any, Final

from attrs import define, field

from btard.statemachine.messages import SlotKey
from btard.statemachine.state import State
from btard.statemachine.table import STEP_PHASES, Phase

KEPT: Final = 31  # delays of one member in one phase that the median is taken of
OFTEN: Final = (
    4  # times that somebody is the last by far until that is worth a line; then twice as often, and so on
)

Place = tuple[int, int]  # epoch, and position among all phases


@define
class _Delays:
    recent: deque[float] = field(factory=lambda: deque(maxlen=KEPT))
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        self.recent.append(seconds)
        self.longest = max(self.longest, seconds)


@define
class Lateness:
    """Looks at one peer's state after each event; all times are seconds of the clock that is passed in.

    A delay is the time from this peer's entering a phase until the member's message of it was delivered. Who
    is slow in one phase enters the next one early: it has its own message at once.
    """

    me: int
    far: float  # seconds between the last and the one before it that are worth a line: delta
    report: Callable[..., None]
    _place: Place | None = None
    _roster: tuple[int, ...] = ()
    _since: float = 0.0
    _came: dict[int, float] = field(factory=dict)
    _delays: defaultdict[tuple[int, Phase], _Delays] = field(factory=lambda: defaultdict(_Delays))
    _lates: Counter[int] = field(factory=Counter)
    _counted: frozenset[SlotKey] = frozenset()  # own LATEs of the last steps
    _far_behind: Counter[int] = field(factory=Counter)

    def look(self, state: State, now: float) -> None:
        """Note what has changed; call it after each event."""
        here = (state.epoch, state.position) if state.phase in STEP_PHASES else None
        if here != self._place:
            self._leave(state, now)
            self._place, self._roster, self._since, self._came = here, state.roster, now, {}
        if here is not None:
            for member in state.at.delivered - self._came.keys():
                self._came[member] = now - self._since

    def _leave(self, state: State, now: float) -> None:
        """Close the books of a phase: all its messages came, unless the epoch froze or the peer stopped."""
        self._count_lates(state)
        if self._place is None:
            return
        epoch, position = self._place
        if state.epoch == epoch and (state.phase in STEP_PHASES or state.phase is Phase.DONE):
            for member in self._roster:
                self._came.setdefault(member, now - self._since)
            self._tell_who_is_far_behind(position)
            for passed in range(position + 1, state.position):  # at once: all messages were here already
                self._add(passed, dict.fromkeys(self._roster, 0.0))
        self._add(position, self._came)

    def _add(self, position: int, came: dict[int, float]) -> None:
        for member, seconds in came.items():
            if member != self.me:
                self._delays[member, Phase(position % 5)].add(seconds)

    def _count_lates(self, state: State) -> None:
        own = frozenset(slot for slot in state.slots if slot[0] == "late" and slot[-1] == self.me)
        self._lates.update(int(slot[4]) for slot in own - self._counted)
        self._counted = own

    def _tell_who_is_far_behind(self, position: int) -> None:
        if len(self._came) < 2:
            return
        *_, before, last = sorted(self._came, key=self._came.__getitem__)
        gap = self._came[last] - self._came[before]
        if last == self.me or gap <= self.far:
            return
        self._far_behind[last] += 1
        times = self._far_behind[last]
        if times >= OFTEN and times & (times - 1) == 0:
            step, phase = divmod(position, 5)
            self.report(
                "last", peer=last, step=step, phase=Phase(phase).name, seconds=round(gap, 3), times=times
            )

    def values(self) -> list[dict[str, Any]]:
        """Return each other member's delays by phase, median and longest, and the number of LATEs on it."""
        members = sorted({member for member, _ in self._delays} | set(self._lates))
        return [
            {
                "peer": member,
                "lates": self._lates[member],
                "phases": {
                    phase.name: [round(median(delays.recent), 3), round(delays.longest, 3)]
                    for phase in STEP_PHASES
                    if (delays := self._delays.get((member, phase))) is not None
                },
            }
            for member in members
        ]
