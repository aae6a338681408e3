"""Of the proofs that one cheat may have given, which one the ledger holds, and what it says (spec OPS-13)."""

from __future__ import annotations

from typing import Final

from attrs import evolve

from btard.hashing import digest
from btard.statemachine.evidence import BANNING, claim_of
from btard.statemachine.messages import (
    Chain,
    Enter,
    Envelope,
    Epoch,
    Evidence,
    EvidenceKind,
    GuiltyClass,
    Message,
    Stay,
    Validate,
)

RANKS: Final = (
    EvidenceKind.LATE,
    EvidenceKind.NOVERDICT,
    EvidenceKind.EQUIVOCATION,
    EvidenceKind.MALFORMED,
    EvidenceKind.OPENING,
    EvidenceKind.VERDICT,
)
"""The order of kinds; those that ban come after the others, and a ban takes only them."""


def canonical(evidence: Evidence, quorum: int) -> Evidence:
    """Return the same proof in the one form that a ledger holds: in a fixed order, and no more than it takes.

    ``quorum`` is that of the epoch in which its messages were signed.
    """
    envelopes = evidence.envelopes
    match evidence.kind:
        case EvidenceKind.EQUIVOCATION:
            envelopes = tuple(sorted(envelopes, key=lambda env: (env.hash, env.signature)))
        case EvidenceKind.LATE:
            envelopes = _by_author(envelopes)[:quorum]
        case EvidenceKind.VERDICT | EvidenceKind.NOVERDICT:
            envelopes = (*envelopes[:1], *_by_author(envelopes[1:])[:quorum])
    return evolve(evidence, envelopes=envelopes)


def _by_author(envelopes: tuple[Envelope, ...]) -> tuple[Envelope, ...]:
    return tuple(sorted(envelopes, key=lambda env: env.author))


def order(evidence: Evidence) -> tuple[int, bytes]:
    """Return what proofs are ordered by: kind, then digest of all that was signed, signatures included."""
    pieces = [
        piece for env in evidence.envelopes for piece in (_number(env.author), env.payload, env.signature)
    ]
    return RANKS.index(evidence.kind), digest("proof", *pieces)


def _number(author: int) -> bytes:
    return author.to_bytes(4, "little")


def fits(evidence: Evidence, kind: str) -> bool:
    """Whether evidence can stand behind a ``ban`` or a ``remove`` (spec AGR-10)."""
    return kind == "remove" or evidence.kind in BANNING


def is_report(evidence: Evidence) -> bool:
    """Whether this is a verdict on a report, which bans a former member without an agreement (spec VER-19)."""
    first = evidence.envelopes[0].message if evidence.envelopes else None
    return evidence.kind is EvidenceKind.VERDICT and first is not None and isinstance(first.body, Validate)


def shown(epoch: int, kind: str, evidence: Evidence) -> Chain:
    """Return the frame that shows a proof to other ledgers: a chain that nobody signed (spec OPS-13)."""
    return Chain(epoch, GuiltyClass("ban" if kind == "ban" else "guilty", evidence.subject), evidence, ())


def signed_in(evidence: Evidence) -> int | None:
    """Return the epoch in which a proof's messages were signed; None where none of them can be read."""
    return next((env.message.epoch for env in evidence.envelopes if env.message), None)


def step_of(evidence: Evidence | None, following: int) -> int:
    """Return the step in which a peer did what it is out for; ``following`` where the proof names none."""
    for envelope in evidence.envelopes if evidence else ():
        message = envelope.message
        if message is not None:
            return _step(message, following)
    return following


def _step(message: Message, following: int) -> int:
    match message.body:
        case Epoch() | Stay():
            return following
        case Enter(step=step, entered=0):
            return step - 1  # it stood in the last phase of the step before
    return message.body.step


def applied_step(evidence: Evidence | None, rule: str, steps: int) -> int:
    """Return the step whose applied update holds what a peer was banned for; 0 where none does."""
    claimed = evidence is not None and claim_of(evidence.envelopes[0]) is not None
    return min(step_of(evidence, 0) - 1, steps) if claimed and rule in ("VER-1", "VER-18") else 0
