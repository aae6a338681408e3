"""Parts that an aggregator lacks: it says so, and they are published (spec STP-16 to STP-19)."""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.checks import parts_of
from btard.statemachine.config import faults
from btard.statemachine.messages import Bulk, Need, need_slot, publish_slot
from btard.statemachine.phases import fetch, input_objects, publish
from btard.statemachine.table import STEP_PHASES, Phase
from btard.statemachine.turn import Turn


def say_what_is_missing(turn: Turn) -> None:
    """Say whose parts of the own aggregate did not come: more than f only if the times fail (spec STP-16)."""
    inputs = zip(turn.at.contributors, input_objects(turn), strict=True)
    missing = tuple(peer for peer, bulk in inputs if not turn.holds(bulk))
    if subjects := missing[: faults(len(turn.state.roster))]:
        turn.sign(Need(turn.at.number, subjects))
        heed(turn, turn.me, turn.me)


def heed_what_came_early(turn: Turn) -> None:
    """On entering REDUCE: a NEED that is here already counts from now on (spec STP-17)."""
    for author in turn.state.roster:
        heed(turn, author, author)


def heed(turn: Turn, author: int, sender: int) -> None:
    """Act on ``author``'s NEED, which ``sender`` has passed on, if it is here and counts now (spec STP-17).

    It is passed on when it begins to count, not before: an honest peer that is a phase behind would drop it.
    """
    state = turn.state
    if state.phase not in STEP_PHASES or state.phase is Phase.COMMIT:
        return
    envelope = state.slots.get(need_slot(state.epoch, turn.at.number, author))
    part = turn.at.aggregators.index(author)
    subjects = needed(turn, part)
    if turn.me in subjects:
        publish(turn, part)
    if state.phase is not Phase.REDUCE or envelope is None or not subjects:
        return
    if author != turn.me:
        turn.send(envelope, tuple(peer for peer in turn.others() if peer not in (author, sender)))
    turn.timer(turn.config.timing.t_publish, "need", state.epoch, turn.at.number, author)
    for peer, bulk in zip(subjects, parts_of(turn, part, subjects), strict=True):
        if turn.holds(bulk):
            turn.emit(fx.Offer(bulk.digest, None))
        if publish_slot(state.epoch, turn.at.number, part, peer) in state.slots:
            fetch(turn, peer, bulk)


def needed(turn: Turn, part: int) -> tuple[int, ...]:
    """Return the contributors whose ``part`` its aggregator says it needs (spec STP-17)."""
    slot = need_slot(turn.state.epoch, turn.at.number, turn.at.aggregators[part])
    envelope = turn.state.slots.get(slot)
    body = envelope.message.body if envelope and envelope.message else None
    if not isinstance(body, Need):
        return ()
    return tuple(peer for peer in body.subjects if peer in turn.at.contributors)


def needed_objects(turn: Turn) -> tuple[Bulk, ...]:
    """Return all parts that are needed, while that counts."""
    if turn.state.phase is not Phase.REDUCE:
        return ()
    parts = range(len(turn.at.aggregators))
    return tuple(bulk for part in parts for bulk in parts_of(turn, part, needed(turn, part)))


def unserved(turn: Turn, part: int, peers: tuple[int, ...]) -> list[int]:
    """Return those of ``peers`` whose published ``part`` did not come: the message, or the object.

    Also where the part is here for another reason: others may not have it, and cannot ask without PUBLISH.
    """
    state, missing = turn.state, []
    for peer, bulk in zip(peers, parts_of(turn, part, peers), strict=True):
        published = publish_slot(state.epoch, turn.at.number, part, peer) in state.slots
        if peer != turn.me and not (published and turn.holds(bulk)):
            missing.append(peer)
    return missing
