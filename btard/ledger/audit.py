"""Everything in a ledger's entry checked again (spec OPS-14)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

from attrs import frozen

from btard.errors import BtardError
from btard.ledger.book import Book
from btard.ledger.entry import Entry, Judgement, judgement_key
from btard.ledger.errors import LedgerError
from btard.ledger.follows import NotHereError, does_not_follow
from btard.ledger.proof import fits, is_report
from btard.statemachine.compute import ACCUSER, Judged
from btard.statemachine.evidence import claim_of, proves
from btard.statemachine.messages import Accuse, Evidence, EvidenceKind, Validate


class Mark(StrEnum):
    """What a check came to."""

    HOLDS = "holds"
    ATTESTED = "attested"  # it rests on what members signed alone
    FAILS = "FAILS"


@frozen
class Finding:
    """One check and its outcome in words."""

    mark: Mark
    text: str


Recompute = Callable[[Book, Judgement], Judged]


def audit(book: Book, entry: Entry, recompute: Recompute) -> Iterator[Finding]:
    """Check an entry: the agreement, the proof, and the verdict, which ``recompute`` computes once more."""
    yield _agreement(book, entry)
    proof = entry.proof
    if proof is None:
        yield Finding(
            Mark.ATTESTED,
            "no proof came here: that there is one, or that operators gave it up, the record's signers attest"
            if entry.kind == "remove"
            else "the proof did not come here: that there is one, the record's signers attest",
        )
        return
    if not fits(proof, entry.kind) or proof.subject != entry.peer or not proves(book.config, book.state, proof):
        yield Finding(
            Mark.FAILS, f"the {proof.kind} evidence does not prove it: signatures or content are wrong"
        )
        return
    yield _evidence(proof)
    if proof.kind is EvidenceKind.VERDICT:
        yield from _verdict(book, proof, recompute)


def _agreement(book: Book, entry: Entry) -> Finding:
    if entry.proof is not None and is_report(entry.proof):
        if entry.epoch < len(book.rosters) and entry.peer not in book.rosters[entry.epoch]:
            return Finding(Mark.HOLDS, "it was no member any more: votes alone ban its key (VER-19)")
        return Finding(Mark.FAILS, "a report bans former members only, and this peer was a member")
    decision = book.decisions.get(entry.epoch)
    if entry.kind == "ban" and entry.epoch not in book.ledger.decisions() and entry.epoch == book.state.epoch:
        return Finding(
            Mark.ATTESTED,
            f"this peer stopped before the record that ends epoch {entry.epoch} came here: that there is one, "
            "it takes for granted",
        )
    if decision is None:
        return Finding(
            Mark.FAILS, f"no record that ends epoch {entry.epoch} is signed by a quorum of its members"
        )
    record = decision.record
    if entry.peer in record.roster or (entry.peer in record.bans) != (entry.kind == "ban"):
        return Finding(Mark.FAILS, f"the record that ends epoch {entry.epoch} says something else of this peer")
    signers = f"{len(decision.signers)} of {len(book.rosters[entry.epoch])}"
    return Finding(
        Mark.HOLDS,
        f"{signers} members signed the record that goes on without it at step {record.next_step}: "
        f"{book.names.list(decision.signers)}",
    )


def _evidence(proof: Evidence) -> Finding:
    number = len(proof.envelopes)
    signed = {1: "its signature holds", 2: "both signatures hold"}.get(number, f"all {number} signatures hold")
    if proof.kind in (EvidenceKind.LATE, EvidenceKind.NOVERDICT):
        return Finding(Mark.ATTESTED, f"{signed}; what came when, nobody can check afterwards")
    return Finding(Mark.HOLDS, f"the evidence proves it: {signed}")


def _verdict(book: Book, proof: Evidence, recompute: Recompute) -> Iterator[Finding]:
    accusation = proof.envelopes[0].message
    claim = claim_of(proof.envelopes[0])
    body = accusation.body if accusation else None
    if accusation is None or claim is None or not isinstance(body, Accuse | Validate):
        raise ValueError("a verdict without a claim")
    judgement = book.ledger.judgement(judgement_key(accusation.epoch, body.step, int(body.phase), claim))
    if judgement is None:
        yield Finding(Mark.ATTESTED, "this peer did not judge it itself: the verdict rests on the votes")
        return
    try:
        wrong = does_not_follow(book, judgement)
    except NotHereError as missing:
        where = book.names.put(str(missing))
        yield Finding(Mark.ATTESTED, f"what was judged: this peer vouches for it, since it lacks {where}")
    else:
        if wrong is not None:
            yield Finding(Mark.FAILS, f"what was judged is not what the members signed: {wrong}")
            return
        yield Finding(
            Mark.HOLDS, f"what was judged is what members signed, {len(judgement.envelopes)} messages"
        )
    yield _recomputed(book, proof, judgement, recompute)


def _recomputed(book: Book, proof: Evidence, judgement: Judgement, recompute: Recompute) -> Finding:
    try:
        found = recompute(book, judgement)
    except LedgerError:
        raise  # a vector that was changed is no verdict
    except BtardError as error:
        why = " ".join(str(error).split())
        return Finding(Mark.ATTESTED, f"the verdict was not computed again, it rests on the votes: {why}")
    guilty = proof.envelopes[0].author if found.guilty == ACCUSER else found.guilty
    if guilty is not None and proof.subject in (guilty, *found.accomplices):
        return Finding(Mark.HOLDS, "computed again on this machine, the verdict is the same")
    said = "nothing certain" if guilty is None else f"{book.names.of(guilty)} guilty"
    return Finding(
        Mark.FAILS,
        f"computed again on this machine, it finds {said}; is this machine of another kind than the run's, and "
        "its gradient_rtol meant for one kind?",
    )
