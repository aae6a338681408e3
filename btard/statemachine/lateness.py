"""Who is late time and again, as members' COMMITs say (spec STP-20, STP-21)."""

from __future__ import annotations

from collections import Counter

from btard.statemachine.checks import commit_of
from btard.statemachine.config import quorum
from btard.statemachine.turn import Turn


def late_before(turn: Turn) -> tuple[int, ...]:
    """Return on whom this peer signed LATE in the step before, in this epoch (spec STP-20)."""
    if not turn.config.parameters.late_limit:
        return ()
    place = ("late", turn.state.epoch, turn.at.number - 1)
    own = [slot for slot in turn.state.slots if slot[:3] == place and slot[-1] == turn.me]
    return tuple(sorted({int(slot[4]) for slot in own}))


def note_who_was_late(turn: Turn) -> None:
    """Keep what the COMMITs of a certified step say, as long as it counts (spec STP-21)."""
    parameters, number = turn.config.parameters, turn.at.number
    if parameters.late_limit:
        said = frozenset((peer, late) for peer in turn.state.roster for late in commit_of(turn, peer).late)
        kept = (entry for entry in turn.state.said_late if entry[0] > number - parameters.window)
        turn.set(said_late=(*kept, (number, said)))


def often_late(turn: Turn, author: int) -> bool:
    """Whether q members said, each in ``late_limit`` of the last W steps, that ``author`` was late (STP-21)."""
    state, limit = turn.state, turn.config.parameters.late_limit
    if not limit:
        return False
    times = Counter(peer for _, said in state.said_late for peer, late in said if late == author)
    return sum(times[peer] >= limit for peer in state.roster) >= quorum(len(state.roster))
