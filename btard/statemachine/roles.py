"""Who does what in the step that begins, and what is forgotten of those before (spec ELE, AGR-16)."""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.election import Pair, assign_parts, draw_pairs
from btard.statemachine.messages import Digest
from btard.statemachine.state import Step
from btard.statemachine.turn import Turn


def next_step(turn: Turn, number: int, views: tuple[Digest, ...]) -> None:
    """Set up step ``number`` of this epoch: roles, and the view that its first messages refer to."""
    state, parameters = turn.state, turn.config.parameters
    pairs: tuple[Pair, ...] = ()
    validators: frozenset[int] = frozenset()
    if state.last is not None:
        drawn = draw_pairs(
            turn.config.run, state.election_value, number, state.last.contributors, parameters.validators
        )
        # A validator sits out even if its target is gone (spec ELE-4): nobody gains by making it go.
        validators = frozenset(pair.validator for pair in drawn)
        pairs = tuple(pair for pair in drawn if {pair.validator, pair.target} <= set(state.roster))
    aggregators = assign_parts(turn.config.run, state.election_value, state.epoch, number, state.roster)
    contributors = tuple(peer for peer in state.roster if number > 0 and peer not in validators)
    step = Step(number, aggregators=aggregators, contributors=contributors, pairs=pairs, views=views)
    turn.set(at=step)
    _forget(turn, number)


def _forget(turn: Turn, number: int) -> None:
    """Drop what no honest peer can ask for or refer to any more (spec AGR-16)."""
    slots = turn.state.slots
    for slot in list(slots):
        if slot[0] != "epoch" and isinstance(slot[2], int) and slot[2] < number - 1:
            slots = slots.remove(slot)
    held = turn.state.held
    for name, step in list(held.items()):
        if step < number - 1:
            held = held.remove(name)
    served = turn.state.served
    for entry in list(served):
        step_served = entry[1][2]
        if isinstance(step_served, int) and step_served < number - 1:
            served = served.remove(entry)
    empty = type(turn.state.waiting)()  # whoever enters this step holds its predecessor's certificate
    turn.set(slots=slots, held=held, served=served, pulled=type(turn.state.pulled)(), waiting=empty)
    turn.emit(fx.Discard(number - 1))
