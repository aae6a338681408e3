"""When a phase message counts: form, fit, view and bulk (spec AGR-2, AGR-3)."""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.checks import commit_of, inadmissible
from btard.statemachine.config import quorum
from btard.statemachine.form import unfit
from btard.statemachine.messages import (
    Accuse,
    Commit,
    Digest,
    Envelope,
    PhaseBody,
    Publish,
    Reduce,
    Reveal,
    Validate,
)
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
    if isinstance(body, Accuse) and body.claim and (reason := inadmissible(turn, author, body.claim)):
        return reason
    return None if turn.holds(*bulk_of(body)) else "the object that it names is not here"


def bulk_of(body: PhaseBody) -> tuple[Digest, ...]:
    """Return the objects that must be here for the message to be delivered."""
    if isinstance(body, Reduce) and body.aggregate:
        return (body.aggregate,)
    if isinstance(body, Accuse) and body.claim and body.claim.object:
        return (body.claim.object,)
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
    if turn.state.phase is Phase.COMMIT:
        _stop_if_drifted(turn)
    return bool(arrived)


def _serve_aggregates(turn: Turn, authors: frozenset[int]) -> None:
    """Serve the delivered aggregates to whoever pulls (spec AGR-6)."""
    for author in sorted(authors):
        body = phase_body(turn.phase_message(turn.state.phase, author))
        if isinstance(body, Reduce) and body.aggregate and author != turn.me:
            turn.emit(fx.Offer(body.aggregate, None))


def held(turn: Turn, name: Digest) -> None:
    """Note a fetched object; serve it on if it was published (spec VER-9)."""
    turn.hold(name)
    at = turn.at
    if turn.state.phase is Phase.ACCUSE and any(
        commit_of(turn, peer).parts[part] == name for peer in at.contributors for part in at.disputed
    ):
        turn.emit(fx.Offer(name, None))


def _stop_if_drifted(turn: Turn) -> None:
    """Stop where a quorum stands at one other state: this peer's model is the odd one (spec STP-5)."""
    own = phase_body(turn.phase_message(Phase.COMMIT, turn.me))
    if not isinstance(own, Commit):
        return
    bodies = [phase_body(turn.phase_message(Phase.COMMIT, peer)) for peer in turn.state.roster]
    digests = [body.digest for body in bodies if isinstance(body, Commit)]
    if any(digests.count(other) >= quorum(len(turn.state.roster)) for other in {*digests} - {own.digest}):
        turn.stop(
            f"step {turn.at.number}: my model or optimizer state differs from what a majority holds; "
            "all peers need the same numerics class for this optimizer: compare torch version, device and "
            "thread count with `btard check`"
        )


def fetch_bulk(turn: Turn, sender: int, envelope: Envelope) -> None:
    """Ask ``sender`` for the objects that a message names and that are not here (spec AGR-3)."""
    body = envelope.message.body if envelope.message else None
    at = turn.at
    if isinstance(body, Publish):
        if turn.state.phase is Phase.ACCUSE and body.part in at.disputed:
            fetch(turn, sender, commit_of(turn, envelope.author).parts[body.part], body.part)
    elif isinstance(body, Reduce) and body.aggregate:
        if envelope.author in at.aggregators:
            fetch(turn, sender, body.aggregate, at.aggregators.index(envelope.author))
    elif (
        isinstance(body, Accuse)
        and body.claim
        and body.claim.object
        and turn.state.phase is Phase.ACCUSE
        and inadmissible(turn, envelope.author, body.claim) is None
    ):
        record = turn.state.last
        parts = len(record.roster) if body.claim.kind == "validator" and record else None
        fetch(turn, sender, body.claim.object, body.claim.part, parts)


def fetch_what_came_early(turn: Turn) -> None:
    """On entering ACCUSE: fetch the objects of its messages and publications that are here already."""
    for author in turn.state.roster:
        envelope = turn.phase_message(Phase.ACCUSE, author)
        if envelope is not None:
            fetch_bulk(turn, author, envelope)
        for part in turn.at.disputed:
            published = turn.state.slots.get(("publish", turn.state.epoch, turn.at.number, part, author))
            if published is not None:
                fetch_bulk(turn, author, published)
