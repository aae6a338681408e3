"""What a peer does when something does not come in time (spec AGR-7, VER-9)."""

from __future__ import annotations

from btard.statemachine.checks import parts_of
from btard.statemachine.messages import Late, publish_slot
from btard.statemachine.phases import input_objects
from btard.statemachine.receive import late_quorum
from btard.statemachine.table import Phase
from btard.statemachine.turn import Turn


def phase_timed_out(turn: Turn) -> None:
    """Tell everybody whose message of this phase did not come (spec AGR-7)."""
    at, state = turn.at, turn.state
    missing = [peer for peer in state.roster if peer not in at.delivered and peer != turn.me]
    _complain(turn, [Late(at.number, int(state.phase), peer, -1) for peer in missing])


def publishing_timed_out(turn: Turn) -> None:
    """Tell everybody who did not publish its disputed parts, or did not serve them (spec VER-9).

    Also where the part is here for another reason: others may not have it, and cannot ask without PUBLISH.
    """
    at, state, lates = turn.at, turn.state, []
    for part in at.disputed:
        for peer, bulk in zip(at.contributors, parts_of(turn, part), strict=True):
            published = publish_slot(state.epoch, at.number, part, peer) in state.slots and turn.holds(bulk)
            if peer != turn.me and not published:
                lates.append(Late(at.number, int(Phase.ACCUSE), peer, part))
    _complain(turn, lates)


def _complain(turn: Turn, lates: list[Late]) -> None:
    """Sign all, then count: the first quorum freezes, and nothing is signed after that (spec AGR-11)."""
    for late in lates:
        turn.sign(late)
    for late in lates:
        late_quorum(turn, late)


def bulk_timed_out(turn: Turn) -> None:
    """Stop where the inputs of the own aggregate did not come."""
    if turn.at.trains and not turn.holds(*input_objects(turn)):
        missing = [
            peer
            for peer, bulk in zip(turn.at.contributors, input_objects(turn), strict=True)
            if not turn.holds(bulk)
        ]
        turn.stop(
            f"step {turn.at.number}: the parts of peers {missing} did not come within "
            f"{turn.config.timing.w_bulk} ms; check those peers and the links to them, then start anew"
        )
