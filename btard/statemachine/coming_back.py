"""A peer that was away cannot tell how far an agreement is: it follows those who can (spec AGR-25)."""

from __future__ import annotations

from btard.statemachine.halting import halt, own_poll
from btard.statemachine.messages import Chain, Class, Evidence
from btard.statemachine.table import STEP_PHASES, Phase
from btard.statemachine.turn import Turn


def came_back(turn: Turn) -> None:
    """Ask for what was missed; leave an agreement whose rounds may be over (spec AGR-25)."""
    state = turn.state
    turn.set(came_back=(state.epoch, state.at.number))
    if state.phase is Phase.SETTLE:
        halt(turn, "it was away while the others agreed on who is out, and takes over what they agreed on")
    elif state.phase is not Phase.STOPPED:
        turn.send(own_poll(turn))


def pass_on_and_halt(turn: Turn, found: list[tuple[Class, Evidence]]) -> bool:
    """On evidence soon after coming back: show it to all, and leave it to them; say whether that is so."""
    if turn.state.came_back is None or turn.state.phase not in STEP_PHASES:
        return False
    for klass, evidence in found:
        turn.send(Chain(turn.state.epoch, klass, evidence, ()))
    halt(turn, "it was away a moment ago, so it leaves it to the others to agree on who is out")
    return True


def back_in_step(turn: Turn) -> None:
    """Note a certified step: if it began after coming back, this peer has missed nothing that still matters."""
    state = turn.state
    if state.came_back is not None and (state.epoch, state.at.number) > state.came_back:
        turn.set(came_back=None)
