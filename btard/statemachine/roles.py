"""Who does what in the step that begins, and what is forgotten of those before (spec ELE, AGR-16)."""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.election import Pair, assign_parts, closing_pairs, closing_steps, draw_pairs
from btard.statemachine.messages import Digest
from btard.statemachine.state import Step
from btard.statemachine.turn import Turn


def next_step(turn: Turn, number: int, views: tuple[Digest, ...]) -> None:
    """Set up step ``number`` of this epoch: roles, and the view that its first messages refer to."""
    state = turn.state
    drawn = _drawn(turn, number)
    trains = 0 < number <= turn.config.parameters.steps
    # A validator sits out even if its target is gone (spec ELE-4): nobody gains by making it go.
    validators = {pair.validator for pair in drawn}
    duties = [pair for pair in drawn if pair.validator in state.roster]
    turn.set(
        at=Step(
            number,
            aggregators=assign_parts(turn.config.run, state.election_value, state.epoch, number, state.roster),
            contributors=tuple(peer for peer in state.roster if trains and peer not in validators),
            trains=trains,
            pairs=tuple(pair for pair in duties if pair.target in state.roster),
            absent=tuple(pair for pair in duties if pair.target not in {*state.roster, *state.banned}),
            views=views,
        )
    )
    _forget(turn, number)


def _drawn(turn: Turn, number: int) -> tuple[Pair, ...]:
    last, parameters = turn.state.last, turn.config.parameters
    if last is None:
        return ()
    if number > parameters.steps:
        k = number - parameters.steps
        return closing_pairs(
            turn.config.run, last.election_value, last.step, k, last.contributors, parameters.validators
        )
    return draw_pairs(turn.config.run, last.election_value, number, last.contributors, parameters.validators)


def last_number(turn: Turn) -> int:
    """Return the number of the run's last step, closing steps included, as far as is known (spec STP-15)."""
    last, parameters = turn.state.last, turn.config.parameters
    if last is None or last.step < parameters.steps:
        return parameters.steps
    return parameters.steps + closing_steps(len(last.contributors), parameters.validators)


def _forget(turn: Turn, number: int) -> None:
    """Drop what no honest peer can ask for or refer to any more (spec AGR-16)."""
    slots = turn.state.slots
    for slot in list(slots):
        if slot[0] not in ("epoch", "stay") and isinstance(slot[2], int) and slot[2] < number - 1:
            slots = slots.remove(slot)
    held, last = turn.state.held, turn.state.last
    needed = last.step if last else number - 1  # closing steps look at the last training step's parts
    for name, step in list(held.items()):
        if step < needed:
            held = held.remove(name)
    served = turn.state.served
    for entry in list(served):
        step_served = entry[1][2]
        if isinstance(step_served, int) and step_served < number - 1:
            served = served.remove(entry)
    empty = type(turn.state.waiting)()  # whoever enters this step holds its predecessor's certificate
    reports = tuple(entry for entry in turn.state.reports if entry[0] >= number - 1)
    turn.set(
        slots=slots,
        held=held,
        served=served,
        pulled=type(turn.state.pulled)(),
        waiting=empty,
        reports=reports,
    )
    # The judgements of reports, which no certificate waits for, may still be under way; they are over before
    # the own COMMIT of this step, since computations come one after the other.
    turn.emit(fx.Discard(needed - 1 if reports else needed))
