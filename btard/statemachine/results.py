"""Results of computations become the message of their phase (spec STP-3)."""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.checks import bulk_of_part
from btard.statemachine.compute import (
    Aggregate,
    Aggregated,
    Judge,
    Prepare,
    Prepared,
    Request,
    Sketch,
    Sketched,
    Verified,
    Verify,
)
from btard.statemachine.form import report_due
from btard.statemachine.lateness import late_before
from btard.statemachine.messages import Accuse, Commit, Reduce, Validate
from btard.statemachine.phases import ask, input_objects, secrets_of
from btard.statemachine.randomness import Purpose, Secrets, commitment
from btard.statemachine.state import State
from btard.statemachine.table import Phase
from btard.statemachine.turn import Turn


def counts(state: State, request: Request) -> bool:
    """Whether the result of a request is still of use: its epoch, or step, may have ended before it came."""
    match request:
        case Judge(raised=Phase.VALIDATE):  # a report is judged wherever the step has got meanwhile (VER-19)
            return request.epoch == state.epoch
        case Prepare() | Aggregate() | Sketch() | Verify() | Judge():
            return (request.epoch, request.step) == (state.epoch, state.at.number)
    return True


def prepared(turn: Turn, result: Prepared) -> None:
    """Send COMMIT (spec STP-5, RND-2)."""
    at, config, state = turn.at, turn.config, turn.state
    secrets = Secrets.from_entropy(result.entropy)
    turn.set_step(secrets=secrets, own_parts=result.parts)
    turn.hold(*(bulk_of_part(turn, name, part) for part, name in enumerate(result.parts)))
    place = (config.run, state.epoch, at.number, turn.me)
    turn.sign(
        Commit(
            step=at.number,
            prev=turn.prev(),
            parts=result.parts,
            sketch_commitment=commitment(*place, Purpose.SKETCH, secrets.sketch),
            election_commitment=commitment(*place, Purpose.ELECTION, secrets.election),
            model=state.model_digest,
            late=late_before(turn),
        )
    )


def aggregate(turn: Turn) -> None:
    """Ask for the aggregate once all its inputs are here; step 0 has none (spec STP-7, STP-10)."""
    if turn.state.phase is not Phase.REDUCE or "aggregate" in turn.at.asked:
        return
    if not turn.at.trains:
        ask(turn, "aggregate")
        turn.sign(Reduce(turn.at.number, turn.prev(), b""))
    elif turn.holds(*input_objects(turn)):
        ask(turn, "aggregate")
        place = (turn.state.epoch, turn.at.number)
        part, parts = turn.at.aggregators.index(turn.me), len(turn.state.roster)
        turn.compute(Aggregate(*place, part, parts, tuple(bulk.digest for bulk in input_objects(turn))))


def aggregated(turn: Turn, result: Aggregated) -> None:
    """Send REDUCE and serve the aggregate to everybody."""
    turn.hold(bulk_of_part(turn, result.digest, turn.at.aggregators.index(turn.me)))
    turn.emit(fx.Offer(result.digest, None))
    turn.sign(Reduce(turn.at.number, turn.prev(), result.digest))


def sketched(turn: Turn, result: Sketched) -> None:
    """Send VALIDATE."""
    turn.set_step(aggregate_norms=result.aggregate_norms)
    report = report_due(turn.state, turn.me) if result.report else None
    turn.sign(Validate(turn.at.number, turn.prev(), result.sketches, result.norms, report))


def verified(turn: Turn, result: Verified) -> None:
    """Send ACCUSE: the first claim found, or ``ok`` (spec VER-11)."""
    secret = secrets_of(turn).election
    # A peer that finds itself at fault leaves it to the others: an accusation of oneself is malformed.
    claim = next((claim for claim in result.claims if claim.accused != turn.me), None)
    if claim is not None and claim.object:
        turn.emit(fx.Offer(claim.object, None))
    turn.sign(Accuse(turn.at.number, turn.prev(), secret.value, secret.salt, claim))
