"""From the transcript to the checks that the backend computes (spec VER)."""

from __future__ import annotations

from typing import TypeVar

from btard.robust.encoding import NORM_SIZE, SKETCH_SIZE
from btard.robust.partition import bounds
from btard.statemachine.compute import GradientCheck, PartCheck, ValidatorCheck, Work
from btard.statemachine.config import Config
from btard.statemachine.election import gradient_seed
from btard.statemachine.messages import Bulk, Claim, ClaimKind, Commit, Digest, Reduce, Validate
from btard.statemachine.state import Record, State
from btard.statemachine.table import Phase
from btard.statemachine.turn import ProtocolBug, Turn

_Body = TypeVar("_Body", Commit, Reduce, Validate)


def part_size(dimension: int, parts: int, part: int) -> int:
    """Return the bytes of one float32 part (spec AGG-1)."""
    start, end = bounds(dimension, parts)[part]
    return 4 * (end - start)


def bulk_of_part(turn: Turn, name: Digest, part: int) -> Bulk:
    """Return the object that stands for a part of the current step."""
    return Bulk(name, part_size(turn.config.parameters.dimension, len(turn.state.roster), part))


def parts_of(turn: Turn, part: int, peers: tuple[int, ...] | None = None) -> tuple[Bulk, ...]:
    """Return what these contributors (all, in roster order) committed to of a part; COMMIT has been left."""
    chosen = turn.at.contributors if peers is None else peers
    return tuple(bulk_of_part(turn, commit_of(turn, peer).parts[part], part) for peer in chosen)


def bulk_of_claim(turn: Turn, claim: Claim) -> tuple[Bulk, ...]:
    """Return the objects that judging an admissible claim needs besides those of the phases before."""
    if claim.kind is ClaimKind.AGGREGATE:
        return parts_of(turn, claim.part)
    return (bulk_of_part(turn, claim.object, claim.part),) if claim.object else ()


def commit_of(turn: Turn, author: int) -> Commit:
    """Return a member's COMMIT of the current step, which must have been delivered."""
    return _body(turn, Phase.COMMIT, author, Commit)


def aggregate_of(turn: Turn, part: int) -> Digest:
    """Return the digest of a part's aggregate; REDUCE must have been left."""
    return _body(turn, Phase.REDUCE, turn.at.aggregators[part], Reduce).aggregate


def scalars_of(turn: Turn, author: int) -> Validate:
    """Return a member's VALIDATE of the current step; VALIDATE must have been left."""
    return _body(turn, Phase.VALIDATE, author, Validate)


def _body(turn: Turn, phase: Phase, author: int, kind: type[_Body]) -> _Body:
    envelope = turn.phase_message(phase, author)
    body = envelope.message.body if envelope and envelope.message else None
    if not isinstance(body, kind):
        raise ProtocolBug(f"{phase.name} of peer {author} is not here")
    return body


def part_slice(sketches: bytes, part: int) -> bytes:
    """Return one part's rows."""
    return sketches[part * SKETCH_SIZE : (part + 1) * SKETCH_SIZE]


def norm_slice(norms: bytes, part: int) -> bytes:
    """Return one part's norm."""
    return norms[NORM_SIZE * part : NORM_SIZE * (part + 1)]


def part_check(turn: Turn, part: int) -> PartCheck:
    """Gather what the current step's transcript says of one part."""
    contributors = turn.at.contributors
    scalars = [scalars_of(turn, peer) for peer in contributors]
    return PartCheck(
        part=part,
        parts=len(turn.at.aggregators),
        aggregator=turn.at.aggregators[part],
        aggregate=aggregate_of(turn, part),
        contributors=contributors,
        objects=tuple(commit_of(turn, peer).parts[part] for peer in contributors),
        sketch_value=turn.at.sketch_value,
        sketches=tuple(part_slice(body.sketches, part) for body in scalars),
        norms=tuple(norm_slice(body.norms, part) for body in scalars),
    )


def work_of(config: Config, record: Record, peer: int) -> Work:
    """Return the gradient that ``peer`` owed in a certified step."""
    seed = gradient_seed(config.run, record.seed_value, record.step, peer)
    return Work(peer, record.step, seed, len(record.roster))


def gradient_check(config: Config, record: Record, target: int) -> GradientCheck:
    """Gather what ``target`` committed and broadcast in a certified step."""
    place = record.contributors.index(target)
    return GradientCheck(
        work=work_of(config, record, target),
        committed=record.parts[place],
        aggregates=record.aggregates,
        sketch_value=record.sketch_value,
        sketches=record.sketches[place],
        norms=record.norms[place],
        aggregators=record.aggregators,
    )


def validator_check(turn: Turn, validator: int, part: int) -> ValidatorCheck:
    """Gather what ``validator`` broadcast of one part of its target's gradient."""
    record, target = turn.state.last, target_of(turn.state, validator)
    if record is None or target is None:
        raise ProtocolBug(f"peer {validator} validates nobody in step {turn.at.number}")
    scalars = scalars_of(turn, validator)
    return ValidatorCheck(
        validator=validator,
        part=part,
        parts=len(record.roster),
        object=record.parts[record.contributors.index(target)][part],
        sketch_value=turn.at.sketch_value,
        sketch=part_slice(scalars.sketches, part),
        norm=norm_slice(scalars.norms, part),
        target=gradient_check(turn.config, record, target),
    )


def target_of(state: State, validator: int) -> int | None:
    """Return whom ``validator`` validates in the current step, if anybody."""
    return next((pair.target for pair in state.at.pairs if pair.validator == validator), None)


def check_for(turn: Turn, claim: Claim) -> PartCheck | GradientCheck | ValidatorCheck:
    """Return what judging an admissible claim needs."""
    record = turn.state.last
    if claim.kind is ClaimKind.GRADIENT and record is not None:
        return gradient_check(turn.config, record, claim.accused)
    if claim.kind is ClaimKind.VALIDATOR:
        return validator_check(turn, claim.accused, claim.part)
    return part_check(turn, claim.part)


def inadmissible(turn: Turn, author: int, claim: Claim) -> str | None:
    """Say why ``author`` may not raise this claim in the current step; None if it may (spec VER-11)."""
    at, record = turn.at, turn.state.last
    match claim.kind:
        case ClaimKind.GRADIENT:
            targets = {pair.target for pair in at.pairs}
            aggregated = record is not None and author in record.aggregators
            right = claim.accused in targets and (target_of(turn.state, author) == claim.accused or aggregated)
            named = claim.part == 0 and not claim.object
        case ClaimKind.VALIDATOR:
            target = target_of(turn.state, claim.accused)
            right = (
                record is not None
                and target not in (None, author)
                and claim.part < len(record.roster)
                and record.aggregators[claim.part] == author
            )
            named = not claim.object
        case ClaimKind.AGGREGATE:
            right = claim.part in at.disputed and at.aggregators[claim.part] == claim.accused
            named = not claim.object
        case ClaimKind.SCALARS | ClaimKind.NONFINITE:
            here = claim.part < len(at.aggregators) and claim.accused in at.contributors
            public = here and claim.part in at.disputed
            right = here and (public or at.aggregators[claim.part] == author)
            named = right and claim.object == commit_of(turn, claim.accused).parts[claim.part]
    if not right:
        return f"peer {author} may not raise this {claim.kind} claim on peer {claim.accused}"
    return None if named else f"the {claim.kind} claim names another object than was committed"
