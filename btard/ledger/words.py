"""A ledger's entries in words: what each peer did, and who says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from btard.ledger.book import Book
from btard.ledger.entry import Entry
from btard.ledger.proof import applied_step, is_report, step_of
from btard.statemachine.evidence import claim_of, rule_broken
from btard.statemachine.form import malformed
from btard.statemachine.messages import Claim, Envelope, Evidence, EvidenceKind, Late, Message
from btard.statemachine.table import Phase

OTHERS_SAY = ("AGR-15", "the others agreed on it; their proof did not come here")


@frozen
class Row:
    """One entry for people."""

    peer: int
    name: str
    kind: str  # ban or remove
    epoch: int
    step: int
    rule: str
    reason: str
    by: str  # who says so
    applied: int  # the step whose update holds what it was banned for, or 0

    @property
    def verb(self) -> str:
        """What became of it."""
        return "banned" if self.kind == "ban" else "removed"

    def plain(self) -> dict[str, Any]:
        """Return what scripts get."""
        names = ("peer", "name", "kind", "epoch", "step", "rule", "reason", "by", "applied")
        return {name: getattr(self, name) for name in names}


def row(book: Book, entry: Entry) -> Row:
    """Return an entry as a row."""
    proof, names = entry.proof, book.names
    rule, reason = OTHERS_SAY if proof is None else rule_broken(proof)
    return Row(
        peer=entry.peer,
        name=names.of(entry.peer),
        kind=entry.kind,
        epoch=entry.epoch,
        step=step_of(proof, following(book, entry)),
        rule=rule,
        reason=names.put(reason),
        by=by(book, entry),
        applied=applied_step(proof, rule, book.genesis.parameters.steps),
    )


def following(book: Book, entry: Entry) -> int:
    """Return the step at which the others went on."""
    decision = book.decisions.get(entry.epoch)
    return decision.record.next_step if decision else 0


def by(book: Book, entry: Entry) -> str:
    """Return in a few words what an entry rests on."""
    proof = entry.proof
    if proof is None:
        return "operators' words" if _is_given_up(book, entry) else "signatures of a quorum"
    match proof.kind:
        case EvidenceKind.LATE:
            return f"{len(proof.envelopes)} members"
        case EvidenceKind.VERDICT:
            votes = proof.envelopes[1:]
            return f"{book.names.of(proof.envelopes[0].author)}, and {len(votes)} votes"
        case EvidenceKind.NOVERDICT:
            return f"{len(proof.envelopes) - 1} members without a verdict"
    return "its own signature" + "s" * (len(proof.envelopes) > 1)


def _is_given_up(book: Book, entry: Entry) -> bool:
    decision = book.decisions.get(entry.epoch)
    return decision is not None and decision.record.together


def story(book: Book, entry: Entry) -> list[str]:
    """Say what a peer did, and who says so, in sentences."""
    proof, names = entry.proof, book.names
    if proof is None:
        if _is_given_up(book, entry):
            return ["The run had halted, and the operators of those who went on gave it up by name (AGR-26)."]
        return ["What it did was not shown here: this peer took over what others had agreed on."]
    first = proof.envelopes[0]
    match proof.kind:
        case EvidenceKind.EQUIVOCATION:
            both = " and ".join(env.hash.hex()[:16] for env in proof.envelopes)
            return [f"It signed two different messages where there is to be one, {_title(first)}: {both}."]
        case EvidenceKind.MALFORMED:
            return [f"It signed {_title(first)} that no honest peer signs: {_fault(book, first)}."]
        case EvidenceKind.OPENING:
            return [f"{_title(proof.envelopes[1])} opens another value than its COMMIT had committed to."]
        case EvidenceKind.LATE:
            return [f"{_signers(book, proof.envelopes)} did not get {_awaited(first)} in time."]
        case EvidenceKind.VERDICT:
            return _verdict(book, proof)
        case EvidenceKind.NOVERDICT:
            return [
                f"{_claimed(book, proof)}.",
                f"{_signers(book, proof.envelopes[1:])} saw no verdict on that in time: both went.",
            ]
    return [names.put(rule_broken(proof)[1])]


def _verdict(book: Book, proof: Evidence) -> list[str]:
    claim, names = claim_of(proof.envelopes[0]), book.names
    voters = _signers(book, proof.envelopes[1:])
    accuser, subject = proof.envelopes[0].author, proof.subject
    told = [f"{_claimed(book, proof)}."]
    if claim is None or subject == claim.accused:
        return [*told, f"{voters} computed it themselves and voted that {names.of(subject)} is guilty."]
    if subject == accuser:
        return [*told, f"{voters} computed it themselves and voted that this is false."]
    return [
        *told,
        f"{voters} computed it themselves, and voted that {names.of(subject)}, which held the proof, looked "
        "away.",
    ]


def _claimed(book: Book, proof: Evidence) -> str:
    envelope = proof.envelopes[0]
    claim = claim_of(envelope)
    names, message = book.names, envelope.message
    step = getattr(message.body, "step", 0) if message else 0
    verb = "reported" if is_report(proof) else "accused"
    if claim is None:
        return f"{names.of(envelope.author)} {verb} somebody"
    return (
        f"In step {step}, {names.of(envelope.author)} {verb} {names.of(claim.accused)}: {charge(claim, step)}"
    )


def charge(claim: Claim, step: int) -> str:
    """Say what a claim of a step says."""
    return {
        "gradient": f"its contribution to step {step - 1} is not the gradient of its seed",
        "scalars": f"its numbers do not fit its part {claim.part}",
        "nonfinite": f"its part {claim.part} holds NaN or Inf",
        "aggregate": f"its aggregate of part {claim.part} is not the fixed point",
        "validator": "as a validator it did not recompute its target's gradient",
    }[str(claim.kind)]


def _signers(book: Book, envelopes: Sequence[Envelope]) -> str:
    names = book.names.list([env.author for env in envelopes])
    members = len(book.rosters[min(_epoch(envelopes), len(book.rosters) - 1)])
    return f"{names} ({len(envelopes)} of {members} members)"


def _epoch(envelopes: Sequence[Envelope]) -> int:
    return next((env.message.epoch for env in envelopes if env.message), 0)


def _title(envelope: Envelope) -> str:
    message = envelope.message
    if message is None:
        return "a message"
    step = getattr(message.body, "step", None)
    place = f" of step {step}" if step is not None else f" of epoch {message.epoch}"
    return f"its {message.body.kind.upper()}{place}"


def _awaited(envelope: Envelope) -> str:
    message = envelope.message
    body = message.body if message else None
    if not isinstance(body, Late):
        return "its message"
    if body.part >= 0:
        return f"its part {body.part} of step {body.step}, which it had to publish,"
    return f"its {Phase(body.late_phase).name} of step {body.step}"


def _fault(book: Book, envelope: Envelope) -> str:
    message: Message | None = envelope.message
    if message is None:
        return "it cannot be read"
    roster = book.rosters[min(message.epoch, len(book.rosters) - 1)]
    found = malformed(book.config.parameters, book.config.peers, roster, envelope.author, message.body)
    return book.names.put(found or "nothing that can be seen here")
