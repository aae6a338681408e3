"""Evidence: signed messages that prove by themselves what their author did (spec AGR-9).

Nothing else removes anybody. Whether an object proves anything depends on genesis and the rosters alone, so
all peers come to the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from btard.statemachine.config import Config, quorum
from btard.statemachine.form import malformed
from btard.statemachine.messages import (
    Accuse,
    Body,
    Claim,
    ClaimKind,
    Commit,
    Envelope,
    Evidence,
    EvidenceKind,
    Late,
    NoVerdict,
    Reveal,
    Validate,
    Vote,
)
from btard.statemachine.randomness import Purpose, Secret, commitment
from btard.statemachine.state import State
from btard.wire import signed_content

BANNING = frozenset(
    {EvidenceKind.EQUIVOCATION, EvidenceKind.MALFORMED, EvidenceKind.OPENING, EvidenceKind.VERDICT}
)
_RULES = {
    EvidenceKind.EQUIVOCATION: ("MSG-5", "signed two different messages for one slot"),
    EvidenceKind.MALFORMED: ("MSG-3", "signed a malformed message"),
    EvidenceKind.OPENING: ("RND-2", "opened another value than it had committed to"),
    EvidenceKind.LATE: ("STP-3", "a quorum did not get its message in time"),
    EvidenceKind.NOVERDICT: ("AGR-9", "a quorum saw no verdict on a claim that it raised or that named it"),
}
_CLAIM_RULES = {
    ClaimKind.GRADIENT: ("VER-1", "contributed another gradient than its seed's"),
    ClaimKind.SCALARS: ("VER-2", "broadcast scalars that do not fit its part"),
    ClaimKind.NONFINITE: ("VER-3", "committed a part that holds NaN or Inf"),
    ClaimKind.AGGREGATE: ("VER-4", "broadcast an aggregate that is not the fixed point"),
    ClaimKind.VALIDATOR: ("VER-5", "as a validator did not recompute its target's gradient"),
}


def signature_holds(config: Config, envelope: Envelope) -> bool:
    """Whether the envelope is signed by its author, for this run (spec MSG-2)."""
    if envelope.author >= config.peers:
        return False
    content = signed_content(config.run, envelope.payload)
    return config.verify(config.keys[envelope.author], content, envelope.signature)


def proves(config: Config, state: State, evidence: Evidence) -> bool:
    """Whether ``evidence`` proves its subject's fault to anybody who knows the rosters (spec AGR-9)."""
    envelopes = evidence.envelopes
    if not envelopes or not all(signature_holds(config, envelope) for envelope in envelopes):
        return False
    if any(env.message and env.message.epoch > state.epoch for env in envelopes):
        return False
    match evidence.kind:
        case EvidenceKind.EQUIVOCATION:
            return _equivocates(evidence)
        case EvidenceKind.MALFORMED:
            return len(envelopes) == 1 and _is_malformed(config, state, evidence.subject, envelopes[0])
        case EvidenceKind.OPENING:
            return _opens_otherwise(config, evidence)
        case EvidenceKind.LATE:
            return _quorum_of_late(state, evidence)
        case EvidenceKind.VERDICT:
            return _quorum_of_votes(state, evidence)
        case EvidenceKind.NOVERDICT:
            return _quorum_of_doubt(state, evidence)


def _equivocates(evidence: Evidence) -> bool:
    if len(evidence.envelopes) != 2:
        return False
    first, second = evidence.envelopes
    return (
        first.author == second.author == evidence.subject
        and first.message is not None
        and second.message is not None
        and first.message.slot == second.message.slot
        and first.hash != second.hash
    )


def _is_malformed(config: Config, state: State, subject: int, envelope: Envelope) -> bool:
    if envelope.author != subject:
        return False
    message = envelope.message
    if message is None:
        return True
    roster = state.rosters[message.epoch]
    return malformed(config.parameters, config.peers, roster, subject, message.body) is not None


def opening_fails(config: Config, committed: Envelope, opened: Envelope) -> bool:
    """Whether a REVEAL or ACCUSE opens another value than its author's COMMIT committed to (spec RND-2)."""
    first, second = committed.message, opened.message
    if first is None or second is None or not isinstance(first.body, Commit):
        return False
    if first.author != second.author or first.epoch != second.epoch:
        return False
    match second.body:
        case Reveal() | Accuse() if second.body.step != first.body.step:
            return False
        case Reveal():
            purpose, expected = Purpose.SKETCH, first.body.sketch_commitment
        case Accuse():
            purpose, expected = Purpose.ELECTION, first.body.election_commitment
        case _:
            return False
    secret = Secret(second.body.value, second.body.salt)
    place = (config.run, first.epoch, first.body.step, first.author)
    return commitment(*place, purpose, secret) != expected


def _opens_otherwise(config: Config, evidence: Evidence) -> bool:
    if len(evidence.envelopes) != 2 or evidence.envelopes[0].author != evidence.subject:
        return False
    return opening_fails(config, *evidence.envelopes)


def _distinct_members(state: State, envelopes: Sequence[Envelope], alike: Callable[[Body], object]) -> bool:
    """Whether these are messages of q distinct members of their one epoch, equal as ``alike`` sees them."""
    messages = [envelope.message for envelope in envelopes]
    first = messages[0] if messages else None
    if first is None or any(
        m is None or (m.epoch, alike(m.body)) != (first.epoch, alike(first.body)) for m in messages
    ):
        return False
    authors = {envelope.author for envelope in envelopes}
    roster = state.rosters[first.epoch]
    return len(authors) == len(messages) >= quorum(len(roster)) and authors <= set(roster)


def _quorum_of_late(state: State, evidence: Evidence) -> bool:
    message = evidence.envelopes[0].message
    if message is None or not isinstance(message.body, Late):
        return False
    roster = state.rosters[message.epoch]
    named = message.body.subject == evidence.subject and evidence.subject in roster
    return named and _distinct_members(state, evidence.envelopes, lambda body: body)


def claim_of(envelope: Envelope) -> Claim | None:
    """Return the claim in an ACCUSE, or the report in a VALIDATE, if there is one."""
    match envelope.message.body if envelope.message else None:
        case Accuse(claim=claim) | Validate(report=claim):
            return claim
    return None


def names(vote: Body, subject: int) -> bool:
    """Whether a message is a vote that finds ``subject`` guilty, or an accomplice."""
    return isinstance(vote, Vote) and subject in (vote.guilty, *vote.accomplices)


def _quorum_of_votes(state: State, evidence: Evidence) -> bool:
    accusation, *votes = evidence.envelopes
    raised, claim = accusation.message, claim_of(accusation)
    body = raised.body if raised else None
    if raised is None or claim is None or not isinstance(body, Accuse | Validate):
        return False
    wanted = (body.step, int(body.phase), accusation.author, accusation.hash)

    def alike(vote: Body) -> bool:
        fits = isinstance(vote, Vote) and (vote.step, vote.raised, vote.accuser, vote.claim) == wanted
        return fits and names(vote, evidence.subject)

    first = votes[0].message if votes else None
    if first is None or first.epoch != raised.epoch or not alike(first.body):
        return False
    return _distinct_members(state, votes, alike)


def _quorum_of_doubt(state: State, evidence: Evidence) -> bool:
    accusation, *opinions = evidence.envelopes
    raised, claim = accusation.message, claim_of(accusation)
    first = opinions[0].message if opinions else None
    if raised is None or claim is None or first is None or not isinstance(raised.body, Accuse):
        return False
    expected = NoVerdict(raised.body.step, accusation.author, accusation.hash)
    if (first.epoch, first.body) != (raised.epoch, expected):
        return False
    parties = (accusation.author, claim.accused)
    return evidence.subject in parties and _distinct_members(state, opinions, lambda body: body)


def rule_broken(evidence: Evidence) -> tuple[str, str]:
    """Return the rule that the subject broke, and what it did in words."""
    if evidence.kind is not EvidenceKind.VERDICT:
        return _RULES[evidence.kind]
    claim = claim_of(evidence.envelopes[0])
    if claim is None:
        raise ValueError("a verdict without the accusation that it judges")
    vote = evidence.envelopes[1].message
    if vote is not None and isinstance(vote.body, Vote) and evidence.subject in vote.body.accomplices:
        return "VER-18", f"as an aggregator covered the false scalars of peer {claim.accused}"
    if evidence.subject == evidence.envelopes[0].author:
        return "VER-6", f"raised a false {claim.kind} claim on peer {claim.accused}"
    return _CLAIM_RULES[claim.kind]
