"""Claims are judged by votes (spec VER-13 to VER-15)."""

from __future__ import annotations

from collections import Counter

from btard.statemachine import effects as fx
from btard.statemachine.checks import check_for
from btard.statemachine.compute import ACCUSER, Judge, Judged
from btard.statemachine.config import quorum
from btard.statemachine.evidence import claim_of
from btard.statemachine.messages import (
    Claim,
    Digest,
    Envelope,
    Evidence,
    EvidenceKind,
    NoVerdict,
    Vote,
)
from btard.statemachine.phases import is_accusation
from btard.statemachine.table import Phase
from btard.statemachine.turn import Turn


def judge_delivered(turn: Turn) -> bool:
    """Start judging every delivered claim; say whether there was a new one (spec VER-13)."""
    if turn.state.phase is not Phase.ACCUSE:
        return False
    found = False
    for accuser in turn.state.roster:
        envelope = turn.phase_message(Phase.ACCUSE, accuser)
        if accuser not in turn.at.delivered or accuser in turn.at.pursued or envelope is None:
            continue
        if is_accusation(envelope):
            found = True
            _pursue(turn, envelope)
    return found


def _pursue(turn: Turn, envelope: Envelope) -> None:
    claim, timing, at = claim_of(envelope), turn.config.timing, turn.at
    if claim is None:
        return
    turn.set_step(pursued=at.pursued | {envelope.author})
    turn.emit(fx.Accused(at.number, envelope.author, claim.accused, f"{claim.kind} claim, part {claim.part}"))
    delay = timing.t_judge_disputed if at.disputed else timing.t_judge
    turn.timer(delay, "judge", turn.state.epoch, at.number, envelope.author)
    if claim.object:
        # Say to all that it can be had here: the accuser may serve it to some only (spec AGR-8).
        turn.emit(fx.Offer(claim.object, None))
        turn.send(envelope, tuple(peer for peer in turn.others() if peer != envelope.author))
    if claim in at.judging:
        _vote(turn, envelope, claim)
    elif f"judge {claim}" not in at.asked:
        turn.set_step(asked=turn.at.asked | {f"judge {claim}"})
        check = check_for(turn, claim)
        turn.compute(Judge(turn.state.epoch, at.number, envelope.author, claim, check))


def judged(turn: Turn, claim: Claim, result: Judged) -> None:
    """Vote on every accusation that raises this claim (spec VER-13)."""
    turn.set_step(judging=turn.at.judging.insert(claim, result.guilty))
    for accuser in sorted(turn.at.pursued):
        envelope = turn.phase_message(Phase.ACCUSE, accuser)
        if envelope is not None and claim_of(envelope) == claim:
            _vote(turn, envelope, claim)


def _vote(turn: Turn, envelope: Envelope, claim: Claim) -> None:
    guilty = turn.at.judging[claim]
    if guilty is None:
        return  # NOVERDICT follows when the time is over
    loser = envelope.author if guilty == ACCUSER else guilty
    turn.sign(Vote(turn.at.number, envelope.author, envelope.hash, loser))


def judge_timed_out(turn: Turn, accuser: int) -> None:
    """Say that there was no verdict in time (spec VER-15)."""
    envelope = turn.phase_message(Phase.ACCUSE, accuser)
    if envelope is not None:
        turn.sign(NoVerdict(turn.at.number, accuser, envelope.hash))


def verdicts(turn: Turn) -> list[Evidence]:
    """Return what quorums of equal votes, or of NOVERDICTs, on this step's claims prove (spec AGR-9)."""
    if turn.state.phase is not Phase.ACCUSE:
        return []
    return [proof for accuser in turn.state.roster for proof in _verdict(turn, accuser)]


def _verdict(turn: Turn, accuser: int) -> list[Evidence]:
    state = turn.state
    accusation = turn.phase_message(Phase.ACCUSE, accuser)
    claim = claim_of(accusation) if accusation else None
    if accusation is None or claim is None:
        return []
    proofs = []
    votes = _opinions(turn, "vote", accuser, accusation.hash)
    counts = Counter(vote.guilty for _, vote in votes if isinstance(vote, Vote))
    for guilty, count in counts.items():
        if count >= quorum(len(state.roster)):
            equal = [env for env, vote in votes if isinstance(vote, Vote) and vote.guilty == guilty]
            proofs.append(Evidence(EvidenceKind.VERDICT, guilty, (accusation, *equal)))
    silent = _opinions(turn, "noverdict", accuser, accusation.hash)
    if not proofs and len(silent) >= quorum(len(state.roster)):
        envelopes = (accusation, *(env for env, _ in silent))
        subjects = [peer for peer in (accuser, claim.accused) if peer in state.roster]
        proofs = [Evidence(EvidenceKind.NOVERDICT, subject, envelopes) for subject in subjects]
    return proofs


def _opinions(turn: Turn, kind: str, accuser: int, claim: Digest) -> list[tuple[Envelope, Vote | NoVerdict]]:
    found = []
    for author in turn.state.roster:
        envelope = turn.state.slots.get((kind, turn.state.epoch, turn.at.number, accuser, author))
        body = envelope.message.body if envelope and envelope.message else None
        if envelope is not None and isinstance(body, Vote | NoVerdict) and body.claim == claim:
            found.append((envelope, body))
    return found
