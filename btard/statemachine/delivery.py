"""When a phase message counts: form, fit, view and bulk (spec AGR-2, AGR-3)."""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.checks import bulk_of_claim, bulk_of_part, commit_of, inadmissible, parts_of
from btard.statemachine.drift import drifts_again, load_what_came
from btard.statemachine.form import unfit
from btard.statemachine.lateness import often_late
from btard.statemachine.messages import (
    Accuse,
    Bulk,
    Claim,
    Commit,
    Envelope,
    PhaseBody,
    Publish,
    Reduce,
    Reveal,
    Validate,
    publish_slot,
)
from btard.statemachine.needs import needed, needed_objects
from btard.statemachine.phases import fetch
from btard.statemachine.table import STEP_PHASES, Phase
from btard.statemachine.turn import Turn


def phase_body(envelope: Envelope | None) -> PhaseBody | None:
    """Return the body of a phase message, else None."""
    body = envelope.message.body if envelope and envelope.message else None
    return body if isinstance(body, Commit | Reduce | Reveal | Validate | Accuse) else None


def why_undelivered(turn: Turn, author: int) -> str | None:
    """Say why ``author``'s message of the current phase is not delivered; None if it is (spec AGR-3)."""
    body = phase_body(turn.phase_message(turn.state.phase, author))
    if body is None:
        return "not here"
    if body.prev != turn.prev():
        return "it follows other messages than mine"
    if reason := unfit(turn.state, author, body):
        return reason
    if isinstance(body, Commit) and drifts_again(turn, author, body):
        return "its author drifted lately, and this is not the model that a majority holds"
    if isinstance(body, Commit) and often_late(turn, author):
        return "a majority says that its author was late too often"
    if isinstance(body, Accuse) and body.claim and (reason := inadmissible(turn, author, body.claim)):
        return reason
    return None if turn.holds(*bulk_of(turn, author, body)) else "an object that it rests on is not here"


def bulk_of(turn: Turn, author: int, body: PhaseBody) -> tuple[Bulk, ...]:
    """Return the objects that must be here for a message that fits to be delivered."""
    if isinstance(body, Reduce) and body.aggregate:
        return (bulk_of_part(turn, body.aggregate, turn.at.aggregators.index(author)),)
    if isinstance(body, Accuse) and body.claim:
        return bulk_of_claim(turn, body.claim)
    return ()


def deliver(turn: Turn) -> bool:
    """Update who is delivered in the current phase; say whether anybody was added."""
    if turn.state.phase not in STEP_PHASES:
        return False
    missing = [peer for peer in turn.state.roster if peer not in turn.at.delivered]
    arrived = frozenset(peer for peer in missing if why_undelivered(turn, peer) is None)
    if arrived:
        turn.set_step(delivered=turn.at.delivered | arrived)
        _serve_aggregates(turn, arrived)
    return bool(arrived)


def _serve_aggregates(turn: Turn, authors: frozenset[int]) -> None:
    """Serve the delivered aggregates to whoever pulls (spec AGR-6)."""
    for author in sorted(authors):
        body = phase_body(turn.phase_message(turn.state.phase, author))
        if isinstance(body, Reduce) and body.aggregate and author != turn.me:
            turn.emit(fx.Offer(body.aggregate, None))


def held(turn: Turn, bulk: Bulk) -> None:
    """Note a fetched object; serve it on if it is published (spec VER-9, STP-19)."""
    if not turn.holds(bulk):
        load_what_came(turn, bulk.digest)
    turn.hold(bulk)
    disputed = turn.state.phase is Phase.ACCUSE and any(bulk in parts_of(turn, p) for p in turn.at.disputed)
    if disputed or bulk in needed_objects(turn):
        turn.emit(fx.Offer(bulk.digest, None))


def fetch_bulk(turn: Turn, sender: int, envelope: Envelope | None) -> None:
    """Ask ``sender`` for the objects that a message names and that are not here (spec AGR-3)."""
    for bulk in _named_bulk(turn, envelope):
        fetch(turn, sender, bulk)


def _named_bulk(turn: Turn, envelope: Envelope | None) -> tuple[Bulk, ...]:
    """Return the objects that a message of the current step names, as far as that can be told yet."""
    message = envelope.message if envelope else None
    body = message.body if message else None
    if message is None or (message.epoch, getattr(body, "step", None)) != (turn.state.epoch, turn.at.number):
        return ()
    author, accusing = message.author, turn.state.phase is Phase.ACCUSE
    match body:
        case Publish() if turn.state.phase is Phase.REDUCE and author in needed(turn, body.part):
            return (bulk_of_part(turn, commit_of(turn, author).parts[body.part], body.part),)
        case Reduce():
            return bulk_of(turn, author, body)
        case Publish() if accusing and author in turn.at.contributors and body.part in turn.at.disputed:
            return (bulk_of_part(turn, commit_of(turn, author).parts[body.part], body.part),)
        case Accuse(claim=Claim() as claim) if accusing and inadmissible(turn, author, claim) is None:
            return bulk_of(turn, author, body) if claim.object else ()
    return ()


def fetch_what_came_early(turn: Turn) -> None:
    """On entering ACCUSE: fetch the objects of its messages and publications that are here already.

    Who accuses may serve its object to some only; whoever delivers the claim serves it on, so all are asked.
    """
    for author in turn.state.roster:
        envelope = turn.phase_message(Phase.ACCUSE, author)
        for source in turn.others() if envelope is not None else ():
            fetch_bulk(turn, source, envelope)
        for part in turn.at.disputed:
            published = turn.state.slots.get(publish_slot(turn.state.epoch, turn.at.number, part, author))
            if published is not None:
                fetch_bulk(turn, author, published)
