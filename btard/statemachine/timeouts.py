"""What a peer does when something does not come in time (spec AGR-7, VER-9, STP-19)."""

from __future__ import annotations

from btard.statemachine.messages import Late
from btard.statemachine.needs import needed, unserved
from btard.statemachine.receive import late_quorum
from btard.statemachine.table import Phase
from btard.statemachine.turn import Turn


def phase_timed_out(turn: Turn) -> None:
    """Tell everybody whose message of this phase did not come (spec AGR-7)."""
    at, state = turn.at, turn.state
    missing = [peer for peer in state.roster if peer not in at.delivered and peer != turn.me]
    _complain(turn, [Late(at.number, int(state.phase), peer, -1) for peer in missing])


def publishing_timed_out(turn: Turn) -> None:
    """Tell everybody who did not publish its disputed parts, or did not serve them (spec VER-9)."""
    at = turn.at
    lates = [
        Late(at.number, int(Phase.ACCUSE), peer, part)
        for part in at.disputed
        for peer in unserved(turn, part, at.contributors)
    ]
    _complain(turn, lates)


def need_timed_out(turn: Turn, author: int) -> None:
    """Tell everybody who did not publish the parts that ``author`` needs, or serve them (spec STP-19)."""
    part = turn.at.aggregators.index(author)
    subjects = unserved(turn, part, needed(turn, part))
    _complain(turn, [Late(turn.at.number, int(Phase.REDUCE), peer, part) for peer in subjects])


def _complain(turn: Turn, lates: list[Late]) -> None:
    """Sign all, then count: the first quorum freezes, and nothing is signed after that (spec AGR-11)."""
    for late in lates:
        turn.sign(late)
    for late in lates:
        late_quorum(turn, late)
