"""Claims and reports are judged by votes (spec VER-13 to VER-15, VER-19)."""

from __future__ import annotations

from btard.statemachine import effects as fx
from btard.statemachine.checks import check_for, gradient_check, scalars_of
from btard.statemachine.compute import ACCUSER, Judge, Judged
from btard.statemachine.config import quorum
from btard.statemachine.delivery import phase_body
from btard.statemachine.evidence import claim_of, names
from btard.statemachine.messages import (
    Claim,
    Envelope,
    Evidence,
    EvidenceKind,
    NoVerdict,
    SlotKey,
    Vote,
    phase_slot,
)
from btard.statemachine.phases import is_accusation
from btard.statemachine.table import STEP_PHASES, Phase
from btard.statemachine.turn import Turn


def judge_delivered(turn: Turn) -> bool:
    """Start judging every delivered claim; say whether there was a new one (spec VER-13)."""
    if turn.state.phase is not Phase.ACCUSE:
        return False
    found = False
    _judge_reports(turn)
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
        turn.compute(Judge(turn.state.epoch, at.number, int(Phase.ACCUSE), envelope.author, claim, check))


def _judge_reports(turn: Turn) -> None:
    """Start judging the reports of the VALIDATE transcript, once; nobody waits for it (spec VER-19)."""
    at, last, epoch = turn.at, turn.state.last, turn.state.epoch
    for pair in at.absent:
        report = scalars_of(turn, pair.validator).report
        entry = (at.number, pair.validator)
        if report is None or last is None or entry in turn.state.reports:
            continue
        turn.set(reports=(*turn.state.reports, entry))
        turn.emit(fx.Accused(at.number, pair.validator, report.accused, "report on a former member"))
        check = gradient_check(turn.config, last, report.accused)
        turn.compute(Judge(epoch, at.number, int(Phase.VALIDATE), pair.validator, report, check))


def judged_report(turn: Turn, request: Judge, result: Judged) -> None:
    """Vote on a report, wherever the step has got meanwhile (spec VER-19)."""
    place = (request.epoch, request.step, Phase.VALIDATE, request.accuser)
    envelope = turn.state.slots.get(phase_slot(*place))
    if envelope is not None and turn.state.phase in (*STEP_PHASES, Phase.DONE):
        _sign_vote(turn, request.step, envelope, result)


def judged(turn: Turn, claim: Claim, result: Judged) -> None:
    """Vote on every accusation that raises this claim (spec VER-13)."""
    turn.set_step(judging=turn.at.judging.insert(claim, result))
    for accuser in sorted(turn.at.pursued):
        envelope = turn.phase_message(Phase.ACCUSE, accuser)
        if envelope is not None and claim_of(envelope) == claim:
            _vote(turn, envelope, claim)


def _vote(turn: Turn, envelope: Envelope, claim: Claim) -> None:
    _sign_vote(turn, turn.at.number, envelope, turn.at.judging[claim])


def _sign_vote(turn: Turn, step: int, envelope: Envelope, result: Judged) -> None:
    body = phase_body(envelope)
    if result.guilty is None or body is None:
        return  # NOVERDICT follows when the time is over
    loser = envelope.author if result.guilty == ACCUSER else result.guilty
    named = (step, int(body.phase), envelope.author, envelope.hash)
    turn.sign(Vote(*named, loser, result.accomplices))


def judge_timed_out(turn: Turn, accuser: int) -> None:
    """Say that there was no verdict in time (spec VER-15)."""
    envelope = turn.phase_message(Phase.ACCUSE, accuser)
    if envelope is not None:
        turn.sign(NoVerdict(turn.at.number, accuser, envelope.hash))


def verdicts(turn: Turn) -> list[Evidence]:
    """Return what quorums of equal votes, or of NOVERDICTs, on this step's claims prove (spec AGR-9)."""
    proofs = [proof for step, author in turn.state.reports for proof in _on_report(turn, step, author)]
    if turn.state.phase is Phase.ACCUSE:
        proofs += [proof for accuser in turn.state.roster for proof in _verdict(turn, accuser)]
    return proofs


def _on_report(turn: Turn, step: int, author: int) -> list[Evidence]:
    raised = turn.state.slots.get(phase_slot(turn.state.epoch, step, Phase.VALIDATE, author))
    return _by_votes(turn, step, raised) if raised is not None else []


def _verdict(turn: Turn, accuser: int) -> list[Evidence]:
    accusation = turn.phase_message(Phase.ACCUSE, accuser)
    claim = claim_of(accusation) if accusation else None
    if accusation is None or claim is None:
        return []
    proofs = _by_votes(turn, turn.at.number, accusation)
    doubts = _opinions(turn, accusation, ("noverdict", turn.state.epoch, turn.at.number, accuser))
    if not proofs and len(doubts) >= quorum(len(turn.state.roster)):
        subjects = [peer for peer in (accuser, claim.accused) if peer in turn.state.roster]
        proofs = [Evidence(EvidenceKind.NOVERDICT, subject, (accusation, *doubts)) for subject in subjects]
    return proofs


def _by_votes(turn: Turn, step: int, accusation: Envelope) -> list[Evidence]:
    """Return what quorums of votes that name the same peer prove."""
    body = phase_body(accusation)
    phase = int(body.phase) if body else -1
    votes = _opinions(turn, accusation, ("vote", turn.state.epoch, step, phase, accusation.author))
    found = [vote.message.body for vote in votes if vote.message]
    q = quorum(len(turn.state.roster))
    named = {peer for body in found if isinstance(body, Vote) for peer in (body.guilty, *body.accomplices)}
    proofs = []
    for subject in sorted(named):
        equal = [vote for vote in votes if vote.message and names(vote.message.body, subject)]
        if len(equal) >= q:
            # No more than prove it: a report and everybody's accomplices may not fit into a frame (spec MSG-4).
            proofs.append(Evidence(EvidenceKind.VERDICT, subject, (accusation, *equal[:q])))
    return proofs


def _opinions(turn: Turn, accusation: Envelope, slot: SlotKey) -> list[Envelope]:
    """Return the members' votes, or NOVERDICTs, on this very message, in roster order."""
    found = []
    for author in turn.state.roster:
        envelope = turn.state.slots.get((*slot, author))
        body = envelope.message.body if envelope and envelope.message else None
        if envelope is not None and isinstance(body, Vote | NoVerdict) and body.claim == accusation.hash:
            found.append(envelope)
    return found
